//! What takes too long to wait for at its default: how long HTTP may be silent.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use baskd::limits::Limits;
use baskd::serve::{ControllerSpec, Daemon, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SILENCE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(20);

/// Everything up to the end.
async fn rest(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    timeout(SOON, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[test]
fn who_does_not_send_the_next_headers_is_let_go() {
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
        controller: ControllerSpec::Embedded,
        python: None,
        grace: Duration::from_secs(10),
        limits: Limits {
            http_header_timeout: SILENCE,
            ..Limits::default()
        },
    };
    let socket = options.socket.clone();
    LocalSet::new().block_on(&runtime, async move {
        let stop = CancellationToken::new();
        let daemon = Daemon::start_in(options, folder.path().join("state"), stop.clone()).unwrap();
        let running = tokio::task::spawn_local(daemon.run());
        let connect = || UnixStream::connect(&socket);

        let mut silent = connect().await.unwrap();
        let mut slow = connect().await.unwrap();
        slow.write_all(b"GET /health HTTP/1.1\r\nX-Slo").await.unwrap();
        assert_eq!(rest(&mut slow).await, "");

        let mut idle = connect().await.unwrap();
        idle.write_all(b"GET /health HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200 OK\r\n"));

        // Before its first byte, a connection is not yet HTTP.
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"increment","params":{"by":0}}"#;
        let request = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        silent.write_all(request.as_bytes()).await.unwrap();
        assert!(rest(&mut silent).await.ends_with("}\n"));

        stop.cancel();
        running.await.unwrap();
    });
}
