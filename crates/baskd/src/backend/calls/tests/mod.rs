mod told;
mod workers;

use super::super::page::Page;
use super::super::{Item, Known, NewCall, Outcome, Taken};
use super::seat::AHEAD;
use super::*;
use baskd_protocol::error::CancelledBy;
use serde_json::json;
use std::cell::RefCell;

type Seen = Rc<RefCell<Vec<String>>>;

struct Recorder {
    tag: String,
    seen: Seen,
    taken: fn() -> Taken,
}

impl Sink for Recorder {
    fn accepted(&mut self, _: &Rc<Known>) {
        self.seen.borrow_mut().push(format!("{} accepted", self.tag));
    }

    fn item(&mut self, item: Item<'_>) -> Taken {
        self.seen
            .borrow_mut()
            .push(format!("{} item {}", self.tag, String::from_utf8_lossy(item.data)));
        (self.taken)()
    }

    fn end(self: Box<Self>, outcome: Outcome<'_>) {
        let line = match outcome {
            Outcome::Result(result) => format!("{} = {}", self.tag, String::from_utf8_lossy(result)),
            Outcome::Error(error) => {
                let error: serde_json::Value = serde_json::from_slice(error).unwrap();
                let data = &error["data"];
                let what = ["ran", "where", "by", "limit"]
                    .into_iter()
                    .find_map(|name| data.get(name))
                    .unwrap_or(&serde_json::Value::Null);
                format!("{} ! {} {what}", self.tag, error["code"])
            }
        };
        self.seen.borrow_mut().push(line);
    }

    fn tag(&self) -> Option<&str> {
        Some(&self.tag)
    }
}

struct Table {
    calls: Calls,
    /// By seat.
    pages: Vec<Rc<Page>>,
    seen: Seen,
}

impl Table {
    fn new() -> Table {
        let mut table = Table::starting();
        table.ready();
        table
    }

    fn starting() -> Table {
        Table::of(1, Affinity::None)
    }

    /// With so many workers, all starting.
    fn of(workers: usize, affinity: Affinity) -> Table {
        let mut table = Table {
            calls: Calls::new(workers, affinity, 1000, 1 << 20),
            pages: Vec::new(),
            seen: Seen::default(),
        };
        for seat in 0..workers {
            table.pages.push(Rc::new(Page::new().unwrap()));
            assert_eq!(table.calls.take_seat(seat, table.pages[seat].clone()), Some(seat));
        }
        table
    }

    /// With so many workers, all ready.
    fn with(workers: usize, affinity: Affinity) -> Table {
        let mut table = Table::of(workers, affinity);
        (0..workers).for_each(|seat| table.ready_at(seat, &[]));
        table
    }

    fn ready(&mut self) {
        self.ready_at(0, &[]);
    }

    fn ready_at(&mut self, seat: usize, missed: &[&str]) {
        let method = |name: &str, kind: &str| {
            json!({
                "name": name, "kind": kind, "params": [],
                "idempotent": name == "safe", "concurrent": name == "beside",
            })
        };
        let methods = [
            method("f", "plain"),
            method("safe", "plain"),
            method("beside", "plain"),
            method("g", "generator"),
            method("setProperty", "plain"),
        ];
        let ready = json!({
            "protocol": 1, "version": "0", "python": "3", "codec": "json", "controller": "C", "methods": methods,
        });
        let methods = Rc::new(Methods::new(serde_json::from_value(ready).unwrap()));
        let missed = missed.iter().map(|params| (*params).to_owned()).collect();
        self.calls.ready(seat, methods, missed);
    }

    fn call(&mut self, owner: u64, tag: &str, method: &str) -> Option<CallId> {
        self.call_with(owner, tag, method, None, || Taken::Now)
    }

    fn call_with(
        &mut self,
        owner: u64,
        tag: &str,
        method: &str,
        params: Option<&str>,
        taken: fn() -> Taken,
    ) -> Option<CallId> {
        let sink = Box::new(Recorder {
            tag: tag.to_owned(),
            seen: self.seen.clone(),
            taken,
        });
        let property = match params {
            Some(params) if method == "setProperty" => Property::read(params),
            _ => Ok(None),
        };
        self.calls.submit(
            NewCall {
                owner,
                method,
                params,
                window: None,
                trace: None,
                sink,
            },
            property,
        )
    }

    fn fill(&mut self) -> String {
        self.fill_at(0)
    }

    fn fill_at(&mut self, seat: usize) -> String {
        let mut out = Vec::new();
        self.calls.fill(seat, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn begin(&self, id: CallId) {
        self.begin_at(0, id);
    }

    fn begin_at(&self, seat: usize, id: CallId) {
        rustix::io::pwrite(self.pages[seat].fd(), &id.to_le_bytes(), (slot_of(id) * 8) as u64).unwrap();
    }

    fn reply(&mut self, id: CallId, outcome: Outcome<'_>) -> bool {
        self.reply_at(0, id, outcome)
    }

    /// Whether it made sense.
    fn reply_at(&mut self, seat: usize, id: CallId, outcome: Outcome<'_>) -> bool {
        self.calls.reply(seat, id, outcome) != Reply::Senseless
    }

    fn die(&mut self) {
        self.die_at(0);
    }

    fn die_at(&mut self, seat: usize) {
        self.calls.set_gate(seat, Gate::Hold { starting: true });
        let death = Death {
            how: "died",
            exit: json!({ "code": 1 }),
            stderr: &[],
            snapshot_age: None,
        };
        self.calls.died(seat, &death);
        self.pages[seat] = Rc::new(Page::new().unwrap());
        // The next process is there at once.
        assert_eq!(self.calls.take_seat(seat, self.pages[seat].clone()), Some(seat));
    }

    fn seen(&self) -> Vec<String> {
        self.seen
            .borrow_mut()
            .drain(..)
            .filter(|line| !line.ends_with("accepted"))
            .collect()
    }
}

#[test]
fn a_call_is_sent_and_answered_once() {
    let mut table = Table::new();
    let id = table.call_with(1, "a", "f", Some("{\"x\":1}"), || Taken::Now).unwrap();
    assert_eq!(
        table.fill(),
        format!("{{\"id\":{id},\"method\":\"f\",\"params\":{{\"x\":1}}}}\n")
    );
    assert!(table.calls.item(0, id, b"5", 30));
    assert!(table.reply(id, Outcome::Result(b"6")));
    assert!(!table.reply(id, Outcome::Result(b"7")));
    assert_eq!(table.seen(), ["a item 5", "a = 6"]);
    assert!(table.calls.is_idle());
}

#[test]
fn a_reply_to_a_call_that_was_never_sent_is_nobodys() {
    let mut table = Table::new();
    let id = table.call(1, "a", "f").unwrap();
    assert!(!table.reply(id, Outcome::Result(b"1")));
    assert!(!table.reply(u64::MAX, Outcome::Result(b"1")));
    assert!(!table.calls.item(0, 12345, b"1", 1));
    assert_eq!(table.seen(), [""; 0]);
}

#[test]
fn an_unknown_method_is_refused_at_once_or_when_the_methods_are_known() {
    let mut table = Table::starting();
    assert!(table.call(1, "early", "nope").is_some());
    assert!(table.call(1, "good", "f").is_some());
    assert!(table.seen.borrow().is_empty());
    table.ready();
    assert_eq!(*table.seen.borrow(), ["early ! -32601 null", "good accepted"]);
    table.seen();
    assert!(table.call(1, "late", "nope").is_none());
    assert_eq!(table.seen(), ["late ! -32601 null"]);
    assert_eq!(table.calls.queued(), 1);
}

/// Has `f` give results of this size at once, until they are what is expected of it.
fn has_given(table: &mut Table, bytes: usize) {
    for size in std::iter::repeat_n(1, 50).chain([bytes]) {
        let id = table.call(9, "before", "f").unwrap();
        table.fill();
        table.reply(id, Outcome::Result(&vec![b'1'; size]));
        table.calls.settle(0);
    }
    // At once, however busy the machine is that this is tested on.
    table.calls.seats[0].pace_is(Duration::from_nanos(1));
    table.seen();
}

#[test]
fn calls_whose_results_are_large_are_not_sent_far_ahead() {
    for (bytes, ahead) in [(10, AHEAD), (6 << 20, 2), (20 << 20, 1)] {
        let mut table = Table::new();
        has_given(&mut table, bytes);
        for n in 0..100 {
            table.call(1, &n.to_string(), "f");
        }
        assert_eq!(table.fill().lines().count(), ahead);
    }
}

#[test]
fn only_so_many_calls_are_ahead_of_python() {
    let mut table = Table::new();
    has_given(&mut table, 10);
    let ids: Vec<_> = (0..200).map(|n| table.call(1, &n.to_string(), "f").unwrap()).collect();
    assert_eq!(table.fill().lines().count(), AHEAD);
    assert_eq!(table.fill(), "");
    for id in &ids[..10] {
        table.begin(*id);
    }
    assert_eq!(table.fill().lines().count(), 10);
    for id in &ids[10..20] {
        table.reply(*id, Outcome::Result(b"1"));
    }
    assert_eq!(table.fill().lines().count(), 10);
}

#[test]
fn calls_that_wait_for_a_thread_hold_up_nobody() {
    let mut table = Table::new();
    let besides: Vec<_> = (0..3 * AHEAD)
        .map(|n| table.call(1, &n.to_string(), "beside").unwrap())
        .collect();
    let plain = table.call(1, "plain", "f").unwrap();
    let late = table.call(2, "late", "beside").unwrap();
    let sent = table.fill();
    assert!(sent.starts_with(&format!("{{\"id\":{plain},")), "{sent}");
    assert_eq!(sent.lines().count(), 1 + AHEAD);
    assert_eq!(sent.lines().filter(|line| line.contains(&late.to_string())).count(), 1);
    table.reply(besides[0], Outcome::Result(b"1"));
    assert_eq!(table.fill().lines().count(), 1);
    table.die();
    table.ready();
    assert_eq!(table.fill().lines().count(), 1 + AHEAD);
}

#[test]
fn a_crash_costs_the_calls_that_had_begun_and_keeps_the_others_in_order() {
    let mut table = Table::new();
    let ids: Vec<_> = ["a", "b", "c"]
        .iter()
        .map(|tag| table.call(1, tag, "f").unwrap())
        .collect();
    table.fill();
    table.begin(ids[0]);
    table.call(1, "d", "f");
    table.die();
    assert_eq!(table.seen(), ["a ! -32021 \"yes\""]);
    assert_eq!(table.fill(), "");
    table.ready();
    let sent = table.fill();
    let order: Vec<_> = sent
        .lines()
        .map(|line| line.split([':', ',']).nth(1).unwrap().parse::<u64>().unwrap())
        .collect();
    assert_eq!(order[..2], [ids[1], ids[2]]);
    assert_eq!(order.len(), 3);
    assert!(table.reply(ids[1], Outcome::Result(b"1")));
    assert_eq!(table.seen(), ["b = 1"]);
}

#[test]
fn a_call_that_two_processes_died_of_before_it_began_is_given_up_and_those_behind_it_are_kept() {
    let mut table = Table::new();
    table.call(1, "a", "f");
    table.call(1, "b", "f");
    for _ in 0..2 {
        table.fill();
        table.die();
        table.ready();
    }
    assert_eq!(table.seen(), ["a ! -32021 \"no\""]);
    assert_eq!(table.fill().lines().count(), 1);
}

#[test]
fn a_call_that_waited_behind_the_ones_that_processes_died_of_is_kept_for_ever() {
    let mut table = Table::new();
    let mut running: Vec<_> = (0..5).map(|n| table.call(1, &n.to_string(), "f").unwrap()).collect();
    let waiting = table.call(1, "waiting", "f").unwrap();
    running.reverse();
    while let Some(id) = running.pop() {
        table.fill();
        table.begin(id);
        table.die();
        table.ready();
    }
    assert_eq!(table.seen().len(), 5);
    table.fill();
    assert!(table.reply(waiting, Outcome::Result(b"1")));
    assert_eq!(table.seen(), ["waiting = 1"]);
}

#[test]
fn an_idempotent_call_runs_again_once_unless_it_has_sent_something() {
    let mut table = Table::new();
    let again = table.call(1, "again", "safe").unwrap();
    let sender = table.call(1, "sender", "safe").unwrap();
    table.fill();
    table.begin(again);
    table.begin(sender);
    table.calls.item(0, sender, b"1", 10);
    table.die();
    assert_eq!(table.seen(), ["sender item 1", "sender ! -32021 \"yes\""]);
    table.ready();
    table.fill();
    table.begin(again);
    table.die();
    assert_eq!(table.seen(), ["again ! -32021 \"yes\""]);
}

#[test]
fn a_cancelled_call_in_the_queue_costs_nothing() {
    let mut table = Table::new();
    let a = table.call(1, "a", "f").unwrap();
    let b = table.call(1, "b", "f").unwrap();
    assert!(table.calls.cancel(a, CancelledBy::Client));
    assert!(!table.calls.cancel(a, CancelledBy::Client));
    assert_eq!(table.seen(), ["a ! -32024 \"client\""]);
    assert_eq!(table.fill(), format!("{{\"id\":{b},\"method\":\"f\"}}\n"));
    assert!(!table.calls.take_interrupt(0));
}

#[test]
fn calls_that_come_and_are_cancelled_for_ever_leave_nothing() {
    let mut table = Table::new();
    let waiting = table.call(1, "waiting", "f").unwrap();
    for _ in 0..10_000 {
        let id = table.call(1, "a", "f").unwrap();
        table.calls.cancel(id, CancelledBy::Client);
    }
    assert!(table.calls.lines[0].main.len() < 2000);
    assert_eq!(table.fill(), format!("{{\"id\":{waiting},\"method\":\"f\"}}\n"));
}

#[test]
fn a_cancelled_call_that_runs_is_answered_at_once_and_keeps_its_slot() {
    let mut table = Table::new();
    let a = table.call(1, "a", "f").unwrap();
    table.fill();
    table.begin(a);
    assert_eq!(table.calls.find(1, "a"), Some(a));
    assert_eq!(table.calls.find(2, "a"), None);
    assert!(table.calls.cancel(a, CancelledBy::Client));
    assert_eq!(table.seen(), ["a ! -32024 \"client\""]);
    assert!(table.calls.take_interrupt(0));
    assert_eq!(table.fill(), format!("{{\"cancel\":{a}}}\n"));
    let b = table.call(1, "b", "f").unwrap();
    assert_ne!(slot_of(a), slot_of(b));
    assert!(table.calls.item(0, a, b"late", 10));
    assert!(table.reply(a, Outcome::Result(b"late")));
    assert_eq!(table.seen(), [""; 0]);
    let c = table.call(1, "c", "f").unwrap();
    assert_eq!(slot_of(a), slot_of(c));
    assert!(!table.reply(a, Outcome::Result(b"again")));
}

#[test]
fn a_timeout_says_where_the_call_was() {
    let mut table = Table::starting();
    let starting = table.call(1, "starting", "f").unwrap();
    table.calls.expire(starting);
    table.ready();
    let running = table.call(1, "running", "f").unwrap();
    let ahead = table.call(1, "ahead", "f").unwrap();
    table.fill();
    table.begin(running);
    let queued = table.call(1, "queued", "f").unwrap();
    for id in [running, ahead, queued] {
        table.calls.expire(id);
    }
    assert_eq!(
        table.seen(),
        [
            "starting ! -32023 \"starting\"",
            "running ! -32023 \"running\"",
            "ahead ! -32023 \"queued\"",
            "queued ! -32023 \"queued\""
        ]
    );
}

#[test]
fn credit_is_returned_when_half_a_window_was_taken() {
    let mut table = Table::new();
    let id = table.call_with(1, "a", "g", None, || Taken::Later).unwrap();
    table.fill();
    let half = WINDOW_BYTES / 2;
    table.calls.item(0, id, b"1", half - 1);
    assert_eq!(table.fill(), "");
    table.calls.credit(id, 0, half - 1);
    assert_eq!(table.fill(), "");
    table.calls.item(0, id, b"2", 1);
    table.calls.credit(id, 0, 1);
    assert_eq!(table.fill(), format!("{{\"more\":[{id},0,{half}]}}\n"));
    table.calls.credit(id, 3, 0);
    assert_eq!(table.fill(), format!("{{\"more\":[{id},3,0]}}\n"));
}

#[test]
fn a_method_that_keeps_a_thread_may_wait_only_so_long_for_its_reader_and_a_generator_for_ever() {
    let mut table = Table::new();
    let plain = table.call_with(1, "plain", "f", None, || Taken::Later).unwrap();
    let beside = table.call_with(1, "beside", "beside", None, || Taken::Later).unwrap();
    let generator = table.call_with(1, "generator", "g", None, || Taken::Later).unwrap();
    table.fill();
    for id in [plain, beside, generator] {
        // A little of it was taken, too little to be told.
        table.calls.item(0, id, b"1", 1000);
        table.calls.credit(id, 0, 1000);
        table.calls.item(0, id, b"1", WINDOW_BYTES - 1000);
    }
    assert!(table.calls.needs_tending());
    table.seen();
    table.calls.tend(0, Duration::from_secs(60), Duration::ZERO);
    assert_eq!(table.seen(), [""; 0]);
    table.calls.tend(0, Duration::ZERO, Duration::from_secs(60));
    let seen = ["plain ! -32024 \"slow reader\"", "beside ! -32024 \"slow reader\""];
    assert_eq!(table.seen(), seen);
}

/// A call of `method` that has begun and was cancelled.
fn abandoned(table: &mut Table, method: &str) {
    let id = table.call(1, "a", method).unwrap();
    table.fill();
    table.begin(id);
    table.calls.cancel(id, CancelledBy::Client);
}

fn tend(table: &mut Table, grace: Duration) -> bool {
    table.calls.tend(0, Duration::from_secs(60), grace).is_some()
}

#[test]
fn python_is_killed_for_a_cancelled_call_only_when_others_wait() {
    let mut table = Table::new();
    abandoned(&mut table, "f");
    assert!(!tend(&mut table, Duration::ZERO));
    table.call(2, "b", "f");
    table.fill();
    assert!(!tend(&mut table, Duration::from_secs(60)));
    assert!(tend(&mut table, Duration::ZERO));
}

#[test]
fn python_is_not_killed_for_a_cancelled_call_that_holds_up_nobody() {
    let mut table = Table::new();
    abandoned(&mut table, "beside");
    table.call(2, "b", "f");
    table.fill();
    assert!(!tend(&mut table, Duration::ZERO));

    let mut table = Table::new();
    abandoned(&mut table, "g");
    let running = table.call(2, "b", "f").unwrap();
    table.fill();
    table.begin(running);
    table.call(2, "c", "f");
    table.fill();
    assert!(!tend(&mut table, Duration::ZERO));
}

#[test]
fn a_full_table_answers_overloaded() {
    let mut table = Table::new();
    for n in 0..1000 {
        table.call(n % 7, &n.to_string(), "f").unwrap();
    }
    table.seen();
    assert!(table.call(1, "more", "f").is_none());
    assert_eq!(table.seen(), ["more ! -32025 1000"]);
}

#[test]
fn a_property_is_kept_though_its_client_is_gone() {
    let mut table = Table::new();
    let id = table
        .call_with(1, "a", "setProperty", Some(r#"["x",1]"#), || Taken::Now)
        .unwrap();
    table.fill();
    table.calls.owner_gone(1);
    table.reply(id, Outcome::Result(b"1"));
    assert_eq!(table.calls.take_held().len(), 1);
    assert!(table.calls.nothing_sent(0) && table.calls.is_idle());
}

#[test]
fn the_params_of_all_calls_together_have_a_limit() {
    let mut table = Table::new();
    let params = format!("[\"{}\"]", "x".repeat(600_000));
    let first = table.call_with(1, "a", "f", Some(&params), || Taken::Now).unwrap();
    assert!(table.call_with(1, "b", "f", Some(&params), || Taken::Now).is_none());
    assert_eq!(table.seen(), ["b ! -32025 1048576"]);
    table.fill();
    table.reply(first, Outcome::Result(b"1"));
    assert!(table.call_with(1, "c", "f", Some(&params), || Taken::Now).is_some());
}

#[test]
fn an_owner_that_is_gone_takes_its_calls_along() {
    let mut table = Table::new();
    let a = table.call(1, "a", "f").unwrap();
    table.fill();
    table.begin(a);
    table.call(1, "b", "f");
    table.call(2, "c", "f");
    table.calls.owner_gone(1);
    let mut seen = table.seen();
    seen.sort();
    assert_eq!(seen, ["a ! -32024 \"disconnect\"", "b ! -32024 \"disconnect\""]);
    assert_eq!(table.calls.queued(), 1);
}

#[test]
fn a_closed_gate_answers_what_waits_and_what_comes() {
    let mut table = Table::new();
    table.calls.set_gate(0, Gate::Hold { starting: true });
    table.call(1, "a", "f");
    table.calls.set_gate(0, Gate::Closed(Error::overloaded(1)));
    assert!(table.call(1, "b", "f").is_none());
    assert_eq!(table.seen(), ["a ! -32025 1", "b ! -32025 1"]);
}

#[test]
fn a_property_that_was_set_is_held_for_the_journal() {
    let mut table = Table::new();
    let twice = r#"{"name":"x","value": {"x":1},"name":"model"}"#;
    for (tag, params) in [("a", twice), ("b", r#"["model",2]"#)] {
        let id = table
            .call_with(1, tag, "setProperty", Some(params), || Taken::Now)
            .unwrap();
        table.fill();
        table.reply(id, Outcome::Result(b"1"));
    }
    let lone = table.call_with(1, "lone", "setProperty", Some(r#"["\ud800",2]"#), || Taken::Now);
    assert!(lone.is_none());
    assert_eq!(table.seen(), ["lone ! -32602 null"]);
    let refused = table
        .call_with(1, "c", "setProperty", Some(r#"["_x",2]"#), || Taken::Now)
        .unwrap();
    table.fill();
    table.reply(refused, Outcome::Error(&Error::overloaded(1).to_json()));
    assert_eq!(table.seen(), ["c ! -32025 1"]);
    let held = table.calls.take_held();
    let properties: Vec<_> = held
        .iter()
        .map(|held| (held.property.name.as_str(), held.property.value.get()))
        .collect();
    assert_eq!(properties, [("model", r#"{"x":1}"#), ("model", "2")]);
    for held in held {
        held.end(None);
    }
    assert_eq!(table.seen(), ["a = 1", "b = 1"]);
}

#[test]
fn what_a_client_allows_before_its_call_begins_is_not_lost_with_the_process() {
    let mut table = Table::new();
    let sink = Box::new(Recorder {
        tag: "a".to_owned(),
        seen: table.seen.clone(),
        taken: || Taken::Now,
    });
    let new = NewCall {
        owner: 1,
        method: "g",
        params: None,
        window: Some(2),
        trace: None,
        sink,
    };
    let id = table.calls.submit(new, Ok(None)).unwrap();
    table.fill();
    table.calls.credit(id, 5, 0);
    table.fill();
    table.die();
    table.ready();
    assert!(table.fill().contains("\"window\":[7,"));
}

#[test]
fn a_stop_tells_what_never_began_from_what_has() {
    let mut table = Table::with(2, Affinity::None);
    let set = table
        .call_with(1, "set on one of two", "setProperty", Some(r#"["a",1]"#), || Taken::Now)
        .unwrap();
    let begun = table.call(1, "begun", "f").unwrap();
    let sent = table.call(1, "sent", "f").unwrap();
    table.call(1, "waits", "f").unwrap();
    table.fill_at(0);
    table.fill_at(1);
    assert!(table.reply_at(0, set, Outcome::Result(b"1")));
    let has = |table: &Table, id| (0..2).find(|seat| table.calls.has(*seat, id)).unwrap();
    table.begin_at(has(&table, begun), begun);
    assert!(table.calls.has(1, set) && has(&table, sent) < 2);
    for seat in 0..2 {
        table.calls.set_gate(seat, Gate::Finishing(Error::never_began()));
    }
    assert!(table.call(1, "late", "f").is_none());
    assert_eq!(table.seen(), ["late ! -32024 \"no\""]);
    table.calls.end_all();
    assert_eq!(
        table.seen(),
        [
            "set on one of two ! -32024 \"yes\"",
            "begun ! -32024 \"yes\"",
            "sent ! -32024 \"no\"",
            "waits ! -32024 \"no\"",
        ]
    );
    assert_eq!(table.calls.queued() + table.calls.in_flight(), 0);
}

#[test]
fn what_was_sent_may_have_begun_where_the_kernel_has_no_barrier() {
    let mut table = Table::new();
    table.call(1, "sent", "f").unwrap();
    table.fill();
    table.calls.set_gate(0, Gate::Finishing(Error::never_began()));
    table.calls.end_all_behind(|| false);
    assert_eq!(table.seen(), ["sent ! -32024 \"yes\""]);
    // What waits is in nobody's hands.
    let mut table = Table::new();
    table.call(1, "waits", "f").unwrap();
    table.calls.end_all_behind(|| false);
    assert_eq!(table.seen(), ["waits ! -32024 \"no\""]);
}

#[test]
fn what_was_to_run_again_is_not_said_to_have_never_begun() {
    for is_held in [true, false] {
        let mut table = Table::new();
        let id = table.call(1, "again", "safe").unwrap();
        table.fill();
        table.begin(id);
        table.die();
        table.call(1, "new", "safe").unwrap();
        if is_held {
            table.calls.end_all();
        } else {
            table.calls.set_gate(0, Gate::Closed(Error::never_began()));
        }
        assert_eq!(table.seen(), ["again ! -32024 \"yes\"", "new ! -32024 \"no\""]);
    }
}
