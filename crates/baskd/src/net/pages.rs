//! What can be asked for by GET: is the daemon there, would it answer a call, what has it done so far.

use std::rc::Rc;

use hyper::{StatusCode, header};
use serde_json::{Value, json};

use super::http::{self, Answer};
use crate::rpc::Service;
use crate::rpc::{metrics, ready};

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn page(service: &Rc<Service>, path: &str) -> Answer {
    let mut answer = match path {
        "/health" => health(service),
        "/ready" => ready(service).await,
        "/metrics" => http::body(StatusCode::OK, METRICS, metrics::render(service).into()),
        _ => http::text(
            StatusCode::NOT_FOUND,
            "There are /health, /ready and /metrics. Calls are made by POST, to any path.",
        ),
    };
    http::set(&mut answer, header::CACHE_CONTROL, "no-store");
    answer
}

/// That this is answered says it all: the daemon's one thread goes round.
fn health(service: &Service) -> Answer {
    let status = service.backend.status();
    let told = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": service.about.started.elapsed().as_millis() as u64,
        "state": status["state"],
        "reason": status["reason"],
    });
    answer(StatusCode::OK, &told)
}

async fn ready(service: &Rc<Service>) -> Answer {
    let (status, ready, reason) = match ready::check(service).await {
        Ok(()) => (StatusCode::OK, true, Value::Null),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, false, reason.into()),
    };
    let state = service.backend.status().remove("state").unwrap_or_default();
    answer(status, &json!({ "ready": ready, "state": state, "reason": reason }))
}

fn answer(status: StatusCode, told: &Value) -> Answer {
    http::json(status, format!("{told}\n").into_bytes())
}
