//! Limits of the framings that take too long, or too much, to be met at their defaults.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use baskd::config::Settings;
use baskd::limits::Limits;
use baskd::serve::{Daemon, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"increment","params":{"by":0}}"#;
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Runs `test` with the socket of a daemon of its own, and then sees the daemon end.
fn with_daemon(limits: Limits, test: impl AsyncFnOnce(&Path)) {
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
        settings: Settings {
            limits,
            ..Settings::default()
        },
    };
    let socket = options.socket.clone();
    LocalSet::new().block_on(&runtime, async move {
        let stop = CancellationToken::new();
        let daemon = Daemon::start_in(options, &folder.path().join("state"), stop.clone()).unwrap();
        let running = tokio::task::spawn_local(daemon.run());
        test(&socket).await;
        stop.cancel();
        running.await.unwrap();
    });
}

async fn connect(socket: &Path, first: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(first).await.unwrap();
    stream
}

/// Everything up to what ends so.
async fn until(stream: &mut UnixStream, end: &[u8]) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end) {
        let byte = timeout(SOON, stream.read_u8()).await.unwrap();
        bytes.push(byte.unwrap_or_else(|_| panic!("ended after {:?}", String::from_utf8_lossy(&bytes))));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything up to the end.
async fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(SOON, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn who_does_not_send_the_next_headers_is_let_go() {
    let limits = Limits {
        http_header_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    with_daemon(limits, async |socket| {
        // Before its first byte, a connection is not yet HTTP.
        let mut silent = connect(socket, b"").await;

        let mut slow = connect(socket, b"GET /health HTTP/1.1\r\nX-Slo").await;
        assert_eq!(rest(&mut slow).await, b"");

        let mut idle = connect(socket, b"GET /health HTTP/1.1\r\n\r\n").await;
        assert!(rest(&mut idle).await.starts_with(b"HTTP/1.1 200 OK\r\n"));

        silent.write_all(post(CALL).as_bytes()).await.unwrap();
        assert!(rest(&mut silent).await.ends_with(b"}}\n"));
    });
}

#[test]
fn half_messages_share_a_limit_in_every_framing() {
    const HALF: usize = 700_000;
    const WHOLE: usize = 1_000_000;
    let limits = Limits {
        max_pending: 600_000,
        ..Limits::default()
    };
    with_daemon(limits, async |socket| {
        let half = vec![b' '; HALF];
        let refused = r#""code":-32025"#;

        let mut lsp = connect(socket, format!("Content-Length: {WHOLE}\r\n\r\n").as_bytes()).await;
        lsp.write_all(&half).await.unwrap();
        assert!(until(&mut lsp, b"}}}").await.contains(refused));
        // The rest of it is skipped, and the next is served.
        lsp.write_all(&half[..WHOLE - HALF]).await.unwrap();
        let next = format!("Content-Length: {}\r\n\r\n{CALL}", CALL.len());
        lsp.write_all(next.as_bytes()).await.unwrap();
        assert!(until(&mut lsp, b"}}").await.contains(r#""result":{"counter":0}"#));

        let mut http = connect(socket, &post(&" ".repeat(WHOLE)).as_bytes()[..HALF]).await;
        let answer = String::from_utf8(rest(&mut http).await).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains(refused),
            "{answer}"
        );

        let mut websocket = connect(socket, UPGRADE.as_bytes()).await;
        until(&mut websocket, b"\r\n\r\n").await;
        let header = [&[0x81, 0xff][..], &(WHOLE as u64).to_be_bytes(), b"mask"].concat();
        websocket.write_all(&header).await.unwrap();
        websocket.write_all(&half).await.unwrap();
        let answer = rest(&mut websocket).await;
        assert!(String::from_utf8_lossy(&answer).contains(refused));
        assert!(answer.ends_with(&[0x88, 2, 0x03, 0xf5]), "it is closed with 1013");

        // Nothing of all that is counted any more.
        let mut metrics = connect(socket, b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        let told = String::from_utf8(rest(&mut metrics).await).unwrap();
        assert!(told.contains("\nbaskd_pending_bytes 0\n"), "{told}");
    });
}
