//! Log lines: Python's output and the daemon's own notes, for the terminal or journal and for those who subscribe.

use std::cell::RefCell;
use std::time::SystemTime;

/// A line, as subscribers get it.
pub struct LogLine<'a> {
    pub time: SystemTime,
    pub level: &'static str,
    /// `stdout` or `stderr` (Python's), or `daemon`.
    pub stream: &'static str,
    pub line: &'a str,
}

/// Takes lines until it returns false.
type Listener = Box<dyn FnMut(&LogLine<'_>) -> bool>;

#[derive(Default)]
pub struct Logs {
    listeners: RefCell<Vec<Listener>>,
}

impl Logs {
    /// A line that Python printed.
    pub fn python(&self, stream: &'static str, line: &str) {
        tracing::info!(target: "python", stream, "{line}");
        self.tell("info", stream, line);
    }

    /// Something a user of the daemon may want to know.
    pub fn info(&self, line: &str) {
        tracing::info!(target: "baskd", "{line}");
        self.tell("info", "daemon", line);
    }

    /// Something is wrong.
    pub fn warn(&self, line: &str) {
        tracing::warn!(target: "baskd", "{line}");
        self.tell("warn", "daemon", line);
    }

    pub fn listen(&self, listener: Listener) {
        self.listeners.borrow_mut().push(listener);
    }

    fn tell(&self, level: &'static str, stream: &'static str, line: &str) {
        let mut listeners = self.listeners.borrow_mut();
        if !listeners.is_empty() {
            let line = LogLine {
                time: SystemTime::now(),
                level,
                stream,
                line,
            };
            listeners.retain_mut(|listener| listener(&line));
        }
    }
}
