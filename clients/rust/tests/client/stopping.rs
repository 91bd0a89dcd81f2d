//! What a daemon that stops has not begun is asked of the next one.

use std::time::Duration;

use crate::fake::{Fake, Peer, soon};
use baskd_client::{CallOptions, Client, Error, ErrorCode, Event, Stream, StreamOptions};
use serde_json::{Value, json};
use tokio::join;

/// Whatever the caller says, it never began.
fn not_idempotent() -> CallOptions {
    CallOptions {
        idempotent: Some(false),
        ..CallOptions::default()
    }
}

fn never_began() -> Value {
    json!({ "by": "shutdown", "ran": "no" })
}

async fn refuse(peer: &mut Peer, method: &str) {
    let request = peer.expect(method).await;
    peer.refuse(&request, -32024, "the daemon stops", never_began()).await;
}

async fn answer(peer: &mut Peer, method: &str, result: Value) {
    let request = peer.expect(method).await;
    peer.answer(&request, result).await;
}

fn is_cancelled(error: &Error) -> bool {
    error.kind() == Some(ErrorCode::Cancelled) && error.data("ran") == Some(&json!("no"))
}

#[tokio::test]
async fn a_call_is_sent_to_the_next_daemon_once_the_first_has_ended() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let call = client.call_with::<u32>("f", json!([1]), not_idempotent());
    let (result, slow, _peer) = join!(call, client.call::<u32>("slow", ()), async {
        refuse(&mut peer, "f").await;
        // What had begun is answered on the connection that there is.
        answer(&mut peer, "slow", json!(1)).await;
        drop(peer);
        let mut peer = fake.accept_again().await;
        let request = peer.expect("f").await;
        assert_eq!(request["params"], json!([1]));
        peer.answer(&request, json!(2)).await;
        peer
    });
    assert_eq!((result.unwrap(), slow.unwrap()), (2, 1));
}

#[tokio::test]
async fn where_nobody_comes_the_caller_is_told_that_it_never_began() {
    for is_stream in [false, true] {
        let fake = Fake::new();
        let client = Client::builder().start(false).reconnect(Duration::ZERO);
        let client = client.connect(fake.path()).await.unwrap();
        let mut peer = fake.accept().await;
        let call = async {
            if is_stream {
                client.stream("f", (), StreamOptions::default()).await.map(drop)
            } else {
                client.call::<Value>("f", ()).await.map(drop)
            }
        };
        let (result, ()) = join!(call, async {
            refuse(&mut peer, if is_stream { "stream.call" } else { "f" }).await;
            drop((fake, peer));
        });
        assert!(is_cancelled(&result.unwrap_err()));
    }
}

#[tokio::test]
async fn daemons_that_all_stop_are_not_asked_for_ever() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (result, ()) = join!(client.call::<Value>("f", ()), async {
        for _ in 0..3 {
            refuse(&mut peer, "f").await;
            drop(peer);
            peer = fake.accept_again().await;
        }
        refuse(&mut peer, "f").await;
    });
    assert!(is_cancelled(&result.unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn its_time_is_not_longer_for_that() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let options = CallOptions {
        timeout: Some(Duration::from_secs(2)),
        ..CallOptions::default()
    };
    let start = tokio::time::Instant::now();
    // It does not end.
    let (result, _peer) = join!(client.call_with::<Value>("f", (), options), async {
        refuse(&mut peer, "rpc.call").await;
        peer
    });
    assert_eq!(result.unwrap_err().kind(), Some(ErrorCode::TimedOut));
    assert_eq!(start.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn what_had_begun_is_not_made_again() {
    let (client, mut peer) = Fake::new().client().await;
    for data in [json!({ "by": "shutdown", "ran": "yes" }), json!({ "by": "shutdown" })] {
        let (result, ()) = join!(client.call::<Value>("f", ()), async {
            let request = peer.expect("f").await;
            peer.refuse(&request, -32024, "cancelled", data).await;
        });
        assert_eq!(result.unwrap_err().kind(), Some(ErrorCode::Cancelled));
    }
}

#[tokio::test]
async fn what_may_have_run_before_is_not_said_to_have_never_begun() {
    let fake = Fake::new();
    let client = Client::builder().start(false).reconnect(Duration::ZERO);
    let client = client.connect(fake.path()).await.unwrap();
    let mut peer = fake.accept().await;
    let options = CallOptions {
        idempotent: Some(true),
        ..CallOptions::default()
    };
    let (result, ()) = join!(client.call_with::<Value>("f", (), options), async {
        peer.expect("f").await;
        drop(peer);
        let mut peer = fake.accept_again().await;
        refuse(&mut peer, "f").await;
        drop((fake, peer));
    });
    assert!(matches!(result, Err(Error::Disconnected { .. })), "{result:?}");
}

async fn opened(client: &Client, peer: &mut Peer) -> Stream {
    let opening = client.stream("count", (), StreamOptions::default());
    let (stream, ()) = join!(opening, answer(peer, "stream.call", json!(7)));
    stream.unwrap()
}

#[tokio::test]
async fn a_stream_that_had_no_item_is_opened_again() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let mut stream = opened(&client, &mut peer).await;
    let refusal = json!({ "error": { "code": -32024, "message": "the daemon stops", "data": never_began() } });
    peer.event("stream.item", 7, refusal).await;
    peer.close_subscription(7).await;
    let (item, mut peer) = join!(soon(stream.next()), async {
        drop(peer);
        let mut peer = fake.accept_again().await;
        answer(&mut peer, "stream.call", json!(3)).await;
        peer.event("stream.item", 3, json!({ "item": 1 })).await;
        peer
    });
    assert!(matches!(item, Some(Ok(Event::Item(item))) if item.get() == "1"));
    peer.event("stream.item", 3, json!({ "end": 5 })).await;
    assert!(matches!(soon(stream.next()).await, Some(Ok(Event::End(value))) if value.get() == "5"));
    assert!(soon(stream.next()).await.is_none());
}

#[tokio::test]
async fn a_stream_of_which_items_came_is_not() {
    let (client, mut peer) = Fake::new().client().await;
    let mut stream = opened(&client, &mut peer).await;
    peer.event("stream.item", 7, json!({ "item": 1 })).await;
    assert!(matches!(soon(stream.next()).await, Some(Ok(Event::Item(_)))));
    let refusal = json!({ "error": { "code": -32024, "message": "the daemon stops", "data": never_began() } });
    peer.event("stream.item", 7, refusal).await;
    assert!(is_cancelled(&soon(stream.next()).await.unwrap().unwrap_err()));
    assert!(soon(stream.next()).await.is_none());
}

#[tokio::test]
async fn a_stream_that_is_dropped_meanwhile_is_not_opened_again() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let mut stream = opened(&client, &mut peer).await;
    let refusal = json!({ "error": { "code": -32024, "message": "the daemon stops", "data": never_began() } });
    peer.event("stream.item", 7, refusal).await;
    peer.close_subscription(7).await;
    tokio::select! {
        biased;
        item = stream.next() => panic!("{item:?}"),
        // All that was sent has been read once this is answered.
        () = async { join!(client.flush(), answer(&mut peer, "rpc.cancel", json!(false))); } => {}
    }
    drop(stream);
    drop(peer);
    let (result, _peer) = join!(client.call::<u32>("g", ()), async {
        let mut peer = fake.accept_again().await;
        answer(&mut peer, "g", json!(1)).await;
        peer
    });
    assert_eq!(result.unwrap(), 1);
}

#[tokio::test]
async fn answers_that_have_come_are_read_also_where_no_more_is_taken() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (first, second, _peer) = join!(
        client.call_with::<u32>("first", (), not_idempotent()),
        async {
            // It is made when the daemon takes no more, and before the first one's answer is read.
            tokio::task::yield_now().await;
            client.call_with::<u32>("second", (), not_idempotent()).await
        },
        async {
            let request = peer.expect("first").await;
            peer.take_no_more();
            tokio::task::yield_now().await;
            peer.answer(&request, json!(1)).await;
            drop(peer);
            let mut peer = fake.accept_again().await;
            answer(&mut peer, "second", json!(2)).await;
            peer
        }
    );
    assert_eq!((first.unwrap(), second.unwrap()), (1, 2));
}
