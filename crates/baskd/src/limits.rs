//! What bounds the daemon's memory, and how long things may take. Meeting a limit is an answer, never a crash; PROTOCOL.md
//! lists them all, and [`crate::config`] sets them.

use std::collections::HashMap;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one request or batch.
    pub max_request: usize,
    /// Bytes of one request's id: it is kept, and repeated with each message.
    pub max_id: usize,
    /// Bytes of all messages that came in half and batches that are answered in part; and of all waiting calls' params.
    pub max_pending: usize,
    /// Bytes of all results that clients have not read yet.
    pub max_unread: usize,
    /// Bytes of one result.
    pub max_response: usize,
    /// Brackets open at once in a request.
    pub max_nesting: usize,
    pub max_connections: usize,
    /// Calls waiting or running.
    pub max_queue: usize,
    /// Those of one connection, that others may have some, too.
    pub max_in_flight: usize,
    /// Entries of a batch, and bytes of its answers.
    pub max_batch: usize,
    pub max_batch_response: usize,
    /// Subscriptions and streams of one connection.
    pub max_subscriptions: usize,
    /// Those of its own messages, each of which is told each message.
    pub max_own: usize,
    /// Those of all messages and of the log, for each of which events are kept while it does not read.
    pub max_lossy: usize,
    /// Properties that are kept, and their bytes in all.
    pub max_properties: usize,
    pub max_properties_bytes: usize,
    /// How long an HTTP connection may take to send its next request's headers, waiting included.
    pub http_header_timeout: Duration,
    /// How long Python may take from its start to ready.
    pub startup_timeout: Duration,
    /// How often a snapshot is taken of a controller that gives them; 0: only at a reload, a restart and a stop.
    pub snapshot_every: Duration,
    /// After how many calls a process is replaced, and when it has become how many bytes large; 0: never.
    pub max_calls: usize,
    pub max_rss: usize,
    /// How long running calls may take to end at a reload or restart.
    pub drain_timeout: Duration,
    /// How long a plain method's `send()` may wait for its reader.
    pub stall_timeout: Duration,
    /// How long Python may run on after a call was cancelled, while others wait.
    pub kill_grace: Duration,
    /// How long the daemon polls for what it expects at once, before it sleeps: see `busy_poll.rs`.
    pub busy_poll: Duration,
    /// A call that took longer is said in the log; 0: none is.
    pub slow_call: Duration,
    /// How long a call of a method may take, where its client does not say; without an entry, as long as it likes.
    pub timeouts: HashMap<String, Duration>,
}

/// Hooks have at least so long.
const LEAST_HOOK: Duration = Duration::from_secs(10);

impl Limits {
    /// How long a hook may take while calls wait for it.
    pub(crate) fn hook_timeout(&self) -> Duration {
        self.drain_timeout.max(LEAST_HOOK)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_request: 32 << 20,
            max_id: 256,
            max_pending: 256 << 20,
            max_unread: 256 << 20,
            max_response: 64 << 20,
            max_nesting: 128,
            max_connections: 1024,
            max_queue: 16_384,
            max_in_flight: 16_384,
            max_batch: 1024,
            max_batch_response: 64 << 20,
            max_subscriptions: 1024,
            max_own: 8,
            max_lossy: 16,
            max_properties: 1024,
            max_properties_bytes: 64 << 20,
            http_header_timeout: Duration::from_secs(60),
            startup_timeout: Duration::from_secs(600),
            snapshot_every: Duration::from_secs(300),
            max_calls: 0,
            max_rss: 0,
            drain_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
            kill_grace: Duration::from_secs(30),
            busy_poll: Duration::from_micros(50),
            slow_call: Duration::ZERO,
            timeouts: HashMap::new(),
        }
    }
}
