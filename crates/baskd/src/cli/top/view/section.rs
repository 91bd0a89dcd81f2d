//! A section's heading, and rows below it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::theme::Theme;
use crate::cli::top::text::{fit, width};

/// Draws the heading, with a sum at its right, and gives the area below it.
pub(crate) fn heading(name: &str, sum: &str, theme: Theme, area: Rect, buffer: &mut Buffer) -> Rect {
    let columns = usize::from(area.width);
    let name = fit(name, columns.saturating_sub(3));
    let left = columns.saturating_sub(width(&name) + 3);
    let sum = fit(sum, left.saturating_sub(4));
    let filled = columns.saturating_sub(width(&name) + width(&sum) + if sum.is_empty() { 2 } else { 5 });
    let mut spans = vec![
        Span::raw(" "),
        Span::styled(name, theme.heading()),
        Span::styled(format!(" {}", "─".repeat(filled)), theme.rule()),
    ];
    if !sum.is_empty() {
        spans.push(Span::styled(format!(" {sum} "), theme.plain()));
        spans.push(Span::styled("─", theme.rule()));
    }
    put([Line::from(spans)], area, buffer);
    Rect {
        y: area.y + area.height.min(1),
        height: area.height.saturating_sub(1),
        ..area
    }
}

/// What stands where there is nothing.
pub(crate) fn nothing(text: &str, theme: Theme, area: Rect, buffer: &mut Buffer) {
    put([Line::styled(format!(" {text}"), theme.dim())], area, buffer);
}

/// How much of a list that is longer than its area comes before what is shown, so that the row `at` is shown.
pub(crate) fn first_row(rows: usize, height: usize, at: Option<usize>) -> usize {
    let at = at.unwrap_or(0);
    (at + 1).saturating_sub(height).min(rows.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_is_shown() {
        assert_eq!(first_row(3, 5, Some(2)), 0);
        assert_eq!(first_row(10, 3, None), 0);
        assert_eq!(first_row(10, 3, Some(2)), 0);
        assert_eq!(first_row(10, 3, Some(3)), 1);
        assert_eq!(first_row(10, 3, Some(9)), 7);
        assert_eq!(first_row(0, 0, None), 0);
    }

    #[test]
    fn a_heading_fits_whatever_it_says() {
        for columns in 0..60 {
            let area = Rect::new(0, 0, columns, 2);
            let mut buffer = Buffer::empty(area);
            heading(
                "CALL  METHOD",
                "3 under way, 1 queued",
                Theme::with_colours(true),
                area,
                &mut buffer,
            );
        }
    }
}
