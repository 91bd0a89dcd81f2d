//! How to connect, and what to start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::controller::Wanted;
use crate::session::{Effort, Session};
use crate::start::Starter;
use crate::{Client, Error};

/// How long a client whose daemon went away waits for the next one, unless told otherwise.
const RECONNECT: Duration = Duration::from_secs(1);

/// How to connect. Made by [`Client::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    wait: Duration,
    reconnect: Duration,
    start: bool,
    starter: Starter,
    wanted: Option<Wanted>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            wait: Duration::ZERO,
            reconnect: RECONNECT,
            start: true,
            starter: Starter::default(),
            wanted: None,
        }
    }

    /// For how long [`connect`](Builder::connect) tries again while nobody answers. Not at all by default.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// For how long a call tries to connect again after the connection was lost, if it can't start a daemon. One second
    /// by default.
    #[must_use]
    pub fn reconnect(mut self, reconnect: Duration) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Whether a daemon is started where none answers, for a first connection or a call: yes, unless it is told here or by
    /// `BASKD_START=0` in the environment. What is started is the [`controller`](Builder::controller), else what the
    /// instance's config or `$BASKD_CONTROLLER` says; else nothing.
    #[must_use]
    pub fn start(mut self, start: bool) -> Self {
        self.start = start;
        self
    }

    /// The controller that is meant: `path/to/controller.py`, `path.py:Class` or `package.module:Class`. A daemon that
    /// serves another is refused.
    #[must_use]
    pub fn controller(mut self, controller: impl AsRef<str>) -> Self {
        let wanted = Wanted::new(controller.as_ref());
        self.starter.controller = Some(wanted.spec.clone());
        self.wanted = Some(wanted);
        self
    }

    /// The interpreter of a daemon that is started, or the folder of its venv.
    #[must_use]
    pub fn python(mut self, python: impl Into<PathBuf>) -> Self {
        self.starter.python = Some(python.into());
        self
    }

    /// The name of an instance that is started, and so its config and state. By default that of its socket's file.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.starter.name = Some(name.into());
        self
    }

    /// The `baskd` program that starts it. By default `$BASKD_BIN`, else the one on the PATH, else one that was built in
    /// the checkout that this crate is in.
    #[must_use]
    pub fn binary(mut self, binary: impl Into<PathBuf>) -> Self {
        self.starter.binary = Some(binary.into());
        self
    }

    /// Connects to the socket at `path`; see [`socket::resolve`](crate::socket::resolve) for where it is.
    ///
    /// # Errors
    /// [`Error::NoDaemon`] if nobody answers and there is nothing to start, [`Error::StartFailed`] with what was said if
    /// a daemon could not be started, [`Error::WrongController`] if another one is served, [`Error::Socket`] if the
    /// socket's folder can't be trusted.
    pub async fn connect(self, path: impl AsRef<Path>) -> Result<Client, Error> {
        let starter = self.start.then_some(self.starter);
        let session = Session::new(path.as_ref().to_owned(), self.reconnect, starter, self.wanted);
        let session = Arc::new(session);
        session.connection_within(Effort::Start, self.wait).await?;
        Ok(Client::over(session))
    }
}
