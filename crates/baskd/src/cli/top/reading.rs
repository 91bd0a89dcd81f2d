//! What `daemon.status` answers, as far as it is drawn. A daemon of another version may leave members out or have more.

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reading {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) socket: String,
    pub(crate) uptime_ms: u64,
    /// Since when, in Unix time; tells one daemon from the next.
    pub(crate) started_ms: Option<u64>,
    /// `systemd`, where that holds the socket.
    pub(crate) listening: Option<String>,
    pub(crate) controller: Controller,
    pub(crate) python: Python,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) beside: Vec<Worker>,
    pub(crate) queued: u64,
    pub(crate) in_flight: u64,
    pub(crate) connections: u64,
    pub(crate) calls: u64,
    pub(crate) restarts: u64,
    pub(crate) reloads: u64,
    pub(crate) recycled: u64,
    pub(crate) restarts_by: Option<RestartsBy>,
    pub(crate) rates: Option<Rates>,
    pub(crate) latency: Option<Latency>,
    pub(crate) methods: Option<Vec<Method>>,
    under_way: Option<Vec<Call>>,
    exits: Option<Vec<Exit>>,
    last_exit: Option<Exit>,
    pub(crate) last_error: Option<LastError>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Controller {
    pub(crate) spec: String,
    pub(crate) class: String,
    pub(crate) embedded: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Python {
    pub(crate) version: Option<String>,
    pub(crate) codec: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Worker {
    pub(crate) worker: u64,
    pub(crate) pid: Option<u32>,
    pub(crate) state: String,
    pub(crate) uptime_ms: u64,
    pub(crate) calls: u64,
    pub(crate) rss_bytes: Option<u64>,
    pub(crate) running: Vec<Running>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Running {
    pub(crate) call: u64,
    pub(crate) method: String,
    pub(crate) age_ms: u64,
}

/// Ended calls a second.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rates {
    #[serde(rename = "10s")]
    pub(crate) of_10s: Rate,
    #[serde(rename = "1m")]
    pub(crate) of_1m: Rate,
    #[serde(rename = "5m")]
    pub(crate) of_5m: Rate,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rate {
    pub(crate) calls: f64,
    pub(crate) errors: f64,
}

/// Of all methods, since the start.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p90_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    pub(crate) buckets: Vec<Bucket>,
}

/// The calls that took at most so long, and longer than the bucket before has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Bucket {
    /// None: longer than all others.
    pub(crate) le_ms: Option<f64>,
    pub(crate) count: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Method {
    pub(crate) method: String,
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
}

/// A call that is not answered yet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Call {
    pub(crate) call: u64,
    pub(crate) method: String,
    pub(crate) worker: Option<u64>,
    pub(crate) age_ms: u64,
    /// `starting`, `queued` or `running`.
    #[serde(rename = "where")]
    pub(crate) place: String,
}

/// How often a Python took another's place, by why.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RestartsBy {
    pub(crate) crash: u64,
    pub(crate) reload: u64,
    pub(crate) restart: u64,
    pub(crate) recycled: u64,
}

/// How a Python ended that was not asked to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Exit {
    pub(crate) worker: Option<u64>,
    pub(crate) reason: Option<String>,
    pub(crate) ran_ms: Option<u64>,
    pub(crate) at_ms: Option<u64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LastError {
    pub(crate) code: i64,
    pub(crate) name: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) message: String,
    pub(crate) at_ms: Option<u64>,
}

impl Reading {
    /// The calls under way, oldest first; of a daemon that does not list them, those that Python runs.
    pub(crate) fn calls_under_way(&self) -> Vec<Call> {
        if let Some(calls) = &self.under_way {
            return calls.clone();
        }
        let running = |worker: &Worker| {
            let number = worker.worker;
            let calls = worker.running.iter().map(move |running| Call {
                call: running.call,
                method: running.method.clone(),
                worker: Some(number),
                age_ms: running.age_ms,
                place: "running".to_owned(),
            });
            calls.collect::<Vec<_>>()
        };
        let mut calls: Vec<Call> = self.workers.iter().chain(&self.beside).flat_map(running).collect();
        calls.sort_by_key(|call| call.call);
        calls
    }

    /// How Pythons ended, newest first.
    pub(crate) fn exits(&self) -> Vec<&Exit> {
        match &self.exits {
            Some(exits) => exits.iter().collect(),
            None => self.last_exit.iter().collect(),
        }
    }

    /// How many calls have ended in an error, if the daemon tells.
    pub(crate) fn errors(&self) -> Option<u64> {
        let methods = self.methods.as_ref()?;
        Some(methods.iter().map(|method| method.errors).sum())
    }

    /// How long before this reading something happened, by the daemon's clock. None where it does not tell its time.
    pub(crate) fn age_of(&self, at_ms: Option<u64>) -> Option<u64> {
        Some((self.started_ms? + self.uptime_ms).saturating_sub(at_ms?))
    }

    /// Whether it is of the same daemon as another, rather than of one that was started later.
    pub(crate) fn is_of_the_same(&self, other: &Reading) -> bool {
        self.pid == other.pid && self.started_ms == other.started_ms && self.uptime_ms >= other.uptime_ms
    }
}
