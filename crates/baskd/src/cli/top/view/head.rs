//! The two lines at the top: which instance, and how it is; and below them what is wrong.

use baskd_client::Status;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::theme::Theme;
use crate::cli::duration::spoken;
use crate::cli::top::model::{Link, Model};
use crate::cli::top::text::{clean, count, fit, fit_end, width};

/// No reason takes more of the screen than this.
const ROWS: usize = 2;

pub(crate) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width);
    let Some(reading) = &model.shown().reading else {
        return put([Line::styled(" asking the daemon", theme.dim())], area, buffer);
    };
    put(
        [first(model, reading, theme, columns), second(reading, theme, columns)],
        area,
        buffer,
    );
}

fn first(model: &Model, reading: &Status, theme: Theme, columns: usize) -> Line<'static> {
    let state = match &model.link {
        Link::Up => clean(&reading.state),
        Link::Silent { .. } => "no answer".to_owned(),
        Link::Lost { .. } => "no daemon".to_owned(),
    };
    let style = theme.state(&state);
    let mut spans = vec![
        Span::styled(format!(" {}", fit(&clean(&reading.name), 40)), theme.strong()),
        Span::raw("  "),
        Span::styled(format!("● {state}"), style),
    ];
    if model.is_frozen() {
        spans.push(Span::raw("  "));
        spans.push(Span::styled(" frozen ", theme.selected()));
    }
    let about = format!(
        "baskd {}, process {}, up {} ",
        clean(&reading.version),
        reading.pid,
        spoken(reading.uptime_ms)
    );
    ends(spans, &about, theme, columns)
}

fn second(reading: &Status, theme: Theme, columns: usize) -> Line<'static> {
    let mut parts = vec![];
    let python = &reading.python;
    if let Some(version) = &python.version {
        let codec = python.codec.as_ref().map(|codec| format!(" with {}", clean(codec)));
        parts.push(format!("Python {}{}", clean(version), codec.unwrap_or_default()));
    }
    parts.push(count(reading.connections, "client"));
    if reading.listening.as_deref() == Some("systemd") {
        parts.push("systemd".to_owned());
    }
    let about = format!("{} ", parts.join(", "));
    let controller = match reading.controller.embedded {
        true => format!("{} (the embedded example)", clean(&reading.controller.class)),
        false => clean(&reading.controller.spec),
    };
    let room = columns.saturating_sub(width(&about) + 3);
    ends(
        vec![Span::raw(format!(" {}", fit_end(&controller, room)))],
        &about,
        theme,
        columns,
    )
}

/// Something at the left, and something less important at the right where there is room.
fn ends(mut left: Vec<Span<'static>>, right: &str, theme: Theme, columns: usize) -> Line<'static> {
    let used: usize = left.iter().map(Span::width).sum();
    let right = fit(right, columns.saturating_sub(used + 2));
    let between = columns.saturating_sub(used + width(&right));
    left.push(Span::raw(" ".repeat(between)));
    left.push(Span::styled(right, theme.dim()));
    Line::from(left)
}

/// What keeps what is shown from being good, or new.
pub(crate) fn notices(model: &Model, theme: Theme, columns: u16) -> Vec<Line<'static>> {
    let since = |since| spoken(model.now.saturating_sub(since).as_millis() as u64);
    let text = match &model.link {
        Link::Silent { since: at } => format!("The daemon has not answered for {}; this is how it was.", since(*at)),
        Link::Lost { since: at, why } => format!(
            "Gone for {}: {why}. This is how it was; it goes on by itself when the daemon is back.",
            since(*at)
        ),
        Link::Up => {
            let reading = model.shown().reading.as_ref();
            let Some(reason) = reading.and_then(|reading| reading.reason.as_ref()) else {
                return Vec::new();
            };
            clean(reason)
        }
    };
    let columns = usize::from(columns).saturating_sub(2);
    let wrapped = wrap(&text, columns, ROWS);
    wrapped
        .into_iter()
        .map(|line| Line::styled(format!(" {line}"), theme.bad()))
        .collect()
}

/// Breaks a text between words; what is left after the last line is cut.
fn wrap(text: &str, columns: usize, lines: usize) -> Vec<String> {
    let mut wrapped: Vec<String> = Vec::new();
    let mut words = text.split(' ').peekable();
    while wrapped.len() + 1 < lines && words.peek().is_some() {
        let mut line = String::new();
        while let Some(word) = words.next_if(|word| line.is_empty() || width(&line) + 1 + width(word) <= columns) {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        wrapped.push(fit(&line, columns));
    }
    let rest = words.collect::<Vec<_>>().join(" ");
    if !rest.is_empty() {
        wrapped.push(fit(&rest, columns));
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_broken_between_words() {
        assert_eq!(wrap("short", 20, 2), ["short"]);
        assert_eq!(wrap("one two three four five", 9, 2), ["one two", "three fo…"]);
        assert_eq!(wrap("unbreakable", 5, 2), ["unbr…"]);
        assert_eq!(wrap("", 5, 2), [""]);
    }
}
