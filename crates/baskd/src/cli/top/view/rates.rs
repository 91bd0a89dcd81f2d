//! Calls and errors a second: a column for each reading, the newest at the right.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{RenderDirection, Sparkline, Widget};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::model::Model;
use crate::cli::top::pulse::Sample;
use crate::cli::top::text::{count, rate};

/// A sparkline takes whole numbers; rates below one a second are to be seen, too.
const FINENESS: f64 = 1000.0;
/// In front of each graph.
const LABEL: u16 = 15;

pub(crate) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let data = model.shown();
    let reading = data.reading.as_ref();
    let sum = reading.map(|reading| count(reading.calls, "call")).unwrap_or_default();
    let area = heading("RATES a second", &sum, theme, area, buffer);
    let Some(last) = data.pulse.last() else {
        return nothing("counting", theme, area, buffer);
    };
    let rates = reading.and_then(|reading| reading.rates.as_ref());
    let of = |value: fn(&crate::cli::top::reading::Rate) -> f64| {
        rates.map(|rates| [value(&rates.of_10s), value(&rates.of_1m), value(&rates.of_5m)])
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
    let graph = |name, now: f64, averages: Option<[f64; 3]>, style: Style, strong: Style| Graph {
        name,
        now,
        averages,
        style,
        strong,
    };
    let calls = graph("calls", last.calls, of(|rate| rate.calls), theme.bar(), theme.strong());
    let has_errors = last.errors > 0.0;
    let strong = if has_errors { theme.bad() } else { theme.strong() };
    let errors = graph("errors", last.errors, of(|rate| rate.errors), theme.error_bar(), strong);
    calls.draw(model, |sample| sample.calls, theme, calls_area, buffer);
    errors.draw(model, |sample| sample.errors, theme, errors_area, buffer);
}

struct Graph {
    name: &'static str,
    now: f64,
    /// Over 10 s, a minute and five.
    averages: Option<[f64; 3]>,
    style: Style,
    strong: Style,
}

impl Graph {
    fn draw(&self, model: &Model, value: fn(&Sample) -> f64, theme: Theme, area: Rect, buffer: &mut Buffer) {
        let label = |name: &str, number: f64, style| {
            Line::from(vec![
                Span::styled(format!(" {name:<6}"), theme.dim()),
                Span::styled(format!("{:>7}", rate(number)), style),
            ])
        };
        let mut labels = vec![label(self.name, self.now, self.strong)];
        let over = ["  10 s", "  1 min", "  5 min"];
        if let Some(averages) = self.averages {
            labels.extend(
                over.into_iter()
                    .zip(averages)
                    .map(|(name, number)| label(name, number, theme.plain())),
            );
        }
        put(
            labels,
            Rect {
                width: LABEL.min(area.width),
                ..area
            },
            buffer,
        );
        let plot = Rect {
            x: area.x + LABEL.min(area.width),
            width: area.width.saturating_sub(LABEL),
            ..area
        };
        let samples = model.shown().pulse.samples(usize::from(plot.width));
        let mut values: Vec<u64> = samples
            .map(|sample| (value(sample) * FINENESS).round() as u64)
            .collect();
        values.reverse();
        Sparkline::default()
            .data(values)
            .direction(RenderDirection::RightToLeft)
            .style(self.style)
            .render(plot, buffer);
    }
}
