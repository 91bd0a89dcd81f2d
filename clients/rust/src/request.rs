//! What is asked of a daemon, and how it is written.

use std::borrow::Cow;
use std::time::Duration;

use baskd_protocol::Error as RpcError;
use baskd_protocol::error::Where;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout_at};

use crate::{CallOptions, Error, StreamOptions};

/// How often a call may be refused by daemons that stop, before that is its answer: somebody has one after another end.
const MOST_REFUSALS: u32 = 3;

/// A call that may have to be written more than once.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    method: Cow<'a, str>,
    params: Option<Box<RawValue>>,
    /// When the caller's time is over.
    deadline: Option<Instant>,
    /// Of a stream: how many items may be under way.
    pub(crate) window: Option<u32>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    /// Whether it may run again, if the caller knows.
    pub(crate) idempotent: Option<bool>,
    refusals: u32,
}

/// The params of `rpc.call` and `stream.call`.
#[derive(Serialize)]
struct Wrapped<'a> {
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'a str, params: impl Serialize, options: CallOptions) -> Result<Request<'a>, Error> {
        Ok(Request {
            method: method.into(),
            params: raw_params(params)?,
            // What is too long for the clock is for ever.
            deadline: options.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            window: None,
            traceparent: options.traceparent,
            tracestate: options.tracestate,
            idempotent: options.idempotent,
            refusals: 0,
        })
    }

    pub(crate) fn stream(
        method: &str,
        params: impl Serialize,
        options: StreamOptions,
    ) -> Result<Request<'static>, Error> {
        let window = Some(options.window());
        let options = CallOptions {
            timeout: options.timeout,
            traceparent: options.traceparent,
            tracestate: options.tracestate,
            idempotent: Some(false),
        };
        let request = Request::new("", params, options)?;
        Ok(Request {
            method: method.to_owned().into(),
            window,
            ..request
        })
    }

    /// The method that is called in the end.
    pub(crate) fn named(&self) -> &str {
        &self.method
    }

    /// As it is to be written now.
    pub(crate) fn wire(&self) -> Result<(&str, Option<Box<RawValue>>), Error> {
        if self.deadline.is_none() && self.window.is_none() && self.traceparent.is_none() {
            return Ok((&self.method, self.params.clone()));
        }
        let left = |deadline: Instant| milliseconds(deadline.saturating_duration_since(Instant::now()));
        let wrapped = Wrapped {
            method: &self.method,
            params: self.params.as_deref(),
            timeout_ms: self.deadline.map(left),
            window: self.window,
            traceparent: self.traceparent.as_deref(),
            tracestate: self.tracestate.as_deref(),
        };
        let carrier = if self.window.is_some() {
            "stream.call"
        } else {
            "rpc.call"
        };
        Ok((carrier, Some(encode(&wrapped)?)))
    }

    /// Whether this answer means that it may be made again of the next daemon: this one stops, and has not begun it.
    pub(crate) fn is_refused(&mut self, error: &Error) -> bool {
        let is_never_begun = is_never_begun(error);
        self.refusals += u32::from(is_never_begun);
        is_never_begun && self.refusals <= MOST_REFUSALS
    }

    /// Waits for what has to be there before it can be written, while there is time.
    pub(crate) async fn in_time<T>(&self, ready: impl Future<Output = T>) -> Result<T, Error> {
        match self.deadline {
            None => Ok(ready.await),
            Some(deadline) => timeout_at(deadline, ready)
                .await
                .map_err(|_| Error::Rpc(RpcError::timed_out(Where::Starting))),
        }
    }
}

/// Whether a daemon that stops says of a call that it has not begun it.
pub(crate) fn is_never_begun(error: &Error) -> bool {
    error.rpc().is_some_and(RpcError::is_of_what_never_began)
}

/// Half a millisecond is not no time at all, so what is left of one counts whole.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

pub(crate) fn raw_params(params: impl Serialize) -> Result<Option<Box<RawValue>>, Error> {
    let raw = encode(&params)?;
    match raw.get().as_bytes() {
        b"null" => Ok(None),
        [b'{' | b'[', ..] => Ok(Some(raw)),
        _ => Err(Error::Params(raw.get().chars().take(40).collect())),
    }
}

pub(crate) fn encode(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    to_raw_value(value).map_err(Error::Encode)
}

pub(crate) fn decode<T: DeserializeOwned>(raw: &RawValue) -> Result<T, Error> {
    serde_json::from_str(raw.get()).map_err(Error::Decode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn params_are_an_object_an_array_or_nothing() {
        assert!(raw_params(()).unwrap().is_none());
        assert!(raw_params(Value::Null).unwrap().is_none());
        assert_eq!(raw_params(json!([1])).unwrap().unwrap().get(), "[1]");
        assert_eq!(raw_params(json!({ "a": 1 })).unwrap().unwrap().get(), r#"{"a":1}"#);
        assert!(matches!(raw_params(5), Err(Error::Params(got)) if got == "5"));
    }

    #[test]
    fn a_timeout_is_never_rounded_to_none() {
        assert_eq!(milliseconds(Duration::from_micros(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(250)), 250);
    }

    #[test]
    fn a_trace_goes_with_a_call_and_with_a_stream() {
        let options = CallOptions {
            traceparent: Some("00-1".to_owned()),
            tracestate: Some("a=1".to_owned()),
            ..CallOptions::default()
        };
        let request = Request::new("f", (), options).unwrap();
        let (method, params) = request.wire().unwrap();
        assert_eq!(
            (method, params.unwrap().get()),
            ("rpc.call", r#"{"method":"f","traceparent":"00-1","tracestate":"a=1"}"#)
        );
        let options = StreamOptions {
            traceparent: Some("00-1".to_owned()),
            ..StreamOptions::default()
        };
        let request = Request::stream("f", json!([1]), options).unwrap();
        let (method, params) = request.wire().unwrap();
        assert_eq!(
            (method, params.unwrap().get()),
            (
                "stream.call",
                r#"{"method":"f","params":[1],"window":256,"traceparent":"00-1"}"#
            )
        );
    }

    #[test]
    fn a_refusal_is_taken_a_few_times() {
        let mut request = Request::new("f", (), CallOptions::default()).unwrap();
        assert!(!request.is_refused(&Error::Rpc(RpcError::timed_out(Where::Queued))));
        let refusal = Error::Rpc(RpcError::never_began());
        let taken = (0..5).map(|_| request.is_refused(&refusal));
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_written_again_has_what_is_left_of_its_time() {
        let options = CallOptions {
            timeout: Some(Duration::from_secs(2)),
            ..CallOptions::default()
        };
        let request = Request::new("f", json!([1]), options).unwrap();
        let left = |request: &Request| request.wire().unwrap().1.unwrap().get().to_owned();
        assert_eq!(left(&request), r#"{"method":"f","params":[1],"timeout_ms":2000}"#);
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(left(&request), r#"{"method":"f","params":[1],"timeout_ms":500}"#);
        let never = std::future::pending::<()>();
        assert!(matches!(request.in_time(never).await, Err(Error::Rpc(error)) if error.code == -32023));
    }
}
