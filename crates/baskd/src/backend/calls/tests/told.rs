//! What the table tells of its calls: which are under way and where, how long they waited, how they ran.

use super::super::super::Ran;
use super::super::super::page::SLOT_BITS;
use super::*;

/// Keeps whether its call had begun, each time it is told.
struct Told(Rc<RefCell<Vec<(u64, bool)>>>);

impl Sink for Told {
    fn item(&mut self, _: Item<'_>) -> Taken {
        Taken::Now
    }

    fn ran(&mut self, _: &Rc<Known>, ran: Ran) {
        self.0.borrow_mut().push((ran.number, ran.began.is_some()));
    }

    fn end(self: Box<Self>, _: Outcome<'_>) {}
}

fn number(id: CallId) -> u64 {
    id >> SLOT_BITS
}

fn places(table: &Table, most: usize) -> Vec<(u64, Option<usize>, &'static str)> {
    let calls = table.calls.under_way(most);
    calls
        .iter()
        .map(|call| (call.number, call.worker, call.place.text()))
        .collect()
}

#[test]
fn where_each_call_is() {
    let mut table = Table::starting();
    let early = table.call(1, "early", "f").unwrap();
    assert_eq!(places(&table, 9), [(number(early), None, "starting")]);
    table.ready();
    assert_eq!(places(&table, 9), [(number(early), None, "queued")]);
    table.fill();
    assert_eq!(places(&table, 9), [(number(early), Some(0), "queued")]);
    table.begin(early);
    let late = table.call(1, "late", "f").unwrap();
    let both = [(number(early), Some(0), "running"), (number(late), None, "queued")];
    assert_eq!(places(&table, 9), both);
    assert_eq!(places(&table, 1), both[..1]);
    // Nobody waits for it any more, whatever Python does.
    table.calls.cancel(early, CancelledBy::Client);
    assert_eq!(places(&table, 9), both[1..]);
    let running = table.calls.running(0);
    assert!(running.len() == 1 && running[0].is_cancelled);
}

#[test]
fn the_oldest_are_told_in_their_order_whatever_slots_they_have() {
    let mut table = Table::new();
    let first: Vec<_> = (0..20).map(|n| table.call(1, &n.to_string(), "f").unwrap()).collect();
    for id in &first[..10] {
        table.calls.cancel(*id, CancelledBy::Client);
    }
    let second: Vec<_> = (0..20).map(|n| table.call(1, &n.to_string(), "f").unwrap()).collect();
    let wanted: Vec<_> = first[10..].iter().chain(&second).map(|id| number(*id)).collect();
    for most in [5, 15, 30, 99] {
        let told: Vec<_> = places(&table, most).into_iter().map(|(number, ..)| number).collect();
        assert_eq!(told, wanted[..most.min(30)]);
    }
}

#[test]
fn the_daemon_s_own_calls_are_nobody_s_to_cancel() {
    let mut table = Table::new();
    let own = table
        .calls
        .ask(0, "on_snapshot", None, Box::new(Told(Rc::default())))
        .unwrap();
    let clients = table.call(1, "a", "f").unwrap();
    assert_eq!(table.calls.numbered(number(own)), None);
    assert_eq!(table.calls.numbered(number(clients)), Some(clients));
    assert_eq!(table.calls.numbered(number(clients) + 1), None);
    assert_eq!(places(&table, 9).len(), 1);
}

#[test]
fn a_call_has_waited_once_however_often_it_is_sent() {
    let waited = |table: &Table| table.calls.waited.own().sum::<u64>();
    let mut table = Table::new();
    let id = table.call(1, "a", "f").unwrap();
    table.calls.ask(0, "on_snapshot", None, Box::new(Told(Rc::default())));
    assert_eq!(waited(&table), 0);
    assert!(table.calls.longest_wait() > Duration::ZERO);
    table.fill();
    assert_eq!((waited(&table), table.calls.longest_wait()), (1, Duration::ZERO));
    table.die();
    table.ready();
    assert!(table.fill().contains(&id.to_string()));
    assert_eq!(waited(&table), 1);
}

#[test]
fn how_a_call_ran_is_told_once_before_its_end() {
    let mut table = Table::new();
    let told = Rc::<RefCell<Vec<_>>>::default();
    let submit = |table: &mut Table, method: &str| {
        let new = NewCall {
            owner: 1,
            method,
            params: None,
            window: None,
            sink: Box::new(Told(told.clone())),
        };
        table.calls.submit(new, Ok(None)).unwrap()
    };
    let id = submit(&mut table, "f");
    table.fill();
    table.reply(id, Outcome::Result(b"1"));
    assert!(told.borrow().is_empty(), "nobody wants to know");
    table.calls.tells_ran = true;
    let answered = submit(&mut table, "f");
    table.fill();
    table.begin(answered);
    table.reply(answered, Outcome::Result(b"1"));
    let queued = submit(&mut table, "f");
    table.calls.cancel(queued, CancelledBy::Client);
    let running = submit(&mut table, "g");
    table.fill();
    table.begin(running);
    table.calls.expire(running);
    let killed = submit(&mut table, "f");
    table.fill();
    table.begin(killed);
    table.die();
    let waiting = submit(&mut table, "f");
    table.calls.set_gate(0, Gate::Closed(Error::internal("gone")));
    let ends = [
        (answered, true),
        (queued, false),
        (running, true),
        (killed, true),
        (waiting, false),
    ];
    let ends: Vec<_> = ends.into_iter().map(|(id, began)| (number(id), began)).collect();
    assert_eq!(*told.borrow(), ends);
}
