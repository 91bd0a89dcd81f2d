//! What is counted of each method: how its calls ended, and how long they took. A handful of additions a call; no lock,
//! and nothing is allocated but with a method's first call.
//!
//! Two histograms are kept of the times. [`Buckets`] has few and fixed bounds, whose counts two readings can be subtracted
//! by; an [`Histogram`] tells any percentile to two digits. Both have one size, however long the daemon runs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;

/// So many methods are counted by themselves: those that are called first. All others are counted together, so that
/// neither the daemon's memory nor what Prometheus keeps grows with a controller's methods, or with its reloads.
pub(crate) const MOST_METHODS: usize = 128;
/// What these others are called. A method of this name is one of them.
pub(crate) const OTHERS: &str = "other";

/// Percentiles are of microseconds, to two digits, up to a day: 31 KiB for each method.
const LONGEST_MICROS: u64 = 86_400_000_000;
const DIGITS: u8 = 2;

/// The upper bounds of the histogram's buckets; one more bucket holds the rest.
pub(crate) const BOUNDS: [Duration; 18] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

/// The same, as they are compared: a call costs a few nanoseconds here, and [`Duration`]s would be half of them.
const NANOS: [u64; BOUNDS.len()] = {
    let mut bounds = [0; BOUNDS.len()];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = nanos(BOUNDS[at]);
        at += 1;
    }
    bounds
};

/// What is longer than five centuries is five centuries.
const fn nanos(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(time.subsec_nanos() as u64)
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Result,
    /// It raised, or was refused by Python.
    Error,
    Cancelled,
    TimedOut,
    Crashed,
    /// It was taken, and then could not be given to any Python.
    Unavailable,
}

impl Ended {
    pub(crate) const ALL: [Ended; 6] = [
        Ended::Result,
        Ended::Error,
        Ended::Cancelled,
        Ended::TimedOut,
        Ended::Crashed,
        Ended::Unavailable,
    ];

    /// Whether it came to no result though nobody had taken it back.
    pub(crate) const fn is_error(self) -> bool {
        !matches!(self, Ended::Result | Ended::Cancelled)
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Ended::Result => "result",
            Ended::Error => "error",
            Ended::Cancelled => "cancelled",
            Ended::TimedOut => "timed_out",
            Ended::Crashed => "crashed",
            Ended::Unavailable => "unavailable",
        }
    }
}

/// How many calls took how long.
#[derive(Default)]
pub(crate) struct Buckets {
    /// Each bucket's own calls; the last is for those above all bounds.
    counts: [Cell<u64>; BOUNDS.len() + 1],
    sum: Cell<Duration>,
}

impl Buckets {
    pub(crate) fn record(&self, took: Duration) {
        let nanos = nanos(took);
        let at = NANOS.iter().position(|bound| nanos <= *bound);
        let bucket = &self.counts[at.unwrap_or(BOUNDS.len())];
        bucket.set(bucket.get() + 1);
        self.sum.set(self.sum.get().saturating_add(took));
    }

    pub(crate) fn sum(&self) -> Duration {
        self.sum.get()
    }

    /// Each bucket's own calls; the last one's took longer than all of [`BOUNDS`].
    pub(crate) fn own(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(Cell::get)
    }

    /// For each of [`BOUNDS`], how many calls took at most so long; and last, how many there were.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = u64> {
        self.own().scan(0, |sum, own| {
            *sum += own;
            Some(*sum)
        })
    }
}

/// One method's counts, or those of all others.
#[derive(Default)]
pub(crate) struct MethodMetrics {
    ended: [Cell<u64>; Ended::ALL.len()],
    pub(crate) took: Buckets,
    longest: Cell<Duration>,
    /// Of microseconds. None only if it can't be had, which its constant bounds don't let happen.
    fine: RefCell<Option<Histogram<u64>>>,
}

impl MethodMetrics {
    fn new() -> Rc<MethodMetrics> {
        Rc::new(MethodMetrics {
            fine: RefCell::new(histogram()),
            ..MethodMetrics::default()
        })
    }

    pub(crate) fn record(&self, ended: Ended, took: Duration) {
        let count = &self.ended[ended as usize];
        count.set(count.get() + 1);
        self.took.record(took);
        self.longest.set(self.longest.get().max(took));
        if let Some(fine) = &mut *self.fine.borrow_mut() {
            // What is longer counts as the longest there is.
            fine.saturating_record(nanos(took) / 1000);
        }
    }

    pub(crate) fn ended(&self, ended: Ended) -> u64 {
        self.ended[ended as usize].get()
    }

    pub(crate) fn count(&self) -> u64 {
        self.ended.iter().map(Cell::get).sum()
    }

    /// How many calls came to no result, though nobody had taken them back.
    pub(crate) fn errors(&self) -> u64 {
        let errors = Ended::ALL.into_iter().filter(|ended| ended.is_error());
        errors.map(|ended| self.ended(ended)).sum()
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles::of(self.fine.borrow().as_ref(), self.longest.get())
    }
}

fn histogram() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).ok()
}

/// How long half of the calls took at most, 90 and 99 of 100, and the longest. None where there was no call.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50: Option<Duration>,
    pub(crate) p90: Option<Duration>,
    pub(crate) p99: Option<Duration>,
    pub(crate) max: Option<Duration>,
}

impl Percentiles {
    fn of(fine: Option<&Histogram<u64>>, longest: Duration) -> Percentiles {
        let Some(fine) = fine.filter(|fine| !fine.is_empty()) else {
            return Percentiles::default();
        };
        // A bucket's upper end may be beyond the longest that is in it.
        let at = |quantile| Some(Duration::from_micros(fine.value_at_quantile(quantile)).min(longest));
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: Some(longest),
        }
    }
}

/// The counts of all methods that were ever called, those among them that a reload has taken away: a count that went
/// back, or was gone and began anew, would be taken for a daemon that was started again.
#[derive(Default)]
pub(crate) struct Counted {
    own: BTreeMap<Box<str>, Rc<MethodMetrics>>,
    others: Option<Rc<MethodMetrics>>,
}

impl Counted {
    /// Where calls of this method are counted.
    pub(crate) fn of(&mut self, method: &str) -> Rc<MethodMetrics> {
        if let Some(known) = self.own.get(method) {
            return known.clone();
        }
        if method == OTHERS || self.own.len() >= MOST_METHODS {
            return self.others.get_or_insert_with(MethodMetrics::new).clone();
        }
        let new = MethodMetrics::new();
        self.own.insert(method.into(), new.clone());
        new
    }

    /// All whose calls have ended, by name; the others last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &MethodMetrics)> {
        let own = self.own.iter().map(|(name, metrics)| (&**name, &**metrics));
        let others = self.others.as_deref().map(|metrics| (OTHERS, metrics));
        own.chain(others).filter(|(_, metrics)| metrics.count() > 0)
    }

    /// Of all methods together.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let mut all = histogram();
        let mut longest = Duration::ZERO;
        for (_, metrics) in self.iter() {
            longest = longest.max(metrics.longest.get());
            if let (Some(all), Some(fine)) = (&mut all, &*metrics.fine.borrow()) {
                // They have the same bounds.
                let _ = all.add(fine);
            }
        }
        Percentiles::of(all.as_ref(), longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_the_first_bucket_that_holds_it_and_in_all_above() {
        let metrics = MethodMetrics::new();
        for micros in [0, 50, 51, 700_000_000] {
            metrics.record(Ended::Result, Duration::from_micros(micros));
        }
        metrics.record(Ended::Cancelled, Duration::from_nanos(2_500_000_999));
        let cumulative: Vec<_> = metrics.took.cumulative().collect();
        assert_eq!(&cumulative[..3], [2, 3, 3]);
        assert_eq!(cumulative[13..], [3, 3, 4, 4, 4, 5]);
        assert_eq!((metrics.count(), metrics.ended(Ended::Cancelled)), (5, 1));
        assert_eq!(metrics.took.sum(), Duration::from_nanos(702_500_101_999));
    }

    #[test]
    fn percentiles_are_true_to_two_digits() {
        let metrics = MethodMetrics::new();
        assert_eq!(metrics.percentiles(), Percentiles::default());
        for ms in 1..=1000 {
            metrics.record(Ended::Result, Duration::from_millis(ms));
        }
        let told = metrics.percentiles();
        for (told, true_ms) in [(told.p50, 500.0), (told.p90, 900.0), (told.p99, 990.0)] {
            let ms = told.unwrap().as_secs_f64() * 1e3;
            assert!((ms - true_ms).abs() / true_ms < 0.01, "{ms} for {true_ms}");
        }
        assert_eq!(told.max, Some(Duration::from_secs(1)));
        // One that is longer than all that can be told apart is not lost.
        metrics.record(Ended::Result, Duration::from_secs(1 << 40));
        assert_eq!(metrics.percentiles().max, Some(Duration::from_secs(1 << 40)));
    }

    #[test]
    fn a_single_call_is_all_its_percentiles() {
        let metrics = MethodMetrics::new();
        metrics.record(Ended::Result, Duration::from_micros(1_234_567));
        let told = metrics.percentiles();
        assert_eq!([told.p50, told.p99], [told.max; 2]);
    }

    #[test]
    fn a_cancelled_call_is_no_error() {
        let metrics = MethodMetrics::new();
        for ended in Ended::ALL {
            metrics.record(ended, Duration::ZERO);
        }
        assert_eq!((metrics.count(), metrics.errors()), (6, 4));
    }

    #[test]
    fn so_many_are_counted_by_themselves_and_the_rest_together() {
        let mut counted = Counted::default();
        for number in 0..MOST_METHODS + 50 {
            counted.of(&format!("m{number}")).record(Ended::Result, Duration::ZERO);
        }
        assert_eq!(counted.iter().count(), MOST_METHODS + 1);
        assert_eq!(
            counted.iter().last().map(|(name, of)| (name, of.count())),
            Some((OTHERS, 50))
        );
        // What was counted by itself is so for ever.
        counted.of("m0").record(Ended::Result, Duration::ZERO);
        let first = counted.iter().find(|(name, _)| *name == "m0");
        assert_eq!(first.map(|(_, of)| of.count()), Some(2));
    }

    #[test]
    fn a_method_that_is_called_as_the_others_are_is_one_of_them() {
        let mut counted = Counted::default();
        for name in ["other", "f"] {
            counted.of(name).record(Ended::Result, Duration::ZERO);
        }
        let names: Vec<_> = counted.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["f", "other"]);
    }

    #[test]
    fn all_methods_together() {
        let mut counted = Counted::default();
        for (name, ms) in [("a", 10), ("b", 1000)] {
            for _ in 0..50 {
                counted.of(name).record(Ended::Result, Duration::from_millis(ms));
            }
        }
        let told = counted.percentiles();
        assert!(told.p50.unwrap() < Duration::from_millis(11) && told.p90.unwrap() > Duration::from_millis(990));
    }
}
