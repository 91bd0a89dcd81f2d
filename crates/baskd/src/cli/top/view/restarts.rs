//! The last error, and how Pythons ended.

use baskd_client::{LastError, LastExit, Status};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::model::Model;
use crate::cli::top::reading::{exits, since_ms, tells_all};
use crate::cli::top::text::{age, clean, count, fit, grouped, right, width};

/// `12m 30s ago`.
const WHEN: usize = 11;

pub(crate) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let Some(reading) = &model.shown().reading else {
        heading("RESTARTS, ERRORS", "", theme, area, buffer);
        return;
    };
    let area = heading("RESTARTS, ERRORS", &sum(reading), theme, area, buffer);
    let columns = usize::from(area.width);
    let error = reading
        .last_error
        .as_ref()
        .map(|error| of_error(reading, error, theme, columns));
    let exits = exits(reading);
    if error.is_none() && exits.is_empty() {
        return nothing("none: no call has failed, and no Python has died", theme, area, buffer);
    }
    let exits = exits.into_iter().map(|exit| of_exit(reading, exit, theme, columns));
    put(error.into_iter().chain(exits), area, buffer);
}

fn sum(reading: &Status) -> String {
    let by = &reading.restarts_by;
    let reasons = match tells_all(reading) {
        true => vec![
            (by.crash, "crashed"),
            (by.reload, "reloaded"),
            (by.restart, "asked for"),
            (by.recycled, "recycled"),
        ],
        false => vec![(reading.reloads, "reloaded"), (reading.recycled, "recycled")],
    };
    let reasons = reasons.into_iter().filter(|(times, _)| *times > 0);
    let reasons: Vec<String> = reasons
        .map(|(times, why)| format!("{} {why}", grouped(times)))
        .collect();
    let restarts = count(reading.restarts, "restart");
    match reasons.is_empty() {
        true => restarts,
        false => format!("{restarts}: {}", reasons.join(", ")),
    }
}

fn of_error(reading: &Status, error: &LastError, theme: Theme, columns: usize) -> Line<'static> {
    let name = error.name.as_deref().map_or_else(|| error.code.to_string(), clean);
    let method = error.method.as_deref().map(|method| format!(" in {}", clean(method)));
    let what = format!("last error: {name}{}", method.unwrap_or_default());
    line(reading, error.at_ms, &what, &clean(&error.message), theme, columns)
}

fn of_exit(reading: &Status, exit: &LastExit, theme: Theme, columns: usize) -> Line<'static> {
    let worker = Some(exit.worker).filter(|worker| *worker > 0);
    let worker = worker.map(|worker| format!(" of worker {worker}"));
    let ran = exit.ran_ms.map(|ms| format!(" after {}", age(ms)));
    let what = format!("Python{}{}", worker.unwrap_or_default(), ran.unwrap_or_default());
    let reason = exit.reason.as_deref().map_or_else(|| "ended".to_owned(), clean);
    line(reading, exit.at_ms, &what, &reason, theme, columns)
}

fn line(reading: &Status, at_ms: u64, what: &str, why: &str, theme: Theme, columns: usize) -> Line<'static> {
    let when = since_ms(reading, at_ms)
        .map(|ms| format!("{} ago", age(ms)))
        .unwrap_or_default();
    let what = format!(" {what}: ");
    let room = columns.saturating_sub(1 + WHEN + width(&what));
    Line::from(vec![
        Span::styled(format!(" {}", right(&when, WHEN)), theme.dim()),
        Span::raw(what),
        Span::styled(fit(why, room), theme.error_bar()),
    ])
}
