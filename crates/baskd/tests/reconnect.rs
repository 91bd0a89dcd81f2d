//! The Rust client and a real daemon that is killed, started, stopped.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use baskd_client::{Builder, CallOptions, Client, Error, Event, Log, Message, Scope, StreamOptions};
use futures_util::future::join_all;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

/// For what is about to happen; only a test that fails waits so long.
const SOON: Duration = Duration::from_secs(30);

const CONTROLLER: &str = r#"
import asyncio, baskd
from basecontroller import BaseController

class Controller(BaseController):
    def log(self, line):
        with open("ran", "a") as ran:
            ran.write(line + "\n")

    async def once(self, number: int, hold: bool = False):
        self.log(f"once {number}")
        await asyncio.sleep(60 if hold else 0)
        return number

    @baskd.idempotent
    async def again(self, number: int, hold: bool = False):
        self.log(f"again {number}")
        # Held the first time only.
        with open("ran") as ran:
            first = ran.read().count(f"again {number}\n") == 1
        await asyncio.sleep(60 if hold and first else 0)
        return number

    def steps(self, number: int):
        self.log(f"steps {number}")
        yield number

    def talk(self):
        self.send("psst")
        print("aloud", flush=True)
        return "done"
"#;

/// Places of a test's own, and a `baskd` that keeps to them.
struct Places(TempDir);

impl Places {
    fn new() -> Places {
        let places = Places(
            tempfile::Builder::new()
                .permissions(Permissions::from_mode(0o700))
                .tempdir()
                .unwrap(),
        );
        let at = places.0.path().display();
        fs::write(places.0.path().join("controller.py"), CONTROLLER).unwrap();
        let script = format!(
            "#!/bin/sh\nunset BASKD_NAME BASKD_SOCKET BASKD_CONTROLLER BASKD_CONFIG\ncd {at} || exit\n\
             export XDG_STATE_HOME={at}/state XDG_CONFIG_HOME={at}/config\nexec {} \"$@\"\n",
            env!("CARGO_BIN_EXE_baskd")
        );
        fs::write(places.program(), script).unwrap();
        fs::set_permissions(places.program(), Permissions::from_mode(0o700)).unwrap();
        places
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("baskd")
    }

    fn builder(&self) -> Builder {
        let controller = self.0.path().join("controller.py");
        Client::builder()
            .binary(self.program())
            .controller(controller.to_str().unwrap())
    }

    async fn client(&self) -> Client {
        self.builder().connect(self.0.path().join("socket")).await.unwrap()
    }

    /// How often each call has run.
    fn ran(&self) -> HashMap<String, u32> {
        let mut ran = HashMap::new();
        for line in fs::read_to_string(self.0.path().join("ran"))
            .unwrap_or_default()
            .lines()
        {
            *ran.entry(line.to_owned()).or_default() += 1;
        }
        ran
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let socket = self.0.path().join("socket");
        let mut stop = std::process::Command::new(self.program());
        let _ = stop.arg("stop").arg("--socket").arg(&socket).output();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.0.path().join("state/baskd/socket/serve.log"));
            eprintln!("the daemon's log:\n{}", log.unwrap_or_default());
        }
    }
}

async fn pid(client: &Client) -> Pid {
    let pid = client.status().await.unwrap().pid;
    Pid::from_raw(pid.cast_signed()).unwrap()
}

/// Kills the daemon, and returns when it is gone.
async fn kill(daemon: Pid) {
    let process = pidfd_open(daemon, PidfdFlags::empty()).unwrap();
    kill_process(daemon, Signal::KILL).unwrap();
    tokio::task::spawn_blocking(move || poll(&mut [PollFd::new(&process, PollFlags::IN)], None))
        .await
        .unwrap()
        .unwrap();
}

async fn until<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let look = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, look).await.unwrap_or_else(|_| panic!("never: {what}"))
}

#[tokio::test]
async fn a_killed_daemon_costs_each_of_64_calls_at_most_its_answer() {
    const CALLS: u32 = 32;
    let places = Places::new();
    let client = places.client().await;
    let daemon = pid(&client).await;
    let options = |idempotent| CallOptions {
        idempotent,
        ..CallOptions::default()
    };
    let once = join_all((0..CALLS).map(|number| {
        // Whatever the caller says or leaves to the controller, it is not run twice.
        let options = options((number % 2 == 0).then_some(false));
        client.call_with::<u32>("once", json!({ "number": number, "hold": true }), options)
    }));
    let again = join_all((0..CALLS).map(|number| {
        let options = options((number % 2 == 0).then_some(true));
        client.call_with::<u32>("again", json!({ "number": number, "hold": true }), options)
    }));
    let killer = async {
        until("all run", async || {
            (places.ran().len() == 2 * CALLS as usize).then_some(())
        })
        .await;
        kill(daemon).await;
    };
    let (once, again, ()) = timeout(SOON, async { tokio::join!(once, again, killer) })
        .await
        .unwrap();
    for (number, result) in (0..).zip(&once) {
        assert!(
            matches!(result, Err(Error::Disconnected { method }) if method == "once"),
            "{number}: {result:?}"
        );
    }
    let mut told = 0;
    for (number, result) in (0..).zip(&again) {
        match result {
            Ok(answer) => assert_eq!(*answer, number),
            // What the controller calls idempotent is so told if its next Python is up in time.
            Err(Error::Disconnected { .. }) if number % 2 == 1 => told += 1,
            Err(error) => panic!("{number}: {error:?}"),
        }
    }
    let ran = places.ran();
    for number in 0..CALLS {
        assert_eq!(ran[&format!("once {number}")], 1);
        let runs = ran[&format!("again {number}")];
        let expected = if again[number as usize].is_ok() { 2 } else { 1 };
        assert_eq!(runs, expected, "again {number}; {told} were told of the loss");
    }
    assert_ne!(pid(&client).await, daemon);
    assert_eq!(client.call::<u32>("once", json!({ "number": 99 })).await.unwrap(), 99);
}

/// Asks the daemon to stop.
fn stop(daemon: Pid) {
    kill_process(daemon, Signal::TERM).unwrap();
}

#[tokio::test]
async fn daemons_that_are_stopped_under_load_cost_no_call() {
    const TASKS: u32 = 16;
    const STOPS: usize = 4;
    let places = Places::new();
    let client = places.client().await;
    let is_over = std::cell::Cell::new(false);
    let tasks = join_all((0..TASKS).map(async |task| {
        let mut number = task * 1_000_000;
        while !is_over.get() {
            number += 1;
            if number % 7 == 0 {
                let params = json!({ "number": number });
                let mut stream = client.stream("steps", params, StreamOptions::default()).await.unwrap();
                let item = stream.next().await;
                assert!(
                    matches!(&item, Some(Ok(Event::Item(item))) if item.get() == number.to_string()),
                    "{item:?}"
                );
                let end = stream.next().await;
                assert!(matches!(&end, Some(Ok(Event::End(_)))), "{end:?}");
            } else {
                let answer = client.call::<u32>("once", json!({ "number": number })).await;
                assert_eq!(answer.unwrap(), number);
            }
        }
        number
    }));
    let stopper = async {
        let mut daemon = pid(&client).await;
        for _ in 0..STOPS {
            let before = places.ran().len();
            until("many calls", async || (places.ran().len() > before + 200).then_some(())).await;
            stop(daemon);
            // Its clients start the next one.
            daemon = until("another", async || {
                Some(pid(&client).await).filter(|now| *now != daemon)
            })
            .await;
        }
        is_over.set(true);
    };
    let (ends, ()) = timeout(2 * SOON, async { tokio::join!(tasks, stopper) }).await.unwrap();
    let ran = places.ran();
    for (task, end) in (0..).zip(ends) {
        for number in task * 1_000_000 + 1..=end {
            let name = if number % 7 == 0 { "steps" } else { "once" };
            assert_eq!(ran.get(&format!("{name} {number}")), Some(&1), "{name} {number}");
        }
    }
}

#[tokio::test]
async fn subscriptions_outlive_a_killed_daemon() {
    let places = Places::new();
    let client = places.client().await;
    let mut own = client.messages(Scope::Own, None).await.unwrap();
    let mut all = client.messages(Scope::All, Some("talk")).await.unwrap();
    let mut logs = client.logs().await.unwrap();
    let mut stream = client
        .stream("once", json!({ "number": 1, "hold": true }), StreamOptions::default())
        .await
        .unwrap();
    kill(pid(&client).await).await;
    let ended = timeout(SOON, stream.next()).await.unwrap();
    assert!(
        matches!(ended, Some(Err(Error::Disconnected { ref method })) if method == "once"),
        "{ended:?}"
    );
    // This starts the next one; what it sends is not missed.
    assert_eq!(client.call::<String>("talk", ()).await.unwrap(), "done");
    for messages in [&mut own, &mut all] {
        let first = timeout(SOON, messages.next()).await.unwrap();
        assert!(matches!(first, Some(Ok(Message::Restarted))), "{first:?}");
        let next = timeout(SOON, messages.next()).await.unwrap();
        assert!(matches!(next, Some(Ok(Message::Sent { data, .. })) if data.get() == "\"psst\""));
    }
    let mut was_told = false;
    loop {
        match timeout(SOON, logs.next()).await.unwrap() {
            Some(Ok(Log::Restarted)) => was_told = true,
            Some(Ok(Log::Line(line))) if line.line == "aloud" => break,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(was_told);
}

#[tokio::test]
async fn a_stopped_daemon_stays_stopped_until_somebody_calls() {
    let places = Places::new();
    let client = places.client().await;
    let _messages = client.messages(Scope::All, None).await.unwrap();
    let before = pid(&client).await;
    client.shutdown().await.unwrap();
    client.closed().await;
    // The subscription's knocks start none.
    let idle = places.builder().start(false).connect(client.path()).await;
    assert!(matches!(idle, Err(Error::NoDaemon { .. })), "{idle:?}");
    assert_eq!(client.call::<u32>("once", json!({ "number": 1 })).await.unwrap(), 1);
    assert_ne!(pid(&client).await, before);
}

#[tokio::test]
async fn ten_clients_at_once_get_one_daemon() {
    let places = Places::new();
    let clients = join_all((0..10).map(|_| places.client())).await;
    let pids = join_all(clients.iter().map(pid)).await;
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

#[tokio::test]
async fn what_keeps_a_daemon_from_starting_is_told_at_once() {
    let places = Places::new();
    fs::remove_file(places.0.path().join("controller.py")).unwrap();
    let error = places
        .builder()
        .connect(places.0.path().join("socket"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::StartFailed { status: Some(2), said: Some(said), .. } if said.contains("there is no controller at")),
        "{error:?}"
    );
    // Nothing is said to be started: so nobody is there.
    let error = Client::builder()
        .binary(places.program())
        .connect(places.0.path().join("socket"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoDaemon { .. }), "{error:?}");
}
