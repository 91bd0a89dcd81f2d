//! What the supervisors say: a process is ready, has died, is not to be had.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Instant;

use baskd_protocol::error::{CancelledBy, Error};

use super::super::methods::Methods;
use super::super::page::{Page, SLOTS};
use super::super::{CallId, Item, Outcome, Sink, Taken};
use super::{Call, Calls, Death, Flow, Gate};

/// Where what is set again in a new process goes.
struct Nowhere;

impl Sink for Nowhere {
    fn item(&mut self, _: Item<'_>) -> Taken {
        Taken::Now
    }

    fn end(self: Box<Self>, _: Outcome<'_>) {}

    fn ends_with_its_owner(&self) -> bool {
        false
    }
}

impl Calls {
    pub(crate) fn set_gate(&mut self, seat: usize, gate: Gate) {
        self.seats[seat].gate = gate;
        let Gate::Closed(error) = &self.seats[seat].gate else {
            return self.offer();
        };
        if self.seats.iter().all(|seat| matches!(seat.gate, Gate::Closed(_))) {
            let error = error.to_json();
            self.end_queued(&error);
        }
        self.leave_home(seat);
    }

    /// Owners whose worker can't be had get another.
    fn leave_home(&mut self, seat: usize) {
        let Some(homes) = &mut self.homes else { return };
        let mut movers = HashSet::new();
        homes.retain(|owner, home| *home != seat || !movers.insert(*owner));
        self.seats[seat].owners = 0;
        let waiting = self.lines[seat].queues().map(|queue| queue.drain());
        for (owner, id, paused) in waiting.into_iter().flatten() {
            if self.peek(id).is_none() {
                continue;
            }
            if !movers.contains(&owner) {
                // It is gone, but for this notification.
                let line = self.best_home();
                self.lines[line].main.push_last(owner, id);
                continue;
            }
            let line = self.line_of(owner);
            let main = &mut self.lines[line].main;
            main.push(owner, id);
            if paused {
                main.pause(owner);
            }
        }
        self.offer();
    }

    /// A process was started, with this page.
    pub(crate) fn started(&mut self, seat: usize, page: Rc<Page>) {
        self.seats[seat].page = Some(page);
    }

    /// A process is ready: calls that came before any was are accepted now, or refused. `missed`: the params of the
    /// `setProperty`s that were made since it was told the properties.
    pub(crate) fn ready(&mut self, seat: usize, methods: Rc<Methods>, missed: Vec<String>) {
        for slot in 0..self.slots.len() {
            let Some(call) = &mut self.slots[slot] else { continue };
            if call.is_sent() || call.sink.is_none() {
                continue;
            }
            match methods.find(&call.method.name) {
                Ok(known) => {
                    call.method = known;
                    if !std::mem::replace(&mut call.accepted, true)
                        && let Some(sink) = &mut call.sink
                    {
                        sink.accepted(&call.method.metrics);
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
        self.seats[seat].answered = 0;
        for params in missed {
            self.set_again(seat, &methods, params);
        }
        self.methods = Some(methods);
        self.join_setting(seat);
        self.set_gate(seat, Gate::Open);
    }

    fn set_again(&mut self, seat: usize, methods: &Methods, params: String) {
        let has_slot = !self.free.is_empty() || self.slots.len() < SLOTS;
        let Some(method) = methods.find("setProperty").ok().filter(|_| has_slot) else {
            return;
        };
        let id = self.insert(0, method, Some(params.into()), Box::new(Nowhere), Instant::now());
        if let Some(call) = self.get(id) {
            call.tries = 2; // The next process is told by its greeting.
        }
        self.queued += 1;
        self.send(id, super::bit(seat), 0, Instant::now());
    }

    /// A new process is sent what the others are setting at this moment.
    fn join_setting(&mut self, seat: usize) {
        let sets = |call: &&Call| call.is_sent() && call.property.is_some();
        let mut setting: Vec<_> = self.slots.iter().flatten().filter(sets).map(|call| call.id).collect();
        setting.sort_unstable();
        for id in setting {
            if let Some(call) = self.get(id) {
                call.on |= super::bit(seat);
                self.write(id, seat, 0);
            }
        }
    }

    /// The process that had this seat's calls is gone.
    ///
    /// Who is to blame? A call that had begun, if there is one. If there is none, Python may have died of the very call
    /// that was next, before it began: that one gets a second try and not a third. Those behind it are simply kept.
    pub(crate) fn died(&mut self, seat: usize, death: &Death<'_>) {
        self.forget_begun(seat);
        let mut ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.is_on(seat))
            .map(|call| call.id)
            .collect();
        // The last goes back first, so that the first ends up at the head of the queue.
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let suspect = self.seats[seat]
            .ahead
            .front()
            .map(|ahead| ahead.id)
            .filter(|_| !ids.iter().any(|id| self.seats[seat].has_begun(*id)));
        for id in ids {
            let begun = self.seats[seat].has_begun(id);
            self.lose(seat, id, begun, suspect == Some(id), death);
        }
        self.seats[seat].clear();
        self.offer();
    }

    /// A call whose process is gone: another worker still has it, or it goes back to the queue, or it is answered.
    fn lose(&mut self, seat: usize, id: CallId, begun: bool, is_suspect: bool, death: &Death<'_>) {
        let Some(call) = self.get(id) else { return };
        call.on &= !super::bit(seat);
        let crashed = || Error::backend_crashed(begun, death.how, death.exit.clone(), death.stderr).to_json();
        if call.is_sent() || call.parts.is_some() {
            if begun {
                call.keep_part(Outcome::Error(&crashed()));
            }
            if !call.is_sent() {
                match call.parts.as_mut().and_then(|parts| parts.result.take()) {
                    Some(result) => self.end(id, Outcome::Result(&result)),
                    None => self.end(id, Outcome::Error(&crashed())),
                }
            }
            return;
        }
        call.tries += u8::from(begun || is_suspect);
        let again = call.tries < 2 && (!begun || (!call.has_sent_items && call.method.is_idempotent));
        if call.sink.is_some() && again {
            call.flow = Flow::default();
            let owner = call.owner;
            // One that is gone has no home, and gets none.
            let line = self
                .homes
                .as_ref()
                .map_or(0, |homes| homes.get(&owner).copied().unwrap_or(seat));
            self.lines[line].main.push_front(owner, id);
            self.queued += 1;
            self.sent -= 1;
        } else {
            self.end(id, Outcome::Error(&crashed()));
        }
    }

    /// Cancels what a worker has begun. What it was sent besides is to be run, there or by the next.
    pub(crate) fn cancel_begun(&mut self, seat: usize, by: CancelledBy) {
        let ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.is_on(seat) && self.seats[seat].has_begun(call.id))
            .map(|call| call.id)
            .collect();
        for id in ids {
            self.cancel(id, by);
        }
    }

    /// Cancels all there is.
    pub(crate) fn end_all(&mut self, by: CancelledBy) {
        let ids: Vec<_> = self.slots.iter().flatten().map(|call| call.id).collect();
        for id in ids {
            self.cancel(id, by);
        }
    }

    fn end_queued(&mut self, error: &[u8]) {
        let ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| !call.is_sent())
            .map(|call| call.id)
            .collect();
        for id in ids {
            self.queued -= 1;
            if let Some(sink) = self.release(id) {
                sink.end(Outcome::Error(error));
            }
        }
    }
}
