//! What calls send besides their results.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Error;
use crate::feed::Feed;

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
#[non_exhaustive]
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
    /// The connection was lost, and there is another: what was sent between is not known.
    Restarted,
}

/// A subscription to messages. It goes on when its connection was lost. Dropping it unsubscribes.
///
/// It is a [`futures_util::Stream`](futures_util::stream::Stream) of `Result<Message, Error>` as well. An error is the
/// last item.
#[derive(Debug)]
pub struct Messages(Feed<Wire>);

/// A message, as the daemon writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Wire {
    dropped: Option<u64>,
    #[serde(default)]
    restarted: bool,
    call: Option<u64>,
    request: Option<Box<RawValue>>,
    method: Option<String>,
    data: Option<Box<RawValue>>,
}

impl Messages {
    pub(crate) fn new(feed: Feed<Wire>) -> Messages {
        Messages(feed)
    }

    /// The next message; None when there will be no more.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        StreamExt::next(self).await
    }
}

impl Stream for Messages {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = ready!(self.0.poll(cx));
        Poll::Ready(message.map(|message| {
            let message = message?;
            Ok(match message.dropped {
                _ if message.restarted => Message::Restarted,
                Some(count) => Message::Dropped(count),
                None => Message::Sent {
                    call: message.call.unwrap_or_default(),
                    request: message.request,
                    method: message.method.unwrap_or_default(),
                    // A null and nothing are one to serde.
                    data: message.data.unwrap_or_else(|| RawValue::NULL.to_owned()),
                },
            })
        }))
    }
}
