//! Waiting without sleeping, where sleeping would cost more than it saves.
//!
//! # Theory of operation
//!
//! On a machine with nothing else to do, a core that goes to sleep needs longer to wake up than Python needs for a small
//! call: 20 µs and more where the machine is a virtual one. So where a wait is expected to be short, the daemon polls for
//! what comes rather than sleep ([`Guess`]). It is, if the last one for the same thing was: short enough to have been
//! polled through, or, where it was slept through, not much longer, since the sleep itself made it longer. A guess that
//! was wrong costs [`BusyPoll::most`], and is tried again the later the oftener it was wrong.
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

/// A turn of the loop takes a microsecond or two, and tens of them where the machine has something to do in between;
/// longer than this, and somebody else has had a slice of the scheduler's.
const TURN: Duration = Duration::from_micros(300);
/// So long it is not tried again then, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(2);

/// A wait that was slept through and was no longer might have been short.
const MAYBE_SHORT: Duration = Duration::from_micros(250);
/// So many such waits pass, at most, until a guess that was wrong is tried again.
const MOST_SKIPPED: u32 = 256;

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
    /// Whether that wait is polled through.
    polls: Cell<bool>,
    /// For each thing to wait for.
    guesses: RefCell<[Guess; 2]>,
    /// Until when there is no polling, since others want the core, and for how long that was.
    rests_until: Cell<Option<Instant>>,
    rest: Cell<Duration>,
    bell: Bell,
}

/// Whether the next wait for a thing will be short.
#[derive(Debug, Default, Clone, Copy)]
struct Guess {
    is_short: bool,
    /// How many waits were left out after the last wrong guess, and how many of them are still to come.
    skipped: u32,
    to_skip: u32,
}

impl Guess {
    /// A wait took so long; `polled`: it was expected to be short.
    fn learn(&mut self, took: Duration, polled: bool, most: Duration) {
        if polled && took < most {
            *self = Guess {
                is_short: true,
                ..Guess::default()
            };
        } else if polled {
            self.skipped = (self.skipped * 2).clamp(1, MOST_SKIPPED);
            self.to_skip = self.skipped;
            self.is_short = false;
        } else {
            let maybe = took < MAYBE_SHORT;
            self.is_short = maybe && self.to_skip == 0;
            self.to_skip = self.to_skip.saturating_sub(u32::from(maybe));
        }
    }
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
        let rests = self.rests_until.get().is_some_and(|until| now < until);
        let polls = self.guesses.borrow()[what as usize].is_short && !rests;
        self.waiting.set(Some((what, now)));
        self.polls.set(polls);
        if polls {
            self.bell.ring();
        }
    }

    /// This has come.
    pub(crate) fn came(&self, came: For, now: Instant) {
        if let Some((what, since)) = self.waiting.take()
            && what == came
        {
            let took = now.saturating_duration_since(since);
            self.guesses.borrow_mut()[what as usize].learn(took, self.polls.get(), self.most);
        }
    }

    /// Polls when it is worth it, for ever.
    pub(crate) async fn run(&self) {
        loop {
            self.bell.heard().await;
            let mut last = Instant::now();
            while let Some((what, since)) = self.waiting.get() {
                if last.duration_since(since) >= self.most {
                    break;
                }
                // Whoever else can run on this core goes first; and then the runtime looks, without waiting, for what
                // has come.
                std::thread::yield_now();
                tokio::task::yield_now().await;
                let now = Instant::now();
                // If something has come, the turn took as long as that took.
                let nothing_came = self.waiting.get() == Some((what, since));
                if nothing_came && !self.goes_on(now.duration_since(last), now) {
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

    const MOST: Duration = Duration::from_micros(50);

    fn learn(guess: &mut Guess, polled: bool, micros: u64) -> bool {
        guess.learn(Duration::from_micros(micros), polled, MOST);
        guess.is_short
    }

    #[test]
    fn a_wait_is_expected_to_be_like_the_last_one() {
        let mut guess = Guess::default();
        assert!(!learn(&mut guess, false, 1000));
        // The sleep made it longer.
        assert!(learn(&mut guess, false, 120));
        assert!(learn(&mut guess, true, 30));
        assert!(!learn(&mut guess, true, 120));
    }

    #[test]
    fn wrong_guesses_get_rare() {
        let mut guess = Guess::default();
        let mut wrong = 0;
        for _ in 0..2000 {
            // Python needs 120 µs each time, polled for or not.
            let polled = guess.is_short;
            wrong += u32::from(polled);
            learn(&mut guess, polled, 120);
        }
        assert!((8..20).contains(&wrong), "{wrong}");
        // Once it is faster, that is found out, and not forgotten.
        let tries = (0..).find(|_| learn(&mut guess, false, 100)).unwrap();
        assert!(tries <= MOST_SKIPPED);
        assert!((0..100).all(|_| learn(&mut guess, true, 30)));
    }

    #[test]
    fn only_what_was_waited_for_teaches() {
        let poll = BusyPoll::new(MOST);
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        poll.wait_for(For::Answer, at(0));
        poll.came(For::Request, at(10));
        poll.came(For::Answer, at(20));
        assert!(!poll.guesses.borrow()[For::Answer as usize].is_short);
        poll.wait_for(For::Answer, at(100));
        poll.came(For::Answer, at(110));
        assert!(poll.guesses.borrow()[For::Answer as usize].is_short);
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
        poll.guesses.borrow_mut()[For::Answer as usize].is_short = true;
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
