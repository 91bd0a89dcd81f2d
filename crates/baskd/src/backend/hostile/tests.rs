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
        // Another process beside, which may take over.
        1 => (0..2u8).prop_map(|which| vec![20, which, 4, 2, 6, 0, 4, 1, 6, 0, 4, 0, 6, 0]),
        4 => call,
        2 => Just(vec![3, 0]),
        1 => Just(vec![3, 1]),
        4 => reply,
        4 => (9..25u8, any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| vec![a, b, c]),
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
