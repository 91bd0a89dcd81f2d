//! What is kept of Pythons that are gone: why each was followed by another, and how those ended that nobody had asked to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::status::exit_json;
use super::worker::Exit;

/// So many of the last ends are told one by one.
const EXITS: usize = 10;

/// Why another Python was started in the place of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// That one died.
    Crash,
    /// That one could not start.
    FailedStart,
    /// Another version serves: somebody asked for it, or a file has changed.
    Reload,
    /// Somebody asked for it.
    Restart,
    /// It had answered `max_calls` calls, or had reached `max_rss`.
    Recycled,
}

impl Again {
    pub(crate) const ALL: [(Again, &'static str); 5] = [
        (Again::Crash, "crash"),
        (Again::FailedStart, "failed_start"),
        (Again::Reload, "reload"),
        (Again::Restart, "restart"),
        (Again::Recycled, "recycled"),
    ];
}

/// How a Python ended that nobody had asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Code,
    Signal,
    OutOfMemory,
}

impl Kind {
    pub(crate) const ALL: [(Kind, &'static str); 3] = [
        (Kind::Code, "code"),
        (Kind::Signal, "signal"),
        (Kind::OutOfMemory, "oom"),
    ];

    fn of(exit: &Exit) -> Kind {
        match exit.status.signal() {
            Some(_) if exit.oom => Kind::OutOfMemory,
            Some(_) => Kind::Signal,
            None => Kind::Code,
        }
    }
}

#[derive(Default)]
pub(crate) struct Told {
    again: [Cell<u64>; Again::ALL.len()],
    kinds: [Cell<u64>; Kind::ALL.len()],
    /// Newest first, without what they wrote.
    exits: RefCell<VecDeque<Value>>,
    /// The newest, with its last lines on stderr.
    last_exit: RefCell<Option<Value>>,
}

impl Told {
    /// Another Python is started in the place of one, or has taken it.
    pub(crate) fn started_again(&self, why: Again) {
        let count = &self.again[why as usize];
        count.set(count.get() + 1);
    }

    pub(crate) fn times_again(&self, why: Again) -> u64 {
        self.again[why as usize].get()
    }

    pub(super) fn again(&self) -> Map<String, Value> {
        let told = Again::ALL.map(|(why, name)| (name.to_owned(), self.times_again(why).into()));
        told.into_iter().collect()
    }

    pub(super) fn exit(&self, worker: usize, exit: &Exit, reason: &str) {
        let count = &self.kinds[Kind::of(exit) as usize];
        count.set(count.get() + 1);
        let at_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |at| at.as_millis() as u64);
        let mut told = json!({
            "worker": worker + 1,
            "reason": reason,
            "exit": exit_json(exit.status, exit.oom),
            "ran_ms": exit.ran.as_millis() as u64,
            "at_ms": at_ms,
        });
        let mut exits = self.exits.borrow_mut();
        exits.truncate(EXITS - 1);
        exits.push_front(told.clone());
        told["stderr"] = json!(exit.stderr);
        *self.last_exit.borrow_mut() = Some(told);
    }

    pub(crate) fn times_ended(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize].get()
    }

    pub(super) fn exits(&self) -> Vec<Value> {
        self.exits.borrow().iter().cloned().collect()
    }

    pub(super) fn last_exit(&self) -> Option<Value> {
        self.last_exit.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::restart::Life;
    use super::*;
    use std::process::ExitStatus;
    use std::time::Duration;

    fn exit(raw: i32, oom: bool) -> Exit {
        Exit {
            life: Life::Answered,
            status: ExitStatus::from_raw(raw),
            oom,
            ran: Duration::from_millis(1500),
            stderr: vec!["last words".to_owned()],
        }
    }

    #[test]
    fn the_last_ends_are_kept_newest_first() {
        let told = Told::default();
        for number in 0..12 {
            told.exit(0, &exit(9, false), &format!("end {number}"));
        }
        let reasons: Vec<_> = told.exits().iter().map(|exit| exit["reason"].to_string()).collect();
        assert_eq!(
            (reasons.len(), reasons[0].as_str(), reasons[9].as_str()),
            (10, "\"end 11\"", "\"end 2\"")
        );
        let exits = told.exits();
        assert_eq!((&exits[0]["worker"], &exits[0]["stderr"]), (&json!(1), &Value::Null));
        assert_eq!(told.last_exit().unwrap()["stderr"], json!(["last words"]));
    }

    #[test]
    fn ends_are_counted_by_kind_and_starts_by_reason() {
        let told = Told::default();
        for (raw, oom) in [(9, false), (9, true), (11, false), (3 << 8, false)] {
            told.exit(0, &exit(raw, oom), "it ended");
        }
        assert_eq!(Kind::ALL.map(|(kind, _)| told.times_ended(kind)), [1, 2, 1]);
        told.started_again(Again::Recycled);
        assert_eq!(
            Value::Object(told.again()),
            json!({ "crash": 0, "failed_start": 0, "reload": 0, "restart": 0, "recycled": 1 })
        );
        for (place, (why, _)) in Again::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
        }
        for (place, (kind, _)) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
