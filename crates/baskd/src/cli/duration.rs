//! Durations as people write them: `250ms`, `30s`, `5m`, `2h`, or a number of seconds.

use std::time::Duration;

pub(crate) use baskd::config::duration as parse;

/// As [`parse`], for what makes no sense without any time.
pub(crate) fn parse_some(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}

/// A duration in milliseconds as a person would say it, in its two largest units.
pub(crate) fn spoken(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..10 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("30", 30_000),
            ("1.5", 1500),
            ("0.25s", 250),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "5 s",
            "-1",
            "1.",
            ".5",
            "1.2.3",
            "5d",
            "1e3",
            "99999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_some("0ms").is_err());
    }

    #[test]
    fn what_people_read() {
        for (ms, text) in [
            (12, "12 ms"),
            (1234, "1.2 s"),
            (59_900, "59 s"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(spoken(ms), text);
        }
    }
}
