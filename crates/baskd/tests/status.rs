//! What the Rust client reads of a real daemon's status, and a call that it cancels by the number it read there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use baskd_client::{Client, Error, ErrorCode};
use serde_json::Value;

const CONTROLLER: &str = r#"
import time
from basecontroller import BaseController

class Controller(BaseController):
    def add(self, a: int, b: int = 1):
        return a + b

    def sleep(self, seconds: float):
        time.sleep(seconds)

    def fail(self):
        raise ValueError("as it should")
"#;

#[tokio::test]
async fn a_client_reads_all_of_it_and_cancels_by_number() {
    let folder = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .unwrap();
    let controller = folder.path().join("controller.py");
    fs::write(&controller, CONTROLLER).unwrap();
    // The state is this test's own: the client's program is a script that says so.
    let program = folder.path().join("baskd");
    let script = format!(
        "#!/bin/sh\nHOME='{0}' XDG_STATE_HOME='{0}/state' XDG_CONFIG_HOME='{0}/config' exec '{1}' \"$@\"\n",
        folder.path().display(),
        env!("CARGO_BIN_EXE_baskd")
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let builder = Client::builder()
        .controller(controller.to_str().unwrap())
        .binary(&program);
    let client = builder.connect(folder.path().join("socket")).await.unwrap();

    for _ in 0..10 {
        assert_eq!(client.call::<u64>("add", (1,)).await.unwrap(), 2);
    }
    client.call::<Value>("fail", ()).await.unwrap_err();
    let status = client.status().await.unwrap();
    assert!(status.started_ms > 1_600_000_000_000);
    assert_eq!((status.latency.count, status.latency.buckets.len()), (11, 19));
    assert!(status.latency.p50_ms <= status.latency.max_ms && status.latency.p50_ms.is_some());
    let names: Vec<_> = status.methods.iter().map(|method| method.method.as_str()).collect();
    assert_eq!(names, ["add", "fail"]);
    assert_eq!((status.methods[0].calls, status.methods[1].errors), (10, 1));
    assert!(status.rates.five_minutes.calls > 0.0 && status.rates.ten_seconds.errors > 0.0);
    let error = status.last_error.unwrap();
    assert_eq!(
        (error.name.as_deref(), error.method.as_deref()),
        (Some("MethodError"), Some("fail"))
    );
    assert!(error.message.contains("as it should"), "{}", error.message);
    assert!(status.exits.is_empty() && status.under_way.is_empty());
    assert_eq!(status.restarts_by.crash, 0);

    let sleeping = client.clone();
    let sleeping = tokio::spawn(async move { sleeping.call::<Value>("sleep", (60,)).await });
    let number = loop {
        let status = client.status().await.unwrap();
        if let Some(call) = status.under_way.iter().find(|call| call.place == "running") {
            assert_eq!((call.method.as_str(), call.worker), ("sleep", Some(1)));
            break call.call;
        }
    };
    assert!(client.cancel_call(number).await.unwrap());
    assert!(!client.cancel_call(number).await.unwrap());
    match sleeping.await.unwrap() {
        Err(Error::Rpc(error)) => assert_eq!(error.kind(), Some(ErrorCode::Cancelled)),
        other => panic!("{other:?}"),
    }
    client.shutdown().await.unwrap();
    client.closed().await;
}
