//! WebSocket, after its upgrade: each message is one JSON value or batch, each outgoing line one text message.
//!
//! tungstenite reads frames, and answers pings and closes; it is given bytes and not the socket, so that the connection
//! reads, writes and waits here as it does on every framing. What goes out needs no more than a header before a line.

use std::io::{self, Read, Write};
use std::rc::Rc;

use baskd_protocol::error::Error;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

use super::framing::Share;
use super::framing::{self, Then};
use super::message::{Messages, Pending};
use crate::rpc::dispatch;
use crate::rpc::outbox::{HIGH, Outbox};
use crate::rpc::peer::Peer;

/// Of tungstenite's own; it grows for a large frame.
const READ_BUFFER: usize = 16 << 10;
/// A buffer that grew beyond this is given back.
const KEEP: usize = 1 << 20;
/// The header of a frame as short as a ping's or pong's.
const CONTROL_HEADER: usize = 6;

pub(crate) struct WebSocket {
    context: WebSocketContext,
    pipe: Pipe,
    messages: Messages,
    stopped: bool,
    pending: Pending,
    /// Why the daemon ends it.
    close: Option<(CloseCode, String)>,
    /// A close was sent: nothing may come after it.
    is_closed: bool,
}

impl WebSocket {
    /// `read`: what came after the upgrade's request.
    pub(crate) fn new(peer: &Peer, read: Vec<u8>) -> WebSocket {
        let limit = Some(peer.service.limits.max_request);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(limit)
            .max_frame_size(limit);
        WebSocket {
            context: WebSocketContext::new(Role::Server, Some(config)),
            pipe: Pipe {
                input: read,
                ..Pipe::default()
            },
            messages: Messages::new(peer, None),
            stopped: false,
            pending: Pending::new(&peer.service),
            close: None,
            is_closed: false,
        }
    }

    pub(crate) fn buf(&mut self) -> &mut Vec<u8> {
        &mut self.pipe.input
    }

    pub(crate) fn has_more(&self) -> bool {
        self.stopped
    }

    /// Of pongs that are not written: who pings is to read the answers.
    pub(crate) fn is_full(&self) -> bool {
        self.pipe.output.len() >= HIGH
    }

    pub(crate) fn handle(&mut self, peer: &Rc<Peer>) -> Then {
        let mut share = Share::begin();
        loop {
            self.stopped = peer.is_stalled() || self.is_full() || share.is_over();
            if self.stopped {
                return Then::GoOn;
            }
            let then = match self.context.read(&mut self.pipe) {
                Ok(Message::Text(text)) => self.message(peer, text.as_bytes()),
                Ok(Message::Binary(bytes)) => self.message(peer, &bytes),
                Ok(Message::Ping(data) | Message::Pong(data)) => {
                    // It is not part of the message under way.
                    let whole = data.len() + CONTROL_HEADER;
                    self.pipe.unfinished = self.pipe.unfinished.saturating_sub(whole);
                    Then::GoOn
                }
                Ok(Message::Close(_)) => {
                    // Writes the answer. That the connection is closed by it is no error.
                    let _ = self.context.flush(&mut self.pipe);
                    self.is_closed = true;
                    Then::Gone
                }
                Ok(Message::Frame(_)) => Then::GoOn,
                Err(tungstenite::Error::Io(_)) => return self.out_of_bytes(peer),
                Err(error) => self.fail(peer, error),
            };
            if then != Then::GoOn {
                return then;
            }
        }
    }

    fn message(&mut self, peer: &Rc<Peer>, message: &[u8]) -> Then {
        self.pipe.unfinished = 0;
        self.pending.release();
        self.messages.handle(peer, message)
    }

    fn out_of_bytes(&mut self, peer: &Peer) -> Then {
        self.pipe.input.clear();
        self.pipe.input.shrink_to(KEEP);
        self.pipe.at = 0;
        if self.pending.hold(self.pipe.unfinished) {
            return Then::GoOn;
        }
        let limit = peer.service.limits.max_pending;
        dispatch::refuse(peer, &Error::overloaded_bytes(limit));
        self.close = Some((CloseCode::Again, String::new()));
        Then::Close
    }

    fn fail(&mut self, peer: &Peer, error: tungstenite::Error) -> Then {
        use tungstenite::Error as E;
        let code = match &error {
            E::Capacity(_) => {
                // What is left of it can't be told from what follows it, so it is the last.
                let limit = peer.service.limits.max_request;
                dispatch::refuse(peer, &Error::request_too_large(limit));
                CloseCode::Size
            }
            E::Utf8(_) => CloseCode::Invalid,
            E::ConnectionClosed | E::AlreadyClosed => return Then::Gone,
            _ => CloseCode::Protocol,
        };
        self.close = Some((code, error.to_string()));
        Then::Close
    }

    /// The peer sends nothing more, without having said so.
    pub(crate) fn end(&mut self) {
        self.pending.release();
        self.stopped = false;
        self.pipe.input = Vec::new();
        self.pipe.at = 0;
    }

    pub(crate) fn take(&mut self, outbox: &Outbox, out: &mut Vec<u8>) {
        // Between messages, pongs may come at any place; a close comes when there are no more.
        out.append(&mut self.pipe.output);
        if self.is_closed {
            outbox.take(&mut Vec::new());
            outbox.set_unwritten(out.len());
        } else {
            framing::frame(outbox, out, push_header);
        }
    }

    pub(crate) fn say_goodbye(&mut self, is_stopping: bool) -> bool {
        if std::mem::replace(&mut self.is_closed, true) {
            return false;
        }
        let (code, mut reason) = self.close.take().unwrap_or_else(|| match is_stopping {
            true => (CloseCode::Away, "the daemon is stopping".to_owned()),
            false => (CloseCode::Normal, String::new()),
        });
        // With its code, it has to fit a control frame.
        while reason.len() > 123 {
            reason.pop();
        }
        let frame = Frame::close(Some(CloseFrame {
            code,
            reason: reason.into(),
        }));
        // A Vec takes all that is written to it.
        let _ = frame.format(&mut self.pipe.output);
        true
    }
}

/// What comes before a text message of so many bytes.
fn push_header(out: &mut Vec<u8>, length: usize) {
    let header = FrameHeader {
        is_final: true,
        opcode: OpCode::Data(Data::Text),
        ..FrameHeader::default()
    };
    // Likewise.
    let _ = header.format(length as u64, out);
}

/// What tungstenite takes for the socket.
#[derive(Default)]
struct Pipe {
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
    /// How many bytes were read since the last whole message.
    unfinished: usize,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.at..];
        if rest.is_empty() {
            // The end is told by the connection.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        self.unfinished += count;
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_text_frame() {
        for (length, header) in [
            (5, vec![0x81, 5]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            push_header(&mut out, length);
            assert_eq!(out, header);
        }
    }
}
