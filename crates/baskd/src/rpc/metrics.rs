//! What `GET /metrics` tells, in the text format of Prometheus. Counting costs an addition; all else is done when it is
//! asked for.

use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use baskd_protocol::error::ErrorCode;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Service;
use crate::backend::metrics::{BOUNDS, Ended};
use crate::backend::{MethodMetrics, Outcome};
use crate::clock;

/// How a connection's messages are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Json,
    ContentLength,
    Http,
    WebSocket,
}

impl Kind {
    const ALL: [(Kind, &'static str); 4] = [
        (Kind::Json, "json"),
        (Kind::ContentLength, "content-length"),
        (Kind::Http, "http"),
        (Kind::WebSocket, "websocket"),
    ];
}

/// What is counted of clients; what is counted of each method is with the method ([`MethodMetrics`]).
#[derive(Default)]
pub(crate) struct Metrics {
    connections: [Cell<u64>; Kind::ALL.len()],
    /// By place in [`ErrorCode::ALL`]; the last is for all others.
    errors: [Cell<u64>; ErrorCode::ALL.len() + 1],
}

impl Metrics {
    /// A connection's framing is known.
    pub(crate) fn connection(&self, kind: Kind) {
        add(&self.connections[kind as usize]);
    }

    /// A client is answered so: a whole error object.
    pub(crate) fn error(&self, error: &[u8]) {
        let kind = ErrorCode::from_code(code_of(error));
        let place = ErrorCode::ALL.iter().position(|known| Some(*known) == kind);
        add(&self.errors[place.unwrap_or(ErrorCode::ALL.len())]);
    }
}

fn add(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

/// The code in an error object. It comes first in all that the daemon and its router write.
pub(crate) fn code_of(error: &[u8]) -> i32 {
    let first = error.strip_prefix(b"{\"code\":").and_then(|rest| {
        let end = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
        std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
    });
    first.unwrap_or_else(|| {
        #[derive(Deserialize)]
        struct Coded {
            code: i32,
        }
        serde_json::from_slice(error).map_or(0, |coded: Coded| coded.code)
    })
}

/// One call's time, from its request to its end.
pub(crate) struct Timing {
    started: Instant,
    /// None until the method is known to exist.
    metrics: Option<Rc<MethodMetrics>>,
}

impl Timing {
    pub(crate) fn start() -> Timing {
        Timing {
            started: clock::now(),
            metrics: None,
        }
    }

    pub(crate) fn accepted(&mut self, metrics: &Rc<MethodMetrics>) {
        self.metrics = Some(metrics.clone());
    }

    pub(crate) fn ended(&self, outcome: &Outcome<'_>) {
        let Some(metrics) = &self.metrics else { return };
        let (ended, now) = match outcome {
            Outcome::Result(_) => (Ended::Result, clock::now()),
            // It may have no bytes of Python's behind it.
            Outcome::Error(error) => (ended(error), Instant::now()),
        };
        metrics.record(ended, now.saturating_duration_since(self.started));
    }
}

fn ended(error: &[u8]) -> Ended {
    match ErrorCode::from_code(code_of(error)) {
        Some(ErrorCode::Cancelled) => Ended::Cancelled,
        Some(ErrorCode::TimedOut) => Ended::TimedOut,
        Some(ErrorCode::BackendCrashed) => Ended::Crashed,
        Some(ErrorCode::BackendUnavailable) => Ended::Unavailable,
        _ => Ended::Error,
    }
}

/// The whole page.
pub(crate) fn render(service: &Service) -> String {
    let status = service.backend.status();
    let mut page = Page::default();
    about(&mut page, service, &status);
    calls(&mut page, service, &status);
    clients(&mut page, service);
    processes(&mut page, service, &status);
    page.text
}

fn about(page: &mut Page, service: &Service, status: &Map<String, Value>) {
    page.family("baskd_build_info", "gauge", "The daemon's version and its Python's.");
    let python = &status["python"];
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("python", text(&python["version"])),
        ("codec", text(&python["codec"])),
        ("instance", &service.about.name),
    ];
    page.sample("", &labels, 1);

    page.family("baskd_uptime_seconds", "gauge", "Seconds since the daemon was started.");
    page.sample("", &[], service.about.started.elapsed().as_secs_f64());

    page.family(
        "baskd_backend_state",
        "gauge",
        "1 for the state that the backend is in.",
    );
    let now = text(&status["state"]);
    for state in ["starting", "ready", "backing off", "unavailable", "stopping"] {
        page.sample("", &[("state", state)], u8::from(state == now));
    }
}

fn calls(page: &mut Page, service: &Service, status: &Map<String, Value>) {
    let methods = service.backend.methods();
    let called = || {
        let all = methods.iter().flat_map(|methods| methods.metrics());
        all.filter(|(_, metrics)| metrics.count() > 0)
    };
    page.family(
        "baskd_calls_total",
        "counter",
        "Calls of the controller's methods that have ended, by how.",
    );
    for (method, metrics) in called() {
        for ended in Ended::ALL {
            page.sample(
                "",
                &[("method", method), ("outcome", ended.text())],
                metrics.ended(ended),
            );
        }
    }
    page.family(
        "baskd_call_duration_seconds",
        "histogram",
        "Seconds from a call's request to its answer, or to the last event of its stream.",
    );
    for (method, metrics) in called() {
        for (bound, count) in BOUNDS.iter().zip(metrics.cumulative()) {
            let bound = bound.as_secs_f64().to_string();
            page.sample("_bucket", &[("method", method), ("le", &bound)], count);
        }
        page.sample("_bucket", &[("method", method), ("le", "+Inf")], metrics.count());
        page.sample("_sum", &[("method", method)], metrics.sum().as_secs_f64());
        page.sample("_count", &[("method", method)], metrics.count());
    }
    page.family(
        "baskd_calls_in_flight",
        "gauge",
        "Calls that Python has and has not answered.",
    );
    page.sample("", &[], number(&status["in_flight"]));
    page.family("baskd_calls_queued", "gauge", "Calls that wait in the daemon.");
    page.sample("", &[], number(&status["queued"]));
}

fn clients(page: &mut Page, service: &Service) {
    page.family(
        "baskd_errors_total",
        "counter",
        "Errors that clients were answered with, by code.",
    );
    let others = [("0".to_owned(), "Other")];
    let known = ErrorCode::ALL.iter().map(|code| (code.code().to_string(), code.name()));
    for ((code, name), count) in known.chain(others).zip(&service.metrics.errors) {
        page.sample("", &[("code", &code), ("name", name)], count.get());
    }
    page.family("baskd_connections_open", "gauge", "Connections there are.");
    page.sample("", &[], service.connections.get());
    page.family(
        "baskd_connections_total",
        "counter",
        "Connections there were, by framing.",
    );
    for (kind, name) in Kind::ALL {
        let count = service.metrics.connections[kind as usize].get();
        page.sample("", &[("framing", name)], count);
    }
    page.family(
        "baskd_pending_bytes",
        "gauge",
        "Bytes of half-received messages and half-answered batches.",
    );
    page.sample("", &[], service.pending.get());
}

fn processes(page: &mut Page, service: &Service, status: &Map<String, Value>) {
    page.family(
        "baskd_restarts_total",
        "counter",
        "Times that Python was started again.",
    );
    page.sample("", &[], number(&status["restarts"]));
    let workers = status["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let numbered = || workers.iter().map(|worker| (worker["worker"].to_string(), worker));
    page.family(
        "baskd_worker_resident_memory_bytes",
        "gauge",
        "Resident memory of each Python.",
    );
    for (place, worker) in numbered() {
        page.sample("", &[("worker", &place)], number(&worker["rss_bytes"]));
    }
    page.family(
        "baskd_worker_uptime_seconds",
        "gauge",
        "Seconds since each Python was started.",
    );
    for (place, worker) in numbered() {
        let seconds = worker["uptime_ms"].as_f64().unwrap_or_default() / 1000.0;
        page.sample("", &[("worker", &place)], seconds);
    }
    page.family(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory of the daemon itself.",
    );
    page.sample(
        "",
        &[],
        crate::backend::resident_bytes(std::process::id() as i32).unwrap_or_default(),
    );
    page.family(
        "process_start_time_seconds",
        "gauge",
        "When the daemon was started, in seconds of Unix time.",
    );
    let started = SystemTime::now().checked_sub(service.about.started.elapsed());
    let since_epoch = started.and_then(|started| started.duration_since(UNIX_EPOCH).ok());
    page.sample("", &[], since_epoch.unwrap_or_default().as_secs_f64());
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Lines of the text format, version 0.0.4.
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// What is said once of all samples that follow.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        // A String takes all that is written to it.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (place, (name, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{before}{name}=\"{value}\"");
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baskd_protocol::error::{CancelledBy, Error, Where};

    #[test]
    fn an_end_is_told_by_its_error() {
        assert_eq!(
            ended(&Error::cancelled(CancelledBy::Client).to_json()),
            Ended::Cancelled
        );
        assert_eq!(ended(&Error::timed_out(Where::Queued).to_json()), Ended::TimedOut);
        assert_eq!(
            ended(br#"{"message":"x","data":{"code":-32024},"code":-32020}"#),
            Ended::Error
        );
        assert_eq!(ended(b"nonsense"), Ended::Error);
    }

    #[test]
    fn every_code_and_framing_has_a_counter_of_its_own() {
        let metrics = Metrics::default();
        for code in ErrorCode::ALL {
            metrics.error(&Error::new(*code, "x", None).to_json());
        }
        metrics.error(br#"{"code":5,"message":"x"}"#);
        assert!(metrics.errors.iter().all(|count| count.get() == 1));
        for (place, (kind, _)) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[test]
    fn a_label_is_escaped() {
        let mut page = Page::default();
        page.family("a_total", "counter", "What it is.");
        page.sample("", &[("x", "q\"b\\n\n")], 1);
        page.sample("_sum", &[], 0.5);
        assert_eq!(
            page.text,
            "# HELP a_total What it is.\n# TYPE a_total counter\na_total{x=\"q\\\"b\\\\n\\n\"} 1\na_total_sum 0.5\n"
        );
    }
}
