//! What is asked of a daemon, and how it is written.

use std::time::Duration;

use baskd_protocol::Error as RpcError;
use baskd_protocol::error::Where;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, timeout_at};

use crate::{CallOptions, Error};

/// A call that may have to be written more than once.
pub(crate) struct Request<'a> {
    method: &'a str,
    params: Option<Box<RawValue>>,
    /// When the caller's time is over.
    deadline: Option<Instant>,
    /// Whether it may run again, if the caller knows.
    pub(crate) idempotent: Option<bool>,
}

/// The params of `rpc.call` and `stream.call`.
#[derive(Serialize)]
pub(crate) struct Wrapped<'a> {
    pub(crate) method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<u32>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'a str, params: impl Serialize, options: CallOptions) -> Result<Request<'a>, Error> {
        Ok(Request {
            method,
            params: raw_params(params)?,
            // What is too long for the clock is for ever.
            deadline: options.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            idempotent: options.idempotent,
        })
    }

    /// The method that is called in the end.
    pub(crate) fn named(&self) -> &'a str {
        self.method
    }

    /// As it is to be written now.
    pub(crate) fn wire(&self) -> Result<(&str, Option<Box<RawValue>>), Error> {
        let Some(deadline) = self.deadline else {
            return Ok((self.method, self.params.clone()));
        };
        let wrapped = Wrapped {
            method: self.method,
            params: self.params.as_deref(),
            timeout_ms: Some(milliseconds(deadline.saturating_duration_since(Instant::now()))),
            window: None,
        };
        Ok(("rpc.call", Some(encode(&wrapped)?)))
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

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_written_again_has_what_is_left_of_its_time() {
        let options = CallOptions {
            timeout: Some(Duration::from_secs(2)),
            idempotent: None,
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
