//! One connection: whose it is, its bytes in, its lines out, its end.
//!
//! A task reads a chunk, has every whole message in it handled, and writes all that is ready at once. It stops reading
//! from a peer that does not read its answers. A peer that only closed its writing half is still answered; one that is
//! gone has its calls cancelled. When the daemon stops, it takes nothing more, and answers what has come.
//!
//! A connection begins as one of plain JSON values, which is told by its first byte; other first bytes make it another
//! ([`Framing`]). HTTP has the socket to itself, until it becomes a WebSocket or ends.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use baskd_protocol::error::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::content_length::ContentLength;
use super::framing::{Framing, Then};
use super::hangup::Hangup;
use super::http;
use super::json_values::JsonValues;
use super::socket::Socket;
use super::websocket::WebSocket;
use crate::clock;
use crate::rpc::Service;
use crate::rpc::dispatch;
use crate::rpc::metrics::Kind;
use crate::rpc::peer::Peer;

const CHUNK: usize = 64 << 10;
/// In the middle of a large message more is read at once: about what a socket holds.
const BIG_CHUNK: usize = 256 << 10;
/// How long a connection that is refused, or closed by the daemon, may take to read its last lines.
const LINGER: Duration = Duration::from_secs(5);

/// Serves a connection to its end. `closing` is set once nothing more is answered.
pub async fn serve(stream: UnixStream, service: Rc<Service>, closing: CancellationToken) {
    let uid = stream.peer_cred().map_or(u32::MAX, |cred| cred.uid());
    let Ok(socket) = Socket::new(stream) else { return };
    let limit = service.limits.max_connections;
    let refusal = (service.connections.get() >= limit).then(|| Error::too_many_connections(limit));
    let refused = refusal.is_some();
    let peer = Peer::new(&service, refused);
    let mut connection = Connection {
        framing: Framing::Json(JsonValues::new(&peer, refusal)),
        stream: Rc::new(socket),
        peer: peer.clone(),
        closing,
        writing: Vec::new(),
        written: 0,
        reading: true,
        is_refused: false,
        turn: None,
    };
    // However it ends, and also if this task is dropped.
    let gone = Gone(peer);
    if !is_allowed(uid) {
        dispatch::refuse(&connection.peer, &Error::forbidden(uid));
        connection.end_reading();
        let _ = timeout(LINGER, connection.live()).await;
    } else if refused {
        let _ = timeout(LINGER, connection.live()).await;
    } else if let Err(error) = connection.live().await {
        tracing::debug!(%error, "connection lost");
    }
    drop(gone);
}

/// The peer must be the daemon's own user, or root.
fn is_allowed(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

struct Gone(Rc<Peer>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone();
    }
}

struct Connection {
    stream: Rc<Socket>,
    peer: Rc<Peer>,
    framing: Framing,
    closing: CancellationToken,
    writing: Vec<u8>,
    written: usize,
    reading: bool,
    /// It is the daemon that ends the connection, though the peer may still be sending.
    is_refused: bool,
    /// What ends the loop before all is answered.
    turn: Option<Turn>,
}

/// Why a connection goes on.
enum Woken {
    Readable,
    /// There is something to write, or room to write it.
    Again,
    Closing,
}

enum Turn {
    /// The bytes read are HTTP; with a refusal, if the connection is one too many.
    Http(Vec<u8>, Option<Error>),
    /// The peer has said that it leaves.
    Leaves,
}

impl Connection {
    /// From its first byte to its end, whatever it turns out to be.
    async fn live(&mut self) -> io::Result<()> {
        match self.run().await? {
            None => Ok(()),
            Some(Turn::Leaves) => timeout(LINGER, self.leave()).await?,
            Some(Turn::Http(read, refusal)) => {
                match http::serve(&self.stream, read, &self.peer, refusal, &self.closing).await {
                    Ok(Some(read)) => self.websocket(read).await,
                    Ok(None) if self.closing.is_cancelled() => Ok(()),
                    // What it has sent may be more than was read: it is to have its answer nevertheless.
                    ended => timeout(LINGER, self.let_go()).await?.and(ended.map(drop)),
                }
            }
        }
    }

    /// The connection has been upgraded; `read` came after that.
    async fn websocket(&mut self, read: Vec<u8>) -> io::Result<()> {
        self.framing = Framing::WebSocket(Box::new(WebSocket::new(&self.peer, read)));
        self.reading = true;
        self.handle();
        match self.run().await? {
            Some(_) => timeout(LINGER, self.leave()).await?,
            None => Ok(()),
        }
    }

    /// Returns when all is answered that will be asked, or the connection takes another turn.
    async fn run(&mut self) -> io::Result<Option<Turn>> {
        let mut hangup: Option<Pin<Box<dyn Future<Output = ()>>>> = None;
        let asked_to_close = self.closing.clone().cancelled_owned();
        tokio::pin!(asked_to_close);
        let mut is_asked = false;
        // Whether the peer may still want what it did not ask to be answered: subscriptions.
        let mut may_listen = self.reading;
        loop {
            if let Some(turn) = self.turn.take() {
                return Ok(Some(turn));
            }
            self.write()?;
            let unwritten = self.written < self.writing.len();
            if self.framing.has_more() && !self.is_stalled() {
                // Others' come between.
                tokio::task::yield_now().await;
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
            if !self.reading && !self.framing.has_more() && answered && !unwritten && self.peer.outbox.is_empty() {
                if self.framing.say_goodbye(closing) {
                    continue;
                }
                if self.is_refused {
                    timeout(LINGER, self.let_go()).await??;
                }
                return Ok(None);
            }
            if !self.reading && hangup.is_none() {
                hangup = Some(Box::pin(Hangup::of(&*self.stream)?.wait()));
            }
            let woken = poll_fn(|cx| {
                // What is left at the end is no more than a socket holds. It is read also if it can't be handled yet: a peer that
                // waits for room to write would not learn that there will be none.
                if self.reading && (is_asked || !self.is_stalled()) && self.stream.poll_readable(cx)?.is_ready() {
                    return Poll::Ready(Ok(Woken::Readable));
                }
                let has_room = unwritten && self.stream.poll_writable(cx)?.is_ready();
                if has_room || self.peer.outbox.poll_changed(cx).is_ready() {
                    return Poll::Ready(Ok(Woken::Again));
                }
                if let Some(hangup) = &mut hangup
                    && hangup.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe)));
                }
                if !is_asked && asked_to_close.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(Woken::Closing));
                }
                Poll::Pending
            });
            match woken.await? {
                Woken::Readable => {
                    if self.read()? >= CHUNK {
                        // There is most likely more, and others may be waiting: they come between.
                        tokio::task::yield_now().await;
                    }
                }
                Woken::Again => {}
                Woken::Closing => {
                    is_asked = true;
                    if self.reading {
                        self.stream.take_no_more()?;
                    }
                }
            }
        }
    }

    /// Whether nothing more is to be read now: what it is owed does not leave.
    fn is_stalled(&self) -> bool {
        self.peer.is_stalled() || self.framing.is_full()
    }

    /// Reads a chunk, and handles what is whole. Returns how many bytes came.
    fn read(&mut self) -> io::Result<usize> {
        let buf = self.framing.buf();
        buf.reserve(if buf.len() < CHUNK { CHUNK } else { BIG_CHUNK });
        match self.stream.try_read_buf(buf) {
            Ok(0) => {
                self.reading = false;
                if self.framing.has_more() {
                    return Ok(0);
                }
                // What a stopping daemon has not let its peer finish is nobody's mistake.
                let told = Some(&*self.peer).filter(|_| !self.closing.is_cancelled());
                self.framing.end(told);
                Ok(0)
            }
            Ok(read) => {
                clock::tick();
                self.peer.service.backend.came();
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
        match self.framing.handle(&self.peer) {
            Then::GoOn => {}
            Then::Close => {
                self.framing.end(Some(&self.peer));
                self.end_reading();
            }
            Then::Gone => {
                // It wants no answers any more, whether it takes leave or not.
                self.peer.gone();
                self.turn = Some(Turn::Leaves);
            }
            Then::Another(kind) => self.become_another(kind),
        }
    }

    fn become_another(&mut self, kind: Kind) {
        let Framing::Json(values) = &mut self.framing else {
            return;
        };
        let (read, refusal) = values.give_up();
        self.peer.service.metrics.connection(kind);
        if kind == Kind::Http {
            self.turn = Some(Turn::Http(read, refusal));
        } else {
            self.framing = Framing::ContentLength(ContentLength::new(&self.peer, read, refusal));
            self.handle();
        }
    }

    fn end_reading(&mut self) {
        self.reading = false;
        self.is_refused = true;
    }

    /// Writes what is left for a peer that leaves, and lets it go.
    async fn leave(&mut self) -> io::Result<()> {
        loop {
            self.write()?;
            if self.written == self.writing.len() {
                return self.let_go().await;
            }
            self.stream.writable().await?;
        }
    }

    /// Ends a connection so that its peer reads the last line and then the end: to close it with something unread in it
    /// would be a reset.
    async fn let_go(&self) -> io::Result<()> {
        rustix::net::shutdown(&*self.stream, rustix::net::Shutdown::Write)?;
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
        let mut has_written = false;
        loop {
            if self.written == self.writing.len() {
                self.writing.clear();
                self.writing.shrink_to(CHUNK * 4);
                self.written = 0;
                self.framing.take(&self.peer.outbox, &mut self.writing);
                if self.writing.is_empty() {
                    break;
                }
            }
            match self.stream.try_write(&self.writing[self.written..]) {
                Ok(wrote) => {
                    self.written += wrote;
                    has_written = true;
                    self.peer.outbox.set_unwritten(self.writing.len() - self.written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.peer.written();
        if has_written {
            self.peer.service.backend.answered();
        }
        Ok(())
    }
}
