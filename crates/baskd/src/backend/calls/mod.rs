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
//! Each worker has a [`Place`], and each process a [`Seat`]: the one that serves a worker's place, and others beside it
//! that are about to, or that end what they were sent. A call goes to the worker that has the fewest; a `setProperty` goes
//! to all, and is answered when all have answered. Only so many calls are sent ahead of what a worker has begun; the rest
//! wait in the [`Queue`], where owners take turns and where a cancelled call costs nothing.
//!
//! [`clients`] is what clients ask of the table, [`life`] what happens when processes come and go, [`traffic`] what the
//! workers move, [`told`] what is told of calls under way. The table does no I/O. It writes what Python is to be told into buffers, which the workers take.

mod clients;
mod life;
mod property;
mod seat;
mod told;
mod traffic;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use baskd_protocol::error::Error;

use super::methods::{Known, Methods};
use super::metrics::{Buckets, Counted};
use super::page::{CLIENTS_SLOTS, slot_of};
use super::queue::Queue;
use super::{Affinity, CallId, Outcome, Sink};
pub(crate) use property::{Held, Property};
use seat::Seat;
pub(crate) use told::UnderWay;
pub(crate) use traffic::Reply;

/// How many workers there can be.
pub const MAX_WORKERS: usize = 64;
/// A set of seats, as bits.
pub(crate) type Seats = u128;
/// How many processes there can be at once.
const MAX_SEATS: usize = Seats::BITS as usize;
/// Whose calls the daemon's own are.
const OWN: u64 = 0;
/// How many bytes of partial results a call may send beyond what its client has taken.
pub(crate) const WINDOW_BYTES: u64 = 64 << 10;
/// The count of items is not limited unless the client says so.
pub(crate) const WINDOW_ITEMS: u64 = 1 << 40;

pub(crate) struct Calls {
    slots: Vec<Option<Call>>,
    free: Vec<usize>,
    next_number: u64,
    /// How many of the numbers were the daemon's own.
    own: u64,
    max_queue: usize,
    /// Bytes of params in the table, and how many there may be.
    params_bytes: usize,
    max_params_bytes: usize,
    /// Properties that calls in the table may set, and their bytes.
    properties: (usize, usize),
    /// One for all workers; or, where owners have homes, one for each.
    lines: Vec<Line>,
    /// The only worker of each owner, where it has one.
    homes: Option<HashMap<u64, usize>>,
    queued: usize,
    /// At most so many in the queues have been cancelled there.
    cancelled_in_queue: usize,
    /// By worker.
    places: Vec<Place>,
    seats: Vec<Seat>,
    /// How many seats are left by their processes: once these have answered, somebody wants to know.
    leaving: usize,
    /// The seats that have something to write.
    wakes: Seats,
    /// Calls that some worker has, and those of them that are abandoned.
    sent: usize,
    abandoned: usize,
    pub(crate) methods: Option<Rc<Methods>>,
    held: Vec<Held>,
    /// Some call may have used up its window.
    some_full: bool,
    /// By method.
    pub(crate) counted: Counted,
    /// How long calls have waited in the daemon before they were sent.
    pub(crate) waited: Buckets,
    /// Whether sinks are told how their calls ran.
    pub(crate) tells_ran: bool,
}

/// Calls that wait for a worker.
struct Line {
    main: Queue,
    /// Those that wait for a thread of their own.
    beside: Queue,
}

/// A worker as the calls see it.
struct Place {
    gate: Gate,
    /// Of the process that serves.
    seat: Option<usize>,
    /// How many owners have their home here.
    owners: usize,
}

/// What one worker does with new and queued calls. Calls wait as long as any is open or on hold.
#[derive(Debug, Clone)]
pub(crate) enum Gate {
    /// They go to it.
    Open,
    /// Those there are go to it; new ones are answered so.
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
    /// The seats of the processes that have it.
    on: Seats,
    accepted: bool,
    has_sent_items: bool,
    /// Whether it had begun in a process that died.
    has_run: bool,
    tries: u8,
    flow: Flow,
    property: Option<Property>,
    /// What came of it at some of the workers that it was sent to.
    parts: Option<Box<Parts>>,
    came: Instant,
    /// When it was sent, or abandoned: whichever was last.
    since: Instant,
    /// When it began, as far as that is known, in the process that is done with it.
    began: Option<Instant>,
}

/// What came of a call that every worker was sent: one result, and the first error.
#[derive(Default)]
struct Parts {
    result: Option<Vec<u8>>,
    error: Option<Vec<u8>>,
}

/// The bytes of partial results that a call's client has not taken yet, and those that it has but Python was not told
/// of.
#[derive(Default)]
struct Flow {
    outstanding: u64,
    to_return: u64,
    full_since: Option<Instant>,
}

/// How a process died, for the answers of the calls it had begun.
pub(crate) struct Death<'a> {
    pub(crate) how: &'a str,
    pub(crate) exit: serde_json::Value,
    pub(crate) stderr: &'a [String],
    /// How old the state is that the next process gets, if there is any.
    pub(crate) snapshot_age: Option<Duration>,
}

impl Calls {
    /// `max_params_bytes`: of all calls together.
    pub(crate) fn new(workers: usize, affinity: Affinity, max_queue: usize, max_params_bytes: usize) -> Calls {
        let workers = workers.clamp(1, MAX_WORKERS);
        let homes = (affinity == Affinity::Connection && workers > 1).then(HashMap::new);
        let lines = if homes.is_some() { workers } else { 1 };
        Calls {
            slots: Vec::new(),
            free: Vec::new(),
            next_number: 1,
            own: 0,
            max_queue: max_queue.min(CLIENTS_SLOTS),
            params_bytes: 0,
            max_params_bytes,
            properties: (0, 0),
            lines: (0..lines).map(|_| Line::new()).collect(),
            homes,
            queued: 0,
            cancelled_in_queue: 0,
            places: (0..workers).map(|_| Place::new()).collect(),
            seats: (0..seats_for(workers)).map(|_| Seat::new()).collect(),
            leaving: 0,
            wakes: 0,
            sent: 0,
            abandoned: 0,
            methods: None,
            held: Vec::new(),
            some_full: false,
            counted: Counted::default(),
            waited: Buckets::default(),
            tells_ran: false,
        }
    }

    /// What new calls are answered, where none is taken.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let mut refusal = None;
        for place in &self.places {
            match &place.gate {
                Gate::Open | Gate::Hold { .. } => return None,
                Gate::Finishing(error) => refusal = Some(error),
                Gate::Closed(error) => refusal = refusal.or(Some(error)),
            }
        }
        refusal.cloned()
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

    /// Whether somebody may wait for this: nothing is to be answered, or a process is left to end what it has.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.leaving > 0 || self.is_idle()
    }

    /// Whether this process has nothing to do.
    pub(crate) fn nothing_sent(&self, seat: usize) -> bool {
        self.seats[seat].sent == 0
    }

    /// Whether calls that begin elsewhere from now on come after those that this process was sent: each of these has
    /// begun, and those that have the main thread from begin to end have ended.
    pub(crate) fn is_settled(&mut self, seat: usize) -> bool {
        self.forget_begun(seat);
        self.seats[seat].is_settled()
    }

    /// Whether all that this process was sent ends soon, as far as one can tell: plain calls.
    pub(crate) fn has_only_plain(&self, seat: usize) -> bool {
        let mut calls = self.slots.iter().flatten().filter(|call| call.is_on(seat));
        calls.all(|call| call.method.has_main_thread())
    }

    /// How long nobody has waited for anything that this process still has. None if somebody does, or if it has nothing.
    pub(crate) fn abandoned_for(&self, seat: usize) -> Option<Duration> {
        let mut ages = Vec::new();
        for call in self.slots.iter().flatten().filter(|call| call.is_on(seat)) {
            if call.sink.is_some() {
                return None;
            }
            ages.push(call.since.elapsed());
        }
        ages.into_iter().min()
    }

    /// How many more processes there can be.
    pub(crate) fn free_seats(&self) -> usize {
        self.seats.iter().filter(|seat| seat.page.is_none()).count()
    }

    /// Whether this process has begun this call.
    pub(crate) fn has_begun(&self, seat: usize, id: CallId) -> bool {
        self.seats[seat].has_begun(id)
    }

    /// Whether this process serves a worker's place.
    pub(crate) fn serves(&self, seat: usize) -> bool {
        self.places[self.seats[seat].worker].seat == Some(seat)
    }

    /// How many calls of clients this process has answered.
    pub(crate) fn answered(&self, seat: usize) -> u64 {
        self.seats[seat].answered
    }

    /// How many calls of clients there were in all.
    pub(crate) fn total(&self) -> u64 {
        self.next_number - 1 - self.own
    }

    /// The seats that have something to write, asked once.
    pub(crate) fn take_wakes(&mut self) -> Seats {
        std::mem::take(&mut self.wakes)
    }

    /// Where calls of this owner wait.
    fn line_of(&mut self, owner: u64) -> usize {
        let Some(homes) = &self.homes else { return 0 };
        if let Some(home) = homes.get(&owner) {
            return *home;
        }
        let home = self.best_home();
        if let Some(homes) = &mut self.homes {
            homes.insert(owner, home);
        }
        self.places[home].owners += 1;
        home
    }

    /// The worker that can be had and is home to the fewest.
    fn best_home(&self) -> usize {
        let closed = |place: &Place| matches!(place.gate, Gate::Closed(_));
        let places = self.places.iter().enumerate();
        places
            .min_by_key(|(_, place)| (closed(place), place.owners))
            .map_or(0, |(at, _)| at)
    }

    /// The seat of the process that takes this worker's calls from the queue now.
    fn open_seat(&self, worker: usize) -> Option<usize> {
        let place = &self.places[worker];
        place
            .seat
            .filter(|_| matches!(place.gate, Gate::Open | Gate::Finishing(_)))
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

impl Place {
    fn new() -> Place {
        Place {
            gate: Gate::Hold { starting: true },
            seat: None,
            owners: 0,
        }
    }
}

impl Call {
    /// Whether any process has it.
    fn is_sent(&self) -> bool {
        self.on != 0
    }

    /// Whether it is the daemon's own, which no client counts.
    fn is_own(&self) -> bool {
        self.owner == OWN
    }

    fn is_on(&self, seat: usize) -> bool {
        self.on & bit(seat) != 0
    }

    fn keep_part(&mut self, outcome: Outcome<'_>) {
        let parts = self.parts.get_or_insert_default();
        match outcome {
            Outcome::Result(result) => drop(parts.result.get_or_insert_with(|| result.into())),
            Outcome::Error(error) => drop(parts.error.get_or_insert_with(|| error.into())),
        }
    }
}

impl Line {
    fn new() -> Line {
        Line {
            main: Queue::default(),
            beside: Queue::passing(),
        }
    }

    fn queues(&mut self) -> [&mut Queue; 2] {
        [&mut self.main, &mut self.beside]
    }
}

/// How many seats there are for so many workers: for each one that serves, one that will, one that has; and a standby.
pub(crate) fn seats_for(workers: usize) -> usize {
    (3 * workers.clamp(1, MAX_WORKERS) + 1).min(MAX_SEATS)
}

fn bit(seat: usize) -> Seats {
    1 << seat
}

/// The seats of a set.
pub(crate) fn bits(mut set: Seats) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let seat = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (seat < MAX_SEATS).then_some(seat)
    })
}

#[cfg(test)]
mod tests;
