//! What is counted of each method: how its calls ended, and how long they took. A handful of additions a call; no lock,
//! and nothing is allocated.

use std::cell::Cell;
use std::time::Duration;

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

#[derive(Default)]
pub struct MethodMetrics {
    ended: [Cell<u64>; Ended::ALL.len()],
    /// Each bucket's own calls; the last is for those above all bounds.
    buckets: [Cell<u64>; BOUNDS.len() + 1],
    sum: Cell<Duration>,
}

impl MethodMetrics {
    pub(crate) fn record(&self, ended: Ended, took: Duration) {
        let count = &self.ended[ended as usize];
        count.set(count.get() + 1);
        let at = BOUNDS.iter().position(|bound| took <= *bound);
        let bucket = &self.buckets[at.unwrap_or(BOUNDS.len())];
        bucket.set(bucket.get() + 1);
        self.sum.set(self.sum.get().saturating_add(took));
    }

    pub(crate) fn ended(&self, ended: Ended) -> u64 {
        self.ended[ended as usize].get()
    }

    pub(crate) fn count(&self) -> u64 {
        self.ended.iter().map(Cell::get).sum()
    }

    pub(crate) fn sum(&self) -> Duration {
        self.sum.get()
    }

    /// For each of [`BOUNDS`], how many calls took at most so long.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = u64> {
        let mut sum = 0;
        self.buckets[..BOUNDS.len()].iter().map(move |bucket| {
            sum += bucket.get();
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_the_first_bucket_that_holds_it_and_in_all_above() {
        let metrics = MethodMetrics::default();
        for micros in [0, 50, 51, 700_000_000] {
            metrics.record(Ended::Result, Duration::from_micros(micros));
        }
        metrics.record(Ended::Cancelled, Duration::from_nanos(2_500_000_999));
        let cumulative: Vec<_> = metrics.cumulative().collect();
        assert_eq!(&cumulative[..3], [2, 3, 3]);
        assert_eq!(cumulative[13..], [3, 3, 4, 4, 4]);
        assert_eq!((metrics.count(), metrics.ended(Ended::Cancelled)), (5, 1));
        assert_eq!(metrics.sum(), Duration::from_nanos(702_500_101_999));
    }
}
