//! The client: every method the daemon has.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::connection::Failure;
use crate::feed::{Asked, Feed};
use crate::request::{Request, Wrapped, decode, encode, milliseconds, raw_params};
use crate::session::{Effort, Session};
use crate::stream::{Stream, StreamOptions};
use crate::{Builder, Error, Logs, Messages, Scope, Status};

/// The events of a stream that its window does not count.
const LAST_EVENTS: usize = 1;

/// How many messages or lines are kept for a reader who falls behind; they have no window.
const BUFFERED: usize = 1 << 16;

/// A handle to a daemon. Clones share one connection, which closes with the last of them and of their streams.
#[derive(Debug, Clone)]
pub struct Client(Arc<Session>);

/// What to ask for with a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions {
    /// After how long the daemon answers `TimedOut`, the time in its queue included; in whole milliseconds. Waiting for a
    /// daemon to start counts. None: never.
    pub timeout: Option<Duration>,
    /// Whether the call may run twice: it is then sent again, once, if the daemon went away while it was under way and
    /// none of its messages were taken. None: as the controller says it, by `@baskd.idempotent`.
    pub idempotent: Option<bool>,
}

impl Client {
    /// Connects to the socket at `path`; where nobody answers, the daemon that the instance's config describes is started,
    /// unless `$BASKD_START` is `0`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    pub async fn connect(path: impl AsRef<Path>) -> Result<Client, Error> {
        Client::builder().connect(path).await
    }

    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn over(session: Arc<Session>) -> Client {
        Client(session)
    }

    /// The path of the daemon's socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Calls a method of the controller, or one of the daemon's own, and decodes its result. `params` is an object, an
    /// array, or `()` for none. To leave the result as it came, ask for a `Box<RawValue>`.
    ///
    /// Dropping the future cancels the call. One that was under way when the daemon went away is sent again only if it is
    /// idempotent, see [`CallOptions`].
    ///
    /// # Errors
    /// [`Error::Rpc`] with what the daemon or the method answered; [`Error::Disconnected`] if the daemon went away
    /// meanwhile; [`Error::NoDaemon`] if it was away before and there was nothing to start, [`Error::StartFailed`] if
    /// there was; [`Error::Decode`] if the result is no `T`.
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: impl Serialize) -> Result<T, Error> {
        self.call_with(method, params, CallOptions::default()).await
    }

    /// As [`call`](Client::call), with options.
    ///
    /// # Errors
    /// As [`call`](Client::call); `TimedOut` if the time is over.
    pub async fn call_with<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
        options: CallOptions,
    ) -> Result<T, Error> {
        decode(&self.0.call(Request::new(method, params, options)?).await?)
    }

    /// Calls a method for its partial results. Dropping the stream cancels the call. It is never sent again: if the daemon
    /// goes away, the stream ends with [`Error::Disconnected`].
    ///
    /// # Errors
    /// As [`call`](Client::call), for what is known before the call begins: an unknown method, a full queue. What
    /// happens later is an item of the stream.
    pub async fn stream(&self, method: &str, params: impl Serialize, options: StreamOptions) -> Result<Stream, Error> {
        let window = options.window();
        let params = raw_params(params)?;
        let wrapped = encode(&Wrapped {
            method,
            params: params.as_deref(),
            timeout_ms: options.timeout.map(milliseconds),
            window: Some(window),
        })?;
        loop {
            let connection = self.0.connection(Effort::Start).await?;
            let buffered = window as usize + LAST_EVENTS;
            let opened = connection.open("stream.call", wrapped.clone(), "stream.cancel", buffered);
            match opened.await {
                Ok(events) => return Ok(Stream::new(events, method, window)),
                // Nothing of it had left when the connection was lost.
                Err(Failure::Unsent) => {}
                Err(failure) => return Err(failure.of(method)),
            }
        }
    }

    /// What calls `send()` or `yield` besides their results: those of this client's plain calls, or everybody's; of one
    /// method, or of all. Dropping it unsubscribes. Up to 65,536 messages are kept for a reader that falls behind.
    ///
    /// If the connection is lost, the client subscribes again as soon as there is a daemon, which it does not start for
    /// this, and a [`Message::Restarted`](crate::Message::Restarted) tells of the gap.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn messages(&self, scope: Scope, method: Option<&str>) -> Result<Messages, Error> {
        let params = match method {
            Some(method) => json!({ "scope": scope.text(), "method": method }),
            None => json!({ "scope": scope.text() }),
        };
        let asked = Asked {
            subscribe: "messages.subscribe",
            params: encode(&params)?,
            unsubscribe: "messages.unsubscribe",
        };
        Ok(Messages::new(Feed::open(&self.0, asked, BUFFERED).await?))
    }

    /// What the daemon logs and Python prints, from now on. Dropping it unsubscribes. It goes on as
    /// [`messages`](Client::messages) do.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn logs(&self) -> Result<Logs, Error> {
        self.subscribe_logs(&json!({})).await
    }

    /// As [`logs`](Client::logs), with the last `lines` that the daemon has kept before them (`log_lines`, 1,000 unless it
    /// is set otherwise), and a [`Log::Live`](crate::Log::Live) between. None is lost or told twice there. After a
    /// [`Log::Restarted`](crate::Log::Restarted) the same comes again, some of which may have been told before if it is
    /// still the same daemon.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn logs_from(&self, lines: u32) -> Result<Logs, Error> {
        self.subscribe_logs(&json!({ "lines": lines })).await
    }

    async fn subscribe_logs(&self, params: &Value) -> Result<Logs, Error> {
        let asked = Asked {
            subscribe: "logs.subscribe",
            params: encode(params)?,
            unsubscribe: "logs.unsubscribe",
        };
        Ok(Logs::new(Feed::open(&self.0, asked, BUFFERED).await?))
    }

    /// A property of the controller.
    ///
    /// # Errors
    /// As [`call`](Client::call); a property that is not there is `InvalidParams`, with the nearest.
    pub async fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        self.look("getProperty", json!({ "name": name })).await
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
        self.look("daemon.status", ()).await
    }

    /// The controller's methods, as an OpenRPC document.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn methods(&self) -> Result<Value, Error> {
        self.look("rpc.discover", ()).await
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

    /// Cancels the call that the daemon has given this number ([`Status::under_way`]), whoever's it is: whoever waits for
    /// it is told that it was cancelled. False if there is no such call under way.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn cancel_call(&self, number: u64) -> Result<bool, Error> {
        // Not again if the connection is lost: another daemon's call would have that number.
        self.call("daemon.cancel", (number,)).await
    }

    /// Asks the daemon to stop, and returns when it has begun to. The next call would start another, where the client may.
    ///
    /// # Errors
    /// As [`call`](Client::call).
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.call::<Value>("daemon.shutdown", ()).await.map(drop)
    }

    /// Waits until the daemon has taken in all that was sent, the cancelling of dropped calls and streams among it.
    /// Worth its while before a process ends; returns at once if the connection is lost.
    pub async fn flush(&self) {
        if let Some(connection) = self.0.last().await {
            connection.flush().await;
        }
    }

    /// Waits until the connection is lost. The next call would make another.
    pub async fn closed(&self) {
        if let Some(connection) = self.0.last().await {
            connection.closed().await;
        }
    }

    /// Calls what only looks, and so may be called again.
    async fn look<T: DeserializeOwned>(&self, method: &str, params: impl Serialize) -> Result<T, Error> {
        let options = CallOptions {
            timeout: None,
            idempotent: Some(true),
        };
        self.call_with(method, params, options).await
    }
}
