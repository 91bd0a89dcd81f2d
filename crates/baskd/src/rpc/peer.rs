//! One connection, as the methods see it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use baskd_protocol::error::Error;

use super::Service;
use super::hub::Lossy;
use super::outbox::{HIGH, LOW, Outbox};
use crate::backend::{CallId, WINDOW_ITEMS};

/// A result of so many bytes is never one too many: a connection that does not read gets few of them.
const SMALL: usize = 64 << 10;
/// So many calls a connection may have, however many others have.
const FEW_CALLS: usize = 16;

/// What a connection has asked for and is owed. Its socket belongs to [`crate::net`], which writes what the outbox
/// holds.
pub struct Peer {
    pub(crate) service: Rc<Service>,
    /// Who it is to the backend.
    pub(crate) id: u64,
    /// What it adds to the number of connections.
    counts: usize,
    /// Whether it can be told what is no answer. Not by a POST.
    pub(crate) takes_events: Cell<bool>,
    pub outbox: Outbox,
    /// Requests and streams that have not had their last line.
    owed: Cell<usize>,
    /// Calls of the controller's methods that have not ended, its notifications' among them.
    calls: Cell<usize>,
    /// Streams under way, by subscription id.
    pub(crate) streams: RefCell<HashMap<u64, Stream>>,
    /// `messages.subscribe` of scope `own`.
    pub(crate) own: RefCell<Vec<Own>>,
    /// Subscriptions that may lose items.
    pub(crate) lossy: RefCell<Vec<Rc<Lossy>>>,
    /// Items in the outbox, by call: what their calls get back when it has been written.
    unread: RefCell<Vec<(CallId, u64)>>,
    paused: Cell<bool>,
}

pub(crate) struct Stream {
    /// None until the call was taken.
    pub(crate) call: Option<CallId>,
    /// Whether `stream.more` means anything to it.
    pub(crate) windowed: bool,
}

pub(crate) struct Own {
    pub(crate) id: u64,
    pub(crate) method: Option<String>,
}

impl Peer {
    /// One that is refused is not counted: a crowd of them must not keep others out.
    pub fn new(service: &Rc<Service>, is_refused: bool) -> Rc<Peer> {
        let counts = usize::from(!is_refused);
        service.connections.set(service.connections.get() + counts);
        Rc::new(Peer {
            service: service.clone(),
            id: service.next_id(),
            counts,
            takes_events: Cell::new(true),
            outbox: Outbox::new(service.unread.clone()),
            owed: Cell::new(0),
            calls: Cell::new(0),
            streams: RefCell::default(),
            own: RefCell::default(),
            lossy: RefCell::default(),
            unread: RefCell::default(),
            paused: Cell::new(false),
        })
    }

    pub(crate) fn owe(&self) {
        self.owed.set(self.owed.get() + 1);
    }

    pub(crate) fn paid(&self) {
        self.owed.set(self.owed.get() - 1);
        if self.owed.get() == 0 {
            self.outbox.wake();
        }
    }

    /// Refuses a result that is too large, or one too many that nobody reads.
    pub(crate) fn has_room_for(&self, bytes: usize) -> Result<(), Error> {
        let limits = &self.service.limits;
        if bytes > limits.max_response {
            Err(Error::response_too_large(limits.max_response))
        } else if bytes > SMALL && self.service.unread.get() + bytes > limits.max_unread {
            Err(Error::overloaded_unread(limits.max_unread))
        } else {
            Ok(())
        }
    }

    /// Refuses a partial result where too much is unread, unless this connection reads what it is sent.
    pub(crate) fn has_room_for_item(&self, bytes: usize) -> Result<(), Error> {
        let limit = self.service.limits.max_unread;
        let reads = bytes <= SMALL && self.outbox.len() <= LOW;
        if reads || self.service.unread.get() + bytes <= limit {
            Ok(())
        } else {
            Err(Error::overloaded_unread(limit))
        }
    }

    /// Refuses one call too many.
    pub(crate) fn may_call(&self) -> Result<(), Error> {
        let limit = self.service.limits.max_in_flight;
        if self.calls.get() >= limit {
            Err(Error::overloaded_connection(limit))
        } else {
            Ok(())
        }
    }

    /// Whether its calls, the one to be made among them, are so few that it gets them though the table is full.
    pub(crate) fn has_few_calls(&self) -> bool {
        self.calls.get() <= FEW_CALLS
    }

    pub(crate) fn call_begins(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    pub(crate) fn call_ends(&self) {
        self.calls.set(self.calls.get() - 1);
    }

    /// Whether a connection that asks nothing more can be closed: all is answered, and no subscription is left.
    pub fn is_done(&self) -> bool {
        self.owed.get() == 0 && self.own.borrow().is_empty() && self.lossy.borrow().is_empty()
    }

    /// Whether all is answered, whatever is subscribed to.
    pub fn is_answered(&self) -> bool {
        self.owed.get() == 0
    }

    /// Whether nothing more is to be read from it now: it does not read its answers.
    pub fn is_stalled(&self) -> bool {
        self.outbox.len() >= HIGH
    }

    /// Refuses one subscription too many.
    pub(crate) fn subscribe(&self) -> Result<u64, Error> {
        let count = self.streams.borrow().len() + self.own.borrow().len() + self.lossy.borrow().len();
        let limit = self.service.limits.max_subscriptions;
        if count >= limit {
            Err(Error::too_many_subscriptions(limit))
        } else {
            Ok(self.service.next_id())
        }
    }

    /// Likewise, of those that may lose events.
    pub(crate) fn subscribe_lossy(&self) -> Result<u64, Error> {
        let limit = self.service.limits.max_lossy;
        if self.lossy.borrow().len() >= limit {
            return Err(Error::too_many_subscriptions(limit));
        }
        self.subscribe()
    }

    /// An item of this call was put into the outbox.
    pub(crate) fn sent_item(&self, call: CallId, cost: u64) {
        let mut unread = self.unread.borrow_mut();
        match unread.last_mut() {
            Some((last, sum)) if *last == call => *sum += cost,
            _ => unread.push((call, cost)),
        }
    }

    /// To be called whenever something of the outbox has been written: what waits for room gets it.
    pub fn written(&self) {
        let waiting = self.outbox.len();
        if waiting >= HIGH {
            if !self.paused.replace(true) {
                self.service.backend.pause(self.id);
            }
            return;
        }
        if waiting > LOW {
            return;
        }
        if self.paused.replace(false) {
            self.service.backend.resume(self.id);
        }
        for (call, cost) in self.unread.take() {
            self.service.backend.credit(call, 0, cost);
        }
        for lossy in self.lossy.borrow().iter() {
            lossy.flush(&self.outbox, &self.service.logs);
        }
    }

    /// The connection is gone: nothing it asked for is of use any more.
    pub fn gone(&self) {
        if self.outbox.is_closed() {
            return;
        }
        self.outbox.close();
        let own = self.own.take();
        let open = &self.service.metrics.own;
        open.set(open.get() - own.len());
        for lossy in self.lossy.take() {
            lossy.end();
        }
        self.service.backend.owner_gone(self.id);
        self.open_windows();
        for (call, cost) in self.unread.take() {
            self.service.backend.credit(call, 0, cost);
        }
        self.service
            .connections
            .set(self.service.connections.get() - self.counts);
    }

    /// Streams that are to end by themselves don't wait for a client that is gone.
    fn open_windows(&self) {
        let windowed = |stream: &Stream| stream.call.filter(|_| stream.windowed);
        let left: Vec<_> = self.streams.borrow().values().filter_map(windowed).collect();
        for call in left {
            self.service.backend.credit(call, WINDOW_ITEMS, 0);
        }
    }
}
