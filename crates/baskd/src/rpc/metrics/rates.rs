//! How many calls ended in each of the last seconds.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// For how many seconds it is known.
const SECONDS: usize = 300;
/// Over how long rates are told, and what that is called.
pub(crate) const SPANS: [(&str, u64); 3] = [("10s", 10), ("1m", 60), ("5m", 300)];

/// A ring of seconds: 4.7 KiB.
pub(crate) struct Rates {
    since: Instant,
    seconds: [Cell<Second>; SECONDS],
}

#[derive(Clone, Copy, Default)]
struct Second {
    /// Which second since the start it is.
    at: u64,
    calls: u32,
    errors: u32,
}

/// Calls a second, and those of them that ended in an error.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) calls: f64,
    pub(crate) errors: f64,
}

impl Rates {
    pub(crate) fn since(since: Instant) -> Rates {
        Rates {
            since,
            seconds: [const {
                Cell::new(Second {
                    at: 0,
                    calls: 0,
                    errors: 0,
                })
            }; SECONDS],
        }
    }

    pub(crate) fn ended(&self, now: Instant, is_error: bool) {
        let at = now.saturating_duration_since(self.since).as_secs();
        let place = &self.seconds[at as usize % SECONDS];
        let mut second = place.get();
        if second.at != at {
            second = Second {
                at,
                ..Second::default()
            };
        }
        second.calls = second.calls.saturating_add(1);
        second.errors = second.errors.saturating_add(u32::from(is_error));
        place.set(second);
    }

    /// Over the last so many seconds, the present one as far as it has come; or since the start, where that is shorter.
    pub(crate) fn over(&self, seconds: u64, now: Instant) -> Rate {
        let age = now.saturating_duration_since(self.since);
        let first = (age.as_secs() + 1).saturating_sub(seconds.min(SECONDS as u64));
        let mut rate = Rate::default();
        let known = self.seconds.iter().map(Cell::get);
        for second in known.filter(|second| (first..=age.as_secs()).contains(&second.at)) {
            rate.calls += f64::from(second.calls);
            rate.errors += f64::from(second.errors);
        }
        // A call in the first moment is no thousand a second.
        let span = (age - Duration::from_secs(first)).as_secs_f64().max(1.0);
        Rate {
            calls: rate.calls / span,
            errors: rate.errors / span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_forgotten_when_its_place_is_used_again() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let rates = Rates::since(start);
        for second in 0..1000 {
            for tenth in 0..10 {
                rates.ended(at(second * 1000 + tenth * 100), tenth == 0);
            }
        }
        for (_, seconds) in SPANS {
            let rate = rates.over(seconds, at(999_999));
            assert!(
                (rate.calls - 10.0).abs() < 0.01 && (rate.errors - 1.0).abs() < 0.01,
                "{rate:?}"
            );
        }
        // Then nothing more comes.
        let rate = rates.over(60, at(1_029_999));
        assert!((rate.calls - 5.0).abs() < 0.01, "{rate:?}");
        assert_eq!(rates.over(10, at(1_029_999)), Rate::default());
        assert_eq!(rates.over(300, at(9_000_000)), Rate::default());
    }

    #[test]
    fn of_a_young_daemon_they_are_since_its_start() {
        let start = Instant::now();
        let rates = Rates::since(start);
        for _ in 0..10 {
            rates.ended(start, false);
        }
        let over = |ms| rates.over(300, start + Duration::from_millis(ms)).calls;
        assert_eq!([over(0), over(1000), over(4000)], [10.0, 10.0, 2.5]);
    }
}
