//! A connection's socket, of which the kernel tells only what is waited for.
//!
//! tokio's `UnixStream` asks to be told of reading and writing alike. A peer that reads an answer makes room, which then
//! wakes the daemon for nothing, once for each answer: a quarter of what a call costs a daemon that has nothing else to
//! do. Here room is asked for only when there was none.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) struct Socket {
    reader: AsyncFd<UnixStream>,
    /// A second registration, while there is no room: of another descriptor, since the first one's interest is fixed.
    writer: RefCell<Option<Rc<AsyncFd<OwnedFd>>>>,
}

impl Socket {
    pub(crate) fn new(accepted: tokio::net::UnixStream) -> io::Result<Socket> {
        let socket = accepted.into_std()?;
        Ok(Socket {
            // SAFETY: an owned descriptor, closed by nobody but this AsyncFd.
            reader: unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?,
            writer: RefCell::default(),
        })
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        // What is dropped here is not readiness, but the chance to clear it.
        self.reader.readable().await.map(drop)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.reader.poll_read_ready(cx).map_ok(drop)
    }

    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.read(|socket| Ok(rustix::io::read(socket, into)?))
    }

    /// Appends what the spare capacity holds.
    pub(crate) fn try_read_buf(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        self.read(|socket| Ok(rustix::io::read(socket, rustix::buffer::spare_capacity(into))?))
    }

    fn read<T>(&self, read: impl FnOnce(&UnixStream) -> io::Result<T>) -> io::Result<T> {
        self.reader.try_io(Interest::READABLE, read)
    }

    /// Forgets that there is something to read. To be called right after a read that did not fill its buffer: what comes
    /// later is a new edge for epoll, and a read that fails is saved.
    pub(crate) fn drained(&self) {
        let _: io::Result<()> = self.read(|_| Err(io::ErrorKind::WouldBlock.into()));
    }

    /// Has the peer's writes fail from here on, so that it knows of each message whether it has left it. What has come
    /// before can be read, and then the end.
    pub(crate) fn take_no_more(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self, rustix::net::Shutdown::Read)?)
    }

    /// Returns when there is room again; at once, unless a write has found none.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        let writer = self.writer.borrow().clone();
        match writer {
            Some(writer) => writer.writable().await.map(drop),
            None => Ok(()),
        }
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &*self.writer.borrow() {
            Some(writer) => writer.poll_write_ready(cx).map_ok(drop),
            None => Poll::Ready(Ok(())),
        }
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let wrote = send(self, bytes, flags).map_err(io::Error::from);
        self.wrote(wrote, bytes.len())
    }

    pub(crate) fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let wrote = rustix::io::writev(self, parts).map_err(io::Error::from);
        self.wrote(wrote, parts.iter().map(|part| part.len()).sum())
    }

    fn wrote(&self, wrote: io::Result<usize>, all: usize) -> io::Result<usize> {
        match &wrote {
            Ok(count) if *count == all => drop(self.writer.take()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room()?,
            _ => {}
        }
        wrote
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let mut writer = self.writer.borrow_mut();
        if let Some(writer) = &*writer {
            let _: io::Result<()> = writer.try_io(Interest::WRITABLE, |_| Err(io::ErrorKind::WouldBlock.into()));
        } else {
            let another = self.as_fd().try_clone_to_owned()?;
            // SAFETY: an owned descriptor, closed by nobody but this AsyncFd.
            let another = unsafe { AsyncFd::register_with_interest(another, Interest::WRITABLE) }?;
            *writer = Some(Rc::new(another));
        }
        Ok(())
    }

    /// Does as much as `io` can, waiting by `poll` where it would block.
    pub(crate) fn poll_io<T>(
        &self,
        cx: &mut Context<'_>,
        poll: fn(&Socket, &mut Context<'_>) -> Poll<io::Result<()>>,
        mut io: impl FnMut(&Socket) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(poll(self, cx))?;
            match io(self) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn pair() -> (Socket, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        (Socket::new(ours).unwrap(), theirs)
    }

    #[tokio::test]
    async fn what_comes_after_it_was_drained_is_told() {
        let (socket, mut peer) = pair();
        let mut buffer = Vec::with_capacity(100);
        for n in 1..=3 {
            peer.write_all(b"x").unwrap();
            socket.readable().await.unwrap();
            assert_eq!(socket.try_read_buf(&mut buffer).unwrap(), 1);
            assert_eq!(buffer.len(), n);
            if n == 2 {
                // Even what has come before it was forgotten: nobody has looked meanwhile.
                peer.write_all(b"y").unwrap();
                socket.drained();
                socket.readable().await.unwrap();
                assert_eq!(socket.try_read(&mut [0; 10]).unwrap(), 1);
            }
            socket.drained();
        }
        drop(peer);
        socket.readable().await.unwrap();
        assert_eq!(socket.try_read(&mut [0; 10]).unwrap(), 0);
    }

    #[tokio::test]
    async fn room_is_asked_for_only_when_there_is_none() {
        let (socket, mut peer) = pair();
        socket.writable().await.unwrap();
        for _ in 0..2 {
            let mut wrote = 0;
            let full = loop {
                match socket.try_write(&[0; 4096]) {
                    Ok(count) => wrote += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
            assert!(socket.writer.borrow().is_some());
            peer.read_exact(&mut vec![0; wrote]).unwrap();
            socket.writable().await.unwrap();
            assert_eq!(socket.try_write(b"x").unwrap(), 1);
            assert!(socket.writer.borrow().is_none());
            peer.read_exact(&mut [0]).unwrap();
        }
        drop(peer);
        assert_eq!(socket.try_write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
