//! What clients ask for: calls, their end, more of their results.

use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};
use std::time::Instant;

use baskd_protocol::error::{CancelledBy, Error};
use baskd_protocol::request::same_id;
use rustix::thread::{MembarrierCommand, membarrier};

use super::super::methods::Known;
use super::super::page::{CLIENTS_SLOTS, SLOT_BITS};
use super::super::{CallId, NewCall, Outcome, Sink, wire};
use super::{Call, Calls, Flow, Gate, Property, Seats, WINDOW_BYTES, bit, bits};

/// So many more than there are calls may be in the queues, ended.
const CANCELLED_IN_QUEUE: usize = 1024;

impl Calls {
    /// Takes a call in, or answers it at once where it can't be taken.
    /// `property`: what it sets, or why it may not.
    pub(crate) fn submit(&mut self, new: NewCall<'_>, property: Result<Option<Property>, Error>) -> Option<CallId> {
        let refusal = self.refusal();
        let known = self.methods.as_ref().map(|methods| methods.find(new.method));
        let refusal = refusal
            .or_else(|| known.as_ref().and_then(|found| found.as_ref().err().cloned()))
            .or_else(|| (!self.has_place(&*new.sink)).then(|| Error::overloaded(self.max_queue)));
        let refusal = refusal.or_else(|| property.as_ref().err().cloned());
        let params_bytes = new.params.map_or(0, str::len);
        let room = self.max_params_bytes.saturating_sub(self.params_bytes);
        let refusal = refusal.or_else(|| (params_bytes > room).then(|| Error::overloaded_bytes(self.max_params_bytes)));
        if let Some(error) = refusal {
            new.sink.end(Outcome::Error(&error.to_json()));
            return None;
        }
        let now = Instant::now();
        let mut sink = new.sink;
        let known = known.and_then(Result::ok);
        let accepted = known.is_some();
        if let Some(known) = &known {
            known.count_in(&mut self.counted);
            sink.accepted(known);
        }
        let property = property.ok().flatten();
        if let Some(property) = &property {
            self.properties.0 += 1;
            self.properties.1 += property.size();
        }
        let method = known.unwrap_or_else(|| Rc::new(Known::not_yet(new.method)));
        let id = self.insert(new.owner, method, new.params.map(Into::into), sink, now);
        if let Some(call) = self.get(id) {
            call.window = new.window;
            call.trace = new.trace;
            call.accepted = accepted;
            call.property = property;
        }
        self.queued += 1;
        let line = self.line_of(new.owner);
        self.lines[line].main.push(new.owner, id);
        // It is assigned when that worker writes: by then there may be others whose turn it is, or it may be cancelled.
        self.wakes |= self.taker(line, id).map_or(0, bit);
        Some(id)
    }

    /// Whether one more call may be taken in. A full table is full for those who filled it: who has few calls gets a slot
    /// as long as there is one at all.
    fn has_place(&self, sink: &dyn Sink) -> bool {
        let taken = self.queued + self.sent;
        taken < self.max_queue || (sink.is_of_few() && self.slots.len() - self.free.len() < CLIENTS_SLOTS)
    }

    /// Puts a call into a slot, and nowhere else.
    pub(super) fn insert(
        &mut self,
        owner: u64,
        method: Rc<Known>,
        params: Option<Box<str>>,
        sink: Box<dyn Sink>,
        since: Instant,
    ) -> CallId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let id = (self.next_number << SLOT_BITS) | slot as u64;
        self.next_number += 1;
        self.params_bytes += params.as_ref().map_or(0, |params| params.len());
        self.slots[slot] = Some(Call {
            id,
            owner,
            method,
            params,
            window: None,
            trace: None,
            sink: Some(sink),
            on: 0,
            accepted: true,
            has_sent_items: false,
            has_run: false,
            tries: 0,
            flow: Flow::default(),
            property: None,
            parts: None,
            came: since,
            since,
            began: None,
        });
        id
    }

    /// The oldest call of this owner whose sink bears this tag (the client's own id).
    pub(crate) fn find(&self, owner: u64, tag: &str) -> Option<CallId> {
        let has_tag = |call: &Call| {
            call.sink
                .as_ref()
                .and_then(|sink| sink.tag())
                .is_some_and(|id| same_id(id, tag))
        };
        let is_it = |call: &&Call| call.owner == owner && has_tag(call);
        self.slots.iter().flatten().filter(is_it).map(|call| call.id).min()
    }

    /// Answers a call `Cancelled`, and has Python leave it if it had been sent. False if it has ended.
    pub(crate) fn cancel(&mut self, id: CallId, by: CancelledBy) -> bool {
        if by == CancelledBy::Shutdown {
            self.end_so(id, |calls, on| calls.error_of_stop(id, on))
        } else {
            self.end_with(id, &Error::cancelled(by).to_json())
        }
    }

    /// Cancels all there is: the daemon stops.
    pub(crate) fn end_all(&mut self) {
        self.end_all_behind(|| membarrier(MembarrierCommand::Global).is_ok());
    }

    /// `barrier`: false where there is none.
    pub(super) fn end_all_behind(&mut self, barrier: impl FnOnce() -> bool) {
        let ids: Vec<_> = self.slots.iter().flatten().map(|call| call.id).collect();
        let live: Vec<_> = ids.into_iter().filter(|id| self.keep_from_beginning(*id)).collect();
        // The router marks what it begins and looks then whether that was cancelled. Neither order would help if its mark
        // were still on its way to memory: a call of which its client is told that it never began is made again.
        // Where the kernel has no such barrier, what was sent may have begun.
        let is_sure = barrier();
        for id in live {
            let on = self.peek(id).map_or(0, |call| call.on);
            let error = if is_sure || on == 0 {
                self.error_of_stop(id, on)
            } else {
                Error::cancelled(CancelledBy::Shutdown).after_it_ran().to_json()
            };
            self.end_kept(id, &error);
        }
    }

    /// What a call is answered that the daemon's stop ends. Its client goes by that when it asks the next daemon.
    fn error_of_stop(&self, id: CallId, on: Seats) -> Vec<u8> {
        let had_begun = self.peek(id).is_some_and(|call| call.has_run || call.parts.is_some());
        if had_begun || bits(on).any(|seat| self.seats[seat].has_begun(id)) {
            Error::cancelled(CancelledBy::Shutdown).after_it_ran().to_json()
        } else {
            Error::never_began().to_json()
        }
    }

    /// Answers a call `TimedOut`, likewise.
    pub(crate) fn expire(&mut self, id: CallId) -> bool {
        self.end_so(id, |calls, on| {
            let has_begun = bits(on).any(|seat| calls.seats[seat].has_begun(id));
            let error = Error::timed_out(calls.place_of(on, has_begun));
            let has_run = calls.peek(id).is_some_and(|call| call.has_run);
            if has_run { error.after_it_ran() } else { error }.to_json()
        })
    }

    /// Whether calls wait for a first process to be ready.
    pub(super) fn is_starting(&self) -> bool {
        let mut gates = self.places.iter().map(|place| &place.gate);
        !gates.clone().any(|gate| matches!(gate, Gate::Open))
            && gates.any(|gate| matches!(gate, Gate::Hold { starting: true }))
    }

    /// The call of a client's that has this number.
    pub(crate) fn numbered(&self, number: u64) -> Option<CallId> {
        let is_it = |call: &&Call| call.id >> SLOT_BITS == number && !call.is_own();
        self.slots.iter().flatten().find(is_it).map(|call| call.id)
    }

    /// Cancels what an owner that is gone has asked for, but for its notifications, which nobody waits for anyway.
    pub(crate) fn owner_gone(&mut self, owner: u64) {
        let is_its =
            |call: &&Call| call.owner == owner && call.sink.as_ref().is_some_and(|sink| sink.ends_with_its_owner());
        let ids: Vec<_> = self.slots.iter().flatten().filter(is_its).map(|call| call.id).collect();
        for id in ids {
            self.cancel(id, CancelledBy::Disconnect);
        }
        for queue in self.lines.iter_mut().flat_map(super::Line::queues) {
            queue.owner_gone(owner);
        }
        if let Some(home) = self.homes.as_mut().and_then(|homes| homes.remove(&owner)) {
            self.places[home].owners -= 1;
        }
        self.offer();
    }

    /// Answers a call with this error, and has Python leave it. False if it has ended.
    pub(crate) fn end_with(&mut self, id: CallId, error: &[u8]) -> bool {
        self.end_so(id, |_, _| error.to_vec())
    }

    /// As [`Calls::end_with`], by an error that is made once Python is kept from beginning the call. `why` is given the
    /// seats that have it.
    fn end_so(&mut self, id: CallId, why: impl FnOnce(&Calls, Seats) -> Vec<u8>) -> bool {
        if !self.keep_from_beginning(id) {
            return false;
        }
        // What has begun by now is told so.
        fence(Ordering::SeqCst);
        let error = why(self, self.peek(id).map_or(0, |call| call.on));
        self.end_kept(id, &error);
        true
    }

    /// Has Python not begin a call, or leave it. False if it has ended.
    fn keep_from_beginning(&mut self, id: CallId) -> bool {
        let Some(on) = self.peek(id).filter(|call| call.sink.is_some()).map(|call| call.on) else {
            return false;
        };
        for seat in bits(on) {
            let place = &mut self.seats[seat];
            if let Some(page) = &place.page {
                page.mark_cancelled(id);
            }
            wire::push_cancel(&mut place.out, id);
            place.interrupt = true;
            self.wakes |= bit(seat);
        }
        true
    }

    /// Answers a call that Python does not begin any more.
    fn end_kept(&mut self, id: CallId, error: &[u8]) {
        let Some(call) = self.get(id) else { return };
        let Some(mut sink) = call.sink.take() else { return };
        let is_sent = call.is_sent();
        self.tell_ran(id, &mut *sink);
        if is_sent {
            if let Some(call) = self.get(id) {
                call.since = Instant::now();
            }
            self.abandoned += 1;
        } else {
            // Its place in the queue is skipped when it is met: the id is nobody's any more.
            self.queued -= 1;
            self.release(id);
            self.cancelled_in_queue += 1;
            if self.cancelled_in_queue > self.queued + CANCELLED_IN_QUEUE {
                self.tidy_queues();
            }
        }
        sink.end(Outcome::Error(error));
    }

    fn tidy_queues(&mut self) {
        self.cancelled_in_queue = 0;
        let mut lines = std::mem::take(&mut self.lines);
        for queue in lines.iter_mut().flat_map(super::Line::queues) {
            queue.retain(|id| self.peek(id).is_some_and(|call| !call.is_sent()));
        }
        self.lines = lines;
    }

    /// A client has taken so much of what a call sent, or allows so many more items.
    pub(crate) fn credit(&mut self, id: CallId, items: u64, bytes: u64) {
        let Some(call) = self.get(id) else { return };
        // Told again with the call, if it goes back to the queue.
        call.window = call.window.map(|window| window.saturating_add(items));
        let flow = &mut call.flow;
        flow.outstanding = flow.outstanding.saturating_sub(bytes);
        flow.to_return += bytes;
        if (items > 0 || flow.to_return >= WINDOW_BYTES / 2) && call.is_sent() {
            let bytes = std::mem::take(&mut call.flow.to_return);
            call.flow.full_since = None;
            let on = call.on;
            for seat in bits(on) {
                let more = self.seats[seat].more.entry(id).or_default();
                *more = (more.0.saturating_add(items), more.1 + bytes);
                self.wakes |= bit(seat);
            }
        }
    }

    /// An owner does not read: nothing more is begun for it.
    pub(crate) fn pause(&mut self, owner: u64) {
        for queue in self.lines.iter_mut().flat_map(super::Line::queues) {
            queue.pause(owner);
        }
    }

    pub(crate) fn resume(&mut self, owner: u64) {
        for queue in self.lines.iter_mut().flat_map(super::Line::queues) {
            queue.resume(owner);
        }
        self.offer();
    }
}
