//! The client: every method the daemon has, and a connection that is made again when it was lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::connection::Failure;
use crate::session::{self, Retry, Session};
use crate::start::Launch;
use crate::stream::{Messages, Scope, Stream, StreamOptions};
use crate::{Error, Status};

/// How long a client whose daemon went away waits for the next one, unless told otherwise.
const RECONNECT: Duration = Duration::from_secs(1);

/// The events of a stream that its window does not count.
const LAST_EVENTS: usize = 1;

/// A handle to a daemon. Clones share one connection, which closes with the last of them and of their streams.
#[derive(Debug, Clone)]
pub struct Client(Arc<Session>);

/// How to connect. Made by [`Client::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    wait: Duration,
    reconnect: Duration,
    launch: Launch,
}

/// What to ask for with a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions {
    /// After how long the daemon answers `TimedOut`, the time in its queue included; in whole milliseconds. None:
    /// never.
    pub timeout: Option<Duration>,
    /// Whether the call may run twice: then it is sent again, once, if the connection is lost while it is under way.
    /// None: if the controller says so (`@baskd.idempotent`), which is asked of the next daemon.
    pub idempotent: Option<bool>,
}

impl Builder {
    /// For how long [`connect`](Builder::connect) tries again while nobody answers. Not at all by default.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// For how long a call tries to connect again after the connection was lost, as when the daemon restarts. One
    /// second by default.
    #[must_use]
    pub fn reconnect(mut self, reconnect: Duration) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// What to serve where no daemon answers: `path/to/controller.py`, `path.py:Class` or `package.module:Class`. Without
    /// it a daemon is started if the instance's config names a controller.
    #[must_use]
    pub fn controller(mut self, controller: impl Into<String>) -> Self {
        self.launch.controller = Some(controller.into());
        self
    }

    /// The instance's name, for a daemon that is started; else it follows from the socket.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.launch.name = Some(name.into());
        self
    }

    /// The interpreter, or the folder of its venv, for a daemon that is started.
    #[must_use]
    pub fn python(mut self, python: impl Into<PathBuf>) -> Self {
        self.launch.python = Some(python.into());
        self
    }

    /// The `baskd` program that starts one; else `$BASKD_BIN`, else the one on the PATH.
    #[must_use]
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.launch.binary = Some(binary.into());
        self
    }

    /// Whether a daemon is started at all where none answers, for the first connection or for a later call. It is, unless
    /// `BASKD_START=0` is set.
    #[must_use]
    pub fn start(mut self, start: bool) -> Self {
        self.launch.wanted = start;
        self
    }

    /// Connects to the socket at `path`; see [`socket::resolve`](crate::socket::resolve) for where it is.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] if nobody answers and there is nothing to start, [`Error::StartFailed`] if what was started did
    /// not come up, [`Error::Socket`] if the socket's folder can't be trusted.
    pub async fn connect(self, path: impl AsRef<Path>) -> Result<Client, Error> {
        let path = path.as_ref().to_owned();
        let connection = session::connect(&path, self.wait, &self.launch).await?;
        Ok(Client(Arc::new(Session {
            path,
            reconnect: self.reconnect,
            launch: self.launch,
            current: Mutex::new(connection),
        })))
    }
}

impl Client {
    /// Connects to the socket at `path`, which must be answered at once. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(path: impl AsRef<Path>) -> Result<Client, Error> {
        Client::builder().connect(path).await
    }

    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            wait: Duration::ZERO,
            reconnect: RECONNECT,
            launch: Launch::new(),
        }
    }

    /// The path of the daemon's socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Calls a method of the controller, or one of the daemon's own, and decodes its result. `params` is an object, an
    /// array, or `()` for none. To leave the result as it came, ask for a `Box<RawValue>`.
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Errors
    /// [`Error::Rpc`] with what the daemon or the method answered; [`Error::Disconnected`] if the daemon went away
    /// meanwhile and the method is not one that may run twice; [`Error::NoDaemon`] if it was away before; [`Error::Decode`] if the result is no `T`.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: impl Serialize) -> Result<T, Error> {
        self.call_with(method, params, CallOptions::default()).await
    }

    /// As [`call`](Client::call), with options.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn call_with<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
        options: CallOptions,
    ) -> Result<T, Error> {
        let params = raw_params(params)?;
        // The daemon's own have a `.` or a `/` in their names.
        let retry = Retry {
            method: Some(method).filter(|method| !method.contains(['.', '/'])),
            idempotent: options.idempotent,
        };
        let result = match options.timeout {
            None => self.0.call(method, params.as_deref(), retry).await?,
            Some(timeout) => {
                let wrapped = encode(&Wrapped {
                    method,
                    params,
                    timeout_ms: Some(milliseconds(timeout)),
                    window: None,
                })?;
                self.0.call("rpc.call", Some(&wrapped), retry).await?
            }
        };
        decode(&result)
    }

    /// Calls a method for its partial results. Dropping the stream cancels the call.
    ///
    /// # Errors
    /// As [`call`](Client::call), for what is known before the call begins: an unknown method, a full queue. What
    /// happens later is an item of the stream.
    pub async fn stream(&self, method: &str, params: impl Serialize, options: StreamOptions) -> Result<Stream, Error> {
        let window = options.window();
        let timeout_ms = options.timeout.map(milliseconds);
        let params = encode(&Wrapped {
            method,
            params: raw_params(params)?,
            timeout_ms,
            window: Some(window),
        })?;
        let connection = self.0.connection().await?;
        let events = connection
            .subscribe("stream.call", params, "stream.cancel", window as usize + LAST_EVENTS)
            .await;
        Ok(Stream::new(events.map_err(last)?, window))
    }

    /// What calls `send()` or `yield` besides their results: those of this connection's plain calls, or everybody's; of
    /// one method, or of all. Dropping it unsubscribes. Up to 65,536 messages are kept for a reader that falls behind. If the
    /// connection is lost, it subscribes again by itself, and says so by [`Message::Restarted`].
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn messages(&self, scope: Scope, method: Option<&str>) -> Result<Messages, Error> {
        let params = match method {
            Some(method) => json!({ "scope": scope.text(), "method": method }),
            None => json!({ "scope": scope.text() }),
        };
        Messages::subscribe(self.0.clone(), encode(&params)?).await
    }

    /// A property of the controller.
    ///
    /// # Errors
    /// As [`call`](Client::call); a property that is not there is `InvalidParams`, with the nearest.
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        self.call("getProperty", json!({ "name": name })).await
    }

    /// Sets a property of the controller, for every client and for every Python to come.
    ///
    /// # Errors
    /// As [`call`](Client::call); a name that can't be set is `PropertyRefused`.
    pub async fn set(&self, name: &str, value: impl Serialize) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Property<'a, V> {
            name: &'a str,
            value: V,
        }
        self.call::<Box<RawValue>>("setProperty", Property { name, value })
            .await
            .map(drop)
    }

    /// What the daemon and its Python are doing.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn status(&self) -> Result<Status, Error> {
        self.call("daemon.status", ()).await
    }

    /// The controller's methods, as an OpenRPC document.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn methods(&self) -> Result<Value, Error> {
        self.call("rpc.discover", ()).await
    }

    /// Loads the controller anew, and returns when the new version has taken over. The old one serves until then.
    ///
    /// # Errors
    /// As [`call`](Client::call); `BackendUnavailable` if the new one does not start: then the old one serves on.
    pub async fn reload(&self) -> Result<(), Error> {
        self.call::<Value>("daemon.reload", ()).await.map(drop)
    }

    /// Replaces Python by a new one, and returns when that is ready. The daemon and this connection stay.
    ///
    /// # Errors
    /// As [`call`](Client::call); `BackendUnavailable` if the new one does not start.
    pub async fn restart(&self) -> Result<(), Error> {
        self.call::<Value>("daemon.restart", ()).await.map(drop)
    }

    /// Asks the daemon to stop, and returns when it has begun to.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.call::<Value>("daemon.shutdown", ()).await.map(drop)
    }

    /// Waits until the daemon has taken in all that was sent, the cancelling of dropped calls and streams among it.
    /// Worth its while before a process ends; returns at once if the connection is lost.
    pub async fn flush(&self) {
        let current = self.0.current.lock().await.clone();
        current.flush().await;
    }

    /// Waits until the connection is lost. The next call would make another.
    pub async fn closed(&self) {
        let current = self.0.current.lock().await.clone();
        current.closed().await;
    }
}

/// The params of `rpc.call` and `stream.call`.
#[derive(Serialize)]
struct Wrapped<'a> {
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u32>,
}

/// Half a millisecond is not no time at all, so what is left of one counts whole.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn raw_params(params: impl Serialize) -> Result<Option<Box<RawValue>>, Error> {
    let raw = encode(&params)?;
    match raw.get().as_bytes() {
        b"null" => Ok(None),
        [b'{' | b'[', ..] => Ok(Some(raw)),
        _ => Err(Error::Params(raw.get().chars().take(40).collect())),
    }
}

fn encode(value: &impl Serialize) -> Result<Box<RawValue>, Error> {
    to_raw_value(value).map_err(Error::Encode)
}

fn decode<T: DeserializeOwned>(raw: &RawValue) -> Result<T, Error> {
    serde_json::from_str(raw.get()).map_err(Error::Decode)
}

/// A subscription is not tried again: whether it went out is not known.
fn last(failure: Failure) -> Error {
    match failure {
        Failure::Unsent => Error::Disconnected,
        Failure::Final(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
