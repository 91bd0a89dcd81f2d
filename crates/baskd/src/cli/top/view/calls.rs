//! The calls under way, oldest first.

use baskd_client::Status;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{first_row, heading, nothing};
use super::theme::Theme;
use crate::cli::top::reading::{Call, under_way};
use crate::cli::top::text::{age, clean, fit, grouped, left, right, width};

pub(crate) fn draw(status: &Status, selected: Option<u64>, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let calls = under_way(status);
    let sum = match (status.in_flight, status.queued) {
        (0, 0) => String::new(),
        (running, queued) => format!("{} in Python, {} queued", grouped(running), grouped(queued)),
    };
    let titles = format!(
        "{} {}  {} {}  {}",
        right("CALL", 9),
        right("AGE", 8),
        left("WHERE", 9),
        right("WORKER", 6),
        "METHOD"
    );
    let area = heading(&titles, &sum, theme, area, buffer);
    if calls.is_empty() {
        return nothing("no call is under way", theme, area, buffer);
    }
    let at = calls.iter().position(|call| Some(call.number) == selected);
    let first = first_row(calls.len(), usize::from(area.height), at);
    let columns = usize::from(area.width);
    let lines = calls.iter().enumerate().skip(first);
    put(
        lines.map(|(row, call)| line(call, Some(row) == at, theme, columns)),
        area,
        buffer,
    );
}

fn line(call: &Call, is_selected: bool, theme: Theme, columns: usize) -> Line<'static> {
    let place = clean(&call.place);
    let mark = if is_selected { '▶' } else { ' ' };
    let number = format!(
        "{mark}{} {}  ",
        right(&call.number.to_string(), 9),
        right(&age(call.age_ms), 8)
    );
    let worker = call.worker.map_or_else(|| "–".to_owned(), |worker| worker.to_string());
    let worker = format!(" {}  ", right(&worker, 6));
    let place_style = if place == "running" {
        theme.plain()
    } else {
        theme.busy()
    };
    let used = width(&number) + 9 + width(&worker);
    let method = left(
        &fit(&clean(&call.method), columns.saturating_sub(used)),
        columns.saturating_sub(used),
    );
    let line = Line::from(vec![
        Span::raw(number),
        Span::styled(left(&place, 9), place_style),
        Span::raw(worker),
        Span::styled(method, theme.strong()),
    ]);
    if is_selected {
        line.patch_style(theme.selected())
    } else {
        line
    }
}
