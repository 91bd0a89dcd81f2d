//! What two readings tell that one does not: how many calls a second, and how long those of the last seconds took.

use std::collections::VecDeque;
use std::time::Duration;

use baskd_client::{Bucket, Status};

use super::reading::errors;

/// As many as the widest screen shows.
const SAMPLES: usize = 512;
/// For how long back the histogram looks.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse {
    /// Oldest first, one for each reading but a daemon's first.
    samples: VecDeque<Sample>,
    /// The last reading's counters.
    last: Option<Counted>,
    /// The buckets of the readings in the window, and of the one before it.
    buckets: VecDeque<(Duration, Vec<Bucket>)>,
}

/// Between two readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) calls: f64,
    pub(crate) errors: f64,
}

/// Of the calls that ended in the window, those that took at most so long and longer than the ones before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ended {
    /// None: longer than all bounds.
    pub(crate) le_ms: Option<f64>,
    pub(crate) count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    uptime_ms: u64,
    calls: u64,
    errors: u64,
}

impl Pulse {
    /// Takes in a reading of the same daemon as the last.
    pub(crate) fn take(&mut self, now: Duration, reading: &Status) {
        let counted = Counted {
            uptime_ms: reading.uptime_ms,
            calls: reading.calls,
            errors: errors(reading),
        };
        if let Some(last) = self.last.replace(counted)
            && counted.uptime_ms > last.uptime_ms
        {
            let seconds = (counted.uptime_ms - last.uptime_ms) as f64 / 1000.0;
            let a_second = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
            self.samples.push_back(Sample {
                calls: a_second(counted.calls, last.calls),
                errors: a_second(counted.errors, last.errors),
            });
            self.samples.truncate_front_to(SAMPLES);
        }
        self.buckets.push_back((now, reading.latency.buckets.clone()));
        // One that is as old as the window stays: what has ended since is in the window.
        while self
            .buckets
            .get(1)
            .is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW)
        {
            self.buckets.pop_front();
        }
    }

    /// The next reading is another daemon's, which counts from nothing.
    pub(crate) fn begin_anew(&mut self) {
        self.last = None;
        self.buckets.clear();
    }

    /// The last of them, oldest first.
    pub(crate) fn samples(&self, at_most: usize) -> impl Iterator<Item = &Sample> {
        self.samples.iter().skip(self.samples.len().saturating_sub(at_most))
    }

    pub(crate) fn last(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// The calls that ended in the window, by how long they took. None while there is nothing to compare.
    pub(crate) fn recent(&self) -> Option<Vec<Ended>> {
        let ((_, before), (_, now)) = (self.buckets.front()?, self.buckets.back()?);
        if self.buckets.len() < 2 || before.len() != now.len() {
            return None;
        }
        let ended = now.iter().zip(before).map(|(now, before)| Ended {
            le_ms: now.le_ms,
            count: now.count.saturating_sub(before.count),
        });
        Some(ended.collect())
    }
}

trait TruncateFront {
    fn truncate_front_to(&mut self, length: usize);
}

impl<T> TruncateFront for VecDeque<T> {
    fn truncate_front_to(&mut self, length: usize) {
        while self.len() > length {
            self.pop_front();
        }
    }
}

/// The bound of the bucket in which the call is that is slower than such a share of all: it took at most so long. None
/// if there are no calls; infinity if it is above all bounds.
pub(crate) fn at_most_ms(buckets: &[Ended], share: f64) -> Option<f64> {
    let all: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let wanted = (all as f64 * share).ceil() as u64;
    let mut seen = 0;
    buckets.iter().filter(|_| all > 0).find_map(|bucket| {
        seen += bucket.count;
        (seen >= wanted.max(1)).then(|| bucket.le_ms.unwrap_or(f64::INFINITY))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::tests::stage::busy;
    use serde_json::{Value, json};

    fn reading(uptime_ms: u64, calls: u64, errors: u64, buckets: &[u64]) -> Status {
        let bounds = [json!(1.0), json!(10.0), Value::Null];
        let buckets = bounds.iter().zip(buckets);
        let buckets: Vec<Value> = buckets
            .map(|(le, count)| json!({ "le_ms": le, "count": count }))
            .collect();
        let mut status = busy(0);
        status["uptime_ms"] = json!(uptime_ms);
        status["calls"] = json!(calls);
        status["latency"] = json!({ "count": calls, "buckets": buckets });
        status["methods"] = json!([{ "method": "a", "calls": calls, "errors": errors }]);
        serde_json::from_value(status).unwrap()
    }

    fn counts(pulse: &Pulse) -> Vec<u64> {
        pulse.recent().unwrap().iter().map(|bucket| bucket.count).collect()
    }

    #[test]
    fn rates_go_by_the_daemons_clock() {
        let mut pulse = Pulse::default();
        let now = Duration::from_secs;
        pulse.take(now(0), &reading(1000, 10, 0, &[]));
        assert_eq!(pulse.last(), None);
        pulse.take(now(1), &reading(1500, 20, 1, &[]));
        assert_eq!(
            pulse.last(),
            Some(Sample {
                calls: 20.0,
                errors: 2.0
            })
        );
        // Two answers of one moment tell nothing, and nothing is divided by it.
        pulse.take(now(1), &reading(1500, 20, 1, &[]));
        assert_eq!(pulse.samples(9).count(), 1);
    }

    #[test]
    fn the_histogram_forgets_what_is_older_than_the_window() {
        let mut pulse = Pulse::default();
        for second in 0..30 {
            pulse.take(
                Duration::from_secs(second),
                &reading(second * 1000, second, 0, &[second, 0, second / 20]),
            );
        }
        assert_eq!(counts(&pulse), [10, 0, 1]);
        // After a pause the last reading before it is what there is to compare with.
        pulse.take(Duration::from_secs(99), &reading(99_000, 100, 0, &[100, 0, 1]));
        assert_eq!(counts(&pulse), [71, 0, 0]);
        pulse.begin_anew();
        assert_eq!(pulse.recent(), None);
        pulse.take(Duration::from_secs(100), &reading(1000, 1, 0, &[1, 0, 0]));
        assert_eq!(pulse.recent(), None);
    }

    #[test]
    fn samples_are_bounded() {
        let mut pulse = Pulse::default();
        for second in 0..2000 {
            pulse.take(Duration::from_secs(second), &reading(second * 1000, 0, 0, &[]));
        }
        assert_eq!(pulse.samples(usize::MAX).count(), SAMPLES);
        assert!(pulse.buckets.len() < 20);
    }

    #[test]
    fn a_percentile_is_told_by_its_buckets_bound() {
        let buckets = |counts: &[u64]| {
            let bounds = [Some(1.0), Some(10.0), None];
            let ended = bounds.into_iter().zip(counts);
            ended
                .map(|(le_ms, count)| Ended { le_ms, count: *count })
                .collect::<Vec<_>>()
        };
        assert_eq!(at_most_ms(&buckets(&[0, 0, 0]), 0.5), None);
        assert_eq!(at_most_ms(&buckets(&[1, 1, 0]), 0.5), Some(1.0));
        assert_eq!(at_most_ms(&buckets(&[1, 1, 0]), 0.99), Some(10.0));
        assert_eq!(at_most_ms(&buckets(&[99, 0, 1]), 0.99), Some(1.0));
        assert_eq!(at_most_ms(&buckets(&[98, 0, 2]), 0.99), Some(f64::INFINITY));
    }
}
