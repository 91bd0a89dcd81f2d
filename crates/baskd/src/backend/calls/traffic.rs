//! What the worker moves: calls to Python, and back what comes of them.

use std::time::{Duration, Instant};

use baskd_protocol::error::CancelledBy;

use super::super::page::SLOT_BITS;
use super::super::{CallId, Item, Outcome, Ran, Taken, wire};
use super::{Call, Calls, Held, Seats, WINDOW_BYTES, bit, bits, slot_of};
use crate::logs::Caller;

/// Whose call a process has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    ToClient,
    ToOwn,
    /// Nobody's: it has no such call.
    Senseless,
}

/// A call that has waited so long to begin is held up by something.
const HELD_UP: Duration = Duration::from_secs(1);

impl Calls {
    /// Appends what this process is to be told, as many calls as it may be sent now among it.
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
            let is_everybodys = call.property.is_some() && self.places.len() > 1;
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

    /// The workers that calls in this line may go to.
    fn workers_of(&self, line: usize) -> std::ops::Range<usize> {
        match self.homes {
            Some(_) => line..line + 1,
            None => 0..self.places.len(),
        }
    }

    /// Their processes that take calls.
    fn open_seats(&self, line: usize) -> impl Iterator<Item = usize> {
        self.workers_of(line).filter_map(|worker| self.open_seat(worker))
    }

    /// That of the least busy worker that has room for such a call.
    fn find_seat(&mut self, line: usize, expected: usize) -> Option<usize> {
        let several = self.places.len() > 1;
        for worker in self.workers_of(line) {
            // Of the only one, what has begun meanwhile is worth a look only if it has no room else.
            if let Some(seat) = self.open_seat(worker)
                && (several || !self.seats[seat].has_room(expected, false))
            {
                self.forget_begun(seat);
            }
        }
        let free = self
            .open_seats(line)
            .filter(|seat| self.seats[*seat].has_room(expected, several));
        free.min_by_key(|seat| self.seats[*seat].sent)
    }

    /// Likewise, for a call that waits for a thread.
    fn find_seat_beside(&self, line: usize) -> Option<usize> {
        let free = self.open_seats(line).filter(|seat| self.seats[*seat].has_room_beside());
        free.min_by_key(|seat| self.seats[*seat].sent)
    }

    /// The process that would take this call if it were the next in this line.
    pub(super) fn taker(&mut self, line: usize, id: CallId) -> Option<usize> {
        let method = &self.peek(id)?.method;
        if method.is_concurrent {
            self.find_seat_beside(line)
        } else {
            let expected = method.expected_bytes();
            self.find_seat(line, expected)
        }
    }

    /// All workers' processes that take calls, if each of them has room.
    fn all_open(&mut self) -> Option<Seats> {
        let mut on = 0;
        for worker in 0..self.places.len() {
            let Some(seat) = self.open_seat(worker) else { continue };
            self.forget_begun(seat);
            if !self.seats[seat].has_space() {
                return None;
            }
            on |= bit(seat);
        }
        (on != 0).then_some(on)
    }

    /// Sends a call that waits to these processes.
    pub(super) fn send(&mut self, id: CallId, on: Seats, expected: usize, now: Instant) {
        // Not by `get`: the call and the histogram are borrowed at once.
        let call = self.slots.get_mut(slot_of(id)).and_then(Option::as_mut);
        let Some(call) = call.filter(|call| call.id == id) else {
            return;
        };
        if call.since == call.came && !call.is_own() {
            // For the first time.
            self.waited.record(now.saturating_duration_since(call.came));
        }
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

    /// Whether this process is to be signalled, asked once.
    pub(crate) fn take_interrupt(&mut self, seat: usize) -> bool {
        std::mem::take(&mut self.seats[seat].interrupt)
    }

    pub(crate) fn take_held(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }

    /// All lines of a chunk from this process were handled.
    pub(crate) fn settle(&mut self, seat: usize) {
        self.seats[seat].settle(Instant::now());
    }

    /// Whether this process has this call.
    pub(crate) fn has(&self, seat: usize, id: CallId) -> bool {
        self.peek(id).is_some_and(|call| call.is_on(seat))
    }

    /// A process's answer to a call.
    pub(crate) fn reply(&mut self, seat: usize, id: CallId, outcome: Outcome<'_>) -> Reply {
        let call = self.slots.get_mut(slot_of(id)).and_then(Option::as_mut);
        let Some(call) = call.filter(|call| call.id == id && call.is_on(seat)) else {
            return Reply::Senseless;
        };
        let whose = if call.is_own() { Reply::ToOwn } else { Reply::ToClient };
        if self.tells_ran {
            call.began = Some(self.seats[seat].began_at(call));
        }
        self.seats[seat].answer(call);
        call.on &= !bit(seat);
        if call.on == 0 {
            self.end(id, outcome);
        } else {
            call.keep_part(outcome);
        }
        whose
    }

    /// All processes that had a call are done with it.
    pub(super) fn end(&mut self, id: CallId, outcome: Outcome<'_>) {
        let Some(mut call) = self.take(id) else { return };
        self.sent -= 1;
        if let Outcome::Result(result) = outcome {
            call.method.gave(result.len());
        }
        let mut sink = call.sink.take();
        if let Some(sink) = sink.as_mut().filter(|_| self.tells_ran) {
            let ran = Ran {
                number: id >> SLOT_BITS,
                began: call.began,
            };
            sink.ran(&call.method, ran);
        }
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
    pub(crate) fn tend(&mut self, seat: usize, stall: Duration, kill_grace: Duration) -> Option<Caller> {
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
        (self.abandoned > 0)
            .then(|| self.held_up_by(seat, now, kill_grace))
            .flatten()
    }

    /// The cancelled call that keeps others from beginning: none that is in a thread, nor if another call that nobody
    /// has cancelled has the main thread.
    fn held_up_by(&mut self, seat: usize, now: Instant, kill_grace: Duration) -> Option<Caller> {
        self.forget_begun(seat);
        let first = self.seats[seat].ahead.front().and_then(|ahead| self.peek(ahead.id));
        let mut waits = first.is_some_and(|call| now - call.since >= HELD_UP.min(kill_grace));
        // Of several workers none is sent what would have to wait: it waits in the queue.
        let worker = self.seats[seat].worker;
        let line = if self.homes.is_some() { worker } else { 0 };
        let next = self.lines[line].main.peek().and_then(|id| self.peek(id));
        let is_serving = self.serves(seat);
        waits |= is_serving && self.places.len() > 1 && next.is_some_and(|call| now - call.since >= HELD_UP);
        let mut overdue = None;
        for call in self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.is_on(seat) && self.seats[seat].has_begun(call.id))
        {
            if call.sink.is_some() && call.method.has_main_thread() {
                return None;
            }
            if call.sink.is_none() && now - call.since >= kill_grace && !call.method.is_concurrent {
                overdue = Some(call);
            }
        }
        overdue.filter(|_| waits).map(|call| Caller {
            call: call.id >> SLOT_BITS,
            method: call.method.name.clone(),
        })
    }
}
