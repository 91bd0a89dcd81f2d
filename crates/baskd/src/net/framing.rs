//! The framings that one connection may have, told apart by its first bytes, and what is the same of them: bytes go in,
//! whole messages come out; lines go in, frames come out.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::content_length::{self, ContentLength};
use super::json_values::JsonValues;
use super::websocket::WebSocket;
use crate::rpc::metrics::Kind;
use crate::rpc::outbox::Outbox;
use crate::rpc::peer::Peer;

/// What becomes of the connection after some bytes were handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    GoOn,
    /// It ends once the outbox is written.
    Close,
    /// The peer has said that it leaves: it wants no answers any more.
    Gone,
    /// The bytes are of another framing, and still there.
    Another(Kind),
}

/// How long a connection's messages are handled before others' come: one chunk may hold a thousand.
pub(super) struct Share {
    since: Instant,
    messages: u32,
}

impl Share {
    const LONGEST: Duration = Duration::from_micros(200);
    /// The clock is asked after so many messages.
    const FEW: u32 = 8;

    pub(super) fn begin() -> Share {
        Share {
            since: Instant::now(),
            messages: 0,
        }
    }

    /// To be asked before each message.
    pub(super) fn is_over(&mut self) -> bool {
        self.messages += 1;
        self.messages.is_multiple_of(Share::FEW) && self.since.elapsed() > Share::LONGEST
    }
}

/// A framing on the bytes of a connection. (HTTP has a loop of its own.)
pub(crate) enum Framing {
    Json(JsonValues),
    ContentLength(ContentLength),
    WebSocket(Box<WebSocket>),
}

impl Framing {
    /// Where bytes that were read are appended.
    pub(crate) fn buf(&mut self) -> &mut Vec<u8> {
        match self {
            Framing::Json(values) => &mut values.buf,
            Framing::ContentLength(messages) => &mut messages.buf,
            Framing::WebSocket(socket) => socket.buf(),
        }
    }

    /// Handles every whole message, until the peer is stalled.
    pub(crate) fn handle(&mut self, peer: &Rc<Peer>) -> Then {
        match self {
            Framing::Json(values) => values.handle(peer),
            Framing::ContentLength(messages) => messages.handle(peer),
            Framing::WebSocket(socket) => socket.handle(peer),
        }
    }

    /// Whether [`Framing::handle`] has stopped before the end: the peer was stalled, or its turn was over.
    pub(crate) fn has_more(&self) -> bool {
        match self {
            Framing::Json(values) => values.has_more(),
            Framing::ContentLength(messages) => messages.has_more(),
            Framing::WebSocket(socket) => socket.has_more(),
        }
    }

    /// Whether there is more to write of the framing's own than may be.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Framing::Json(_) | Framing::ContentLength(_) => false,
            Framing::WebSocket(socket) => socket.is_full(),
        }
    }

    /// The peer sends nothing more. `told`: it, if it is to hear that its last message is not complete.
    pub(crate) fn end(&mut self, told: Option<&Peer>) {
        match self {
            Framing::Json(values) => values.end(told),
            Framing::ContentLength(messages) => messages.end(told),
            Framing::WebSocket(socket) => socket.end(),
        }
    }

    /// Takes what there is to write; `out` is empty.
    pub(crate) fn take(&mut self, outbox: &Outbox, out: &mut Vec<u8>) {
        match self {
            Framing::Json(_) => outbox.take(out),
            Framing::ContentLength(_) => frame(outbox, out, content_length::push_header),
            Framing::WebSocket(socket) => socket.take(outbox, out),
        }
    }

    /// All is written, and the connection is about to end. True if there is something to be said before that.
    pub(crate) fn say_goodbye(&mut self, is_stopping: bool) -> bool {
        match self {
            Framing::Json(_) | Framing::ContentLength(_) => false,
            Framing::WebSocket(socket) => socket.say_goodbye(is_stopping),
        }
    }
}

/// Takes the outbox's lines, and makes a frame of each: `push_header` writes what comes before so many bytes.
pub(crate) fn frame(outbox: &Outbox, out: &mut Vec<u8>, push_header: impl Fn(&mut Vec<u8>, usize)) {
    let mut lines = Vec::new();
    outbox.take(&mut lines);
    out.reserve(lines.len() + lines.len() / 4);
    let mut start = 0;
    // Every line ends in a newline, and has none inside.
    for end in memchr::memchr_iter(b'\n', &lines) {
        push_header(out, end - start);
        out.extend_from_slice(&lines[start..end]);
        start = end + 1;
    }
    outbox.set_unwritten(out.len());
}

/// What the first bytes of a connection tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// It takes more of them to tell.
    Unknown,
    Is(Kind),
    /// None that there is.
    Nothing,
}

const CONTENT: &[u8] = b"content-";

/// `bytes` does not begin with white space.
pub(crate) fn first(bytes: &[u8]) -> First {
    let Some(byte) = bytes.first() else {
        return First::Unknown;
    };
    let seen = &bytes[..bytes.len().min(CONTENT.len())];
    if matches!(byte, b'{' | b'[') {
        First::Is(Kind::Json)
    } else if seen.eq_ignore_ascii_case(CONTENT) {
        First::Is(Kind::ContentLength)
    } else if seen.eq_ignore_ascii_case(&CONTENT[..seen.len()]) {
        First::Unknown
    } else if byte.is_ascii_uppercase() {
        First::Is(Kind::Http)
    } else {
        First::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_framing() {
        for (bytes, told) in [
            ("", First::Unknown),
            ("{", First::Is(Kind::Json)),
            ("[1", First::Is(Kind::Json)),
            ("C", First::Unknown),
            ("c", First::Unknown),
            ("cOnTeNt", First::Unknown),
            ("Content-Length: 5", First::Is(Kind::ContentLength)),
            ("CONTENT-TYPE", First::Is(Kind::ContentLength)),
            ("CON", First::Unknown),
            ("CONNECT x HTTP/1.1", First::Is(Kind::Http)),
            ("P", First::Is(Kind::Http)),
            ("GET / HTTP/1.1", First::Is(Kind::Http)),
            ("get /", First::Nothing),
            ("connect", First::Nothing),
            ("\"", First::Nothing),
            ("\u{16}", First::Nothing),
        ] {
            assert_eq!(first(bytes.as_bytes()), told, "{bytes:?}");
        }
    }
}
