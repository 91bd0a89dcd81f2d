//! Streams and messages.

use crate::fake::{Fake, Peer, soon};
use baskd_client::{Client, Error, ErrorCode, Event, Message, Scope, Stream, StreamOptions};
use serde_json::{Value, json};
use tokio::join;

async fn stream(client: &Client, peer: &mut Peer, window: u32) -> Stream {
    let options = StreamOptions {
        window: Some(window),
        ..StreamOptions::default()
    };
    let (stream, ()) = join!(client.stream("count", json!({ "to": 9 }), options), async {
        let request = peer.expect("stream.call").await;
        assert_eq!(
            request["params"],
            json!({ "method": "count", "params": { "to": 9 }, "window": window })
        );
        peer.answer(&request, json!(41)).await;
    });
    stream.unwrap()
}

async fn item(stream: &mut Stream) -> Value {
    match soon(stream.next()).await {
        Some(Ok(Event::Item(item))) => serde_json::from_str(item.get()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Lets the client say everything it has to, and checks that it was nothing.
async fn expect_silence(client: &Client, peer: &mut Peer) {
    join!(client.flush(), async {
        let request = peer.expect("rpc.cancel").await;
        peer.answer(&request, json!(false)).await;
    });
}

#[tokio::test]
async fn items_and_then_the_return_value() {
    let (client, mut peer) = Fake::new().client().await;
    let mut stream = stream(&client, &mut peer, 512).await;
    for event in [json!({ "item": 1 }), json!({ "item": null }), json!({ "end": "done" })] {
        peer.event("stream.item", 41, event).await;
    }
    peer.close_subscription(41).await;
    assert_eq!(item(&mut stream).await, json!(1));
    assert_eq!(item(&mut stream).await, Value::Null);
    assert!(matches!(soon(stream.next()).await, Some(Ok(Event::End(value))) if value.get() == "\"done\""));
    assert!(soon(stream.next()).await.is_none());
    drop(stream);
    expect_silence(&client, &mut peer).await;
}

#[tokio::test]
async fn a_reader_who_takes_his_time_loses_nothing() {
    const ITEMS: u64 = 3000;
    let (client, mut peer) = Fake::new().client().await;
    let mut stream = stream(&client, &mut peer, 512).await;
    let daemon = async {
        let mut credit = 512;
        for number in 0..ITEMS {
            if credit == 0 {
                let more = peer.expect("stream.more").await;
                assert_eq!(more["params"][0], 41);
                credit += more["params"][1].as_u64().unwrap();
            }
            peer.event("stream.item", 41, json!({ "item": number })).await;
            credit -= 1;
        }
        peer.event("stream.item", 41, json!({ "end": null })).await;
        peer.close_subscription(41).await;
    };
    let reader = async {
        for number in 0..ITEMS {
            assert_eq!(item(&mut stream).await, json!(number));
            tokio::task::yield_now().await;
        }
        assert!(matches!(soon(stream.next()).await, Some(Ok(Event::End(_)))));
    };
    join!(daemon, reader);
}

#[tokio::test]
async fn a_small_window_is_kept_open() {
    let (client, mut peer) = Fake::new().client().await;
    let mut stream = stream(&client, &mut peer, 1).await;
    for number in 0..3 {
        peer.event("stream.item", 41, json!({ "item": number })).await;
        assert_eq!(item(&mut stream).await, json!(number));
        let more = peer.expect("stream.more").await;
        assert_eq!(more["params"], json!([41, 1]));
        assert!(more.get("id").is_none());
    }
}

#[tokio::test]
async fn an_error_ends_a_stream() {
    let (client, mut peer) = Fake::new().client().await;
    let mut stream = stream(&client, &mut peer, 8).await;
    let error = json!({ "code": -32020, "message": "ValueError: no", "data": { "traceback": "Traceback" } });
    peer.event("stream.item", 41, json!({ "error": error })).await;
    peer.close_subscription(41).await;
    let error = soon(stream.next()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Some(ErrorCode::MethodError));
    assert_eq!(error.traceback(), Some("Traceback"));
    assert!(soon(stream.next()).await.is_none());
}

#[tokio::test]
async fn an_unknown_method_is_known_before_the_stream() {
    let (client, mut peer) = Fake::new().client().await;
    let (stream, ()) = join!(client.stream("cout", (), StreamOptions::default()), async {
        let request = peer.expect("stream.call").await;
        peer.refuse(&request, -32601, "no", json!({ "nearest": ["count"] }))
            .await;
    });
    assert_eq!(stream.unwrap_err().nearest(), Some("count"));
}

#[tokio::test]
async fn dropping_a_stream_cancels_it() {
    let (client, mut peer) = Fake::new().client().await;
    let mut stream = stream(&client, &mut peer, 8).await;
    peer.event("stream.item", 41, json!({ "item": 1 })).await;
    assert_eq!(item(&mut stream).await, json!(1));
    drop(stream);
    let cancel = peer.expect("stream.cancel").await;
    assert_eq!(cancel["params"], json!([41]));
    assert!(cancel.get("id").is_none(), "nobody would take the answer");

    // What was under way, and the last event, come to nobody.
    peer.event("stream.item", 41, json!({ "item": 2 })).await;
    peer.event(
        "stream.item",
        41,
        json!({ "error": { "code": -32024, "message": "cancelled" } }),
    )
    .await;
    peer.close_subscription(41).await;
    expect_silence(&client, &mut peer).await;
}

#[tokio::test]
async fn dropping_a_stream_before_it_is_one_cancels_it() {
    let (client, mut peer) = Fake::new().client().await;
    let request = tokio::select! {
        _ = client.stream("count", (), StreamOptions::default()) => unreachable!("it is not acknowledged"),
        request = peer.expect("stream.call") => request,
    };
    peer.answer(&request, json!(41)).await;
    let cancel = peer.expect("stream.cancel").await;
    assert_eq!(cancel["params"], json!([41]));
}

#[tokio::test]
async fn a_lost_connection_ends_a_stream() {
    let (client, mut peer) = Fake::new().client().await;
    let mut stream = stream(&client, &mut peer, 8).await;
    drop(peer);
    assert!(matches!(soon(stream.next()).await, Some(Err(Error::Disconnected { method })) if method == "count"));
    assert!(soon(stream.next()).await.is_none());
}

#[tokio::test]
async fn messages_of_a_method() {
    let (client, mut peer) = Fake::new().client().await;
    let (messages, ()) = join!(client.messages(Scope::All, Some("train")), async {
        let request = peer.expect("messages.subscribe").await;
        assert_eq!(request["params"], json!({ "scope": "all", "method": "train" }));
        peer.answer(&request, json!(5)).await;
    });
    let mut messages = messages.unwrap();
    peer.event(
        "messages.item",
        5,
        json!({ "call": 9, "method": "train", "data": null }),
    )
    .await;
    peer.event("messages.item", 5, json!({ "dropped": 3 })).await;
    match soon(messages.next()).await {
        Some(Ok(Message::Sent {
            call: 9,
            request: None,
            method,
            data,
        })) => assert_eq!((method.as_str(), data.get()), ("train", "null")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(soon(messages.next()).await, Some(Ok(Message::Dropped(3)))));
    drop(messages);
    assert_eq!(peer.expect("messages.unsubscribe").await["params"], json!([5]));
}
