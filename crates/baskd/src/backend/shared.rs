//! What the parts of the backend share: each piece has one owner, which is named there, and is reached from here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use baskd_protocol::error::Error;
use tokio::sync::Notify;

use super::Options;
use super::calls::{Calls, Death, Property, Seats, bits};
use super::deadlines::Deadlines;
use super::files::Files;
use super::journal::Journal;
use super::oom::Kills;
use super::orders::Orders;
use super::reload::{Reloads, Round};
use super::snapshot::{Snapshot, Snapshots};
use super::standby::Standby;
use super::status::{ProcessStatus, Status, describe, exit_json};
use super::supervisor::ON_RESTORE;
use super::told::Told;
use super::worker::Exit;
use crate::bell::Bell;
use crate::busy_poll::BusyPoll;
use crate::logs::Logs;

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) logs: Rc<Logs>,
    pub(super) calls: RefCell<Calls>,
    pub(super) deadlines: Deadlines,
    pub(super) busy_poll: BusyPoll,
    pub(super) workers: Vec<Post>,
    /// By seat: something is there to be written to its process.
    pub(super) bells: Vec<Bell>,
    /// By seat.
    pub(super) processes: RefCell<BTreeMap<usize, ProcessStatus>>,
    /// A gate of the table has changed.
    pub(super) started: Notify,
    /// The last waiting call was answered, or a process that is left may have ended what it had.
    pub(super) rest: Notify,
    pub(super) journal: Journal,
    pub(super) snapshots: Snapshots,
    pub(super) standby: Standby,
    pub(super) reloads: Reloads,
    /// What the controller that was started last is made of.
    pub(super) files: RefCell<Files>,
    /// How many processes are being ended beside all else.
    pub(super) ending: Cell<usize>,
    /// Whether all else has ended, and these are to as well.
    pub(super) is_ending: Cell<bool>,
    pub(super) restarts: Cell<u64>,
    pub(super) reloads_done: Cell<u64>,
    pub(super) recycled: Cell<u64>,
    pub(super) told: Told,
    pub(super) kills: Kills,
}

/// Where one worker's supervisor is reached.
#[derive(Default)]
pub(super) struct Post {
    pub(super) status: RefCell<Status>,
    pub(super) orders: Orders,
}

impl Shared {
    /// The property that a `setProperty` with these params sets, if the journal has room for it.
    pub(super) fn property(&self, params: &str) -> Result<Option<Property>, Error> {
        let property = Property::read(params)?;
        let limits = &self.options.limits;
        if let Some(property) = &property {
            let being_set = self.calls.borrow().properties();
            self.journal
                .has_room(property, being_set, limits.max_properties, limits.max_properties_bytes)?;
        }
        Ok(property)
    }

    /// Changes the table of calls, then has the workers look at what there is to write.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Calls) -> T) -> T {
        let mut calls = self.calls.borrow_mut();
        let result = change(&mut calls);
        self.journal.record(calls.take_held());
        if calls.is_at_rest() {
            self.rest.notify_waiters();
        }
        self.wake(calls.take_wakes());
        result
    }

    /// Wakes the processes' tasks of these seats.
    pub(super) fn wake(&self, seats: Seats) {
        for seat in bits(seats) {
            self.bells[seat].ring();
        }
    }

    pub(super) fn begin_reload(&self, round: Option<Rc<Round>>) {
        let Some(round) = round else { return };
        for post in &self.workers {
            post.orders.reload(round.clone());
        }
    }

    /// The reload under way may have ended: begins the next, if one was asked for meanwhile.
    pub(super) fn next_reload(&self) {
        self.begin_reload(self.reloads.next(self.workers.len()));
    }

    /// Answers or keeps the calls that a dead process had, and frees its seat.
    pub(super) fn bury(&self, seat: usize, exit: &Exit) {
        self.processes.borrow_mut().remove(&seat);
        let how = describe(exit.status, exit.oom);
        let death = Death {
            how: &how,
            exit: exit_json(exit.status, exit.oom),
            stderr: &exit.stderr,
            snapshot_age: self.state_after(seat).map(|snapshot| snapshot.age()),
        };
        self.change(|calls| calls.died(seat, &death));
        self.rest.notify_waiters();
    }

    /// The state that the next process gets if the one with this seat dies: of one that is left, another has it already.
    pub(super) fn state_after(&self, seat: usize) -> Option<Arc<Snapshot>> {
        let serves = self.calls.borrow().serves(seat);
        self.last_snapshot().filter(|_| serves && self.serving_has(ON_RESTORE))
    }

    /// Whether the controller that serves has this hook, and state of its own.
    pub(super) fn serving_has(&self, hook: &str) -> bool {
        let methods = self.calls.borrow().methods.clone();
        self.workers.len() == 1 && methods.is_some_and(|methods| methods.ready.has_hook(hook))
    }

    /// Keeps what `on_snapshot` gave; why it can't, and the last one stays.
    pub(super) fn took_snapshot(&self, state: &[u8]) -> Result<(), String> {
        self.snapshots.took(&self.options.controller.spec(), state)
    }

    /// The state that the next process gets.
    pub(super) fn last_snapshot(&self) -> Option<Arc<Snapshot>> {
        // Several have no state of their own.
        (self.workers.len() == 1).then(|| self.snapshots.last(&self.options.controller.spec()))?
    }
}
