//! `socket`, `reload`, `restart` and `stop`.

use baskd_client::Client;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::task::spawn_blocking;

use super::duration::spoken;
use super::exit::Failure;
use super::progress::Progress;
use super::{Instance, Target, output, runtime};

/// Print the path of the instance's socket, whether or not a daemon is there
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  socat -t 600 - UNIX-CONNECT:\"$(baskd socket)\" < requests.jsonl")]
pub(crate) struct Socket {
    #[command(flatten)]
    instance: Instance,
}

impl Socket {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let path = self.instance.socket()?;
        runtime()?.block_on(output::line(path.to_string_lossy()))
    }
}

/// Load the controller anew, and have the new version take over when it is ready
#[derive(Debug, Args)]
#[command(after_help = "\
The new Python starts beside the old one, which serves on until then, and for good if the new one does not start.
Calls under way end on the old one; no call is lost. State is carried over by on_snapshot and on_restore.

Example:
  baskd reload || echo 'the old version serves on'")]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Reload {
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Failure> {
        Progress::of("reloading").until(client.reload()).await?;
        told(client, self.target.json).await
    }
}

/// Replace Python by a new one, and wait until that is ready
#[derive(Debug, Args)]
#[command(after_help = "\
Calls under way may finish first. The daemon and its clients stay, and properties are set again.

Example:
  baskd restart && baskd call warmup")]
pub(crate) struct Restart {
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Restart {
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Failure> {
        Progress::of("restarting").until(client.restart()).await?;
        told(client, self.target.json).await
    }
}

/// Tells of the Python that serves now.
async fn told(client: &Client, json: bool) -> Result<(), Failure> {
    if json {
        return output::line("true").await;
    }
    let status = client.status().await?;
    let worker = status.workers.first();
    let pid = worker
        .and_then(|worker| worker.pid)
        .map(|pid| format!(" (process {pid})"))
        .unwrap_or_default();
    let took = worker
        .and_then(|worker| worker.ready_ms)
        .map(|ms| format!(" in {}", spoken(ms)))
        .unwrap_or_default();
    output::line(format!("{}: the new Python{pid} was ready{took}", status.name)).await
}

/// Stop the daemon and its Python, and wait until they have
#[derive(Debug, Args)]
#[command(after_help = "\
One whose socket systemd holds is started again by the next connection: it says so, and how to stop that as well.

Example:
  baskd stop --name search")]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) target: Target,
}

/// A daemon that has let go of its connections is as good as gone; what is left is its exit.
const EXIT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

impl Stop {
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Failure> {
        let status = client.status().await?;
        let pid = status.pid;
        // Opened while the daemon answers, so that it is the daemon's even if another process gets the number later.
        let process = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        client.shutdown().await?;
        client.closed().await;
        if let Some(process) = process {
            // In a thread, so that Ctrl-C is heard meanwhile.
            let _ = spawn_blocking(move || poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&EXIT))).await;
        }
        if status.listening.as_deref() == Some("systemd") {
            let unit = format!("baskd@{}", status.name);
            eprintln!(
                "{}: it has stopped, and the next connection starts it again; to stop that, too: `systemctl --user stop {unit}.socket {unit}.service`",
                status.name
            );
        }
        Ok(())
    }
}
