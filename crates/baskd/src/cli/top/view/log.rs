//! The log's last lines, each with the call that printed it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::model::{Mode, Model};
use crate::cli::top::tail::{self, Entry};
use crate::cli::top::text::{count, fit, left};

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
        "{} {} {} TEXT",
        left("LOG", 8),
        left("FROM", 6),
        left("CALL", call_width(area))
    );
    let area = heading(&titles, &sum, theme, area, buffer);
    if entries.is_empty() {
        let text = match (&model.mode, model.look.filter.is_empty()) {
            (Mode::Filter { .. }, _) | (_, false) => "no line has that",
            _ => "nothing was logged yet",
        };
        return nothing(text, theme, area, buffer);
    }
    put(entries.into_iter().map(|entry| line(entry, theme, area)), area, buffer);
}

/// Of a call's number and its method.
fn call_width(area: Rect) -> usize {
    (usize::from(area.width) / 5).clamp(16, 30)
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
    let number = line.call.map(|call| format!("#{call}"));
    let call = [number.as_deref(), line.method.as_deref()];
    let call = call.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let used = 1 + 8 + 1 + 6 + 1 + call_width(area) + 1;
    Line::from(vec![
        Span::styled(format!(" {} ", left(&line.time, 8)), theme.dim()),
        Span::styled(
            left(&line.stream, 6),
            if line.stream == "daemon" { style } else { theme.dim() },
        ),
        Span::styled(format!(" {} ", left(&call, call_width(area))), theme.dim()),
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
