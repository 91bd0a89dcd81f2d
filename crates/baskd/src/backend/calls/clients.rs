//! What clients ask for: calls, their end, more of their results.

use std::rc::Rc;
use std::time::Instant;

use baskd_protocol::error::{CancelledBy, Error, Where};
use baskd_protocol::request::same_id;

use super::super::methods::Known;
use super::super::page::{Page, SLOT_BITS};
use super::super::{CallId, NewCall, Outcome, wire};
use super::{Call, Calls, Flow, Gate, Property, WINDOW_BYTES};

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
            .or_else(|| (self.queued + self.sent >= self.max_calls).then(|| Error::overloaded(self.max_calls)));
        let refusal = refusal.or_else(|| property.as_ref().err().cloned());
        let params_bytes = new.params.map_or(0, str::len);
        let room = self.max_params_bytes.saturating_sub(self.params_bytes);
        let refusal = refusal.or_else(|| (params_bytes > room).then(|| Error::overloaded_bytes(self.max_params_bytes)));
        if let Some(error) = refusal {
            new.sink.end(Outcome::Error(&error.to_json()));
            return None;
        }
        let mut sink = new.sink;
        let known = known.and_then(Result::ok);
        let accepted = known.is_some();
        if let Some(known) = &known {
            sink.accepted(&known.metrics);
        }
        self.params_bytes += params_bytes;
        let property = property.ok().flatten();
        if let Some(property) = &property {
            self.properties.0 += 1;
            self.properties.1 += property.size();
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
            method: known.unwrap_or_else(|| Rc::new(Known::not_yet(new.method))),
            params: new.params.map(Into::into),
            window: new.window,
            sink: Some(sink),
            sent: false,
            is_beside: false,
            accepted,
            has_sent_items: false,
            tries: 0,
            flow: Flow::default(),
            property,
            since: Instant::now(),
        });
        self.queued += 1;
        self.queue.push(new.owner, id);
        Some(id)
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
        self.beside.resume(owner);
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
            self.cancelled_in_queue += 1;
            if self.cancelled_in_queue > self.queued + CANCELLED_IN_QUEUE {
                self.tidy_queues();
            }
        }
        sink.end(Outcome::Error(&error));
        true
    }

    fn tidy_queues(&mut self) {
        self.cancelled_in_queue = 0;
        let (mut queue, mut beside) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.beside));
        let waits = |id| self.peek(id).is_some_and(|call| !call.sent);
        queue.retain(waits);
        beside.retain(waits);
        (self.queue, self.beside) = (queue, beside);
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
        self.beside.pause(owner);
    }

    pub(crate) fn resume(&mut self, owner: u64) {
        self.queue.resume(owner);
        self.beside.resume(owner);
    }
}
