//! How many calls ended in each of the last seconds.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// For how many seconds it is known: a few more than are told of.
const SECONDS: usize = 512;
/// Over how long rates are told, and what that is called.
pub(crate) const SPANS: [(&str, u64); 3] = [("10s", 10), ("1m", 60), ("5m", 300)];

/// A ring of seconds: 8 KiB.
pub(crate) struct Rates {
    since: Instant,
    /// The last second in which a call has ended, since the start, and when it is over.
    present: Cell<u64>,
    until: Cell<Instant>,
    seconds: Box<[Cell<Second>; SECONDS]>,
}

#[derive(Clone, Copy)]
struct Second {
    /// Which second since the start it is.
    at: u64,
    calls: u32,
    errors: u32,
}

impl Second {
    const NONE: Second = Second {
        at: 0,
        calls: 0,
        errors: 0,
    };
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
            present: Cell::new(0),
            until: Cell::new(since + Duration::from_secs(1)),
            seconds: Box::new([const { Cell::new(Second::NONE) }; SECONDS]),
        }
    }

    /// A call has ended. One that ended just before the last second began counts in that.
    pub(crate) fn ended(&self, now: Instant, is_error: bool) {
        if now >= self.until.get() {
            self.begin(now);
        }
        let place = &self.seconds[self.present.get() as usize % SECONDS];
        let mut second = place.get();
        second.calls = second.calls.saturating_add(1);
        second.errors = second.errors.saturating_add(u32::from(is_error));
        place.set(second);
    }

    /// Another second has begun.
    fn begin(&self, now: Instant) {
        let at = now.saturating_duration_since(self.since).as_secs();
        self.present.set(at);
        self.until.set(self.since + Duration::from_secs(at + 1));
        self.seconds[at as usize % SECONDS].set(Second { at, ..Second::NONE });
    }

    /// Over the last so many seconds, the present one as far as it has come; or since the start, where that is shorter.
    pub(crate) fn over(&self, seconds: u64, now: Instant) -> Rate {
        let age = now.saturating_duration_since(self.since);
        let first = (age.as_secs() + 1).saturating_sub(seconds);
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
