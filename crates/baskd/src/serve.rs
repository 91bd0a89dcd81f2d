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
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::backend::python::{self, FindError, Interpreter};
use crate::backend::{self, Backend, Controller, Journal, Snapshots};
use crate::config::Settings;
use crate::logs::Logs;
use crate::net::accept::Door;
use crate::net::given::Given;
use crate::net::listen::{self, ListenError, Listener, Lock};
use crate::rpc::{About, Service};
use crate::service::Manager;

/// How many descriptors the daemon needs for itself and the next Python, however many connections there are.
const OWN_DESCRIPTORS: usize = 40;

/// A connection's socket has a second registration while its client does not read, and a third once it has half closed.
const A_CONNECTIONS_DESCRIPTORS: usize = 3;

/// What a daemon is started with.
#[derive(Debug)]
pub struct Options {
    /// The instance.
    pub name: String,
    pub socket: PathBuf,
    /// The socket itself, if whoever starts the daemon has bound it.
    pub given: Option<Given>,
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

impl ControllerSpec {
    /// For a line that has little room: without its folder.
    fn in_short(&self) -> String {
        match self {
            ControllerSpec::Embedded => "the embedded example".to_owned(),
            ControllerSpec::File { path, class } => {
                let name = path.file_name().unwrap_or_default();
                format!("{}:{class}", name.to_string_lossy())
            }
            ControllerSpec::Module { module, class } => format!("{module}:{class}"),
        }
    }
}

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
                        | ListenError::Given(_)
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

/// Runs a daemon until it is asked to stop, by SIGTERM, SIGINT or `daemon.shutdown`, or by SIGHUP; which asks for a reload if
/// a manager has started it, as systemd does. Everything runs on this thread.
pub fn run(mut options: Options) -> Result<(), Error> {
    keep_large_blocks();
    let descriptors = backend::allow_many_descriptors();
    let for_connections = (descriptors.saturating_sub(OWN_DESCRIPTORS) / A_CONNECTIONS_DESCRIPTORS).max(1);
    let max_connections = &mut options.settings.limits.max_connections;
    *max_connections = for_connections.min(*max_connections);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        // Until it has its place, which it may have to wait for, a signal just ends it.
        let place = Place::take(options)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let stop = CancellationToken::new();
        let mut daemon = place.start(stop.clone())?;
        daemon.manager = Manager::of_this_process();
        let reloaded = daemon.manager.as_ref().map(|_| daemon.service.backend.clone());
        tokio::task::spawn_local(async move {
            let mut is_asked = false;
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                    _ = hangup.recv() => "SIGHUP",
                };
                if let Some(backend) = reloaded.as_ref().filter(|_| name == "SIGHUP") {
                    tracing::info!(target: "baskd", "reload: SIGHUP");
                    // Nobody waits for it. Why it has failed, if so, is in the log, and in STATUS.
                    backend.reload(None);
                    continue;
                }
                if std::mem::replace(&mut is_asked, true) {
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

/// What a daemon has for itself before it starts anything: its socket, and its state.
struct Place {
    options: Options,
    controller: Controller,
    /// What it is called in the log.
    described: String,
    python: Interpreter,
    warnings: Vec<String>,
    listener: Listener,
    state_dir: PathBuf,
    /// On the socket, and on the state.
    locks: (Lock, File),
}

impl Place {
    fn take(options: Options) -> Result<Place, Error> {
        let states = BaseDirs::new()
            .and_then(|dirs| Some(dirs.state_dir()?.join("baskd")))
            .ok_or(Error::NoState)?;
        Place::take_in(options, &states)
    }

    /// Waits for a daemon that has it and stops. The instances' state is below `states`.
    fn take_in(mut options: Options, states: &Path) -> Result<Place, Error> {
        if !valid_name(&options.name) {
            return Err(Error::BadName(options.name));
        }
        let settings = &options.settings;
        let controller = resolve(&settings.controller)?;
        let search = python::search(
            settings.python.as_deref(),
            &beside(&controller)?,
            &python::Surroundings::now(),
        );
        let python = search.interpreter?;
        let described = match &settings.controller {
            ControllerSpec::Embedded => "the embedded example".to_owned(),
            ControllerSpec::File { path, class } => format!("{}:{class}", path.display()),
            ControllerSpec::Module { module, class } => format!("{module}:{class}"),
        };
        let about = format!("pid {}, {described}", std::process::id());
        let (listener, lock) = listen::listen(&options.socket, options.given.take(), &about)?;
        let state_dir = states.join(&options.name);
        let state_lock = private_folder(&state_dir, &options.name, &about)?;
        Ok(Place {
            options,
            controller,
            described,
            python,
            warnings: search.warnings,
            listener,
            state_dir,
            locks: (lock, state_lock),
        })
    }

    fn start(self, stop: CancellationToken) -> Result<Daemon, Error> {
        let Options {
            name, socket, settings, ..
        } = self.options;
        let logs = Rc::new(Logs::new(settings.log_lines));
        let unusable = |source| Error::State {
            path: self.state_dir.clone(),
            source,
        };
        let journal = Journal::open(&self.state_dir, settings.volatile, &logs).map_err(unusable)?;
        let snapshots = Snapshots::open(&self.state_dir, &journal, &logs).map_err(unusable)?;
        logs.info(&format!(
            "listening on {} for {}, with {} ({})",
            socket.display(),
            self.described,
            self.python.path.display(),
            self.python.found
        ));
        for warning in &self.warnings {
            logs.warn(warning);
        }
        let backend = Backend::start(
            backend::Options {
                controller: self.controller,
                python: self.python,
                state_dir: self.state_dir,
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
            name,
            socket: socket.display().to_string(),
            listening: if self.listener.is_given() { "systemd" } else { "own" },
            started: Instant::now(),
        };
        let service = Service::new(backend, settings.limits, settings.on_disconnect, logs, about, stop);
        Ok(Daemon {
            door: Door::new(service.clone(), self.listener, settings.idle_exit),
            service,
            locks: self.locks,
            grace: settings.grace,
            manager: None,
            serves: settings.controller.in_short(),
        })
    }
}

/// A daemon that listens and starts its Python; [`Daemon::run`] serves. Must live on a [`LocalSet`].
pub struct Daemon {
    service: Rc<Service>,
    door: Door,
    /// On the socket, and on the state.
    locks: (Lock, File),
    grace: Duration,
    /// Who wants to be told what it is at.
    manager: Option<Rc<Manager>>,
    /// What it serves, in short.
    serves: String,
}

impl Daemon {
    /// One with the instances' state below `states`.
    pub fn start_in(options: Options, states: &Path, stop: CancellationToken) -> Result<Daemon, Error> {
        Place::take_in(options, states)?.start(stop)
    }

    /// Serves until it is asked to stop, or has been idle for so long; then answers what there is, and returns when Python
    /// has ended and every connection is closed.
    pub async fn run(mut self) {
        if let Some(manager) = &self.manager {
            tokio::task::spawn_local(manager.clone().feed_watchdog());
            let serves = self.serves.clone();
            tokio::task::spawn_local(manager.clone().keep_told(self.service.backend.clone(), serves));
        }
        self.door.stand_open().await;
        if let Some(manager) = &self.manager {
            manager.stopping();
        }
        // Whoever starts the next daemon need not wait for that.
        self.locks.0.stopping();
        listen::say_stopping(&mut self.locks.1);
        // New clients find no daemon rather than one that is about to go; or they wait for the next one.
        self.door.shut();
        self.service.backend.stop(self.grace).await;
        self.door.see_off().await;
        self.service.logs.info("stopped");
        // Only now may another daemon have the path, and the state.
        drop(self.locks);
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

/// Where a daemon with these settings would find its Python, and what it looks at for that: it is what `baskd doctor` shows.
///
/// # Errors
/// The controller is not there.
pub fn search_python(settings: &Settings) -> Result<python::Search, Error> {
    let beside = beside(&resolve(&settings.controller)?)?;
    let asked = settings.python.as_deref();
    Ok(python::search(asked, &beside, &python::Surroundings::now()))
}

/// The controller's folder, beside which its Python may be; where it has none of its own, the working folder.
fn beside(controller: &Controller) -> Result<PathBuf, Error> {
    Ok(match controller {
        Controller::File { path, .. } => path.parent().unwrap_or(Path::new("/")).to_owned(),
        Controller::Embedded | Controller::Module { .. } => env::current_dir()?,
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
