//! Numbers as a person reads them.

use crate::cli::duration::spoken;

pub(crate) fn count(number: u64, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{} {what}s", grouped(number))
    }
}

/// With a comma before each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// So often a second.
pub(crate) fn every(rate: f64) -> String {
    match rate {
        none if none <= 0.0 => "0".to_owned(),
        rare if rare < 0.01 => "< 0.01".to_owned(),
        few if few < 1.0 => format!("{few:.2}"),
        some if some < 100.0 => format!("{some:.1}"),
        many => grouped(many.round() as u64),
    }
}

/// Milliseconds, to two digits or more.
pub(super) fn millis(ms: f64) -> String {
    match ms {
        short if short < 1.0 => format!("{short:.2} ms"),
        short if short < 10.0 => format!("{short:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        long => spoken(long as u64),
    }
}

pub(crate) fn size(bytes: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    match bytes as f64 / MIB {
        _ if bytes < 10_240 => format!("{bytes} bytes"),
        tiny if tiny < 1.0 => format!("{:.0} KiB", tiny * 1024.0),
        small if small < 10.0 => format!("{small:.1} MiB"),
        medium if medium < 1024.0 => format!("{medium:.0} MiB"),
        large => format!("{:.1} GiB", large / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let told = [0, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(told, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!(
            (count(1, "call"), count(1204, "call")),
            ("1 call".to_owned(), "1,204 calls".to_owned())
        );
    }

    #[test]
    fn rates_and_times_have_the_digits_that_matter() {
        let rates = [0.0, 0.003, 0.283, 12.54, 99.96, 52_341.7].map(every);
        assert_eq!(rates, ["0", "< 0.01", "0.28", "12.5", "100.0", "52,342"]);
        let times = [0.127, 4.895, 231.7, 999.4, 1001.5, 61_000.0].map(millis);
        assert_eq!(times, ["0.13 ms", "4.9 ms", "232 ms", "999 ms", "1.0 s", "1 min 1 s"]);
    }
}
