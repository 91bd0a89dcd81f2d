//! What becomes of what is under way when the daemon goes away.

use std::time::Duration;

use baskd_client::{CallOptions, Client, Error, Message, Scope};
use serde_json::{Value, json};
use tokio::join;

use crate::fake::{Fake, soon};

fn options(idempotent: Option<bool>) -> CallOptions {
    CallOptions {
        timeout: None,
        idempotent,
    }
}

#[tokio::test]
async fn a_call_that_may_run_twice_is_sent_again_once() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (result, ()) = join!(client.call_with::<u32>("f", [1], options(Some(true))), async {
        assert_eq!(peer.expect("f").await["params"], json!([1]));
        drop(peer);
        // One that dies takes connections to its end.
        drop(fake.accept().await);
        let mut peer = fake.accept().await;
        let request = peer.expect("rpc.cancel").await;
        peer.answer(&request, json!(false)).await;
        let request = peer.expect("f").await;
        assert_eq!(request["params"], json!([1]));
        peer.answer(&request, json!(2)).await;
    });
    assert_eq!(result.unwrap(), 2);
}

#[tokio::test]
async fn and_not_a_third_time() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (result, ()) = join!(client.call_with::<u32>("f", (), options(Some(true))), async {
        peer.expect("f").await;
        drop(peer);
        let mut peer = fake.accept().await;
        let request = peer.expect("rpc.cancel").await;
        peer.answer(&request, json!(false)).await;
        peer.expect("f").await;
    });
    assert!(matches!(result, Err(Error::Disconnected)), "{result:?}");
}

#[tokio::test]
async fn the_controller_is_asked_once_which_methods_may_run_twice() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let safe = client.call::<u32>("safe", ());
    let limited = client.call_with::<u32>(
        "safe",
        (),
        CallOptions {
            timeout: Some(Duration::from_secs(60)),
            idempotent: None,
        },
    );
    let unsafe_one = client.call::<u32>("other", ());
    let (safe, limited, unsafe_one, ()) = join!(safe, limited, unsafe_one, async {
        for _ in 0..3 {
            peer.next().await;
        }
        drop(peer);
        let mut peer = fake.accept().await;
        let request = peer.expect("rpc.discover").await;
        let methods = json!([{ "name": "safe", "x-idempotent": true }, { "name": "other" }]);
        peer.answer(&request, json!({ "methods": methods })).await;
        for _ in 0..2 {
            let request = peer.next().await;
            assert!(
                ["safe", "rpc.call"].contains(&request["method"].as_str().unwrap()),
                "{request}"
            );
            peer.answer(&request, json!(1)).await;
        }
    });
    assert_eq!((safe.unwrap(), limited.unwrap()), (1, 1));
    assert!(matches!(unsafe_one, Err(Error::Disconnected)), "{unsafe_one:?}");
}

#[tokio::test]
async fn the_daemons_own_methods_are_not_repeated() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (result, ()) = join!(client.call::<Value>("daemon.restart", ()), async move {
        peer.expect("daemon.restart").await;
    });
    assert!(matches!(result, Err(Error::Disconnected)), "{result:?}");
}

#[tokio::test]
async fn messages_are_subscribed_to_again_and_the_gap_is_told() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (messages, ()) = join!(client.messages(Scope::All, Some("f")), async {
        let request = peer.expect("messages.subscribe").await;
        peer.answer(&request, json!(7)).await;
    });
    let mut messages = messages.unwrap();
    let sent = |text: &'static str| json!({ "call": 1, "method": "f", "data": text });
    peer.event("messages.item", 7, sent("before")).await;
    assert!(matches!(soon(messages.next()).await, Some(Ok(Message::Sent { data, .. })) if data.get() == "\"before\""));
    drop(peer);
    let (restarted, mut peer) = join!(soon(messages.next()), async {
        let mut peer = fake.accept().await;
        let request = peer.expect("messages.subscribe").await;
        assert_eq!(request["params"], json!({ "scope": "all", "method": "f" }));
        peer.answer(&request, json!(9)).await;
        peer
    });
    assert!(matches!(restarted, Some(Ok(Message::Restarted))), "{restarted:?}");
    peer.event("messages.item", 9, json!({ "dropped": 3 })).await;
    peer.event("messages.item", 9, sent("after")).await;
    assert!(matches!(soon(messages.next()).await, Some(Ok(Message::Dropped(3)))));
    assert!(matches!(soon(messages.next()).await, Some(Ok(Message::Sent { data, .. })) if data.get() == "\"after\""));
}

#[tokio::test]
async fn a_daemon_that_refuses_them_ends_them() {
    let fake = Fake::new();
    let (client, mut peer) = fake.client().await;
    let (messages, ()) = join!(client.messages(Scope::All, None), async {
        let request = peer.expect("messages.subscribe").await;
        peer.answer(&request, json!(7)).await;
    });
    let mut messages = messages.unwrap();
    drop(peer);
    let (ended, ()) = join!(soon(messages.next()), async {
        let mut peer = fake.accept().await;
        let request = peer.expect("messages.subscribe").await;
        peer.refuse(&request, -32006, "too many", json!({ "limit": 1 })).await;
    });
    assert!(matches!(ended, Some(Err(Error::Rpc(error))) if error.code == -32006));
    assert!(soon(messages.next()).await.is_none());
}

#[tokio::test]
async fn what_keeps_a_daemon_from_starting_is_the_error() {
    use std::os::unix::fs::PermissionsExt;
    let fake = Fake::new();
    let folder = fake.path().parent().unwrap().to_owned();
    let program = folder.join("baskd");
    let script = |text: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let connect = || {
        let builder = Client::builder().binary(&program).controller("c.py").python("py");
        builder.connect(folder.join("other"))
    };
    script("echo \"baskd: $*\" >&2; exit 3");
    let error = connect().await.unwrap_err();
    let wanted = format!("start c.py --python py --socket {}", folder.join("other").display());
    assert!(
        matches!(&error, Error::StartFailed(said) if *said == wanted),
        "{error:?}"
    );
    script("echo 'baskd: nothing to start: name a controller' >&2; exit 2");
    let error = connect().await.unwrap_err();
    assert!(matches!(error, Error::NoDaemon { .. }), "{error:?}");
    let builder = Client::builder().binary("/nowhere/baskd");
    let error = builder.clone().connect(folder.join("other")).await.unwrap_err();
    assert!(
        matches!(&error, Error::StartFailed(said) if said.contains("/nowhere/baskd can't be run")),
        "{error:?}"
    );
    let error = builder.start(false).connect(folder.join("other")).await.unwrap_err();
    assert!(matches!(error, Error::NoDaemon { .. }), "{error:?}");
}
