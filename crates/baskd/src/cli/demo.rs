//! `demo`: a daemon of its own, called as a client would, its Python killed, and all of it shown.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use baskd::service::without_manager;
use baskd_client::{Client, Error, Event, StreamOptions};
use baskd_protocol::socket::MAX_PATH;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::duration::spoken;
use super::exit::Failure;
use super::interrupt::Interrupts;
use super::{output, runtime};

/// How long the first Python may take: one on a cold disk takes seconds.
const STARTUP: Duration = Duration::from_secs(60);
/// How long a daemon may take to end, before it is killed.
const END: Duration = Duration::from_secs(15);
/// How much of the daemon's log is shown when something went wrong.
const LOG_LINES: usize = 40;

/// See what it does: call an example, kill its Python, call it again
#[derive(Debug, Args)]
#[command(after_help = "\
It uses a socket and a state folder of its own, and leaves nothing behind.

Example:
  baskd demo")]
pub(crate) struct Demo {}

impl Demo {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let folder = folder()?;
        let runtime = runtime()?;
        let log = folder.path().join("log");
        let outcome = runtime.block_on(async {
            let mut interrupts = Interrupts::new()?;
            let mut daemon = spawn(folder.path(), &log)?;
            let outcome = tokio::select! {
                outcome = play(folder.path(), &mut daemon) => outcome,
                () = interrupts.next() => Err(Failure::Interrupted),
            };
            end(&mut daemon).await;
            outcome
        });
        runtime.shutdown_background();
        match outcome {
            Err(Failure::ReaderGone) => Ok(()),
            Err(Failure::Interrupted) => Err(Failure::Interrupted),
            Err(failure) => Err(with_log(failure, &log)),
            Ok(()) => Ok(()),
        }
    }
}

/// The whole play, from the first readiness to the last exit.
async fn play(folder: &Path, daemon: &mut Child) -> Result<(), Failure> {
    let socket = socket(folder);
    let started = Instant::now();
    say(format!("$ export BASKD_SOCKET={}", socket.display())).await?;
    say("$ baskd serve &                 # with the embedded example").await?;
    let client = tokio::select! {
        client = Client::builder().start(false).wait(STARTUP).connect(&socket) => client?,
        status = daemon.wait() => return Err(Failure::Failed(format!("the daemon ended before it was reached{}", how(status)))),
    };
    let stage = Stage { client };

    // Answered when Python is ready, and not before.
    let counter = stage.call("reset", ()).await?;
    let first = stage.python().await?;
    say(format!(
        "# Python {} is ready after {}, as process {}",
        first.version,
        spoken(milliseconds(started.elapsed())),
        first.pid
    ))
    .await?;
    expect(&counter, &json!({ "counter": 0 }))?;

    stage.set("model", "something").await?;
    expect(
        &stage.show("getModelPath", "", ()).await?,
        &json!({ "model": "something" }),
    )?;
    expect(
        &stage.show("increment", " by=5", json!({ "by": 5 })).await?,
        &json!({ "counter": 5 }),
    )?;
    stage.stream("testStream").await?;

    say(format!(
        "{:<31} # Python, with everything it had loaded",
        format!("$ kill -KILL {}", first.pid)
    ))
    .await?;
    kill(first.pid)?;
    let again = stage.show("getModelPath", "", ()).await?;
    expect(&again, &json!({ "model": "something" }))?;
    let second = stage.python().await?;
    if first.pid == second.pid {
        return Err(Failure::Failed(format!(
            "the killed Python, process {}, seems to live on",
            first.pid
        )));
    }
    say(format!(
        "# answered by the next Python, process {}: the daemon had set the model again",
        second.pid
    ))
    .await?;

    say("$ baskd stop").await?;
    stage.client.shutdown().await?;
    match timeout(END, daemon.wait()).await {
        Ok(Ok(status)) if status.success() => {
            say("# done: `baskd serve` runs it for real, `baskd --help` says the rest").await
        }
        Ok(status) => Err(Failure::Failed(format!("the daemon did not end well{}", how(status)))),
        Err(_) => Err(Failure::Failed(format!(
            "the daemon did not end within {}",
            spoken(milliseconds(END))
        ))),
    }
}

/// A client that shows what it does.
struct Stage {
    client: Client,
}

/// The Python that answers now.
struct Python {
    pid: u32,
    version: String,
}

impl Stage {
    async fn call(&self, method: &str, params: impl Serialize) -> Result<Value, Failure> {
        Ok(self.client.call(method, params).await?)
    }

    async fn show(&self, method: &str, typed: &str, params: impl Serialize) -> Result<Value, Failure> {
        say(format!("$ baskd call {method}{typed}")).await?;
        let started = Instant::now();
        let result: Box<RawValue> = self.client.call(method, params).await?;
        timed(result.get(), started).await?;
        serde_json::from_str(result.get()).map_err(|error| Error::Decode(error).into())
    }

    async fn set(&self, name: &str, value: &str) -> Result<(), Failure> {
        say(format!("$ baskd set {name} {value}")).await?;
        Ok(self.client.set(name, value).await?)
    }

    async fn stream(&self, method: &str) -> Result<(), Failure> {
        say(format!("$ baskd call {method} --stream")).await?;
        let started = Instant::now();
        let mut stream = self.client.stream(method, (), StreamOptions::default()).await?;
        let mut items = 0;
        while let Some(event) = stream.next().await {
            match event? {
                Event::Item(item) => {
                    items += 1;
                    timed(item.get(), started).await?;
                }
                Event::End(value) if value.get() != "null" => timed(value.get(), started).await?,
                Event::End(_) => {}
            }
        }
        if items == 0 {
            return Err(Failure::Failed(format!("{method} sent no partial results")));
        }
        Ok(())
    }

    async fn python(&self) -> Result<Python, Failure> {
        let status = self.client.status().await?;
        let pid = status.workers.first().and_then(|worker| worker.pid);
        let pid = pid.ok_or_else(|| Failure::Failed(format!("no Python runs: its state is {}", status.state)))?;
        Ok(Python {
            pid,
            version: status.python.version.unwrap_or_default(),
        })
    }
}

async fn say(text: impl Into<String>) -> Result<(), Failure> {
    output::line(text).await
}

/// A line of output, with the time since `started` beside it.
async fn timed(text: &str, started: Instant) -> Result<(), Failure> {
    let ms = started.elapsed().as_secs_f64() * 1000.0;
    let digits = if ms < 10.0 { 1 } else { 0 };
    say(format!("{text:<31} # {ms:.digits$} ms")).await
}

fn expect(got: &Value, wanted: &Value) -> Result<(), Failure> {
    if got == wanted {
        Ok(())
    } else {
        Err(Failure::Failed(format!(
            "the answer should have been {wanted}, not {got}"
        )))
    }
}

fn kill(pid: u32) -> Result<(), Failure> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let killed = process.map(|process| kill_process(process, Signal::KILL));
    killed
        .transpose()
        .map_err(|error| Failure::Failed(format!("can't kill Python, process {pid}: {error}")))
        .map(drop)
}

/// A folder that only this user can enter, short enough for a socket.
fn folder() -> Result<TempDir, Failure> {
    let new = |place: &Path| {
        let mut builder = tempfile::Builder::new();
        builder
            .prefix("baskd-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(place)
    };
    let made = match new(&std::env::temp_dir()) {
        Ok(folder) if socket(folder.path()).as_os_str().len() > MAX_PATH => new(Path::new("/tmp")),
        made => made,
    };
    made.map_err(|error| {
        Failure::Failed(format!(
            "can't make a temporary folder: {error}; set TMPDIR to one that can be written to"
        ))
    })
}

fn socket(folder: &Path) -> std::path::PathBuf {
    folder.join("demo.sock")
}

/// Starts this very program as the daemon, with a state of its own.
fn spawn(folder: &Path, log: &Path) -> Result<Child, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("can't start the daemon: {error}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .args(["serve", "--name", "demo", "--socket"])
        .arg(socket(folder));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BASKD_") {
            command.env_remove(name);
        }
    }
    command
        .env("XDG_STATE_HOME", folder.join("state"))
        .env("XDG_CONFIG_HOME", folder.join("config"));
    without_manager(command.as_std_mut());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log).map_err(failed)?);
    command.kill_on_drop(true).spawn().map_err(failed)
}

/// Ends a daemon that has not ended by itself: asks it, and kills it if it does not listen.
async fn end(daemon: &mut Child) {
    let Some(process) = daemon.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else {
        return;
    };
    // That it is gone already is as good.
    let _ = kill_process(process, Signal::TERM);
    if timeout(END, daemon.wait()).await.is_err() {
        let _ = daemon.kill().await;
    }
}

fn how(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!(" ({status})"),
        Err(error) => format!(" ({error})"),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What went wrong, and below it what the daemon had to say.
fn with_log(failure: Failure, log: &Path) -> Failure {
    let failure = match failure {
        Failure::Client(error) => format!("the demo failed: {error}"),
        Failure::Failed(text) | Failure::Usage(text) => format!("the demo failed: {text}"),
        other => return other,
    };
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
    Failure::Failed(format!("{failure}\nThe daemon's log:\n  {last}"))
}
