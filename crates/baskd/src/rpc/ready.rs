//! Whether a call would be answered now: asked by making one, which takes the way of every other.

use std::rc::Rc;
use std::time::Duration;

use baskd_protocol::error::ErrorCode;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Service;
use super::metrics::code_of;
use crate::backend::{Backend, Item, NewCall, Outcome, Sink, Taken};

/// How long the answer may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Every controller has it, it runs no code of the user's for a property that is not there, and any answer will do.
const METHOD: &str = "getProperty";
const PARAMS: &str = r#"{"name":"baskd_is_ready"}"#;

/// Ok, or why not.
pub(crate) async fn check(service: &Rc<Service>) -> Result<(), String> {
    let status = service.backend.status();
    let state = status["state"].as_str().unwrap_or_default();
    if state != "ready" {
        let reason = status["reason"].as_str().map(|reason| format!(": {reason}"));
        return Err(format!("Python is {state}{}", reason.unwrap_or_default()));
    }
    let (sink, answered) = Probe::new();
    let asker = Asker {
        backend: service.backend.clone(),
        owner: service.next_id(),
    };
    let new = NewCall {
        owner: asker.owner,
        method: METHOD,
        params: Some(PARAMS),
        window: None,
        trace: None,
        sink,
    };
    service.backend.call(new, None);
    match timeout(LIMIT, answered).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_)) => Err("the call was given up".to_owned()),
        Err(_) => Err(format!(
            "Python has not answered a call within {LIMIT:?}{}",
            busy(service)
        )),
    }
}

/// Who asks. However that ends, also if whoever wanted to know has gone, the call ends with it, and nothing is left.
struct Asker {
    backend: Backend,
    owner: u64,
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.backend.owner_gone(self.owner);
    }
}

/// What has Python, as far as it is known.
fn busy(service: &Service) -> String {
    let status = service.backend.status();
    let workers = status["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let running = workers.iter().flat_map(|worker| worker["running"].as_array()).flatten();
    let longest = running.max_by_key(|call| call["age_ms"].as_u64());
    longest.map_or_else(String::new, |call| {
        let method = call["method"].as_str().unwrap_or_default();
        format!(": `{method}` has been running for {} ms", call["age_ms"])
    })
}

/// The call's sink: it tells that there was an answer, whichever.
struct Probe {
    tell: oneshot::Sender<Result<(), String>>,
}

impl Probe {
    fn new() -> (Box<Probe>, oneshot::Receiver<Result<(), String>>) {
        let (tell, answered) = oneshot::channel();
        (Box::new(Probe { tell }), answered)
    }
}

impl Sink for Probe {
    fn item(&mut self, _: Item<'_>) -> Taken {
        Taken::Now
    }

    fn end(self: Box<Self>, outcome: Outcome<'_>) {
        let answered = match outcome {
            Outcome::Result(_) => Ok(()),
            Outcome::Error(error) => not_pythons(error).map_or(Ok(()), Err),
        };
        // Whoever asked may have gone.
        let _ = self.tell.send(answered);
    }
}

/// The message of an error that is the daemon's own, and so no answer of Python's.
fn not_pythons(error: &[u8]) -> Option<String> {
    use ErrorCode::{BackendCrashed, BackendUnavailable, Cancelled, Overloaded, TimedOut};
    let kind = ErrorCode::from_code(code_of(error))?;
    let is_ours = matches!(
        kind,
        BackendCrashed | BackendUnavailable | Cancelled | Overloaded | TimedOut
    );
    is_ours.then(|| {
        let error: Result<baskd_protocol::error::Error, _> = serde_json::from_slice(error);
        error.map_or_else(|_| kind.name().to_owned(), |error| error.message)
    })
}
