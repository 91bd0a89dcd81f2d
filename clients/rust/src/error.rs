//! What can go wrong, named by what a caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use baskd_protocol::socket::SocketError;
use baskd_protocol::{Error as RpcError, ErrorCode};
use serde_json::Value;

/// Why a call was not answered as it was meant to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing answers at `path`: start a daemon. If `source` is of the kind `WouldBlock`, there is one, and it takes no
    /// connections: see what it does.
    #[error("{}", nobody(path, source))]
    NoDaemon {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The socket can't be used as it is: choose another, or mend its folder.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A daemon was to be started, and was not: mend what `said` tells. `status` is that of the command, if it ended by
    /// itself.
    #[error("no daemon could be started: {}", .said.as_deref().unwrap_or("`baskd start` said nothing"))]
    StartFailed {
        command: String,
        status: Option<i32>,
        said: Option<String>,
    },
    /// The daemon at `path` serves another controller than the client was told: choose another name, or stop it.
    #[error(
        "the daemon at {} serves {serves}, not {wanted}: choose another name, or stop it with `baskd stop`", .path.display()
    )]
    WrongController {
        path: PathBuf,
        serves: String,
        wanted: String,
    },
    /// The connection was lost while a call of `method` was under way, so it may or may not have run. The next call
    /// connects again.
    #[error(
        "the daemon closed the connection before it answered `{method}`, so that may or may not have run: check `baskd status`"
    )]
    Disconnected { method: String },
    /// The daemon or the method answered with an error.
    #[error("{0}")]
    Rpc(RpcError),
    /// What was passed can't be sent: params are an object, an array, or nothing.
    #[error("params must be an object, an array or nothing, not {0}")]
    Params(String),
    /// What was passed can't be written as JSON.
    #[error("the params can't be written as JSON: {0}")]
    Encode(#[source] serde_json::Error),
    /// The answer is not of the type that was asked for.
    #[error("the answer is not of the type that was asked for: {0}")]
    Decode(#[source] serde_json::Error),
    /// This subscription's messages were not taken fast enough, and some are lost: subscribe again, and take them
    /// sooner.
    #[error("the messages of this subscription were not taken fast enough, and some are lost: take them sooner")]
    Lagged,
}

impl Error {
    pub(crate) fn disconnected(method: &str) -> Error {
        Error::Disconnected {
            method: method.to_owned(),
        }
    }

    /// The error object, where the daemon or the method answered with one.
    #[must_use]
    pub fn rpc(&self) -> Option<&RpcError> {
        match self {
            Error::Rpc(error) => Some(error),
            _ => None,
        }
    }

    /// Which row of the table of errors this is, if it is one of them.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorCode> {
        self.rpc().and_then(RpcError::kind)
    }

    /// The name of the method, parameter or property that was probably meant.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        self.data("nearest")?.get(0)?.as_str()
    }

    /// Python's traceback, where the method raised.
    #[must_use]
    pub fn traceback(&self) -> Option<&str> {
        self.data("traceback")?.as_str()
    }

    /// The last lines Python wrote to stderr, where it died or could not start; oldest first.
    #[must_use]
    pub fn stderr(&self) -> Vec<&str> {
        match self.data("stderr") {
            Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) => text.lines().collect(),
            _ => Vec::new(),
        }
    }

    /// A member of the error's `data`.
    #[must_use]
    pub fn data(&self, member: &str) -> Option<&Value> {
        self.rpc()?.data.as_ref()?.get(member)
    }
}

fn nobody(path: &Path, source: &io::Error) -> String {
    let path = path.display();
    match source.kind() {
        io::ErrorKind::WouldBlock => {
            format!("the daemon at {path} takes no connections: it is stopped, or far too many wait for it")
        }
        _ => format!("no daemon answers at {path}: start one with `baskd serve`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_is_read_where_it_is_there() {
        let error = Error::Rpc(RpcError::method_not_found("incr", &["increment".to_owned()]));
        assert_eq!(error.kind(), Some(ErrorCode::MethodNotFound));
        assert_eq!(error.nearest(), Some("increment"));
        assert_eq!(error.traceback(), None);

        let crashed = RpcError::backend_crashed(
            true,
            "died",
            json!({ "signal": 9 }),
            &["a".to_owned(), "b".to_owned()],
            None,
        );
        assert_eq!(Error::Rpc(crashed).stderr(), ["a", "b"]);
        assert_eq!(Error::disconnected("f").nearest(), None);
    }
}
