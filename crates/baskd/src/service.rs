//! The daemon as a service: what it tells the manager that has started it, systemd or any other that speaks
//! `sd_notify(3)`.
//!
//! # Theory of operation
//!
//! One task, [`Manager::keep_told`], looks at what the backend is at whenever that has changed, and now and then, and says
//! what is new. What counts is told at once and until it is taken: READY when Python serves for the first time, or when it
//! is clear that it can't (the daemon answers for it then); RELOADING and READY around each reload; STOPPING. STATUS goes
//! with these, and by itself once a second at most. While it starts, reloads or stops, which may take as long as a model
//! needs to load or a call to end, it asks for a little more time, again and again: a daemon that hangs asks no more.
//!
//! The watchdog is fed by a task of its own, which does nothing else: it tells that the daemon's loop goes round. What
//! Python does has no part in it, since a busy controller is not a dead daemon.
//!
//! Nothing here waits for the manager: what it does not take at once is tried again, or is old by then.

mod status;

use std::cell::Cell;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::backend::{Backend, Overview, State};
use status::status_of;

/// What a manager tells a service by its environment. None of it is meant for what the service itself starts.
const VARIABLES: &[&str] = &[
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// STATUS is not told oftener.
const BETWEEN_STATUS: Duration = Duration::from_secs(1);
/// How often what nobody tells of is looked at, where there was nothing new the last time: how many calls there were.
const QUIET: Duration = Duration::from_secs(5);
/// How much time is asked for while it starts, reloads or stops, from each [`QUIET`] on.
const EXTENSION: Duration = Duration::from_secs(20);
/// When what the manager had no room for is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// Takes away what is not meant for a process that is started.
pub fn without_manager(command: &mut Command) -> &mut Command {
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command
}

/// Whoever has started this daemon, and wants to be told of it.
pub(crate) struct Manager {
    address: OsString,
    /// Kept: where there are no more descriptors, or no memory for one, it can still be told.
    socket: Option<UnixDatagram>,
    /// How long it may not be heard of, if that matters.
    watchdog: Option<Duration>,
    is_stopping: Cell<bool>,
    changed: Notify,
}

impl Manager {
    /// None if nobody wants to be told.
    pub(crate) fn of_this_process() -> Option<Rc<Manager>> {
        let address = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_for_us && *micros > 0);
        Some(Rc::new(Manager::at(address, watchdog.map(Duration::from_micros))))
    }

    fn at(address: OsString, watchdog: Option<Duration>) -> Manager {
        Manager {
            address,
            socket: unbound().ok(),
            watchdog,
            is_stopping: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// The daemon begins to stop.
    pub(crate) fn stopping(&self) {
        self.is_stopping.set(true);
        self.changed.notify_one();
    }

    /// Feeds the watchdog, as long as the loop goes round that this runs on.
    pub(crate) async fn feed_watchdog(self: Rc<Manager>) {
        let Some(limit) = self.watchdog else { return };
        let mut due = interval(limit / 3);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            // If there is no room for it, the manager has others of it to read.
            let _ = self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// Tells what the backend is at, as long as the daemon runs. `serves`: what it does.
    pub(crate) async fn keep_told(self: Rc<Manager>, backend: Backend, serves: String) {
        let mut told = Told::new();
        loop {
            let changed = backend.changed();
            let overview = backend.overview();
            let pause = self.tell_news(&mut told, &overview, &serves);
            tokio::select! {
                () = changed => {}
                () = self.changed.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Tells what is new. Returns when to look again, if nothing happens.
    fn tell_news(&self, told: &mut Told, now: &Overview, serves: &str) -> Duration {
        let status = status_of(now, self.is_stopping.get(), serves);
        while let Some(step) = told.next(now, self.is_stopping.get()) {
            let mut states = match step {
                Step::Ready | Step::Reloaded => vec![NotifyState::Ready],
                Step::Reloading => vec![NotifyState::Reloading],
                Step::Stopping => vec![NotifyState::Stopping],
            };
            if let (Step::Reloading, Ok(now)) = (step, NotifyState::monotonic_usec_now()) {
                states.push(now);
            }
            // One of a reload that is over already says nothing of what is now.
            let is_passing = step == Step::Reloading && !now.is_reloading;
            states.push(NotifyState::Status(if is_passing { "reloading" } else { &status }));
            if !self.is_told(&states) {
                return AGAIN;
            }
            told.has_taken(step, now);
            told.status_was(&status);
        }
        if told.wants_time(now, self.is_stopping.get()) && told.extended.is_none_or(|at| at.elapsed() >= QUIET) {
            told.extended = Some(Instant::now());
            let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
            let _ = self.tell(&[NotifyState::ExtendTimeoutUsec(micros)]);
        }
        if status == told.status {
            // Whoever calls now and then is seen soon enough; a daemon that nobody calls sleeps.
            return if told.status_at.elapsed() < QUIET {
                BETWEEN_STATUS
            } else {
                QUIET
            };
        }
        let left = BETWEEN_STATUS.saturating_sub(told.status_at.elapsed());
        if !left.is_zero() {
            return left;
        }
        if !self.is_told(&[NotifyState::Status(&status)]) {
            return AGAIN;
        }
        told.status_was(&status);
        BETWEEN_STATUS
    }

    /// False if it is to be tried again. A manager that can't be told is not waited for.
    fn is_told(&self, states: &[NotifyState<'_>]) -> bool {
        match self.tell(states) {
            Ok(()) => true,
            Err(error) if !is_for_good(&error) => false,
            Err(error) => {
                tracing::debug!(target: "baskd", "$NOTIFY_SOCKET does not take what it is told: {error}");
                true
            }
        }
    }

    /// Not by the crate's own `notify`, which would wait for a manager whose queue is full.
    fn tell(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let mut message = String::new();
        for state in states {
            // A String takes all that is written to it.
            let _ = writeln!(message, "{state}");
        }
        let address = address_of(&self.address)?;
        match &self.socket {
            Some(socket) => socket.send_to_addr(message.as_bytes(), &address).map(drop),
            None => unbound()?.send_to_addr(message.as_bytes(), &address).map(drop),
        }
    }
}

fn unbound() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether nobody is there to be told, or never can be. All else, as too little memory, passes.
fn is_for_good(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const FOR_GOOD: &[Errno] = &[
        Errno::CONNREFUSED,
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::NOTSOCK,
        Errno::PROTOTYPE,
        Errno::ACCESS,
        Errno::PERM,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::INVAL,
    ];
    // One without a number is of an address that is none.
    Errno::from_io_error(error).is_none_or(|errno| FOR_GOOD.contains(&errno))
}

/// A path, or `@` and an abstract name.
fn address_of(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}

/// What counts, and is told until it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ready,
    Reloading,
    Reloaded,
    Stopping,
}

/// What the manager knows.
struct Told {
    is_ready: bool,
    is_stopping: bool,
    /// How many reloads it was told of, and whether it was told of the last one's end.
    reloads: u64,
    is_reloading: bool,
    status: String,
    status_at: Instant,
    /// When it was last asked for more time.
    extended: Option<Instant>,
}

impl Told {
    fn new() -> Told {
        Told {
            is_ready: false,
            is_stopping: false,
            reloads: 0,
            is_reloading: false,
            status: String::new(),
            // Long enough ago for the first one.
            status_at: Instant::now() - BETWEEN_STATUS,
            extended: None,
        }
    }

    /// What is to be told next.
    fn next(&self, now: &Overview, is_stopping: bool) -> Option<Step> {
        if is_stopping {
            // A service that ends by itself and was never ready counts as one that has failed.
            let step = if self.is_ready { Step::Stopping } else { Step::Ready };
            return (!self.is_stopping).then_some(step);
        }
        if !self.is_ready {
            // Python serves, or it has failed: then the daemon answers for it.
            let is_clear = matches!(now.state, State::Ready | State::BackingOff | State::Unavailable);
            return is_clear.then_some(Step::Ready);
        }
        if now.reloads_begun > self.reloads {
            return Some(Step::Reloading);
        }
        (self.is_reloading && !now.is_reloading).then_some(Step::Reloaded)
    }

    fn has_taken(&mut self, step: Step, now: &Overview) {
        match step {
            Step::Ready => {
                self.is_ready = true;
                // A start is what those came to that were asked for before.
                self.reloads = now.reloads_begun;
                self.is_reloading = now.is_reloading;
            }
            Step::Reloading => {
                self.reloads = now.reloads_begun;
                self.is_reloading = true;
            }
            Step::Reloaded => self.is_reloading = false,
            Step::Stopping => self.is_stopping = true,
        }
    }

    fn status_was(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        self.status_at = Instant::now();
    }

    /// Whether something is under way for which a manager has a limit of its own.
    fn wants_time(&self, now: &Overview, is_stopping: bool) -> bool {
        !self.is_ready || is_stopping || now.is_reloading
    }
}

#[cfg(test)]
mod tests {
    use super::status::tests::at;
    use super::*;

    fn steps(told: &mut Told, now: &Overview, is_stopping: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = told.next(now, is_stopping) {
            told.has_taken(step, now);
            steps.push(step);
        }
        steps
    }

    #[test]
    fn it_is_ready_once_it_is_clear_whether_python_serves() {
        for state in [State::Ready, State::BackingOff, State::Unavailable] {
            let mut told = Told::new();
            assert_eq!(steps(&mut told, &at(State::Starting), false), []);
            assert!(told.wants_time(&at(State::Starting), false));
            assert_eq!(steps(&mut told, &at(state), false), [Step::Ready]);
            assert_eq!(steps(&mut told, &at(State::Starting), false), []);
            assert!(!told.wants_time(&at(state), false));
            assert_eq!(steps(&mut told, &at(state), true), [Step::Stopping]);
            assert!(told.wants_time(&at(state), true));
        }
        // It ends before that is clear.
        let both = [Step::Ready, Step::Stopping];
        assert_eq!(steps(&mut Told::new(), &at(State::Starting), true), both);
    }

    #[test]
    fn each_reload_is_told_of_also_one_that_is_over_already() {
        let mut told = Told::new();
        let mut now = at(State::Starting);
        // Asked for while it started.
        (now.reloads_begun, now.is_reloading) = (1, true);
        assert_eq!(steps(&mut told, &now, false), []);
        now.state = State::Ready;
        now.is_reloading = false;
        assert_eq!(steps(&mut told, &now, false), [Step::Ready]);
        (now.reloads_begun, now.is_reloading) = (2, true);
        assert_eq!(steps(&mut told, &now, false), [Step::Reloading]);
        assert!(told.wants_time(&now, false));
        assert_eq!(steps(&mut told, &now, false), []);
        now.is_reloading = false;
        assert_eq!(steps(&mut told, &now, false), [Step::Reloaded]);
        now.reloads_begun = 3;
        assert_eq!(steps(&mut told, &now, false), [Step::Reloading, Step::Reloaded]);
    }

    #[test]
    fn what_passes_is_tried_again() {
        use rustix::io::Errno;
        for passing in [
            Errno::AGAIN,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::INTR,
        ] {
            assert!(!is_for_good(&passing.into()), "{passing}");
        }
        for for_good in [Errno::CONNREFUSED, Errno::NOENT, Errno::NOTSOCK, Errno::PROTOTYPE] {
            assert!(is_for_good(&for_good.into()), "{for_good}");
        }
        let too_long = address_of(OsStr::new(&"x".repeat(200))).unwrap_err();
        assert!(is_for_good(&too_long));
    }

    #[test]
    fn it_tells_by_one_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let manager = Manager::at(path.clone().into(), None);
        assert!(manager.socket.is_some());
        assert!(manager.is_told(&[NotifyState::Ready]));
        let mut bytes = [0; 64];
        let length = heard.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"READY=1\n");
        // Nobody hears it any more: it is not told again and again.
        drop(heard);
        assert!(manager.is_told(&[NotifyState::Ready]));
        std::fs::remove_file(path).unwrap();
        assert!(manager.is_told(&[NotifyState::Ready]));
    }

    #[test]
    fn what_is_meant_for_the_service_is_not_passed_on() {
        let mut command = Command::new("true");
        without_manager(&mut command);
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).collect();
        assert_eq!(removed.len(), VARIABLES.len());
    }
}
