//! What the supervisors say: a process is ready, has died, is not to be had.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Instant;

use baskd_protocol::error::{CancelledBy, Error};

use super::super::methods::{Known, Methods};
use super::super::page::{Page, SLOT_BITS, SLOTS};
use super::super::{CallId, Item, Outcome, Ran, Sink, Taken};
use super::seat::Seat;
use super::{Call, Calls, Death, Flow, Gate, OWN, bit};

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
    pub(crate) fn set_gate(&mut self, worker: usize, gate: Gate) {
        self.places[worker].gate = gate;
        let Gate::Closed(error) = &self.places[worker].gate else {
            return self.offer();
        };
        if self.places.iter().all(|place| matches!(place.gate, Gate::Closed(_))) {
            let error = error.clone();
            self.end_queued(&error);
        }
        self.leave_home(worker);
    }

    /// Owners whose worker can't be had get another.
    fn leave_home(&mut self, worker: usize) {
        let Some(homes) = &mut self.homes else { return };
        let mut movers = HashSet::new();
        homes.retain(|owner, home| *home != worker || !movers.insert(*owner));
        self.places[worker].owners = 0;
        let waiting = self.lines[worker].queues().map(|queue| queue.drain());
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

    /// A process was started for this worker, with this page: its seat, if there is one left.
    pub(crate) fn take_seat(&mut self, worker: usize, page: Rc<Page>) -> Option<usize> {
        let seat = self.seats.iter().position(|seat| seat.page.is_none())?;
        self.seats[seat].page = Some(page);
        self.seats[seat].worker = worker;
        Some(seat)
    }

    /// A process that was started for whoever needs it is this worker's.
    pub(crate) fn move_to(&mut self, seat: usize, worker: usize) {
        self.seats[seat].worker = worker;
    }

    /// A call of the daemon's own, to this process and before all that waits. None if there is no room for it.
    pub(crate) fn ask(
        &mut self,
        seat: usize,
        hook: &str,
        params: Option<String>,
        sink: Box<dyn Sink>,
    ) -> Option<CallId> {
        if self.free.is_empty() && self.slots.len() >= SLOTS {
            return None;
        }
        let method = Rc::new(Known::not_yet(hook));
        let id = self.insert(OWN, method, params.map(Into::into), sink, Instant::now());
        if let Some(call) = self.get(id) {
            // Another process is asked anew, if at all.
            call.tries = 2;
        }
        self.own += 1;
        self.queued += 1;
        self.send(id, bit(seat), 0, Instant::now());
        Some(id)
    }

    /// A process serves from now on, and the one that has served this worker so far is left to end what it has. Calls that
    /// came before any was ready are accepted now, or refused. `missed`: the params of the `setProperty`s that were made
    /// since it was told the properties.
    pub(crate) fn ready(&mut self, seat: usize, methods: Rc<Methods>, missed: Vec<String>) {
        let worker = self.seats[seat].worker;
        if let Some(old) = self.places[worker].seat.replace(seat).filter(|old| *old != seat) {
            self.leave(old);
        }
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
                        call.method.count_in(&mut self.counted);
                        sink.accepted(&call.method);
                    }
                }
                Err(error) => {
                    let id = call.id;
                    self.queued -= 1;
                    if let Some(mut call) = self.take(id)
                        && let Some(sink) = call.sink.take()
                    {
                        self.end_unsent(&call, sink, &error);
                    }
                }
            }
        }
        for params in missed {
            // The next process is told by its greeting.
            self.ask(seat, "setProperty", Some(params), Box::new(Nowhere));
        }
        self.methods = Some(methods);
        self.join_setting(seat);
        self.set_gate(worker, Gate::Open);
    }

    /// A process gets no more calls: whoever waits for it to have ended those it has is told when it may have.
    pub(crate) fn leave(&mut self, seat: usize) {
        if !std::mem::replace(&mut self.seats[seat].is_leaving, true) {
            self.leaving += 1;
        }
    }

    /// It serves on, and is told of these params of `setProperty`s, which others were sent.
    pub(crate) fn stay_and_set(&mut self, seat: usize, missed: Vec<String>) {
        self.stay(seat);
        for params in missed {
            self.ask(seat, "setProperty", Some(params), Box::new(Nowhere));
        }
    }

    pub(crate) fn stay(&mut self, seat: usize) {
        if std::mem::take(&mut self.seats[seat].is_leaving) {
            self.leaving -= 1;
        }
    }

    /// A new process is sent what the others are setting at this moment.
    fn join_setting(&mut self, seat: usize) {
        let sets = |call: &&Call| call.is_sent() && call.property.is_some();
        let mut setting: Vec<_> = self.slots.iter().flatten().filter(sets).map(|call| call.id).collect();
        setting.sort_unstable();
        for id in setting {
            if let Some(call) = self.get(id) {
                call.on |= bit(seat);
                self.write(id, seat, 0);
            }
        }
    }

    /// The process that had this seat is gone.
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
        self.stay(seat);
        for place in &mut self.places {
            place.seat = place.seat.filter(|served| *served != seat);
        }
        self.seats[seat] = Seat::new();
        self.offer();
    }

    /// A call whose process is gone: another worker still has it, or it goes back to the queue, or it is answered.
    fn lose(&mut self, seat: usize, id: CallId, begun: bool, is_suspect: bool, death: &Death<'_>) {
        let worker = self.seats[seat].worker;
        let call = self.peek(id).filter(|_| begun);
        let began = call.map(|call| self.seats[seat].began_at(call));
        let Some(call) = self.get(id) else { return };
        call.on &= !bit(seat);
        call.began = began;
        let crashed =
            || Error::backend_crashed(begun, death.how, death.exit.clone(), death.stderr, death.snapshot_age).to_json();
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
        call.has_run |= begun;
        let again = call.tries < 2 && (!begun || (!call.has_sent_items && call.method.is_idempotent));
        if call.sink.is_some() && again {
            call.flow = Flow::default();
            let owner = call.owner;
            // One that is gone has no home, and gets none.
            let line = self
                .homes
                .as_ref()
                .map_or(0, |homes| homes.get(&owner).copied().unwrap_or(worker));
            self.lines[line].main.push_front(owner, id);
            self.queued += 1;
            self.sent -= 1;
        } else {
            self.end(id, Outcome::Error(&crashed()));
        }
    }

    /// Cancels what a process has begun. What it was sent besides is to be run, there or by the next.
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

    fn end_queued(&mut self, error: &Error) {
        let ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| !call.is_sent())
            .map(|call| call.id)
            .collect();
        for id in ids {
            self.queued -= 1;
            let Some(mut call) = self.take(id) else { continue };
            let error = if call.has_run {
                error.clone().after_it_ran()
            } else {
                error.clone()
            };
            if let Some(sink) = call.sink.take() {
                self.end_unsent(&call, sink, &error);
            }
        }
    }

    /// Answers a call that has waited, and was just taken out of the table.
    fn end_unsent(&self, call: &Call, mut sink: Box<dyn Sink>, error: &Error) {
        if self.tells_ran {
            let ran = Ran {
                number: call.id >> SLOT_BITS,
                began: None,
            };
            sink.ran(&call.method, ran);
        }
        sink.end(Outcome::Error(&error.to_json()));
    }
}
