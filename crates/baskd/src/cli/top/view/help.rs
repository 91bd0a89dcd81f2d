//! The page that says what the keys do, and what is to be seen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::heading;
use super::theme::Theme;
use crate::cli::top::keys::ROWS;

const NOTES: [&str; 5] = [
    "RATES    a column for each look at the daemon, the newest at the right",
    "LATENCY  from a call's request to its answer, its wait among it; a bar for",
    "         each range, of the calls that ended in the last 10 s",
    "WHERE    running: Python has begun it; queued: it waits; starting: Python does",
    "LOG      #18 is the call that printed the line, where that is known",
];

pub(crate) fn draw(theme: Theme, area: Rect, buffer: &mut Buffer) {
    let area = heading("KEYS", "any key goes back", theme, area, buffer);
    let keys = ROWS.iter().map(|row| {
        Line::from(vec![
            Span::styled(format!("  {:<10}", row.keys), theme.heading()),
            Span::raw(row.sentence),
        ])
    });
    let notes = NOTES
        .iter()
        .map(|note| Line::styled(format!("  {note}"), theme.plain()));
    put(keys.chain([Line::default()]).chain(notes), area, buffer);
}
