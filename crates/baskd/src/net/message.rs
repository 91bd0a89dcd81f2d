//! One whole message, whose framing has told where it ends.

use std::rc::Rc;

use baskd_protocol::error::Error;
use baskd_protocol::request::is_id;
use baskd_protocol::scan::{Scan, Scanner};

use super::framing::Then;
use crate::rpc::Service;
use crate::rpc::dispatch;
use crate::rpc::peer::Peer;

/// A half message of so many bytes is not worth counting: a little of each connection is counted by their number.
pub(crate) const SMALL: usize = 256 << 10;

/// Handles whole messages: each is one JSON object or array, with white space around it at most.
pub(crate) struct Messages {
    scanner: Scanner,
    /// The answer to the first request of a connection too many.
    refusal: Option<Error>,
}

impl Messages {
    pub(crate) fn new(peer: &Peer, refusal: Option<Error>) -> Messages {
        let limits = &peer.service.limits;
        Messages {
            scanner: Scanner::new(limits.max_nesting, limits.max_batch),
            refusal,
        }
    }

    /// Runs a message, or answers why not. What is wrong with one says nothing of the next.
    pub(crate) fn handle(&mut self, peer: &Rc<Peer>, message: &[u8]) -> Then {
        if let Err(error) = self.run(peer, message.trim_ascii()) {
            dispatch::refuse(peer, &error);
        }
        if self.refusal.is_some() {
            Then::Close
        } else {
            Then::GoOn
        }
    }

    fn run(&mut self, peer: &Rc<Peer>, message: &[u8]) -> Result<(), Error> {
        match message.first() {
            Some(b'{' | b'[') => {}
            Some(byte) => return Err(Error::parse(format!("a message can't begin with {}", show(*byte)))),
            None => return Err(Error::parse("the message is empty")),
        }
        self.scanner.reset();
        match self.scanner.scan(message) {
            Scan::Complete(end) if end == message.len() => {}
            Scan::Complete(at) | Scan::Invalid(at) => {
                let byte = show(message[at]);
                return Err(Error::parse(format!("{byte} can't stand at byte {at} of the message")));
            }
            Scan::TooDeep(_) => return Err(too_deep(peer)),
            Scan::Incomplete => return Err(Error::parse("the message is not complete")),
        }
        match &self.refusal {
            Some(refusal) => dispatch::refuse_as(peer, id(&self.scanner, message), refusal),
            None => dispatch(peer, &self.scanner, message)?,
        }
        Ok(())
    }
}

/// Runs what the scanner has found to be a value, whole.
pub(crate) fn dispatch(peer: &Rc<Peer>, scanner: &Scanner, message: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(message).map_err(|_| Error::parse("the message is not UTF-8"))?;
    if text.starts_with('{') {
        dispatch::object(peer, text, scanner.members());
    } else {
        dispatch::batch(peer, text, scanner.entries(), scanner.entry_count());
    }
    Ok(())
}

/// The id of a message, as far as it was read.
pub(crate) fn id<'a>(scanner: &Scanner, message: &'a [u8]) -> &'a str {
    let span = scanner.members().id.clone();
    let text = span.and_then(|span| std::str::from_utf8(&message[span]).ok());
    text.filter(|text| is_id(text)).unwrap_or("null")
}

pub(crate) fn too_deep(peer: &Peer) -> Error {
    let limit = peer.service.limits.max_nesting;
    Error::invalid_request(format!("it is nested deeper than {limit} levels"))
}

pub(crate) fn show(byte: u8) -> String {
    match byte {
        b'\n' => "a newline".to_owned(),
        0x21..=0x7e => format!("`{}`", byte as char),
        _ => format!("the byte 0x{byte:02x}"),
    }
}

/// What one connection has of the bytes of half messages, which all connections share.
pub(crate) struct Pending {
    service: Rc<Service>,
    counted: usize,
}

impl Pending {
    pub(crate) fn new(service: &Rc<Service>) -> Pending {
        Pending {
            service: service.clone(),
            counted: 0,
        }
    }

    /// So many bytes are held now. False if that is more than there is room for.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let counted = if bytes > SMALL { bytes } else { 0 };
        if counted == self.counted {
            return true;
        }
        let fits = self
            .service
            .keep(std::mem::replace(&mut self.counted, counted), counted);
        fits || counted == 0
    }

    pub(crate) fn release(&mut self) {
        if self.counted > 0 {
            self.service.keep(std::mem::take(&mut self.counted), 0);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.release();
    }
}
