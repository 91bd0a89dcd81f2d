//! Waiting without sleeping, where sleeping would cost more than it saves.
//!
//! # Theory of operation
//!
//! On a machine with nothing else to do, a core that goes to sleep needs longer to wake up than Python needs for a small
//! call: 20 µs and more where the machine is a virtual one. So where the last wait for the same thing was short, the
//! daemon expects the next one to be short, and polls for what comes rather than sleep; where it was not, it sleeps at
//! once. At most one guess in a row is wrong, and costs [`BusyPoll::most`].
//!
//! There are two things to wait for: the answer to the only call under way, and, with none under way, a client's next
//! request. With more calls under way there is enough to do. An idle daemon does not poll.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::bell::Bell;

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
        if self.was_short.borrow()[what as usize] {
            self.bell.ring();
        }
    }

    /// Something has come.
    pub(crate) fn came(&self, now: Instant) {
        if let Some((what, since)) = self.waiting.take() {
            self.was_short.borrow_mut()[what as usize] = now.duration_since(since) < self.most;
        }
    }

    /// Polls when it is worth it, for ever.
    pub(crate) async fn run(&self) {
        loop {
            self.bell.heard().await;
            while let Some((_, since)) = self.waiting.get() {
                if since.elapsed() >= self.most {
                    break;
                }
                // Whoever else can run on this core goes first; and then the runtime looks, without waiting, for what
                // has come.
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
        }
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
        poll.came(at(10));
        assert!(is_short(For::Answer) && !is_short(For::Request));
        poll.wait_for(For::Answer, at(100));
        poll.came(at(200));
        assert!(!is_short(For::Answer));
        // What comes when nothing was waited for tells nothing.
        poll.wait_for(For::Request, at(300));
        poll.came(at(301));
        poll.came(at(999));
        assert!(is_short(For::Request));
    }

    #[tokio::test]
    async fn it_stops_when_something_comes_and_after_its_time() {
        let poll = BusyPoll::new(Duration::from_millis(1));
        poll.was_short.borrow_mut()[For::Answer as usize] = true;
        for came in [true, false] {
            poll.wait_for(For::Answer, Instant::now());
            if came {
                poll.came(Instant::now());
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
