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
//! The table does no I/O. It writes what Python is to be told into buffers, which the worker takes.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use baskd_protocol::error::{CancelledBy, Error, Where};
use serde_json::value::RawValue;

use super::methods::Methods;
use super::page::{Page, SLOT_BITS, SLOTS, slot_of};
use super::queue::Queue;
use super::wire;
use super::{CallId, Item, NewCall, Outcome, Sink, Taken};

/// How many calls may be with Python without having begun. Enough that Python never waits for the daemon, few enough
/// that a flood of one client is not before another's first call.
const AHEAD: usize = 64;
/// How many bytes may wait for Python's pipe before nothing more is taken from the queue.
const MAX_OUT: usize = 256 << 10;
/// How many bytes of partial results a call may send beyond what its client has taken.
pub(crate) const WINDOW_BYTES: u64 = 256 << 10;
/// The count of items is not limited unless the client says so.
pub(crate) const WINDOW_ITEMS: u64 = 1 << 40;

pub(crate) struct Calls {
    slots: Vec<Option<Call>>,
    free: Vec<usize>,
    next_number: u64,
    max_calls: usize,
    queue: Queue,
    queued: usize,
    /// Sent calls that are not known to have begun, oldest first.
    ahead: VecDeque<CallId>,
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
    method: Rc<str>,
    params: Option<Box<str>>,
    window: Option<u64>,
    /// None once the call is answered.
    sink: Option<Box<dyn Sink>>,
    sent: bool,
    accepted: bool,
    has_sent_items: bool,
    tries: u8,
    flow: Flow,
    property: Option<Property>,
    /// When it was sent, and when it was abandoned.
    since: Instant,
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
    pub(crate) sink: Box<dyn Sink>,
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
    pub(crate) method: Rc<str>,
    pub(crate) age: Duration,
}

impl Calls {
    pub(crate) fn new(max_calls: usize) -> Calls {
        Calls {
            slots: Vec::new(),
            free: Vec::new(),
            next_number: 1,
            max_calls: max_calls.min(SLOTS),
            queue: Queue::default(),
            queued: 0,
            ahead: VecDeque::new(),
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

    // What clients ask for.

    /// Takes a call in, or answers it at once where it can't be taken.
    pub(crate) fn submit(&mut self, new: NewCall<'_>) -> Option<CallId> {
        let refusal = match &self.gate {
            Gate::Closed(error) | Gate::Finishing(error) => Some(error.clone()),
            Gate::Open | Gate::Hold { .. } => None,
        };
        let known = self.methods.as_ref().map(|methods| methods.find(new.method));
        let refusal = refusal
            .or_else(|| known.as_ref().and_then(|found| found.as_ref().err().cloned()))
            .or_else(|| (self.queued + self.sent >= self.max_calls).then(|| Error::overloaded(self.max_calls)));
        if let Some(error) = refusal {
            new.sink.end(Outcome::Error(&error.to_json()));
            return None;
        }
        let mut sink = new.sink;
        let known = known.and_then(Result::ok);
        let accepted = known.is_some();
        if accepted {
            sink.accepted();
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let id = (self.next_number << SLOT_BITS) | slot as u64;
        self.next_number += 1;
        self.slots[slot] = Some(Call {
            id,
            owner: new.owner,
            method: known.unwrap_or_else(|| new.method.into()),
            params: new.params.map(Into::into),
            window: new.window,
            sink: Some(sink),
            sent: false,
            accepted,
            has_sent_items: false,
            tries: 0,
            flow: Flow::default(),
            property: if new.method == "setProperty" {
                new.params.and_then(Property::read)
            } else {
                None
            },
            since: Instant::now(),
        });
        self.queued += 1;
        self.queue.push(new.owner, id);
        Some(id)
    }

    /// The call of this owner whose sink bears this tag (the client's own id).
    pub(crate) fn find(&self, owner: u64, tag: &str) -> Option<CallId> {
        let is_it =
            |call: &&Call| call.owner == owner && call.sink.as_ref().is_some_and(|sink| sink.tag() == Some(tag));
        self.slots.iter().flatten().find(is_it).map(|call| call.id)
    }

    /// Answers a call `Cancelled`, and has Python leave it if it had been sent. False if it has ended.
    pub(crate) fn cancel(&mut self, id: CallId, by: CancelledBy, page: Option<&Page>) -> bool {
        self.abandon(id, page, |_| Error::cancelled(by).to_json())
    }

    /// Answers a call `TimedOut`, likewise.
    pub(crate) fn expire(&mut self, id: CallId, page: Option<&Page>) -> bool {
        let starting = matches!(self.gate, Gate::Hold { starting: true });
        self.abandon(id, page, |call| {
            Error::timed_out(match call.sent {
                true if page.is_some_and(|page| page.has_begun(id)) => Where::Running,
                false if starting => Where::Starting,
                _ => Where::Queued,
            })
            .to_json()
        })
    }

    /// Cancels what an owner that is gone has asked for, but for its notifications, which nobody waits for anyway.
    pub(crate) fn owner_gone(&mut self, owner: u64, page: Option<&Page>) {
        let is_its =
            |call: &&Call| call.owner == owner && call.sink.as_ref().is_some_and(|sink| sink.ends_with_its_owner());
        let ids: Vec<_> = self.slots.iter().flatten().filter(is_its).map(|call| call.id).collect();
        for id in ids {
            self.cancel(id, CancelledBy::Disconnect, page);
        }
        self.queue.resume(owner);
    }

    /// Answers a call with this error, and has Python leave it.
    pub(crate) fn end_with(&mut self, id: CallId, error: &[u8], page: Option<&Page>) -> bool {
        self.abandon(id, page, |_| error.into())
    }

    fn abandon(&mut self, id: CallId, page: Option<&Page>, why: impl FnOnce(&Call) -> Vec<u8>) -> bool {
        let Some(call) = self.get(id) else { return false };
        let error = why(call);
        let Some(sink) = call.sink.take() else { return false };
        if call.sent {
            call.since = Instant::now();
            self.abandoned += 1;
            if let Some(page) = page {
                page.mark_cancelled(id);
            }
            wire::push_cancel(&mut self.control, id);
            self.interrupt = true;
        } else {
            // Its place in the queue is skipped when it is met: the id is nobody's any more.
            self.queued -= 1;
            self.release(id);
        }
        sink.end(Outcome::Error(&error));
        true
    }

    /// A client has taken so much of what a call sent, or allows so many more items.
    pub(crate) fn credit(&mut self, id: CallId, items: u64, bytes: u64) {
        let Some(call) = self.get(id) else { return };
        let flow = &mut call.flow;
        flow.outstanding = flow.outstanding.saturating_sub(bytes);
        flow.to_return += bytes;
        if (items > 0 || flow.to_return >= WINDOW_BYTES / 2) && call.sent {
            let bytes = std::mem::take(&mut flow.to_return);
            flow.full_since = None;
            wire::push_more(&mut self.control, id, items, bytes);
        } else if items > 0 {
            call.window = call.window.map(|window| window.saturating_add(items));
        }
    }

    pub(crate) fn pause(&mut self, owner: u64) {
        self.queue.pause(owner);
    }

    pub(crate) fn resume(&mut self, owner: u64) {
        self.queue.resume(owner);
    }

    // What the supervisor says.

    pub(crate) fn set_gate(&mut self, gate: Gate) {
        if let Gate::Closed(error) = &gate {
            let error = error.to_json();
            self.end_queued(&error);
        }
        self.gate = gate;
    }

    /// A process is ready: calls that came before any was are accepted now, or refused.
    pub(crate) fn ready(&mut self, methods: Rc<Methods>) {
        for slot in 0..self.slots.len() {
            let Some(call) = &mut self.slots[slot] else { continue };
            if call.sent || call.sink.is_none() {
                continue;
            }
            match methods.find(&call.method) {
                Ok(name) => {
                    call.method = name;
                    if !std::mem::replace(&mut call.accepted, true)
                        && let Some(sink) = &mut call.sink
                    {
                        sink.accepted();
                    }
                }
                Err(error) => {
                    let id = call.id;
                    self.queued -= 1;
                    if let Some(sink) = self.release(id) {
                        sink.end(Outcome::Error(&error.to_json()));
                    }
                }
            }
        }
        self.methods = Some(methods);
        self.gate = Gate::Open;
        self.answered = 0;
    }

    /// The process that had the sent calls is gone.
    pub(crate) fn died(&mut self, page: &Page, death: &Death<'_>) {
        let mut ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.sent)
            .map(|call| call.id)
            .collect();
        // The last goes back first, so that the first ends up at the head of the queue.
        ids.sort_unstable_by(|a, b| b.cmp(a));
        for id in ids {
            let begun = page.has_begun(id);
            let idempotent = self
                .methods
                .as_ref()
                .is_some_and(|methods| self.peek(id).is_some_and(|call| methods.is_idempotent(&call.method)));
            let Some(call) = self.get(id) else { continue };
            call.tries += 1;
            let again = call.tries < 2 && (!begun || (idempotent && !call.has_sent_items));
            if call.sink.is_some() && again {
                call.sent = false;
                call.flow = Flow::default();
                let owner = call.owner;
                self.queue.push_front(owner, id);
                self.queued += 1;
            } else if let Some(sink) = self.release(id) {
                let error = Error::backend_crashed(begun, death.how, death.exit.clone(), death.stderr);
                sink.end(Outcome::Error(&error.to_json()));
            }
        }
        self.sent = 0;
        self.abandoned = 0;
        self.ahead.clear();
        self.control.clear();
        self.interrupt = false;
    }

    /// Cancels what Python has.
    pub(crate) fn cancel_sent(&mut self, by: CancelledBy, page: &Page) {
        let ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.sent)
            .map(|call| call.id)
            .collect();
        for id in ids {
            self.cancel(id, by, Some(page));
        }
    }

    /// Cancels all there is.
    pub(crate) fn end_all(&mut self, by: CancelledBy, page: Option<&Page>) {
        let ids: Vec<_> = self.slots.iter().flatten().map(|call| call.id).collect();
        for id in ids {
            self.cancel(id, by, page);
        }
    }

    fn end_queued(&mut self, error: &[u8]) {
        let ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| !call.sent)
            .map(|call| call.id)
            .collect();
        for id in ids {
            self.queued -= 1;
            if let Some(sink) = self.release(id) {
                sink.end(Outcome::Error(error));
            }
        }
    }

    // What the worker does.

    /// Writes as many calls as may be sent now, after what does not wait its turn.
    pub(crate) fn fill(&mut self, page: &Page, out: &mut Vec<u8>) {
        out.append(&mut self.control);
        if !matches!(self.gate, Gate::Open | Gate::Finishing(_)) || self.queued == 0 {
            return;
        }
        self.forget_begun(page);
        let now = Instant::now();
        while self.ahead.len() < AHEAD && out.len() < MAX_OUT {
            let Some(id) = self.queue.pop() else { break };
            let Some(call) = self.get(id) else { continue };
            let window = call.window.map(|items| (items, WINDOW_BYTES));
            wire::push_call(out, id, &call.method, call.params.as_deref(), window);
            call.sent = true;
            call.since = now;
            self.queued -= 1;
            self.sent += 1;
            self.ahead.push_back(id);
        }
    }

    fn forget_begun(&mut self, page: &Page) {
        while let Some(first) = self.ahead.front() {
            if self.peek(*first).is_some() && !page.has_begun(*first) {
                break;
            }
            self.ahead.pop_front();
        }
    }

    /// Whether Python is to be signalled, asked once.
    pub(crate) fn take_interrupt(&mut self) -> bool {
        std::mem::take(&mut self.interrupt)
    }

    pub(crate) fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// The answer to a call. False if no such call is with Python.
    pub(crate) fn reply(&mut self, id: CallId, outcome: Outcome<'_>) -> bool {
        if !self.peek(id).is_some_and(|call| call.sent) {
            return false;
        }
        self.answered += 1;
        self.sent -= 1;
        let Some(mut call) = self.slots[slot_of(id)].take() else {
            return false;
        };
        self.free.push(slot_of(id));
        match (call.sink.take(), call.property.take(), outcome) {
            (None, ..) => self.abandoned -= 1,
            (Some(sink), Some(property), Outcome::Result(result)) => self.held.push(Held {
                property,
                sink,
                result: result.into(),
            }),
            (Some(sink), _, outcome) => sink.end(outcome),
        }
        true
    }

    /// A partial result of a call, whose line was so long.
    pub(crate) fn item(&mut self, id: CallId, data: &[u8], cost: u64) -> bool {
        let Some(call) = self.get(id) else { return false };
        let Some(sink) = &mut call.sink else { return call.sent };
        call.has_sent_items = true;
        let taken = sink.item(Item {
            call: id,
            number: id >> SLOT_BITS,
            method: &call.method,
            data,
            cost,
        });
        call.flow.outstanding += cost;
        // What was taken and not told to Python yet is as good as not taken, to a `send()` that waits.
        if call.flow.outstanding + call.flow.to_return >= WINDOW_BYTES && call.flow.full_since.is_none() {
            call.flow.full_since = Some(Instant::now());
            self.some_full = true;
        }
        if matches!(taken, Taken::Now) {
            self.credit(id, 0, cost);
        }
        true
    }

    /// Whether [`Calls::tend`] may have something to do.
    pub(crate) fn needs_tending(&self) -> bool {
        self.abandoned > 0 || self.some_full
    }

    /// Ends plain calls whose `send()` has waited too long for its reader. True if Python itself has to go: a call that
    /// was cancelled `kill_grace` ago still runs, and others wait for it.
    pub(crate) fn tend(&mut self, page: &Page, stall: Duration, kill_grace: Duration) -> bool {
        let now = Instant::now();
        let methods = self.methods.clone();
        let is_plain = |call: &Call| methods.as_ref().is_some_and(|methods| methods.is_plain(&call.method));
        let stalled = |call: &&Call| {
            call.sink.is_some() && call.flow.full_since.is_some_and(|since| now - since >= stall) && is_plain(call)
        };
        let ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(stalled)
            .map(|call| call.id)
            .collect();
        for id in ids {
            self.cancel(id, CancelledBy::SlowReader, Some(page));
        }
        self.some_full = self
            .slots
            .iter()
            .flatten()
            .any(|call| call.sink.is_some() && call.flow.full_since.is_some());
        if self.abandoned == 0 {
            return false;
        }
        self.forget_begun(page);
        let others_wait = self.queued > 0 || !self.ahead.is_empty();
        let overdue =
            |call: &Call| call.sent && call.sink.is_none() && now - call.since >= kill_grace && page.has_begun(call.id);
        others_wait && self.slots.iter().flatten().any(overdue)
    }

    // What there is.

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

    fn release(&mut self, id: CallId) -> Option<Box<dyn Sink>> {
        self.peek(id)?;
        let call = self.slots[slot_of(id)].take()?;
        self.free.push(slot_of(id));
        call.sink
    }
}

impl Property {
    /// The name and value in the params of a `setProperty`; None where Python will refuse them anyway.
    fn read(params: &str) -> Option<Property> {
        #[derive(serde::Deserialize)]
        struct Named {
            name: String,
            value: Box<RawValue>,
        }
        let (name, value) = if params.starts_with('[') {
            serde_json::from_str(params).ok()?
        } else {
            let Named { name, value } = serde_json::from_str(params).ok()?;
            (name, value)
        };
        Some(Property { name, value })
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
