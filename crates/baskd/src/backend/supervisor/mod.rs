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
//! [`boot`] starts a process and stays with it until it is ready; [`end`] ends one; [`hook`] asks one for its state, or
//! gives it back.

mod beside;
mod boot;
mod end;
mod hook;

use std::rc::Rc;
use std::time::{Duration, Instant};

use baskd_protocol::error::{CancelledBy, Error};
use tokio::time::{MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

use super::calls::Gate;
use super::methods::Methods;
use super::orders::{Order, Orders};
use super::reload::Round;
use super::restart::{Decision, History, Life, jitter};
use super::status::{Role, State, describe};
use super::worker::{Event, Exit, Worker};
use super::{Post, ReloadMode, Shared};
use beside::{Beside, News, Switched, Why, WornPause};
pub(crate) use boot::Boot;
use boot::{Failure, NoStart};
use end::{END_GRACE, TERM_GRACE, end, until};
pub(crate) use end::{all_ended, discard};
pub(crate) use hook::ON_RESTORE;
use hook::{NoAnswer, ON_SNAPSHOT, Snapshotting, ask, ask_to_the_end, restore_params};

/// How long a start may have been under way before it is given up for another.
const BETWEEN_STARTS: Duration = Duration::from_secs(1);
/// When a start that failed for lack of something of the daemon's own is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often the controller's files are looked at while Python can't be had.
const LOOK_EVERY: Duration = Duration::from_millis(500);
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
        round: None,
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
        let restarts = &supervisor.shared.restarts;
        restarts.set(restarts.get() + 1);
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
    /// The reload that the next process to serve is for.
    round: Option<(Rc<Round>, Reported)>,
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
    Restart,
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
            Turn::Died(exit) => self.died(worker.seat(), exit),
            Turn::Restart => self.restart(&mut worker).await,
            Turn::Stop(grace) => {
                self.finish(&mut worker, grace).await;
                Next::Stop
            }
        }
    }

    /// The process that is there already, or a new one.
    fn get(&mut self) -> Result<Boot, NoStart> {
        if let Some(Beside { boot, why }) = self.beside.take() {
            if let Why::Reload(round) = why {
                let reported = if boot.ready.is_some() {
                    Reported::Yes
                } else {
                    Reported::NotYet
                };
                self.round = Some((round, reported));
            }
            return Ok(boot);
        }
        if let Some(boot) = self.next.take() {
            return Ok(boot);
        }
        match self.take_standby() {
            Some(boot) => Ok(boot),
            None => Boot::start(&self.shared, self.post),
        }
    }

    /// The warm process, if there is one.
    fn take_standby(&self) -> Option<Boot> {
        let warm = self.shared.standby.take(&self.shared)?;
        let seat = warm.worker.seat();
        self.shared.change(|calls| calls.move_to(seat, self.post));
        if let Some(process) = self.shared.processes.borrow_mut().get_mut(&seat) {
            process.worker = self.post;
        }
        Some(warm)
    }

    /// Waits until a process is ready.
    async fn boot(&mut self, boot: &mut Boot) -> Result<(), Next> {
        let since = tokio::time::Instant::now();
        if boot.ready.is_some() {
            return Ok(());
        }
        self.shared.set_role(boot.worker.seat(), Role::Starting);
        tokio::select! {
            outcome = boot.next() => outcome.map_err(|failure| {
                // The next start looks at what this one was made of.
                *self.shared.files.borrow_mut() = boot.files.clone();
                let is_final = failure.is_final;
                let told = failure.clone();
                match self.failed(Life::NeverReady, failure) {
                    _ if is_final => Next::Wait(told),
                    next => next,
                }
            }),
            // A process that never served has nothing to bring to an end.
            order = order_after(&self.shared.workers[self.post].orders, since + BETWEEN_STARTS) => Err(self.after(order)),
        }
    }

    /// Gives a process that is to serve the last snapshot, if the controller takes that.
    async fn restore(&mut self, boot: &mut Boot) -> Result<(), Next> {
        let Some(snapshot) = self.shared.last_snapshot().filter(|_| boot.has_hook(ON_RESTORE)) else {
            return Ok(());
        };
        let age = snapshot.age();
        let params = restore_params(&self.shared, &snapshot);
        let limit = self.shared.options.limits.startup_timeout;
        let reason = match ask(
            &self.shared,
            self.orders(),
            &mut boot.worker,
            ON_RESTORE,
            Some(params),
            limit,
        )
        .await
        {
            Ok(_) => {
                self.shared
                    .logs
                    .info(&format!("the state was restored from a snapshot that is {age:.1?} old"));
                return Ok(());
            }
            Err(NoAnswer::Stopping) => return Err(Next::Stop),
            Err(NoAnswer::Failed(reason)) => reason,
            Err(NoAnswer::Died(exit)) => {
                let reason = format!("it {} in on_restore", describe(exit.status, exit.oom));
                self.shared.note_exit(&exit, &reason);
                self.shared.bury(boot.worker.seat(), &exit);
                reason
            }
        };
        // Half of a state may be worse than none. And it is not tried again, or it would never end.
        self.shared.logs.warn(&format!(
            "on_restore failed with a snapshot that is {age:.1?} old; Python is started anew without it: {reason}"
        ));
        self.shared.snapshots.refuse();
        Err(Next::Start)
    }

    /// Has a process that is ready serve.
    fn open(&mut self, boot: Boot) -> Worker {
        let Boot {
            worker,
            told_until,
            files,
            ready,
            took,
            ..
        } = boot;
        self.shared.set_role(worker.seat(), Role::Serving);
        self.set(State::Ready, None);
        *self.shared.files.borrow_mut() = files;
        let missed = self.shared.journal.since(told_until);
        if let Some(ready) = ready {
            let known = self.shared.calls.borrow().methods.clone();
            let same = known.clone().filter(|methods| methods.ready == *ready);
            let methods = same.unwrap_or_else(|| {
                let methods = Rc::new(Methods::new(*ready, known.as_deref()));
                for warning in methods.unknown(self.shared.options.limits.timeouts.keys()) {
                    self.shared.logs.warn(&warning);
                }
                methods
            });
            self.shared
                .change(|calls| calls.ready(worker.seat(), methods.clone(), missed));
            let ready = &methods.ready;
            self.shared.logs.info(&format!(
                "{}{} is ready after {took:.0?}: {} methods, Python {}, {}{}",
                ready.controller,
                self.which(),
                ready.methods.len(),
                ready.python,
                ready.codec,
                known.map_or_else(String::new, |known| methods.news_since(&known)),
            ));
        }
        self.shared.started.notify_waiters();
        self.has_served = true;
        self.orders().answer(Ok(()));
        if let Some((round, reported)) = self.round.take() {
            if reported == Reported::NotYet {
                round.report(Ok(()));
            }
            self.end_round(&round, Ok(()));
        }
        worker
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
        let every = every.filter(|_| shared.serving_has(ON_SNAPSHOT)).unwrap_or(NEVER);
        let mut snapshot_due = interval_at(tokio::time::Instant::now() + every, every);
        snapshot_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut snapshotting = Snapshotting::new();
        loop {
            let news = tokio::select! {
                event = worker.next() => match event {
                    Event::Died(exit) => return Turn::Died(exit),
                    Event::Worn(why) => {
                        if self.beside.is_none() && self.worn_pause.is_over() {
                            shared.logs.info(&format!("Python{} {why}: it is replaced", self.which()));
                            if shared.options.reload_mode == ReloadMode::Replace {
                                return Turn::Restart;
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
                    Order::Restart => return Turn::Restart,
                    Order::Stop(grace) => return Turn::Stop(grace),
                },
                news = Beside::next(&mut self.beside) => news,
                _ = snapshot_due.tick() => {
                    snapshotting.take(&shared, worker.seat());
                    continue;
                }
            };
            let Some(beside) = self.beside.take() else { continue };
            match news {
                News::Failed(failure) => {
                    shared.files.borrow_mut().add(&beside.boot.files);
                    self.beside_failed(&beside.why, &failure);
                }
                News::Abort(reason) => {
                    self.beside = Some(beside);
                    self.drop_beside(&reason);
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

    /// Lets what Python was sent end, within the drain's limit, and then Python. What is queued waits for the next one.
    async fn restart(&mut self, worker: &mut Worker) -> Next {
        self.drop_beside("Python is restarted");
        self.shared.standby.renew(&self.shared);
        self.set(State::Starting, None);
        self.shared.logs.info("restart: running calls are ended first");
        self.set_gate(Gate::Hold { starting: false });
        let shared = self.shared.clone();
        let limit = shared.options.limits.drain_timeout;
        let seat = worker.seat();
        shared.change(|calls| calls.leave(seat));
        let drained = tokio::select! {
            drained = timeout(limit, until(&shared, worker, |calls| calls.nothing_sent(seat))) => drained,
            () = self.orders().until_stop() => {
                let grace = self.orders().stop_asked().unwrap_or_default();
                self.finish(worker, grace).await;
                return Next::Stop;
            }
        };
        match drained {
            Ok(Some(exit)) => return self.died(seat, exit),
            Ok(None) => {}
            Err(_) => {
                shared
                    .logs
                    .warn(&format!("restart: calls that still run after {limit:?} are cancelled"));
                shared.change(|calls| calls.cancel_begun(seat, CancelledBy::Shutdown));
                if let Ok(Some(exit)) =
                    timeout(END_GRACE, until(&shared, worker, |calls| calls.nothing_sent(seat))).await
                {
                    return self.died(seat, exit);
                }
            }
        }
        if let Some(exit) = self.snapshot_at_end(worker).await {
            return self.died(seat, exit);
        }
        let exit = end(&shared, worker, END_GRACE).await;
        shared.bury(seat, &exit);
        Next::Start
    }

    /// Takes the last snapshot of a process that has nothing to do any more; how it died, if it did.
    async fn snapshot_at_end(&self, worker: &mut Worker) -> Option<Exit> {
        let can = self.shared.serving_has(ON_SNAPSHOT) && self.shared.calls.borrow().nothing_sent(worker.seat());
        if !can {
            return None;
        }
        let limit = self.shared.options.limits.drain_timeout;
        match ask_to_the_end(&self.shared, worker, ON_SNAPSHOT, None, limit).await {
            Ok(state) => self.shared.took_snapshot(&state),
            Err(NoAnswer::Died(exit)) => return Some(exit),
            Err(NoAnswer::Failed(reason)) => self
                .shared
                .logs
                .warn(&format!("on_snapshot failed, and the last snapshot stays: {reason}")),
            Err(NoAnswer::Stopping) => {}
        }
        None
    }

    /// Answers what there is within `grace`, cancels the rest, and ends Python.
    async fn finish(&mut self, worker: &mut Worker, grace: Duration) {
        self.drop_beside("the daemon is stopping");
        self.set(State::Stopping, None);
        self.set_gate(Gate::Finishing(Error::cancelled(CancelledBy::Shutdown)));
        let shared = self.shared.clone();
        let seat = worker.seat();
        let answered = timeout(grace, until(&shared, worker, |calls| calls.is_idle())).await;
        if let Ok(Some(exit)) = &answered {
            // Before the rest is cancelled: what had begun is told what became of it.
            shared.bury(seat, exit);
        }
        shared.change(|calls| calls.end_all(CancelledBy::Shutdown));
        if matches!(answered, Ok(Some(_))) {
            return;
        }
        // What was cancelled just now may still be about to leave.
        shared.change(|calls| calls.leave(seat));
        let mut ended = timeout(TERM_GRACE, until(&shared, worker, |calls| calls.nothing_sent(seat))).await;
        if let Ok(None) = ended {
            ended = Ok(self.snapshot_at_end(worker).await);
        }
        let exit = match ended {
            Ok(Some(exit)) => exit,
            Ok(None) => end(&shared, worker, END_GRACE).await,
            // What has not come to an end within its grace does not get as much again.
            Err(_) => end(&shared, worker, Duration::ZERO).await,
        };
        shared.bury(seat, &exit);
    }

    /// Python died while it served.
    fn died(&mut self, seat: usize, exit: Exit) -> Next {
        let how = describe(exit.status, exit.oom);
        self.shared.note_exit(&exit, &format!("it {how}"));
        let state = match self.shared.state_after(seat) {
            Some(snapshot) => format!("; its state goes back to a snapshot that is {:.1?} old", snapshot.age()),
            None => String::new(),
        };
        self.shared.logs.warn(&format!("Python{} {how}{state}", self.which()));
        self.shared.bury(seat, &exit);
        self.failed(
            exit.life,
            Failure {
                reason: format!("it {how}"),
                stderr: exit.stderr,
                was_ready: true,
                is_final: false,
            },
        )
    }

    fn failed(&mut self, life: Life, failure: Failure) -> Next {
        if life == Life::NeverReady {
            self.shared
                .logs
                .warn(&format!("Python did not start: {}", failure.reason));
            self.orders().answer(Err(&failure.reason));
            if let Some((round, reported)) = self.round.take() {
                if reported == Reported::NotYet {
                    round.report(Err(failure.reason.clone()));
                }
                self.end_round(&round, Err(failure.reason.clone()));
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
        self.set_gate(Gate::Closed(Error::backend_unavailable(&reason, &failure.stderr, None)));
        self.history = History::default();
        self.has_served = false;
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY), if looks => {
                    let changed = self.shared.files.borrow().changed();
                    if let Some(path) = changed {
                        self.shared.logs.info(&format!("{} has changed: Python is tried again", path.display()));
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
            Order::Restart => Next::Start,
            Order::Reload(round) => {
                self.round = Some((round, Reported::NotYet));
                Next::Start
            }
            Order::Stop(_) => Next::Stop,
        }
    }

    async fn stopped(&mut self) {
        self.set(State::Stopping, None);
        // The last one's ends what still waits.
        self.set_gate(Gate::Closed(Error::cancelled(CancelledBy::Shutdown)));
        self.drop_beside("the daemon is stopping");
        if let Some(boot) = self.next.take() {
            discard(&self.shared, boot.worker);
        }
        if let Some((round, reported)) = self.round.take() {
            let why = || Err("the daemon is stopping".to_owned());
            if reported == Reported::NotYet {
                round.report(why());
            }
            round.done(why());
        }
        self.orders().close();
        all_ended(&self.shared).await;
        self.orders().stopped();
    }

    fn set_gate(&self, gate: Gate) {
        self.shared.change(|calls| calls.set_gate(self.post, gate));
        self.shared.started.notify_waiters();
    }

    fn set(&self, state: State, reason: Option<String>) {
        let mut status = self.post().status.borrow_mut();
        status.state = state;
        status.reason = reason;
    }
}

/// The next order while a process starts, awaited by nobody else meanwhile. One that has only just been started is not
/// ended for another: however many restarts are asked for, there is one a second at most.
async fn order_after(orders: &Orders, then: tokio::time::Instant) -> Order {
    tokio::select! {
        () = sleep_until(then) => {}
        () = orders.until_stop() => {}
    }
    orders.next().await
}
