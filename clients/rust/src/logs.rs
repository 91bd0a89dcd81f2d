//! Log lines: the daemon's own, and what Python prints.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{Stream, StreamExt};
use serde::Deserialize;

use crate::Error;
use crate::feed::Feed;

/// A line of the log, or what keeps it from being whole.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Log {
    Line(LogLine),
    /// So many were lost before the next one: this reader was too slow.
    Dropped(u64),
    /// What was kept has been told: from here on they are new. Only for
    /// [`logs_from`](crate::Client::logs_from).
    Live,
    /// The connection was lost, and there is another: what was said between is not known.
    Restarted,
}

/// A line of the log.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct LogLine {
    /// As RFC 3339 has it.
    pub time: String,
    pub level: String,
    /// `stdout` or `stderr` of Python, or `daemon`.
    pub stream: String,
    /// The daemon's number of the call that printed it, where that is known.
    pub call: Option<u64>,
    /// That call's method.
    #[serde(default)]
    pub method: Option<String>,
    pub line: String,
}

/// A subscription to the log. It goes on when its connection was lost. Dropping it unsubscribes.
///
/// It is a [`futures_util::Stream`](futures_util::stream::Stream) of `Result<Log, Error>` as well. An error is the last
/// item.
#[derive(Debug)]
pub struct Logs(Feed<Wire>);

/// An event, as the daemon writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Wire {
    dropped: Option<u64>,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    restarted: bool,
    #[serde(flatten)]
    line: Option<LogLine>,
}

impl Logs {
    pub(crate) fn new(feed: Feed<Wire>) -> Logs {
        Logs(feed)
    }

    /// The next line; None when there will be no more.
    pub async fn next(&mut self) -> Option<Result<Log, Error>> {
        StreamExt::next(self).await
    }
}

impl Stream for Logs {
    type Item = Result<Log, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(event) = ready!(self.0.poll(cx)) else {
                return Poll::Ready(None);
            };
            let event = event.map(|event| match event {
                Wire { restarted: true, .. } => Some(Log::Restarted),
                Wire {
                    dropped: Some(lines), ..
                } => Some(Log::Dropped(lines)),
                Wire { live: true, .. } => Some(Log::Live),
                Wire { line, .. } => line.map(Log::Line),
            });
            // What a later daemon may have to say besides is left out.
            if let Some(event) = event.transpose() {
                return Poll::Ready(Some(event));
            }
        }
    }
}
