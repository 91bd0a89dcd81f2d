//! The last error, and how Pythons ended.

use baskd_client::{LastError, LastExit, Status};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::reading::{exits, since_ms, tells_all};
use crate::cli::top::text::{age, clean, count, fit, grouped, right, width};

/// `12m 30s ago`.
const WHEN: usize = 11;

pub(crate) fn draw(status: &Status, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let area = heading("RESTARTS, ERRORS", &sum(status), theme, area, buffer);
    let columns = usize::from(area.width);
    let error = status
        .last_error
        .as_ref()
        .map(|error| of_error(status, error, theme, columns));
    let exits = exits(status);
    if error.is_none() && exits.is_empty() {
        return nothing("none: no call has failed, and no Python has died", theme, area, buffer);
    }
    let exits = exits.into_iter().map(|exit| of_exit(status, exit, theme, columns));
    put(error.into_iter().chain(exits), area, buffer);
}

fn sum(status: &Status) -> String {
    let by = &status.restarts_by;
    let reasons = match tells_all(status) {
        true => vec![
            (by.crash, "crashed"),
            (by.failed_start, "did not start"),
            (by.reload, "reloaded"),
            (by.restart, "asked for"),
            (by.recycled, "recycled"),
        ],
        false => vec![(status.reloads, "reloaded"), (status.recycled, "recycled")],
    };
    let reasons = reasons.into_iter().filter(|(times, _)| *times > 0);
    let reasons: Vec<String> = reasons
        .map(|(times, why)| format!("{} {why}", grouped(times)))
        .collect();
    let restarts = count(status.restarts, "restart");
    match reasons.is_empty() {
        true => restarts,
        false => format!("{restarts}: {}", reasons.join(", ")),
    }
}

fn of_error(status: &Status, error: &LastError, theme: Theme, columns: usize) -> Line<'static> {
    let name = error.name.as_deref().map_or_else(|| error.code.to_string(), clean);
    let method = error.method.as_deref().map(|method| format!(" in {}", clean(method)));
    let what = format!("last error: {name}{}", method.unwrap_or_default());
    line(status, error.at_ms, &what, &clean(&error.message), theme, columns)
}

fn of_exit(status: &Status, exit: &LastExit, theme: Theme, columns: usize) -> Line<'static> {
    let worker = Some(exit.worker).filter(|worker| *worker > 0);
    let worker = worker.map(|worker| format!(" of worker {worker}"));
    let ran = exit.ran_ms.map(|ms| format!(" after {}", age(ms)));
    let what = format!("Python{}{}", worker.unwrap_or_default(), ran.unwrap_or_default());
    let reason = exit.reason.as_deref().map_or_else(|| "ended".to_owned(), clean);
    line(status, exit.at_ms, &what, &reason, theme, columns)
}

fn line(status: &Status, at_ms: u64, what: &str, why: &str, theme: Theme, columns: usize) -> Line<'static> {
    let when = since_ms(status, at_ms)
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
