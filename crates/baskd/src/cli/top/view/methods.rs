//! The methods that were called, most called first: where there is room.

use baskd_client::{Method, Status};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::text::{clean, count, grouped, latency, left, right};

/// Of the columns after the name.
const NUMBERS: usize = 10 + 9 + 3 * 9;

pub(crate) fn draw(status: &Status, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let methods = &status.methods;
    let rows = usize::from(area.height).saturating_sub(1);
    let sum = match methods.len() {
        many if many > rows => format!("{rows} of {}", count(many as u64, "method")),
        _ => String::new(),
    };
    let room = usize::from(area.width).saturating_sub(NUMBERS + 3);
    let titles = format!(
        "{}{}{}{}{}{}",
        left("METHOD", room),
        right("CALLS", 10),
        right("ERRORS", 9),
        right("p50", 9),
        right("p99", 9),
        right("max", 9)
    );
    let area = heading(&titles, &sum, theme, area, buffer);
    if methods.is_empty() {
        return nothing("none was called", theme, area, buffer);
    }
    put(methods.iter().map(|method| line(method, theme, room)), area, buffer);
}

fn line(method: &Method, theme: Theme, room: usize) -> Line<'static> {
    let took = |ms: Option<f64>| right(&ms.map_or_else(|| "–".to_owned(), latency), 9);
    let errors = if method.errors > 0 { theme.bad() } else { theme.plain() };
    Line::from(vec![
        Span::styled(format!(" {}", left(&clean(&method.method), room)), theme.strong()),
        Span::raw(right(&grouped(method.calls), 10)),
        Span::styled(right(&grouped(method.errors), 9), errors),
        Span::raw(took(method.p50_ms) + &took(method.p99_ms) + &took(method.max_ms)),
    ])
}
