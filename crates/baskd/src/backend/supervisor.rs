//! The life of Python: start, serve, die, start again.
//!
//! # Theory of operation
//!
//! One task runs [`run`], and it alone starts and ends processes. Each turn of its loop is one process's life
//! ([`Supervisor::live`]), and ends in a [`Next`]: what happens now. While a process lives, the task waits for
//! whichever comes first of the worker's [`Event`]s, an [`Order`], or a time limit.
//!
//! Calls are steered by the gate of the table: held while Python starts, closed with the reason while it can't be had.
//! A process that could not start is told apart from one that crashed: the calls that wait are answered at once, with
//! what Python said, since the next attempt would most likely end alike.
//!
//! To be asked to end and to have ended are two things: end of input, TERM, KILL stand in [`Supervisor::end`], and
//! nowhere else.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use baskd_protocol::error::{CancelledBy, Error};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until, timeout};

use super::calls::{Calls, Death, Gate, WINDOW_BYTES, WINDOW_ITEMS};
use super::methods::Methods;
use super::orders::{Order, Orders};
use super::restart::{Decision, History, Life};
use super::status::{ProcessStatus, State, describe, exit_json};
use super::worker::{Event, Exit, Worker};
use super::{Controller, Post, Shared, router_files, spawn};

/// How long a process may take from the end of its input to its exit, `on_stop` included; and then from SIGTERM to
/// SIGKILL.
const END_GRACE: Duration = Duration::from_secs(10);
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How long a start may have been under way before it is given up for another.
const BETWEEN_STARTS: Duration = Duration::from_secs(1);
/// When a start that failed for lack of something of the daemon's own is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often the controller's file is looked at while Python can't be had.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn run(shared: Rc<Shared>, seat: usize) {
    let mut supervisor = Supervisor {
        shared,
        seat,
        told_until: 0,
        history: History::default(),
        has_served: false,
        file_then: None,
    };
    loop {
        let next = match supervisor.live().await {
            Next::Pause { pause, failure } if pause > Duration::ZERO => supervisor.pause(pause, failure).await,
            Next::Wait(failure) => supervisor.wait(failure).await,
            next => next,
        };
        if matches!(next, Next::Stop) || supervisor.orders().stop_asked().is_some() {
            return supervisor.stopped();
        }
        let restarts = &supervisor.shared.restarts;
        restarts.set(restarts.get() + 1);
    }
}

struct Supervisor {
    shared: Rc<Shared>,
    seat: usize,
    /// How far in the journal's changes the last process was told the properties.
    told_until: u64,
    history: History,
    /// Whether a process was ready once: then calls wait for the next, even if its first attempts fail.
    has_served: bool,
    /// When the file that the last process was started from had been changed.
    file_then: Option<SystemTime>,
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

/// Why Python could not be had.
#[derive(Clone)]
struct Failure {
    reason: String,
    stderr: Vec<String>,
    was_ready: bool,
}

/// Why no process could be started at all.
struct NoStart {
    reason: String,
    /// The daemon itself lacks something, most likely for a moment.
    passes: bool,
}

impl NoStart {
    fn new(what: String, error: &io::Error) -> NoStart {
        use io::ErrorKind::{NotFound, PermissionDenied};
        let passes = !matches!(error.kind(), NotFound | PermissionDenied);
        NoStart {
            reason: format!("{what}: {error}"),
            passes,
        }
    }
}

/// What ends the serving of a process.
enum Turn {
    Died(Exit),
    Asked(Order),
}

impl Supervisor {
    fn post(&self) -> &Post {
        &self.shared.workers[self.seat]
    }

    fn orders(&self) -> &Orders {
        &self.post().orders
    }

    /// Starts a process and stays with it to its end.
    async fn live(&mut self) -> Next {
        self.set(State::Starting, None);
        self.set_gate(Gate::Hold { starting: true });
        let mut worker = match self.start() {
            Ok(worker) => worker,
            Err(NoStart { reason, passes }) => {
                let failure = Failure {
                    reason,
                    stderr: Vec::new(),
                    was_ready: false,
                };
                let next = self.failed(Life::NeverReady, failure);
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
        match self.boot(&mut worker).await {
            Ok(()) => {}
            Err(Boot::Failed(failure)) => return self.failed(Life::NeverReady, failure),
            Err(Boot::Refused(failure)) => {
                self.end(&mut worker, Duration::ZERO).await;
                self.failed(Life::NeverReady, Failure::clone(&failure));
                return Next::Wait(failure);
            }
            // A process that never served has nothing to bring to an end.
            Err(Boot::Asked(order)) => {
                self.end(&mut worker, Duration::ZERO).await;
                return Self::after(&order);
            }
        }
        match self.serve(&mut worker).await {
            Turn::Died(exit) => self.died(exit),
            Turn::Asked(Order::Restart) => self.drain(&mut worker).await,
            Turn::Asked(Order::Stop(grace)) => {
                self.finish(&mut worker, grace).await;
                Next::Stop
            }
        }
    }

    fn start(&mut self) -> Result<Worker, NoStart> {
        self.file_then = self.file_now();
        self.orders().starting();
        let options = &self.shared.options;
        let router = router_files::lay(&options.state_dir).map_err(|error| {
            NoStart::new(
                format!("its router can't be written to {}", options.state_dir.display()),
                &error,
            )
        })?;
        let process = spawn::spawn(&options.python.path, &router)
            .map_err(|error| NoStart::new(format!("{} can't be started", options.python.path.display()), &error))?;
        let pid = process.pid.as_raw_nonzero().get();
        self.post().status.borrow_mut().process = Some(ProcessStatus {
            pid,
            started: Instant::now(),
            ready_after: None,
        });
        tracing::debug!(pid, "Python started");
        self.told_until = self.shared.journal.changes();
        Ok(Worker::new(self.shared.clone(), self.seat, process, self.hello()))
    }

    /// The first line a process is sent.
    fn hello(&self) -> Vec<u8> {
        let controller = match &self.shared.options.controller {
            Controller::Embedded => Value::Null,
            Controller::File { path, class } => json!({ "file": path, "class": class }),
            Controller::Module { module, class } => json!({ "module": module, "class": class }),
        };
        let version = env!("CARGO_PKG_VERSION");
        let mut hello =
            format!(r#"{{"hello":{{"protocol":1,"version":"{version}","controller":{controller},"properties":"#)
                .into_bytes();
        hello.extend(self.shared.journal.to_json());
        hello.extend(format!(",\"window\":[{WINDOW_ITEMS},{WINDOW_BYTES}]}}}}\n").into_bytes());
        hello
    }

    /// Waits until the process is ready.
    async fn boot(&mut self, worker: &mut Worker) -> Result<(), Boot> {
        let since = tokio::time::Instant::now();
        let limit = self.shared.options.limits.startup_timeout;
        let deadline = sleep(limit);
        tokio::pin!(deadline);
        let mut told = None;
        loop {
            tokio::select! {
                event = worker.next() => match event {
                    Event::Ready(ready) if ready.protocol == 1 && self.has_state(&ready) => {
                        return Err(Boot::Refused(self.refused(&ready)));
                    }
                    Event::Ready(ready) if ready.protocol == 1 => {
                        self.ready(*ready);
                        return Ok(());
                    }
                    Event::Ready(ready) => {
                        told = Some(format!("its router speaks protocol {}, this daemon 1", ready.protocol));
                        worker.signal(Signal::KILL);
                    }
                    Event::Failed(failed) => {
                        let doing = match failed.stage.as_str() {
                            "import" => "the controller can't be imported",
                            "construct" => "the controller can't be constructed",
                            "describe" => "the controller can't be described",
                            _ => "the controller's on_start failed",
                        };
                        told = Some(format!("{doing}: {}: {}", failed.kind, failed.message));
                        // It exits by itself, as a rule. Those who wait need not wait for that.
                        worker.close_input();
                        deadline.as_mut().reset(tokio::time::Instant::now() + TERM_GRACE);
                    }
                    Event::Died(exit) => {
                        let reason = told.unwrap_or_else(|| format!("it {} before it was ready", describe(exit.status, exit.oom)));
                        self.note_exit(&exit);
                        return Err(Boot::Failed(Failure { reason, stderr: exit.stderr, was_ready: false }));
                    }
                },
                () = &mut deadline => {
                    told.get_or_insert_with(|| format!("it was not ready after {limit:?}"));
                    worker.signal(Signal::KILL);
                    // From now on only its death is waited for.
                    deadline.as_mut().reset(tokio::time::Instant::now() + Duration::from_secs(86_400));
                },
                order = self.order(since) => return Err(Boot::Asked(order)),
            }
        }
    }

    /// The next order while a process starts, awaited by nobody else meanwhile. One that has only just been started is not ended for another: however many
    /// restarts are asked for, there is one a second at most.
    async fn order(&self, started: tokio::time::Instant) -> Order {
        tokio::select! {
            () = sleep_until(started + BETWEEN_STARTS) => self.orders().next().await,
            () = self.orders().until_stop() => self.orders().next().await,
        }
    }

    fn ready(&mut self, ready: super::wire::Ready) {
        let took = {
            let mut status = self.post().status.borrow_mut();
            let process = status.process.as_mut();
            process
                .map(|process| *process.ready_after.insert(process.started.elapsed()))
                .unwrap_or_default()
        };
        self.set(State::Ready, None);
        let missed = self.shared.journal.since(self.told_until);
        let known = self.shared.calls.borrow().methods.clone();
        let same = known.clone().filter(|methods| methods.ready == ready);
        let methods = same.unwrap_or_else(|| {
            let methods = Rc::new(Methods::new(ready, known.as_deref()));
            for warning in methods.unknown(self.shared.options.limits.timeouts.keys()) {
                self.shared.logs.warn(&warning);
            }
            methods
        });
        self.shared
            .change(|calls| calls.ready(self.seat, methods.clone(), missed));
        let ready = &methods.ready;
        let count = ready.methods.len();
        self.shared.logs.info(&format!(
            "{}{} is ready after {took:.0?}: {count} methods, Python {}, {}",
            ready.controller,
            self.which(),
            ready.python,
            ready.codec
        ));
        self.shared.started.notify_waiters();
        self.has_served = true;
        self.orders().answer(Ok(()));
    }

    /// Of several workers, this one, for the log.
    fn which(&self) -> String {
        match self.shared.workers.len() {
            1 => String::new(),
            count => format!(" (worker {} of {count})", self.seat + 1),
        }
    }

    /// Whether there are several workers though the controller is not made for that.
    fn has_state(&self, ready: &super::wire::Ready) -> bool {
        self.shared.workers.len() > 1 && !ready.stateless
    }

    fn refused(&self, ready: &super::wire::Ready) -> Failure {
        Failure {
            reason: format!(
                "{} workers need a controller that keeps no state of its own between calls: say `stateless = True` in class {}, or serve it with one worker",
                self.shared.workers.len(),
                ready.controller
            ),
            stderr: Vec::new(),
            was_ready: false,
        }
    }

    async fn serve(&mut self, worker: &mut Worker) -> Turn {
        loop {
            tokio::select! {
                event = worker.next() => {
                    if let Event::Died(exit) = event {
                        return Turn::Died(exit);
                    }
                },
                order = self.orders().next() => return Turn::Asked(order),
            }
        }
    }

    /// Lets what Python was sent end, within the drain's limit, and then Python. What is queued waits for the next one.
    async fn drain(&mut self, worker: &mut Worker) -> Next {
        self.set(State::Starting, None);
        self.shared.logs.info("restart: running calls are ended first");
        self.set_gate(Gate::Hold { starting: false });
        let limit = self.shared.options.limits.drain_timeout;
        let seat = self.seat;
        let drained = tokio::select! {
            drained = timeout(limit, self.until(worker, |calls| calls.nothing_sent(seat))) => drained,
            () = self.orders().until_stop() => {
                let grace = self.orders().stop_asked().unwrap_or_default();
                self.finish(worker, grace).await;
                return Next::Stop;
            }
        };
        match drained {
            Ok(Some(exit)) => return self.died(exit),
            Ok(None) => {}
            Err(_) => {
                self.shared
                    .logs
                    .warn(&format!("restart: calls that still run after {limit:?} are cancelled"));
                self.shared
                    .change(|calls| calls.cancel_begun(seat, CancelledBy::Shutdown));
            }
        }
        let exit = self.end(worker, END_GRACE).await;
        self.bury(&exit);
        Next::Start
    }

    /// Answers what there is within `grace`, cancels the rest, and ends Python.
    async fn finish(&mut self, worker: &mut Worker, grace: Duration) {
        self.set(State::Stopping, None);
        self.set_gate(Gate::Finishing(Error::cancelled(CancelledBy::Shutdown)));
        let answered = timeout(grace, self.until(worker, Calls::is_idle)).await;
        if let Ok(Some(exit)) = &answered {
            // Before the rest is cancelled: what had begun is told what became of it.
            self.bury(exit);
        }
        self.shared.change(|calls| calls.end_all(CancelledBy::Shutdown));
        if !matches!(answered, Ok(Some(_))) {
            // What has not come to an end within its grace does not get as much again.
            let has_ended = self.shared.calls.borrow().nothing_sent(self.seat);
            let exit = self.end(worker, if has_ended { END_GRACE } else { TERM_GRACE }).await;
            self.bury(&exit);
        }
    }

    /// Serves until `enough`, or until the process dies. Orders wait.
    async fn until(&self, worker: &mut Worker, enough: impl Fn(&Calls) -> bool) -> Option<Exit> {
        loop {
            let rest = self.shared.rest.notified();
            if enough(&self.shared.calls.borrow()) {
                return None;
            }
            tokio::select! {
                event = worker.next() => {
                    if let Event::Died(exit) = event {
                        return Some(exit);
                    }
                },
                () = rest => {}
            }
        }
    }

    /// End of input, `patience`, TERM, grace, KILL.
    async fn end(&self, worker: &mut Worker, patience: Duration) -> Exit {
        let died = async |worker: &mut Worker| loop {
            if let Event::Died(exit) = worker.next().await {
                self.post().status.borrow_mut().process = None;
                return exit;
            }
        };
        worker.close_input();
        if let Ok(exit) = timeout(patience, died(worker)).await {
            return exit;
        }
        if !patience.is_zero() {
            let told = format!("Python has not ended {patience:?} after its input: SIGTERM");
            self.shared.logs.warn(&told);
        }
        worker.signal(Signal::TERM);
        if let Ok(exit) = timeout(TERM_GRACE, died(worker)).await {
            return exit;
        }
        worker.signal(Signal::KILL);
        died(worker).await
    }

    /// Python died while it served.
    fn died(&mut self, exit: Exit) -> Next {
        self.note_exit(&exit);
        self.bury(&exit);
        let reason = format!("it {}", describe(exit.status, exit.oom));
        let told = format!("Python{} {}", self.which(), describe(exit.status, exit.oom));
        self.shared.logs.warn(&told);
        self.failed(
            exit.life,
            Failure {
                reason,
                stderr: exit.stderr,
                was_ready: true,
            },
        )
    }

    /// Answers or keeps the calls that a dead process had.
    fn bury(&self, exit: &Exit) {
        let how = describe(exit.status, exit.oom);
        let death = Death {
            how: &how,
            exit: exit_json(exit.status, exit.oom),
            stderr: &exit.stderr,
        };
        self.shared.change(|calls| calls.died(self.seat, &death));
        self.shared.rest.notify_waiters();
    }

    fn failed(&mut self, life: Life, failure: Failure) -> Next {
        if life == Life::NeverReady {
            self.shared
                .logs
                .warn(&format!("Python did not start: {}", failure.reason));
            self.orders().answer(Err(&failure.reason));
        }
        match self.history.died(life, Instant::now()) {
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
            order = self.orders().next() => Self::after(&order),
        }
    }

    /// Waits until somebody asks for a restart, or the controller's file has changed.
    async fn wait(&mut self, failure: Failure) -> Next {
        let reason = if failure.was_ready {
            format!(
                "{}; so did others before it, without having answered a call",
                failure.reason
            )
        } else {
            failure.reason
        };
        let until = if self.file_then.is_some() {
            "its controller changes or "
        } else {
            ""
        };
        self.shared.logs.warn(&format!(
            "Python is not started again until {until}`baskd restart` is called"
        ));
        self.set(State::Unavailable, Some(reason.clone()));
        self.set_gate(Gate::Closed(Error::backend_unavailable(&reason, &failure.stderr, None)));
        self.history = History::default();
        self.has_served = false;
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY), if self.file_then.is_some() => {
                    if self.file_now() != self.file_then {
                        self.shared.logs.info("the controller's file has changed: Python is tried again");
                        return Next::Start;
                    }
                },
                order = self.orders().next() => return Self::after(&order),
            }
        }
    }

    fn after(order: &Order) -> Next {
        match order {
            Order::Restart => Next::Start,
            Order::Stop(_) => Next::Stop,
        }
    }

    fn stopped(&self) {
        self.set(State::Stopping, None);
        // The last one's ends what still waits.
        self.set_gate(Gate::Closed(Error::cancelled(CancelledBy::Shutdown)));
        self.orders().stopped();
    }

    /// When the controller's file was last changed; None if it has none.
    fn file_now(&self) -> Option<SystemTime> {
        match &self.shared.options.controller {
            Controller::File { path, .. } => std::fs::metadata(path).ok()?.modified().ok(),
            Controller::Embedded | Controller::Module { .. } => None,
        }
    }

    fn set_gate(&self, gate: Gate) {
        self.shared.change(|calls| calls.set_gate(self.seat, gate));
        self.shared.started.notify_waiters();
    }

    fn set(&self, state: State, reason: Option<String>) {
        let mut status = self.post().status.borrow_mut();
        status.state = state;
        status.reason = reason;
    }

    fn note_exit(&self, exit: &Exit) {
        self.post().status.borrow_mut().process = None;
        *self.shared.last_exit.borrow_mut() = Some(
            json!({ "exit": exit_json(exit.status, exit.oom), "ran_ms": exit.ran.as_millis() as u64, "stderr": exit.stderr }),
        );
    }
}

/// Why a process did not become ready.
enum Boot {
    Failed(Failure),
    /// It could be served, but not so; the next attempt would end alike.
    Refused(Failure),
    /// It is asked to start anew, as what it starts from may have changed, or to stop.
    Asked(Order),
}
