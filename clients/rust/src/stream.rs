//! Subscriptions: one call's partial results, and the messages of many.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use baskd_protocol::Error as RpcError;
use futures_util::stream::{Stream as AnyStream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use crate::Error;
use crate::connection::{Connection, Failure};
use crate::session::Session;
use crate::subscription::Subscription;

/// How many messages are kept for a reader who falls behind; they have no window.
const BUFFERED_MESSAGES: usize = 1 << 16;
/// How long a subscription waits before it looks for a daemon again, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

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
    pub(crate) fn new(events: Subscription<Wire>, window: u32) -> Stream {
        Stream {
            events,
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

/// Whose messages to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of this connection's plain calls. None is lost: a call whose messages are not taken waits.
    Own,
    /// Those of everybody's calls. The oldest are dropped when they are not taken, and a [`Message::Dropped`] says so.
    All,
}

impl Scope {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Scope::Own => "own",
            Scope::All => "all",
        }
    }
}

/// What a call sent besides its result.
#[derive(Debug, Clone)]
pub enum Message {
    Sent {
        /// The daemon's number of the call.
        call: u64,
        /// The id of the request; only for [`Scope::Own`].
        request: Option<Box<RawValue>>,
        method: String,
        data: Box<RawValue>,
    },
    /// So many were lost before the next one.
    Dropped(u64),
    /// The connection was lost, and there is another: what was sent in between is missing, and nobody knows how much.
    Restarted,
}

/// A subscription to messages. Dropping it unsubscribes.
///
/// It is a [`futures_util::Stream`](futures_util::stream::Stream) of `Result<Message, Error>` as well. An error is the
/// last item.
pub struct Messages {
    session: Arc<Session>,
    params: Box<RawValue>,
    events: Subscription<WireMessage>,
    /// Subscribing again, after the connection was lost.
    again: Option<Again>,
}

type Again = Pin<Box<dyn Future<Output = Result<Subscription<WireMessage>, Error>> + Send>>;

/// A message, as the daemon writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct WireMessage {
    dropped: Option<u64>,
    call: Option<u64>,
    request: Option<Box<RawValue>>,
    method: Option<String>,
    data: Option<Box<RawValue>>,
}

impl fmt::Debug for Messages {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Messages")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl Messages {
    pub(crate) async fn subscribe(session: Arc<Session>, params: Box<RawValue>) -> Result<Messages, Error> {
        let events = subscribe(&session.connection().await?, &params)
            .await
            .map_err(|failure| match failure {
                // Whether it went out is not known.
                Failure::Unsent => Error::Disconnected,
                Failure::Final(error) => error,
            })?;
        Ok(Messages {
            session,
            params,
            events,
            again: None,
        })
    }

    /// The next message; None when there will be no more.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        StreamExt::next(self).await
    }
}

impl AnyStream for Messages {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.again.is_none() {
            match ready!(self.events.poll(cx)) {
                Some(Err(Error::Disconnected)) => {
                    self.again = Some(Box::pin(subscribe_again(self.session.clone(), self.params.clone())));
                }
                message => return Poll::Ready(message.map(|message| Ok(message?.read()))),
            }
        }
        let Some(again) = &mut self.again else {
            return Poll::Ready(None);
        };
        let subscribed = ready!(again.as_mut().poll(cx));
        self.again = None;
        Poll::Ready(Some(subscribed.map(|events| {
            self.events = events;
            Message::Restarted
        })))
    }
}

impl WireMessage {
    fn read(self) -> Message {
        match self.dropped {
            Some(count) => Message::Dropped(count),
            None => Message::Sent {
                call: self.call.unwrap_or_default(),
                request: self.request,
                method: self.method.unwrap_or_default(),
                // A null and nothing are one to serde.
                data: self.data.unwrap_or_else(|| RawValue::NULL.to_owned()),
            },
        }
    }
}

async fn subscribe(connection: &Arc<Connection>, params: &RawValue) -> Result<Subscription<WireMessage>, Failure> {
    connection
        .subscribe(
            "messages.subscribe",
            params.to_owned(),
            "messages.unsubscribe",
            BUFFERED_MESSAGES,
        )
        .await
}

/// Tries until there is a daemon again, which is none of its making: an idle client must not undo a `baskd stop`.
async fn subscribe_again(session: Arc<Session>, params: Box<RawValue>) -> Result<Subscription<WireMessage>, Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        let failure = match session.connection_if_there().await {
            Ok(connection) => match subscribe(&connection, &params).await {
                Ok(events) => return Ok(events),
                Err(Failure::Unsent) => Error::Disconnected,
                Err(Failure::Final(error)) => error,
            },
            Err(error) => error,
        };
        if !matches!(failure, Error::NoDaemon { .. } | Error::Disconnected) {
            return Err(failure);
        }
        sleep(pause.mul_f64(0.5 + jitter() / 2.0)).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// A number from 0 to 1, so that clients that lost their daemon together do not all come back together.
fn jitter() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}
