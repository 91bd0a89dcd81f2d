//! What `daemon.status` answers. Times are in milliseconds, sizes in bytes; a daemon may say more than this knows.

use serde::Deserialize;

/// A daemon and its Python.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The instance's name.
    pub name: String,
    pub version: String,
    /// The daemon's own process.
    pub pid: u32,
    pub socket: String,
    pub uptime_ms: u64,
    /// Who listens on the socket: the daemon's `own` doing, or `systemd`.
    #[serde(default)]
    pub listening: Option<String>,
    pub controller: Controller,
    pub python: Python,
    /// `starting`, `ready`, `backing off`, `unavailable` or `stopping`.
    pub state: String,
    /// Why it is `unavailable`.
    pub reason: Option<String>,
    /// The Python processes that serve, or are to.
    pub workers: Vec<Worker>,
    /// Those that don't: that start to take another's place, stand by, or end the calls they have.
    #[serde(default)]
    pub beside: Vec<Worker>,
    /// Calls that wait for their turn.
    pub queued: u64,
    /// Calls that are not answered yet, those in the queue among them.
    pub in_flight: u64,
    pub connections: u64,
    /// Calls since the daemon started.
    pub calls: u64,
    /// How often a new Python has taken the place of another.
    pub restarts: u64,
    /// How often the controller was reloaded.
    #[serde(default)]
    pub reloads: u64,
    /// How often a Python was replaced because it had answered `max_calls` calls or reached `max_rss`.
    #[serde(default)]
    pub recycled: u64,
    /// How the last Python that ended did.
    pub last_exit: Option<LastExit>,
    /// The state that the next Python gets, if the controller has given one.
    pub snapshot: Option<Snapshot>,
    /// The names of the properties that were set.
    #[serde(default)]
    pub properties: Vec<String>,
}

/// Where the class comes from.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Controller {
    /// As `serve` was told, made absolute.
    pub spec: String,
    /// None for a module, and for the embedded example.
    pub file: Option<String>,
    pub class: String,
    #[serde(default)]
    pub embedded: bool,
}

/// The interpreter.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Python {
    pub executable: Option<String>,
    /// How it was found.
    pub found: Option<String>,
    /// None until it has started once.
    pub version: Option<String>,
    pub codec: Option<String>,
}

/// One Python process.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Worker {
    /// Which worker's it is, from 1.
    #[serde(default)]
    pub worker: u64,
    pub pid: Option<u32>,
    /// As the [`Status`]'s, for one that serves; `starting`, `standby` or `leaving` for one beside.
    #[serde(default)]
    pub state: String,
    pub uptime_ms: u64,
    /// How long it took to be ready; None if it is not yet.
    pub ready_ms: Option<u64>,
    pub calls: u64,
    pub rss_bytes: Option<u64>,
    #[serde(default)]
    pub running: Vec<Running>,
}

/// A call that has begun.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Running {
    pub call: u64,
    pub method: String,
    pub age_ms: u64,
}

/// How a Python ended.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct LastExit {
    /// What became of it, in words: "was killed by SIGKILL".
    pub reason: Option<String>,
    pub exit: Exit,
    pub ran_ms: Option<u64>,
    /// Its last lines.
    #[serde(default)]
    pub stderr: Vec<String>,
}

/// What `on_snapshot` has given.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    pub age_ms: u64,
    /// As JSON.
    pub bytes: u64,
}

/// The exit code, or the signal that killed it.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Whether it was killed for want of memory.
    #[serde(default)]
    pub oom: bool,
}
