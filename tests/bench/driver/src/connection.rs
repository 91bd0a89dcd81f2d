//! One connection, with blocking reads and writes and a buffer of what was read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Where a server listens: `unix:PATH` or `tcp:HOST:PORT`.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Unix(String),
    Tcp(String),
}

impl FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Address> {
        match text.split_once(':') {
            Some(("unix", path)) => Ok(Address::Unix(path.to_owned())),
            Some(("tcp", place)) => Ok(Address::Tcp(place.to_owned())),
            _ => bail!("an address is unix:PATH or tcp:HOST:PORT, not {text}"),
        }
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const CHUNK: usize = 1 << 18;

pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
    /// What of the buffer has been used, and what of it is filled.
    start: usize,
    end: usize,
}

impl Connection {
    pub(crate) fn open(to: &Address) -> Result<Connection> {
        let stream = match to {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).with_context(|| format!("connecting to {path}"))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Stream::Unix(stream)
            }
            Address::Tcp(place) => {
                let stream = TcpStream::connect(place).with_context(|| format!("connecting to {place}"))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Stream::Tcp(stream)
            }
        };
        Ok(Connection {
            stream,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.write_all(bytes)?,
            Stream::Tcp(stream) => stream.write_all(bytes)?,
        }
        Ok(())
    }

    /// What has been read and not yet used.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, length: usize) {
        self.start += length;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Waits for more bytes.
    pub(crate) fn read(&mut self) -> Result<()> {
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        let space = &mut self.buffer[self.end..];
        let read = match &mut self.stream {
            Stream::Unix(stream) => stream.read(space),
            Stream::Tcp(stream) => stream.read(space),
        };
        match read {
            Ok(0) => bail!("the server closed the connection"),
            Ok(length) => self.end += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                bail!("the server has said nothing for {} s", PATIENCE.as_secs())
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }
}
