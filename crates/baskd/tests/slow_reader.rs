//! A slow reader of one stream, against a real daemon: `baskd call --stream` into a pipe that nobody reads, and the Rust
//! client. It pauses the generator, holds up nothing else, costs no memory, and gets every item when it reads on.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use baskd_client::{Client, Event, Stream, StreamOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const BASKD: &str = env!("CARGO_BIN_EXE_baskd");

const ITEMS: u64 = 1_000_000;
const SIZE: usize = 200;
const WINDOW: u64 = 256;

const CONTROLLER: &str = r#"
from basecontroller import BaseController

class Controller(BaseController):
    yielded = 0
    ended = 0

    def add(self, a: int, b: int = 1):
        return a + b

    def rows(self, count: int, size: int):
        text = "x" * size
        try:
            for n in range(count):
                self.yielded += 1
                yield [n, text]
            return "all"
        finally:
            self.ended += 1

    def asked_for(self):
        return self.yielded

    def endings(self):
        return self.ended
"#;

/// A daemon of a test's own, and a client of it. It ends with the test.
struct Served {
    folder: TempDir,
    daemon: Child,
    runtime: Runtime,
    client: Client,
}

impl Served {
    fn start() -> Served {
        let folder = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .unwrap();
        fs::write(folder.path().join("controller.py"), CONTROLLER).unwrap();
        let daemon = command(folder.path())
            .args(["serve", "controller.py", "--name", "test", "--socket", "socket"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let connecting = Client::builder()
            .start(false)
            .wait(Duration::from_secs(30))
            .connect(socket(&folder));
        let client = runtime.block_on(connecting).unwrap();
        Served {
            folder,
            daemon,
            runtime,
            client,
        }
    }

    fn ask(&self, method: &str) -> u64 {
        self.runtime.block_on(self.client.call(method, ())).unwrap()
    }

    /// `baskd call rows --stream`, with its stdout.
    fn streaming(&self) -> (Child, impl Iterator<Item = String>) {
        let mut child = command(self.folder.path())
            .args([
                "call",
                "rows",
                &format!("count={ITEMS}"),
                &format!("size={SIZE}"),
                "--stream",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::with_capacity(4096, child.stdout.take().unwrap()).lines();
        (child, lines.map(Result::unwrap))
    }

    /// Waits for the generator to be asked for no more, and returns for how many it was.
    fn paused(&self) -> u64 {
        let mut before = self.ask("asked_for");
        loop {
            // Some hundred calls are served in between, and a generator that is not paused would have its turns too.
            self.many_calls();
            let now = self.ask("asked_for");
            if now == before {
                return now;
            }
            before = now;
        }
    }

    /// 1,000 calls, some one by one and some at once.
    fn many_calls(&self) {
        self.runtime.block_on(async {
            let add = async |n: u64| {
                let sum: u64 = self.client.call("add", [n]).await.unwrap();
                assert_eq!(sum, n + 1);
            };
            for n in 0..500 {
                add(n).await;
            }
            futures_util::future::join_all((0..500).map(add)).await;
        });
    }

    fn until_ended(&self) {
        while self.ask("endings") == 0 {}
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.runtime.block_on(self.client.shutdown()).is_err() {
            let _ = self.daemon.kill();
        }
        let _ = self.daemon.wait();
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("socket")
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(BASKD);
    command
        .env_remove("BASKD_NAME")
        .env("BASKD_SOCKET", folder.join("socket"))
        .env("XDG_STATE_HOME", folder.join("state"))
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .stdin(Stdio::null())
        .current_dir(folder);
    command
}

/// The memory that a process has had at most, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn number(line: &str) -> u64 {
    let row: (u64, String) = serde_json::from_str(line).unwrap();
    assert_eq!(row.1.len(), SIZE);
    row.0
}

#[test]
fn the_command_line_pauses_a_generator_whose_items_nobody_reads() {
    let served = Served::start();
    let (mut child, mut lines) = served.streaming();
    assert_eq!(number(&lines.next().unwrap()), 0);
    // A window, what the pipe holds, and what is being written.
    let asked_for = served.paused();
    let held = WINDOW + 2 * (64 << 10) / SIZE as u64;
    assert!(asked_for < 2 * held, "{asked_for} were asked for");
    for n in 1..ITEMS {
        assert_eq!(number(&lines.next().unwrap()), n);
        // While it has more to write than the pipe takes: it may have ended by the time that the last line is read.
        if n == ITEMS - 2 * held {
            assert!(peak_memory(child.id()) < 48 << 20, "{}", peak_memory(child.id()));
        }
    }
    assert_eq!(lines.next().as_deref(), Some("\"all\""));
    assert_eq!(lines.next(), None);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_command_line_is_interrupted_while_nobody_reads() {
    let served = Served::start();
    let (mut child, mut lines) = served.streaming();
    assert_eq!(number(&lines.next().unwrap()), 0);
    served.paused();
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    served.until_ended();
}

#[test]
fn the_client_pauses_a_generator_whose_items_it_does_not_take() {
    let served = Served::start();
    let mut stream = served.runtime.block_on(rows(&served.client));
    assert_eq!(served.runtime.block_on(next(&mut stream)), Some(0));
    let before = peak_memory(std::process::id());
    assert!(served.paused() <= WINDOW + 2, "{}", served.ask("asked_for"));
    served.runtime.block_on(async {
        let mut other = served
            .client
            .stream("rows", json!([20_000, 1]), StreamOptions::default())
            .await
            .unwrap();
        for n in 0..20_000 {
            assert_eq!(next(&mut other).await, Some(n));
        }
        assert_eq!(next(&mut other).await, None);
        for n in 1..ITEMS {
            assert_eq!(next(&mut stream).await, Some(n));
        }
        assert_eq!(next(&mut stream).await, None);
    });
    assert!(peak_memory(std::process::id()) - before < 32 << 20);
}

#[test]
fn the_client_cancels_a_stream_that_is_paused() {
    let served = Served::start();
    let mut stream = served.runtime.block_on(rows(&served.client));
    assert_eq!(served.runtime.block_on(next(&mut stream)), Some(0));
    served.paused();
    drop(stream);
    served.until_ended();
}

async fn rows(client: &Client) -> Stream {
    let params = json!({ "count": ITEMS, "size": SIZE });
    client.stream("rows", params, StreamOptions::default()).await.unwrap()
}

/// The number of the next row; None at the end.
async fn next(stream: &mut Stream) -> Option<u64> {
    match stream.next().await.unwrap().unwrap() {
        Event::Item(row) => Some(serde_json::from_str::<(u64, Value)>(row.get()).unwrap().0),
        Event::End(value) => {
            assert_eq!(value.get(), "\"all\"");
            None
        }
    }
}
