//! A process from its start until it is ready, or can't be.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::sleep_until;

use super::super::calls::{WINDOW_BYTES, WINDOW_ITEMS};
use super::super::files::Files;
use super::super::orders::NotReady;
use super::super::status::{ProcessStatus, Role, describe};
use super::super::wire::Ready;
use super::super::worker::{Event, Worker};
use super::super::{Controller, Shared, router_files, spawn};
use super::end::TERM_GRACE;

const PROTOCOL: u32 = 1;
/// Later than anything is waited for.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// A process that was started, and what it was told then.
pub(crate) struct Boot {
    pub(crate) worker: Worker,
    shared: Rc<Shared>,
    /// How far in the journal's changes it was told the properties.
    pub(crate) told_until: u64,
    /// What it is made of, as it was when it was started.
    pub(crate) files: Files,
    /// What it has told of itself, once it is ready.
    pub(crate) ready: Option<Box<Ready>>,
    pub(crate) took: Duration,
    started: Instant,
    deadline: tokio::time::Instant,
    /// Why it can't serve, as soon as that is known; it may live on for a moment.
    why_not: Option<String>,
    is_final: bool,
}

/// Why Python could not be had.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) stderr: Vec<String>,
    pub(crate) was_ready: bool,
    /// The next attempt would end alike.
    pub(crate) is_final: bool,
}

/// Why no process could be started at all.
pub(crate) struct NoStart {
    pub(crate) reason: String,
    /// The daemon itself lacks something, most likely for a moment.
    pub(crate) passes: bool,
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

impl From<NoStart> for Failure {
    fn from(no_start: NoStart) -> Failure {
        Failure::before_ready(no_start.reason)
    }
}

impl Failure {
    pub(crate) fn told(&self) -> NotReady {
        NotReady {
            reason: self.reason.clone(),
            stderr: self.stderr.clone(),
        }
    }

    pub(crate) fn before_ready(reason: String) -> Failure {
        Failure {
            reason,
            stderr: Vec::new(),
            was_ready: false,
            is_final: false,
        }
    }
}

impl Boot {
    /// Starts a process for this worker.
    pub(crate) fn start(shared: &Rc<Shared>, worker: usize) -> Result<Boot, NoStart> {
        let files = shared.files.borrow().at_start();
        let options = &shared.options;
        let router = router_files::lay(&options.state_dir).map_err(|error| {
            NoStart::new(
                format!("its router can't be written to {}", options.state_dir.display()),
                &error,
            )
        })?;
        let process = spawn::spawn(&options.python.path, &router)
            .map_err(|error| NoStart::new(format!("{} can't be started", options.python.path.display()), &error))?;
        let pid = process.pid.as_raw_nonzero().get();
        let told_until = shared.journal.changes();
        let worker_process = Worker::new(shared.clone(), worker, process, hello(shared)).ok_or_else(|| NoStart {
            reason: "too many Pythons have not ended yet".to_owned(),
            passes: true,
        })?;
        let started = Instant::now();
        shared.processes.borrow_mut().insert(
            worker_process.seat(),
            ProcessStatus {
                worker,
                role: Role::Starting,
                pid,
                started,
                ready_after: None,
            },
        );
        tracing::debug!(pid, "Python started");
        Ok(Boot {
            worker: worker_process,
            shared: shared.clone(),
            told_until,
            files,
            ready: None,
            took: Duration::ZERO,
            started,
            deadline: tokio::time::Instant::now() + options.limits.startup_timeout,
            why_not: None,
            is_final: false,
        })
    }

    /// Waits until it is ready, and after that until it has died. What was waited for is not lost if this is dropped.
    pub(crate) async fn next(&mut self) -> Result<(), Failure> {
        loop {
            tokio::select! {
                event = self.worker.next() => match event {
                    Event::Ready(ready) => {
                        if self.accept(ready) {
                            return Ok(());
                        }
                    }
                    Event::Failed(failed) => {
                        let doing = match failed.stage.as_str() {
                            "import" => "the controller can't be imported",
                            "construct" => "the controller can't be constructed",
                            "describe" => "the controller can't be described",
                            _ => "the controller's on_start failed",
                        };
                        self.files.learn(&failed.files, true);
                        self.why_not = Some(format!("{doing}: {}: {}", failed.kind, failed.message));
                        // It exits by itself, as a rule. Those who wait need not wait for that.
                        self.worker.close_input();
                        self.deadline = tokio::time::Instant::now() + TERM_GRACE;
                    }
                    Event::Worn(_) => {}
                    Event::Died(exit) => {
                        if self.ready.is_none() && self.why_not.is_none() {
                            // It could not tell what it is made of.
                            self.files.learn(&[], true);
                        }
                        let how = describe(exit.status, exit.oom);
                        let when = if self.ready.is_some() { "before it was needed" } else { "before it was ready" };
                        let reason = self.why_not.take().unwrap_or_else(|| format!("it {how} {when}"));
                        self.shared.note_exit(self.worker.seat(), &exit, &reason);
                        self.shared.bury(self.worker.seat(), &exit);
                        return Err(Failure {
                            reason,
                            stderr: exit.stderr,
                            was_ready: false,
                            is_final: self.is_final,
                        });
                    }
                },
                () = sleep_until(self.deadline) => {
                    let limit = self.shared.options.limits.startup_timeout;
                    self.why_not.get_or_insert_with(|| format!("it was not ready after {limit:?}"));
                    self.give_up();
                }
            }
        }
    }

    /// Whether what it says of itself can be served.
    fn accept(&mut self, ready: Box<Ready>) -> bool {
        let workers = self.shared.workers.len();
        self.files.learn(&ready.files, false);
        if ready.protocol != PROTOCOL {
            self.why_not = Some(format!(
                "its router speaks protocol {}, this daemon {PROTOCOL}",
                ready.protocol
            ));
        } else if workers > 1 && !ready.stateless {
            self.why_not = Some(format!(
                "{workers} workers need a controller that keeps no state of its own between calls: say `stateless = True` in class {}, or serve it with one worker",
                ready.controller
            ));
            self.is_final = true;
        } else {
            self.took = self.started.elapsed();
            self.deadline = tokio::time::Instant::now() + NEVER;
            self.ready = Some(ready);
            let mut processes = self.shared.processes.borrow_mut();
            if let Some(process) = processes.get_mut(&self.worker.seat()) {
                process.ready_after = Some(self.took);
            }
            return true;
        }
        self.give_up();
        false
    }

    /// From now on only its death is waited for.
    fn give_up(&mut self) {
        self.worker.signal(Signal::KILL);
        self.deadline = tokio::time::Instant::now() + NEVER;
    }

    pub(crate) fn has_hook(&self, hook: &str) -> bool {
        self.ready.as_ref().is_some_and(|ready| ready.has_hook(hook))
    }
}

/// The first line a process is sent.
fn hello(shared: &Shared) -> Vec<u8> {
    let controller = match &shared.options.controller {
        Controller::Embedded => Value::Null,
        Controller::File { path, class } => json!({ "file": path, "class": class }),
        Controller::Module { module, class } => json!({ "module": module, "class": class }),
    };
    let version = env!("CARGO_PKG_VERSION");
    let mut hello =
        format!(r#"{{"hello":{{"protocol":{PROTOCOL},"version":"{version}","controller":{controller},"properties":"#)
            .into_bytes();
    hello.extend(shared.journal.to_json());
    hello.extend(format!(",\"window\":[{WINDOW_ITEMS},{WINDOW_BYTES}]}}}}\n").into_bytes());
    hello
}
