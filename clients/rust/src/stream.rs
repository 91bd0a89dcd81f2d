//! One call's partial results.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use baskd_protocol::Error as RpcError;
use futures_util::stream::{Stream as AnyStream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Error;
use crate::subscription::Subscription;

/// What to ask for with a stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamOptions {
    /// After how long the call ends `TimedOut`, as in [`CallOptions`](crate::CallOptions).
    pub timeout: Option<Duration>,
    /// How many items may be under way before they are taken, from 1 to 512; 256 unless given. A generator pauses when
    /// its reader is that far behind, so a small one suits large items.
    pub window: Option<u32>,
}

impl StreamOptions {
    /// There always is one, so that a reader who falls behind costs no memory, and no item.
    pub(crate) fn window(&self) -> u32 {
        self.window.unwrap_or(256).clamp(1, 512)
    }
}

/// What a stream has to say.
#[derive(Debug, Clone)]
pub enum Event {
    /// A partial result.
    Item(Box<RawValue>),
    /// The return value; nothing comes after it.
    End(Box<RawValue>),
}

/// One call's partial results, then its return value. Dropping it cancels the call.
///
/// It is a [`futures_util::Stream`](futures_util::stream::Stream) of `Result<Event, Error>` as well. An error is the
/// last item.
#[derive(Debug)]
pub struct Stream {
    events: Subscription<Wire>,
    /// Items that may be under way.
    window: u32,
    /// Items that were taken and not replaced yet.
    taken: u32,
}

/// The event of a stream, as the daemon writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wire {
    Item(Box<RawValue>),
    End(Box<RawValue>),
    Error(RpcError),
}

impl Stream {
    pub(crate) fn new(events: Subscription<Wire>, method: &str, window: u32) -> Stream {
        Stream {
            events: events.of(method),
            window,
            taken: 0,
        }
    }

    /// The next item, or the return value, or what went wrong; None after either of the latter.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        StreamExt::next(self).await
    }

    /// Allows the daemon as many items as were taken, once half the window is used up: late enough for few messages,
    /// and early enough that a generator whose reader keeps up never pauses.
    fn replenish(&mut self) {
        self.taken += 1;
        if self.taken >= self.window.div_ceil(2) {
            self.events.notify("stream.more", self.taken);
            self.taken = 0;
        }
    }
}

impl AnyStream for Stream {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(self.events.poll(cx));
        Poll::Ready(event.map(|event| match event? {
            Wire::Item(item) => {
                self.replenish();
                Ok(Event::Item(item))
            }
            Wire::End(value) => {
                self.events.end();
                Ok(Event::End(value))
            }
            Wire::Error(error) => {
                self.events.end();
                Err(Error::Rpc(error))
            }
        }))
    }
}
