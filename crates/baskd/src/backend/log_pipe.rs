//! What Python and its children print, line by line, into the log.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use crate::logs::Logs;

/// A longer line is broken.
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
        while let Some(newline) = memchr::memchr(b'\n', bytes) {
            self.partial.borrow_mut().extend_from_slice(&bytes[..newline]);
            self.line();
            bytes = &bytes[newline + 1..];
        }
        let mut partial = self.partial.borrow_mut();
        partial.extend_from_slice(bytes);
        if partial.len() >= MAX_LINE {
            drop(partial);
            self.line();
        }
    }

    fn end_line(&self) {
        if !self.partial.borrow().is_empty() {
            self.line();
        }
    }

    fn line(&self) {
        let line = std::mem::take(&mut *self.partial.borrow_mut());
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\r');
        self.logs.python(self.stream, text);
        let mut recent = self.recent.borrow_mut();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(text.to_owned());
    }
}
