//! One connection: whose it is, its bytes in, its lines out, its end.
//!
//! A task reads a chunk, has every whole message in it handled, and writes all that is ready at once. It stops reading
//! from a peer that does not read its answers. A peer that only closed its writing half is still answered; one that is
//! gone has its calls cancelled.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use baskd_protocol::error::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::hangup::Hangup;
use super::json_values::{JsonValues, Then};
use crate::drained::Drained;
use crate::rpc::Service;
use crate::rpc::dispatch;
use crate::rpc::peer::Peer;

const CHUNK: usize = 64 << 10;
/// In the middle of a large message more is read at once: about what a socket holds.
const BIG_CHUNK: usize = 256 << 10;
/// How long a connection that is refused, or closed by the daemon, may take to read its last lines.
const LINGER: Duration = Duration::from_secs(5);

/// Serves a connection to its end. `closing` is set once nothing more is answered.
pub async fn serve(stream: UnixStream, service: Rc<Service>, closing: CancellationToken) {
    let limit = service.limits.max_connections;
    let refusal = (service.connections.get() >= limit).then(|| Error::too_many_connections(limit));
    let refused = refusal.is_some();
    let peer = Peer::new(&service, refused);
    let mut connection = Connection {
        values: JsonValues::new(&peer, refusal),
        stream,
        peer: peer.clone(),
        closing,
        writing: Vec::new(),
        written: 0,
        reading: true,
        is_refused: false,
    };
    // However it ends, and also if this task is dropped.
    let gone = Gone(peer);
    if let Err(uid) = connection.check_peer() {
        dispatch::refuse(&connection.peer, &Error::forbidden(uid));
        connection.end_reading();
        let _ = timeout(LINGER, connection.run()).await;
    } else if refused {
        let _ = timeout(LINGER, connection.run()).await;
    } else if let Err(error) = connection.run().await {
        tracing::debug!(%error, "connection lost");
    }
    drop(gone);
}

struct Gone(Rc<Peer>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone();
    }
}

struct Connection {
    stream: UnixStream,
    peer: Rc<Peer>,
    values: JsonValues,
    closing: CancellationToken,
    writing: Vec<u8>,
    written: usize,
    reading: bool,
    /// It is the daemon that ends the connection, though the peer may still be sending.
    is_refused: bool,
}

impl Connection {
    /// The peer must be the daemon's own user, or root.
    fn check_peer(&self) -> Result<(), u32> {
        let own = rustix::process::geteuid().as_raw();
        match self.stream.peer_cred() {
            Ok(cred) if cred.uid() == own || cred.uid() == 0 => Ok(()),
            Ok(cred) => Err(cred.uid()),
            Err(_) => Err(u32::MAX),
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        let mut hangup = None;
        // Whether the peer may still want what it did not ask to be answered: subscriptions.
        let mut may_listen = self.reading;
        loop {
            self.write()?;
            let unwritten = self.written < self.writing.len();
            if self.values.has_more() && !self.peer.is_stalled() {
                self.handle();
                may_listen &= self.reading;
                continue;
            }
            let closing = self.closing.is_cancelled();
            let answered = if may_listen && !closing {
                self.peer.is_done()
            } else {
                self.peer.is_answered()
            };
            if !self.reading && !self.values.has_more() && answered && !unwritten && self.peer.outbox.is_empty() {
                return if self.is_refused {
                    timeout(LINGER, self.let_go()).await?
                } else {
                    Ok(())
                };
            }
            if !self.reading && hangup.is_none() {
                hangup = Some(Hangup::of(&self.stream)?);
            }
            tokio::select! {
                ready = self.stream.readable(), if self.reading && !self.peer.is_stalled() => {
                    ready?;
                    if self.read()? >= CHUNK {
                        // There is most likely more, and others may be waiting: they come between.
                        tokio::task::yield_now().await;
                    }
                },
                ready = self.stream.writable(), if unwritten => ready?,
                () = self.peer.outbox.changed() => {}
                () = hung_up(hangup.as_ref()) => return Err(io::ErrorKind::BrokenPipe.into()),
                () = self.closing.cancelled(), if !closing => self.reading = false,
            }
        }
    }

    /// Reads a chunk, and handles what is whole. Returns how many bytes came.
    fn read(&mut self) -> io::Result<usize> {
        let buf = &mut self.values.buf;
        buf.reserve(if buf.len() < CHUNK { CHUNK } else { BIG_CHUNK });
        match self.stream.try_read_buf(buf) {
            Ok(0) => {
                self.reading = false;
                self.values.end(&self.peer);
                Ok(0)
            }
            Ok(read) => {
                if read < CHUNK {
                    self.stream.drained();
                }
                self.handle();
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn handle(&mut self) {
        if self.values.handle(&self.peer) == Then::Close {
            self.values.end(&self.peer);
            self.end_reading();
        }
    }

    fn end_reading(&mut self) {
        self.reading = false;
        self.is_refused = true;
    }

    /// Ends a connection so that its peer reads the last line and then the end: to close it with something unread in it
    /// would be a reset.
    async fn let_go(&self) -> io::Result<()> {
        rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write)?;
        let mut unwanted = [0; 4096];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut unwanted) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Writes as much as the socket takes.
    fn write(&mut self) -> io::Result<()> {
        loop {
            if self.written == self.writing.len() {
                self.writing.clear();
                self.writing.shrink_to(CHUNK * 4);
                self.written = 0;
                self.peer.outbox.take(&mut self.writing);
                if self.writing.is_empty() {
                    break;
                }
            }
            match self.stream.try_write(&self.writing[self.written..]) {
                Ok(wrote) => {
                    self.written += wrote;
                    self.peer.outbox.set_unwritten(self.writing.len() - self.written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.peer.written();
        Ok(())
    }
}

async fn hung_up(hangup: Option<&Hangup>) {
    match hangup {
        Some(hangup) => hangup.wait().await,
        None => std::future::pending().await,
    }
}
