//! The daemon's log on stderr, written by a thread, so that a terminal or pipe that is stuck holds up no call.
//!
//! What waits to be written has a limit in bytes and in lines. Lines beyond it are dropped, and their number is said once
//! there is room again.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

const MAX_BYTES: usize = 16 << 20;
const MAX_LINES: usize = 32 << 10;
/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Where the log's lines go.
#[derive(Clone)]
pub(crate) struct Log {
    queue: NonBlocking,
    waiting: Arc<Waiting>,
}

/// Writes what is left, when it is asked to.
pub(crate) struct Flush(Box<dyn FnOnce(mpsc::Sender<()>) + Send>);

#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    lines: AtomicUsize,
    dropped: AtomicUsize,
}

/// Writes in the thread, and takes off what it has written.
struct Out<W> {
    to: W,
    waiting: Arc<Waiting>,
}

impl Log {
    /// Starts the thread.
    pub(crate) fn to(to: impl Write + Send + 'static) -> (Log, Flush) {
        let waiting = Arc::<Waiting>::default();
        let out = Out {
            to,
            waiting: waiting.clone(),
        };
        // One more than ever is in it, so that it never drops a line by itself.
        let (queue, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(MAX_LINES + 2)
            .finish(out);
        (Log { queue, waiting }, Flush::dropping(guard))
    }

    fn push(&mut self, line: &[u8]) {
        self.waiting.bytes.fetch_add(line.len(), Ordering::Relaxed);
        self.waiting.lines.fetch_add(1, Ordering::Relaxed);
        // The queue takes it, or nobody is there to write it any more.
        let _ = self.queue.write_all(line);
    }
}

impl Write for Log {
    /// A whole line, always taken.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Waiting { bytes, lines, dropped } = &*self.waiting;
        if bytes.load(Ordering::Relaxed) + line.len() > MAX_BYTES || lines.load(Ordering::Relaxed) >= MAX_LINES {
            dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            let lost = dropped.swap(0, Ordering::Relaxed);
            if lost > 0 {
                self.push(format!("({lost} lines of the log were dropped: nobody read them)\n").as_bytes());
            }
            self.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.clone()
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.to.write_all(line);
        self.waiting.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        self.waiting.lines.fetch_sub(1, Ordering::Relaxed);
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Flush {
    /// `ask` has the sender told when nothing is left. It must not wait for that itself.
    pub(crate) fn asking(ask: impl FnOnce(mpsc::Sender<()>) + Send + 'static) -> Flush {
        Flush(Box::new(ask))
    }

    fn dropping(guard: WorkerGuard) -> Flush {
        Flush::asking(|done| {
            thread::spawn(move || {
                drop(guard);
                // Nobody may be waiting any more.
                let _ = done.send(());
            });
        })
    }

    /// Writes what is left of the log, unless nobody takes it.
    pub(crate) fn now(self) {
        let (done, written) = mpsc::channel();
        (self.0)(done);
        // If it is not written by now, it goes with the process.
        let _ = written.recv_timeout(LAST_LINES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Takes nothing before it is let.
    #[derive(Clone)]
    struct Stuck {
        gate: Arc<Mutex<()>>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.seen.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_they_are_counted() {
        let stuck = Stuck {
            gate: Arc::default(),
            seen: Arc::default(),
        };
        let closed = stuck.gate.lock().unwrap();
        let (mut log, flush) = Log::to(stuck.clone());
        let line = [&[b'x'; 8191][..], b"\n"].concat();
        for _ in 0..10_000 {
            log.write_all(&line).unwrap();
        }
        let kept = MAX_BYTES / line.len();
        assert_eq!(log.waiting.dropped.load(Ordering::Relaxed), 10_000 - kept);
        drop(closed);
        while log.waiting.lines.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        log.write_all(b"after\n").unwrap();
        flush.now();
        let seen = String::from_utf8(stuck.seen.lock().unwrap().clone()).unwrap();
        assert_eq!(seen.lines().filter(|line| line.starts_with('x')).count(), kept);
        let told = format!(
            "({} lines of the log were dropped: nobody read them)\nafter\n",
            10_000 - kept
        );
        assert!(seen.ends_with(&told));
    }
}
