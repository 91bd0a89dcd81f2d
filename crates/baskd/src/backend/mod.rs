//! The backend: one Python, kept alive, and the calls it is given.
//!
//! [`Backend`] is the handle through which everything is asked for. Behind it, [`calls::Calls`] owns the calls,
//! [`supervisor`] owns the life of one Python process, and [`worker`] is that process: its pipes, its page, its death.
//! There is one of each of the latter two for each worker.
//! The backend knows nothing of sockets: whoever submits a call gives it a [`Sink`] for what comes back.
//!
//! Everything runs on one thread, so a call costs no lock, no task and no wake-up of its own: it is written into a
//! buffer, and one wake-up sends all that has come in.

mod calls;
mod deadlines;
mod disk;
mod files;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod journal;
mod log_pipe;
pub(crate) mod methods;
pub(crate) mod metrics;
mod oom;
mod orders;
mod page;
pub mod python;
mod queue;
mod reload;
mod restart;
mod router_files;
mod said;
mod shared;
mod snapshot;
mod spawn;
mod standby;
mod status;
mod supervisor;
mod tag;
mod told;
mod watch;
pub(crate) mod wire;
mod worker;

use std::cell::{Cell, Ref, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use baskd_protocol::error::{CancelledBy, Error};
use serde_json::Value;
use tokio::sync::Notify;

use crate::bell::Bell;
use crate::busy_poll::{BusyPoll, For};
use crate::clock;
use crate::limits::Limits;
use crate::logs::Logs;
use calls::{Calls, seats_for};
use methods::Methods;
use metrics::Counted;
use shared::{Post, Shared};

pub use calls::MAX_WORKERS;
pub(crate) use calls::WINDOW_ITEMS;
pub use journal::Journal;
pub use methods::{Known, nearest};
pub(crate) use metrics::Buckets;
pub use orders::{Asker, NotReady};
pub use snapshot::Snapshots;
pub use spawn::allow_many_descriptors;
pub use status::State;
pub(crate) use status::{resident_bytes, shortened};
pub(crate) use told::{Again, Kind, Told};

/// A call's id on the router's wire: its number, then its slot.
pub type CallId = u64;

/// A call to be made.
pub struct NewCall<'a> {
    /// Who asks: the unit of fairness, and of cancelling when it is gone.
    pub owner: u64,
    pub method: &'a str,
    /// A JSON object or array.
    pub params: Option<&'a str>,
    /// How many items may be under way before the client allows more; None: as many as its connection takes.
    pub window: Option<u64>,
    pub sink: Box<dyn Sink>,
}

/// Where what comes of a call goes. All of it is called while the table of calls is borrowed: a sink writes into a
/// buffer of its own, and asks nothing of the backend.
pub trait Sink {
    /// The method exists, and the call waits its turn. Comes before everything else; not at all for a call that is
    /// refused. `method`: where its end is to be counted.
    fn accepted(&mut self, _method: &Rc<Known>) {}

    /// A partial result.
    fn item(&mut self, item: Item<'_>) -> Taken;

    /// How it ran, just before its end; told only where a setting wants calls that take long to be said in the log.
    fn ran(&mut self, _method: &Rc<Known>, _ran: Ran) {}

    /// The one and last answer.
    fn end(self: Box<Self>, outcome: Outcome<'_>);

    /// The client's own id of the call, as JSON.
    fn tag(&self) -> Option<&str> {
        None
    }

    /// Whether its owner has so few calls that it is not the one to suffer when there are too many.
    fn is_of_few(&self) -> bool {
        false
    }

    /// Whether the call is of no use once its owner is gone.
    fn ends_with_its_owner(&self) -> bool {
        true
    }
}

/// A partial result, and the call it is of.
pub struct Item<'a> {
    pub call: CallId,
    pub number: u64,
    pub method: &'a str,
    /// JSON.
    pub data: &'a [u8],
    /// What it takes of the call's window; to be given back by [`Backend::credit`] if [`Taken::Later`].
    pub cost: u64,
}

/// What the table knows of a call at its end.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    /// The daemon's own.
    pub number: u64,
    /// None if it has not begun.
    pub began: Option<Instant>,
}

/// Whether an item has left the daemon.
pub enum Taken {
    /// It takes no room any more.
    Now,
    /// It waits for its reader.
    Later,
    /// There is no room for it: its call ends so.
    No(Error),
}

/// What a call came to, as JSON: a result, or an error object.
pub enum Outcome<'a> {
    Result(&'a [u8]),
    Error(&'a [u8]),
}

/// Which class to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Controller {
    /// The example that the binary carries.
    Embedded,
    File {
        /// Absolute.
        path: PathBuf,
        class: String,
    },
    Module {
        module: String,
        class: String,
    },
}

/// What a backend is started with.
#[derive(Debug, Clone)]
pub struct Options {
    pub controller: Controller,
    pub python: python::Interpreter,
    /// The instance's own folder, in which the router is laid.
    pub state_dir: PathBuf,
    /// How many processes serve calls; more than one only for a controller that says `stateless = True`.
    pub workers: usize,
    pub affinity: Affinity,
    /// Whether one more process is kept warm, for when one dies.
    pub standby: bool,
    pub reload_mode: ReloadMode,
    /// Whether it is reloaded when its files change.
    pub watch: bool,
    pub limits: Limits,
}

/// What a reload does first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReloadMode {
    /// It starts the new process beside the old.
    #[default]
    Beside,
    /// It ends the old one, where there is no room for both.
    Replace,
}

/// Which worker gets a call, where there are several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Affinity {
    /// The least busy one.
    #[default]
    None,
    /// Always the same for one connection.
    Connection,
}

/// The handle. Clones are the same backend.
#[derive(Clone)]
pub struct Backend {
    shared: Rc<Shared>,
}

impl Backend {
    /// Starts the supervisors, and by them Python, on the current [`tokio::task::LocalSet`].
    pub fn start(options: Options, journal: Journal, snapshots: Snapshots, logs: Rc<Logs>) -> Backend {
        let workers = options.workers.clamp(1, MAX_WORKERS);
        let limits = &options.limits;
        let mut calls = Calls::new(workers, options.affinity, limits.max_queue, limits.max_pending);
        calls.tells_ran = !limits.slow_call.is_zero();
        let shared = Rc::new(Shared {
            busy_poll: BusyPoll::new(limits.busy_poll),
            calls: RefCell::new(calls),
            files: RefCell::new(files::Files::new(&options.controller, options.watch)),
            options,
            logs,
            deadlines: deadlines::Deadlines::default(),
            workers: (0..workers).map(|_| Post::default()).collect(),
            bells: (0..seats_for(workers)).map(|_| Bell::default()).collect(),
            processes: RefCell::default(),
            started: Notify::new(),
            rest: Notify::new(),
            journal,
            snapshots,
            standby: standby::Standby::default(),
            reloads: reload::Reloads::default(),
            ending: Cell::new(0),
            is_ending: Cell::new(false),
            restarts: Cell::new(0),
            reloads_done: Cell::new(0),
            recycled: Cell::new(0),
            told: told::Told::default(),
            kills: oom::Kills::told_by(Path::new("/proc/self")),
        });
        for post in 0..workers {
            essential(supervisor::run(shared.clone(), post));
        }
        if shared.options.standby {
            essential(standby::run(shared.clone()));
        }
        if shared.options.watch {
            essential(watch::run(Backend { shared: shared.clone() }));
        }
        tokio::task::spawn_local(deadlines::run(shared.clone()));
        let polling = shared.clone();
        tokio::task::spawn_local(async move { polling.busy_poll.run().await });
        Backend { shared }
    }

    /// Makes a call. The sink is told everything else, also why the call could not be taken; then there is no id.
    pub fn call(&self, call: NewCall<'_>, timeout: Option<Duration>) -> Option<CallId> {
        let property = match call.params {
            Some(params) if call.method == "setProperty" => self.shared.property(params),
            _ => Ok(None),
        };
        let id = {
            let mut calls = self.shared.calls.borrow_mut();
            let id = calls.submit(call, property);
            if let Some(id) = id.filter(|_| timeout.is_some_and(|timeout| timeout.is_zero())) {
                // It is over before it could begin.
                calls.expire(id);
                return None;
            }
            self.shared.wake(calls.take_wakes());
            id?
        };
        if let Some(at) = timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
            let calls = self.shared.calls.borrow();
            self.shared.deadlines.add(id, at, |id| calls.is_live(id), calls.live());
        }
        Some(id)
    }

    /// Cancels a call. False if it has ended.
    pub fn cancel(&self, id: CallId, by: CancelledBy) -> bool {
        self.shared.change(|calls| calls.cancel(id, by))
    }

    /// Cancels the owner's call that the client calls `tag` (a JSON value). False if there is none.
    pub fn cancel_tagged(&self, owner: u64, tag: &str) -> bool {
        let found = self.shared.calls.borrow().find(owner, tag);
        found.is_some_and(|id| self.cancel(id, CancelledBy::Client))
    }

    /// Cancels the call that the daemon has given this number, whoever's it is. False if there is none.
    pub fn cancel_numbered(&self, number: u64) -> bool {
        let found = self.shared.calls.borrow().numbered(number);
        found.is_some_and(|id| self.cancel(id, CancelledBy::Client))
    }

    /// Cancels what an owner that is gone has asked for.
    pub fn owner_gone(&self, owner: u64) {
        self.shared.change(|calls| calls.owner_gone(owner));
    }

    /// An item that was [`Taken::Later`] has left, or the client allows more.
    pub fn credit(&self, call: CallId, items: u64, bytes: u64) {
        self.shared.change(|calls| calls.credit(call, items, bytes));
    }

    /// An owner does not read its answers: nothing more is begun for it until [`Backend::resume`].
    pub fn pause(&self, owner: u64) {
        self.shared.calls.borrow_mut().pause(owner);
    }

    pub fn resume(&self, owner: u64) {
        self.shared.change(|calls| calls.resume(owner));
    }

    /// A client has sent something.
    pub(crate) fn came(&self) {
        self.shared.busy_poll.came(For::Request, clock::now());
    }

    /// A client was sent all that there is for it.
    pub(crate) fn answered(&self) {
        if self.shared.calls.borrow().is_idle() {
            self.shared.busy_poll.wait_for(For::Request, Instant::now());
        }
    }

    /// What is counted of each method.
    pub(crate) fn counted(&self) -> Ref<'_, Counted> {
        Ref::map(self.shared.calls.borrow(), |calls| &calls.counted)
    }

    /// How long calls have waited before they were sent to Python; and the one that has waited longest does now.
    pub(crate) fn waited(&self) -> (Ref<'_, Buckets>, Duration) {
        let calls = self.shared.calls.borrow();
        let longest = calls.longest_wait();
        (Ref::map(calls, |calls| &calls.waited), longest)
    }

    /// How often Python was started again, and how it has ended.
    pub(crate) fn told(&self) -> &Told {
        &self.shared.told
    }

    /// The live controller's methods, once there was one.
    pub fn methods(&self) -> Option<Rc<Methods>> {
        self.shared.calls.borrow().methods.clone()
    }

    /// As [`Backend::methods`], waiting for the first start to end; the error of that if it fails.
    pub async fn methods_known(&self) -> Result<Rc<Methods>, Error> {
        loop {
            let started = self.shared.started.notified();
            if let Some(methods) = self.methods() {
                return Ok(methods);
            }
            if let Some(error) = self.shared.calls.borrow().refusal() {
                return Err(error);
            }
            started.await;
        }
    }

    /// Whether there is a Python that serves.
    pub(crate) fn takes_calls(&self) -> bool {
        let mut posts = self.shared.workers.iter();
        posts.any(|post| post.status.borrow().state == State::Ready)
    }

    /// Lets running calls end, then starts every Python anew, and has `done` told when all are ready, or why one is not.
    /// False if too many wait for that already.
    pub fn restart(&self, done: Option<Asker>) -> bool {
        let askers = orders::for_each(self.shared.workers.len(), done);
        let most = self.shared.options.limits.max_queue;
        let mut posts = self.shared.workers.iter().zip(askers);
        // All have been asked by the same, so that they refuse alike.
        posts.all(|(post, asker)| post.orders.restart(asker, most))
    }

    /// Starts new processes beside those that serve, and has them take their places once all are ready; `done` is told
    /// when they have, or why the old ones go on. False if too many wait for that already.
    pub fn reload(&self, done: Option<Asker>) -> bool {
        if self.shared.options.reload_mode == ReloadMode::Replace {
            return self.restart(done);
        }
        let workers = self.shared.workers.len();
        let most = self.shared.options.limits.max_queue;
        match self.shared.reloads.ask(workers, done, most) {
            Ok(round) => {
                self.shared.begin_reload(round);
                true
            }
            Err(()) => false,
        }
    }

    /// Returns once no call waits or runs.
    pub(crate) async fn idle(&self) {
        loop {
            let rest = self.shared.rest.notified();
            if self.shared.calls.borrow().is_idle() {
                return;
            }
            rest.await;
        }
    }

    /// Takes no more calls, answers those there are within `grace`, cancels the rest, takes a last snapshot, and ends
    /// Python. Returns when all that is to be kept is on disk.
    pub async fn stop(&self, grace: Duration) {
        self.shared.reloads.stop();
        futures_util::future::join_all(self.shared.workers.iter().map(|post| post.orders.stop(grace))).await;
        self.shared.standby.end(&self.shared).await;
        self.shared.journal.saved().await;
        self.shared.snapshots.saved().await;
    }

    /// The backend's part of `daemon.status`.
    pub fn status(&self) -> serde_json::Map<String, Value> {
        self.shared.describe()
    }
}

/// Runs what no call would be answered without: if it fails, better to end, and be started anew.
fn essential(work: impl Future<Output = ()> + 'static) {
    let task = tokio::task::spawn_local(work);
    tokio::task::spawn_local(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            tracing::error!(target: "baskd", "a supervisor has failed: this is a defect of baskd");
            std::process::exit(101);
        }
    });
}

impl Controller {
    /// As it is written on a command line.
    pub(crate) fn spec(&self) -> String {
        match self {
            Controller::Embedded => "embedded".to_owned(),
            Controller::File { path, class } => format!("{}:{class}", path.display()),
            Controller::Module { module, class } => format!("{module}:{class}"),
        }
    }
}
