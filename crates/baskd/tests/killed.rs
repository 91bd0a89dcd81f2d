//! The daemon is killed under the load of the Rust client, which starts the next one by itself: each call is answered
//! once, and none runs twice but those that may.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use baskd_client::{CallOptions, Client, Error};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const CONTROLLER: &str = r#"
import os, time
import baskd
from basecontroller import BaseController

LEDGER = os.path.join(os.path.dirname(__file__), "ledger")

def begin(token):
    ledger = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{token}\n".encode())
    os.close(ledger)
    time.sleep(0.002)
    return token

class Controller(BaseController):
    def once(self, token: str):
        return begin(token)

    @baskd.idempotent
    def safe(self, token: str):
        return begin(token)
"#;

const EACH: usize = 32;

#[tokio::test]
async fn a_killed_daemon_costs_what_ran_and_nothing_else() {
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
    let mut outcomes: HashMap<String, Result<String, Error>> = HashMap::new();
    for round in 0..3 {
        let pid = client.status().await.unwrap().pid;
        let call = async |method: &'static str, n: usize| {
            let token = format!("{method}-{round}-{n}");
            // As its caller says, too: what only the controller says has to be asked of the next Python in time.
            let options = CallOptions {
                idempotent: (method == "safe").then_some(true),
                ..CallOptions::default()
            };
            let result: Result<String, Error> = client.call_with(method, json!({ "token": token }), options).await;
            (token, result)
        };
        let calls = (0..EACH).flat_map(|n| [call("once", n), call("safe", n)]);
        let kill = async {
            // In the middle: some have been answered, one runs, the others wait.
            while fs::read_to_string(folder.path().join("ledger"))
                .unwrap_or_default()
                .lines()
                .count()
                < 10 + 64 * round / 2
            {
                tokio::task::yield_now().await;
                let _: Value = client.call("daemon.status", ()).await.unwrap();
            }
            kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
        };
        let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), kill);
        assert_eq!(answers.len(), 2 * EACH);
        outcomes.extend(answers);
    }
    client.shutdown().await.unwrap();
    client.closed().await;

    let ledger = fs::read_to_string(folder.path().join("ledger")).unwrap();
    let mut ran: HashMap<&str, usize> = HashMap::new();
    for token in ledger.lines() {
        *ran.entry(token).or_default() += 1;
    }
    let mut lost = 0;
    for (token, outcome) in &outcomes {
        let times = ran.get(token.as_str()).copied().unwrap_or_default();
        match outcome {
            Ok(answer) => assert!(answer == token && times >= 1, "{token} = {answer}, ran {times} times"),
            Err(Error::Disconnected { .. }) => {
                assert!(token.starts_with("once"), "{token} may run twice, and was given up");
                lost += 1;
            }
            Err(error) => panic!("{token}: {error}"),
        }
        let most = if token.starts_with("safe") { 2 } else { 1 };
        assert!(times <= most, "{token} ran {times} times");
    }
    assert!(lost > 0, "no kill came in time to cost anything");
}
