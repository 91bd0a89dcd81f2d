//! What was measured, as one JSON object.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The times of single calls, in nanoseconds.
#[derive(Default)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time.as_nanos() as u64);
    }

    /// Percentiles in microseconds.
    pub(crate) fn report(mut self) -> Value {
        self.0.sort_unstable();
        let at = |share: f64| match self.0.len() {
            0 => 0.0,
            count => self.0[((count - 1) as f64 * share) as usize] as f64 / 1000.0,
        };
        json!({ "count": self.0.len(), "p50_us": at(0.5), "p90_us": at(0.9), "p99_us": at(0.99), "max_us": at(1.0) })
    }
}

/// How long a measurement goes on, and what comes before it.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

impl Span {
    pub(crate) fn of(seconds: f64, warm_up: f64) -> Span {
        Span {
            warm_up: Duration::from_secs_f64(warm_up),
            measured: Duration::from_secs_f64(seconds),
        }
    }
}

/// Counts what happens after the warm-up.
pub(crate) struct Meter {
    begin: Instant,
    end: Instant,
    first: Option<Instant>,
    last: Instant,
    count: u64,
}

impl Meter {
    pub(crate) fn start(span: Span) -> Meter {
        let now = Instant::now();
        let begin = now + span.warm_up;
        Meter {
            begin,
            end: begin + span.measured,
            first: None,
            last: now,
            count: 0,
        }
    }

    /// So many more were answered, by `now`. Gives whether to go on. The first ones after the warm-up start the clock.
    pub(crate) fn add(&mut self, count: u64, now: Instant) -> bool {
        if now >= self.begin && now < self.end {
            if self.first.is_some() {
                self.count += count;
                self.last = now;
            } else {
                self.first = Some(now);
            }
        }
        now < self.end
    }

    pub(crate) fn is_warm(&self) -> bool {
        self.first.is_some()
    }

    pub(crate) fn per_second(&self) -> f64 {
        let seconds = self.first.map_or(0.0, |first| (self.last - first).as_secs_f64());
        if seconds > 0.0 {
            self.count as f64 / seconds
        } else {
            0.0
        }
    }
}
