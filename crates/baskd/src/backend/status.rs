//! What `daemon.status` tells of the backend.

use std::borrow::Cow;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::calls::UnderWay;
use super::worker::Exit;
use super::{Controller, Post, Shared};

/// So many of the calls under way are told one by one.
const MOST_UNDER_WAY: usize = 200;
/// Before Python has told its methods, a call's may be any text of a client's.
const LONGEST_NAME: usize = 200;

/// What the supervisor is at.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum State {
    #[default]
    Starting,
    Ready,
    BackingOff,
    Unavailable,
    Stopping,
}

impl State {
    pub const fn text(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Ready => "ready",
            State::BackingOff => "backing off",
            State::Unavailable => "unavailable",
            State::Stopping => "stopping",
        }
    }
}

/// What [`Shared::describe`] tells of one worker beyond its process and calls.
#[derive(Default)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
}

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// To serve as soon as it can.
    Starting,
    Serving,
    /// To serve when another dies.
    Standby,
    /// To end what it has.
    Leaving,
}

impl Role {
    const fn text(self) -> &'static str {
        match self {
            Role::Starting => "starting",
            Role::Serving => "serving",
            Role::Standby => "standby",
            Role::Leaving => "leaving",
        }
    }
}

pub(crate) struct ProcessStatus {
    pub(crate) worker: usize,
    pub(crate) role: Role,
    pub(crate) pid: i32,
    pub(crate) started: Instant,
    pub(crate) ready_after: Option<Duration>,
}

/// What the backend is at, in short.
pub(crate) struct Overview {
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) ready_workers: usize,
    pub(crate) workers: usize,
    /// Of the controller that serves, or did last.
    pub(crate) methods: usize,
    pub(crate) calls: u64,
    pub(crate) restarts: u64,
    /// How many reloads have been asked for, whether one of them is under way, and why the last one failed.
    pub(crate) reloads_begun: u64,
    pub(crate) is_reloading: bool,
    pub(crate) reload_failure: Option<String>,
}

impl Shared {
    pub(crate) fn overview(&self) -> Overview {
        let (state, reason) = self.state();
        let is_ready = |post: &&Post| post.status.borrow().state == State::Ready;
        let calls = self.calls.borrow();
        Overview {
            state,
            reason,
            ready_workers: self.workers.iter().filter(is_ready).count(),
            workers: self.workers.len(),
            methods: calls.methods.as_ref().map_or(0, |methods| methods.ready.methods.len()),
            calls: calls.total(),
            restarts: self.restarts.get(),
            reloads_begun: self.reloading.begun(),
            is_reloading: self.reloading.is_under_way(),
            reload_failure: self.reloading.failure(),
        }
    }

    /// What the supervisors are at, taken together: the state of the one that is best off, and what it says.
    fn state(&self) -> (State, Option<String>) {
        let best_first = [
            State::Stopping,
            State::Ready,
            State::Starting,
            State::BackingOff,
            State::Unavailable,
        ];
        let told = |state| {
            let mut statuses = self.workers.iter().map(|post| post.status.borrow());
            statuses
                .find(|status| status.state == state)
                .map(|status| (state, status.reason.clone()))
        };
        best_first.into_iter().find_map(told).unwrap_or_default()
    }

    /// The seat of a worker's process: that which serves, else the one that is to. None while it has no process.
    fn main_seat(&self, worker: usize) -> Option<usize> {
        let processes = self.processes.borrow();
        let of = |role| {
            let mut seats = processes.iter();
            seats
                .find(|(_, process)| process.worker == worker && process.role == role)
                .map(|(seat, _)| *seat)
        };
        of(Role::Serving).or_else(|| of(Role::Starting))
    }

    fn describe_process(&self, seat: usize, state: &str) -> Option<Value> {
        let calls = self.calls.borrow();
        let processes = self.processes.borrow();
        let process = processes.get(&seat)?;
        let running: Vec<_> = calls
            .running(seat)
            .iter()
            .map(|call| json!({ "call": call.number, "method": call.method.name, "age_ms": call.age.as_millis() as u64, "cancelled": call.is_cancelled }))
            .collect();
        Some(json!({
            "worker": process.worker + 1,
            "pid": process.pid,
            "state": state,
            "uptime_ms": process.started.elapsed().as_millis() as u64,
            "ready_ms": process.ready_after.map(|after| after.as_millis() as u64),
            "calls": calls.answered(seat),
            "rss_bytes": resident_bytes(process.pid),
            "running": running,
        }))
    }

    /// What a process is there for has changed.
    pub(crate) fn set_role(&self, seat: usize, role: Role) {
        if let Some(process) = self.processes.borrow_mut().get_mut(&seat) {
            process.role = role;
        }
    }

    /// The process that has this seat has ended without being asked to.
    pub(crate) fn note_exit(&self, seat: usize, exit: &Exit, reason: &str) {
        let worker = self.processes.borrow().get(&seat).map(|process| process.worker);
        self.told.exit(worker.unwrap_or_default(), exit, reason);
    }

    /// As `under_way` of `daemon.status`.
    fn under_way(&self) -> Vec<Value> {
        let calls = self.calls.borrow().under_way(MOST_UNDER_WAY);
        let told = |call: UnderWay| {
            json!({
                "call": call.number,
                "method": shortened(&call.method.name),
                "worker": call.worker.map(|worker| worker + 1),
                "age_ms": call.age.as_millis() as u64,
                "where": call.place.text(),
            })
        };
        calls.into_iter().map(told).collect()
    }

    pub(crate) fn describe(&self) -> serde_json::Map<String, Value> {
        let main: Vec<_> = (0..self.workers.len()).map(|worker| self.main_seat(worker)).collect();
        let workers = main.iter().enumerate().filter_map(|(worker, seat)| {
            let state = self.workers[worker].status.borrow().state;
            self.describe_process((*seat)?, state.text())
        });
        let workers: Vec<_> = workers.collect();
        let down = self
            .workers
            .iter()
            .enumerate()
            .filter(|(worker, _)| main[*worker].is_none());
        let down: Vec<_> = down
            .map(|(worker, post)| {
                let status = post.status.borrow();
                json!({ "worker": worker + 1, "state": status.state.text(), "reason": status.reason })
            })
            .collect();
        let others: Vec<_> = self
            .processes
            .borrow()
            .iter()
            .map(|(seat, process)| (*seat, process.role))
            .collect();
        let beside = others
            .into_iter()
            .filter(|(seat, _)| !main.contains(&Some(*seat)))
            .filter_map(|(seat, role)| self.describe_process(seat, role.text()));
        let beside: Vec<_> = beside.collect();
        let snapshot = self.last_snapshot().map(
            |snapshot| json!({ "age_ms": snapshot.age().as_millis() as u64, "bytes": snapshot.state.get().len() }),
        );
        let (state, reason) = self.state();
        let calls = self.calls.borrow();
        let python = &self.options.python;
        let ready = calls.methods.as_ref().map(|methods| &methods.ready);
        let controller = match &self.options.controller {
            Controller::Embedded => {
                json!({ "spec": "embedded", "file": null, "class": "Controller", "embedded": true })
            }
            Controller::File { path, class } => {
                json!({ "spec": self.options.controller.spec(), "file": path, "class": class, "embedded": false })
            }
            Controller::Module { class, .. } => {
                json!({ "spec": self.options.controller.spec(), "file": null, "class": class, "embedded": false })
            }
        };
        let described = json!({
            "controller": controller,
            "python": {
                "executable": python.path.to_string_lossy(),
                "found": python.found,
                "version": ready.map(|ready| &ready.python),
                "codec": ready.map(|ready| &ready.codec),
            },
            "state": state.text(),
            "reason": reason,
            "workers": workers,
            "down": down,
            "beside": beside,
            "queued": calls.queued(),
            "in_flight": calls.in_flight(),
            "calls": calls.total(),
            "restarts": self.restarts.get(),
            "reloads": self.reloads_done.get(),
            "recycled": self.recycled.get(),
            "restarts_by": self.told.again(),
            "snapshot": snapshot,
            "under_way": self.under_way(),
            "last_exit": self.told.last_exit(),
            "exits": self.told.exits(),
            "properties": self.journal.names(),
        });
        match described {
            Value::Object(described) => described,
            _ => serde_json::Map::new(),
        }
    }
}

pub(crate) fn resident_bytes(pid: i32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// A name that a client may have made up, and cut where nobody reads on.
pub(crate) fn shortened(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}…", &name[..end]).into(),
        None => name.into(),
    }
}

/// As in "Python was killed by SIGKILL". `oom`: by the kernel, for want of memory.
pub(crate) fn describe(status: ExitStatus, oom: bool) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => match Signal::from_named_raw(signal) {
            Some(name) => format!("was killed by {}", signal_name(name)),
            None => format!("was killed by signal {signal}"),
        },
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended".to_owned(),
    };
    if oom { format!("{how} (out of memory)") } else { how }
}

fn signal_name(signal: Signal) -> String {
    // Its Debug form is `Signal::SEGV`, in quotes in some versions.
    let debug = format!("{signal:?}");
    let name = debug.trim_matches('"').rsplit("::").next().unwrap_or_default();
    format!("SIG{}", name.to_uppercase())
}

/// As `exit` in an error's data.
pub(crate) fn exit_json(status: ExitStatus, oom: bool) -> Value {
    match status.signal() {
        Some(signal) if oom => json!({ "signal": signal, "oom": true }),
        Some(signal) => json!({ "signal": signal }),
        None => json!({ "code": status.code() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_told_in_words_and_in_json() {
        let cases = [
            (9, "was killed by SIGKILL"),
            (11, "was killed by SIGSEGV"),
            (64, "was killed by signal 64"),
            (3 << 8, "exited with code 3"),
        ];
        for (raw, words) in cases {
            assert_eq!(describe(ExitStatus::from_raw(raw), false), words);
        }
        assert_eq!(exit_json(ExitStatus::from_raw(9), false), json!({ "signal": 9 }));
        assert_eq!(exit_json(ExitStatus::from_raw(3 << 8), false), json!({ "code": 3 }));
        assert_eq!(
            describe(ExitStatus::from_raw(9), true),
            "was killed by SIGKILL (out of memory)"
        );
        assert_eq!(
            exit_json(ExitStatus::from_raw(9), true),
            json!({ "signal": 9, "oom": true })
        );
    }
}
