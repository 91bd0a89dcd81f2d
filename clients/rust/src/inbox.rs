//! Where the events of one subscription wait for their reader.

use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;

/// The writing end. Connections have a clone of it while they have the subscription; the reader has come to the end when
/// there are no more, and the [`Fate`] says why.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    events: mpsc::Sender<Box<RawValue>>,
    fate: watch::Sender<Fate>,
    /// Whether its reader is to be told, when the subscription begins, that another was lost before.
    after_gap: bool,
}

/// Whether more will come, as far as the daemon and the reader go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    /// The reader did not take events fast enough.
    Full,
    /// The daemon has closed the subscription.
    Closed,
}

impl Inbox {
    pub(crate) fn new(events: usize) -> (Inbox, mpsc::Receiver<Box<RawValue>>) {
        let (events, reader) = mpsc::channel(events);
        let inbox = Inbox {
            events,
            fate: watch::Sender::new(Fate::Open),
            after_gap: false,
        };
        (inbox, reader)
    }

    /// The same, for a subscription that takes the place of one that was lost.
    pub(crate) fn after_gap(&self) -> Inbox {
        Inbox {
            after_gap: true,
            ..self.clone()
        }
    }

    /// The subscription begins: no event of it has come yet.
    pub(crate) fn begin(&self) {
        if self.after_gap
            && let Ok(event) = to_raw_value(&serde_json::json!({ "restarted": true }))
        {
            self.put(event);
        }
    }

    /// Takes an event. False if there is no room, or nobody to read it: then there will be no more.
    pub(crate) fn take(&self, event: &RawValue) -> bool {
        self.put(event.to_owned())
    }

    fn put(&self, event: Box<RawValue>) -> bool {
        let put = self.events.try_send(event);
        if let Err(TrySendError::Full(_)) = put {
            self.fate.send_replace(Fate::Full);
        }
        put.is_ok()
    }

    pub(crate) fn close(&self) {
        self.fate.send_replace(Fate::Closed);
    }

    pub(crate) fn fate(&self) -> watch::Receiver<Fate> {
        self.fate.subscribe()
    }

    /// Returns when nobody will read, or nothing more will come.
    pub(crate) async fn ended(&self) {
        let mut fate = self.fate();
        tokio::select! {
            () = self.events.closed() => {}
            _ = fate.wait_for(|fate| *fate != Fate::Open) => {}
        }
    }
}
