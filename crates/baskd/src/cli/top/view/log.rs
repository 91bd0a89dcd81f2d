//! The log's last lines, each with the call that printed it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::model::{Mode, Model};
use crate::cli::top::tail::{self, Entry};
use crate::cli::top::text::{count, fit, left, right};

pub(crate) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let rows = usize::from(area.height).saturating_sub(1);
    let (entries, newer) = model.shown().tail.shown(&model.look, rows);
    let filter = match model.look.filter.as_str() {
        "" => None,
        filter => Some(format!("only with “{}”", fit(filter, 30))),
    };
    let place = match (model.look.until, newer) {
        (None, _) => "following".to_owned(),
        (Some(_), 0) => "standing still".to_owned(),
        (Some(_), newer) => format!("standing still, {} below", count(newer as u64, "newer line")),
    };
    let sum = filter.into_iter().chain([place]).collect::<Vec<_>>().join(", ");
    // The call's number is as wide as a number gets before it takes room from the text.
    let titles = format!(
        "{} {} {}  {}",
        left("LOG", 8),
        left("FROM", 6),
        right("CALL", 7),
        left("METHOD", method_width(area))
    );
    let area = heading(titles.trim_end(), &sum, theme, area, buffer);
    if entries.is_empty() {
        let text = match (&model.mode, model.look.filter.is_empty()) {
            (Mode::Filter { .. }, _) | (_, false) => "no line has that",
            _ => "nothing was logged yet",
        };
        return nothing(text, theme, area, buffer);
    }
    put(entries.into_iter().map(|entry| line(entry, theme, area)), area, buffer);
}

fn method_width(area: Rect) -> usize {
    (usize::from(area.width) / 6).clamp(12, 24)
}

fn line(entry: &Entry, theme: Theme, area: Rect) -> Line<'static> {
    let columns = usize::from(area.width);
    let line = match entry {
        Entry::Note(note) => {
            let note = fit(&format!(" ── {note} "), columns);
            return Line::styled(left(&note, columns), theme.busy());
        }
        Entry::Line(line) => line,
    };
    let style = style_of(line, theme);
    let call = line.call.map_or_else(String::new, |call| format!("#{call}"));
    let method = left(line.method.as_deref().unwrap_or_default(), method_width(area));
    let used = 1 + 8 + 1 + 6 + 1 + 7 + 2 + method_width(area) + 1;
    Line::from(vec![
        Span::styled(format!(" {} ", left(&line.time, 8)), theme.dim()),
        Span::styled(
            left(&line.stream, 6),
            if line.stream == "daemon" { style } else { theme.dim() },
        ),
        Span::styled(format!(" {}  {method} ", right(&call, 7)), theme.dim()),
        Span::styled(fit(&line.text, columns.saturating_sub(used)), style),
    ])
}

fn style_of(line: &tail::Line, theme: Theme) -> ratatui::style::Style {
    match line.level.as_str() {
        "error" | "ERROR" => theme.bad(),
        "warn" | "warning" | "WARN" => theme.busy(),
        _ => theme.plain(),
    }
}
