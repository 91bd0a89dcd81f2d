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
    /// When the daemon was started, in Unix time. 0 of a daemon that does not tell it, as the other members that came
    /// later then are 0 or empty.
    #[serde(default)]
    pub started_ms: u64,
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
    /// The workers that have no process just now.
    #[serde(default)]
    pub down: Vec<Down>,
    /// Those that don't: that start to take another's place, stand by, or end the calls they have.
    #[serde(default)]
    pub beside: Vec<Worker>,
    /// Calls that wait for their turn.
    pub queued: u64,
    /// Calls that Python has, and has not answered.
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
    /// How often another Python was started, by why.
    #[serde(default)]
    pub restarts_by: RestartsBy,
    /// Ended calls a second.
    #[serde(default)]
    pub rates: Rates,
    /// How long calls took, since the daemon started.
    #[serde(default)]
    pub latency: Latency,
    /// The same by method, most called first.
    #[serde(default)]
    pub methods: Vec<Method>,
    /// The oldest calls that somebody waits for, 200 at most.
    #[serde(default)]
    pub under_way: Vec<UnderWay>,
    /// The last error that a client was answered with, but for calls that were taken back.
    #[serde(default)]
    pub last_error: Option<LastError>,
    /// How the last Python that ended by itself did.
    pub last_exit: Option<LastExit>,
    /// Likewise, of the last ten of them, newest first, without what they wrote.
    #[serde(default)]
    pub exits: Vec<LastExit>,
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

/// A worker that has no process, and so is none of [`Status::workers`].
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Down {
    /// Which it is, from 1.
    pub worker: u64,
    /// As the [`Status`]'s.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
}

/// A call that has begun.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Running {
    pub call: u64,
    pub method: String,
    pub age_ms: u64,
    /// Whether it was cancelled, which is then how long ago `age_ms` tells, and nobody waits for it any more.
    #[serde(default)]
    pub cancelled: bool,
}

/// How often another Python was started in the place of one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RestartsBy {
    /// Because that one died.
    pub crash: u64,
    /// Because that one could not start.
    pub failed_start: u64,
    /// For another version.
    pub reload: u64,
    /// Because somebody asked for it.
    pub restart: u64,
    /// Because that one had answered `max_calls` calls or reached `max_rss`.
    pub recycled: u64,
}

/// Over the last 10 s, minute and 5 minutes, or since the daemon started where that is shorter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Rates {
    #[serde(rename = "10s")]
    pub ten_seconds: Rate,
    #[serde(rename = "1m")]
    pub minute: Rate,
    #[serde(rename = "5m")]
    pub five_minutes: Rate,
}

/// Calls that ended, a second.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Rate {
    pub calls: f64,
    /// Those of them that ended in an error, but for those that were cancelled.
    pub errors: f64,
}

/// How long calls took, from their request to their answer or their stream's last event.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Latency {
    pub count: u64,
    /// Half of them took so long at most. None where there was none.
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
    /// Shortest first. Two readings can be subtracted.
    pub buckets: Vec<Bucket>,
}

/// Calls that took longer than the bucket before has, and at most so long.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Bucket {
    /// None for the last one, which holds all that took longer.
    pub le_ms: Option<f64>,
    pub count: u64,
}

/// One method's calls since the daemon started.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Method {
    /// `other` for all that are not counted by themselves.
    pub method: String,
    pub calls: u64,
    #[serde(default)]
    pub errors: u64,
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

/// A call that somebody waits for.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct UnderWay {
    /// By this number it can be cancelled: [`Client::cancel_call`](crate::Client::cancel_call).
    pub call: u64,
    pub method: String,
    /// Which has it; None while it waits in the daemon.
    pub worker: Option<u64>,
    /// Since its request.
    pub age_ms: u64,
    /// `starting` (no Python is ready), `queued` or `running`.
    #[serde(rename = "where")]
    pub place: String,
}

/// An error that a client was answered with.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct LastError {
    pub code: i32,
    /// None if the code is not the protocol's.
    pub name: Option<String>,
    /// Whose call it was, if it was one of the controller's.
    pub method: Option<String>,
    /// Its first 200 letters.
    #[serde(default)]
    pub message: String,
    /// When, in Unix time.
    #[serde(default)]
    pub at_ms: u64,
}

/// How a Python ended.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct LastExit {
    /// Which worker's it was, from 1.
    #[serde(default)]
    pub worker: u64,
    /// What became of it, in words: "was killed by SIGKILL".
    pub reason: Option<String>,
    pub exit: Exit,
    pub ran_ms: Option<u64>,
    /// When it ended, in Unix time.
    #[serde(default)]
    pub at_ms: u64,
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
