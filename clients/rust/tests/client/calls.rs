//! Calls, their cancelling, and what happens to them when a daemon goes away.

use std::time::Duration;

use crate::fake::{Fake, soon};
use baskd_client::{CallOptions, Client, Error, ErrorCode, Scope, StreamOptions};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::join;

#[tokio::test]
async fn a_call_and_its_answer() {
    let (client, mut peer) = Fake::new().client().await;
    let (result, ()) = join!(client.call::<Value>("increment", json!({ "by": 5 })), async {
        let request = peer.expect("increment").await;
        assert_eq!(request["jsonrpc"], "2.0");
        assert_eq!(request["params"], json!({ "by": 5 }));
        peer.answer(&request, json!({ "counter": 5 })).await;
    });
    assert_eq!(result.unwrap(), json!({ "counter": 5 }));
}

#[tokio::test]
async fn no_params_are_left_out_and_results_keep_their_digits() {
    let (client, mut peer) = Fake::new().client().await;
    let (result, ()) = join!(client.call::<Box<RawValue>>("f", ()), async {
        let request = peer.expect("f").await;
        assert!(request.get("params").is_none());
        let id = &request["id"];
        peer.write(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1.000}}"#).as_bytes())
            .await;
        peer.write(b"\n").await;
    });
    assert_eq!(result.unwrap().get(), "1.000");
}

#[tokio::test]
async fn answers_come_in_any_order_and_any_pieces() {
    let (client, mut peer) = Fake::new().client().await;
    let large = "x".repeat(3_000_000);
    let (first, second, ()) = join!(
        client.call::<String>("first", ()),
        client.call::<u32>("second", ()),
        async {
            let first = peer.expect("first").await;
            let second = peer.expect("second").await;
            let both = format!(
                "{}\n{}\n",
                json!({ "result": 2, "id": second["id"], "jsonrpc": "2.0" }),
                json!({ "jsonrpc": "2.0", "id": first["id"], "result": large })
            );
            let (head, tail) = both.as_bytes().split_at(10);
            peer.write(head).await;
            tokio::task::yield_now().await;
            peer.write(tail).await;
        }
    );
    assert_eq!(first.unwrap(), large);
    assert_eq!(second.unwrap(), 2);
}

#[tokio::test]
async fn an_error_keeps_its_data() {
    let (client, mut peer) = Fake::new().client().await;
    let (result, ()) = join!(client.call::<Value>("incremnt", ()), async {
        let request = peer.next().await;
        peer.refuse(&request, -32601, "no such method", json!({ "nearest": ["increment"] }))
            .await;
    });
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorCode::MethodNotFound));
    assert_eq!(error.nearest(), Some("increment"));
}

#[tokio::test]
async fn a_timeout_goes_with_the_call() {
    let (client, mut peer) = Fake::new().client().await;
    let options = CallOptions {
        timeout: Some(Duration::from_secs(60)),
        ..CallOptions::default()
    };
    let (result, ()) = join!(client.call_with::<u32>("slow", json!([1]), options), async {
        let request = peer.expect("rpc.call").await;
        let params = &request["params"];
        assert_eq!((&params["method"], &params["params"]), (&json!("slow"), &json!([1])));
        let left = params["timeout_ms"].as_u64().unwrap();
        assert!((59_000..=60_000).contains(&left), "{left}");
        peer.answer(&request, json!(1)).await;
    });
    assert_eq!(result.unwrap(), 1);
}

#[tokio::test]
async fn dropping_a_call_cancels_it() {
    let (client, mut peer) = Fake::new().client().await;
    let request = tokio::select! {
        _ = client.call::<Value>("slow", ()) => unreachable!("it is not answered"),
        request = peer.expect("slow") => request,
    };
    let cancel = peer.expect("$/cancelRequest").await;
    assert_eq!(cancel["params"], json!({ "id": request["id"] }));
    assert!(cancel.get("id").is_none());

    // Its answer comes all the same, and the connection lives on.
    peer.refuse(&request, -32024, "cancelled", json!({ "by": "client" }))
        .await;
    let (result, ()) = join!(client.call::<u32>("next", ()), async {
        let request = peer.expect("next").await;
        peer.answer(&request, json!(1)).await;
    });
    assert_eq!(result.unwrap(), 1);
}

#[tokio::test]
async fn an_answered_call_is_not_cancelled() {
    let (client, mut peer) = Fake::new().client().await;
    let (_, ()) = join!(client.call::<Value>("f", ()), async {
        let request = peer.expect("f").await;
        peer.answer(&request, json!(1)).await;
    });
    join!(client.flush(), async {
        let request = peer.expect("rpc.cancel").await;
        assert_eq!(request["params"], json!({ "id": "none" }));
        peer.answer(&request, json!(false)).await;
    });
}

#[tokio::test]
async fn answers_to_nobody_do_no_harm() {
    let (client, mut peer) = Fake::new().client().await;
    let (result, ()) = join!(client.call::<u32>("f", ()), async {
        let request = peer.expect("f").await;
        peer.say(json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32700, "message": "parse error" } }))
            .await;
        peer.say(json!({ "jsonrpc": "2.0", "id": 99, "result": 1 })).await;
        peer.say(json!({ "jsonrpc": "2.0", "id": "text", "result": 1 })).await;
        peer.write(b"[]\n\n").await;
        peer.answer(&request, json!(7)).await;
        peer.answer(&request, json!(8)).await;
    });
    assert_eq!(result.unwrap(), 7);
    let (result, ()) = join!(client.call::<u32>("g", ()), async {
        let request = peer.expect("g").await;
        peer.answer(&request, json!(9)).await;
    });
    assert_eq!(result.unwrap(), 9);
}

#[tokio::test]
async fn a_connection_that_is_refused_says_why() {
    let (client, mut peer) = Fake::new().client().await;
    let (result, ()) = join!(client.call::<u32>("f", ()), async move {
        peer.expect("f").await;
        peer.say(
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32027, "message": "no", "data": { "uid": 5 } } }),
        )
        .await;
    });
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorCode::Forbidden));
    assert_eq!(error.data("uid"), Some(&json!(5)));
}

#[tokio::test]
async fn nobody_answers() {
    let fake = Fake::new();
    let path = fake.path().with_file_name("other");
    let connect = |path| Client::builder().start(false).connect(path);
    let error = connect(path).await.unwrap_err();
    assert!(matches!(error, Error::NoDaemon { .. }), "{error:?}");
    let error = connect("/nowhere/at/all.sock".into()).await.unwrap_err();
    assert!(matches!(error, Error::NoDaemon { .. }), "{error:?}");
}

#[tokio::test]
async fn a_daemon_can_be_waited_for() {
    let fake = Fake::new();
    let path = fake.path().with_file_name("later");
    let waiting = Client::builder()
        .start(false)
        .wait(Duration::from_secs(10))
        .connect(path.clone());
    let (client, listener) = join!(soon(waiting), async {
        tokio::task::yield_now().await;
        tokio::net::UnixListener::bind(&path).unwrap()
    });
    client.unwrap();
    drop(listener);
}

#[tokio::test]
async fn a_folder_that_others_can_enter_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let fake = Fake::new();
    std::fs::set_permissions(fake.path().parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = Client::connect(fake.path()).await.unwrap_err();
    assert!(matches!(error, Error::Socket(_)), "{error:?}");
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn what_it_gives_can_go_to_another_thread() {
    fn can_move<T: Send>(_: &T) {}
    let (client, _peer) = Fake::new().client().await;
    can_move(&client);
    can_move(&client.call::<Value>("f", json!({})));
    can_move(&client.stream("f", (), StreamOptions::default()));
    can_move(&client.messages(Scope::All, None));
}
