//! A child that says whatever it likes, for the fuzz target in tests/fuzz and the tests below: it can't take the daemon
//! down, nor any call's one answer away.
//!
//! The bytes of an input are orders: what clients ask, what the child says and marks in its page, when it dies. After
//! each, and at the end, it is checked that every call was ended exactly once or is still owed its end, that the table
//! counts right, and that nothing grows but with what was asked.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use baskd_protocol::error::{CancelledBy, Error};
use serde::Deserialize;
use serde_json::json;

use super::calls::{Calls, Death, Gate, Held, Property};
use super::methods::Methods;
use super::page::{Page, SLOT_BITS, SLOTS, slot_of};
use super::restart::Life;
use super::said::Said;
use super::worker::Event;
use super::{Affinity, CallId, Item, MethodMetrics, NewCall, Outcome, Sink, Taken};

const MOST_ORDERS: usize = 400;
const MAX_CALLS: usize = 12;
const MAX_PARAMS: usize = 2048;
const MAX_RESPONSE: usize = 64;
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

/// What became of all calls together.
#[derive(Default)]
struct Tally {
    submitted: Cell<usize>,
    ended: Cell<usize>,
    /// Sinks that were dropped without an end.
    lost: Cell<usize>,
    events: RefCell<Vec<CallId>>,
}

struct Client {
    tally: Rc<Tally>,
    tag: String,
    is_accepted: bool,
    has_ended: bool,
    takes: u8,
    ends_with_its_owner: bool,
}

impl Sink for Client {
    fn accepted(&mut self, _: &Rc<MethodMetrics>) {
        assert!(!self.is_accepted, "accepted twice");
        self.is_accepted = true;
    }

    fn item(&mut self, item: Item<'_>) -> Taken {
        assert!(self.is_accepted, "an item of a call that was never accepted");
        assert!(item.data.len() <= MAX_RESPONSE, "a partial result that is too long");
        self.tally.events.borrow_mut().push(item.call);
        match self.takes {
            0 => Taken::Now,
            1 => Taken::Later,
            _ => Taken::No(Error::overloaded_unread(1)),
        }
    }

    fn end(mut self: Box<Self>, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Result(_) => assert!(self.is_accepted, "a result of a call that was never accepted"),
            Outcome::Error(_) => {}
        }
        self.has_ended = true;
        self.tally.ended.set(self.tally.ended.get() + 1);
    }

    fn tag(&self) -> Option<&str> {
        Some(&self.tag)
    }

    fn is_of_few(&self) -> bool {
        self.takes == 1
    }

    fn ends_with_its_owner(&self) -> bool {
        self.ends_with_its_owner
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.has_ended {
            self.tally.lost.set(self.tally.lost.get() + 1);
        }
    }
}

/// One process, as the worker has it.
struct Child {
    seat: usize,
    page: Rc<Page>,
    said: Said,
}

struct Daemon {
    calls: Calls,
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

// What follows is all that this file knows of how processes come to the table and go.
impl Daemon {
    fn new(shape: u8) -> Daemon {
        let workers = 1 + usize::from(shape & 1);
        let affinity = match shape & 2 {
            0 => Affinity::None,
            _ => Affinity::Connection,
        };
        let mut daemon = Daemon {
            calls: Calls::new(workers, affinity, MAX_CALLS, MAX_PARAMS),
            children: Vec::new(),
            tally: Rc::default(),
            held: Vec::new(),
            known: VecDeque::new(),
            missed: Vec::new(),
            own: 0,
            params_bytes: 0,
        };
        for worker in 0..workers {
            let child = daemon.start(worker);
            daemon.children.push(child);
        }
        daemon
    }

    fn start(&mut self, worker: usize) -> Child {
        let page = page();
        let seat = self.calls.take_seat(worker, page.clone()).expect("there is a seat");
        Child {
            seat,
            page,
            said: Said::new(seat, MAX_RESPONSE),
        }
    }

    /// As the supervisor does when a process has said that it is ready.
    fn ready(&mut self, child: usize, methods: Methods) {
        let missed = std::mem::take(&mut self.missed);
        self.own += missed.len();
        self.params_bytes += missed.iter().map(String::len).sum::<usize>();
        let seat = self.children[child].seat;
        self.calls.ready(seat, Rc::new(methods), missed);
    }

    fn die(&mut self, child: usize) {
        let seat = self.children[child].seat;
        self.calls.set_gate(child, Gate::Hold { starting: true });
        let death = Death {
            how: "died",
            exit: json!({ "code": 1 }),
            stderr: &[],
            snapshot_age: None,
        };
        self.calls.died(seat, &death);
        self.children[child] = self.start(child);
    }

    fn close(&mut self, child: usize) {
        let closed = Error::backend_unavailable("it is closed", &[], None);
        self.calls.set_gate(child, Gate::Closed(closed));
    }

    fn reopen(&mut self, child: usize) {
        let gate = match self.children[child].said.life {
            Life::NeverReady => Gate::Hold { starting: true },
            Life::Ready | Life::Answered => Gate::Open,
        };
        self.calls.set_gate(child, gate);
    }
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
        let child = usize::from(which & 1) % self.children.len();
        let seat = self.children[child].seat;
        match order % 20 {
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
            18 => self.close(child),
            _ => self.reopen(child),
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
            Some(Event::Ready(ready)) if ready.protocol == 1 => self.ready(child, Methods::new(*ready, None)),
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

    /// Every process is gone, and no other comes.
    fn end(mut self) {
        for child in 0..self.children.len() {
            self.die(child);
            self.check();
        }
        for child in 0..self.children.len() {
            self.close(child);
        }
        self.written();
        self.check();
        assert_eq!(
            self.tally.ended.get(),
            self.tally.submitted.get(),
            "not all calls were answered"
        );
        assert_eq!(
            (self.calls.live(), self.calls.queued(), self.calls.in_flight()),
            (0, 0, 0)
        );
        assert_eq!(self.calls.properties(), (0, 0));
        (0..4).for_each(|owner| self.calls.owner_gone(owner));
        drop(self.calls);
        assert_eq!(self.tally.lost.get(), 0);
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

/// A page for a new process. To make one takes a few system calls, so that those that nobody has any more are used again.
fn page() -> Rc<Page> {
    thread_local!(static PAGES: RefCell<Vec<Rc<Page>>> = const { RefCell::new(Vec::new()) });
    PAGES.with_borrow_mut(|pages| {
        let free = pages.iter().find(|page| Rc::strong_count(page) == 1).cloned();
        match free {
            Some(page) => {
                // The first slots and the last are all that is ever marked here, as begun or as cancelled.
                let zeros = [0; 8192];
                let (begun, cancelled) = (0, SLOTS as u64 * 8);
                for (at, length) in [(begun, 4096), (cancelled - 4096, 8192)] {
                    rustix::io::pwrite(page.fd(), &zeros[..length], at).expect("the page can be written");
                }
                page
            }
            None => {
                let page = Rc::new(Page::new().expect("there is memory for a page"));
                pages.push(page.clone());
                page
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay;
    use proptest::prelude::*;

    #[test]
    fn the_corpus() {
        replay::corpus("router", child);
    }

    /// A table with so many children, all ready, and the ids of so many calls that they were sent.
    fn busy(children: u8, calls: usize) -> (Daemon, Vec<CallId>) {
        let mut daemon = Daemon::new(children - 1);
        for child in 0..children.into() {
            daemon.say(child, &[greeting(0).as_bytes(), b"\n"].concat());
        }
        for _ in 0..calls {
            // The generator, whose client says how many items it may send.
            daemon.submit(3, &mut Orders { data: &[0x41], at: 0 });
        }
        (0..children.into()).for_each(|child| daemon.fill(child));
        let ids = daemon.known.iter().copied().take(calls).collect();
        (daemon, ids)
    }

    #[test]
    fn a_child_has_only_its_own_calls_to_end() {
        let (mut daemon, ids) = busy(2, 2);
        let own = |daemon: &Daemon, child| {
            let has = |id: &&CallId| daemon.calls.has(child, **id);
            *ids.iter().find(has).unwrap()
        };
        let others = own(&daemon, 1);
        let (long, before) = ("x".repeat(1000), daemon.children[0].said.senseless);
        for line in [
            format!("{{\"id\":{others},\"result\":1}}\n"),
            format!("{{\"id\":{others},\"error\":\"{long}\"}}\n"),
            format!("__STREAM__{{\"id\":{others},\"data\":1}}\n"),
            format!("__STREAM__{{\"id\":{others},\"data\":\"{long}\"}}\n"),
        ] {
            daemon.say(0, line.as_bytes());
        }
        assert_eq!(daemon.tally.ended.get(), 0);
        assert_eq!(daemon.children[0].said.senseless, before + 2);
        assert_eq!(daemon.children[0].said.life, Life::Ready);
        daemon.say(
            1,
            format!("__STREAM__{{\"id\":{others},\"data\":\"{long}\"}}\n").as_bytes(),
        );
        assert_eq!(daemon.tally.ended.get(), 1);
        daemon.end();
    }

    #[test]
    fn who_answers_nothing_has_not_answered() {
        let mut daemon = Daemon::new(0);
        daemon.say(0, b"{\"id\":32768,\"result\":1}\n{\"id\":1,\"error\":{}}\n");
        // So its death is one of those that have a back-off; and it can still become ready.
        assert_eq!(daemon.children[0].said.life, Life::NeverReady);
        daemon.say(0, &[greeting(0).as_bytes(), b"\n"].concat());
        assert_eq!(daemon.children[0].said.life, Life::Ready);
        daemon.end();
    }

    #[test]
    fn a_greeting_that_never_ends_is_a_failed_start() {
        let mut said = Said::new(0, MAX_RESPONSE);
        let mut calls = Daemon::new(0).calls;
        said.inbox.extend_from_slice(b"{\"ready\":{\"doc\":\"");
        for _ in 0..65 {
            said.inbox.resize(said.inbox.len() + (1 << 20), b'x');
            said.handle(&mut calls);
        }
        assert!(said.inbox.is_empty(), "it is not kept");
        let Some(Event::Failed(failed)) = said.news.take() else {
            panic!("nothing is said of it");
        };
        assert!(
            failed.message.ends_with("it is longer than 64 MiB"),
            "{}",
            failed.message
        );
    }

    #[test]
    fn a_child_that_does_not_read_is_told_once_how_much_more_it_may_send() {
        let (mut daemon, ids) = busy(1, 1);
        for _ in 0..1000 {
            daemon.calls.credit(ids[0], 2, 10);
        }
        let mut out = Vec::new();
        daemon.calls.fill(0, &mut out);
        let told = format!("{{\"more\":[{},2000,10000]}}\n", ids[0]);
        assert_eq!(String::from_utf8(out).unwrap(), told);
        // Nor is it told of calls that it has no more.
        daemon.calls.credit(ids[0], 1, 0);
        daemon.say(0, format!("{{\"id\":{},\"result\":1}}\n", ids[0]).as_bytes());
        let mut out = Vec::new();
        daemon.calls.fill(0, &mut out);
        assert!(out.is_empty());
        daemon.end();
    }

    /// Orders as they come, and those of a process that is ready and has calls.
    fn orders() -> impl Strategy<Value = Vec<u8>> {
        let ready = || Just(vec![4, 0, 6, 0]);
        let call = (0..3u8, 0..6u8, any::<u8>()).prop_map(|(order, method, how)| vec![order, method, how]);
        let reply = (4..8u8, any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(a, b, c, d)| vec![a, b & 0xcd, c, d]);
        let any_order = prop::collection::vec(any::<u8>(), 1..5);
        let order = prop_oneof![
            1 => ready(),
            4 => call,
            2 => Just(vec![3, 0]),
            1 => Just(vec![3, 1]),
            4 => reply,
            4 => (9..20u8, any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| vec![a, b, c]),
            2 => any_order,
        ];
        let first = any::<u8>().prop_map(|shape| vec![shape, 4, 0, 6, 0, 4, 1, 6, 0]);
        (first, prop::collection::vec(order, 0..80)).prop_map(|(first, orders)| [first, orders.concat()].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn any_child(data in prop::collection::vec(any::<u8>(), 0..600)) {
            child(&data);
        }

        #[test]
        fn a_child_that_is_ready(data in orders()) {
            child(&data);
        }
    }
}
