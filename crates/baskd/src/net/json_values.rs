//! The framing of the socket: JSON values one after another, with newlines, without, or pretty-printed.
//!
//! Holds what a connection has sent and was not handled yet, and hands each whole value to [`dispatch`]. Does no I/O.

use std::rc::Rc;

use baskd_protocol::error::Error;
use baskd_protocol::scan::{Scan, Scanner};

use super::framing::Share;
pub use super::framing::Then;
use super::framing::{First, first};
use super::message::{self, SMALL, show};
use crate::rpc::Service;
use crate::rpc::dispatch;
use crate::rpc::metrics::Kind;
use crate::rpc::peer::Peer;

/// A buffer that grew beyond this for one large message is given back.
const KEEP: usize = 1 << 20;

pub struct JsonValues {
    pub(crate) buf: Vec<u8>,
    /// Where the value under way, or the next one, begins.
    at: usize,
    scanner: Scanner,
    state: State,
    /// No value was met yet: bytes that can't begin one tell another framing.
    is_first: bool,
    /// The answer to the first request of a connection too many.
    refusal: Option<Error>,
    stopped: bool,
    service: Rc<Service>,
    /// What of `buf` is counted in the service's pending bytes.
    counted: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Inside,
    /// A value that is too large.
    SkippingValue,
    /// What follows a parse error.
    SkippingLine,
}

impl JsonValues {
    /// With a `refusal`, the first request is answered by it and nothing is run.
    pub fn new(peer: &Peer, refusal: Option<Error>) -> JsonValues {
        let limits = &peer.service.limits;
        JsonValues {
            buf: Vec::new(),
            at: 0,
            scanner: Scanner::new(limits.max_nesting, limits.max_batch),
            state: State::Between,
            is_first: true,
            refusal,
            stopped: false,
            service: peer.service.clone(),
            counted: 0,
        }
    }

    /// What was read, and the refusal, for another framing.
    pub(crate) fn give_up(&mut self) -> (Vec<u8>, Option<Error>) {
        self.buf.drain(..std::mem::take(&mut self.at));
        (std::mem::take(&mut self.buf), self.refusal.take())
    }

    /// Whether [`JsonValues::handle`] has stopped before the end: the peer was stalled, or its turn was over.
    pub(crate) fn has_more(&self) -> bool {
        self.stopped
    }

    /// Handles every whole value, until the peer is stalled, or has had its turn.
    pub fn handle(&mut self, peer: &Rc<Peer>) -> Then {
        let mut share = Share::begin();
        loop {
            self.stopped = peer.is_stalled() || share.is_over();
            if self.stopped {
                return Then::GoOn;
            }
            if self.state != State::Inside && self.counted > 0 {
                self.uncount();
            }
            let more = match self.state {
                State::Between => self.between(peer),
                State::Inside => self.inside(peer),
                State::SkippingValue => self.skip_value(),
                State::SkippingLine => self.skip_line(),
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
    pub fn end(&mut self, told: Option<&Peer>) {
        // The first bytes of a framing that was never told.
        let is_partial = self.is_first && self.state == State::Between && self.at < self.buf.len();
        if let Some(peer) = told
            && (self.state == State::Inside || is_partial)
        {
            dispatch::refuse(peer, &Error::parse("the last message is not complete"));
        }
        self.uncount();
        self.state = State::Between;
        self.stopped = false;
        self.buf = Vec::new();
        self.at = 0;
    }

    /// None: more bytes are needed.
    fn between(&mut self, peer: &Peer) -> Option<Then> {
        let rest = &self.buf[self.at..];
        let Some(spaces) = rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        else {
            self.at = self.buf.len();
            return None;
        };
        self.at += spaces;
        let byte = self.buf[self.at];
        if matches!(byte, b'{' | b'[') {
            if std::mem::take(&mut self.is_first) {
                peer.service.metrics.connection(Kind::Json);
            }
            self.scanner.reset();
            self.state = State::Inside;
            return Some(Then::GoOn);
        }
        if self.is_first {
            match first(&self.buf[self.at..]) {
                First::Unknown => return None,
                First::Is(kind) => return Some(Then::Another(kind)),
                First::Nothing => {}
            }
        }
        dispatch::refuse(
            peer,
            &Error::parse(format!("a message can't begin with {}", show(byte))),
        );
        self.state = State::SkippingLine;
        Some(if self.is_first { Then::Close } else { Then::GoOn })
    }

    fn inside(&mut self, peer: &Rc<Peer>) -> Option<Then> {
        let limits = &peer.service.limits;
        let value = &self.buf[self.at..];
        match self.scanner.scan(value) {
            Scan::Incomplete if value.len() <= limits.max_request => {
                // A little of each connection is counted by their number.
                let counted = if value.len() > SMALL { value.len() } else { 0 };
                let fits = self
                    .service
                    .keep(std::mem::replace(&mut self.counted, counted), counted);
                if fits || counted == 0 {
                    return None;
                }
                dispatch::refuse_as(peer, self.id(), &Error::overloaded_bytes(limits.max_pending));
                self.scanner.skip_rest();
                self.at = self.buf.len();
                self.state = State::SkippingValue;
                self.uncount();
                return None;
            }
            Scan::Incomplete => {
                self.refuse_too_large(peer);
                self.scanner.skip_rest();
                self.at = self.buf.len();
                self.state = State::SkippingValue;
                return None;
            }
            Scan::Complete(end) if end > limits.max_request => {
                self.refuse_too_large(peer);
                self.finish(end);
            }
            Scan::Complete(end) => {
                self.dispatch(peer, end);
                self.finish(end);
                if self.refusal.is_some() {
                    return Some(Then::Close);
                }
            }
            Scan::Invalid(at) => {
                let why = format!("{} can't stand at byte {at} of the message", show(value[at]));
                dispatch::refuse(peer, &Error::parse(why));
                self.at += at;
                self.state = State::SkippingLine;
            }
            Scan::TooDeep(at) => {
                dispatch::refuse(peer, &message::too_deep(peer));
                self.at += at;
                self.state = State::SkippingLine;
            }
        }
        Some(Then::GoOn)
    }

    fn uncount(&mut self) {
        self.service.keep(std::mem::take(&mut self.counted), 0);
    }

    fn finish(&mut self, end: usize) {
        self.uncount();
        self.at += end;
        self.state = State::Between;
    }

    fn dispatch(&self, peer: &Rc<Peer>, end: usize) {
        if let Some(refusal) = &self.refusal {
            return dispatch::refuse_as(peer, self.id(), refusal);
        }
        let value = &self.buf[self.at..self.at + end];
        if let Err(error) = message::dispatch(peer, &self.scanner, value) {
            dispatch::refuse(peer, &error);
        }
    }

    fn refuse_too_large(&self, peer: &Peer) {
        dispatch::refuse_as(
            peer,
            self.id(),
            &Error::request_too_large(peer.service.limits.max_request),
        );
    }

    /// The id of the message under way, as far as it was read.
    fn id(&self) -> &str {
        message::id(&self.scanner, &self.buf[self.at..])
    }

    fn skip_value(&mut self) -> Option<Then> {
        match self.scanner.scan(&self.buf[self.at..]) {
            Scan::Incomplete => {
                self.scanner.skip_rest();
                self.at = self.buf.len();
                None
            }
            Scan::Complete(end) => {
                self.finish(end);
                Some(Then::GoOn)
            }
            Scan::Invalid(at) | Scan::TooDeep(at) => {
                self.at += at;
                self.state = State::SkippingLine;
                Some(Then::GoOn)
            }
        }
    }

    fn skip_line(&mut self) -> Option<Then> {
        match memchr::memchr(b'\n', &self.buf[self.at..]) {
            Some(newline) => {
                self.at += newline + 1;
                self.state = State::Between;
                Some(Then::GoOn)
            }
            None => {
                self.at = self.buf.len();
                None
            }
        }
    }
}

impl Drop for JsonValues {
    fn drop(&mut self) {
        self.uncount();
    }
}
