//! The life of Python: start, serve, die, start again.
//!
//! # Theory of operation
//!
//! One task runs [`run`] for each worker, and it alone decides what becomes of its processes. Each turn of its loop is
//! one process's time of serving ([`Supervisor::live`]), or several's, where one takes the place of another
//! ([`beside`]), and ends in a [`Next`]: what happens now. Meanwhile the task waits for whichever comes first of the
//! worker's [`Event`]s, an [`Order`], or a time limit.
//!
//! Calls are steered by the gate of the table: held while Python starts, closed with the reason while it can't be had.
//! A process that could not start is told apart from one that crashed: the calls that wait are answered at once, with
//! what Python said, since the next attempt would most likely end alike.
//!
//! [`start`] comes from nothing to a process that serves, [`stop`] from there to its end. [`boot`] starts a process and
//! stays with it until it is ready; [`end`] ends one; [`hook`] asks one for its state, or
//! gives it back.

mod beside;
mod boot;
mod end;
mod hook;
mod start;
mod stop;

use std::rc::Rc;
use std::time::{Duration, Instant};

use baskd_protocol::error::Error;
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::calls::Gate;
use super::orders::{NotReady, Order, Orders};
use super::reload::Round;
use super::restart::{Decision, History, Life, jitter};
use super::status::{State, describe};
use super::worker::{Event, Exit, Wear, Worker};
use super::{Again, Post, ReloadMode, Shared};
use beside::{Beside, News, Switched, Why, WornPause};
pub(crate) use boot::Boot;
use boot::Failure;
pub(crate) use end::{all_ended, discard};
pub(crate) use hook::ON_RESTORE;
use hook::{ON_SNAPSHOT, Snapshotting};

/// How long a start may have been under way before it is given up for another.
const BETWEEN_STARTS: Duration = Duration::from_secs(1);
/// When a start that failed for lack of something of the daemon's own is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often the controller's files are looked at while Python can't be had.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// One that is younger has become large by its start, and another would, too.
const FRESH: Duration = Duration::from_secs(5);
/// Later than the daemon runs.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

pub(crate) async fn run(shared: Rc<Shared>, post: usize) {
    let mut supervisor = Supervisor {
        shared,
        post,
        history: History::default(),
        has_served: false,
        beside: None,
        worn_pause: WornPause::default(),
        next: None,
        restore_kills: 0,
        took: Duration::ZERO,
        round: None,
        again: Again::Crash,
    };
    loop {
        let next = match supervisor.live().await {
            Next::Pause { pause, failure } if pause > Duration::ZERO => supervisor.pause(pause, failure).await,
            Next::Wait(failure) => supervisor.wait(failure).await,
            next => next,
        };
        if matches!(next, Next::Stop) || supervisor.orders().stop_asked().is_some() {
            return supervisor.stopped().await;
        }
        let shared = &supervisor.shared;
        shared.restarts.set(shared.restarts.get() + 1);
        shared.told.started_again(supervisor.again);
    }
}

struct Supervisor {
    shared: Rc<Shared>,
    /// The worker's number.
    post: usize,
    history: History,
    /// Whether a process was ready once: then calls wait for the next, even if its first attempts fail.
    has_served: bool,
    /// What is to take the place of the one that serves.
    beside: Option<Beside>,
    worn_pause: WornPause,
    /// What was to take the place of one that has died meanwhile.
    next: Option<Boot>,
    /// How often in a row a process was killed from outside while it restored the last snapshot.
    restore_kills: u8,
    /// How long the last start took.
    took: Duration,
    /// The reload that the next process to serve is for.
    round: Option<(Rc<Round>, Reported)>,
    /// Why the next process is started.
    again: Again,
}

/// Whether a reload was told that a process of it is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reported {
    Yes,
    NotYet,
}

/// What comes after a process.
enum Next {
    Start,
    Pause {
        pause: Duration,
        failure: Failure,
    },
    /// It is not started again by itself.
    Wait(Failure),
    Stop,
}

/// What ends the serving of a process.
enum Turn {
    Died(Exit),
    Restart(Again),
    Stop(Duration),
}

impl Supervisor {
    fn post(&self) -> &Post {
        &self.shared.workers[self.post]
    }

    fn orders(&self) -> &Orders {
        &self.post().orders
    }

    /// Gets a process and stays with it, or with those that take its place, to the end.
    async fn live(&mut self) -> Next {
        self.set(State::Starting, None);
        self.set_gate(Gate::Hold { starting: true });
        self.orders().starting();
        let mut boot = match self.get() {
            Ok(boot) => boot,
            Err(no_start) => {
                let passes = no_start.passes;
                let next = self.failed(Life::NeverReady, Failure::from(no_start));
                // What is not Python's fault is no reason to give it up.
                return match next {
                    Next::Wait(failure) if passes => Next::Pause {
                        pause: TRY_AGAIN,
                        failure,
                    },
                    next => next,
                };
            }
        };
        if let Err(next) = self.boot(&mut boot).await {
            discard(&self.shared, boot.worker);
            return next;
        }
        if let Err(next) = self.restore(&mut boot).await {
            discard(&self.shared, boot.worker);
            return next;
        }
        let mut worker = self.open(boot);
        match self.serve(&mut worker).await {
            Turn::Died(exit) => match self.died(worker.seat(), exit) {
                // The next one is there already.
                _ if self.next.is_some() => Next::Start,
                next => next,
            },
            Turn::Restart(why) => {
                let next = self.restart(&mut worker).await;
                self.again = why;
                next
            }
            Turn::Stop(grace) => {
                self.finish(&mut worker, grace).await;
                Next::Stop
            }
        }
    }

    /// Of several workers, this one, for the log.
    fn which(&self) -> String {
        match self.shared.workers.len() {
            1 => String::new(),
            count => format!(" (worker {} of {count})", self.post + 1),
        }
    }

    async fn serve(&mut self, worker: &mut Worker) -> Turn {
        let shared = self.shared.clone();
        let every = Some(shared.options.limits.snapshot_every).filter(|every| !every.is_zero());
        let every = every.unwrap_or(NEVER);
        let mut snapshot_due = interval_at(tokio::time::Instant::now() + every, every);
        snapshot_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut snapshotting = Snapshotting::new();
        loop {
            let news = tokio::select! {
                event = worker.next() => match event {
                    Event::Died(exit) => return Turn::Died(exit),
                    Event::Worn(wear) => {
                        if self.beside.is_none() && self.worn_pause.is_over() {
                            if matches!(wear, Wear::Size(_)) && worker.age() < FRESH {
                                shared.logs.warn(&format!("a fresh Python {wear}: is that less than it needs?"));
                                self.worn_pause.failed();
                                continue;
                            }
                            shared.logs.info(&format!("Python{} {wear}: it is replaced", self.which()));
                            if shared.options.reload_mode == ReloadMode::Replace {
                                // Nobody has asked for it, so nobody's stream ends for it.
                                if shared.calls.borrow().has_only_plain(worker.seat()) {
                                    return Turn::Restart(Again::Recycled);
                                }
                                continue;
                            }
                            self.start_beside(Why::Worn);
                        }
                        continue;
                    }
                    Event::Ready(_) | Event::Failed(_) => continue,
                },
                order = shared.workers[self.post].orders.next() => match order {
                    Order::Reload(round) => {
                        shared.logs.info(&format!("reload: a new Python{} is started beside the old", self.which()));
                        self.start_beside(Why::Reload(round));
                        continue;
                    }
                    Order::Restart => return Turn::Restart(Again::Restart),
                    Order::Stop(grace) => return Turn::Stop(grace),
                },
                news = Beside::next(&mut self.beside) => news,
                _ = snapshot_due.tick() => {
                    if shared.serving_has(ON_SNAPSHOT) {
                        snapshotting.take(&shared, worker.seat());
                    }
                    continue;
                }
            };
            let Some(beside) = self.beside.take() else { continue };
            match news {
                News::Failed(failure) => {
                    shared.files.borrow_mut().add(&beside.boot.files);
                    self.beside_failed(&beside.why, &failure);
                }
                News::Abort(why) => {
                    self.beside = Some(beside);
                    self.drop_beside(&why);
                }
                News::Go => match self.switch(worker, beside).await {
                    Switched::Done => {
                        snapshotting = Snapshotting::new();
                        self.worn_pause = WornPause::default();
                    }
                    Switched::Stayed => {}
                    Switched::OldDied(exit) => return Turn::Died(exit),
                    Switched::Stopping => {}
                },
            }
        }
    }

    /// Python died while it served.
    fn died(&mut self, seat: usize, exit: Exit) -> Next {
        let failure = self.note_death(seat, &exit);
        self.failed(exit.life, failure)
    }

    /// Tells of a death, and what becomes of the calls there.
    fn note_death(&self, seat: usize, exit: &Exit) -> Failure {
        let how = describe(exit.status, exit.oom);
        self.shared.note_exit(seat, exit, &format!("it {how}"));
        let state = match self.shared.state_after(seat) {
            Some(snapshot) => format!("; its state goes back to a snapshot that is {:.1?} old", snapshot.age()),
            None => String::new(),
        };
        self.shared.logs.warn(&format!("Python{} {how}{state}", self.which()));
        self.shared.bury(seat, exit);
        Failure {
            reason: format!("it {how}"),
            stderr: exit.stderr.clone(),
            was_ready: true,
            is_final: false,
        }
    }

    fn failed(&mut self, life: Life, failure: Failure) -> Next {
        self.again = match failure.was_ready {
            true => Again::Crash,
            false => Again::FailedStart,
        };
        if life == Life::NeverReady {
            self.shared
                .logs
                .warn(&format!("Python did not start: {}", failure.reason));
            self.orders().answer(Err(&failure.told()));
            if let Some((round, reported)) = self.round.take() {
                if reported == Reported::NotYet {
                    round.report(Err(failure.told()));
                }
                self.end_round(&round, Err(failure.told()));
            }
        }
        match self.history.died(life, Instant::now(), jitter()) {
            Decision::After(pause) => Next::Pause { pause, failure },
            Decision::GiveUp => Next::Wait(failure),
        }
    }

    /// Waits before the next start.
    async fn pause(&mut self, pause: Duration, failure: Failure) -> Next {
        self.set(State::BackingOff, Some(failure.reason.clone()));
        if failure.was_ready || self.has_served {
            self.set_gate(Gate::Hold { starting: true });
        } else {
            let retry_ms = u64::try_from(pause.as_millis()).ok();
            self.set_gate(Gate::Closed(Error::backend_unavailable(
                &failure.reason,
                &failure.stderr,
                retry_ms,
            )));
        }
        tokio::select! {
            () = sleep(pause) => Next::Start,
            order = self.shared.workers[self.post].orders.next() => self.after(order),
        }
    }

    /// Waits until somebody asks for a restart, or the controller's files have changed.
    async fn wait(&mut self, failure: Failure) -> Next {
        let stderr = failure.stderr;
        let reason = if failure.was_ready {
            format!(
                "{}; so did others before it, without having answered a call",
                failure.reason
            )
        } else {
            failure.reason
        };
        let looks = self.shared.files.borrow().are_known();
        let until = if looks { "its controller changes or " } else { "" };
        self.shared.logs.warn(&format!(
            "Python is not started again until {until}`baskd restart` is called"
        ));
        self.set(State::Unavailable, Some(reason.clone()));
        self.set_gate(Gate::Closed(Error::backend_unavailable(&reason, &stderr, None)));
        self.history = History::default();
        self.has_served = false;
        let why = NotReady { reason, stderr };
        self.orders().answer(Err(&why));
        self.drop_next(&why);
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY), if looks => {
                    let changed = self.shared.files.borrow_mut().changed();
                    if let Some(path) = changed {
                        self.shared.logs.info(&format!("{} has changed: Python is tried again", path.display()));
                        self.again = Again::Reload;
                        return Next::Start;
                    }
                },
                order = self.shared.workers[self.post].orders.next() => return self.after(order),
            }
        }
    }

    /// What an order asks for while nothing serves. A reload is then a start, which is told of its end.
    fn after(&mut self, order: Order) -> Next {
        match order {
            Order::Restart => {
                self.again = Again::Restart;
                Next::Start
            }
            Order::Reload(round) => {
                self.again = Again::Reload;
                self.round = Some((round, Reported::NotYet));
                Next::Start
            }
            Order::Stop(_) => Next::Stop,
        }
    }

    fn set_gate(&self, gate: Gate) {
        self.shared.change(|calls| calls.set_gate(self.post, gate));
        self.shared.started.notify_waiters();
    }

    fn set(&self, state: State, reason: Option<String>) {
        let mut status = self.post().status.borrow_mut();
        status.state = state;
        status.reason = reason;
        self.shared.changed.notify_one();
    }
}
