//! A child that says whatever it likes, for the fuzz target in tests/fuzz and the tests below: it can't take the daemon
//! down, nor any call's one answer away.
//!
//! The bytes of an input are orders: what clients ask, what the child says and marks in its page, when it dies. After
//! each, and at the end, it is checked that every call was ended exactly once or is still owed its end, that the table
//! counts right, and that nothing grows but with what was asked.

mod clients;
mod processes;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use baskd_protocol::error::CancelledBy;
use serde::Deserialize;
use serde_json::json;

use super::calls::{Calls, Held, Property};
use super::methods::Methods;
use super::page::{Page, SLOT_BITS, SLOTS, slot_of};
use super::restart::Life;
use super::said::Said;
use super::worker::Event;
use super::{CallId, NewCall};
use clients::{Client, Tally};

const MOST_ORDERS: usize = 400;
const MAX_CALLS: usize = 12;
const MAX_PARAMS: usize = 2048;
const MAX_RESPONSE: usize = 64;
const MOST_CHILDREN: usize = 4;
/// Beyond its own calls' lines, what a child may be owed for each call: that it is cancelled, and may send more.
const TOLD_OF_A_CALL: usize = 200;
const METHODS: [&str; 6] = ["f", "safe", "beside", "g", "setProperty", "unknown"];

/// Lets a hostile child and hasty clients at a table of calls.
pub fn child(data: &[u8]) {
    let mut orders = Orders { data, at: 0 };
    let mut daemon = Daemon::new(orders.byte());
    for _ in 0..MOST_ORDERS {
        if orders.at >= data.len() {
            break;
        }
        daemon.obey(&mut orders);
        daemon.check();
    }
    daemon.end();
}

/// The bytes of an input, taken one by one; zeros after its end.
struct Orders<'a> {
    data: &'a [u8],
    at: usize,
}

impl Orders<'_> {
    fn byte(&mut self) -> u8 {
        let byte = self.data.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        byte
    }

    fn some(&mut self) -> Vec<u8> {
        let length = self.byte() as usize;
        (0..length.min(self.data.len().saturating_sub(self.at)))
            .map(|_| self.byte())
            .collect()
    }
}

/// One process, as the worker has it.
struct Child {
    worker: usize,
    seat: usize,
    page: Rc<Page>,
    said: Said,
}

struct Daemon {
    calls: Calls,
    workers: usize,
    children: Vec<Child>,
    tally: Rc<Tally>,
    held: Vec<Held>,
    /// Ids that the child may use, or misuse: the last ones that there were.
    known: VecDeque<CallId>,
    /// What was set, and is told to a process that was greeted before that.
    missed: Vec<String>,
    /// Calls of the daemon's own: how many there were at most.
    own: usize,
    /// Of all calls that there were.
    params_bytes: usize,
}

impl super::Backend {
    /// Ends all calls, those of notifications too, which otherwise hold all that there is.
    pub(crate) fn end_all(&self) {
        self.shared.change(|calls| calls.end_all(CancelledBy::Shutdown));
    }
}

impl Daemon {
    fn obey(&mut self, orders: &mut Orders<'_>) {
        let (order, which) = (orders.byte(), orders.byte());
        let child = usize::from(which & 7) % self.children.len();
        let Child { seat, worker, .. } = self.children[child];
        match order % 25 {
            0..=2 => self.submit(which, orders),
            3 => self.fill(child),
            4..=7 => {
                let line = self.line(which, orders);
                self.say(child, &line);
            }
            8 => {
                let bytes = orders.some();
                self.say(child, &bytes);
            }
            9 => {
                let id = self.id(which, orders);
                self.mark(child, slot_of(id), id);
            }
            10 => self.mark(child, usize::from(which), u64::from(orders.byte())),
            11 => {
                let id = self.id(which, orders);
                if which & 1 == 0 {
                    self.calls.cancel(id, CancelledBy::Client);
                } else {
                    self.calls.expire(id);
                }
            }
            12 => {
                let id = self.id(which, orders);
                self.calls.credit(id, u64::from(which & 3), u64::from(orders.byte()));
            }
            13 => self.calls.owner_gone(u64::from(which % 4)),
            14 => self.calls.pause(u64::from(which % 4)),
            15 => self.calls.resume(u64::from(which % 4)),
            16 => {
                self.calls.tend(seat, Duration::ZERO, Duration::ZERO);
                self.calls.take_interrupt(seat);
            }
            17 => self.die(child),
            18 => self.close(worker),
            19 => self.reopen(worker),
            20 => self.start_beside(worker),
            21 => self.ask(child),
            22 if which & 1 == 0 => self.calls.leave(seat),
            22 => self.calls.stay(seat),
            23 => self.move_to(child, usize::from(which >> 4) % self.workers),
            _ => self.calls.cancel_begun(seat, CancelledBy::Shutdown),
        }
        // Now and then the disk is slow.
        if order & 0x80 == 0 {
            self.written();
        }
    }

    fn submit(&mut self, which: u8, orders: &mut Orders<'_>) {
        let method = METHODS[usize::from(which) % METHODS.len()];
        let how = orders.byte();
        let params = match how & 3 {
            0 => None,
            1 => Some("[\"name\",1]".to_owned()),
            2 => Some(format!("{{\"name\":\"n{how}\",\"value\":[{how}]}}")),
            _ => Some(format!("[\"{}\"]", "x".repeat(usize::from(how)))),
        };
        let submitted = self.tally.submitted.get() + 1;
        self.tally.submitted.set(submitted);
        let client = Client {
            tally: self.tally.clone(),
            tag: submitted.to_string(),
            is_accepted: false,
            has_ended: false,
            takes: (how >> 2) & 3,
            ends_with_its_owner: how & 0x10 == 0,
        };
        let property = match &params {
            Some(params) if method == "setProperty" => Property::read(params),
            _ => Ok(None),
        };
        let new = NewCall {
            owner: u64::from(how >> 5) % 4,
            method,
            params: params.as_deref(),
            window: (how & 0x40 != 0).then_some(u64::from(how & 7)),
            sink: Box::new(client),
        };
        if let Some(id) = self.calls.submit(new, property) {
            self.know(id);
        }
        self.params_bytes += params.as_ref().map_or(0, String::len);
    }

    /// Writes to the child what there is, which it may read or not.
    fn fill(&mut self, child: usize) {
        let mut out = Vec::new();
        self.calls.fill(self.children[child].seat, &mut out);
        self.calls.take_wakes();
        let bound = 2 * self.params_bytes + (self.tally.submitted.get() + self.own) * TOLD_OF_A_CALL;
        assert!(
            out.len() <= bound,
            "{} bytes for a child, {bound} expected at most: {}",
            out.len(),
            String::from_utf8_lossy(&out)
        );
        for line in out.split_inclusive(|byte| *byte == b'\n') {
            let told: Told = serde_json::from_slice(line).unwrap_or_else(|error| {
                panic!("{}: {error}", String::from_utf8_lossy(line));
            });
            if let Some(id) = told.id {
                self.know(id);
            }
        }
    }

    fn know(&mut self, id: CallId) {
        self.known.push_back(id);
        if self.known.len() > 16 {
            self.known.pop_front();
        }
    }

    /// An id that there is or was; or one that never was, in a slot that is used, is not, or can't be.
    fn id(&self, which: u8, orders: &mut Orders<'_>) -> CallId {
        let place = orders.byte();
        let known = match self.known.len() {
            0 => 1 << SLOT_BITS,
            count => self.known[usize::from(place) % count],
        };
        match which >> 4 {
            12 => known + (1 << SLOT_BITS),
            13 => known ^ 1,
            14 => (u64::from(place) << SLOT_BITS) | (SLOTS as u64 - 1),
            15 => u64::MAX - u64::from(place),
            _ => known,
        }
    }

    /// A line of the kind that a router writes.
    fn line(&self, which: u8, orders: &mut Orders<'_>) -> Vec<u8> {
        let kind = orders.byte();
        let id = self.id(which, orders);
        let value = match kind >> 4 {
            0..=5 => "1".to_owned(),
            6..=9 => "\"".to_owned() + &"x".repeat(usize::from(orders.byte())) + "\"",
            10 | 11 => format!("}}{{\"id\":{id},\"result\":"),
            12 | 13 => String::from_utf8_lossy(&orders.some()).into_owned(),
            _ => String::new(),
        };
        let line = match kind % 8 {
            0 | 1 => format!("{{\"id\":{id},\"result\":{value}}}"),
            2 => format!("{{\"id\":{id},\"error\":{value}}}"),
            3 | 4 => format!("__STREAM__{{\"id\":{id},\"data\":{value}}}"),
            5 => format!("{{\"begun\":{value}}}"),
            6 => greeting(kind >> 4).to_owned(),
            _ => format!("{{\"failed\":{{\"stage\":\"import\",\"type\":\"E\",\"message\":\"{id}\"}}}}"),
        };
        let mut line = line.into_bytes();
        // Not always whole, and not always at once.
        if which & 2 == 0 {
            line.push(b'\n');
        }
        line
    }

    /// The child has written these bytes, which the worker has just read.
    fn say(&mut self, child: usize, bytes: &[u8]) {
        let said = &mut self.children[child].said;
        said.inbox.extend_from_slice(bytes);
        said.handle(&mut self.calls);
        if said.life != Life::NeverReady {
            assert!(
                said.inbox.len() <= 2 * MAX_RESPONSE + 64,
                "a line that is too long is kept"
            );
        }
        match said.news.take() {
            Some(Event::Ready(ready)) if ready.protocol == 1 => self.ready(child, Methods::new(*ready)),
            Some(_) => self.die(child),
            None => {}
        }
        self.held.append(&mut self.calls.take_held());
        // What connections have written gives its calls credit.
        for (place, id) in self.tally.events.take().into_iter().enumerate() {
            if place % 2 == 0 {
                self.calls.credit(id, 0, 40);
            }
        }
    }

    /// The child writes into its page what it likes.
    fn mark(&self, child: usize, slot: usize, word: u64) {
        let page = self.children[child].page.fd();
        rustix::io::pwrite(page, &word.to_le_bytes(), slot as u64 * 8).expect("the page can be written");
    }

    /// The journal has what was set.
    fn written(&mut self) {
        self.held.append(&mut self.calls.take_held());
        for held in self.held.drain(..) {
            if self.missed.len() < 3 {
                let (name, value) = (&held.property.name, &held.property.value);
                self.missed.push(json!({ "name": name, "value": value }).to_string());
            }
            held.end(None);
        }
    }

    fn check(&mut self) {
        self.held.append(&mut self.calls.take_held());
        assert_eq!(self.tally.lost.get(), 0, "a call was dropped without an answer");
        let open = self.tally.submitted.get() - self.tally.ended.get();
        let held = self.held.iter().filter(|held| held.sink.is_some()).count();
        let counted = self.calls.queued() + self.calls.in_flight();
        assert!(open - held <= counted, "{open} calls are open, {counted} are counted");
        assert!(
            counted <= open - held + self.own,
            "{counted} calls are counted, {open} are open"
        );
        assert!(self.calls.live() >= counted);
        if self.calls.is_idle() {
            assert_eq!(open, held);
        }
    }
}

/// A line for a child, of which only the call matters.
#[derive(Deserialize)]
struct Told {
    id: Option<CallId>,
}

/// The greeting of a child with more or fewer methods, or of another protocol.
fn greeting(which: u8) -> &'static str {
    static GREETINGS: OnceLock<Vec<String>> = OnceLock::new();
    &GREETINGS.get_or_init(|| (0..16).map(new_greeting).collect())[usize::from(which % 16)]
}

fn new_greeting(which: u8) -> String {
    let method = |name: &&str| {
        let kind = if *name == "g" { "generator" } else { "plain" };
        json!({ "name": name, "kind": kind, "params": [], "idempotent": *name == "safe", "concurrent": *name == "beside" })
    };
    let methods: Vec<_> = METHODS[..5].iter().skip(usize::from(which % 3)).map(method).collect();
    json!({ "ready": {
        "protocol": if which == 15 { 2 } else { 1 },
        "version": "0", "python": "3", "codec": "json", "controller": "C", "methods": methods,
    }})
    .to_string()
}

#[cfg(test)]
mod tests;
