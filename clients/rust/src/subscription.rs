//! One stream's subscription, from its acknowledgement on. It ends with its connection.

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
    /// The method that was called.
    method: String,
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
            method: String::new(),
            unsubscribe,
            ended: false,
            event: PhantomData,
        }
    }

    /// Says which method it is a call of.
    pub(crate) fn of(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// The next event; an error is the last, and None comes after it, or after [`end`](Subscription::end).
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = match ready!(self.events.poll_recv(cx)) {
            Some(event) => serde_json::from_str(event.get()).map_err(Error::Decode),
            None if self.connection.lost() => Err(self.connection.disconnected(&self.method)),
            None => Err(Error::Lagged),
        };
        if event.is_err() {
            self.finish();
        }
        Poll::Ready(Some(event))
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
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
        if std::mem::replace(&mut self.ended, true) {
            self.connection.unsubscribed(&self.id);
        } else {
            self.connection.end(&self.id, self.unsubscribe);
        }
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.finish();
    }
}
