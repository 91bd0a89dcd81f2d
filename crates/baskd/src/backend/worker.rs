//! One Python process: its pipes, its page, its death. Only this file and [`super::spawn`] touch a child's descriptors.
//!
//! # Theory of operation
//!
//! [`Worker::next`] moves bytes until something happens that the supervisor has to know. It reads big and handles every
//! whole line of a chunk, then takes all calls that may be sent and writes them at once. All of its state is in the
//! [`Worker`], so that it can be dropped at any await and called again.
//!
//! Death is the process's exit (its pidfd becomes readable), never the end of a pipe: a forked grandchild can hold a
//! pipe open for long. At that moment the pid is a zombie's, and so is nobody else's: the wire is read until it is
//! empty, then the process group is killed, and only then is the zombie reaped. No pid is signalled after that.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Shared;
use super::log_pipe::LogPipe;
use super::oom;
use super::restart::Life;
use super::said::{KEEP, Said};
use super::spawn::{self, Guard, Process};
use super::status::resident_bytes;
use super::wire::{Failed, Ready};
use crate::busy_poll::For;
use crate::clock;

const CHUNK: usize = 64 << 10;
/// In the middle of a large answer more is read at once: what the pipe holds.
const BIG_CHUNK: usize = spawn::PIPE_BYTES;
/// What is read at most from a dead process's wire: more than a pipe holds can only come from a grandchild that still
/// fills it.
const MAX_DRAIN: usize = 1 << 20;
/// How often what may have waited too long is looked at: a quarter of the shortest time it may wait, within these.
const SOONEST_TICK: Duration = Duration::from_millis(10);
const LATEST_TICK: Duration = Duration::from_secs(1);
/// When a worn process is said to be worn again, if it still serves.
const WORN_AGAIN: Duration = Duration::from_secs(10);
/// How often the memory of a process is measured, at most.
const MEASURE_EVERY: Duration = Duration::from_millis(200);
/// How often it is said, at most, that something on the wire makes no sense.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// What the supervisor has to know.
pub(crate) enum Event {
    Ready(Box<Ready>),
    Failed(Failed),
    /// It has answered as many calls as it is to, or has become as large as it may be, and why.
    Worn(Wear),
    Died(Exit),
}

/// What has made a process due to be replaced.
pub(crate) enum Wear {
    /// It has answered so many calls.
    Calls(u64),
    /// It has so many bytes of memory.
    Size(u64),
}

impl fmt::Display for Wear {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wear::Calls(answered) => write!(out, "has answered {answered} calls (`max_calls`)"),
            Wear::Size(bytes) => write!(out, "has become {} MiB large (`max_rss`)", bytes >> 20),
        }
    }
}

/// Why a worker goes on.
enum Woken {
    Readable,
    Again,
    Dead,
    Tick,
}

/// How a process ended.
pub(crate) struct Exit {
    pub(crate) life: Life,
    pub(crate) status: ExitStatus,
    /// Whether the kernel killed it for want of memory.
    pub(crate) oom: bool,
    pub(crate) ran: Duration,
    /// Its last lines on stderr.
    pub(crate) stderr: Vec<String>,
}

pub(crate) struct Worker {
    shared: Rc<Shared>,
    seat: usize,
    child: Child,
    is_dead: bool,
    guard: Guard,
    pid: Pid,
    pidfd: AsyncFd<std::os::fd::OwnedFd>,
    /// None once it was closed.
    wire_in: Option<pipe::Sender>,
    wire_out: pipe::Receiver,
    wire_ended: bool,
    /// The input ends when `out` is written.
    is_closing: bool,
    out: Vec<u8>,
    written: usize,
    said: Said,
    stdout: LogPipe,
    stderr: LogPipe,
    /// How many lines that made no sense were complained of, and when.
    complained_of: u64,
    complained: Option<Instant>,
    tick: Interval,
    started: Instant,
    kills_before: Cell<Option<oom::Before>>,
    /// When it was said last that it is worn.
    worn_told: Option<Instant>,
    /// When its memory was measured last.
    measured: Instant,
}

impl Worker {
    /// Takes over a process that was just spawned for this post, and greets it: `hello` is the first line it is sent.
    /// None if it can't have a seat; then it is killed.
    pub(crate) fn new(shared: Rc<Shared>, post: usize, mut process: Process, hello: Vec<u8>) -> Option<Worker> {
        let limits = &shared.options.limits;
        let shortest = limits.stall_timeout.min(limits.kill_grace);
        let mut tick = interval((shortest / 4).clamp(SOONEST_TICK, LATEST_TICK));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let page = Rc::new(process.page);
        let Some(seat) = shared.calls.borrow_mut().take_seat(post, page) else {
            let _ = process.child.kill();
            let _ = process.child.wait();
            process.guard.reap();
            return None;
        };
        // It was started just now, and imports nothing before it was greeted.
        let kills_before = Cell::new(shared.kills.before());
        let said = Said::new(seat, limits.max_response);
        Some(Worker {
            stdout: LogPipe::new(process.stdout, "stdout", shared.logs.clone()),
            stderr: LogPipe::new(process.stderr, "stderr", shared.logs.clone()),
            shared,
            seat,
            child: process.child,
            is_dead: false,
            guard: process.guard,
            pid: process.pid,
            pidfd: process.pidfd,
            wire_in: Some(process.wire_in),
            wire_out: process.wire_out,
            wire_ended: false,
            is_closing: false,
            out: hello,
            written: 0,
            said,
            complained_of: 0,
            complained: None,
            tick,
            started: Instant::now(),
            kills_before,
            worn_told: None,
            measured: Instant::now(),
        })
    }

    pub(crate) fn seat(&self) -> usize {
        self.seat
    }

    pub(crate) fn was_ready(&self) -> bool {
        self.said.life != Life::NeverReady
    }

    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it is dead, be it told or not.
    pub(crate) fn has_died(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let died = PollFd::new(&self.pidfd, PollFlags::IN);
        self.is_dead || poll(&mut [died], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Whether its death was told.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Ready once it is dead, which [`Worker::next`] then tells.
    pub(crate) fn poll_dead(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.pidfd.poll_read_ready(cx).map(drop)
    }

    /// Ends its input once all that is to be said was said: the router finishes what it has read and exits.
    pub(crate) fn close_input(&mut self) {
        self.is_closing = true;
    }

    /// Sends a signal, by the pidfd: it reaches this process or nobody.
    pub(crate) fn signal(&self, signal: Signal) {
        if signal == Signal::KILL {
            // What the daemon does itself needs no other explanation.
            self.kills_before.take();
        }
        // The only failure is that it has ended, which is what its pidfd tells anyway.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Serves calls until there is something to tell.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.said.news.take() {
                return event;
            }
            self.send();
            match poll_fn(|cx| self.poll_woken(cx)).await {
                Woken::Readable => match self.receive() {
                    // There is most likely more, and others may be waiting: they come between.
                    Ok(read) if read >= CHUNK => tokio::task::yield_now().await,
                    Ok(_) => {}
                    Err(_) => self.lose_wire(),
                },
                Woken::Again => {}
                Woken::Dead => return Event::Died(self.bury()),
                Woken::Tick => self.tend(),
            }
        }
    }

    fn poll_woken(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        // What it has said comes before its death. An error is met again by whoever reads or writes then.
        if !self.wire_ended && self.wire_out.poll_read_ready(cx).is_ready() {
            return Poll::Ready(Woken::Readable);
        }
        let unwritten = self.written < self.out.len();
        if let Some(wire) = self.wire_in.as_ref().filter(|_| unwritten)
            && wire.poll_write_ready(cx).is_ready()
        {
            return Poll::Ready(Woken::Again);
        }
        if self.shared.bells[self.seat].poll_heard(cx).is_ready() {
            return Poll::Ready(Woken::Again);
        }
        if self.pidfd.poll_read_ready(cx).is_ready() {
            return Poll::Ready(Woken::Dead);
        }
        let tends = self.wire_ended || self.shared.calls.borrow().needs_tending();
        if tends && self.tick.poll_tick(cx).is_ready() {
            return Poll::Ready(Woken::Tick);
        }
        Poll::Pending
    }

    /// Writes what there is to write, as far as the pipe takes it.
    fn send(&mut self) {
        let mut calls = self.shared.calls.borrow_mut();
        if calls.take_interrupt(self.seat) {
            self.signal(Signal::URG);
        }
        let Some(wire) = &self.wire_in else { return };
        let mut has_written = false;
        loop {
            // Nothing but the greeting until that is answered.
            if self.said.life != Life::NeverReady && self.out.len() - self.written < CHUNK {
                calls.fill(self.seat, &mut self.out);
            }
            if self.written == self.out.len() {
                break;
            }
            match wire.try_write(&self.out[self.written..]) {
                Ok(wrote) => {
                    self.written += wrote;
                    has_written = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // It does not read any more: its death will be told by its pidfd.
                    self.written = self.out.len();
                    break;
                }
            }
            if self.written == self.out.len() {
                self.out.clear();
                self.out.shrink_to(KEEP);
                self.written = 0;
            }
        }
        if has_written && calls.in_flight() == 1 {
            self.shared.busy_poll.wait_for(For::Answer, Instant::now());
        }
        // What this one has no room for, others may have been given.
        self.shared.wake(calls.take_wakes());
        if self.is_closing && self.written == self.out.len() {
            self.wire_in = None;
        }
    }

    /// Reads a chunk, and handles the lines it ends. Returns how many bytes came.
    fn receive(&mut self) -> io::Result<usize> {
        let inbox = &mut self.said.inbox;
        inbox.reserve(if inbox.len() < CHUNK { CHUNK } else { BIG_CHUNK });
        match self.wire_out.try_read_buf(inbox) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                clock::tick();
                self.shared.busy_poll.came(For::Answer, clock::now());
                if read < CHUNK {
                    // It is empty, and what comes later is a new edge for epoll: a read that fails is saved.
                    let _: io::Result<()> = self.wire_out.try_io(|| Err(io::ErrorKind::WouldBlock.into()));
                }
                self.handle_lines();
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn handle_lines(&mut self) {
        let answered = {
            let mut calls = self.shared.calls.borrow_mut();
            self.said.handle(&mut calls);
            self.shared.journal.record(calls.take_held());
            if calls.is_at_rest() {
                self.shared.rest.notify_waiters();
            }
            calls.answered(self.seat)
        };
        self.complain();
        self.look_for_wear(answered);
    }

    /// Whether it is to be replaced, as far as the config says so.
    fn look_for_wear(&mut self, answered: u64) {
        let limits = &self.shared.options.limits;
        let is_old = limits.max_calls > 0 && answered >= limits.max_calls as u64;
        if (!is_old && limits.max_rss == 0) || self.said.life != Life::Answered || self.said.news.is_some() {
            return;
        }
        let now = clock::now();
        if self.worn_told.is_some_and(|told| now - told < WORN_AGAIN) {
            return;
        }
        let wear = if is_old {
            Wear::Calls(answered)
        } else {
            if now.saturating_duration_since(self.measured) < MEASURE_EVERY {
                return;
            }
            self.measured = now;
            let rss = resident_bytes(self.pid.as_raw_nonzero().get()).unwrap_or_default();
            if rss < limits.max_rss as u64 {
                return;
            }
            Wear::Size(rss)
        };
        self.worn_told = Some(now);
        self.said.news = Some(Event::Worn(wear));
    }

    /// Says, now and then, that lines have made no sense. Not a word of them is logged: they may hold a result.
    fn complain(&mut self) {
        let count = self.said.senseless;
        if count > self.complained_of && self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            self.complained_of = count;
            self.shared
                .logs
                .warn(&format!("lines on Python's wire that answer nothing: {count} so far"));
        }
    }

    /// The wire is broken though the process may live: it is of no use any more.
    fn lose_wire(&mut self) {
        self.wire_ended = true;
        self.wire_in = None;
        self.tick.reset();
    }

    fn tend(&mut self) {
        let limits = &self.shared.options.limits;
        let overdue = self
            .shared
            .calls
            .borrow_mut()
            .tend(self.seat, limits.stall_timeout, limits.kill_grace);
        let is_overdue = overdue.is_some();
        if is_overdue {
            // It could be started, and runs a method that won't end: that says nothing against starting the next.
            self.said.life = Life::Answered;
            self.shared.logs.warn_about(
                overdue,
                "a cancelled call still runs and others wait: its Python is killed",
            );
        }
        if is_overdue || self.wire_ended {
            self.signal(Signal::KILL);
        }
    }

    /// What is left to do for a process that is dead but not reaped.
    fn bury(&mut self) -> Exit {
        let mut drained = 0;
        while !self.wire_ended && drained < MAX_DRAIN {
            let inbox = &mut self.said.inbox;
            inbox.reserve(CHUNK);
            // Past tokio, which may not have heard yet of what came last.
            match rustix::io::read(self.wire_out.as_fd(), rustix::buffer::spare_capacity(inbox)) {
                Ok(0) | Err(_) => break,
                Ok(read) => {
                    drained += read;
                    self.handle_lines();
                }
            }
        }
        // While the zombie is there, its pid can be no other process's, and so its group's neither.
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.guard.reap();
        self.stdout.drain();
        self.stderr.drain();
        let status = self.child.wait().unwrap_or_default();
        self.is_dead = true;
        let was_killed = status.signal() == Some(Signal::KILL.as_raw());
        let before = self.kills_before.take().filter(|_| was_killed);
        let oom = before.is_some_and(|before| self.shared.kills.explain(&before));
        Exit {
            life: self.said.life,
            status,
            oom,
            ran: self.started.elapsed(),
            stderr: self.stderr.recent(),
        }
    }
}
