//! After a read that filled less than its buffer, a stream is empty, and nobody has to read again to learn that.
//!
//! tokio learns it by a read that fails. What comes after our read is a new edge for epoll, so that the readiness may be
//! forgotten at once: one system call less for each message of a client that waits for its answers.

use std::io;

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

pub(crate) trait Drained {
    /// Forgets that there is something to read. To be called right after a read that did not fill its buffer.
    fn drained(&self);
}

fn nothing<T>() -> io::Result<T> {
    Err(io::ErrorKind::WouldBlock.into())
}

impl Drained for UnixStream {
    fn drained(&self) {
        let _: io::Result<()> = self.try_io(Interest::READABLE, nothing);
    }
}

impl Drained for pipe::Receiver {
    fn drained(&self) {
        let _: io::Result<()> = self.try_io(nothing);
    }
}
