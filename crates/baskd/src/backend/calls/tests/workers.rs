//! Several workers: who gets a call, what each knows, what a death costs.

use super::super::super::page::SLOTS;
use super::super::super::{Item, NewCall, Outcome, Taken};
use super::super::*;
use super::Table;
use baskd_protocol::error::CancelledBy;

/// A notification: nobody waits for it.
struct Note;

impl Sink for Note {
    fn item(&mut self, _: Item<'_>) -> Taken {
        Taken::Now
    }

    fn end(self: Box<Self>, _: Outcome<'_>) {}

    fn ends_with_its_owner(&self) -> bool {
        false
    }
}

fn notify(table: &mut Table, owner: u64) {
    let new = NewCall {
        owner,
        method: "f",
        params: None,
        window: None,
        sink: Box::new(Note),
    };
    table.calls.submit(new, Ok(None)).unwrap();
}

fn set_property(table: &mut Table, owner: u64, tag: &str) -> CallId {
    let params = Some(r#"{"name":"x","value":1}"#);
    table
        .call_with(owner, tag, "setProperty", params, || Taken::Now)
        .unwrap()
}

/// The ids of the calls in these lines.
fn ids_in(lines: &str) -> Vec<u64> {
    let id = |line: &str| line.strip_prefix("{\"id\":")?.split(',').next()?.parse().ok();
    lines.lines().filter_map(id).collect()
}

#[test]
fn calls_go_to_the_least_busy_worker() {
    let mut table = Table::with(3, Affinity::None);
    let ids: Vec<_> = (0..6).map(|n| table.call(1, &n.to_string(), "f").unwrap()).collect();
    let wakes = table.calls.take_wakes();
    assert_eq!(wakes.count_ones(), 1);
    let first = table.fill_at(wakes.trailing_zeros() as usize);
    assert_eq!(table.calls.take_wakes(), 0b110);
    assert_eq!(ids_in(&first), [ids[0], ids[3]]);
    assert_eq!(ids_in(&table.fill_at(1)), [ids[1], ids[4]]);
    assert_eq!(ids_in(&table.fill_at(2)), [ids[2], ids[5]]);
    table.reply_at(1, ids[1], Outcome::Result(b"1"));
    table.reply_at(1, ids[4], Outcome::Result(b"1"));
    let last = table.call(1, "last", "f").unwrap();
    assert_eq!(table.calls.take_wakes(), 0b010);
    assert_eq!(ids_in(&table.fill_at(1)), [last]);
    // Only who has a call can answer it.
    assert!(!table.reply_at(0, last, Outcome::Result(b"1")));
}

#[test]
fn a_slow_call_holds_up_none_that_another_worker_could_take() {
    let mut table = Table::with(2, Affinity::None);
    // They have shown to take their time.
    for seat in &mut table.calls.seats {
        seat.pace_is(Duration::from_millis(20));
    }
    let ids: Vec<_> = (0..4).map(|n| table.call(1, &n.to_string(), "f").unwrap()).collect();
    assert_eq!(ids_in(&table.fill_at(0)), [ids[0]]);
    assert_eq!(ids_in(&table.fill_at(1)), [ids[1]]);
    table.reply_at(1, ids[1], Outcome::Result(b"1"));
    assert_eq!(ids_in(&table.fill_at(1)), [ids[2]]);
    assert_eq!(table.calls.queued(), 1);
}

#[test]
fn a_property_is_set_in_every_worker_before_what_follows_it() {
    let mut table = Table::with(2, Affinity::None);
    let set = |table: &mut Table, tag: &str| {
        let id = table.call_with(1, tag, "setProperty", Some(r#"["x",1]"#), || Taken::Now);
        id.unwrap()
    };
    let id = set(&mut table, "a");
    let after = table.call(1, "after", "f").unwrap();
    let sent = [ids_in(&table.fill_at(0)), ids_in(&table.fill_at(1))];
    assert_eq!([sent[0][0], sent[1][0]], [id, id]);
    assert_eq!(sent.concat().iter().filter(|id| **id == after).count(), 1);
    assert!(table.reply_at(1, id, Outcome::Result(b"1")));
    assert!(!table.reply_at(1, id, Outcome::Result(b"1")));
    assert!(table.calls.take_held().is_empty());
    assert!(table.reply_at(0, id, Outcome::Result(b"1")));
    assert_eq!(table.calls.take_held().len(), 1);

    // One refuses it: that is the answer, and the others have it all the same.
    let id = set(&mut table, "b");
    table.fill_at(0);
    table.fill_at(1);
    table.reply_at(0, id, Outcome::Error(&Error::overloaded(1).to_json()));
    table.reply_at(1, id, Outcome::Result(b"1"));
    assert_eq!(table.seen(), ["b ! -32025 1"]);
    assert_eq!(table.calls.take_held().len(), 1);
    assert!(table.reply_at(0, after, Outcome::Result(b"1")) || table.reply_at(1, after, Outcome::Result(b"1")));
    assert!(table.calls.is_idle() && table.calls.live() == 0);
}

#[test]
fn a_worker_that_joins_late_has_every_property() {
    let mut table = Table::of(2, Affinity::None);
    table.ready();
    let id = table
        .call_with(1, "a", "setProperty", Some(r#"["x",1]"#), || Taken::Now)
        .unwrap();
    table.fill();
    // Meanwhile the other one starts; what was set since it was told the properties is set first.
    table.ready_at(1, &[r#"["w",1]"#]);
    let sent = table.fill_at(1);
    let lines: Vec<_> = sent.lines().collect();
    assert!(
        lines[0].contains(r#"["w",1]"#) && lines[1].contains(r#"["x",1]"#),
        "{sent}"
    );
    let again = ids_in(&sent)[0];
    table.reply(id, Outcome::Result(b"1"));
    assert!(table.calls.take_held().is_empty());
    table.reply_at(1, again, Outcome::Result(b"1"));
    table.reply_at(1, id, Outcome::Result(b"1"));
    assert_eq!(table.calls.take_held().len(), 1);
    assert!(table.calls.is_idle() && table.calls.live() == 0);
}

#[test]
fn a_worker_that_dies_costs_its_own_calls_only() {
    let mut table = Table::with(2, Affinity::None);
    let ids: Vec<_> = (0..4).map(|n| table.call(1, &n.to_string(), "f").unwrap()).collect();
    let set = table.call_with(1, "set", "setProperty", Some(r#"["x",1]"#), || Taken::Now);
    table.fill_at(0);
    table.fill_at(1);
    table.begin_at(1, ids[1]);
    table.die_at(1);
    assert_eq!(table.seen(), ["1 ! -32021 \"yes\""]);
    // What it had not begun goes to the other one.
    assert_eq!(ids_in(&table.fill_at(0)), [ids[3]]);
    for id in [ids[0], ids[2], set.unwrap(), ids[3]] {
        assert!(table.reply(id, Outcome::Result(b"1")));
    }
    assert_eq!(table.seen(), ["0 = 1", "2 = 1", "3 = 1"]);
    assert_eq!(table.calls.take_held().len(), 1);
    assert!(table.calls.is_idle());
}

#[test]
fn a_property_that_one_worker_died_of_is_answered_so_when_the_others_are_done() {
    let mut table = Table::with(2, Affinity::None);
    let id = table
        .call_with(1, "set", "setProperty", Some(r#"["x",1]"#), || Taken::Now)
        .unwrap();
    table.fill_at(0);
    table.fill_at(1);
    table.begin_at(0, id);
    table.die_at(0);
    assert_eq!(table.seen(), [""; 0]);
    table.reply_at(1, id, Outcome::Result(b"1"));
    assert_eq!(table.seen(), ["set ! -32021 \"yes\""]);
    assert_eq!(table.calls.take_held().len(), 1);
    assert!(table.calls.is_idle());
}

#[test]
fn with_affinity_an_owner_stays_with_its_worker_while_that_can_be_had() {
    let mut table = Table::with(2, Affinity::Connection);
    let of = |table: &mut Table, owner: u64| {
        let ids: Vec<_> = (0..3)
            .map(|n| table.call(owner, &n.to_string(), "f").unwrap())
            .collect();
        let sent = [ids_in(&table.fill_at(0)), ids_in(&table.fill_at(1))];
        let at = sent.iter().position(|sent| *sent == ids).unwrap();
        for id in ids {
            table.reply_at(at, id, Outcome::Result(b"1"));
        }
        at
    };
    assert_eq!((of(&mut table, 1), of(&mut table, 2), of(&mut table, 1)), (0, 1, 0));
    table.calls.owner_gone(1);
    assert_eq!(of(&mut table, 3), 0);
    table.die_at(0);
    table.seen();
    // It waits for the next one of its worker, and gets another if there is none.
    table.call(3, "waits", "f");
    assert_eq!(table.fill_at(1), "");
    table.calls.set_gate(0, Gate::Closed(Error::overloaded(1)));
    assert_eq!(table.calls.take_wakes(), 0b10);
    assert_eq!(ids_in(&table.fill_at(1)).len(), 1);
    assert!(table.seen().is_empty());
}

#[test]
fn calls_are_refused_only_when_no_worker_is_to_be_had() {
    let mut table = Table::of(2, Affinity::None);
    table.call(1, "a", "f");
    table.calls.set_gate(0, Gate::Closed(Error::overloaded(1)));
    assert!(table.seen().is_empty());
    assert!(table.call(1, "b", "f").is_some());
    table.calls.set_gate(1, Gate::Closed(Error::overloaded(2)));
    assert!(table.call(1, "c", "f").is_none());
    let mut seen = table.seen();
    seen.sort();
    assert_eq!(seen[..2], ["a ! -32025 2", "b ! -32025 2"]);
}

#[test]
fn a_property_that_no_worker_has_set_is_not_kept() {
    let mut table = Table::with(2, Affinity::None);
    let deadly = set_property(&mut table, 1, "deadly");
    table.fill_at(0);
    table.fill_at(1);
    for seat in 0..2 {
        table.begin_at(seat, deadly);
        table.die_at(seat);
    }
    assert_eq!(table.seen(), ["deadly ! -32021 \"yes\""]);

    let mut table = Table::with(2, Affinity::None);
    let refused = set_property(&mut table, 1, "refused");
    table.fill_at(0);
    table.fill_at(1);
    table.reply_at(0, refused, Outcome::Error(&Error::overloaded(1).to_json()));
    table.die_at(1);
    assert_eq!(table.seen(), ["refused ! -32025 1"]);
    assert!(table.calls.take_held().is_empty() && table.calls.live() == 0);
}

#[test]
fn a_property_is_told_to_the_worker_that_missed_it_and_to_no_other() {
    let mut table = Table::of(2, Affinity::None);
    table.ready_at(0, &[]);
    table.ready_at(1, &[r#"{"name":"x","value":1}"#]);
    table.fill_at(1);
    table.die_at(1);
    assert_eq!(table.fill_at(0), "");
    assert_eq!(table.calls.live(), 0);
}

#[test]
fn more_properties_than_there_are_slots_do_no_harm() {
    let mut table = Table::of(2, Affinity::None);
    table.ready_at(0, &[]);
    table.ready_at(1, &vec![r#"["x",1]"#; SLOTS + 1000]);
    assert_eq!(table.calls.queued(), 0);
    assert_eq!(table.calls.live(), SLOTS);
}

#[test]
fn properties_that_wait_for_a_busy_worker_hold_up_nobody_else() {
    let mut table = Table::with(2, Affinity::None);
    let long = table.call(1, "long", "f").unwrap();
    table.fill_at(0);
    table.begin_at(0, long);
    for n in 0..100 {
        set_property(&mut table, 2, &n.to_string());
    }
    for _ in 0..10 {
        table.fill_at(0);
        for id in ids_in(&table.fill_at(1)) {
            table.begin_at(1, id);
            table.reply_at(1, id, Outcome::Result(b"1"));
        }
    }
    let other = table.call(3, "other", "f").unwrap();
    table.call(2, "after", "f").unwrap();
    table.fill_at(0);
    assert_eq!(ids_in(&table.fill_at(1)), [other]);
}

#[test]
fn notifications_of_who_is_gone_leave_no_home() {
    let mut table = Table::with(2, Affinity::Connection);
    for owner in 1..=100 {
        notify(&mut table, owner);
        table.fill_at(0);
        table.fill_at(1);
        table.calls.owner_gone(owner);
    }
    for seat in [0, 1, 0, 1] {
        table.die_at(seat);
        table.ready_at(seat, &[]);
    }
    assert_eq!(table.calls.live(), 100);
    table.calls.set_gate(1, Gate::Closed(Error::overloaded(1)));
    assert!(table.calls.homes.as_ref().unwrap().is_empty());
    assert_eq!(table.calls.places[0].owners + table.calls.places[1].owners, 0);
    let mut left = 100;
    while left > 0 {
        for id in ids_in(&table.fill_at(0)) {
            table.reply_at(0, id, Outcome::Result(b"1"));
            left -= 1;
        }
    }
    assert_eq!(table.calls.live(), 0);
}

#[test]
fn once_a_worker_is_back_it_serves_those_of_the_others_too() {
    let mut table = Table::with(2, Affinity::Connection);
    for owner in 1..=2 {
        let id = table.call(owner, "a", "f").unwrap();
        table.fill_at(0);
        table.fill_at(1);
        assert!(table.reply_at(owner as usize - 1, id, Outcome::Result(b"1")));
    }
    for seat in 0..2 {
        table.calls.set_gate(seat, Gate::Closed(Error::overloaded(1)));
    }
    table.ready_at(0, &[]);
    let ids: Vec<_> = (1..=2).map(|owner| table.call(owner, "b", "f").unwrap()).collect();
    assert_eq!(ids_in(&table.fill_at(0)), ids);
}

#[test]
fn a_worker_is_killed_only_for_calls_that_could_go_to_it() {
    let mut table = Table::with(2, Affinity::Connection);
    let ids: Vec<_> = (1..=2).map(|owner| table.call(owner, "a", "f").unwrap()).collect();
    for (seat, id) in ids.iter().enumerate() {
        table.fill_at(seat);
        table.begin_at(seat, *id);
        table.calls.seats[seat].pace_is(Duration::from_secs(1));
    }
    table.calls.cancel(ids[0], CancelledBy::Client);
    table.call(2, "b", "f");
    table.fill_at(0);
    table.fill_at(1);
    assert_eq!(table.calls.queued(), 1);
    let old = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
    for call in table.calls.slots.iter_mut().flatten() {
        call.since = old;
    }
    assert!(
        table
            .calls
            .tend(0, Duration::from_secs(60), Duration::from_secs(2))
            .is_none()
    );
    table.call(1, "c", "f");
    table.fill_at(0);
    assert!(
        table
            .calls
            .tend(0, Duration::from_secs(60), Duration::from_secs(2))
            .is_none()
    );
    for call in table.calls.slots.iter_mut().flatten() {
        call.since = old;
    }
    assert!(
        table
            .calls
            .tend(0, Duration::from_secs(60), Duration::from_secs(2))
            .is_some()
    );
}
