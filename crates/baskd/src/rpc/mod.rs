//! What JSON-RPC means here: from a message's text to the backend, and back into a connection's outbox.
//!
//! - [`dispatch`] reads a message and sends it where it belongs; `rpc.call` and `stream.call` are there.
//! - [`peer`] is one connection, seen from here: its outbox, its subscriptions, what it still waits for.
//! - [`answer`] is the duty to answer one request, alone or within a batch.
//! - [`call`] and [`stream`] are the two ways in which a call's results come back.
//! - [`hub`] is where messages and log lines go to those who subscribed.
//! - [`metrics`] is what is counted, [`status`] what is told of that and of all else, [`ready`] whether Python answers.
//! - [`builtin`] are the daemon's own methods, [`discover`] the OpenRPC document.
//!
//! This layer knows no sockets: a test drives a [`peer::Peer`] without any.

pub(crate) mod answer;
pub(crate) mod builtin;
pub(crate) mod call;
pub(crate) mod discover;
pub mod dispatch;
pub(crate) mod hub;
pub(crate) mod metrics;
pub mod outbox;
pub(crate) mod params;
pub mod peer;
pub(crate) mod ready;
mod status;
pub(crate) mod stream;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::limits::Limits;
use crate::logs::Logs;
use hub::Hub;
use metrics::Metrics;

/// What all connections share.
pub struct Service {
    pub(crate) backend: Backend,
    pub(crate) limits: Limits,
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) logs: Rc<Logs>,
    pub(crate) hub: Rc<Hub>,
    pub(crate) metrics: Metrics,
    /// What `daemon.status` says of the daemon itself.
    pub(crate) about: About,
    pub(crate) connections: Cell<usize>,
    /// Bytes of messages that came in half, and of batches that are answered in part.
    pub(crate) pending: Cell<usize>,
    /// Bytes in all outboxes.
    pub(crate) unread: Rc<Cell<usize>>,
    next_id: Cell<u64>,
    /// Asked to stop.
    pub(crate) stop: CancellationToken,
}

/// What becomes of the calls of a connection that is gone. Its notifications are never cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDisconnect {
    #[default]
    Cancel,
    /// They end by themselves, and nobody is told.
    Finish,
}

/// The daemon's own part of `daemon.status`.
pub struct About {
    pub name: String,
    pub socket: String,
    pub started: std::time::Instant,
}

impl Service {
    pub fn new(
        backend: Backend,
        limits: Limits,
        on_disconnect: OnDisconnect,
        logs: Rc<Logs>,
        about: About,
        stop: CancellationToken,
    ) -> Rc<Service> {
        let hub = Hub::new(&logs);
        Rc::new(Service {
            backend,
            limits,
            on_disconnect,
            logs,
            hub,
            metrics: Metrics::since(about.started),
            about,
            connections: Cell::new(0),
            pending: Cell::new(0),
            unread: Rc::default(),
            next_id: Cell::new(1),
            stop,
        })
    }

    /// A number that nothing else of this daemon has: for connections and subscriptions.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// Changes what is counted in `pending`. False if that is more than may be now.
    pub(crate) fn keep(&self, before: usize, now: usize) -> bool {
        let pending = self.pending.get() - before + now;
        self.pending.set(pending);
        pending <= self.limits.max_pending
    }

    /// How long a call of this method may take, where its client does not say.
    pub(crate) fn timeout_of(&self, method: &str) -> Option<Duration> {
        // Most have none set, and then a call should not cost a look.
        let timeouts = &self.limits.timeouts;
        if timeouts.is_empty() {
            return None;
        }
        timeouts.get(method).copied()
    }
}
