//! The duty to answer one request, exactly once: alone, within a batch, or, for a notification, not at all.

use std::cell::RefCell;
use std::rc::Rc;

use baskd_protocol::error::Error;
use baskd_protocol::reply;

use super::peer::Peer;

/// Consumed by answering. The peer counts those that are still owed.
pub(crate) struct Answer {
    pub(crate) peer: Rc<Peer>,
    /// The client's id, as JSON; None for a notification.
    id: Option<Box<str>>,
    batch: Option<(Rc<Batch>, usize)>,
}

/// A batch whose answers are put together.
pub(crate) struct Batch {
    parts: RefCell<Parts>,
}

struct Parts {
    /// By place in the array; empty while not answered, or for a notification. All of them, once they are too large.
    texts: Vec<Vec<u8>>,
    owed: usize,
    bytes: usize,
    too_large: bool,
}

impl Batch {
    pub(crate) fn new(entries: usize) -> Rc<Batch> {
        // One more than the entries is owed, so that it is not sent before all of them were begun.
        let parts = Parts {
            texts: vec![Vec::new(); entries],
            owed: 1,
            bytes: 0,
            too_large: false,
        };
        Rc::new(Batch {
            parts: RefCell::new(parts),
        })
    }

    /// All entries were begun.
    pub(crate) fn begun(self: &Rc<Batch>, peer: &Rc<Peer>) {
        peer.owe();
        self.settle(peer, None);
    }

    fn settle(&self, peer: &Rc<Peer>, part: Option<(usize, Vec<u8>)>) {
        let service = &peer.service;
        let limit = service.limits.max_batch_response;
        let mut parts = self.parts.borrow_mut();
        if let Some((at, text)) = part.filter(|_| !parts.too_large) {
            let bytes = parts.bytes + text.len();
            let fits = service.keep(parts.bytes, bytes) && bytes <= limit;
            parts.bytes = bytes;
            parts.texts[at] = text;
            if !fits {
                parts.too_large = true;
                parts.texts.clear();
                service.keep(std::mem::take(&mut parts.bytes), 0);
            }
        }
        parts.owed -= 1;
        if parts.owed == 0 {
            service.keep(std::mem::take(&mut parts.bytes), 0);
            if parts.too_large {
                let error = Error::batch_response_too_large(limit).to_json();
                service.metrics.refused(&error);
                peer.outbox.push(|out| {
                    reply::error(out, "null", &error);
                    out.push(b'\n');
                });
            } else {
                let answered: Vec<_> = parts.texts.drain(..).filter(|text| !text.is_empty()).collect();
                if !answered.is_empty() {
                    peer.outbox.push(|out| {
                        out.push(b'[');
                        out.extend_from_slice(&answered.join(&b','));
                        out.extend_from_slice(b"]\n");
                    });
                }
            }
        }
        peer.paid();
    }
}

impl Answer {
    /// `id`: None for a notification.
    pub(crate) fn alone(peer: &Rc<Peer>, id: Option<&str>) -> Answer {
        if id.is_some() {
            peer.owe();
        }
        Answer {
            peer: peer.clone(),
            id: id.map(Into::into),
            batch: None,
        }
    }

    pub(crate) fn in_batch(peer: &Rc<Peer>, id: Option<&str>, batch: &Rc<Batch>, place: usize) -> Answer {
        if id.is_some() {
            peer.owe();
            batch.parts.borrow_mut().owed += 1;
        }
        Answer {
            peer: peer.clone(),
            id: id.map(Into::into),
            batch: Some((batch.clone(), place)),
        }
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(crate) fn is_in_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// `result` is JSON.
    pub(crate) fn result(self, result: &[u8]) {
        match self.peer.has_room_for(result.len()) {
            Ok(()) => self.send(result, reply::result),
            Err(error) => self.error(&error),
        }
    }

    pub(crate) fn error(self, error: &Error) {
        let error = error.to_json();
        if self.id.is_some() {
            self.peer.service.metrics.refused(&error);
        }
        self.send(&error, reply::error);
    }

    /// `error` is a whole error object, of a call that tells of its end itself.
    pub(crate) fn error_json(self, error: &[u8]) {
        if self.id.is_some() {
            self.peer.service.metrics.error(error);
        }
        self.send(error, reply::error);
    }

    fn send(self, value: &[u8], write: fn(&mut Vec<u8>, &str, &[u8])) {
        let Some(id) = &self.id else { return };
        match &self.batch {
            None => {
                self.peer.outbox.push(|out| {
                    write(out, id, value);
                    out.push(b'\n');
                });
                self.peer.paid();
            }
            Some((batch, place)) => {
                let mut text = Vec::new();
                write(&mut text, id, value);
                batch.settle(&self.peer, Some((*place, text)));
            }
        }
    }
}
