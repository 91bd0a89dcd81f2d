//! What `GET /metrics` tells: each family of samples, with names and units by Prometheus' conventions.

use baskd_protocol::error::ErrorCode;
use serde_json::{Map, Value};

use super::page::Page;
use super::{Kind, Service};
use crate::backend::metrics::Ended;
use crate::backend::{self, Again, resident_bytes};
use crate::rpc::status::since_epoch;

/// The whole page.
pub(crate) fn render(service: &Service) -> String {
    let status = service.backend.status();
    let mut page = Page::default();
    about(&mut page, service, &status);
    calls(&mut page, service, &status);
    clients(&mut page, service);
    pythons(&mut page, service, &status);
    daemon(&mut page, service);
    page.text
}

fn about(page: &mut Page, service: &Service, status: &Map<String, Value>) {
    page.family(
        "baskd_build_info",
        "gauge",
        "The daemon's version and its Python's; always 1.",
    );
    let python = &status["python"];
    // Not `instance`: that is Prometheus' own name for what it asks.
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("python", text(&python["version"])),
        ("codec", text(&python["codec"])),
        ("name", &service.about.name),
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
    let counted = service.backend.counted();
    page.family(
        "baskd_calls_total",
        "counter",
        "Calls of the controller's methods that have ended, by how.",
    );
    for (method, metrics) in counted.iter() {
        for ended in Ended::ALL {
            let labels = [("method", method), ("outcome", ended.text())];
            page.sample("", &labels, metrics.ended(ended));
        }
    }
    page.family(
        "baskd_call_duration_seconds",
        "histogram",
        "Seconds from a call's request to its answer, or to the last event of its stream.",
    );
    for (method, metrics) in counted.iter() {
        page.histogram(&[("method", method)], &metrics.took);
    }
    let (waited, longest) = service.backend.waited();
    page.family(
        "baskd_call_wait_seconds",
        "histogram",
        "Seconds that calls waited in the daemon before they were sent to Python.",
    );
    page.histogram(&[], &waited);
    page.family(
        "baskd_queue_oldest_age_seconds",
        "gauge",
        "For how long the call has waited that has waited longest; 0 if none waits.",
    );
    page.sample("", &[], longest.as_secs_f64());
    page.family("baskd_calls_queued", "gauge", "Calls that wait in the daemon.");
    page.sample("", &[], number(&status["queued"]));
    page.family(
        "baskd_calls_in_flight",
        "gauge",
        "Calls that Python has and has not answered.",
    );
    page.sample("", &[], number(&status["in_flight"]));
}

fn clients(page: &mut Page, service: &Service) {
    let metrics = &service.metrics;
    page.family(
        "baskd_errors_total",
        "counter",
        "Errors that clients were answered with, by code.",
    );
    let others = [("0".to_owned(), "Other")];
    let known = ErrorCode::ALL.iter().map(|code| (code.code().to_string(), code.name()));
    for ((code, name), count) in known.chain(others).zip(&metrics.errors) {
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
        page.sample("", &[("framing", name)], metrics.connections[kind as usize].get());
    }
    page.family(
        "baskd_subscriptions_open",
        "gauge",
        "Streams under way, and subscriptions to messages and to the log.",
    );
    let (messages, logs) = service.hub.open();
    for (kind, open) in [
        ("stream", metrics.streams.get()),
        ("messages", messages + metrics.own.get()),
        ("logs", logs),
    ] {
        page.sample("", &[("kind", kind)], open);
    }
    page.family(
        "baskd_events_dropped_total",
        "counter",
        "Messages and log lines that a subscriber lost because it did not read in time.",
    );
    for (kind, dropped) in [("messages", &metrics.dropped_messages), ("logs", &metrics.dropped_logs)] {
        page.sample("", &[("kind", kind)], dropped.get());
    }
    page.family(
        "baskd_pending_bytes",
        "gauge",
        "Bytes of half-received messages and half-answered batches.",
    );
    page.sample("", &[], service.pending.get());
    page.family(
        "baskd_unread_bytes",
        "gauge",
        "Bytes of answers that clients have not read yet.",
    );
    page.sample("", &[], service.unread.get());
}

fn pythons(page: &mut Page, service: &Service, status: &Map<String, Value>) {
    let told = service.backend.told();
    page.family(
        "baskd_restarts_total",
        "counter",
        "Times that another Python was started in the place of one, by why.",
    );
    for (why, reason) in Again::ALL {
        page.sample("", &[("reason", reason)], told.times_again(why));
    }
    page.family(
        "baskd_python_exits_total",
        "counter",
        "Pythons that ended without being asked to, by an exit code, a signal, or for want of memory.",
    );
    for (kind, name) in backend::Kind::ALL {
        page.sample("", &[("kind", name)], told.times_ended(kind));
    }
    let processes = |of: &str| status[of].as_array().map(Vec::as_slice).unwrap_or_default();
    let workers = processes("workers");
    let numbered = || workers.iter().map(|worker| (worker["worker"].to_string(), worker));
    page.family(
        "baskd_worker_resident_memory_bytes",
        "gauge",
        "Resident memory of each Python that serves.",
    );
    for (place, worker) in numbered() {
        // None if it has ended just now.
        if let Some(bytes) = worker["rss_bytes"].as_u64() {
            page.sample("", &[("worker", &place)], bytes);
        }
    }
    page.family(
        "baskd_worker_uptime_seconds",
        "gauge",
        "Seconds since each Python that serves was started.",
    );
    for (place, worker) in numbered() {
        let seconds = worker["uptime_ms"].as_f64().unwrap_or_default() / 1000.0;
        page.sample("", &[("worker", &place)], seconds);
    }
    page.family(
        "baskd_beside_resident_memory_bytes",
        "gauge",
        "Resident memory of all Pythons that do not serve: they start, stand by, or end what they have.",
    );
    let beside = processes("beside").iter().map(|process| number(&process["rss_bytes"]));
    page.sample("", &[], beside.sum::<u64>());
}

fn daemon(page: &mut Page, service: &Service) {
    page.family(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory of the daemon itself.",
    );
    let resident = resident_bytes(std::process::id() as i32);
    page.sample("", &[], resident.unwrap_or_default());
    page.family(
        "process_start_time_seconds",
        "gauge",
        "When the daemon was started, in seconds of Unix time.",
    );
    page.sample("", &[], since_epoch(service.about.started.elapsed()).as_secs_f64());
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
