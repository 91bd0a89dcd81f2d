//! One JSON value a line over a Unix socket, as the transport of jsonrpsee's client.

use std::io;
use std::sync::Arc;

use jsonrpsee::core::client::{ReceivedMessage, TransportReceiverT, TransportSenderT};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::line::leading_id;
use crate::link::Link;

const READ_AT_ONCE: usize = 64 * 1024;

pub(crate) fn split(stream: UnixStream) -> (Sender, Receiver, Arc<Link>) {
    let (read, write) = stream.into_split();
    let link = Arc::new(Link::default());
    let sender = Sender {
        write,
        link: link.clone(),
    };
    let receiver = Receiver {
        read: BufReader::with_capacity(READ_AT_ONCE, read),
        line: Vec::new(),
        link: link.clone(),
    };
    (sender, receiver, link)
}

#[derive(Debug)]
pub(crate) struct Sender {
    write: OwnedWriteHalf,
    link: Arc<Link>,
}

impl TransportSenderT for Sender {
    type Error = io::Error;

    async fn send(&mut self, mut message: String) -> io::Result<()> {
        let id = leading_id(message.as_bytes()).flatten();
        message.push('\n');
        if let Some(id) = id {
            self.link.sending(id);
        }
        let written = match self.write.write(message.as_bytes()).await {
            Ok(length) => self.write.write_all(&message.as_bytes()[length..]).await,
            Err(error) => {
                if let Some(id) = id {
                    self.link.not_sent(id);
                }
                Err(error)
            }
        };
        if let Err(error) = written {
            // A daemon that stops takes no more, but has answers to give: the connection ends when these are read, by
            // which those learn it who wait for others.
            tracing::debug!(%error, "the daemon takes no more");
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    read: BufReader<OwnedReadHalf>,
    /// The line so far. It outlives a dropped `receive`, so that no byte is lost with it.
    line: Vec<u8>,
    link: Arc<Link>,
}

impl TransportReceiverT for Receiver {
    type Error = io::Error;

    async fn receive(&mut self) -> io::Result<ReceivedMessage> {
        loop {
            let read = self.read.read_until(b'\n', &mut self.line).await;
            if read.is_err() || self.line.last() != Some(&b'\n') {
                self.link.ended();
                return Err(read.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
            }
            if self.link.read(&self.line) {
                return Ok(ReceivedMessage::Bytes(std::mem::take(&mut self.line)));
            }
            self.line.clear();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.link.close();
    }
}
