//! The errors a client can meet: one table of codes, and one constructor an error, so that each is always worded and
//! filled in the same way.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

macro_rules! codes {
    ($($name:ident = $code:literal $text:literal,)+) => {
        /// Every code of the protocol. [`ErrorCode::name`] is what clients call it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($name,)+ }

        impl ErrorCode {
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)+];

            pub const fn code(self) -> i32 {
                match self { $(ErrorCode::$name => $code,)+ }
            }

            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)+ }
            }

            pub const fn from_code(code: i32) -> Option<ErrorCode> {
                match code { $($code => Some(ErrorCode::$name),)+ _ => None }
            }
        }
    };
}

codes! {
    ParseError = -32700 "ParseError",
    InvalidRequest = -32600 "InvalidRequest",
    MethodNotFound = -32601 "MethodNotFound",
    InvalidParams = -32602 "InvalidParams",
    InternalError = -32603 "InternalError",
    TooManySubscriptions = -32006 "TooManySubscriptions",
    RequestTooLarge = -32007 "RequestTooLarge",
    ResponseTooLarge = -32008 "ResponseTooLarge",
    TooManyConnections = -32009 "TooManyConnections",
    BatchTooLarge = -32010 "BatchTooLarge",
    BatchResponseTooLarge = -32011 "BatchResponseTooLarge",
    MethodError = -32020 "MethodError",
    BackendCrashed = -32021 "BackendCrashed",
    BackendUnavailable = -32022 "BackendUnavailable",
    TimedOut = -32023 "TimedOut",
    Cancelled = -32024 "Cancelled",
    Overloaded = -32025 "Overloaded",
    ResultNotJson = -32026 "ResultNotJson",
    Forbidden = -32027 "Forbidden",
    PropertyRefused = -32028 "PropertyRefused",
}

/// A JSON-RPC error object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub code: i32,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// Who or what cancelled a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelledBy {
    Client,
    Disconnect,
    SlowReader,
    Shutdown,
}

impl CancelledBy {
    pub const fn text(self) -> &'static str {
        match self {
            CancelledBy::Client => "client",
            CancelledBy::Disconnect => "disconnect",
            CancelledBy::SlowReader => "slow reader",
            CancelledBy::Shutdown => "shutdown",
        }
    }
}

/// Where a call was when its time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    Starting,
    Queued,
    Running,
}

impl Where {
    pub const fn text(self) -> &'static str {
        match self {
            Where::Starting => "starting",
            Where::Queued => "queued",
            Where::Running => "running",
        }
    }
}

impl Error {
    pub fn new(code: ErrorCode, message: impl Into<String>, data: Option<Value>) -> Error {
        Error {
            code: code.code(),
            message: message.into(),
            data,
        }
    }

    /// Which row of the table this is; None for a code of somebody else's.
    pub fn kind(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.code)
    }

    /// The error object as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        // A string, a number and a `Value` always can be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn parse(why: impl std::fmt::Display) -> Error {
        Error::new(ErrorCode::ParseError, format!("Parse error: {why}."), None)
    }

    pub fn invalid_request(why: impl std::fmt::Display) -> Error {
        Error::new(ErrorCode::InvalidRequest, format!("Invalid request: {why}."), None)
    }

    /// `nearest`: names that are there, nearest first.
    pub fn method_not_found(method: &str, nearest: &[String]) -> Error {
        let method = shortened(method);
        let hint = match nearest.first() {
            Some(name) => format!("did you mean `{name}`?"),
            None => "`baskd methods` lists those there are.".to_owned(),
        };
        Error::new(
            ErrorCode::MethodNotFound,
            format!("There is no method `{method}`: {hint}"),
            Some(json!({ "nearest": nearest })),
        )
    }

    /// `got` is the JSON that was given, or null where nothing was.
    pub fn invalid_params(parameter: &str, wanted: &str, got: Value) -> Error {
        let parameter = shortened(parameter);
        let message = if got.is_null() {
            format!("The parameter `{parameter}` must be {wanted}.")
        } else {
            format!(
                "The parameter `{parameter}` must be {wanted}, not {}.",
                shortened(&got.to_string())
            )
        };
        Error::new(
            ErrorCode::InvalidParams,
            message,
            Some(json!({ "parameter": parameter, "wanted": wanted, "got": got })),
        )
    }

    pub fn internal(why: impl Into<String>) -> Error {
        Error::new(ErrorCode::InternalError, why, None)
    }

    fn limited(code: ErrorCode, message: String, limit: usize) -> Error {
        Error::new(code, message, Some(json!({ "limit": limit })))
    }

    pub fn too_many_subscriptions(limit: usize) -> Error {
        Error::limited(
            ErrorCode::TooManySubscriptions,
            format!("This connection has {limit} subscriptions already: end one first."),
            limit,
        )
    }

    pub fn request_too_large(limit: usize) -> Error {
        Error::limited(
            ErrorCode::RequestTooLarge,
            format!("The request is larger than {limit} bytes: pass a file's path rather than its content."),
            limit,
        )
    }

    pub fn response_too_large(limit: usize) -> Error {
        Error::limited(
            ErrorCode::ResponseTooLarge,
            format!("The result is larger than {limit} bytes: stream it, or write it to a file."),
            limit,
        )
    }

    pub fn too_many_connections(limit: usize) -> Error {
        Error::limited(
            ErrorCode::TooManyConnections,
            format!("The daemon has {limit} connections already: share one, or close one."),
            limit,
        )
    }

    pub fn batch_too_large(limit: usize) -> Error {
        Error::limited(
            ErrorCode::BatchTooLarge,
            format!("The batch has more than {limit} entries: split it."),
            limit,
        )
    }

    pub fn batch_response_too_large(limit: usize) -> Error {
        Error::limited(
            ErrorCode::BatchResponseTooLarge,
            format!("The answers to the batch are larger than {limit} bytes: split it."),
            limit,
        )
    }

    /// `ran`: whether the call had begun. `exit` is `{"code":N}`, or `{"signal":N}`, with `"oom":true` where that is known.
    /// `snapshot_age`: how old the state is that Python goes back to, where the controller gives snapshots of it.
    pub fn backend_crashed(
        ran: bool,
        how: &str,
        exit: Value,
        stderr: &[String],
        snapshot_age: Option<Duration>,
    ) -> Error {
        let message = if ran {
            format!("Python {how} while it ran this call; the next one is up for the next call.")
        } else {
            format!("Python {how} twice before this call began; it was not run.")
        };
        let mut data = json!({ "ran": if ran { "yes" } else { "no" }, "exit": exit, "stderr": stderr });
        let mut message = message;
        if let Some(age) = snapshot_age {
            data["snapshot_age_ms"] = json!(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            message.push_str(&format!(" Its state goes back to a snapshot that is {age:.1?} old."));
        }
        Error::new(ErrorCode::BackendCrashed, message, Some(data))
    }

    /// `retry_ms`: when it is tried again by itself; None if only on `daemon.restart` or a changed file.
    pub fn backend_unavailable(reason: &str, stderr: &[String], retry_ms: Option<u64>) -> Error {
        Error::new(
            ErrorCode::BackendUnavailable,
            format!("Python is not available: {reason}"),
            Some(json!({ "reason": reason, "stderr": stderr, "retry_ms": retry_ms })),
        )
    }

    /// The same, of a call that has begun, here or in a Python before, and did not come to its end.
    #[must_use]
    pub fn after_it_ran(mut self) -> Error {
        if let Some(Value::Object(data)) = &mut self.data {
            data.insert("ran".to_owned(), json!("yes"));
        }
        self
    }

    /// A reload did not come to its end. `serves_on`: whether the old version is there.
    pub fn not_reloaded(reason: &str, stderr: &[String], serves_on: bool) -> Error {
        let mut error = Error::backend_unavailable(reason, stderr, None);
        if serves_on {
            error.message = format!("The new version can't serve, and the old one serves on: {reason}");
        }
        error
    }

    pub fn timed_out(place: Where) -> Error {
        let message = match place {
            Where::Starting => "The call timed out while Python was starting.",
            Where::Queued => "The call timed out in the queue: other calls were before it.",
            Where::Running => "The call timed out while it ran.",
        };
        Error::new(ErrorCode::TimedOut, message, Some(json!({ "where": place.text() })))
    }

    pub fn cancelled(by: CancelledBy) -> Error {
        let message = match by {
            CancelledBy::Client => "The call was cancelled by its client.",
            CancelledBy::Disconnect => "The call was cancelled: its client is gone.",
            CancelledBy::SlowReader => "The call was cancelled: its client did not read what it sent.",
            CancelledBy::Shutdown => "The call was cancelled: its Python is stopped or replaced.",
        };
        Error::new(ErrorCode::Cancelled, message, Some(json!({ "by": by.text() })))
    }

    /// [`CancelledBy::Shutdown`], of a call that never began, nor ever will: it can be made again, of the next daemon.
    pub fn never_began() -> Error {
        Error::new(
            ErrorCode::Cancelled,
            "The daemon stops, and has not begun the call: make it again once the next one runs.",
            Some(json!({ "by": CancelledBy::Shutdown.text(), "ran": "no" })),
        )
    }

    /// Whether this says of its call that it never began.
    pub fn is_of_what_never_began(&self) -> bool {
        let data = |name: &str| {
            self.data
                .as_ref()
                .and_then(|data| data.get(name))
                .and_then(Value::as_str)
        };
        self.kind() == Some(ErrorCode::Cancelled)
            && data("by") == Some(CancelledBy::Shutdown.text())
            && data("ran") == Some("no")
    }

    pub fn overloaded(limit: usize) -> Error {
        Error::limited(
            ErrorCode::Overloaded,
            format!("{limit} calls are waiting already: try again later."),
            limit,
        )
    }

    /// As [`Error::overloaded`], of one connection's calls.
    pub fn overloaded_connection(limit: usize) -> Error {
        let message =
            format!("{limit} calls of this connection are waiting already: send more when some are answered.");
        Error::limited(ErrorCode::Overloaded, message, limit)
    }

    /// As [`Error::overloaded`], where it is not the number of messages but their size.
    pub fn overloaded_bytes(limit: usize) -> Error {
        let message = format!("{limit} bytes of messages are waiting already: try again later.");
        Error::limited(ErrorCode::Overloaded, message, limit)
    }

    /// As [`Error::overloaded`], where clients don't read what they have asked for.
    pub fn overloaded_unread(limit: usize) -> Error {
        let message = format!(
            "The result was thrown away: clients have not read {limit} bytes of others. Ask again when they have."
        );
        Error::limited(ErrorCode::Overloaded, message, limit)
    }

    /// `what` there are too many of, as "properties".
    pub fn too_many_properties(what: &str, limit: usize) -> Error {
        let message = format!("{limit} {what} are kept already: keep such data in the controller.");
        Error::limited(ErrorCode::Overloaded, message, limit)
    }

    pub fn forbidden(uid: u32) -> Error {
        Error::new(
            ErrorCode::Forbidden,
            format!("The user {uid} may not use this daemon: it is another user's."),
            Some(json!({ "uid": uid })),
        )
    }
}

/// The start of a text that somebody else chose.
fn shortened(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonrpsee::types::error as theirs;

    #[test]
    fn codes_are_those_of_the_contract() {
        let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
        let contract = [-32700, -32600, -32601, -32602, -32603];
        let contract = contract
            .into_iter()
            .chain((-32011..=-32006).rev())
            .chain((-32028..=-32020).rev());
        assert_eq!(codes, contract.collect::<Vec<_>>());
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
        }
    }

    #[test]
    fn limits_have_jsonrpsees_codes() {
        for (ours, theirs) in [
            (ErrorCode::TooManySubscriptions, theirs::TOO_MANY_SUBSCRIPTIONS_CODE),
            (ErrorCode::RequestTooLarge, theirs::OVERSIZED_REQUEST_CODE),
            (ErrorCode::ResponseTooLarge, theirs::OVERSIZED_RESPONSE_CODE),
            (ErrorCode::BatchTooLarge, theirs::TOO_BIG_BATCH_REQUEST_CODE),
            (ErrorCode::BatchResponseTooLarge, theirs::TOO_BIG_BATCH_RESPONSE_CODE),
        ] {
            assert_eq!(ours.code(), theirs, "{}", ours.name());
        }
    }

    #[test]
    fn what_a_stopping_daemon_has_not_begun_is_told_apart() {
        let error = Error::never_began();
        assert_eq!(error.data, Some(json!({ "by": "shutdown", "ran": "no" })));
        assert!(error.is_of_what_never_began());
        assert!(!error.after_it_ran().is_of_what_never_began());
        assert!(!Error::cancelled(CancelledBy::Shutdown).is_of_what_never_began());
        assert!(!Error::backend_crashed(false, "died", json!({ "code": 1 }), &[], None).is_of_what_never_began());
    }

    #[test]
    fn an_unknown_method_names_the_nearest() {
        let error = Error::method_not_found("incremnt", &["increment".to_owned()]);
        assert_eq!(
            error.message,
            "There is no method `incremnt`: did you mean `increment`?"
        );
        assert_eq!(
            String::from_utf8(error.to_json()).unwrap(),
            r#"{"code":-32601,"message":"There is no method `incremnt`: did you mean `increment`?","data":{"nearest":["increment"]}}"#
        );
    }
}
