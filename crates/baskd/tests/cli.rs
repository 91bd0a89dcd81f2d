//! The command line against a real daemon, as a person would use it.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const BASKD: &str = env!("CARGO_BIN_EXE_baskd");

/// For what is about to happen; only a test that fails waits so long.
const SOON: Duration = Duration::from_secs(30);

const CONTROLLER: &str = r#"
import os, sys, time
from basecontroller import BaseController

class Controller(BaseController):
    closed = 0

    def echo(self, params):
        return params

    def add(self, a: int, b: int = 2):
        """Adds two numbers."""
        return a + b

    def fail(self):
        raise ValueError("not today")

    def die(self):
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)

    def nap(self, seconds: float = 60):
        time.sleep(seconds)

    def count(self, to: int, fail: bool = False):
        try:
            for number in range(to):
                yield number
            if fail:
                raise ValueError("enough")
        finally:
            self.closed += 1

    def closings(self):
        return self.closed

    def talk(self):
        self.send("psst")
        return "done"

    def talk_on(self):
        yield "psst"
        time.sleep(60)

    def unspeakable(self):
        return float("nan")
"#;

/// A daemon of a test's own. It ends with the test.
struct Daemon {
    folder: TempDir,
    child: Child,
}

struct Outcome {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn private_folder() -> TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .unwrap()
}

/// The program, with no surroundings but those of `folder`.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(BASKD);
    command.env_remove("BASKD_NAME").env_remove("BASKD_SOCKET");
    for (name, sub) in [
        ("XDG_STATE_HOME", "state"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_RUNTIME_DIR", "run"),
    ] {
        command.env(name, folder.join(sub));
    }
    command
}

fn outcome(mut command: Command, stdin: &str) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that is done before it reads closes its stdin.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome {
        status: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

impl Daemon {
    fn start() -> Daemon {
        let folder = private_folder();
        fs::write(folder.path().join("controller.py"), CONTROLLER).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut serve = command(folder.path());
        serve
            .args(["serve", "controller.py", "--name", "test", "--socket", "socket"])
            .current_dir(folder.path());
        let child = serve
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Daemon { folder, child };
        until("the daemon listens", || UnixStream::connect(daemon.socket()).ok());
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.folder.path());
        command
            .args(arguments)
            .env("BASKD_SOCKET", self.socket())
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(self.command(arguments), "")
    }

    /// What a command prints that must succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(
            (outcome.status, outcome.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        outcome.stdout
    }

    /// What a command says that must end with `status`, having printed nothing.
    fn fails(&self, status: i32, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(
            (outcome.status, outcome.stdout.as_str()),
            (Some(status), ""),
            "{arguments:?}: {}",
            outcome.stderr
        );
        outcome.stderr
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal(&self.child, Signal::TERM);
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!(
                "the daemon's log:\n{}",
                fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
        }
    }
}

#[test]
fn parameters_in_every_form() {
    let daemon = Daemon::start();
    fs::write(daemon.folder.path().join("file.json"), "[1.50]\n").unwrap();
    assert_eq!(daemon.ok(&["call", "echo"]), "{}\n");
    assert_eq!(daemon.ok(&["call", "add", "a=1"]), "3\n");
    assert_eq!(daemon.ok(&["call", "add", "[1, 5]"]), "6\n");
    let forms = [
        "call",
        "echo",
        "n=5",
        "text=five",
        "none=null",
        "list:=[1,2]",
        "file=@file.json",
        "json:=@file.json",
    ];
    assert_eq!(
        daemon.ok(&forms),
        "{\"n\":5,\"text\":\"five\",\"none\":null,\"list\":[1,2],\"file\":\"[1.50]\\n\",\"json\":[1.5]}\n"
    );
    let outcome = outcome(daemon.command(&["call", "echo", "-", "b=2"]), "{\"a\": 1}");
    assert_eq!(
        (outcome.status, outcome.stdout.as_str()),
        (Some(0), "{\"a\":1,\"b\":2}\n")
    );
    assert_eq!(
        daemon.ok(&["call", "talk"]),
        "\"done\"\n",
        "what a plain call sends is not printed"
    );
}

#[test]
fn properties() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok(&["set", "model", "something"]), "");
    assert_eq!(daemon.ok(&["set", "limits:={\"tokens\":4096}"]), "");
    assert_eq!(daemon.ok(&["get", "model"]), "\"something\"\n");
    assert_eq!(daemon.ok(&["get", "limits"]), "{\"tokens\":4096}\n");
    assert!(daemon.fails(2, &["get", "modle"]).contains("model"));
    assert!(daemon.fails(2, &["set", "_private", "1"]).contains("_private"));
}

#[test]
fn exit_statuses_and_what_is_said() {
    let daemon = Daemon::start();
    let said = daemon.fails(1, &["call", "fail"]);
    assert!(said.starts_with("baskd: ValueError: not today\nTraceback"), "{said}");
    assert!(daemon.fails(1, &["call", "unspeakable"]).contains("$"));
    assert!(daemon.fails(2, &["call", "ad", "a=1"]).contains("did you mean `add`?"));
    assert!(daemon.fails(2, &["call", "add", "a=one"]).contains("integer"));
    assert!(daemon.fails(2, &["call", "add", "5"]).contains("name=5"));
    assert!(daemon.fails(2, &["methods", "ad"]).contains("did you mean add?"));
    assert!(daemon.fails(2, &["call"]).contains("Usage"));
    let said = daemon.fails(3, &["call", "add", "--name", "nobody"]);
    assert!(said.contains("start one with `baskd serve --name nobody`"), "{said}");
    assert!(daemon.fails(4, &["call", "die"]).ends_with("\n  last words\n"));
    assert!(
        daemon
            .fails(5, &["call", "nap", "--timeout", "100ms"])
            .contains("--timeout")
    );

    let object: serde_json::Value = serde_json::from_str(&daemon.fails(1, &["call", "fail", "--json"])).unwrap();
    assert_eq!(
        (&object["code"], &object["data"]["type"]),
        (&(-32020).into(), &"ValueError".into())
    );
    let object: serde_json::Value =
        serde_json::from_str(&daemon.fails(3, &["status", "--json", "--name", "nobody"])).unwrap();
    assert_eq!(object["name"], "NoDaemon");
}

#[test]
fn streams() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok(&["call", "count", "to=3", "--stream"]), "0\n1\n2\n");
    assert_eq!(daemon.ok(&["call", "talk", "--stream"]), "\"psst\"\n\"done\"\n");
    let many: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(daemon.ok(&["call", "count", "to=20000", "--stream"]), many);

    let outcome = daemon.run(&["call", "count", "to=2", "fail=true", "--stream"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (Some(1), "0\n1\n"));
    assert!(outcome.stderr.contains("enough"));
}

#[test]
fn a_reader_who_has_seen_enough_ends_a_stream() {
    let daemon = Daemon::start();
    let mut child = daemon
        .command(&["call", "count", "to=1000000000", "--stream"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "0");
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    assert_eq!(daemon.ok(&["call", "closings"]), "1\n");
}

#[test]
fn a_stream_that_loses_its_python_or_its_daemon_says_so() {
    let daemon = Daemon::start();
    let status: serde_json::Value = serde_json::from_str(&daemon.ok(&["status", "--json"])).unwrap();
    let python = status["workers"][0]["pid"].as_i64().unwrap();
    let itself = i64::from(daemon.child.id());
    for (pid, status, said) in [
        (python, 4, "was killed by SIGKILL while it ran this call"),
        (
            itself,
            3,
            "the daemon closed the connection before it answered `talk_on`",
        ),
    ] {
        let mut child = daemon
            .command(&["call", "talk_on", "--stream"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "\"psst\"");
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
        assert!(lines.next().is_none());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn ctrl_c_cancels_a_call() {
    let daemon = Daemon::start();
    let child = daemon
        .command(&["call", "nap"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("it naps", || {
        daemon
            .ok(&["status", "--json"])
            .contains("\"method\":\"nap\"")
            .then_some(())
    });
    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "baskd: interrupted, so the call was cancelled\n"
    );
    // The same Python is free again.
    assert_eq!(daemon.ok(&["call", "add", "a=1"]), "3\n");
    assert!(daemon.ok(&["status", "--json"]).contains("\"restarts\":0"));
}

#[test]
fn methods_and_status() {
    let daemon = Daemon::start();
    daemon.ok(&["set", "model", "x"]);
    let methods = daemon.ok(&["methods"]);
    assert!(
        methods
            .lines()
            .any(|line| line.starts_with("add(a: integer, b: integer") && line.ends_with("Adds two numbers.")),
        "{methods}"
    );
    assert!(daemon.ok(&["methods", "count"]).contains("--stream"));
    let document: serde_json::Value = serde_json::from_str(&daemon.ok(&["methods", "--json"])).unwrap();
    assert!(document["openrpc"].is_string());
    let status = daemon.ok(&["status"]);
    for text in ["test", "ready", "controller.py:Controller", "properties", "model"] {
        assert!(status.contains(text), "{text} in {status}");
    }
    assert_eq!(daemon.ok(&["socket"]), format!("{}\n", daemon.socket().display()));
}

#[test]
fn restart_and_stop() {
    let mut daemon = Daemon::start();
    daemon.ok(&["set", "model", "x"]);
    let pid = |daemon: &Daemon| {
        serde_json::from_str::<serde_json::Value>(&daemon.ok(&["status", "--json"])).unwrap()["workers"][0]["pid"]
            .clone()
    };
    let before = pid(&daemon);
    assert!(daemon.ok(&["restart"]).starts_with("test: the new Python"));
    assert_ne!(pid(&daemon), before);
    assert_eq!(daemon.ok(&["get", "model"]), "\"x\"\n");

    assert_eq!(daemon.ok(&["stop"]), "");
    let status = daemon
        .child
        .try_wait()
        .unwrap()
        .expect("`stop` returns when the daemon has ended");
    assert_eq!(status.code(), Some(0));
    daemon.fails(3, &["stop"]);
}

#[test]
fn what_cant_be_served() {
    let daemon = Daemon::start();
    let said = daemon.fails(1, &["serve", "--socket", "socket"]);
    assert!(
        said.contains("runs") && said.contains(&daemon.child.id().to_string()),
        "{said}"
    );
    assert!(
        daemon
            .fails(2, &["serve", "nothing.py", "--socket", "s"])
            .contains("nothing.py")
    );
    assert!(daemon.fails(2, &["serve", "--name", "bad/name"]).contains("bad/name"));
    assert!(
        daemon
            .fails(2, &["serve", "--socket", &"x".repeat(108)])
            .contains("108 bytes")
    );
    assert!(daemon.fails(2, &["serve", "--log", "a=b=c"]).contains("log level"));
    assert!(daemon.fails(2, &["serve", "--grace", "soon"]).contains("duration"));
}

#[test]
fn where_the_socket_is() {
    let folder = private_folder();
    let socket = |arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = command(folder.path());
        command.arg("socket").args(arguments).envs(environment.iter().copied());
        outcome(command, "").stdout.trim_end().to_owned()
    };
    let runtime = folder.path().join("run/baskd");
    let named = |name: &str| runtime.join(name).display().to_string();
    let both = [("BASKD_NAME", "env"), ("BASKD_SOCKET", "/x/env.sock")];
    assert_eq!(socket(&[], &[]), named("default.sock"));
    assert_eq!(socket(&[], &both[..1]), named("env.sock"));
    assert_eq!(socket(&[], &both), "/x/env.sock");
    assert_eq!(socket(&["--name", "a"], &both), named("a.sock"));
    assert_eq!(socket(&["--socket", "/b.sock"], &both), "/b.sock");
    assert_eq!(socket(&["--socket", "/b.sock", "--name", "a"], &both), "/b.sock");
}

#[test]
fn the_demo_plays_to_its_end() {
    let folder = private_folder();
    let mut demo = command(folder.path());
    // Its own daemon must not be misled by these.
    demo.arg("demo")
        .env("TMPDIR", folder.path())
        .env("BASKD_NAME", "other")
        .env("BASKD_SOCKET", "/nowhere/s");
    let outcome = outcome(demo, "");
    assert_eq!(
        (outcome.status, outcome.stderr.as_str()),
        (Some(0), ""),
        "{}",
        outcome.stdout
    );
    for text in [
        "$ baskd call increment by=5\n{\"counter\":5}",
        "$ kill -KILL",
        "answered by the next Python",
        "$ baskd stop",
    ] {
        assert!(outcome.stdout.contains(text), "{text} in {}", outcome.stdout);
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it leaves nothing behind"
    );
}
