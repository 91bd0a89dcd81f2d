//! `stream.call`: one call's partial results as a subscription's events.

use std::rc::Rc;

use baskd_protocol::reply;

use super::OnDisconnect;
use super::answer::Answer;
use super::metrics::Timing;
use super::peer::{Peer, Stream};
use crate::backend::{Item, Known, Outcome, Ran, Sink, Taken};

const NOTIFICATION: &str = "stream.item";

pub(crate) struct StreamCall {
    peer: Rc<Peer>,
    subscription: u64,
    /// The acknowledgement; None once it was given.
    answer: Option<Answer>,
    /// The client's id, by which it may cancel.
    id: Option<Box<str>>,
    timing: Timing,
}

impl StreamCall {
    pub(crate) fn new(subscription: u64, windowed: bool, answer: Answer) -> StreamCall {
        let peer = answer.peer.clone();
        peer.call_begins();
        let open = &peer.service.metrics.streams;
        open.set(open.get() + 1);
        peer.streams
            .borrow_mut()
            .insert(subscription, Stream { call: None, windowed });
        StreamCall {
            peer,
            subscription,
            id: answer.id().map(Into::into),
            answer: Some(answer),
            timing: Timing::start(),
        }
    }

    fn event(&self, parts: &[&[u8]]) {
        self.peer
            .outbox
            .push(|out| reply::event(out, NOTIFICATION, self.subscription, parts));
    }

    fn error(&self, error: &[u8]) {
        self.peer.service.metrics.error(error);
        self.event(&[b"{\"error\":", error, b"}"]);
    }
}

impl Sink for StreamCall {
    fn ran(&mut self, method: &Rc<Known>, ran: Ran) {
        self.timing.ran(method, ran);
    }

    fn accepted(&mut self, method: &Rc<Known>) {
        self.timing.accepted(method);
        if let Some(answer) = self.answer.take() {
            // Its last event is owed from now on.
            self.peer.owe();
            answer.result(self.subscription.to_string().as_bytes());
        }
    }

    fn item(&mut self, item: Item<'_>) -> Taken {
        self.peer.service.hub.message(&item);
        if self.peer.outbox.is_closed() {
            return Taken::Now;
        }
        if let Err(error) = self.peer.has_room_for_item(item.data.len()) {
            return Taken::No(error);
        }
        self.event(&[b"{\"item\":", item.data, b"}"]);
        self.peer.sent_item(item.call, item.cost);
        Taken::Later
    }

    fn end(mut self: Box<Self>, outcome: Outcome<'_>) {
        self.peer.call_ends();
        let open = &self.peer.service.metrics.streams;
        open.set(open.get() - 1);
        self.peer.streams.borrow_mut().remove(&self.subscription);
        self.timing.ended(&self.peer.service, &outcome);
        match (self.answer.take(), outcome) {
            // It was never taken: the request itself is answered.
            (Some(answer), Outcome::Error(error)) => return answer.error_json(error),
            (Some(answer), Outcome::Result(result)) => return answer.result(result),
            (None, Outcome::Result(result)) => match self.peer.has_room_for(result.len()) {
                Ok(()) => self.event(&[b"{\"end\":", result, b"}"]),
                Err(error) => self.error(&error.to_json()),
            },
            (None, Outcome::Error(error)) => self.error(error),
        }
        self.peer
            .outbox
            .push(|out| reply::closed(out, NOTIFICATION, self.subscription));
        self.peer.paid();
    }

    fn tag(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn is_of_few(&self) -> bool {
        self.peer.has_few_calls()
    }

    fn ends_with_its_owner(&self) -> bool {
        self.peer.service.on_disconnect == OnDisconnect::Cancel
    }
}
