//! Durations and sizes as people write them.

use std::time::Duration;

/// `250ms`, `30s`, `5m`, `2h`, or a number of seconds; and `50us`, for what is so short.
///
/// # Errors
/// Says how it is to be written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || format!("`{text}` is no duration: write 250ms, 30s, 5m, 2h, or a number of seconds");
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" => 0.000_001,
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(malformed()),
    };
    // A number is digits, with at most one point between: "1." and ".5" are more likely to be slips.
    if !number.starts_with(|c: char| c.is_ascii_digit()) || number.ends_with('.') {
        return Err(malformed());
    }
    let number: f64 = number.parse().map_err(|_| malformed())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("`{text}` is longer than anyone can wait"))
}

/// `32MiB`, `100kB`, or a number of bytes.
pub(crate) fn size(text: &str) -> Option<usize> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let bytes: usize = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(bytes)
}

/// A duration as it would be written.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if !duration.subsec_micros().is_multiple_of(1000) {
        format!("{}us", duration.as_micros())
    } else if duration.subsec_millis() > 0 {
        format!("{}ms", duration.as_millis())
    } else if seconds > 0 && seconds.is_multiple_of(3600) {
        format!("{}h", seconds / 3600)
    } else if seconds > 0 && seconds.is_multiple_of(60) {
        format!("{}m", seconds / 60)
    } else {
        format!("{seconds}s")
    }
}

/// A size as it would be written.
pub(crate) fn size_text(bytes: usize) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("64", 64),
            ("64B", 64),
            ("32MiB", 32 << 20),
            ("32 mib", 32 << 20),
            ("1GiB", 1 << 30),
            ("10kB", 10_000),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "32M",
            "32 Mi B",
            "99999999999999999999",
            "99999999999GiB",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn how_they_are_told() {
        assert_eq!(duration_text(Duration::from_millis(1500)), "1500ms");
        assert_eq!(duration_text(duration("50us").unwrap()), "50us");
        for text in ["0s", "90s", "10m", "2h"] {
            assert_eq!(duration_text(duration(text).unwrap()), text);
        }
        assert_eq!(size_text(32 << 20), "32 MiB");
        assert_eq!(size_text(256), "256 bytes");
    }
}
