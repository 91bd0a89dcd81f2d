//! A plain call: its result is its answer, and what it sends meanwhile are messages.

use std::rc::Rc;

use super::OnDisconnect;
use super::answer::Answer;
use super::hub::push_message;
use super::metrics::Timing;
use crate::backend::{Item, Known, Outcome, Ran, Sink, Taken};

pub(crate) struct PlainCall {
    answer: Answer,
    timing: Timing,
}

impl PlainCall {
    pub(crate) fn new(answer: Answer) -> PlainCall {
        answer.peer.call_begins();
        PlainCall {
            answer,
            timing: Timing::start(),
        }
    }
}

impl Sink for PlainCall {
    fn accepted(&mut self, method: &Rc<Known>) {
        self.timing.accepted(method);
    }

    fn ran(&mut self, method: &Rc<Known>, ran: Ran) {
        self.timing.ran(method, ran);
    }

    fn item(&mut self, item: Item<'_>) -> Taken {
        let peer = &self.answer.peer;
        peer.service.hub.message(&item);
        let own = peer.own.borrow();
        let request = self.answer.id().unwrap_or("null");
        let mut waits = false;
        if !own.is_empty()
            && let Err(error) = peer.has_room_for_item(own.len() * item.data.len())
        {
            return Taken::No(error);
        }
        for own in own
            .iter()
            .filter(|own| own.method.as_deref().is_none_or(|method| method == item.method))
        {
            peer.outbox.push(|out| push_message(out, &item, Some(request), own.id));
            waits = !peer.outbox.is_closed();
        }
        if !waits {
            return Taken::Now;
        }
        peer.sent_item(item.call, item.cost);
        Taken::Later
    }

    fn end(self: Box<Self>, outcome: Outcome<'_>) {
        self.timing.ended(&self.answer.peer.service, &outcome);
        self.answer.peer.call_ends();
        match outcome {
            Outcome::Result(result) => self.answer.result(result),
            Outcome::Error(error) => self.answer.error_json(error),
        }
    }

    fn tag(&self) -> Option<&str> {
        self.answer.id()
    }

    fn is_of_few(&self) -> bool {
        self.answer.peer.has_few_calls()
    }

    fn ends_with_its_owner(&self) -> bool {
        self.answer.id().is_some() && self.answer.peer.service.on_disconnect == OnDisconnect::Cancel
    }
}
