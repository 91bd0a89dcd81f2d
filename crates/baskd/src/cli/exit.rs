//! How a command ends: the one table of exit statuses, and how errors are worded.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use baskd_client::socket::SocketError;
use baskd_client::{Error, ErrorCode, RpcError};
use serde_json::{Value, json};

use super::duration::spoken;
use super::harmless::harmless_lines;
use super::systemd;

/// The exit statuses, as the help and PROTOCOL.md have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    /// The method raised, or was cancelled.
    Failed = 1,
    /// Usage, or an unknown method or parameter.
    Usage = 2,
    NoDaemon = 3,
    /// Python crashed or is unavailable.
    Backend = 4,
    TimedOut = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(crate) enum Failure {
    Client(Error),
    /// Nobody answers at `path`. `flags` are those that a daemon there would be started with.
    NoDaemon {
        path: PathBuf,
        flags: String,
    },
    /// There is none, and one that was started did not come up: why.
    NotStarted(String),
    /// There is none, and nothing is left of one either, as a sentence.
    NoLog(String),
    /// What was typed can't be meant.
    Usage(String),
    /// What is set can't be meant.
    Config(baskd::config::Error),
    /// Any other reason, as a sentence.
    Failed(String),
    /// By Ctrl-C or a TERM.
    Interrupted,
    /// What is wrong was printed, as what was asked for.
    Told,
    /// Whoever read stdout has seen enough.
    ReaderGone,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Client(error)
    }
}

impl From<baskd::config::Error> for Failure {
    fn from(error: baskd::config::Error) -> Failure {
        Failure::Config(error)
    }
}

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Client(error) => of(error),
            Failure::NoDaemon { .. } | Failure::NotStarted(_) | Failure::NoLog(_) => Exit::NoDaemon,
            Failure::Usage(_) | Failure::Config(_) => Exit::Usage,
            Failure::Failed(_) | Failure::Interrupted | Failure::Told => Exit::Failed,
            Failure::ReaderGone => Exit::Done,
        }
    }

    /// Says to stderr what went wrong, and gives the status to exit with.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        if !json {
            return self.report_as("baskd");
        }
        self.say(self.object().map(|object| object.to_string()))
    }

    /// The same in words, as `who`.
    pub(crate) fn report_as(&self, who: &str) -> ExitCode {
        self.say(self.text().map(|text| format!("{who}: {text}")))
    }

    fn say(&self, text: Option<String>) -> ExitCode {
        if let Some(mut text) = text {
            // A method's error says what it likes; what is no terminal gets it as it is.
            if io::stderr().is_terminal() {
                text = harmless_lines(&text).into_owned();
            }
            // Where even stderr is closed there is nobody left to tell.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
        self.exit().into()
    }

    /// The whole error object; what isn't the daemon's has a name instead of a code.
    fn object(&self) -> Option<Value> {
        let name = match self {
            Failure::Client(Error::Rpc(error)) => return serde_json::to_value(error).ok(),
            Failure::NoDaemon { .. } | Failure::NoLog(_) | Failure::Client(Error::NoDaemon { .. }) => "NoDaemon",
            Failure::NotStarted(_) => "StartFailed",
            Failure::Client(Error::Disconnected { .. }) => "Disconnected",
            Failure::Interrupted => "Cancelled",
            Failure::Client(_) | Failure::Failed(_) => "Failed",
            Failure::Config(error) => {
                return Some(json!({ "name": "Usage", "message": error.to_string(), "mistakes": error.to_json() }));
            }
            Failure::Usage(_) => "Usage",
            Failure::ReaderGone | Failure::Told => return None,
        };
        Some(json!({ "name": name, "message": self.text() }))
    }

    fn text(&self) -> Option<String> {
        match self {
            Failure::Client(Error::Rpc(error)) => Some(rpc_text(error)),
            Failure::Client(error) => Some(error.to_string()),
            Failure::NoDaemon { path, flags } => {
                let remedy = systemd::remedy(path).unwrap_or_else(|| format!("start one with `baskd serve{flags}`"));
                Some(format!("no daemon answers at {}: {remedy}", path.display()))
            }
            Failure::NotStarted(text) | Failure::NoLog(text) | Failure::Usage(text) | Failure::Failed(text) => {
                Some(text.clone())
            }
            Failure::Config(error) => Some(error.to_string()),
            Failure::Interrupted => Some("interrupted, so the call was cancelled".to_owned()),
            Failure::ReaderGone | Failure::Told => None,
        }
    }
}

/// The table.
fn of(error: &Error) -> Exit {
    let error = match error {
        Error::Rpc(error) => error,
        Error::NoDaemon { .. } | Error::Disconnected { .. } => return Exit::NoDaemon,
        Error::Socket(SocketError::BadName(_) | SocketError::PathTooLong { .. })
        | Error::Params(_)
        | Error::Encode(_) => return Exit::Usage,
        Error::Socket(_) => return Exit::NoDaemon,
        _ => return Exit::Failed,
    };
    match error.kind() {
        Some(
            ErrorCode::ParseError
            | ErrorCode::InvalidRequest
            | ErrorCode::MethodNotFound
            | ErrorCode::InvalidParams
            | ErrorCode::PropertyRefused
            | ErrorCode::RequestTooLarge
            | ErrorCode::BatchTooLarge,
        ) => Exit::Usage,
        Some(ErrorCode::Forbidden | ErrorCode::TooManyConnections) => Exit::NoDaemon,
        Some(
            ErrorCode::BackendCrashed
            | ErrorCode::BackendUnavailable
            | ErrorCode::Overloaded
            | ErrorCode::TooManySubscriptions,
        ) => Exit::Backend,
        Some(ErrorCode::TimedOut) => Exit::TimedOut,
        Some(
            ErrorCode::MethodError
            | ErrorCode::Cancelled
            | ErrorCode::ResultNotJson
            | ErrorCode::ResponseTooLarge
            | ErrorCode::BatchResponseTooLarge
            | ErrorCode::InternalError,
        )
        | None => Exit::Failed,
    }
}

/// The error as a sentence that names the remedy, and below it what Python had to say.
fn rpc_text(error: &RpcError) -> String {
    let data = |member: &str| error.data.as_ref().and_then(|data| data.get(member));
    let mut text = error.message.trim_end().to_owned();
    match error.kind() {
        Some(ErrorCode::MethodNotFound | ErrorCode::InvalidParams) => {
            let nearest = data("nearest")
                .and_then(|nearest| nearest.get(0))
                .and_then(Value::as_str);
            // The daemon's message may say so already.
            if let Some(nearest) = nearest.filter(|nearest| !text.contains(nearest)) {
                add(&mut text, &format!("did you mean {nearest}?"));
            }
            if data("wanted").is_some() {
                add(&mut text, "`baskd methods` shows what it takes");
            }
        }
        Some(ErrorCode::MethodError) => {
            if let Some(traceback) = data("traceback").and_then(Value::as_str) {
                let _ = write!(text, "\n{}", traceback.trim_end());
            }
        }
        Some(ErrorCode::BackendCrashed) => lines(&mut text, data("stderr")),
        Some(ErrorCode::BackendUnavailable) => {
            match data("retry_ms").and_then(Value::as_u64) {
                Some(ms) => add(&mut text, &format!("it is tried again in {}", spoken(ms))),
                // A restart would take the old version away, which serves on.
                None if text.starts_with("The new version") => add(&mut text, "mend it, then run `baskd reload` again"),
                None => add(&mut text, "mend the controller, then run `baskd restart`"),
            }
            lines(&mut text, data("stderr"));
        }
        Some(ErrorCode::TimedOut) => add(&mut text, "allow more with --timeout, or see `baskd status`"),
        _ => {}
    }
    text
}

/// Adds half a sentence to one.
fn add(text: &mut String, half: &str) {
    let kept = text.trim_end_matches('.').len();
    text.truncate(kept);
    let _ = write!(text, "; {half}");
}

fn lines(text: &mut String, lines: Option<&Value>) {
    for line in lines
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        let _ = write!(text, "\n  {}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn the_table_of_the_contract() {
        let expected = |code| match code {
            ErrorCode::MethodError | ErrorCode::Cancelled | ErrorCode::ResultNotJson => 1,
            ErrorCode::MethodNotFound | ErrorCode::InvalidParams | ErrorCode::PropertyRefused => 2,
            ErrorCode::InvalidRequest
            | ErrorCode::ParseError
            | ErrorCode::RequestTooLarge
            | ErrorCode::BatchTooLarge => 2,
            ErrorCode::Forbidden | ErrorCode::TooManyConnections => 3,
            ErrorCode::BackendCrashed
            | ErrorCode::BackendUnavailable
            | ErrorCode::Overloaded
            | ErrorCode::TooManySubscriptions => 4,
            ErrorCode::TimedOut => 5,
            ErrorCode::ResponseTooLarge | ErrorCode::BatchResponseTooLarge | ErrorCode::InternalError => 1,
        };
        for &code in ErrorCode::ALL {
            let failure = Failure::Client(Error::Rpc(RpcError::new(code, "", None)));
            assert_eq!(failure.exit() as u8, expected(code), "{}", code.name());
        }
        let unknown = Failure::Client(Error::Rpc(RpcError {
            code: -1,
            message: String::new(),
            data: None,
        }));
        assert_eq!(unknown.exit(), Exit::Failed);
        let nobody = Failure::Client(Error::NoDaemon {
            path: "/x".into(),
            source: ErrorKind::NotFound.into(),
        });
        assert_eq!(nobody.exit(), Exit::NoDaemon);
        let lost = Error::Disconnected { method: "f".into() };
        assert_eq!(Failure::Client(lost).exit(), Exit::NoDaemon);
        assert_eq!(
            Failure::Client(Error::Socket(SocketError::BadName("-".into()))).exit(),
            Exit::Usage
        );
        assert_eq!(Failure::Interrupted.exit(), Exit::Failed);
        assert_eq!(Failure::ReaderGone.exit(), Exit::Done);
    }

    fn text(code: ErrorCode, message: &str, data: Value) -> String {
        rpc_text(&RpcError::new(code, message, Some(data)))
    }

    #[test]
    fn the_nearest_name_is_said_once() {
        let data = json!({ "nearest": ["increment"] });
        assert_eq!(
            text(ErrorCode::MethodNotFound, "There is no `incr`.", data.clone()),
            "There is no `incr`; did you mean increment?"
        );
        assert_eq!(
            text(ErrorCode::MethodNotFound, "No; did you mean `increment`?", data),
            "No; did you mean `increment`?"
        );
        assert_eq!(text(ErrorCode::MethodNotFound, "No.", json!({ "nearest": [] })), "No.");
    }

    #[test]
    fn what_python_said_follows() {
        let data = json!({ "traceback": "Traceback:\n  line\nValueError: no\n" });
        assert_eq!(
            text(ErrorCode::MethodError, "ValueError: no", data),
            "ValueError: no\nTraceback:\n  line\nValueError: no"
        );
        let data = json!({ "stderr": ["one", "two"], "retry_ms": null });
        assert_eq!(
            text(ErrorCode::BackendCrashed, "It died.", data.clone()),
            "It died.\n  one\n  two"
        );
        assert_eq!(
            text(ErrorCode::BackendUnavailable, "No Python.", data),
            "No Python; mend the controller, then run `baskd restart`\n  one\n  two"
        );
        let data = json!({ "retry_ms": 4000 });
        assert_eq!(
            text(ErrorCode::BackendUnavailable, "No Python.", data),
            "No Python; it is tried again in 4.0 s"
        );
    }

    #[test]
    fn the_object_is_whole() {
        let error = RpcError::new(ErrorCode::TimedOut, "late", Some(json!({ "where": "queued" })));
        let object = Failure::Client(Error::Rpc(error)).object().unwrap();
        assert_eq!(
            object,
            json!({ "code": -32023, "message": "late", "data": { "where": "queued" } })
        );
        assert_eq!(
            Failure::Usage("no".into()).object().unwrap(),
            json!({ "name": "Usage", "message": "no" })
        );
    }
}
