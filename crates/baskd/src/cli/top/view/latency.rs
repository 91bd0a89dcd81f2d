//! How long calls took: a bar for each range of the last seconds, and the percentiles since the start.

use baskd_client::{Latency, Status};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::pulse::{Ended, Pulse, WINDOW, at_most_ms};
use crate::cli::top::reading::tells_all;
use crate::cli::top::text::{grouped, latency, right};

/// `≤ 2.5 ms`, and the number of calls.
const LABEL: usize = 11;
const NUMBER: usize = 8;

pub(crate) fn draw(status: &Status, pulse: &Pulse, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let recent = pulse.recent().unwrap_or_default();
    let ended: u64 = recent.iter().map(|bucket| bucket.count).sum();
    let bound = |share| at_most_ms(&recent, share).map_or_else(|| "–".to_owned(), latency);
    let name = format!("LATENCY, last {} s", WINDOW.as_secs());
    let sum = match ended {
        0 => String::new(),
        _ => format!("half ≤ {}", bound(0.5)),
    };
    let area = heading(&name, &sum, theme, area, buffer);
    if !tells_all(status) {
        return nothing("this daemon does not tell", theme, area, buffer);
    }
    let bars = Rect {
        height: area.height.saturating_sub(1),
        ..area
    };
    if ended == 0 {
        nothing("no call has ended", theme, bars, buffer);
    } else {
        put(lines(&recent, ended, theme, bars), bars, buffer);
    }
    let last = Rect {
        y: bars.bottom(),
        height: area.height.min(1),
        ..area
    };
    put([since_the_start(&status.latency, theme)], last, buffer);
}

fn since_the_start(whole: &Latency, theme: Theme) -> Line<'static> {
    let named = [
        ("p50", whole.p50_ms),
        ("p90", whole.p90_ms),
        ("p99", whole.p99_ms),
        ("max", whole.max_ms),
    ];
    let mut spans = vec![Span::styled(" all:", theme.dim())];
    for (name, ms) in named {
        spans.push(Span::styled(format!(" {name} "), theme.dim()));
        spans.push(Span::raw(ms.map_or_else(|| "–".to_owned(), latency).replace(' ', "")));
    }
    Line::from(spans)
}

fn lines(buckets: &[Ended], ended: u64, theme: Theme, area: Rect) -> Vec<Line<'static>> {
    let rows = merged(buckets, usize::from(area.height));
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let room = usize::from(area.width).saturating_sub(LABEL + NUMBER + 2);
    let line = |row: &Row| {
        let bound = match row.le_ms {
            Some(ms) => format!("≤ {}", latency(ms)),
            None => format!("> {}", latency(row.above_ms)),
        };
        Line::from(vec![
            Span::raw(right(&bound, LABEL)),
            Span::raw(" "),
            Span::styled(bar(row.count, most, room), theme.bar()),
            Span::styled(
                right(&grouped(row.count), NUMBER),
                if row.count == ended {
                    theme.strong()
                } else {
                    theme.plain()
                },
            ),
        ])
    };
    rows.iter().map(line).collect()
}

#[derive(Debug, PartialEq)]
struct Row {
    above_ms: f64,
    le_ms: Option<f64>,
    count: u64,
}

/// The buckets from the first to the last that have any calls; while there are more of them than rows, the two neighbours
/// that have fewest are taken together: what most calls are in stays as fine as it is told.
fn merged(buckets: &[Ended], rows: usize) -> Vec<Row> {
    let has_any = |bucket: &Ended| bucket.count > 0;
    let (Some(first), Some(last)) = (buckets.iter().position(has_any), buckets.iter().rposition(has_any)) else {
        return Vec::new();
    };
    let bound_before = |at: usize| {
        at.checked_sub(1)
            .and_then(|before| buckets[before].le_ms)
            .unwrap_or(0.0)
    };
    let row = |at: usize| Row {
        above_ms: bound_before(at),
        le_ms: buckets[at].le_ms,
        count: buckets[at].count,
    };
    let mut merged: Vec<Row> = (first..=last).map(row).collect();
    while merged.len() > rows.max(1) {
        let of_both = |at: &usize| merged[*at].count + merged[at + 1].count;
        let Some(at) = (0..merged.len() - 1).min_by_key(of_both) else {
            break;
        };
        let upper = merged.remove(at + 1);
        merged[at].le_ms = upper.le_ms;
        merged[at].count += upper.count;
    }
    merged
}

/// In eighths of a column; what is not nothing is seen.
fn bar(count: u64, most: u64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (count as f64 / most.max(1) as f64 * columns as f64 * 8.0).round() as usize;
    let eighths = if count > 0 { eighths.max(1) } else { 0 };
    let bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    crate::cli::top::text::left(&bar, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[u64]) -> Vec<Ended> {
        let bounds = [Some(1.0), Some(2.0), Some(5.0), Some(10.0), None];
        let bucket = |(le_ms, count): (&Option<f64>, &u64)| Ended {
            le_ms: *le_ms,
            count: *count,
        };
        bounds.iter().zip(counts).map(bucket).collect()
    }

    fn rows(counts: &[u64], rows: usize) -> Vec<(Option<f64>, u64)> {
        merged(&buckets(counts), rows)
            .iter()
            .map(|row| (row.le_ms, row.count))
            .collect()
    }

    #[test]
    fn buckets_are_taken_together_until_they_fit() {
        assert_eq!(rows(&[0, 0, 0, 0, 0], 3), []);
        assert_eq!(
            rows(&[0, 3, 0, 1, 0], 3),
            [(Some(2.0), 3), (Some(5.0), 0), (Some(10.0), 1)]
        );
        assert_eq!(rows(&[1, 3, 2, 1, 7], 3), [(Some(2.0), 4), (Some(10.0), 3), (None, 7)]);
        assert_eq!(rows(&[9, 8, 1, 1, 1], 3), [(Some(1.0), 9), (Some(2.0), 8), (None, 3)]);
        assert_eq!(rows(&[1, 3, 2, 1, 7], 1), [(None, 14)]);
        assert_eq!(rows(&[1, 3, 2, 1, 7], 0), [(None, 14)]);
        assert_eq!(merged(&buckets(&[0, 0, 0, 0, 7]), 3)[0].above_ms, 10.0);
    }

    #[test]
    fn bars_are_as_long_as_they_should_be() {
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(5, 10, 3), "█▌ ");
        assert_eq!(bar(1, 1_000_000, 3), "▏  ");
        assert_eq!(bar(0, 0, 2), "  ");
    }
}
