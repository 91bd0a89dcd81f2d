//! What the worker moves: calls to Python, and back what comes of them.

use std::time::{Duration, Instant};

use baskd_protocol::error::CancelledBy;

use super::super::page::{Page, SLOT_BITS};
use super::super::{CallId, Item, Outcome, Taken, wire};
use super::{AHEAD, AHEAD_BYTES, Ahead, Call, Calls, Gate, Held, MAX_OUT, WINDOW_BYTES};

/// A call that has waited so long to begin is held up by something.
const HELD_UP: Duration = Duration::from_secs(1);

impl Calls {
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
            let Some(call) = self.peek(id) else { continue };
            let (owner, expected) = (call.owner, call.method.expected_bytes());
            if call.method.is_concurrent {
                // It waits for a thread, in a line of its own: there it is in no other call's way.
                self.beside.push(owner, id);
            } else if self.ahead.is_empty() || self.ahead_bytes + expected <= AHEAD_BYTES {
                self.send(id, out, now);
                self.ahead.push_back(Ahead { id, expected });
                self.ahead_bytes += expected;
            } else {
                self.queue.push_front(owner, id);
                break;
            }
        }
        while self.beside_sent < AHEAD && out.len() < MAX_OUT {
            let Some(id) = self.beside.pop() else { break };
            let Some(call) = self.get(id) else { continue };
            call.is_beside = true;
            self.beside_sent += 1;
            self.send(id, out, now);
        }
    }

    fn send(&mut self, id: CallId, out: &mut Vec<u8>, now: Instant) {
        let Some(call) = self.get(id) else { return };
        let window = call.window.map(|items| (items, WINDOW_BYTES));
        wire::push_call(out, id, &call.method.name, call.params.as_deref(), window);
        call.sent = true;
        call.since = now;
        self.queued -= 1;
        self.sent += 1;
    }

    pub(super) fn forget_begun(&mut self, page: &Page) {
        while let Some(first) = self.ahead.front() {
            if self.peek(first.id).is_some() && !page.has_begun(first.id) {
                break;
            }
            self.ahead_bytes -= first.expected;
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
        let Some(mut call) = self.take(id) else { return false };
        if let Outcome::Result(result) = outcome {
            call.method.gave(result.len());
        }
        let sink = call.sink.take();
        self.abandoned -= usize::from(sink.is_none());
        match (call.property.take(), outcome) {
            // Also if nobody waits for it any more: it was set.
            (Some(property), Outcome::Result(result)) => self.held.push(Held {
                property,
                sink,
                result: result.into(),
            }),
            (_, outcome) => {
                if let Some(sink) = sink {
                    sink.end(outcome);
                }
            }
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
            method: &call.method.name,
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
    /// was cancelled `kill_grace` ago still has the main thread, and others wait for that.
    pub(crate) fn tend(&mut self, page: &Page, stall: Duration, kill_grace: Duration) -> bool {
        let now = Instant::now();
        let full_for = |call: &Call| {
            call.flow
                .full_since
                .filter(|_| call.sink.is_some())
                .map(|since| now - since)
        };
        let calls = self.slots.iter().flatten();
        let stalled =
            calls.filter(|call| full_for(call).is_some_and(|full| full >= stall) && call.method.waits_in_send());
        for id in stalled.map(|call| call.id).collect::<Vec<_>>() {
            self.cancel(id, CancelledBy::SlowReader, Some(page));
        }
        self.some_full = self.slots.iter().flatten().any(|call| full_for(call).is_some());
        self.abandoned > 0 && self.is_held_up(page, now, kill_grace)
    }

    /// Whether a cancelled call is what keeps others from beginning: not if it is in a thread, nor if another call that
    /// nobody has cancelled has the main thread.
    fn is_held_up(&mut self, page: &Page, now: Instant, kill_grace: Duration) -> bool {
        self.forget_begun(page);
        let first = self.ahead.front().and_then(|ahead| self.peek(ahead.id));
        let waits = first.is_some_and(|call| now - call.since >= HELD_UP.min(kill_grace));
        let mut overdue = false;
        for call in self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.sent && page.has_begun(call.id))
        {
            if call.sink.is_some() && call.method.has_main_thread() {
                return false;
            }
            overdue |= call.sink.is_none() && now - call.since >= kill_grace && !call.method.is_concurrent;
        }
        waits && overdue
    }
}
