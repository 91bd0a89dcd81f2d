//! Calls and errors a second: a column for each reading, the newest at the right.

use baskd_client::{Rate, Status};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{RenderDirection, Sparkline, Widget};

use super::put;
use super::section::heading;
use super::theme::Theme;
use crate::cli::top::pulse::{Pulse, Sample};
use crate::cli::top::reading::tells_all;
use crate::cli::top::text::{count, rate, right};

/// A sparkline takes whole numbers; rates below one a second are to be seen, too.
const FINENESS: f64 = 1000.0;
/// In front of each graph.
const LABEL: u16 = 16;

pub(crate) fn draw(status: &Status, pulse: &Pulse, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let area = heading("RATES a second", &count(status.calls, "call"), theme, area, buffer);
    let averages = |of: fn(&Rate) -> f64| {
        let rates = &status.rates;
        tells_all(status).then(|| [of(&rates.ten_seconds), of(&rates.minute), of(&rates.five_minutes)])
    };
    // Errors are rare, and a low graph shows them as well.
    let errors_height = (area.height / 3).max(1);
    let calls_area = Rect {
        height: area.height - errors_height,
        ..area
    };
    let errors_area = Rect {
        y: calls_area.bottom(),
        height: errors_height,
        ..area
    };
    let calls = Graph {
        name: "calls",
        value: |sample| sample.calls,
        averages: averages(|rate| rate.calls),
        bars: theme.bar(),
        number: theme.strong(),
    };
    let has_errors = pulse.last().is_some_and(|last| last.errors > 0.0);
    let errors = Graph {
        name: "errors",
        value: |sample| sample.errors,
        averages: averages(|rate| rate.errors),
        bars: theme.error_bar(),
        number: if has_errors { theme.bad() } else { theme.strong() },
    };
    calls.draw(pulse, theme, calls_area, buffer);
    errors.draw(pulse, theme, errors_area, buffer);
}

struct Graph {
    name: &'static str,
    value: fn(&Sample) -> f64,
    /// Over 10 s, a minute and five.
    averages: Option<[f64; 3]>,
    bars: Style,
    /// Of the last value.
    number: Style,
}

impl Graph {
    fn draw(&self, pulse: &Pulse, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let label = |name: &str, number: Option<f64>, style| {
            let number = number.map_or_else(|| "–".to_owned(), rate);
            Line::from(vec![
                Span::styled(format!(" {name:<6}"), theme.dim()),
                Span::styled(right(&number, 8), style),
            ])
        };
        let now = pulse.last().as_ref().map(self.value);
        let mut labels = vec![label(self.name, now, self.number)];
        let over = [" 10 s", " 1 min", " 5 min"];
        let averages = over.into_iter().zip(self.averages.unwrap_or_default());
        labels.extend(
            averages
                .filter(|_| self.averages.is_some())
                .map(|(name, number)| label(name, Some(number), theme.plain())),
        );
        let columns = LABEL.min(area.width);
        put(labels, Rect { width: columns, ..area }, buffer);
        let plot = Rect {
            x: area.x + columns,
            width: area.width - columns,
            ..area
        };
        let samples = pulse.samples(usize::from(plot.width));
        let values = samples.map(|sample| ((self.value)(sample) * FINENESS).round() as u64);
        let mut values: Vec<u64> = values.collect();
        values.reverse();
        Sparkline::default()
            .data(values)
            .direction(RenderDirection::RightToLeft)
            .style(self.bars)
            .render(plot, buffer);
    }
}
