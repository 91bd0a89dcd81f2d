//! A line of the log, as a person reads it.

use std::borrow::Cow;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use baskd_client::LogLine;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::harmless::harmless;

/// How lines are written where they go.
pub(crate) struct Style {
    is_coloured: bool,
    /// Whether what is in a line could do something.
    is_terminal: bool,
    zone: TimeZone,
}

const DIM: &str = "2";
const CYAN: &str = "36";
const YELLOW: &str = "33";
const RED: &str = "31";
const GREEN: &str = "32";

impl Style {
    pub(crate) fn of_stdout() -> Style {
        let is_terminal = io::stdout().is_terminal();
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Style {
            is_coloured: is_terminal && !no_color && !is_dumb,
            is_terminal,
            zone: TimeZone::system(),
        }
    }

    /// Its time here, its stream or the daemon's level, who has printed it, and what.
    pub(crate) fn line(&self, line: &LogLine) -> String {
        let time = match line.time.parse::<Timestamp>() {
            Ok(time) => time
                .to_zoned_datetime(self.zone.clone())
                .strftime("%m-%d %H:%M:%S%.3f")
                .to_string(),
            Err(_) => self.shown(&line.time).into_owned(),
        };
        let (label, colour) = match (line.stream.as_str(), line.level.as_str()) {
            ("daemon", "error") => ("error", RED),
            ("daemon", "warn") => ("warn", YELLOW),
            ("daemon", level) => (level, GREEN),
            ("stderr", _) => ("stderr", YELLOW),
            (stream, _) => (stream, DIM),
        };
        let mut text = format!(
            "{} {} ",
            self.painted(DIM, &time),
            self.painted(colour, &format!("{label:6}"))
        );
        if let Some(call) = line.call {
            let who = format!("{}#{call}:", line.method.as_deref().unwrap_or_default());
            // A String takes all.
            let _ = write!(text, "{} ", self.painted(CYAN, &self.shown(&who)));
        }
        text += &self.shown(&line.line);
        text.push('\n');
        text
    }

    /// What is no line of the log.
    pub(crate) fn remark(&self, text: &str) -> String {
        format!("{}\n", self.painted(YELLOW, &format!("-- {text} --")))
    }

    fn shown<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.is_terminal {
            true => harmless(text),
            false => Cow::Borrowed(text),
        }
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        match self.is_coloured {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn style(is_coloured: bool, is_terminal: bool) -> Style {
        Style {
            is_coloured,
            is_terminal,
            zone: TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::fixed(jiff::tz::offset(1))),
        }
    }

    fn line(stream: &str, call: Option<u64>, text: &str) -> LogLine {
        serde_json::from_value(json!({
            "time": "2026-11-25T22:49:14.123456789Z", "level": "info", "stream": stream, "call": call,
            "method": call.map(|_| "search"), "line": text,
        }))
        .unwrap()
    }

    #[test]
    fn a_line_tells_when_and_who() {
        let style = style(false, false);
        assert_eq!(
            style.line(&line("stdout", Some(18), "hello")),
            "11-25 23:49:14.123 stdout search#18: hello\n"
        );
        assert_eq!(
            style.line(&line("daemon", None, "listening")),
            "11-25 23:49:14.123 info   listening\n"
        );
        assert_eq!(
            style.line(&line("stderr", None, "a\x1bb")),
            "11-25 23:49:14.123 stderr a\x1bb\n"
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(
            style(true, true).line(&line("stdout", Some(18), "hello")),
            "\x1b[2m11-25 23:49:14.123\x1b[0m \x1b[2mstdout\x1b[0m \x1b[36msearch#18:\x1b[0m hello\n"
        );
    }

    #[test]
    fn a_terminal_obeys_nothing() {
        let shown = style(false, true).line(&line("stdout", None, "\x1b]0;title\x07"));
        assert!(shown.ends_with("^[]0;title^G\n"));
    }
}
