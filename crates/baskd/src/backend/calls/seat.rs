//! One process's seat at the table: what it was sent, and what it is to be told.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::CallId;
use super::super::page::Page;
use super::Call;
use crate::clock;

/// How many calls may be with a worker without having begun. Enough that Python never waits for the daemon, few enough
/// that a flood of one client is not before another's first call.
pub(crate) const AHEAD: usize = 64;
/// How many bytes the results of those calls may be expected to have: they are kept if their client does not read.
const AHEAD_BYTES: usize = 16 << 20;
/// How long those calls may be expected to take: whoever comes next waits so long.
const AHEAD_TIME: Duration = Duration::from_millis(1);
/// How many bytes may wait for a worker's pipe before nothing more is taken from the queue.
const MAX_OUT: usize = 256 << 10;

pub(crate) struct Seat {
    /// Of the process that has the seat; None while nobody has.
    pub(super) page: Option<Rc<Page>>,
    /// Whose process it is.
    pub(super) worker: usize,
    /// It ends what it has, and gets nothing more.
    pub(super) is_leaving: bool,
    /// How many calls it has, those that nobody waits for any more among them.
    pub(super) sent: usize,
    /// Of them, those that have or wait for the main thread from begin to end, and those that have or wait for a thread
    /// of their own.
    main_sent: usize,
    beside_sent: usize,
    /// Sent calls that are not known to have begun, oldest first.
    pub(super) ahead: VecDeque<Ahead>,
    ahead_bytes: usize,
    pace: Pace,
    /// Lines that the worker has not taken yet.
    pub(super) out: Vec<u8>,
    /// How many items and bytes more its calls may send. One line for each call, however often its client allows more: a
    /// worker may read late.
    pub(super) more: HashMap<CallId, (u64, u64)>,
    /// Whether a cancelled call may be running: Python is to be signalled.
    pub(super) interrupt: bool,
    /// How many calls of clients its process has answered.
    pub(super) answered: u64,
}

/// A call that Python has and has not begun, and how large its result may be.
pub(super) struct Ahead {
    pub(super) id: CallId,
    expected: usize,
}

impl Seat {
    pub(super) fn new() -> Seat {
        Seat {
            page: None,
            worker: 0,
            is_leaving: false,
            sent: 0,
            main_sent: 0,
            beside_sent: 0,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            pace: Pace::default(),
            out: Vec::new(),
            more: HashMap::new(),
            interrupt: false,
            answered: 0,
        }
    }

    /// Whether it has room for one more call whose result may have so many bytes. One of `several` is not given what
    /// would have to wait: it could begin elsewhere.
    pub(super) fn has_room(&self, expected: usize, several: bool) -> bool {
        let most = self.pace.calls_in(AHEAD_TIME).clamp(if several { 1 } else { 2 }, AHEAD);
        self.has_space()
            && self.ahead.len() < most
            && (self.ahead.is_empty() || self.ahead_bytes + expected <= AHEAD_BYTES)
            && (!several || self.main_sent < most)
    }

    /// Whether it can be sent what goes to every worker.
    pub(super) fn has_space(&self) -> bool {
        self.ahead.len() < AHEAD && self.out.len() < MAX_OUT
    }

    /// Whether it has room for one more call that waits for a thread.
    pub(super) fn has_room_beside(&self) -> bool {
        self.beside_sent < AHEAD && self.out.len() < MAX_OUT
    }

    /// Whether all it was sent has begun, as far as was looked, and nothing has the main thread.
    pub(super) fn is_settled(&self) -> bool {
        self.ahead.is_empty() && self.main_sent == 0
    }

    pub(super) fn has_begun(&self, id: CallId) -> bool {
        self.page.as_ref().is_some_and(|page| page.has_begun(id))
    }

    /// It is sent this call.
    pub(super) fn take(&mut self, call: &Call, expected: usize) {
        self.sent += 1;
        if call.method.is_concurrent {
            self.beside_sent += 1;
            return;
        }
        self.main_sent += usize::from(call.method.has_main_thread());
        self.ahead.push_back(Ahead { id: call.id, expected });
        self.ahead_bytes += expected;
    }

    /// It has answered this call.
    pub(super) fn answer(&mut self, call: &Call) {
        self.answered += u64::from(!call.is_own());
        self.sent -= 1;
        if call.method.is_concurrent {
            self.beside_sent -= 1;
        } else if call.method.has_main_thread() {
            self.main_sent -= 1;
            self.pace.answered(call.since);
        }
    }

    /// When it began this call, which it has begun: it was sent by then, and if it needed the main thread, that was free.
    /// Answers that come in one chunk were given within moments, since the router lets none wait behind a call that is slow.
    pub(super) fn began_at(&self, call: &Call) -> Instant {
        let free = match self.pace.answers {
            _ if !call.method.has_main_thread() => None,
            0 => self.pace.last,
            _ => Some(clock::now()),
        };
        free.map_or(call.since, |free| free.max(call.since))
    }

    /// All that came in one chunk was handled.
    pub(super) fn settle(&mut self, now: Instant) {
        self.pace.settle(now);
    }

    pub(super) fn forget_first(&mut self) {
        if let Some(first) = self.ahead.pop_front() {
            self.ahead_bytes -= first.expected;
        }
    }

    #[cfg(test)]
    pub(super) fn pace_is(&mut self, each: Duration) {
        self.pace.nanos = each.as_nanos() as u64;
    }
}

/// How long calls take that have the main thread, one after another, as far as their answers tell.
struct Pace {
    nanos: u64,
    /// When the last answers came.
    last: Option<Instant>,
    /// Those of the chunk under way, and since when Python can have worked on them.
    answers: u32,
    since: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            nanos: 50_000,
            last: None,
            answers: 0,
            since: None,
        }
    }
}

impl Pace {
    fn answered(&mut self, sent: Instant) {
        if self.answers == 0 {
            self.since = Some(self.last.map_or(sent, |last| last.max(sent)));
        }
        self.answers += 1;
    }

    fn settle(&mut self, now: Instant) {
        let Some(since) = self.since.take() else { return };
        let each = (now.saturating_duration_since(since) / self.answers).as_nanos() as u64;
        self.nanos = (3 * self.nanos + each) / 4;
        self.last = Some(now);
        self.answers = 0;
    }

    fn calls_in(&self, time: Duration) -> usize {
        (time.as_nanos() as u64 / self.nanos.max(1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_follows_the_answers() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        for chunk in 1..50 {
            (0..10).for_each(|_| pace.answered(at(0)));
            pace.settle(at(chunk * 100));
        }
        assert_eq!(pace.calls_in(Duration::from_millis(1)), 100);
        // Idle time is nobody's.
        pace.answered(at(1_000_000));
        pace.settle(at(1_000_010));
        assert_eq!(pace.calls_in(Duration::from_millis(1)), 100);
        for call in 1..50 {
            pace.answered(at(2_000_000));
            pace.settle(at(2_000_000 + call * 5000));
        }
        assert_eq!(pace.calls_in(Duration::from_millis(1)), 0);
    }
}
