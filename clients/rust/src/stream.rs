//! One call's partial results.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use baskd_protocol::Error as RpcError;
use futures_util::stream::{Stream as AnyStream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::Error;
use crate::request::Request;
use crate::session::Session;
use crate::subscription::Subscription;

/// What to ask for with a stream.
#[derive(Debug, Clone, Default)]
pub struct StreamOptions {
    /// After how long the call ends `TimedOut`, as in [`CallOptions`](crate::CallOptions).
    pub timeout: Option<Duration>,
    /// How many items may be under way before they are taken, from 1 to 512; 256 unless given. A generator pauses when
    /// its reader is that far behind, so a small one suits large items.
    pub window: Option<u32>,
    /// The trace that the call belongs to, as in [`CallOptions`](crate::CallOptions).
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
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
    session: Arc<Session>,
    /// The call, which may be made again as long as it has not begun.
    request: Option<Request<'static>>,
    events: Subscription<Wire>,
    /// It is made again, of another daemon.
    renewed: Option<oneshot::Receiver<Renewed>>,
    /// Items that may be under way.
    window: u32,
    /// Items that were taken and not replaced yet.
    taken: u32,
}

type Renewed = Result<(Request<'static>, Subscription<Wire>), Error>;

/// The event of a stream, as the daemon writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wire {
    Item(Box<RawValue>),
    End(Box<RawValue>),
    Error(RpcError),
}

impl Stream {
    pub(crate) fn new(session: Arc<Session>, request: Request<'static>, events: Subscription<Wire>) -> Stream {
        Stream {
            session,
            window: request.window.unwrap_or_default(),
            request: Some(request),
            events,
            renewed: None,
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

impl Stream {
    /// Makes the call again where a daemon that stops has not begun it; else gives back why it has ended.
    fn renew(&mut self, error: Error) -> Option<Error> {
        let Some(mut request) = self.request.take() else {
            return Some(error);
        };
        if !request.is_refused(&error) {
            return Some(error);
        }
        let (mut tell, told) = oneshot::channel();
        let session = self.session.clone();
        let connection = self.events.connection().clone();
        let stopping = connection.clone();
        connection.spawn(async move {
            let renew = async {
                let refusal = session.next_after(&stopping, &request, error).await?;
                let opened = session.open(request).await;
                // Nobody is there any more.
                opened.map_err(|error| {
                    if matches!(error, Error::NoDaemon { .. }) {
                        refusal
                    } else {
                        error
                    }
                })
            };
            tokio::select! {
                renewed = renew => drop(tell.send(renewed)),
                () = tell.closed() => {}
            }
        });
        self.renewed = Some(told);
        None
    }

    /// What comes next, of whichever daemon.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Error>>> {
        loop {
            if let Some(renewed) = &mut self.renewed {
                let told = ready!(Pin::new(renewed).poll(cx));
                self.renewed = None;
                // The runtime ends.
                let lost = || Err(self.events.connection().disconnected(self.events.method()));
                match told.unwrap_or_else(|_| lost()) {
                    Ok((request, events)) => {
                        self.request = Some(request);
                        self.events = events;
                    }
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            let event = match ready!(self.events.poll(cx)) {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            let event = match event {
                Wire::Item(item) => {
                    // From here on it has begun.
                    self.request = None;
                    self.replenish();
                    Ok(Event::Item(item))
                }
                Wire::End(value) => {
                    self.events.end();
                    Ok(Event::End(value))
                }
                Wire::Error(error) => {
                    self.events.end();
                    match self.renew(Error::Rpc(error)) {
                        Some(error) => Err(error),
                        None => continue,
                    }
                }
            };
            return Poll::Ready(Some(event));
        }
    }
}

impl AnyStream for Stream {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}
