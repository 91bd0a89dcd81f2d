//! What the supervisor says: a process is ready, has died, is not to be had.

use std::rc::Rc;

use baskd_protocol::error::{CancelledBy, Error};

use super::super::Outcome;
use super::super::methods::Methods;
use super::super::page::Page;
use super::{Calls, Death, Flow, Gate};

impl Calls {
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
            match methods.find(&call.method.name) {
                Ok(known) => {
                    call.method = known;
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
    ///
    /// Who is to blame? A call that had begun, if there is one. If there is none, Python may have died of the very call
    /// that was next, before it began: that one gets a second try and not a third. Those behind it are simply kept.
    pub(crate) fn died(&mut self, page: &Page, death: &Death<'_>) {
        self.forget_begun(page);
        let mut ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.sent)
            .map(|call| call.id)
            .collect();
        // The last goes back first, so that the first ends up at the head of the queue.
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let suspect = self
            .ahead
            .front()
            .map(|ahead| ahead.id)
            .filter(|_| !ids.iter().any(|id| page.has_begun(*id)));
        for id in ids {
            let begun = page.has_begun(id);
            let Some(call) = self.get(id) else { continue };
            if begun || suspect == Some(id) {
                call.tries += 1;
            }
            let again = call.tries < 2 && (!begun || (!call.has_sent_items && call.method.is_idempotent));
            if call.sink.is_some() && again {
                call.sent = false;
                call.is_beside = false;
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
        self.beside_sent = 0;
        self.abandoned = 0;
        self.ahead.clear();
        self.ahead_bytes = 0;
        self.control.clear();
        self.interrupt = false;
    }

    /// Cancels what Python has begun. What it was sent besides is to be run, there or by the next.
    pub(crate) fn cancel_begun(&mut self, by: CancelledBy, page: &Page) {
        let ids: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .filter(|call| call.sent && page.has_begun(call.id))
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
}
