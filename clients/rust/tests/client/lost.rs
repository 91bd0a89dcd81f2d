//! What happens when a daemon goes away: to calls, to streams, to subscriptions.

use crate::fake::{Fake, Peer, soon, status};
use baskd_client::{CallOptions, Client, Error, Log, Message, Messages, Scope, StreamOptions};
use serde_json::{Value, json};
use tokio::join;

const IDEMPOTENT: CallOptions = CallOptions {
    timeout: None,
    idempotent: Some(true),
    traceparent: None,
    tracestate: None,
};
const NOT_IDEMPOTENT: CallOptions = CallOptions {
    timeout: None,
    idempotent: Some(false),
    traceparent: None,
    tracestate: None,
};

/// Lets a call of `f` be under way, and its daemon be gone.
async fn lose(mut peer: Peer) {
    peer.expect("f").await;
}

async fn answer(peer: &mut Peer, method: &str, result: Value) {
    let request = peer.expect(method).await;
    peer.answer(&request, result).await;
}

#[tokio::test]
async fn a_lost_call_fails_and_the_next_connects_again() {
    let fake = Fake::new();
    let (client, peer) = fake.client().await;
    let (result, ()) = join!(client.call_with::<Value>("f", (), NOT_IDEMPOTENT), lose(peer));
    // At once: nothing is asked.
    assert!(
        matches!(&result, Err(Error::Disconnected { method }) if method == "f"),
        "{result:?}"
    );
    assert!(result.unwrap_err().to_string().contains("`f`"));

    let (result, _peer) = join!(client.call::<u32>("g", ()), async {
        let mut peer = fake.accept_again().await;
        answer(&mut peer, "g", json!(2)).await;
        peer
    });
    assert_eq!(result.unwrap(), 2);
}

#[tokio::test]
async fn a_loss_that_was_not_noticed_yet_costs_no_call() {
    let fake = Fake::new();
    let (client, peer) = fake.client().await;
    // The client hasn't been polled since, so it can't know.
    drop(peer);
    let (result, _peer) = join!(client.call_with::<u32>("g", (), NOT_IDEMPOTENT), async {
        let mut peer = fake.accept_again().await;
        answer(&mut peer, "g", json!(2)).await;
        peer
    });
    assert_eq!(result.unwrap(), 2);
}

#[tokio::test]
async fn a_stream_that_never_left_is_opened_on_the_next_connection() {
    let fake = Fake::new();
    let (client, peer) = fake.client().await;
    drop(peer);
    let (stream, _peer) = join!(client.stream("count", (), StreamOptions::default()), async {
        let mut peer = fake.accept_again().await;
        answer(&mut peer, "stream.call", json!(1)).await;
        peer
    });
    stream.unwrap();
}

#[tokio::test]
async fn what_the_caller_calls_idempotent_is_sent_again_once() {
    let fake = Fake::new();
    let (client, peer) = fake.client().await;
    let (result, _peer) = join!(client.call_with::<u32>("f", (), IDEMPOTENT), async {
        lose(peer).await;
        let mut peer = fake.accept_again().await;
        answer(&mut peer, "f", json!(3)).await;
        peer
    });
    assert_eq!(result.unwrap(), 3);

    let fake = Fake::new();
    let (client, peer) = fake.client().await;
    let (result, ()) = join!(client.call_with::<u32>("f", (), IDEMPOTENT), async {
        lose(peer).await;
        lose(fake.accept_again().await).await;
    });
    assert!(matches!(result, Err(Error::Disconnected { .. })), "{result:?}");
}

#[tokio::test]
async fn what_the_controller_calls_idempotent_is_sent_again() {
    let methods = json!({ "methods": [{ "name": "f", "x-idempotent": true }, { "name": "g" }] });
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (f, g, mut peer) = join!(client.call::<u32>("f", ()), client.call::<u32>("g", ()), async {
        peer.expect("f").await;
        peer.expect("g").await;
        drop(peer);
        let mut peer = fake.accept_again().await;
        // Once, for both.
        answer(&mut peer, "rpc.discover", methods).await;
        answer(&mut peer, "f", json!(3)).await;
        peer
    });
    assert_eq!(f.unwrap(), 3);
    assert!(matches!(g, Err(Error::Disconnected { method }) if method == "g"));
    // And nothing else was sent.
    join!(client.flush(), answer(&mut peer, "rpc.cancel", json!(false)));
}

#[tokio::test]
async fn of_the_daemons_own_methods_the_controller_is_not_asked() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (result, ()) = join!(client.call::<Value>("daemon.restart", ()), async move {
        peer.expect("daemon.restart").await;
    });
    assert!(
        matches!(&result, Err(Error::Disconnected { method }) if method == "daemon.restart"),
        "{result:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_told_in_time_is_told_of_the_loss() {
    let fake = Fake::new();
    let (client, peer) = fake.client().await;
    let started = tokio::time::Instant::now();
    let (result, _peer) = join!(client.call::<u32>("f", ()), async {
        lose(peer).await;
        let mut peer = fake.accept_again().await;
        // Its Python is still starting.
        peer.expect("rpc.discover").await;
        peer
    });
    assert!(matches!(result, Err(Error::Disconnected { .. })), "{result:?}");
    assert_eq!(started.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn where_nobody_is_there_any_more_the_loss_is_told() {
    for options in [CallOptions::default(), IDEMPOTENT] {
        let fake = Fake::new();
        let path = fake.path();
        let client = Client::builder().start(false).reconnect(std::time::Duration::ZERO);
        let client = client.connect(path).await.unwrap();
        let peer = fake.accept().await;
        let (result, ()) = join!(client.call_with::<u32>("f", (), options), async {
            drop(fake);
            lose(peer).await;
        });
        assert!(matches!(result, Err(Error::Disconnected { .. })), "{result:?}");
        let next = soon(client.call::<u32>("f", ())).await;
        assert!(matches!(next, Err(Error::NoDaemon { .. })), "{next:?}");
    }
}

#[tokio::test]
async fn a_daemon_that_hangs_up_is_none() {
    let fake = Fake::new();
    let (client, peer) = fake.client().await;
    drop(peer);
    let (result, ()) = join!(client.call::<u32>("f", ()), async {
        for _ in 0..3 {
            drop(fake.accept().await);
        }
    });
    assert!(matches!(result, Err(Error::NoDaemon { .. })), "{result:?}");
}

#[tokio::test]
async fn a_call_whose_messages_were_taken_is_not_sent_again() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let mut messages = subscribed(&client, &mut peer, Scope::Own).await;
    let (result, _peer) = join!(client.call_with::<u32>("f", (), IDEMPOTENT), async {
        let request = peer.expect("f").await;
        let event = json!({ "call": 1, "request": request["id"], "method": "f", "data": 5 });
        peer.event("messages.item", 7, event).await;
        drop(peer);
        let mut peer = fake.accept_again().await;
        answer(&mut peer, "messages.subscribe", json!(8)).await;
        peer
    });
    assert!(matches!(result, Err(Error::Disconnected { .. })), "{result:?}");
    assert!(matches!(soon(messages.next()).await, Some(Ok(Message::Sent { .. }))));
    assert!(matches!(soon(messages.next()).await, Some(Ok(Message::Restarted))));
}

async fn subscribed(client: &Client, peer: &mut Peer, scope: Scope) -> Messages {
    let (messages, ()) = join!(
        client.messages(scope, None),
        answer(peer, "messages.subscribe", json!(7))
    );
    messages.unwrap()
}

#[tokio::test]
async fn messages_go_on_after_a_word() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let mut messages = subscribed(&client, &mut peer, Scope::All).await;
    let sent = |number: u32| json!({ "call": number, "method": "f", "data": number });
    peer.event("messages.item", 7, sent(1)).await;
    let mut seen = Vec::new();
    for turn in 2..4 {
        drop(peer);
        // Nobody calls: it comes back by itself.
        peer = fake.accept_again().await;
        let request = peer.expect("messages.subscribe").await;
        assert_eq!(request["params"], json!({ "scope": "all" }));
        peer.answer(&request, json!(turn)).await;
        peer.event("messages.item", u64::from(turn), sent(turn)).await;
    }
    peer.event("messages.item", 3, json!({ "dropped": 4 })).await;
    for _ in 0..6 {
        seen.push(match soon(messages.next()).await {
            Some(Ok(Message::Sent { data, .. })) => data.get().to_owned(),
            Some(Ok(Message::Restarted)) => "restarted".to_owned(),
            Some(Ok(Message::Dropped(count))) => format!("dropped {count}"),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["1", "restarted", "2", "restarted", "3", "dropped 4"]);
    drop(messages);
    assert_eq!(peer.expect("messages.unsubscribe").await["params"], json!([3]));
}

#[tokio::test]
async fn a_daemon_that_comes_later_is_found() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let mut messages = subscribed(&client, &mut peer, Scope::All).await;
    let fake = fake.replace();
    drop(peer);
    let mut peer = fake.accept_again().await;
    answer(&mut peer, "messages.subscribe", json!(8)).await;
    assert!(matches!(soon(messages.next()).await, Some(Ok(Message::Restarted))));
}

#[tokio::test]
async fn subscriptions_come_before_the_call_that_connects() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let _messages = subscribed(&client, &mut peer, Scope::Own).await;
    drop(peer);
    let (result, _peer) = join!(client.call::<u32>("f", ()), async {
        let mut peer = fake.accept_again().await;
        answer(&mut peer, "messages.subscribe", json!(8)).await;
        answer(&mut peer, "f", json!(1)).await;
        peer
    });
    assert_eq!(result.unwrap(), 1);
}

#[tokio::test]
async fn a_daemon_that_refuses_ends_a_subscription() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let mut messages = subscribed(&client, &mut peer, Scope::All).await;
    drop(peer);
    let mut peer = fake.accept_again().await;
    let request = peer.expect("messages.subscribe").await;
    peer.refuse(&request, -32006, "too many", json!({ "limit": 0 })).await;
    match soon(messages.next()).await {
        Some(Err(Error::Rpc(error))) => assert_eq!(error.code, -32006),
        other => panic!("{other:?}"),
    }
    assert!(soon(messages.next()).await.is_none());
    drop((client, messages));
}

#[tokio::test]
async fn a_reader_who_is_too_slow_is_told() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let mut messages = subscribed(&client, &mut peer, Scope::All).await;
    let line = json!({ "jsonrpc": "2.0", "method": "messages.item", "params": { "subscription": 7, "result": { "call": 1, "method": "f", "data": 1 } } });
    let many = format!("{line}\n").repeat((1 << 16) + 1);
    peer.write(many.as_bytes()).await;
    assert_eq!(peer.expect("messages.unsubscribe").await["params"], json!([7]));
    for _ in 0..1 << 16 {
        assert!(matches!(messages.next().await, Some(Ok(Message::Sent { .. }))));
    }
    assert!(matches!(soon(messages.next()).await, Some(Err(Error::Lagged))));
    assert!(soon(messages.next()).await.is_none());
}

#[tokio::test]
async fn log_lines_go_on_after_a_word() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (logs, ()) = join!(client.logs(), answer(&mut peer, "logs.subscribe", json!(7)));
    let mut logs = logs.unwrap();
    let line =
        json!({ "time": "2026-01-01T00:00:00Z", "level": "info", "stream": "stdout", "call": null, "line": "hello" });
    peer.event("logs.item", 7, line).await;
    peer.event("logs.item", 7, json!({ "dropped": 2 })).await;
    peer.event("logs.item", 7, json!({ "something": "new" })).await;
    assert!(
        matches!(soon(logs.next()).await, Some(Ok(Log::Line(line))) if line.line == "hello" && line.stream == "stdout")
    );
    assert!(matches!(soon(logs.next()).await, Some(Ok(Log::Dropped(2)))));
    drop(peer);
    let mut peer = fake.accept_again().await;
    answer(&mut peer, "logs.subscribe", json!(9)).await;
    assert!(matches!(soon(logs.next()).await, Some(Ok(Log::Restarted))));
}

#[tokio::test]
async fn what_was_kept_comes_before_what_is_new() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let asked = async {
        let request = peer.expect("logs.subscribe").await;
        assert_eq!(request["params"], json!({ "lines": 5 }));
        peer.answer(&request, json!(7)).await;
    };
    let (logs, ()) = join!(client.logs_from(5), asked);
    let mut logs = logs.unwrap();
    let line = json!({
        "time": "2026-01-01T00:00:00Z", "level": "info", "stream": "stdout", "call": 18, "method": "search", "line": "a",
    });
    peer.event("logs.item", 7, line).await;
    peer.event("logs.item", 7, json!({ "live": true })).await;
    let first = soon(logs.next()).await;
    assert!(
        matches!(&first, Some(Ok(Log::Line(line))) if line.call == Some(18) && line.method.as_deref() == Some("search"))
    );
    assert!(matches!(soon(logs.next()).await, Some(Ok(Log::Live))));
}

#[tokio::test]
async fn nothing_connects_once_all_is_dropped() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let messages = subscribed(&client, &mut peer, Scope::All).await;
    drop((client, messages));
    // It closes, and nobody comes again: another client is the first to do so.
    peer.ended().await;
    drop(peer);
    let (other, mut peer) = fake.client().await;
    join!(other.flush(), answer(&mut peer, "rpc.cancel", json!(false)));
}

#[tokio::test]
async fn nothing_connects_for_what_is_dropped_while_nobody_is_there() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let messages = subscribed(&client, &mut peer, Scope::All).await;
    let fake = fake.replace();
    drop(peer);
    // It has come back, and is dropped while it is asked who it is.
    let mut peer = fake.accept().await;
    let request = peer.expect("daemon.status").await;
    drop((client, messages));
    peer.answer(&request, status("embedded")).await;
    peer.ended().await;
}
