//! Log lines: Python's output and the daemon's own notes, for the terminal or journal, for those who subscribe, and the
//! last of them for those who come later.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::size_of;
use std::rc::Rc;
use std::time::SystemTime;

use tracing::Level;

/// How many bytes of lines are kept, at most, however many lines that is.
const KEPT_BYTES: usize = 1 << 20;

/// How the log is written to stderr, or past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// As suits what stderr is.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// One object a line.
    Json,
    /// To journald, in fields.
    Journal,
}

/// A line, as subscribers get it.
#[derive(Debug)]
pub struct LogLine {
    pub time: SystemTime,
    pub level: &'static str,
    /// `stdout` or `stderr` (Python's), or `daemon`.
    pub stream: &'static str,
    pub about: Option<Caller>,
    pub line: String,
}

/// The call that a line is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The daemon's number of it.
    pub call: u64,
    pub method: String,
}

/// Takes lines until it returns false.
type Listener = Box<dyn FnMut(&LogLine) -> bool>;

#[derive(Default)]
pub struct Logs {
    listeners: RefCell<Vec<Listener>>,
    kept: RefCell<Kept>,
}

/// The last lines, numbered from the first one that ever was.
#[derive(Default)]
struct Kept {
    lines: VecDeque<Rc<LogLine>>,
    most: usize,
    bytes: usize,
    /// The number of the first of `lines`.
    first: u64,
}

impl Logs {
    /// Keeps up to so many lines.
    pub fn new(most: usize) -> Logs {
        let logs = Logs::default();
        logs.kept.borrow_mut().most = most;
        logs
    }

    /// A line that Python printed, and the call that did, if that is known.
    pub fn python(&self, stream: &'static str, about: Option<Caller>, line: &str) {
        let (call, method) = parts(about.as_ref());
        tracing::info!(target: "python", stream, call, method, "{line}");
        self.tell(Level::INFO, stream, about, line);
    }

    /// Something a user of the daemon may want to know.
    pub fn info(&self, line: &str) {
        tracing::info!(target: "baskd", "{line}");
        self.tell(Level::INFO, "daemon", None, line);
    }

    /// Something is wrong.
    pub fn warn(&self, line: &str) {
        self.warn_about(None, line);
    }

    /// Something is wrong with a call.
    pub fn warn_about(&self, about: Option<Caller>, line: &str) {
        let (call, method) = parts(about.as_ref());
        tracing::warn!(target: "baskd", call, method, "{line}");
        self.tell(Level::WARN, "daemon", about, line);
    }

    pub fn listen(&self, listener: Listener) {
        self.listeners.borrow_mut().push(listener);
    }

    /// The numbers of the last lines, as many as are kept of so many, and of the line that comes next.
    pub(crate) fn last(&self, lines: u64) -> (u64, u64) {
        let kept = self.kept.borrow();
        let next = kept.first + kept.lines.len() as u64;
        (next.saturating_sub(lines).max(kept.first), next)
    }

    /// The line of that number; or if it is not kept any more, the number of the first one that is.
    pub(crate) fn kept(&self, number: u64) -> Result<Rc<LogLine>, u64> {
        let kept = self.kept.borrow();
        let place = number
            .checked_sub(kept.first)
            .and_then(|place| usize::try_from(place).ok());
        let next = kept.first + kept.lines.len() as u64;
        match place.and_then(|place| kept.lines.get(place)) {
            Some(line) => Ok(line.clone()),
            None => Err(if number < kept.first { kept.first } else { next }),
        }
    }

    fn tell(&self, level: Level, stream: &'static str, about: Option<Caller>, line: &str) {
        let line = Rc::new(LogLine {
            time: SystemTime::now(),
            level: if level == Level::WARN { "warn" } else { "info" },
            stream,
            about,
            line: line.to_owned(),
        });
        self.listeners.borrow_mut().retain_mut(|listener| listener(&line));
        self.kept.borrow_mut().push(line);
    }
}

impl Kept {
    fn push(&mut self, line: Rc<LogLine>) {
        self.bytes += line.size();
        self.lines.push_back(line);
        while self.lines.len() > self.most || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.size();
            self.first += 1;
        }
    }
}

impl LogLine {
    /// What it takes to keep it, but for what the allocator adds.
    fn size(&self) -> usize {
        let method = self.about.as_ref().map_or(0, |about| about.method.len());
        size_of::<LogLine>() + self.line.len() + method
    }
}

fn parts(about: Option<&Caller>) -> (Option<u64>, Option<&str>) {
    (about.map(|about| about.call), about.map(|about| about.method.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(logs: &Logs, lines: u64) -> Vec<String> {
        let (first, next) = logs.last(lines);
        (first..next)
            .map(|number| logs.kept(number).unwrap().line.clone())
            .collect()
    }

    #[test]
    fn the_last_lines_are_kept() {
        let logs = Logs::new(3);
        assert_eq!(texts(&logs, 10), [""; 0]);
        for line in ["a", "b", "c", "d", "e"] {
            logs.info(line);
        }
        assert_eq!(texts(&logs, 10), ["c", "d", "e"]);
        assert_eq!(texts(&logs, 2), ["d", "e"]);
        assert_eq!(texts(&logs, 0), [""; 0]);
        assert_eq!(logs.kept(1).unwrap_err(), 2);
        assert_eq!(logs.kept(5).unwrap_err(), 5);
    }

    #[test]
    fn none_are_kept_where_none_are_to_be() {
        let logs = Logs::new(0);
        logs.info("a");
        assert_eq!(logs.last(10), (1, 1));
    }

    #[test]
    fn long_ones_are_fewer() {
        let logs = Logs::new(1000);
        let line = "x".repeat(8 << 10);
        for _ in 0..1000 {
            logs.python("stdout", None, &line);
        }
        let kept = logs.kept.borrow();
        assert!(
            kept.bytes <= KEPT_BYTES && kept.lines.len() > 100,
            "{}",
            kept.lines.len()
        );
        assert_eq!(kept.first + kept.lines.len() as u64, 1000);
    }

    #[test]
    fn a_call_is_told_with_its_line() {
        let logs = Logs::new(1);
        let about = Caller {
            call: 7,
            method: "search".to_owned(),
        };
        logs.python("stderr", Some(about.clone()), "hello");
        let line = logs.kept(0).unwrap();
        assert_eq!(
            (line.stream, line.level, line.about.as_ref()),
            ("stderr", "info", Some(&about))
        );
    }
}
