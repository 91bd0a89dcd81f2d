//! The table of calls: every call from its submission to its one answer.
//!
//! # Theory of operation
//!
//! A call is *queued*, then *sent* to Python, and leaves the table with its answer. Whether a sent call has *begun* is
//! not guessed: the router marks it in the shared [`Page`], which outlives the process. When the process dies, begun
//! calls are answered `BackendCrashed`, and the others go back to the head of the queue for the next process.
//!
//! A cancelled call that was sent is answered at once and stays in its slot, *abandoned*, until Python is done with it:
//! its slot is not used again before, so a late reply can't be taken for another call's.
//!
//! Only so many calls are sent ahead of what Python has begun ([`AHEAD`]); the rest wait in the [`Queue`], where owners
//! take turns and where a cancelled call costs nothing.
//!
//! [`clients`] is what clients ask of the table, [`life`] what happens when processes come and go, [`traffic`] what the
//! worker moves. The table does no I/O. It writes what Python is to be told into buffers, which the worker takes.

mod clients;
mod life;
mod traffic;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use baskd_protocol::error::Error;
use baskd_protocol::request::unquote;
use serde_json::value::RawValue;

use super::methods::{Known, Methods};
use super::page::{Page, SLOT_BITS, SLOTS, slot_of};
use super::queue::Queue;
use super::{CallId, Outcome, Sink};

/// How many calls may be with Python without having begun. Enough that Python never waits for the daemon, few enough
/// that a flood of one client is not before another's first call.
const AHEAD: usize = 64;
/// How many bytes the results of those calls may be expected to have: they are kept if their client does not read.
const AHEAD_BYTES: usize = 16 << 20;
/// How many bytes may wait for Python's pipe before nothing more is taken from the queue.
const MAX_OUT: usize = 256 << 10;
/// How many bytes of partial results a call may send beyond what its client has taken.
pub(crate) const WINDOW_BYTES: u64 = 64 << 10;
/// The count of items is not limited unless the client says so.
pub(crate) const WINDOW_ITEMS: u64 = 1 << 40;

pub(crate) struct Calls {
    slots: Vec<Option<Call>>,
    free: Vec<usize>,
    next_number: u64,
    max_calls: usize,
    /// Bytes of params in the table, and how many there may be.
    params_bytes: usize,
    max_params_bytes: usize,
    /// Properties that calls in the table may set, and their bytes.
    properties: (usize, usize),
    queue: Queue,
    /// Those that wait for a thread of their own, and how many of them are with Python.
    beside: Queue,
    beside_sent: usize,
    queued: usize,
    /// At most so many in the queues have been cancelled there.
    cancelled_in_queue: usize,
    /// Sent calls that are not known to have begun, oldest first.
    ahead: VecDeque<Ahead>,
    ahead_bytes: usize,
    sent: usize,
    abandoned: usize,
    gate: Gate,
    pub(crate) methods: Option<Rc<Methods>>,
    /// Lines for Python that do not wait their turn.
    control: Vec<u8>,
    /// Whether a cancelled call may be running: Python is to be signalled.
    interrupt: bool,
    held: Vec<Held>,
    answered: u64,
    /// Some call may have used up its window.
    some_full: bool,
}

/// What happens to new and queued calls.
#[derive(Debug, Clone)]
pub(crate) enum Gate {
    /// They go to Python.
    Open,
    /// Those there are go to Python; new ones are answered so.
    Finishing(Error),
    /// They wait: Python is starting, or draining before a restart.
    Hold { starting: bool },
    /// They are answered so.
    Closed(Error),
}

struct Call {
    id: CallId,
    owner: u64,
    method: Rc<Known>,
    params: Option<Box<str>>,
    window: Option<u64>,
    /// None once the call is answered.
    sink: Option<Box<dyn Sink>>,
    sent: bool,
    is_beside: bool,
    accepted: bool,
    has_sent_items: bool,
    tries: u8,
    flow: Flow,
    property: Option<Property>,
    /// When it was sent, and when it was abandoned.
    since: Instant,
}

/// A call that Python has and has not begun, and how large its result may be.
struct Ahead {
    id: CallId,
    expected: usize,
}

/// The bytes of partial results that a call's client has not taken yet, and those that it has but Python was not told
/// of.
#[derive(Default)]
struct Flow {
    outstanding: u64,
    to_return: u64,
    full_since: Option<Instant>,
}

/// A property that a `setProperty` under way sets.
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) value: Box<RawValue>,
}

/// The answer to a `setProperty`, held until the journal has it.
pub(crate) struct Held {
    pub(crate) property: Property,
    /// None if nobody waits for it any more.
    pub(crate) sink: Option<Box<dyn Sink>>,
    pub(crate) result: Vec<u8>,
}

/// How a process died, for the answers of the calls it had begun.
pub(crate) struct Death<'a> {
    pub(crate) how: &'a str,
    pub(crate) exit: serde_json::Value,
    pub(crate) stderr: &'a [String],
}

/// A call that Python is running now.
pub(crate) struct Running {
    pub(crate) number: u64,
    pub(crate) method: Rc<Known>,
    pub(crate) age: Duration,
}

impl Calls {
    /// `max_params_bytes`: of all calls together.
    pub(crate) fn new(max_calls: usize, max_params_bytes: usize) -> Calls {
        Calls {
            slots: Vec::new(),
            free: Vec::new(),
            next_number: 1,
            max_calls: max_calls.min(SLOTS),
            params_bytes: 0,
            max_params_bytes,
            properties: (0, 0),
            queue: Queue::default(),
            beside: Queue::default(),
            beside_sent: 0,
            queued: 0,
            cancelled_in_queue: 0,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            sent: 0,
            abandoned: 0,
            gate: Gate::Hold { starting: true },
            methods: None,
            control: Vec::new(),
            interrupt: false,
            held: Vec::new(),
            answered: 0,
            some_full: false,
        }
    }

    /// What new calls are answered, where none is taken.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match &self.gate {
            Gate::Closed(error) | Gate::Finishing(error) => Some(error.clone()),
            Gate::Open | Gate::Hold { .. } => None,
        }
    }

    /// How many properties calls in the table may set, and how many bytes those have.
    pub(crate) fn properties(&self) -> (usize, usize) {
        self.properties
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.sent - self.abandoned
    }

    /// Whether this call still waits for its answer, and how many calls do or are abandoned.
    pub(crate) fn is_live(&self, id: CallId) -> bool {
        self.peek(id).is_some_and(|call| call.sink.is_some())
    }

    pub(crate) fn live(&self) -> usize {
        self.queued + self.sent
    }

    /// Whether nothing waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.queued == 0 && self.in_flight() == 0
    }

    /// Whether one of both may be so that waits for it: see `Shared::rest`.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.is_idle() || self.nothing_sent()
    }

    /// Whether Python has nothing to do.
    pub(crate) fn nothing_sent(&self) -> bool {
        self.sent == 0
    }

    /// How many calls the process there is has answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// How many calls there were in all.
    pub(crate) fn total(&self) -> u64 {
        self.next_number - 1
    }

    pub(crate) fn running(&self, page: &Page) -> Vec<Running> {
        let now = Instant::now();
        let begun = self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.sent && page.has_begun(call.id));
        let mut running: Vec<_> = begun
            .map(|call| Running {
                number: call.id >> SLOT_BITS,
                method: call.method.clone(),
                age: now - call.since,
            })
            .collect();
        running.sort_unstable_by_key(|call| call.number);
        running
    }

    fn peek(&self, id: CallId) -> Option<&Call> {
        self.slots.get(slot_of(id))?.as_ref().filter(|call| call.id == id)
    }

    fn get(&mut self, id: CallId) -> Option<&mut Call> {
        self.slots.get_mut(slot_of(id))?.as_mut().filter(|call| call.id == id)
    }

    /// Takes a call out of the table.
    fn take(&mut self, id: CallId) -> Option<Call> {
        self.peek(id)?;
        let call = self.slots[slot_of(id)].take()?;
        self.free.push(slot_of(id));
        self.beside_sent = self.beside_sent.saturating_sub(usize::from(call.is_beside));
        if let Some(property) = &call.property {
            self.properties.0 -= 1;
            self.properties.1 -= property.size();
        }
        self.params_bytes -= call.params.as_ref().map_or(0, |params| params.len());
        Some(call)
    }

    fn release(&mut self, id: CallId) -> Option<Box<dyn Sink>> {
        self.take(id)?.sink
    }
}

impl Held {
    /// Answers, if anybody still waits.
    pub(crate) fn end(self, error: Option<&[u8]>) {
        if let Some(sink) = self.sink {
            sink.end(match error {
                Some(error) => Outcome::Error(error),
                None => Outcome::Result(&self.result),
            });
        }
    }
}

impl Property {
    pub(crate) fn size(&self) -> usize {
        self.name.len() + self.value.get().len()
    }

    /// The name and value in the params of a `setProperty`, read as Python will read them: of members given twice the
    /// last counts. None where they are missing or of another type, which Python refuses; an error for a name that
    /// Python would take, and nothing else could.
    pub(crate) fn read(params: &str) -> Result<Option<Property>, Error> {
        let (name, value) = if params.starts_with('[') {
            match serde_json::from_str::<(&RawValue, Box<RawValue>)>(params) {
                Ok(given) => given,
                Err(_) => return Ok(None),
            }
        } else {
            let Ok(mut given) = serde_json::from_str::<HashMap<String, &RawValue>>(params) else {
                return Err(lone_surrogates());
            };
            match (given.remove("name"), given.remove("value")) {
                (Some(name), Some(value)) => (name, value.to_owned()),
                _ => return Ok(None),
            }
        };
        match unquote(name.get()) {
            Some(name) => Ok(Some(Property {
                name: name.into_owned(),
                value,
            })),
            None if name.get().starts_with('"') => Err(lone_surrogates()),
            None => Ok(None),
        }
    }
}

fn lone_surrogates() -> Error {
    Error::invalid_params("name", "a text without lone surrogates", serde_json::Value::Null)
}

#[cfg(test)]
mod tests;
