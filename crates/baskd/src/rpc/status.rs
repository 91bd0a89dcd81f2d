//! What `daemon.status` tells: of the daemon itself and of its clients' calls here, of Python by the backend.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::Service;
use super::metrics::SPANS;
use crate::backend::metrics::{BOUNDS, Percentiles};

impl Service {
    pub(crate) fn status(&self) -> Value {
        let mut status = Map::new();
        status.insert("name".into(), self.about.name.clone().into());
        status.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        status.insert("pid".into(), std::process::id().into());
        status.insert("socket".into(), self.about.socket.clone().into());
        status.insert("listening".into(), self.about.listening.into());
        let uptime = self.about.started.elapsed();
        status.insert("uptime_ms".into(), (uptime.as_millis() as u64).into());
        status.insert("started_ms".into(), (since_epoch(uptime).as_millis() as u64).into());
        status.extend(self.backend.status());
        if self.stop.is_cancelled() {
            // From now on, whatever its Python is still at.
            status.insert("state".into(), "stopping".into());
            status.insert("reason".into(), Value::Null);
        }
        status.insert("connections".into(), self.connections.get().into());
        status.insert("rates".into(), self.rates());
        status.insert("latency".into(), self.latency());
        status.insert("methods".into(), self.methods());
        status.insert("last_error".into(), self.metrics.last_error.told());
        status.into()
    }

    fn rates(&self) -> Value {
        let now = Instant::now();
        let told = SPANS.map(|(name, seconds)| {
            let rate = self.metrics.rates.over(seconds, now);
            let told = json!({ "calls": rounded(rate.calls), "errors": rounded(rate.errors) });
            (name.to_owned(), told)
        });
        told.into_iter().collect::<Map<_, _>>().into()
    }

    /// Of all methods together.
    fn latency(&self) -> Value {
        let counted = self.backend.counted();
        let mut counts = [0; BOUNDS.len() + 1];
        for (_, metrics) in counted.iter() {
            for (sum, own) in counts.iter_mut().zip(metrics.took.own()) {
                *sum += own;
            }
        }
        let bounds = BOUNDS.iter().map(|bound| json!(ms(*bound))).chain([Value::Null]);
        let buckets: Vec<_> = bounds
            .zip(counts)
            .map(|(bound, count)| json!({ "le_ms": bound, "count": count }))
            .collect();
        let mut told = percentiles(counted.percentiles());
        told.insert("count".into(), counts.iter().sum::<u64>().into());
        told.insert("buckets".into(), buckets.into());
        told.into()
    }

    /// Those that were called, most called first.
    fn methods(&self) -> Value {
        let counted = self.backend.counted();
        let mut called: Vec<_> = counted.iter().collect();
        called.sort_by_key(|(name, metrics)| (std::cmp::Reverse(metrics.count()), *name));
        let told = called.into_iter().map(|(name, metrics)| {
            let mut told = Map::new();
            told.insert("method".into(), name.into());
            told.insert("calls".into(), metrics.count().into());
            told.insert("errors".into(), metrics.errors().into());
            told.extend(percentiles(metrics.percentiles()));
            Value::Object(told)
        });
        told.collect()
    }
}

/// When the daemon was started, by the clock on the wall as it goes now.
pub(crate) fn since_epoch(uptime: Duration) -> Duration {
    let started = SystemTime::now().checked_sub(uptime);
    started
        .and_then(|started| started.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default()
}

fn percentiles(of: Percentiles) -> Map<String, Value> {
    let told = [
        ("p50_ms", of.p50),
        ("p90_ms", of.p90),
        ("p99_ms", of.p99),
        ("max_ms", of.max),
    ];
    told.into_iter()
        .map(|(name, time)| (name.to_owned(), json!(time.map(ms))))
        .collect()
}

/// To a microsecond: what is beyond is noise, and long to read.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn rounded(rate: f64) -> f64 {
    (rate * 1e3).round() / 1e3
}
