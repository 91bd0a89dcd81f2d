//! One subscription, from its acknowledgement on.

use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;

use crate::Error;
use crate::connection::Connection;

/// The events of one subscription, decoded as `T`. Dropping it ends the subscription.
#[derive(Debug)]
pub(crate) struct Subscription<T> {
    connection: Arc<Connection>,
    /// As the daemon writes it.
    id: Box<RawValue>,
    events: mpsc::Receiver<Box<RawValue>>,
    /// The method that ends it.
    unsubscribe: &'static str,
    /// Whether the daemon has ended it, or will without being asked.
    ended: bool,
    event: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Subscription<T> {
    pub(crate) fn new(
        connection: Arc<Connection>,
        id: Box<RawValue>,
        events: mpsc::Receiver<Box<RawValue>>,
        unsubscribe: &'static str,
    ) -> Self {
        Subscription {
            connection,
            id,
            events,
            unsubscribe,
            ended: false,
            event: PhantomData,
        }
    }

    /// The next event; an error is the last, and None comes after it, or after [`end`](Subscription::end).
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = match ready!(self.events.poll_recv(cx)) {
            Some(event) => serde_json::from_str(event.get()).map_err(Error::Decode),
            None if self.connection.lost() => Err(self.connection.disconnected()),
            None => Err(Error::Lagged),
        };
        if event.is_err() {
            self.finish();
        }
        Poll::Ready(Some(event))
    }

    /// What was read last was its last event.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Notifies the daemon of something about it: `[id, n]`.
    pub(crate) fn notify(&self, method: &'static str, n: u32) {
        if let Ok(params) = to_raw_value(&(&self.id, n)) {
            self.connection.notify(method, params);
        }
    }
}

impl<T> Subscription<T> {
    /// Ends it, unless it has.
    fn finish(&mut self) {
        self.connection.unsubscribed(&self.id);
        if !self.ended
            && let Ok(params) = to_raw_value(&[&self.id])
        {
            self.connection.notify(self.unsubscribe, params);
        }
        self.ended = true;
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.finish();
    }
}
