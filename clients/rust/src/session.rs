//! The way to the daemon: one connection after another.
//!
//! A connection that was lost is made again for the next request, which may start a daemon; or, patiently and without
//! starting one, for a subscription that is to go on ([`feed`](crate::feed)): else `baskd stop` would be undone at once.
//! The socket of a daemon that was killed takes connections until the last moment, though nobody will read them. So a
//! connection that is made after another was lost is used only when the daemon has answered on it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use baskd_protocol::presence::Presence;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::connection::{Connection, Failure};
use crate::controller::Wanted;
use crate::feed::Tap;
use crate::request::{Request, is_never_begun};
use crate::socket::dial;
use crate::start::{self, Started, Starter};
use crate::subscription::Subscription;
use crate::{Error, Status};

/// How often in a row a daemon may hang up on a new connection, before it is as good as none.
const TRIES: u32 = 3;

/// The events of a stream that its window does not count.
const LAST_EVENTS: usize = 1;

/// How long a call that was under way waits to be told whether it is idempotent: a daemon that was just started may still
/// be starting its Python.
const ASK: Duration = Duration::from_secs(2);

/// What may be done to get a connection; what comes later includes what comes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// Knock once.
    Knock,
    /// Start a daemon, or wait for one as long as the client was told.
    Start,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) path: PathBuf,
    /// For how long a request waits for a daemon that is started elsewhere.
    patience: Duration,
    /// None: no daemon is ever started.
    starter: Option<Starter>,
    /// None: any controller will do.
    wanted: Option<Wanted>,
    current: Arc<Mutex<Current>>,
    /// How often it could not be connected.
    refusals: AtomicU64,
    /// What is subscribed to on every connection.
    feeds: std::sync::Mutex<Vec<Arc<Tap>>>,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<Arc<Connection>>,
    refusal: Option<(Effort, Refusal)>,
}

/// Why there was no connection, for each of those who have waited for one.
#[derive(Debug, Clone)]
enum Refusal {
    Nobody(io::ErrorKind),
    NotStarted {
        command: String,
        status: Option<i32>,
        said: Option<String>,
    },
}

impl Session {
    pub(crate) fn new(path: PathBuf, patience: Duration, starter: Option<Starter>, wanted: Option<Wanted>) -> Session {
        Session {
            path,
            patience,
            starter,
            wanted,
            current: Arc::default(),
            refusals: AtomicU64::new(0),
            feeds: std::sync::Mutex::default(),
        }
    }

    /// The connection; made anew if it was lost.
    pub(crate) async fn connection(self: &Arc<Self>, effort: Effort) -> Result<Arc<Connection>, Error> {
        self.connection_within(effort, self.patience).await
    }

    /// The same, with another patience than calls have.
    pub(crate) async fn connection_within(
        self: &Arc<Self>,
        effort: Effort,
        patience: Duration,
    ) -> Result<Arc<Connection>, Error> {
        let before = self.refusals.load(Ordering::Relaxed);
        let current = self.current.clone().lock_owned().await;
        if let Some(connection) = current.live() {
            return Ok(connection);
        }
        // Whoever waited while another did as much in vain need not do it again.
        if self.refusals.load(Ordering::Relaxed) != before
            && let Some((done, refusal)) = &current.refusal
            && *done >= effort
        {
            return Err(refusal.error(&self.path));
        }
        // In a task, since others wait for it who don't stop when this caller does.
        let session = self.clone();
        let making = tokio::spawn(async move { session.renew(current, effort, patience).await });
        match making.await {
            Ok(made) => made,
            // The runtime ends.
            Err(_) => Err(self.nobody(io::ErrorKind::Interrupted)),
        }
    }

    /// The connection there was last, be it lost or not.
    pub(crate) async fn last(&self) -> Option<Arc<Connection>> {
        self.current.lock().await.connection.clone()
    }

    async fn renew(
        &self,
        mut current: OwnedMutexGuard<Current>,
        effort: Effort,
        patience: Duration,
    ) -> Result<Arc<Connection>, Error> {
        let is_first = current.connection.is_none();
        match self.make(effort, patience, is_first).await {
            Ok(connection) => {
                current.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                current.refusal = Refusal::of(&error).map(|refusal| (effort, refusal));
                self.refusals.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    async fn make(&self, effort: Effort, patience: Duration, is_first: bool) -> Result<Arc<Connection>, Error> {
        for _ in 0..TRIES {
            let connection = Connection::new(self.reach(effort, patience).await?);
            let is_good = (is_first && self.wanted.is_none()) || self.prove(&connection).await?;
            // Before any call is made on it, so that none is missed.
            if is_good && self.attach_all(&connection).await {
                return Ok(connection);
            }
        }
        Err(self.nobody(io::ErrorKind::ConnectionReset))
    }

    fn nobody(&self, kind: io::ErrorKind) -> Error {
        Error::NoDaemon {
            path: self.path.clone(),
            source: kind.into(),
        }
    }

    async fn reach(&self, effort: Effort, patience: Duration) -> Result<UnixStream, Error> {
        // Where systemd holds the socket, whoever connects has a daemon started; who only knocks wants none.
        if effort < Effort::Start && Presence::of(&self.path).is_ok_and(|who| who.would_start_one()) {
            return Err(self.nobody(io::ErrorKind::ConnectionRefused));
        }
        let nobody = match dial(&self.path, Duration::ZERO).await {
            // One that takes no connections is there, all the same.
            Err(Error::NoDaemon { path, source }) if source.kind() != io::ErrorKind::WouldBlock => {
                Error::NoDaemon { path, source }
            }
            result => return result,
        };
        if effort < Effort::Start {
            return Err(nobody);
        }
        if let Some(starter) = self.starter.as_ref().filter(|_| start::is_allowed())
            && let Started::Runs = starter.start(&self.path).await?
        {
            tracing::debug!(path = %self.path.display(), "a daemon was started");
        }
        dial(&self.path, patience).await
    }

    /// Whether a daemon answers, which it does whatever its Python does; and it has to be the one that is meant.
    async fn prove(&self, connection: &Arc<Connection>) -> Result<bool, Error> {
        let status = match connection.call("daemon.status", None).await {
            Ok(status) => status,
            Err(Failure::Unsent | Failure::Lost { .. }) => return Ok(false),
            Err(Failure::Final(error)) => return Err(error),
        };
        if let Some(wanted) = &self.wanted {
            let status: Status = serde_json::from_str(status.get()).map_err(Error::Decode)?;
            if !wanted.is(&status.controller) {
                return Err(Error::WrongController {
                    path: self.path.clone(),
                    serves: status.controller.spec,
                    wanted: wanted.spec.clone(),
                });
            }
        }
        Ok(true)
    }

    /// Has a request answered. One of which nothing had left when its connection was lost is sent again, and nobody need
    /// know; nor of one that a daemon has not begun, since it stops: the next one is asked. One that had left may have run:
    /// it is sent again only if it is idempotent, and once, if nothing of it has been given out.
    pub(crate) async fn call(self: &Arc<Self>, mut request: Request<'_>) -> Result<Box<RawValue>, Error> {
        // Why there is no answer yet, where that is worth telling.
        let mut so_far = None;
        let mut is_second = false;
        loop {
            // This ends: a request that never went out has a lost connection behind it, and another is only made by a
            // daemon that answers on it.
            let connection = match request.in_time(self.connection(Effort::Start)).await? {
                Ok(connection) => connection,
                Err(error) => return Err(so_far.unwrap_or(error)),
            };
            let (method, params) = request.wire()?;
            match connection.call(method, params.as_deref()).await {
                Ok(result) => return Ok(result),
                Err(Failure::Unsent) => {}
                Err(Failure::Lost { gave: false }) if !is_second && self.may_run_again(&request).await => {
                    tracing::debug!(method = request.named(), "sent again, for it is idempotent");
                    is_second = true;
                    so_far = Some(Error::disconnected(request.named()));
                }
                Err(Failure::Final(error)) if request.is_refused(&error) => {
                    let refused = self.next_after(&connection, &request, error).await?;
                    // What may have run on a connection before has not "never begun".
                    so_far.get_or_insert(refused);
                }
                // What daemons that stop say of it tells nothing of the one that was lost.
                Err(Failure::Final(error)) if is_never_begun(&error) => return Err(so_far.unwrap_or(error)),
                Err(failure) => return Err(failure.of(request.named())),
            }
        }
    }

    /// Opens the stream of a request's partial results, likewise. Gives the request back, which may have to be made again.
    pub(crate) async fn open<'a, T: DeserializeOwned + 'static>(
        self: &Arc<Self>,
        mut request: Request<'a>,
    ) -> Result<(Request<'a>, Subscription<T>), Error> {
        let mut so_far = None;
        loop {
            let connection = match request.in_time(self.connection(Effort::Start)).await? {
                Ok(connection) => connection,
                Err(error) => return Err(so_far.unwrap_or(error)),
            };
            let (method, params) = request.wire()?;
            let buffered = request.window.unwrap_or_default() as usize + LAST_EVENTS;
            let opened = connection.open(method.to_owned(), params, "stream.cancel", buffered);
            match opened.await {
                Ok(events) => {
                    let events = events.of(request.named());
                    return Ok((request, events));
                }
                Err(Failure::Unsent) => {}
                Err(Failure::Final(error)) if request.is_refused(&error) => {
                    so_far = Some(self.next_after(&connection, &request, error).await?);
                }
                Err(failure) => return Err(failure.of(request.named())),
            }
        }
    }

    /// Returns when a daemon that stops has done so, as far as this connection goes: the next one can be there. Gives back
    /// what it has refused the request by.
    pub(crate) async fn next_after(
        &self,
        connection: &Connection,
        request: &Request<'_>,
        refusal: Error,
    ) -> Result<Error, Error> {
        tracing::debug!(method = request.named(), "not begun by a daemon that stops");
        request.in_time(connection.closed()).await?;
        Ok(refusal)
    }

    /// What the caller says of an idempotent method counts; if he says nothing, what the controller says. It is asked on
    /// the new connection, for what the old daemon knew may not be so any more.
    async fn may_run_again(self: &Arc<Self>, request: &Request<'_>) -> bool {
        if let Some(said) = request.idempotent {
            return said;
        }
        // The daemon's own are not the controller's to speak of.
        if request.named().contains(['.', '/']) {
            return false;
        }
        let ask = async {
            let connection = self.connection_within(Effort::Start, Duration::ZERO).await.ok()?;
            Some(connection.is_idempotent(request.named()).await)
        };
        timeout(ASK, ask).await.ok().flatten().unwrap_or(false)
    }

    /// Has every connection to come subscribe to what a feed is fed with.
    pub(crate) fn register(&self, tap: Arc<Tap>) {
        self.feeds().push(tap);
    }

    pub(crate) fn unregister(&self, tap: &Arc<Tap>) {
        self.feeds().retain(|other| !Arc::ptr_eq(other, tap));
    }

    /// False if the connection was lost meanwhile.
    async fn attach_all(&self, connection: &Arc<Connection>) -> bool {
        let taps = self.feeds().clone();
        for tap in taps {
            match tap.attach(connection).await {
                Ok(()) => {}
                Err(Failure::Final(error)) => tap.refuse(error),
                Err(Failure::Unsent | Failure::Lost { .. }) => return false,
            }
        }
        true
    }

    fn feeds(&self) -> MutexGuard<'_, Vec<Arc<Tap>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn live(&self) -> Option<Arc<Connection>> {
        self.connection.clone().filter(|connection| connection.alive())
    }
}

impl Refusal {
    fn of(error: &Error) -> Option<Refusal> {
        match error {
            Error::NoDaemon { source, .. } => Some(Refusal::Nobody(source.kind())),
            Error::StartFailed { command, status, said } => Some(Refusal::NotStarted {
                command: command.clone(),
                status: *status,
                said: said.clone(),
            }),
            _ => None,
        }
    }

    fn error(&self, path: &Path) -> Error {
        match self.clone() {
            Refusal::Nobody(kind) => Error::NoDaemon {
                path: path.to_owned(),
                source: kind.into(),
            },
            Refusal::NotStarted { command, status, said } => Error::StartFailed { command, status, said },
        }
    }
}
