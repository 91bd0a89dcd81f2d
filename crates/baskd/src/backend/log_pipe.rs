//! What Python and its children print, line by line, into the log.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::tag;
use crate::logs::{Caller, Logs};

/// A longer line is broken: tags and all, so that one that never ends is told as it comes.
const MAX_LINE: usize = 8 << 10;
/// How many lines are kept for `BackendCrashed`.
const RECENT: usize = 50;
/// What is read at most once the process is dead: a grandchild may print for ever.
const MAX_DRAIN: usize = 1 << 20;

pub(crate) struct LogPipe {
    inner: Rc<Inner>,
    task: JoinHandle<()>,
}

struct Inner {
    pipe: pipe::Receiver,
    stream: &'static str,
    logs: Rc<Logs>,
    partial: RefCell<Vec<u8>>,
    /// Who has written what has been told of a line that was broken.
    writer: RefCell<Option<Caller>>,
    recent: RefCell<VecDeque<String>>,
}

impl LogPipe {
    /// Reads in a task of its own until it is dropped.
    pub(crate) fn new(pipe: pipe::Receiver, stream: &'static str, logs: Rc<Logs>) -> LogPipe {
        let inner = Rc::new(Inner {
            pipe,
            stream,
            logs,
            partial: RefCell::default(),
            writer: RefCell::default(),
            recent: RefCell::default(),
        });
        let reader = inner.clone();
        let task = tokio::task::spawn_local(async move {
            let mut chunk = vec![0; MAX_LINE];
            while reader.pipe.readable().await.is_ok() {
                match reader.pipe.try_read(&mut chunk) {
                    Ok(0) => return,
                    Ok(read) => reader.take(&chunk[..read]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        });
        LogPipe { inner, task }
    }

    /// The last lines so far.
    pub(crate) fn recent(&self) -> Vec<String> {
        self.inner.recent.borrow().iter().cloned().collect()
    }

    /// Reads what is still in the pipe of a dead process.
    pub(crate) fn drain(&self) {
        let mut chunk = vec![0; MAX_LINE];
        let mut drained = 0;
        // Past tokio, which may not have heard yet of what came last.
        while let Ok(read) = rustix::io::read(self.inner.pipe.as_fd(), &mut chunk) {
            self.inner.take(&chunk[..read]);
            drained += read;
            if read == 0 || drained > MAX_DRAIN {
                break;
            }
        }
        self.inner.end_line();
    }
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    fn take(&self, mut bytes: &[u8]) {
        let mut partial = self.partial.borrow_mut();
        while let Some(newline) = memchr::memchr(b'\n', bytes) {
            partial.extend_from_slice(&bytes[..newline]);
            self.shorten(&mut partial);
            self.line(&partial, true);
            partial.clear();
            bytes = &bytes[newline + 1..];
        }
        partial.extend_from_slice(bytes);
        self.shorten(&mut partial);
    }

    /// Tells what has come of a line that is too long.
    fn shorten(&self, partial: &mut Vec<u8>) {
        while partial.len() > MAX_LINE {
            let broken = tag::break_at(partial, MAX_LINE);
            self.line(&partial[..broken], false);
            partial.drain(..broken);
        }
    }

    fn end_line(&self) {
        let partial = self.partial.take();
        if !partial.is_empty() {
            self.line(&partial, true);
        }
    }

    /// Tells a line, or what has come of one that is broken.
    fn line(&self, line: &[u8], is_ended: bool) {
        let parts = tag::parts(line, self.writer.take());
        if !is_ended {
            *self.writer.borrow_mut() = parts.last().and_then(|part| part.about.clone());
        }
        for part in parts {
            let text = String::from_utf8_lossy(&part.text);
            let text = text.trim_end_matches('\r');
            self.logs.python(self.stream, part.about, text);
            let mut recent = self.recent.borrow_mut();
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    /// What of these chunks becomes lines.
    async fn told(chunks: &[&[u8]]) -> (Vec<(Option<u64>, String)>, Vec<String>) {
        let logs = Rc::new(Logs::new(1000));
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        let write: OwnedFd = write;
        let pipe = LogPipe::new(pipe::Receiver::from_owned_fd(read).unwrap(), "stdout", logs.clone());
        for chunk in chunks {
            pipe.inner.take(chunk);
        }
        drop(write);
        pipe.drain();
        let (first, next) = logs.last(1000);
        let lines = (first..next).map(|number| logs.kept(number).unwrap());
        let lines = lines.map(|line| (line.about.as_ref().map(|about| about.call), line.line.clone()));
        (lines.collect(), pipe.recent())
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    const TAG: &[u8] = b"\x1b_baskd;229381;a\x1b\\";

    #[test]
    fn lines_in_any_split() {
        run(async {
            let said = [
                b"before\n".as_slice(),
                TAG,
                b"of it\r\n",
                TAG,
                b"more",
                TAG,
                b" of it\nafter",
            ]
            .concat();
            let wanted = [
                (None, "before".to_owned()),
                (Some(7), "of it".to_owned()),
                (Some(7), "more of it".to_owned()),
                (None, "after".to_owned()),
            ];
            for at in 0..said.len() {
                let (lines, recent) = told(&[&said[..at], &said[at..]]).await;
                assert_eq!(lines, wanted, "{at}");
                assert_eq!(recent, ["before", "of it", "more of it", "after"]);
            }
        });
    }

    #[test]
    fn a_line_that_is_broken_is_still_its_calls() {
        run(async {
            let long = [TAG, &b"x".repeat(3 * MAX_LINE), b"\nnobody's\n"].concat();
            let (lines, _) = told(&long.chunks(1000).collect::<Vec<_>>()).await;
            assert_eq!(lines.len(), 5);
            assert!(
                lines[..4]
                    .iter()
                    .all(|(call, text)| *call == Some(7) && text.starts_with('x'))
            );
            assert_eq!(
                lines.iter().map(|(_, text)| text.len()).sum::<usize>(),
                3 * MAX_LINE + 8
            );
            assert_eq!(lines[4], (None, "nobody's".to_owned()));
        });
    }
}
