//! The methods that were called, most called first: where there is room.

use baskd_client::{Method, Status};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::text::{clean, count, grouped, latency, left, right};

/// Of the columns after the name: calls and errors, and a percentile or the longest.
const COUNT: usize = 9;
const TIME: usize = 8;
/// From here on there is room for all of them.
const WIDE: u16 = 60;

pub(crate) fn draw(status: &Status, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let methods = &status.methods;
    let rows = usize::from(area.height).saturating_sub(1);
    let sum = match methods.len() {
        many if many > rows => format!("{rows} of {}", count(many as u64, "method")),
        _ => String::new(),
    };
    let times: &[Column] = if area.width < WIDE { &COLUMNS[..2] } else { &COLUMNS };
    let room = usize::from(area.width).saturating_sub(2 * COUNT + times.len() * TIME + 3);
    let mut titles = left("METHOD", room) + &right("CALLS", COUNT) + &right("ERRORS", COUNT);
    titles.extend(times.iter().map(|(name, _)| right(name, TIME)));
    let area = heading(&titles, &sum, theme, area, buffer);
    if methods.is_empty() {
        return nothing("none was called", theme, area, buffer);
    }
    let lines = methods.iter().map(|method| line(method, times, theme, room));
    put(lines, area, buffer);
}

type Column = (&'static str, fn(&Method) -> Option<f64>);

/// Most telling first.
const COLUMNS: [Column; 3] = [
    ("p50", |method| method.p50_ms),
    ("p99", |method| method.p99_ms),
    ("max", |method| method.max_ms),
];

fn line(method: &Method, times: &[Column], theme: Theme, room: usize) -> Line<'static> {
    let took = |ms: Option<f64>| right(&ms.map_or_else(|| "–".to_owned(), latency), TIME);
    let errors = if method.errors > 0 { theme.bad() } else { theme.plain() };
    let times: String = times.iter().map(|(_, of)| took(of(method))).collect();
    Line::from(vec![
        Span::styled(format!(" {}", left(&clean(&method.method), room)), theme.strong()),
        Span::raw(right(&grouped(method.calls), COUNT)),
        Span::styled(right(&grouped(method.errors), COUNT), errors),
        Span::raw(times),
    ])
}
