//! LSP's framing: `Content-Length: N`, an empty line, N bytes. Does no I/O.
//!
//! Since the length comes first, a message that is wrong or too large costs nothing but itself: what follows it is found
//! all the same. A header that can't be read is the end of the connection.

use std::rc::Rc;

use baskd_protocol::error::Error;

use super::framing::Share;
use super::framing::Then;
use super::message::{Messages, Pending};
use crate::rpc::dispatch;
use crate::rpc::peer::Peer;

/// A header is some 20 bytes long, and has one other line at most.
const MAX_HEADER: usize = 4096;
/// A buffer that grew beyond this for one large message is given back.
const KEEP: usize = 1 << 20;

pub(crate) struct ContentLength {
    pub(crate) buf: Vec<u8>,
    /// Where the header or message under way begins.
    at: usize,
    state: State,
    messages: Messages,
    stopped: bool,
    pending: Pending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Message(usize),
    /// So many bytes of a message that was answered already.
    Skipping(u64),
    /// A header could not be read, or nothing more is.
    Lost,
}

impl ContentLength {
    /// `buf`: what was read already. With a `refusal`, the first request is answered by it and nothing is run.
    pub(crate) fn new(peer: &Peer, buf: Vec<u8>, refusal: Option<Error>) -> ContentLength {
        ContentLength {
            buf,
            at: 0,
            state: State::Header,
            messages: Messages::new(peer, refusal),
            stopped: false,
            pending: Pending::new(&peer.service),
        }
    }

    pub(crate) fn has_more(&self) -> bool {
        self.stopped
    }

    pub(crate) fn handle(&mut self, peer: &Rc<Peer>) -> Then {
        let mut share = Share::begin();
        loop {
            self.stopped = peer.is_stalled() || share.is_over();
            if self.stopped {
                return Then::GoOn;
            }
            let more = match self.state {
                State::Header => self.header(peer),
                State::Message(length) => self.message(peer, length),
                State::Skipping(left) => self.skip(left),
                State::Lost => Some(Then::Close),
            };
            match more {
                Some(Then::GoOn) => {}
                Some(then) => return then,
                None => {
                    self.buf.drain(..self.at);
                    self.at = 0;
                    self.buf.shrink_to(KEEP);
                    return Then::GoOn;
                }
            }
        }
    }

    /// The peer sends nothing more.
    pub(crate) fn end(&mut self, told: Option<&Peer>) {
        let is_partial = match self.state {
            State::Header => !self.buf[self.at..].trim_ascii().is_empty(),
            State::Message(_) => true,
            State::Skipping(_) | State::Lost => false,
        };
        if let Some(peer) = told.filter(|_| is_partial) {
            dispatch::refuse(peer, &Error::parse("the last message is not complete"));
        }
        self.pending.release();
        self.state = State::Lost;
        self.stopped = false;
        self.buf = Vec::new();
        self.at = 0;
    }

    /// None: more bytes are needed.
    fn header(&mut self, peer: &Peer) -> Option<Then> {
        // What some put between messages, and nobody between headers.
        let rest = &self.buf[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let limit = peer.service.limits.max_request;
        match header(&self.buf[self.at..]) {
            Header::Incomplete => return None,
            Header::Bad(why) => {
                dispatch::refuse(peer, &Error::parse(why));
                self.state = State::Lost;
            }
            Header::Length { length, end } => {
                self.at += end;
                self.state = match usize::try_from(length) {
                    Ok(length) if length <= limit => State::Message(length),
                    _ => {
                        dispatch::refuse(peer, &Error::request_too_large(limit));
                        State::Skipping(length)
                    }
                };
            }
        }
        Some(Then::GoOn)
    }

    fn message(&mut self, peer: &Rc<Peer>, length: usize) -> Option<Then> {
        let there = self.buf.len() - self.at;
        if there < length {
            if !self.pending.hold(there) {
                let limit = peer.service.limits.max_pending;
                dispatch::refuse(peer, &Error::overloaded_bytes(limit));
                self.pending.release();
                self.state = State::Skipping(length as u64);
                return Some(Then::GoOn);
            }
            return None;
        }
        self.pending.release();
        let message = &self.buf[self.at..self.at + length];
        let then = self.messages.handle(peer, message);
        self.at += length;
        // What comes after the last message is nobody's: it is not told that it is not whole.
        self.state = if then == Then::GoOn { State::Header } else { State::Lost };
        Some(then)
    }

    fn skip(&mut self, left: u64) -> Option<Then> {
        let there = self.buf.len() - self.at;
        match usize::try_from(left) {
            Ok(left) if left <= there => {
                self.at += left;
                self.state = State::Header;
                Some(Then::GoOn)
            }
            _ => {
                self.at = self.buf.len();
                self.state = State::Skipping(left - there as u64);
                None
            }
        }
    }
}

/// What comes before a message of so many bytes.
pub(crate) fn push_header(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(b"Content-Length: ");
    baskd_protocol::reply::push_number(out, length as u64);
    out.extend_from_slice(b"\r\n\r\n");
}

#[derive(Debug, PartialEq, Eq)]
enum Header {
    Incomplete,
    /// `end`: where the message begins.
    Length {
        length: u64,
        end: usize,
    },
    Bad(String),
}

/// Reads the lines up to an empty one. They end in `\r\n`, or in `\n` as careless clients write it.
fn header(bytes: &[u8]) -> Header {
    let mut length = None;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', &bytes[..bytes.len().min(MAX_HEADER)]) {
        let line = &bytes[start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        start = end + 1;
        if line.is_empty() {
            return match length {
                Some(length) => Header::Length { length, end: start },
                None => Header::Bad("a header without Content-Length".to_owned()),
            };
        }
        match field(line) {
            Ok(None) => {}
            Ok(Some(given)) if length.is_none_or(|length| length == given) => length = Some(given),
            Ok(Some(_)) => return Header::Bad("a header with two different Content-Lengths".to_owned()),
            Err(why) => return Header::Bad(why),
        }
    }
    if bytes.len() >= MAX_HEADER {
        return Header::Bad(format!("a header of more than {MAX_HEADER} bytes"));
    }
    Header::Incomplete
}

/// The length, if that is what a line gives. Others, such as Content-Type, change nothing.
fn field(line: &[u8]) -> Result<Option<u64>, String> {
    let shown = || String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(format!("a header's line without a colon: {:?}", shown()));
    };
    if !line[..colon].trim_ascii().eq_ignore_ascii_case(b"content-length") {
        return Ok(None);
    }
    let digits = line[colon + 1..].trim_ascii();
    let number = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| format!("a Content-Length that is no number: {:?}", shown()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bad(bytes: &[u8]) -> bool {
        matches!(header(bytes), Header::Bad(_))
    }

    #[test]
    fn a_header_gives_a_length_and_where_it_ends() {
        for text in [
            "Content-Length: 5\r\n\r\n",
            "content-length:5\n\n",
            "CONTENT-LENGTH \t:  5 \r\n\n",
            "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: 5\r\nContent-Type: x\r\nContent-Length: 005\r\n\r\n",
        ] {
            let end = text.len();
            assert_eq!(header(text.as_bytes()), Header::Length { length: 5, end }, "{text:?}");
            for cut in 0..end {
                assert_eq!(header(&text.as_bytes()[..cut]), Header::Incomplete, "{text:?} {cut}");
            }
            let longer = format!("{text}[[[[[\r\n\r\n");
            assert_eq!(header(longer.as_bytes()), Header::Length { length: 5, end }, "{text:?}");
        }
        let largest = "Content-Length: 18446744073709551615\r\n\r\n";
        assert_eq!(
            header(largest.as_bytes()),
            Header::Length {
                length: u64::MAX,
                end: largest.len()
            }
        );
    }

    #[test]
    fn other_headers_are_bad() {
        for text in [
            "Content-Length: five\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Type: x\r\n\r\n",
            "Content-Length\r\n",
            "Content-Length: \u{665}\r\n",
        ] {
            assert!(bad(text.as_bytes()), "{text:?}");
        }
        assert!(!bad("Content-Type: ".as_bytes()));
        assert!(bad(format!("Content-Type: {}", "x".repeat(MAX_HEADER)).as_bytes()));
        assert!(bad("Content-Type: x\r\n".repeat(MAX_HEADER / 16).as_bytes()));
    }

    proptest! {
        /// A header that was cut is incomplete or already bad, and never another one.
        #[test]
        fn more_bytes_never_change_what_is_known(bytes in header_like(), cut in 0usize..100) {
            let cut = cut.min(bytes.len());
            let (part, whole) = (header(&bytes[..cut]), header(&bytes));
            if part != Header::Incomplete {
                prop_assert_eq!(part, whole);
            }
        }
    }

    /// Pieces of headers in any order, and some that are none.
    fn header_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"Content-Length: ".to_vec()),
            Just(b"content-length:".to_vec()),
            Just(b"Content-Type: x".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\n".to_vec()),
            "[0-9]{1,3}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..3),
        ];
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }
}
