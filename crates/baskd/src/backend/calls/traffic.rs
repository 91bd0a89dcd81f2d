//! What the worker moves: calls to Python, and back what comes of them.

use std::time::{Duration, Instant};

use baskd_protocol::error::CancelledBy;

use super::super::page::SLOT_BITS;
use super::super::{CallId, Item, Outcome, Taken, wire};
use super::{Call, Calls, Held, WINDOW_BYTES, bit, bits, slot_of};

/// A call that has waited so long to begin is held up by something.
const HELD_UP: Duration = Duration::from_secs(1);

impl Calls {
    /// Appends what this worker is to be told, as many calls as it may be sent now among it.
    pub(crate) fn fill(&mut self, seat: usize, out: &mut Vec<u8>) {
        self.assign();
        let place = &mut self.seats[seat];
        if out.is_empty() {
            std::mem::swap(&mut place.out, out);
        } else {
            out.append(&mut place.out);
        }
        if !place.more.is_empty() {
            let more = std::mem::take(&mut place.more);
            for (id, (items, bytes)) in more {
                if self.has(seat, id) {
                    wire::push_more(out, id, items, bytes);
                }
            }
        }
        self.wakes &= !bit(seat);
    }

    /// Has a worker write that would take what is next, if there is one; it assigns the rest, too.
    pub(super) fn offer(&mut self) {
        for line in 0..self.lines.len() {
            for queue in [0, 1] {
                while let Some(id) = self.lines[line].queues()[queue].peek() {
                    if self.peek(id).is_some() {
                        self.wakes |= self.taker(line, id).map_or(0, bit);
                        break;
                    }
                    self.lines[line].queues()[queue].pop();
                }
            }
        }
    }

    /// Gives workers that have room the calls that wait for one.
    fn assign(&mut self) {
        if self.queued == 0 {
            return;
        }
        let now = Instant::now();
        for line in 0..self.lines.len() {
            self.assign_line(line, now);
        }
    }

    fn assign_line(&mut self, line: usize, now: Instant) {
        let mut aside = Vec::new();
        while let Some(id) = self.lines[line].main.peek() {
            let Some(call) = self.peek(id) else {
                self.lines[line].main.pop();
                continue;
            };
            let (owner, expected) = (call.owner, call.method.expected_bytes());
            let is_everybodys = call.property.is_some() && self.seats.len() > 1;
            if call.method.is_concurrent {
                // It waits for a thread, in a queue of its own: there it is in no other call's way.
                self.lines[line].main.pop();
                self.lines[line].beside.push(owner, id);
                continue;
            }
            let on = if is_everybodys {
                self.all_open()
            } else {
                self.find_seat(line, expected).map(bit)
            };
            match on {
                Some(on) => {
                    self.lines[line].main.pop();
                    self.send(id, on, expected, now);
                }
                // One worker is busy with something long: that is no reason for others to wait.
                None if is_everybodys => aside.extend(self.lines[line].main.set_aside()),
                None => break,
            }
        }
        self.lines[line].main.put_back(aside);
        while let Some(id) = self.lines[line].beside.peek() {
            let Some(seat) = self.find_seat_beside(line) else { break };
            self.lines[line].beside.pop();
            if self.peek(id).is_some() {
                self.send(id, bit(seat), 0, now);
            }
        }
    }

    /// The seats that calls in this line may go to.
    fn seats_of(&self, line: usize) -> std::ops::Range<usize> {
        match self.homes {
            Some(_) => line..line + 1,
            None => 0..self.seats.len(),
        }
    }

    /// The least busy worker that has room for such a call.
    fn find_seat(&mut self, line: usize, expected: usize) -> Option<usize> {
        if self.seats.len() > 1 {
            self.seats_of(line).for_each(|seat| self.forget_begun(seat));
        } else if !self.seats[0].has_room(expected, false) {
            // Only now is it worth a look at what has begun meanwhile.
            self.forget_begun(0);
        }
        let several = self.seats.len() > 1;
        let free = self
            .seats_of(line)
            .filter(|seat| self.seats[*seat].has_room(expected, several));
        free.min_by_key(|seat| self.seats[*seat].sent)
    }

    /// Likewise, for a call that waits for a thread.
    fn find_seat_beside(&self, line: usize) -> Option<usize> {
        let free = self.seats_of(line).filter(|seat| self.seats[*seat].has_room_beside());
        free.min_by_key(|seat| self.seats[*seat].sent)
    }

    /// The worker that would take this call if it were the next in this line.
    pub(super) fn taker(&mut self, line: usize, id: CallId) -> Option<usize> {
        let method = &self.peek(id)?.method;
        if method.is_concurrent {
            self.find_seat_beside(line)
        } else {
            let expected = method.expected_bytes();
            self.find_seat(line, expected)
        }
    }

    /// All workers that take calls, as bits, if each of them has room.
    fn all_open(&mut self) -> Option<u64> {
        (0..self.seats.len()).for_each(|seat| self.forget_begun(seat));
        let mut on = 0;
        for (at, seat) in self.seats.iter().enumerate().filter(|(_, seat)| seat.is_open()) {
            if !seat.has_space() {
                return None;
            }
            on |= bit(at);
        }
        (on != 0).then_some(on)
    }

    /// Sends a call that waits to the workers of these seats.
    pub(super) fn send(&mut self, id: CallId, on: u64, expected: usize, now: Instant) {
        let Some(call) = self.get(id) else { return };
        call.on = on;
        call.since = now;
        self.queued -= 1;
        self.sent += 1;
        for seat in bits(on) {
            self.write(id, seat, expected);
        }
    }

    pub(super) fn write(&mut self, id: CallId, seat: usize, expected: usize) {
        // Not by `peek`: the call and the seat are borrowed at once.
        let call = self.slots.get(slot_of(id)).and_then(Option::as_ref);
        let Some(call) = call.filter(|call| call.id == id) else {
            return;
        };
        let place = &mut self.seats[seat];
        let window = call.window.map(|items| (items, WINDOW_BYTES));
        wire::push_call(&mut place.out, id, &call.method.name, call.params.as_deref(), window);
        place.take(call, expected);
        self.wakes |= bit(seat);
    }

    pub(super) fn forget_begun(&mut self, seat: usize) {
        while let Some(first) = self.seats[seat].ahead.front().map(|ahead| ahead.id) {
            if self.peek(first).is_some_and(|call| call.is_on(seat)) && !self.seats[seat].has_begun(first) {
                break;
            }
            self.seats[seat].forget_first();
        }
    }

    /// Whether this worker's Python is to be signalled, asked once.
    pub(crate) fn take_interrupt(&mut self, seat: usize) -> bool {
        std::mem::take(&mut self.seats[seat].interrupt)
    }

    pub(crate) fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// All lines of a chunk from this worker were handled.
    pub(crate) fn settle(&mut self, seat: usize) {
        self.seats[seat].settle(Instant::now());
    }

    /// Whether this worker has this call.
    pub(crate) fn has(&self, seat: usize, id: CallId) -> bool {
        self.peek(id).is_some_and(|call| call.is_on(seat))
    }

    /// A worker's answer to a call. False if it has no such call.
    pub(crate) fn reply(&mut self, seat: usize, id: CallId, outcome: Outcome<'_>) -> bool {
        let call = self.slots.get_mut(slot_of(id)).and_then(Option::as_mut);
        let Some(call) = call.filter(|call| call.id == id && call.is_on(seat)) else {
            return false;
        };
        self.seats[seat].answer(call);
        call.on &= !bit(seat);
        if call.on == 0 {
            self.end(id, outcome);
        } else {
            call.keep_part(outcome);
        }
        true
    }

    /// All workers that had a call are done with it.
    pub(super) fn end(&mut self, id: CallId, outcome: Outcome<'_>) {
        let Some(mut call) = self.take(id) else { return };
        self.sent -= 1;
        if let Outcome::Result(result) = outcome {
            call.method.gave(result.len());
        }
        let sink = call.sink.take();
        self.abandoned -= usize::from(sink.is_none());
        let parts = call.parts.take().map(|parts| *parts).unwrap_or_default();
        let was_set = parts.result.is_some() || matches!(outcome, Outcome::Result(_));
        let outcome = parts.error.as_deref().map_or(outcome, Outcome::Error);
        match (call.property.take().filter(|_| was_set), outcome) {
            // Also if nobody waits for it any more: it was set.
            (Some(property), Outcome::Result(result)) => self.held.push(Held {
                property,
                sink,
                result: result.into(),
            }),
            (property, outcome) => {
                if let Some(sink) = sink {
                    sink.end(outcome);
                }
                // Some workers have set it and others have not: those that are started from now on have it.
                self.held.extend(property.map(Held::quiet));
            }
        }
    }

    /// A partial result of a call, whose line was so long.
    pub(crate) fn item(&mut self, seat: usize, id: CallId, data: &[u8], cost: u64) -> bool {
        let Some(call) = self.get(id).filter(|call| call.is_on(seat)) else {
            return false;
        };
        let Some(sink) = &mut call.sink else { return true };
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
        match taken {
            Taken::Now => self.credit(id, 0, cost),
            Taken::Later => {}
            Taken::No(error) => drop(self.end_with(id, &error.to_json())),
        }
        true
    }

    /// Whether [`Calls::tend`] may have something to do.
    pub(crate) fn needs_tending(&self) -> bool {
        self.abandoned > 0 || self.some_full
    }

    /// Ends plain calls whose `send()` has waited too long for its reader. True if this worker's Python itself has to go:
    /// a call that was cancelled `kill_grace` ago still has the main thread, and others wait for that.
    pub(crate) fn tend(&mut self, seat: usize, stall: Duration, kill_grace: Duration) -> bool {
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
            self.cancel(id, CancelledBy::SlowReader);
        }
        self.some_full = self.slots.iter().flatten().any(|call| full_for(call).is_some());
        self.abandoned > 0 && self.is_held_up(seat, now, kill_grace)
    }

    /// Whether a cancelled call is what keeps others from beginning: not if it is in a thread, nor if another call that
    /// nobody has cancelled has the main thread.
    fn is_held_up(&mut self, seat: usize, now: Instant, kill_grace: Duration) -> bool {
        self.forget_begun(seat);
        let first = self.seats[seat].ahead.front().and_then(|ahead| self.peek(ahead.id));
        let mut waits = first.is_some_and(|call| now - call.since >= HELD_UP.min(kill_grace));
        // Of several workers none is sent what would have to wait: it waits in the queue.
        let line = if self.homes.is_some() { seat } else { 0 };
        let next = self.lines[line].main.peek().and_then(|id| self.peek(id));
        waits |= self.seats.len() > 1 && next.is_some_and(|call| now - call.since >= HELD_UP);
        let mut overdue = false;
        for call in self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.is_on(seat) && self.seats[seat].has_begun(call.id))
        {
            if call.sink.is_some() && call.method.has_main_thread() {
                return false;
            }
            overdue |= call.sink.is_none() && now - call.since >= kill_grace && !call.method.is_concurrent;
        }
        waits && overdue
    }
}
