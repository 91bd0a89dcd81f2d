//! Waiting without sleeping, where sleeping would cost more than it saves.
//!
//! # Theory of operation
//!
//! On a machine with nothing else to do, a core that goes to sleep needs longer to wake up than Python needs for a small
//! call: 20 µs and more where the machine is a virtual one. So where the last wait for the same thing was short, the
//! daemon expects the next one to be short, and polls for what comes rather than sleep; where it was not, it sleeps at
//! once. At most one guess in a row is wrong, and costs [`BusyPoll::most`].
//!
//! Where others want this core, polling is worse than sleeping: who has used up its share is let in late when it wakes up.
//! That shows by a turn that takes longer than it can ([`TURN`]): then there is no polling for a while, the longer the
//! oftener it happens.
//!
//! There are two things to wait for: the answer to the only call under way, and, with none under way, a client's next
//! request. With more calls under way there is enough to do. An idle daemon does not poll.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::bell::Bell;

/// A turn of the loop takes a microsecond or two; one that takes longer was interrupted.
const TURN: Duration = Duration::from_micros(20);
/// So long it is not tried again then, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Answer,
    Request,
}

#[derive(Default)]
pub(crate) struct BusyPoll {
    /// How long a wait is polled through at most; never, if zero.
    most: Duration,
    waiting: Cell<Option<(For, Instant)>>,
    /// For each thing: whether the last wait for it was short.
    was_short: RefCell<[bool; 2]>,
    /// Until when there is no polling, since others want the core, and for how long that was.
    rests_until: Cell<Option<Instant>>,
    rest: Cell<Duration>,
    bell: Bell,
}

impl BusyPoll {
    pub(crate) fn new(most: Duration) -> BusyPoll {
        BusyPoll {
            most,
            ..BusyPoll::default()
        }
    }

    /// There is nothing to do now but wait for this.
    pub(crate) fn wait_for(&self, what: For, now: Instant) {
        if self.most.is_zero() {
            return;
        }
        self.waiting.set(Some((what, now)));
        let rests = self.rests_until.get().is_some_and(|until| now < until);
        if self.was_short.borrow()[what as usize] && !rests {
            self.bell.ring();
        }
    }

    /// This has come.
    pub(crate) fn came(&self, came: For, now: Instant) {
        if let Some((what, since)) = self.waiting.take()
            && what == came
        {
            self.was_short.borrow_mut()[what as usize] = now.duration_since(since) < self.most;
        }
    }

    /// Polls when it is worth it, for ever.
    pub(crate) async fn run(&self) {
        loop {
            self.bell.heard().await;
            let mut last = Instant::now();
            while let Some((_, since)) = self.waiting.get() {
                if last.duration_since(since) >= self.most {
                    break;
                }
                // Whoever else can run on this core goes first; and then the runtime looks, without waiting, for what
                // has come.
                std::thread::yield_now();
                tokio::task::yield_now().await;
                let now = Instant::now();
                // What has come takes its time, too.
                if self.waiting.get().is_some() && !self.goes_on(now.duration_since(last), now) {
                    break;
                }
                last = now;
            }
        }
    }
}

impl BusyPoll {
    /// Whether, after a turn that took so long, polling is worth it.
    fn goes_on(&self, turn: Duration, now: Instant) -> bool {
        if turn <= TURN {
            return true;
        }
        let rest = (self.rest.get() * 2).clamp(FIRST_REST, LONGEST_REST);
        // It happens to everybody now and then.
        let is_long_ago = self
            .rests_until
            .get()
            .is_none_or(|until| now.saturating_duration_since(until) > LONGEST_REST);
        self.rest.set(if is_long_ago { FIRST_REST } else { rest });
        self.rests_until.set(Some(now + self.rest.get()));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_polls_where_the_last_wait_was_short() {
        let poll = BusyPoll::new(Duration::from_micros(50));
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let is_short = |what| poll.was_short.borrow()[what as usize];
        poll.wait_for(For::Answer, at(0));
        poll.came(For::Answer, at(10));
        assert!(is_short(For::Answer) && !is_short(For::Request));
        poll.wait_for(For::Answer, at(100));
        poll.came(For::Answer, at(200));
        assert!(!is_short(For::Answer));
        // What comes when nothing was waited for tells nothing.
        poll.wait_for(For::Request, at(300));
        poll.came(For::Request, at(301));
        poll.came(For::Request, at(999));
        assert!(is_short(For::Request));
    }

    #[test]
    fn where_others_want_the_core_it_rests_longer_and_longer() {
        let poll = BusyPoll::new(Duration::from_micros(50));
        let start = Instant::now();
        assert!(poll.goes_on(TURN, start));
        let mut now = start;
        for rest in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            assert!(!poll.goes_on(TURN * 100, now));
            assert_eq!(poll.rest.get(), Duration::from_millis(rest));
            now += poll.rest.get();
        }
        assert!(!poll.goes_on(TURN * 100, now + 2 * LONGEST_REST));
        assert_eq!(poll.rest.get(), FIRST_REST);
    }

    #[tokio::test]
    async fn it_stops_when_something_comes_and_after_its_time() {
        let poll = BusyPoll::new(Duration::from_millis(1));
        poll.was_short.borrow_mut()[For::Answer as usize] = true;
        for came in [true, false] {
            poll.wait_for(For::Answer, Instant::now());
            if came {
                poll.came(For::Answer, Instant::now());
            }
            // It would never return if it went on polling without ever being at rest.
            let run = poll.run();
            tokio::select! {
                () = run => unreachable!(),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            assert_eq!(poll.waiting.get().is_some(), !came);
        }
        let never = BusyPoll::new(Duration::ZERO);
        never.wait_for(For::Answer, Instant::now());
        assert!(never.waiting.get().is_none());
    }
}
