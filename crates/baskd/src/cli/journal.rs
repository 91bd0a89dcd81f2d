//! The log as journald wants it: in fields, past stderr.
//!
//! tracing-journald sends each event at once, and waits where journald does not take it. So that is done in a thread: the
//! daemon's own only puts what was said into a queue, which has a limit in bytes and in lines. Lines beyond it are
//! dropped, and their number is said once there is room again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use tracing::dispatcher::{self, Dispatch};
use tracing::{Level, event};
use tracing_journald::{Layer, Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry;

use super::log::Flush;
use super::log_format::Said;

const MAX_BYTES: usize = 16 << 20;
const MAX_LINES: usize = 32 << 10;
/// How long journald may take to show that it is there. One that is stuck is there.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// Where the log's lines go.
pub(crate) struct Journal {
    queue: Sender<Message>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    lines: AtomicUsize,
    dropped: AtomicUsize,
}

enum Message {
    Line(Level, Said),
    /// To be told when all before it was written.
    Flush(Sender<()>),
}

/// Starts the thread, if there is a journal.
pub(crate) fn open(instance: &str) -> io::Result<(Journal, Flush)> {
    let instance = instance.to_owned();
    start(move || {
        let layer = Layer::new()?
            .with_field_prefix(None)
            .with_syslog_identifier(identifier(&instance))
            .with_custom_fields([("INSTANCE", instance.as_str())])
            .with_priority_mappings(PriorityMappings {
                error: Priority::Error,
                warn: Priority::Warning,
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            });
        let journal = Dispatch::new(registry().with(layer));
        Ok(move |level, said: &Said| dispatcher::with_default(&journal, || send(level, said)))
    })
}

fn identifier(instance: &str) -> String {
    match instance {
        "default" => "baskd".to_owned(),
        name => format!("baskd@{name}"),
    }
}

/// Gives it to journald, by way of whoever listens to this thread's events.
fn send(level: Level, said: &Said) {
    let Said {
        message,
        stream,
        call,
        method,
    } = said;
    let (stream, method) = (stream.as_str(), method.as_deref());
    // An event's level is a part of the program.
    match level {
        Level::ERROR => event!(Level::ERROR, stream, call, method, "{message}"),
        Level::WARN => event!(Level::WARN, stream, call, method, "{message}"),
        Level::INFO => event!(Level::INFO, stream, call, method, "{message}"),
        Level::DEBUG => event!(Level::DEBUG, stream, call, method, "{message}"),
        _ => event!(Level::TRACE, stream, call, method, "{message}"),
    }
}

/// `open` is called in the thread, and gives what writes a line.
fn start<W: FnMut(Level, &Said)>(
    open: impl FnOnce() -> io::Result<W> + Send + 'static,
) -> io::Result<(Journal, Flush)> {
    let waiting = Arc::<Waiting>::default();
    let (queue, lines) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    thread::Builder::new().name("journal".to_owned()).spawn({
        let waiting = waiting.clone();
        move || match open() {
            Ok(write) => {
                // Whoever waited may have lost his patience.
                let _ = tell.send(Ok(()));
                work(&lines, &waiting, write);
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    })?;
    if let Ok(Err(error)) = told.recv_timeout(FIRST_WORD) {
        return Err(error);
    }
    let flush = Flush::asking({
        let queue = queue.clone();
        move |done| {
            // A thread that is gone has nothing left to write.
            let _ = queue.send(Message::Flush(done));
        }
    });
    Ok((Journal { queue, waiting }, flush))
}

fn work(lines: &Receiver<Message>, waiting: &Waiting, mut write: impl FnMut(Level, &Said)) {
    for message in lines {
        match message {
            Message::Line(level, said) => {
                write(level, &said);
                waiting.bytes.fetch_sub(size(&said), Ordering::Relaxed);
                waiting.lines.fetch_sub(1, Ordering::Relaxed);
            }
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

fn size(said: &Said) -> usize {
    size_of::<Message>() + said.message.len() + said.stream.len() + said.method.as_ref().map_or(0, String::len)
}

impl Journal {
    /// Takes a line, unless too much waits.
    pub(crate) fn push(&self, level: Level, said: Said) {
        let Waiting { bytes, lines, dropped } = &*self.waiting;
        let is_full =
            bytes.load(Ordering::Relaxed) + size(&said) > MAX_BYTES || lines.load(Ordering::Relaxed) >= MAX_LINES;
        if is_full {
            dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let told = Said {
                message: format!("({lost} lines of the log were dropped: the journal did not take them)"),
                stream: "daemon".to_owned(),
                ..Said::default()
            };
            self.put(Level::WARN, told);
        }
        self.put(level, said);
    }

    fn put(&self, level: Level, said: Said) {
        self.waiting.bytes.fetch_add(size(&said), Ordering::Relaxed);
        self.waiting.lines.fetch_add(1, Ordering::Relaxed);
        // The thread ends with the process.
        let _ = self.queue.send(Message::Line(level, said));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn said(message: &str) -> Said {
        Said {
            message: message.to_owned(),
            stream: "stdout".to_owned(),
            call: Some(7),
            method: Some("search".to_owned()),
        }
    }

    #[test]
    fn a_stuck_journal_costs_lines_and_they_are_counted() {
        let gate = Arc::<Mutex<()>>::default();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let closed = gate.lock().unwrap();
        let (journal, flush) = start({
            let (gate, seen) = (gate.clone(), seen.clone());
            move || {
                Ok(move |_: Level, said: &Said| {
                    let _open = gate.lock().unwrap();
                    seen.lock().unwrap().push(said.message.clone());
                })
            }
        })
        .unwrap();
        let long = said(&"x".repeat(8192));
        for _ in 0..10_000 {
            journal.push(Level::INFO, long.clone());
        }
        let kept = MAX_BYTES / size(&long);
        assert_eq!(journal.waiting.dropped.load(Ordering::Relaxed), 10_000 - kept);
        drop(closed);
        while journal.waiting.lines.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        journal.push(Level::INFO, said("after"));
        flush.now();
        let seen = seen.lock().unwrap();
        let dropped = format!(
            "({} lines of the log were dropped: the journal did not take them)",
            10_000 - kept
        );
        assert_eq!(seen[kept..], [dropped, "after".to_owned()]);
    }

    #[test]
    fn where_there_is_no_journal_it_is_said() {
        let refused = start(|| Err::<fn(Level, &Said), _>(io::ErrorKind::NotFound.into()));
        assert_eq!(refused.map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn one_is_named_as_its_unit_is() {
        assert_eq!(identifier("default"), "baskd");
        assert_eq!(identifier("chat"), "baskd@chat");
    }
}
