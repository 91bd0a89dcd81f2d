//! A daemon that says what a test tells it to.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use baskd_client::Client;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// For what is about to happen; only a test that fails waits so long.
const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Fake {
    listener: UnixListener,
    folder: TempDir,
    /// As a daemon has it; a socket without one is taken for a manager's.
    _lock: File,
}

pub(crate) struct Peer {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it never happened")
}

impl Fake {
    pub(crate) fn new() -> Fake {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        Fake::of(listener, folder)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        Peer::new(stream)
    }

    pub(crate) async fn client(&self) -> (Client, Peer) {
        let client = Client::builder().start(false).connect(self.path()).await.unwrap();
        (client, self.accept().await)
    }

    /// The connection of a client that had lost one, once it has made sure that a daemon answers.
    pub(crate) async fn accept_again(&self) -> Peer {
        let mut peer = self.accept().await;
        let request = peer.expect("daemon.status").await;
        peer.answer(&request, status("embedded")).await;
        peer
    }

    pub(crate) fn of(listener: UnixListener, folder: TempDir) -> Fake {
        let lock = File::create(folder.path().join("s.lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        Fake {
            listener,
            folder,
            _lock: lock,
        }
    }

    /// Nobody listens any more.
    pub(crate) fn stop(self) -> TempDir {
        drop(self.listener);
        std::fs::remove_file(self.folder.path().join("s")).unwrap();
        self.folder
    }

    /// Another daemon in its place.
    pub(crate) fn replace(self) -> Fake {
        let folder = self.stop();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        Fake::of(listener, folder)
    }
}

/// What `daemon.status` answers, where that serves `spec`.
pub(crate) fn status(spec: &str) -> Value {
    json!({
        "name": "fake", "version": "0", "pid": 1, "socket": "s", "uptime_ms": 1,
        "controller": { "spec": spec, "file": null, "class": "Controller" }, "python": {}, "state": "ready", "workers": [],
        "queued": 0, "in_flight": 0, "connections": 1, "calls": 0, "restarts": 0,
    })
}

impl Peer {
    fn new(stream: UnixStream) -> Peer {
        let (read, write) = stream.into_split();
        Peer {
            read: BufReader::new(read),
            write,
        }
    }

    /// As a daemon that stops: the client's next write fails.
    pub(crate) fn take_no_more(&self) {
        let socket: &UnixStream = self.write.as_ref();
        let socket = std::os::unix::net::UnixStream::from(socket.as_fd().try_clone_to_owned().unwrap());
        socket.shutdown(std::net::Shutdown::Read).unwrap();
    }

    /// The next message, which must come.
    pub(crate) async fn next(&mut self) -> Value {
        let mut line = String::new();
        soon(self.read.read_line(&mut line)).await.unwrap();
        assert!(line.ends_with('\n'), "the client closed the connection after {line:?}");
        serde_json::from_str(&line).unwrap()
    }

    /// Waits until the client closes the connection, whatever it has to say before.
    pub(crate) async fn ended(&mut self) {
        let mut line = String::new();
        while soon(self.read.read_line(&mut line)).await.unwrap() > 0 {
            line.clear();
        }
    }

    /// The next message, which must call `method`.
    pub(crate) async fn expect(&mut self, method: &str) -> Value {
        let message = self.next().await;
        assert_eq!(message["method"], method, "{message}");
        message
    }

    pub(crate) async fn say(&mut self, message: Value) {
        self.write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn answer(&mut self, request: &Value, result: Value) {
        self.say(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
            .await;
    }

    pub(crate) async fn refuse(&mut self, request: &Value, code: i32, message: &str, data: Value) {
        self.say(json!({ "jsonrpc": "2.0", "id": request["id"], "error": { "code": code, "message": message, "data": data } })).await;
    }

    pub(crate) async fn event(&mut self, method: &str, subscription: u64, event: Value) {
        self.say(
            json!({ "jsonrpc": "2.0", "method": method, "params": { "subscription": subscription, "result": event } }),
        )
        .await;
    }

    /// The closing notification.
    pub(crate) async fn close_subscription(&mut self, subscription: u64) {
        let params = json!({ "subscription": subscription, "error": { "code": 0, "message": "closed" } });
        self.say(json!({ "jsonrpc": "2.0", "method": "stream.item", "params": params }))
            .await;
    }
}
