//! `baskd serve`: startup, main loop, shutdown.

use std::env;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use baskd_protocol::socket::{SocketError, check_folder, valid_name};
use directories::BaseDirs;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::backend::python::{self, FindError};
use crate::backend::{self, Backend, Controller, Journal, Snapshots};
use crate::config::Settings;
use crate::logs::Logs;
use crate::net::connection;
use crate::net::listen::{self, ListenError, Listener, Lock};
use crate::rpc::{About, Service};

/// How long connections may take to read their last lines once all is answered.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// How many descriptors the daemon needs for itself and the next Python, however many connections there are.
const OWN_DESCRIPTORS: usize = 40;

/// When what lacked a descriptor is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// A connection's socket has a second registration while its client does not read, and a third once it has half closed.
const A_CONNECTIONS_DESCRIPTORS: usize = 3;

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The instance.
    pub name: String,
    pub socket: PathBuf,
    pub settings: Settings,
}

/// A controller as it is written on a command line: `path.py`, `path.py:Class`, `package.module:Class`, or nothing for
/// the embedded example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ControllerSpec {
    #[default]
    Embedded,
    File {
        path: PathBuf,
        class: String,
    },
    Module {
        module: String,
        class: String,
    },
}

#[derive(Debug, thiserror::Error)]
#[error("'{0}' names no controller: write path/to/controller.py, path.py:Class or package.module:Class")]
pub struct BadSpec(String);

impl FromStr for ControllerSpec {
    type Err = BadSpec;

    fn from_str(spec: &str) -> Result<ControllerSpec, BadSpec> {
        let bad = || BadSpec(spec.to_owned());
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
        };
        let (place, class) = match spec.rsplit_once(':') {
            Some((place, class)) if is_name(class) => (place, class),
            Some(_) => return Err(bad()),
            None => (spec, "Controller"),
        };
        let class = class.to_owned();
        if place.ends_with(".py") || place.contains('/') {
            Ok(ControllerSpec::File {
                path: place.into(),
                class,
            })
        } else if place.split('.').all(is_name) {
            Ok(ControllerSpec::Module {
                module: place.to_owned(),
                class,
            })
        } else {
            Err(bad())
        }
    }
}

/// Why a daemon did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "'{0}' can't be the name of an instance: use 1 to 32 letters, digits, '_', '.' or '-', starting with a letter or a digit"
    )]
    BadName(String),
    #[error("there is no controller at {}: write one with `class Controller(BaseController)`, or leave it out for the example", .0.display())]
    NoController(PathBuf),
    #[error("the path {} is not UTF-8, which JSON can't carry: move the controller elsewhere", .0.display())]
    NotUtf8(PathBuf),
    #[error(transparent)]
    Python(#[from] FindError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the state folder {} can't be used: {source}", .path.display())]
    State { path: PathBuf, source: io::Error },
    #[error("an instance '{name}' runs already, on another socket ({who}): choose another --name")]
    StateInUse { name: String, who: String },
    #[error("there is no folder for state: set HOME or XDG_STATE_HOME")]
    NoState,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Whether the command line is wrong, rather than the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Error::BadName(_) | Error::NoController(_) | Error::NotUtf8(_) | Error::Python(_) => true,
            Error::Listen(error) => {
                matches!(
                    error,
                    ListenError::Socket(SocketError::PathTooLong { .. } | SocketError::BadName(_))
                        | ListenError::NotASocket(_)
                )
            }
            Error::State { .. } | Error::StateInUse { .. } | Error::NoState | Error::Io(_) => false,
        }
    }
}

/// So large a block may be freed without going back to the system at once.
const KEPT_BLOCK: usize = 4 << 20;

/// Has the allocator keep what large messages need between them. glibc learns by the first mapped block that is freed; until
/// then each message of a megabyte would be paid for in page faults, on each of its ways. No page of it is touched.
fn keep_large_blocks() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT_BLOCK)));
}

/// Runs a daemon until it is asked to stop, by SIGTERM, SIGINT, SIGHUP or `daemon.shutdown`. Everything runs on this thread.
pub fn run(mut options: Options) -> Result<(), Error> {
    keep_large_blocks();
    let descriptors = backend::allow_many_descriptors();
    let for_connections = (descriptors.saturating_sub(OWN_DESCRIPTORS) / A_CONNECTIONS_DESCRIPTORS).max(1);
    let max_connections = &mut options.settings.limits.max_connections;
    *max_connections = for_connections.min(*max_connections);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        let stop = CancellationToken::new();
        let daemon = Daemon::start(options, stop.clone())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::task::spawn_local(async move {
            for asked in 1.. {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                    _ = hangup.recv() => "SIGHUP",
                };
                if asked > 1 {
                    // Asked twice: whoever does is not willing to wait for running calls. Python ends with this
                    // process.
                    std::process::exit(1);
                }
                tracing::info!(target: "baskd", "stopping: {name}");
                stop.cancel();
            }
        });
        daemon.run().await;
        Ok(())
    }))
}

/// A daemon that listens and starts its Python; [`Daemon::run`] serves. Must live on a [`LocalSet`].
pub struct Daemon {
    service: Rc<Service>,
    backend: Backend,
    listener: Listener,
    /// On the socket, and on the state.
    locks: (Lock, File),
    grace: Duration,
    /// Zero: it never ends by itself.
    idle_exit: Duration,
    stop: CancellationToken,
}

/// Why a daemon accepts no more connections.
enum Why {
    Asked,
    Idle,
}

impl Daemon {
    pub fn start(options: Options, stop: CancellationToken) -> Result<Daemon, Error> {
        let state_dir = BaseDirs::new()
            .and_then(|dirs| Some(dirs.state_dir()?.join("baskd")))
            .ok_or(Error::NoState)?;
        Daemon::start_in(options, state_dir, stop)
    }

    /// As [`Daemon::start`], with the instances' state below `states`.
    pub fn start_in(options: Options, states: PathBuf, stop: CancellationToken) -> Result<Daemon, Error> {
        if !valid_name(&options.name) {
            return Err(Error::BadName(options.name));
        }
        let settings = options.settings;
        let controller = resolve(&settings.controller)?;
        let working_folder = env::current_dir()?;
        let beside = match &controller {
            Controller::File { path, .. } => path.parent().unwrap_or(Path::new("/")),
            Controller::Embedded | Controller::Module { .. } => &working_folder,
        };
        let python = python::find(settings.python.as_deref(), beside)?;
        let described = match &settings.controller {
            ControllerSpec::Embedded => "the embedded example".to_owned(),
            ControllerSpec::File { path, class } => format!("{}:{class}", path.display()),
            ControllerSpec::Module { module, class } => format!("{module}:{class}"),
        };
        let about = format!("pid {}, {described}", std::process::id());
        let (listener, lock) = listen::listen(&options.socket, &about)?;

        let state_dir = states.join(&options.name);
        let logs = Rc::new(Logs::new(settings.log_lines));
        let state_lock = private_folder(&state_dir, &options.name, &about)?;
        let unusable = |source| Error::State {
            path: state_dir.clone(),
            source,
        };
        let journal = Journal::open(&state_dir, settings.volatile, &logs).map_err(unusable)?;
        let snapshots = Snapshots::open(&state_dir, &journal, &logs).map_err(unusable)?;
        logs.info(&format!(
            "listening on {} for {described}, with {} ({})",
            options.socket.display(),
            python.path.display(),
            python.found
        ));
        let backend = Backend::start(
            backend::Options {
                controller,
                python,
                state_dir,
                workers: settings.workers,
                affinity: settings.affinity,
                standby: settings.standby,
                reload_mode: settings.reload_mode,
                watch: settings.watch,
                limits: settings.limits.clone(),
            },
            journal,
            snapshots,
            logs.clone(),
        );
        let about = About {
            name: options.name,
            socket: options.socket.display().to_string(),
            started: Instant::now(),
        };
        let service = Service::new(
            backend.clone(),
            settings.limits,
            settings.on_disconnect,
            logs,
            about,
            stop.clone(),
        );
        Ok(Daemon {
            service,
            backend,
            listener,
            locks: (lock, state_lock),
            grace: settings.grace,
            idle_exit: settings.idle_exit,
            stop,
        })
    }

    /// Serves until it is asked to stop, or has been idle for so long; then answers what there is, and returns when Python
    /// has ended and every connection is closed.
    pub async fn run(mut self) {
        let closing = CancellationToken::new();
        let mut connections = JoinSet::new();
        loop {
            match self.accept(&mut connections, &closing).await {
                Why::Asked => break,
                Why::Idle if self.withdraw(&mut connections, &closing).await => break,
                Why::Idle => {}
            }
        }
        // Whoever starts the next daemon need not wait for that.
        self.locks.0.stopping();
        listen::say_stopping(&mut self.locks.1);
        // New clients find no daemon rather than one that is about to go.
        drop(self.listener);
        self.backend.stop(self.grace).await;
        closing.cancel();
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WRITES, all).await.is_err() {
            connections.shutdown().await;
        }
        self.service.logs.info("stopped");
        // Only now may another daemon have the path, and the state.
        drop(self.locks);
    }

    async fn accept(&self, connections: &mut JoinSet<()>, closing: &CancellationToken) -> Why {
        let socket = match self.listener.socket.try_clone().and_then(UnixListener::from_std) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!("the socket can't be served: {error}");
                return Why::Asked;
            }
        };
        let mut has_complained = false;
        loop {
            let may_end = !self.idle_exit.is_zero() && connections.is_empty();
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        has_complained = false;
                        self.serve(stream, connections, closing);
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: those who wait are accepted when there are some again.
                        if !std::mem::replace(&mut has_complained, true) {
                            self.service.logs.warn(&format!("connections can't be accepted now: {error}"));
                        }
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = self.idle(), if may_end => return Why::Idle,
                () = self.stop.cancelled() => return Why::Asked,
            }
        }
    }

    fn serve(&self, stream: UnixStream, connections: &mut JoinSet<()>, closing: &CancellationToken) {
        connections.spawn_local(connection::serve(stream, self.service.clone(), closing.clone()));
    }

    /// Returns when no call has been under way for as long as a daemon without connections may be idle. Without
    /// connections there are no new calls, so that one look after the wait is enough.
    async fn idle(&self) {
        self.backend.idle().await;
        tokio::time::sleep(self.idle_exit).await;
        self.backend.idle().await;
    }

    /// Lets nobody connect any more. False if somebody came at the last moment, and the daemon serves on.
    async fn withdraw(&mut self, connections: &mut JoinSet<()>, closing: &CancellationToken) -> bool {
        let logs = self.service.logs.clone();
        if let Err(error) = self.listener.withdraw() {
            logs.warn(&format!("the socket can't be shut: {error}"));
        }
        loop {
            let came = match self.listener.next_of_last() {
                Ok(Some(stream)) => stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            match came {
                Ok(stream) => self.serve(stream, connections, closing),
                Err(_) => tokio::time::sleep(TRY_AGAIN).await,
            }
        }
        let idle = self.idle_exit;
        if !connections.is_empty() {
            tracing::debug!(target: "baskd", "somebody came when it was about to end: it serves on");
            let Err(error) = self.listener.bind_anew() else {
                return false;
            };
            logs.warn(&format!(
                "{error}; those who are connected are served, and then it ends"
            ));
            tokio::select! {
                () = async { while connections.join_next().await.is_some() {} } => {}
                () = self.stop.cancelled() => return true,
            }
            self.backend.idle().await;
        }
        logs.info(&format!("stopping: no connection and no call for {idle:?} (idle_exit)"));
        true
    }
}

/// The folder that Python is run from is the user's alone, and one daemon's: two sockets may have one name.
fn private_folder(folder: &Path, name: &str, about: &str) -> Result<File, Error> {
    let failed = |source| Error::State {
        path: folder.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    check_folder(folder).map_err(|error| failed(io::Error::other(error)))?;
    let lock = listen::lock_file(&folder.join("lock"), about).map_err(failed)?;
    lock.map_err(|who| Error::StateInUse {
        name: name.to_owned(),
        who,
    })
}

fn resolve(spec: &ControllerSpec) -> Result<Controller, Error> {
    match spec {
        ControllerSpec::Embedded => Ok(Controller::Embedded),
        ControllerSpec::Module { module, class } => Ok(Controller::Module {
            module: module.clone(),
            class: class.clone(),
        }),
        ControllerSpec::File { path, class } => {
            if !path.is_file() {
                return Err(Error::NoController(path.clone()));
            }
            let path = path.canonicalize().map_err(|_| Error::NoController(path.clone()))?;
            if path.to_str().is_none() {
                return Err(Error::NotUtf8(path));
            }
            Ok(Controller::File {
                path,
                class: class.clone(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_written_in_three_ways() {
        let file = |path: &str, class: &str| ControllerSpec::File {
            path: path.into(),
            class: class.into(),
        };
        assert_eq!(
            "a/controller.py".parse::<ControllerSpec>().unwrap(),
            file("a/controller.py", "Controller")
        );
        assert_eq!("c.py:Chat".parse::<ControllerSpec>().unwrap(), file("c.py", "Chat"));
        let module = ControllerSpec::Module {
            module: "my.pkg".into(),
            class: "Chat".into(),
        };
        assert_eq!("my.pkg:Chat".parse::<ControllerSpec>().unwrap(), module);
        for wrong in ["", ":", "c.py:", "c.py:9", "my-pkg:Chat", "a..b:C"] {
            assert!(wrong.parse::<ControllerSpec>().is_err(), "{wrong}");
        }
    }
}
