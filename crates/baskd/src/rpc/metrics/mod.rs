//! What is counted of clients and of their calls' ends. Counting costs a few additions; all else is done when it is asked
//! for, by `daemon.status` or by `GET /metrics` ([`families`]).

mod families;
mod last_error;
mod page;
mod rates;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use baskd_protocol::error::{CancelledBy, ErrorCode};
use serde::Deserialize;

use super::Service;
use crate::backend::metrics::Ended;
use crate::backend::{Known, Outcome, Ran, shortened};
use crate::clock;
pub(crate) use families::render;
use last_error::LastError;
use rates::Rates;
pub(crate) use rates::SPANS;

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

/// What is counted of clients; what is counted of each method is with the backend ([`crate::backend::metrics`]).
pub(crate) struct Metrics {
    connections: [Cell<u64>; Kind::ALL.len()],
    /// By place in [`ErrorCode::ALL`]; the last is for all others.
    errors: [Cell<u64>; ErrorCode::ALL.len() + 1],
    pub(crate) rates: Rates,
    pub(crate) last_error: LastError,
    /// Streams under way.
    pub(crate) streams: Cell<usize>,
    /// `own` subscriptions of messages.
    pub(crate) own: Cell<usize>,
    /// Events of others that subscribers did not read in time: messages, and lines of the log.
    pub(crate) dropped_messages: Cell<u64>,
    pub(crate) dropped_logs: Cell<u64>,
}

impl Metrics {
    pub(crate) fn since(start: Instant) -> Metrics {
        Metrics {
            connections: Default::default(),
            errors: Default::default(),
            rates: Rates::since(start),
            last_error: LastError::default(),
            streams: Cell::new(0),
            own: Cell::new(0),
            dropped_messages: Cell::new(0),
            dropped_logs: Cell::new(0),
        }
    }

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

    /// Likewise, by what is no call of the controller's: those tell more of their end ([`Timing::ended`]).
    pub(crate) fn refused(&self, error: &[u8]) {
        self.error(error);
        self.last_error.keep(error, None, Instant::now());
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

/// One call, from its request to its end.
pub(crate) struct Timing {
    started: Instant,
    /// None until it is known to exist.
    method: Option<Rc<Known>>,
    /// How it ran, where that may have to be said.
    ran: Option<Box<(Rc<Known>, Ran)>>,
}

impl Timing {
    pub(crate) fn start() -> Timing {
        Timing {
            started: clock::now(),
            method: None,
            ran: None,
        }
    }

    pub(crate) fn accepted(&mut self, method: &Rc<Known>) {
        self.method = Some(method.clone());
    }

    pub(crate) fn ran(&mut self, method: &Rc<Known>, ran: Ran) {
        self.ran = Some(Box::new((method.clone(), ran)));
    }

    pub(crate) fn ended(&self, service: &Service, outcome: &Outcome<'_>) {
        let (ended, now) = match outcome {
            Outcome::Result(_) => (Ended::Result, clock::now()),
            // It may have no bytes of Python's behind it.
            Outcome::Error(error) => (ended(error), Instant::now()),
        };
        let took = now.saturating_duration_since(self.started);
        if let Some(metrics) = self.method.as_ref().and_then(|method| method.metrics()) {
            metrics.record(ended, took);
        }
        service.metrics.rates.ended(now, ended.is_error());
        if let Outcome::Error(error) = outcome
            && (ended.is_error() || !is_taken_back(error))
        {
            service.metrics.last_error.keep(error, self.method.as_ref(), now);
        }
        let limit = service.limits.slow_call;
        if let Some(told) = self.ran.as_deref().filter(|_| took >= limit) {
            service.logs.warn(&self.slow(told, outcome, now));
        }
    }

    /// What the log says of a call that took long.
    fn slow(&self, (method, ran): &(Rc<Known>, Ran), outcome: &Outcome<'_>, now: Instant) -> String {
        let took = now.saturating_duration_since(self.started);
        let how = match outcome {
            Outcome::Result(_) => "a result".to_owned(),
            Outcome::Error(error) => {
                let code = code_of(error);
                ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |code| code.name().to_owned())
            }
        };
        let spent = match ran.began {
            Some(began) => {
                let waited = began.saturating_duration_since(self.started).min(took);
                format!("it waited {} and ran {}", told(waited), told(took - waited))
            }
            None => "it has not begun".to_owned(),
        };
        // A name that Python has not told yet is a client's words.
        let name = shortened(&method.name);
        let name = name.escape_debug();
        format!(
            "slow call: `{name}` (call {}) took {}: {spent}, and ended with {how}",
            ran.number,
            told(took)
        )
    }
}

fn told(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// Whether a `Cancelled` is what the client itself has asked for, or would have if it had stayed.
fn is_taken_back(error: &[u8]) -> bool {
    let by = |who: CancelledBy| memchr::memmem::find(error, format!("\"by\":\"{}\"", who.text()).as_bytes()).is_some();
    by(CancelledBy::Client) || by(CancelledBy::Disconnect)
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
        let metrics = Metrics::since(Instant::now());
        for code in ErrorCode::ALL {
            metrics.error(&Error::new(*code, "x", None).to_json());
        }
        metrics.error(br#"{"code":5,"message":"x"}"#);
        assert!(metrics.errors.iter().all(|count| count.get() == 1));
        for (place, (kind, _)) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
