//! jsonrpsee's own client, unmodified, against a daemon in this process: calls, batches, and its own idea of a
//! subscription.

use std::io;
use std::os::unix::fs::PermissionsExt;

use baskd::config::Settings;
use baskd::serve::{Daemon, Options};
use jsonrpsee::core::client::{
    BatchResponse, Client, ClientBuilder, ClientT, Error, ReceivedMessage, Subscription, SubscriptionClientT,
    TransportReceiverT, TransportSenderT,
};
use jsonrpsee::core::params::{ArrayParams, BatchRequestBuilder, ObjectParams};
use jsonrpsee::rpc_params;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

struct Sender(OwnedWriteHalf);
struct Receiver(BufReader<OwnedReadHalf>);

impl TransportSenderT for Sender {
    type Error = io::Error;

    /// Without a newline: the daemon needs none.
    async fn send(&mut self, message: String) -> io::Result<()> {
        self.0.write_all(message.as_bytes()).await
    }
}

impl TransportReceiverT for Receiver {
    type Error = io::Error;

    async fn receive(&mut self) -> io::Result<ReceivedMessage> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(ReceivedMessage::Text(line)),
        }
    }
}

/// Runs `test` with a client of a daemon of its own, which serves the embedded example, and then sees the daemon end.
fn with_client(test: impl AsyncFnOnce(Client)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .unwrap();
    let options = Options {
        name: "default".to_owned(),
        socket: folder.path().join("a.sock"),
        given: None,
        settings: Settings::default(),
    };
    let socket = options.socket.clone();
    LocalSet::new().block_on(&runtime, async move {
        let stop = CancellationToken::new();
        let daemon = Daemon::start_in(options, &folder.path().join("state"), stop.clone()).unwrap();
        let running = tokio::task::spawn_local(daemon.run());
        let (read, write) = UnixStream::connect(&socket).await.unwrap().into_split();
        test(ClientBuilder::default().build_with_tokio(Sender(write), Receiver(BufReader::new(read)))).await;
        stop.cancel();
        running.await.unwrap();
        assert!(!socket.exists());
    });
}

fn by(amount: i64) -> ObjectParams {
    let mut params = ObjectParams::new();
    params.insert("by", amount).unwrap();
    params
}

#[test]
fn calls_and_errors() {
    with_client(async |client| {
        let counter: Value = client.request("increment", by(5)).await.unwrap();
        assert_eq!(counter, json!({ "counter": 5 }));
        client.notification("increment", by(2)).await.unwrap();
        let counter: Value = client.request("increment", by(1)).await.unwrap();
        assert_eq!(counter, json!({ "counter": 8 }));

        let error = client.request::<Value, _>("incremnt", rpc_params![]).await.unwrap_err();
        let Error::Call(error) = error else { panic!("{error}") };
        assert_eq!(error.code(), -32601);
        let data: Value = serde_json::from_str(error.data().unwrap().get()).unwrap();
        assert_eq!(data, json!({ "nearest": ["increment"] }));
    });
}

#[test]
fn a_batch() {
    with_client(async |client| {
        let mut batch = BatchRequestBuilder::new();
        batch.insert("increment", by(1)).unwrap();
        batch.insert("nope", ArrayParams::new()).unwrap();
        batch.insert("increment", by(1)).unwrap();
        let answers: BatchResponse<'_, Value> = client.batch_request(batch).await.unwrap();
        assert_eq!((answers.num_successful_calls(), answers.num_failed_calls()), (2, 1));
        let counters: Vec<_> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().ok().cloned())
            .collect();
        assert_eq!(counters, [json!({ "counter": 1 }), json!({ "counter": 2 })]);
    });
}

#[test]
fn a_stream_is_a_subscription_that_ends() {
    with_client(async |client| {
        let mut stream: Subscription<Value> = client
            .subscribe("stream.call", rpc_params!["testStream"], "stream.cancel")
            .await
            .unwrap();
        let mut events = Vec::new();
        while let Some(event) = stream.next().await {
            events.push(event.unwrap());
        }
        assert!(events.len() > 1);
        assert!(
            events[..events.len() - 1]
                .iter()
                .all(|event| event.get("item").is_some()),
            "{events:?}"
        );
        assert!(events[events.len() - 1].get("end").is_some(), "{events:?}");

        let refused = client
            .subscribe::<Value, _>("stream.call", rpc_params!["testSteam"], "stream.cancel")
            .await;
        assert!(matches!(refused, Err(Error::Call(error)) if error.code() == -32601));
    });
}

#[test]
fn messages_can_be_subscribed_to_and_left() {
    with_client(async |client| {
        let mut messages: Subscription<Value> = client
            .subscribe("messages.subscribe", rpc_params!["own"], "messages.unsubscribe")
            .await
            .unwrap();
        client.request::<Value, _>("testStream", rpc_params![]).await.unwrap();
        let first = messages.next().await.unwrap().unwrap();
        assert_eq!(first["method"], "testStream");
        messages.unsubscribe().await.unwrap();
        client.request::<Value, _>("increment", rpc_params![]).await.unwrap();
    });
}
