//! A daemon that does nothing: lines from a socket to a command's stdin, and back. What it costs is what a process in
//! the middle costs, whatever it is made of.
//!
//! Which connection an answer is for is told by the order of the calls. With one connection not even that is looked at.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use memchr::{memchr, memchr_iter, memrchr};
use rustix::event::epoll;
use rustix::pipe::fcntl_setpipe_size;

const CHUNK: usize = 1 << 18;
/// As large as an unprivileged process may make a pipe.
const PIPE: usize = 1 << 20;
const LISTENER: u64 = u64::MAX;
const ANSWERS: u64 = u64::MAX - 1;

struct Peer {
    stream: UnixStream,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
}

pub(crate) fn run(listen: &Path, command: &[String]) -> Result<()> {
    let listener = UnixListener::bind(listen).with_context(|| format!("binding {}", listen.display()))?;
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command[0]))?;
    let calls = File::from(std::os::fd::OwnedFd::from(child.stdin.take().context("no stdin")?));
    let answers = File::from(std::os::fd::OwnedFd::from(child.stdout.take().context("no stdout")?));
    for pipe in [&calls, &answers] {
        // Smaller ones do as well, a little slower.
        let _ = fcntl_setpipe_size(pipe, PIPE);
    }
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    watch(&poll, &listener, LISTENER)?;
    watch(&poll, &answers, ANSWERS)?;
    Relay {
        poll,
        listener,
        calls,
        answers,
        peers: Vec::new(),
        open: 0,
        order: VecDeque::new(),
        rest: Vec::new(),
    }
    .serve()
}

fn watch(poll: &impl AsFd, what: &impl AsFd, name: u64) -> Result<()> {
    epoll::add(poll, what, epoll::EventData::new_u64(name), epoll::EventFlags::IN)?;
    Ok(())
}

struct Relay<Poll: AsFd> {
    poll: Poll,
    listener: UnixListener,
    calls: File,
    answers: File,
    peers: Vec<Option<Peer>>,
    open: usize,
    /// Whose answers come next.
    order: VecDeque<usize>,
    /// The beginning of an answer whose end has not come.
    rest: Vec<u8>,
}

impl<Poll: AsFd> Relay<Poll> {
    fn serve(mut self) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    ANSWERS => {
                        let length = self.answers.read(&mut buffer)?;
                        if length == 0 {
                            return Ok(()); // The command has ended.
                        }
                        self.answered(&buffer[..length]);
                    }
                    place => self.called(place as usize, &mut buffer)?,
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        let (stream, _) = self.listener.accept()?;
        watch(&self.poll, &stream, self.peers.len() as u64)?;
        self.peers.push(Some(Peer {
            stream,
            rest: Vec::new(),
        }));
        self.open += 1;
        Ok(())
    }

    fn called(&mut self, place: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(peer) = &mut self.peers[place] else {
            return Ok(());
        };
        let length = peer.stream.read(buffer).unwrap_or(0);
        if length == 0 {
            self.peers[place] = None;
            self.open -= 1;
            return Ok(());
        }
        let read = &buffer[..length];
        if self.open == 1 && self.order.is_empty() {
            self.calls.write_all(read)?;
            return Ok(());
        }
        let Some(end) = memrchr(b'\n', read) else {
            peer.rest.extend_from_slice(read);
            return Ok(());
        };
        self.order.extend(memchr_iter(b'\n', read).map(|_| place));
        if peer.rest.is_empty() {
            self.calls.write_all(&read[..=end])?;
        } else {
            peer.rest.extend_from_slice(&read[..=end]);
            self.calls.write_all(&peer.rest)?;
            peer.rest.clear();
        }
        peer.rest.extend_from_slice(&read[end + 1..]);
        Ok(())
    }

    /// A client that is gone misses its answers.
    fn answered(&mut self, mut read: &[u8]) {
        if self.open == 1 && self.order.is_empty() && self.rest.is_empty() {
            if let Some(peer) = self.peers.iter_mut().flatten().next() {
                let _ = peer.stream.write_all(read);
            }
            return;
        }
        while let Some(end) = memchr(b'\n', read) {
            let (line, after) = read.split_at(end + 1);
            let place = self.order.pop_front();
            if let Some(peer) = place.and_then(|place| self.peers[place].as_mut()) {
                let whole = if self.rest.is_empty() {
                    line
                } else {
                    &[&self.rest[..], line].concat()
                };
                let _ = peer.stream.write_all(whole);
            }
            self.rest.clear();
            read = after;
        }
        self.rest.extend_from_slice(read);
    }
}
