//! One JSON value a line over a Unix socket, as the transport of jsonrpsee's client.
//!
//! jsonrpsee's client gives up its connection, and with it every call under way, when it meets an answer it did not ask
//! for; one with `id: null` is such. So the two halves share a [`Link`]: the sender notes the id of each request, and the
//! receiver hands up only answers to those.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baskd_protocol::Error as RpcError;
use jsonrpsee::core::client::{ReceivedMessage, TransportReceiverT, TransportSenderT};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

const READ_AT_ONCE: usize = 64 * 1024;

pub(crate) fn split(stream: UnixStream) -> (Sender, Receiver, Arc<Link>) {
    let (read, write) = stream.into_split();
    let link = Arc::new(Link::default());
    let sender = Sender { write, link: link.clone() };
    let receiver = Receiver { read: BufReader::with_capacity(READ_AT_ONCE, read), line: Vec::new(), link: link.clone() };
    (sender, receiver, link)
}

/// What both directions of one connection know.
#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Requests that were sent, or at least begun to be, and not answered.
    awaited: HashSet<u64>,
    /// Whether the socket ended, as opposed to something that was said on it being nonsense.
    ended: bool,
    /// The last error that answers no request, such as `Forbidden`: the reason, if the connection ends then.
    farewell: Option<RpcError>,
}

impl Link {
    /// Whether the connection was lost before request `id` went out, so that it may be sent again on another.
    pub(crate) fn lost_before(&self, id: u64) -> bool {
        let state = self.state();
        state.ended && !state.awaited.contains(&id)
    }

    pub(crate) fn farewell(&self) -> Option<RpcError> {
        self.state().farewell.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Sender {
    write: OwnedWriteHalf,
    link: Arc<Link>,
}

impl TransportSenderT for Sender {
    type Error = io::Error;

    async fn send(&mut self, mut message: String) -> io::Result<()> {
        let id = match leading_id(message.as_bytes()) {
            Some(Id::Number(id)) => Some(id),
            _ => None,
        };
        message.push('\n');
        self.link.state().awaited.extend(id);
        let (begun, written) = match self.write.write(message.as_bytes()).await {
            Ok(length) => (true, self.write.write_all(&message.as_bytes()[length..]).await),
            Err(error) => (false, Err(error)),
        };
        if written.is_err() {
            let mut state = self.link.state();
            state.ended = true;
            // A socket that takes not one byte has not carried the request anywhere.
            if let Some(id) = id.filter(|_| !begun) {
                state.awaited.remove(&id);
            }
        }
        written
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    read: BufReader<OwnedReadHalf>,
    /// The line so far. It outlives a dropped `receive`, so that no byte is lost with it.
    line: Vec<u8>,
    link: Arc<Link>,
}

impl TransportReceiverT for Receiver {
    type Error = io::Error;

    async fn receive(&mut self) -> io::Result<ReceivedMessage> {
        loop {
            let read = self.read.read_until(b'\n', &mut self.line).await;
            if read.is_err() || self.line.last() != Some(&b'\n') {
                self.link.state().ended = true;
                return Err(read.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
            }
            let line = std::mem::take(&mut self.line);
            if self.link.admits(&line) {
                return Ok(ReceivedMessage::Bytes(line));
            }
        }
    }
}

impl Link {
    /// Whether jsonrpsee's client can be given this message.
    fn admits(&self, line: &[u8]) -> bool {
        match answered_id(line) {
            None => true,
            Some(Id::Number(id)) if self.state().awaited.remove(&id) => true,
            Some(id) => {
                tracing::debug!(?id, "left out an answer that nobody waits for");
                if let Ok(Farewell { error: Some(error) }) = serde_json::from_slice(line) {
                    self.state().farewell = Some(error);
                }
                false
            }
        }
    }
}

/// The id of an answer, which jsonrpsee's client only knows as a number.
#[derive(Debug, PartialEq)]
enum Id {
    Number(u64),
    Other,
}

#[derive(Deserialize)]
struct Farewell {
    error: Option<RpcError>,
}

/// The id of a message that is an answer; None if it is a notification, or nothing that can be told.
fn answered_id(line: &[u8]) -> Option<Id> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        method: Option<&'a RawValue>,
    }

    // What the daemon writes is recognised by how it begins, which spares a second pass over large results.
    if line.starts_with(b"{\"jsonrpc\":\"2.0\",\"method\":") {
        return None;
    }
    if let Some(id) = leading_id(line) {
        return Some(id);
    }
    match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
        // A batch's, and this client sends none.
        Some(b'[') => return Some(Id::Other),
        Some(_) => {}
        None => return Some(Id::Other),
    }
    match serde_json::from_slice::<Envelope>(line) {
        Ok(Envelope { method: Some(_), .. }) => None,
        Ok(Envelope { id, .. }) => Some(id.and_then(|id| id.get().parse().ok()).map_or(Id::Other, Id::Number)),
        // jsonrpsee's client ends a connection on which nonsense is said, and so it should.
        Err(_) => None,
    }
}

/// The id of a message that begins as jsonrpsee's requests and the daemon's answers do.
fn leading_id(message: &[u8]) -> Option<Id> {
    let rest = message.strip_prefix(b"{\"jsonrpc\":\"2.0\",\"id\":")?;
    let end = rest.iter().position(|&byte| byte == b',')?;
    let digits = std::str::from_utf8(&rest[..end]).ok()?;
    Some(digits.parse().map_or(Id::Other, Id::Number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_notifications() {
        let number = |line: &str| answered_id(line.as_bytes());
        assert_eq!(number(r#"{"jsonrpc":"2.0","id":7,"result":1}"#), Some(Id::Number(7)));
        assert_eq!(number(r#"{"result":{"id":3},"id":7,"jsonrpc":"2.0"}"#), Some(Id::Number(7)));
        assert_eq!(number(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#), Some(Id::Other));
        assert_eq!(number(r#"{"jsonrpc":"2.0","id":"a,b","error":{}}"#), Some(Id::Other));
        assert_eq!(number(r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#), Some(Id::Other));
        assert_eq!(number(r#"{"jsonrpc":"2.0","method":"stream.item","params":{"id":1}}"#), None);
        assert_eq!(number(r#"{"params":{"id":1},"method":"stream.item","jsonrpc":"2.0"}"#), None);
        assert_eq!(number("[]"), Some(Id::Other));
        assert_eq!(number("nonsense"), None);
    }

    #[test]
    fn only_what_was_asked_is_handed_up() {
        let link = Link::default();
        link.state().awaited.insert(7);
        assert!(link.admits(br#"{"jsonrpc":"2.0","id":7,"result":1}"#));
        assert!(!link.admits(br#"{"jsonrpc":"2.0","id":7,"result":1}"#), "it was answered already");
        assert!(link.farewell().is_none());
        assert!(!link.admits(br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32027,"message":"no"}}"#));
        assert_eq!(link.farewell().map(|error| error.code), Some(-32027));
    }
}
