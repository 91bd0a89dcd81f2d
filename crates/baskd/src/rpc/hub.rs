//! Messages of all calls, and log lines, for those who subscribed. Who reads too slowly loses the oldest, and is told
//! how many.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use baskd_protocol::reply;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::outbox::{LOW, Outbox};
use super::peer::Peer;
use crate::backend::Item;
use crate::logs::{LogLine, Logs};

/// How much one subscription keeps for a slow reader.
const KEPT_EVENTS: usize = 1024;
const KEPT_BYTES: usize = 256 << 10;

#[derive(Default)]
pub(crate) struct Hub {
    messages: RefCell<Vec<Rc<Lossy>>>,
    logs: RefCell<Vec<Rc<Lossy>>>,
}

/// A subscription that loses its oldest events rather than wait.
pub(crate) struct Lossy {
    pub(crate) id: u64,
    notification: &'static str,
    /// The only method whose messages are wanted.
    method: Option<String>,
    peer: Weak<Peer>,
    kept: RefCell<VecDeque<Vec<u8>>>,
    kept_bytes: Cell<usize>,
    dropped: Cell<u64>,
    /// The numbers of the next line of the log that it has yet to be told, and of the first one that it was told of, or
    /// will be, as it came.
    behind: Cell<Option<(u64, u64)>>,
    ended: Cell<bool>,
}

impl Hub {
    pub(crate) fn new(logs: &Logs) -> Rc<Hub> {
        let hub = Rc::new(Hub::default());
        let listener = Rc::downgrade(&hub);
        logs.listen(Box::new(move |line| {
            listener.upgrade().map(|hub| hub.log(line)).is_some()
        }));
        hub
    }

    pub(crate) fn subscribe_messages(&self, peer: &Rc<Peer>, id: u64, method: Option<String>) {
        let mut messages = self.messages.borrow_mut();
        messages.retain(|lossy| !lossy.ended.get());
        messages.push(Lossy::new(peer, id, "messages.item", method));
    }

    /// Lines from now on, and before them the `last` ones that are kept. To be called when the subscription has been
    /// acknowledged.
    pub(crate) fn subscribe_logs(&self, peer: &Rc<Peer>, id: u64, last: Option<u64>) {
        let lossy = Lossy::new(peer, id, "logs.item", None);
        lossy.behind.set(last.map(|lines| peer.service.logs.last(lines)));
        lossy.flush(&peer.outbox, &peer.service.logs);
        let mut logs = self.logs.borrow_mut();
        logs.retain(|lossy| !lossy.ended.get());
        logs.push(lossy);
    }

    /// How many subscribe to all messages, and to the log.
    pub(crate) fn open(&self) -> (usize, usize) {
        let open = |of: &RefCell<Vec<Rc<Lossy>>>| of.borrow().iter().filter(|lossy| !lossy.ended.get()).count();
        (open(&self.messages), open(&self.logs))
    }

    /// An item of any call.
    pub(crate) fn message(&self, item: &Item<'_>) {
        let mut messages = self.messages.borrow_mut();
        if messages.is_empty() {
            return;
        }
        messages.retain(|lossy| !lossy.ended.get());
        for lossy in messages
            .iter()
            .filter(|lossy| lossy.method.as_deref().is_none_or(|method| method == item.method))
        {
            lossy.push(|out| push_message(out, item, None, lossy.id));
        }
    }

    fn log(&self, line: &LogLine) {
        let mut logs = self.logs.borrow_mut();
        logs.retain(|lossy| !lossy.ended.get());
        if logs.is_empty() {
            return;
        }
        let event = log_event(line);
        for lossy in logs.iter() {
            lossy.push(|out| reply::event(out, lossy.notification, lossy.id, &[event.as_bytes()]));
        }
    }
}

/// A line's `result` in a `logs.item`.
fn log_event(line: &LogLine) -> String {
    let about = line.about.as_ref();
    json!({
        "time": OffsetDateTime::from(line.time).format(&Rfc3339).unwrap_or_default(),
        "level": line.level,
        "stream": line.stream,
        "call": about.map(|about| about.call),
        "method": about.map(|about| &about.method),
        "line": line.line,
    })
    .to_string()
}

/// One `messages.item` line. `request` is the client's id of the call, as JSON: only its own client is told.
pub(crate) fn push_message(out: &mut Vec<u8>, item: &Item<'_>, request: Option<&str>, subscription: u64) {
    let mut head = Vec::with_capacity(64 + item.method.len());
    head.extend_from_slice(b"{\"call\":");
    reply::push_number(&mut head, item.number);
    if let Some(request) = request {
        head.extend_from_slice(b",\"request\":");
        head.extend_from_slice(request.as_bytes());
    }
    head.extend_from_slice(b",\"method\":\"");
    head.extend_from_slice(item.method.as_bytes());
    head.extend_from_slice(b"\",\"data\":");
    reply::event(out, "messages.item", subscription, &[&head, item.data, b"}"]);
}

impl Lossy {
    fn new(peer: &Rc<Peer>, id: u64, notification: &'static str, method: Option<String>) -> Rc<Lossy> {
        let lossy = Rc::new(Lossy {
            id,
            notification,
            method,
            peer: Rc::downgrade(peer),
            kept: RefCell::default(),
            kept_bytes: Cell::new(0),
            dropped: Cell::new(0),
            behind: Cell::new(None),
            ended: Cell::new(false),
        });
        peer.lossy.borrow_mut().push(lossy.clone());
        lossy
    }

    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.kept.borrow_mut().clear();
        self.kept_bytes.set(0);
        self.behind.set(None);
    }

    fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(peer) = self.peer.upgrade() else {
            return self.end();
        };
        let is_up = self.behind.get().is_none() && self.kept.borrow().is_empty() && self.dropped.get() == 0;
        if is_up && peer.outbox.len() <= LOW {
            return peer.outbox.push(write);
        }
        let mut line = Vec::new();
        write(&mut line);
        let mut kept = self.kept.borrow_mut();
        self.kept_bytes.set(self.kept_bytes.get() + line.len());
        kept.push_back(line);
        while kept.len() > KEPT_EVENTS || self.kept_bytes.get() > KEPT_BYTES {
            let Some(oldest) = kept.pop_front() else { break };
            self.kept_bytes.set(self.kept_bytes.get() - oldest.len());
            self.dropped.set(self.dropped.get() + 1);
            let metrics = &peer.service.metrics;
            let total = match self.notification {
                "logs.item" => &metrics.dropped_logs,
                _ => &metrics.dropped_messages,
            };
            total.set(total.get() + 1);
        }
    }

    /// The reader has room again.
    pub(crate) fn flush(&self, outbox: &Outbox, logs: &Logs) {
        if !self.catch_up(outbox, logs) {
            return;
        }
        let dropped = self.dropped.take();
        let kept = self.kept.take();
        self.kept_bytes.set(0);
        if dropped == 0 && kept.is_empty() {
            return;
        }
        outbox.push(|out| {
            if dropped > 0 {
                self.event(out, &format!("{{\"dropped\":{dropped}}}"));
            }
            for line in kept {
                out.extend_from_slice(&line);
            }
        });
    }

    /// Tells of lines that were there before it, as long as there is room. Whether it has heard of all.
    fn catch_up(&self, outbox: &Outbox, logs: &Logs) -> bool {
        let Some((mut next, end)) = self.behind.get() else {
            return true;
        };
        while next < end {
            if outbox.len() > LOW {
                self.behind.set(Some((next, end)));
                return false;
            }
            match logs.kept(next) {
                Ok(line) => {
                    outbox.push(|out| self.event(out, &log_event(&line)));
                    next += 1;
                }
                // They are not kept any more.
                Err(first) => {
                    let dropped = first.min(end) - next;
                    outbox.push(|out| self.event(out, &format!("{{\"dropped\":{dropped}}}")));
                    next = first.min(end);
                }
            }
        }
        outbox.push(|out| self.event(out, "{\"live\":true}"));
        self.behind.set(None);
        true
    }

    fn event(&self, out: &mut Vec<u8>, event: &str) {
        reply::event(out, self.notification, self.id, &[event.as_bytes()]);
    }
}
