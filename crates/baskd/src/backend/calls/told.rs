//! What is told of calls: which are under way and where, how long they wait, and at its end how each ran.

use std::rc::Rc;
use std::time::{Duration, Instant};

use baskd_protocol::error::Where;

use super::super::methods::Known;
use super::super::page::SLOT_BITS;
use super::super::{CallId, Ran, Sink};
use super::{Calls, Seats, bits};

/// A call that Python is running now.
pub(crate) struct Running {
    pub(crate) number: u64,
    pub(crate) method: Rc<Known>,
    /// Since it was sent, or, if it was cancelled, since then.
    pub(crate) age: Duration,
    pub(crate) is_cancelled: bool,
}

/// A call that somebody waits for.
pub(crate) struct UnderWay {
    pub(crate) number: u64,
    pub(crate) method: Rc<Known>,
    /// The one that it was sent to.
    pub(crate) worker: Option<usize>,
    pub(crate) age: Duration,
    pub(crate) place: Where,
}

impl Calls {
    /// What this process is running.
    pub(crate) fn running(&self, seat: usize) -> Vec<Running> {
        let now = Instant::now();
        let place = &self.seats[seat];
        let begun = self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.is_on(seat) && place.has_begun(call.id));
        let mut running: Vec<_> = begun
            .map(|call| Running {
                number: call.id >> SLOT_BITS,
                method: call.method.clone(),
                age: now - call.since,
                is_cancelled: call.sink.is_none(),
            })
            .collect();
        running.sort_unstable_by_key(|call| call.number);
        running
    }

    /// The oldest calls of clients that somebody waits for, so many at most.
    pub(crate) fn under_way(&self, most: usize) -> Vec<UnderWay> {
        let now = Instant::now();
        let calls = self.slots.iter().flatten();
        let mut oldest: Vec<_> = calls
            .filter(|call| call.sink.is_some() && !call.is_own())
            .map(|call| call.id)
            .collect();
        // By number, which an id begins with. There may be many more than are told.
        if oldest.len() > most {
            oldest.select_nth_unstable(most);
            oldest.truncate(most);
        }
        oldest.sort_unstable();
        let told = |id: &CallId| {
            let call = self.peek(*id)?;
            let begun = bits(call.on).find(|seat| self.seats[*seat].has_begun(call.id));
            let seat = begun.or_else(|| bits(call.on).next());
            Some(UnderWay {
                number: call.id >> SLOT_BITS,
                method: call.method.clone(),
                worker: seat.map(|seat| self.seats[seat].worker),
                age: now.saturating_duration_since(call.came),
                place: self.place_of(call.on, begun.is_some()),
            })
        };
        oldest.iter().filter_map(told).collect()
    }

    /// For how long the call has waited that has waited longest to be sent.
    pub(crate) fn longest_wait(&self) -> Duration {
        let waiting = self.slots.iter().flatten().filter(|call| !call.is_sent());
        let came = waiting.map(|call| call.came).min();
        came.map_or(Duration::ZERO, |came| came.elapsed())
    }

    /// Where a call is that these seats have.
    pub(super) fn place_of(&self, on: Seats, has_begun: bool) -> Where {
        match on {
            0 if self.is_starting() => Where::Starting,
            _ if has_begun => Where::Running,
            _ => Where::Queued,
        }
    }

    /// Tells the sink of a call that is about to end how that ran, if anybody wants to know.
    pub(super) fn tell_ran(&mut self, id: CallId, sink: &mut dyn Sink) {
        if !self.tells_ran {
            return;
        }
        let Some(call) = self.peek(id) else { return };
        let seat = bits(call.on).find(|seat| self.seats[*seat].has_begun(id));
        let began = seat.map(|seat| self.seats[seat].began_at(call)).or(call.began);
        sink.ran(
            &call.method,
            Ran {
                number: id >> SLOT_BITS,
                began,
            },
        );
    }
}
