//! Clients, as their sinks see it: what became of their calls is counted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use baskd_protocol::error::Error;

use super::super::{CallId, Item, Known, Outcome, Sink, Taken};
use super::MAX_RESPONSE;

/// What became of all calls together.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) submitted: Cell<usize>,
    pub(super) ended: Cell<usize>,
    /// Sinks that were dropped without an end.
    pub(super) lost: Cell<usize>,
    /// Hooks that were called and have not ended.
    pub(super) hooks: Cell<usize>,
    pub(super) events: RefCell<Vec<CallId>>,
}

pub(super) struct Client {
    pub(super) tally: Rc<Tally>,
    pub(super) tag: String,
    pub(super) is_accepted: bool,
    pub(super) has_ended: bool,
    pub(super) takes: u8,
    pub(super) ends_with_its_owner: bool,
}

impl Sink for Client {
    fn accepted(&mut self, _: &Rc<Known>) {
        assert!(!self.is_accepted, "accepted twice");
        self.is_accepted = true;
    }

    fn item(&mut self, item: Item<'_>) -> Taken {
        assert!(self.is_accepted, "an item of a call that was never accepted");
        assert!(item.data.len() <= MAX_RESPONSE, "a partial result that is too long");
        self.tally.events.borrow_mut().push(item.call);
        match self.takes {
            0 => Taken::Now,
            1 => Taken::Later,
            _ => Taken::No(Error::overloaded_unread(1)),
        }
    }

    fn end(mut self: Box<Self>, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Result(_) => assert!(self.is_accepted, "a result of a call that was never accepted"),
            Outcome::Error(_) => {}
        }
        self.has_ended = true;
        self.tally.ended.set(self.tally.ended.get() + 1);
    }

    fn tag(&self) -> Option<&str> {
        Some(&self.tag)
    }

    fn is_of_few(&self) -> bool {
        self.takes == 1
    }

    fn ends_with_its_owner(&self) -> bool {
        self.ends_with_its_owner
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.has_ended {
            self.tally.lost.set(self.tally.lost.get() + 1);
        }
    }
}

/// A call of the daemon's own.
pub(super) struct Hook {
    tally: Rc<Tally>,
}

impl Hook {
    pub(super) fn called(tally: &Rc<Tally>) -> Hook {
        tally.hooks.set(tally.hooks.get() + 1);
        Hook { tally: tally.clone() }
    }
}

impl Sink for Hook {
    fn item(&mut self, _: Item<'_>) -> Taken {
        Taken::Now
    }

    fn end(self: Box<Self>, _: Outcome<'_>) {
        self.tally.hooks.set(self.tally.hooks.get() - 1);
    }

    fn ends_with_its_owner(&self) -> bool {
        false
    }
}
