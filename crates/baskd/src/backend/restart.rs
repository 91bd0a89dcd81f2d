//! When is a dead Python replaced? A pure function of what has happened.
//!
//! A process that answered a call has shown that it works: the next one is started at once, however often that happens.
//! One that dies before its first answer is started again after a growing pause, and after five such deaths in ten
//! seconds not at all. A process that never became ready is counted however long it took: a broken installation that
//! needs a minute to fail does not restart for ever either.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(10);
const DEATHS: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How far a process came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    NeverReady,
    Ready,
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    After(Duration),
    GiveUp,
}

/// A number from 0 to 1 that nobody can foresee.
pub(crate) fn jitter() -> f64 {
    // The keys of a hash map are the standard library's only random numbers; these are good enough.
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}

#[derive(Debug, Default)]
pub(crate) struct History {
    early: VecDeque<Instant>,
    boot_failures: usize,
}

impl History {
    /// `jitter`: a number from 0 to 1, by which the pause is between half and all of what it may be: daemons that broke
    /// together are not to try again together.
    pub(crate) fn died(&mut self, life: Life, now: Instant, jitter: f64) -> Decision {
        if life == Life::Answered {
            *self = History::default();
            return Decision::After(Duration::ZERO);
        }
        self.boot_failures = if life == Life::NeverReady {
            self.boot_failures + 1
        } else {
            0
        };
        self.early.push_back(now);
        while self
            .early
            .front()
            .is_some_and(|death| now.duration_since(*death) > WINDOW)
        {
            self.early.pop_front();
        }
        let deaths = self.early.len().max(self.boot_failures);
        if deaths >= DEATHS {
            Decision::GiveUp
        } else {
            let longest = FIRST_PAUSE * 2u32.pow(deaths as u32 - 1);
            Decision::After(longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(deaths: &[(Life, u64)]) -> Vec<Option<u128>> {
        let start = Instant::now();
        let mut history = History::default();
        let decide = |(life, at): &(Life, u64)| match history.died(*life, start + Duration::from_millis(*at), 1.0) {
            Decision::After(pause) => Some(pause.as_millis()),
            Decision::GiveUp => None,
        };
        deaths.iter().map(decide).collect()
    }

    #[test]
    fn a_process_that_worked_is_replaced_at_once_for_ever() {
        let deaths: Vec<_> = (0..100).map(|at| (Life::Answered, at)).collect();
        assert!(decisions(&deaths).iter().all(|pause| *pause == Some(0)));
    }

    #[test]
    fn five_early_deaths_in_ten_seconds_open_the_breaker() {
        let early = |at| (Life::Ready, at);
        assert_eq!(
            decisions(&[early(0), early(1000), early(2000), early(3000), early(4000)]),
            [Some(100), Some(200), Some(400), Some(800), None]
        );
        assert_eq!(
            decisions(&[
                early(0),
                early(4000),
                early(8000),
                early(12_000),
                early(16_000),
                early(20_000)
            ])[5],
            Some(400)
        );
    }

    #[test]
    fn pauses_differ_by_half_at_most() {
        let pause = |jitter| History::default().died(Life::Ready, Instant::now(), jitter);
        let after = |millis| Decision::After(Duration::from_millis(millis));
        assert_eq!([pause(0.0), pause(0.5), pause(1.0)], [after(50), after(75), after(100)]);
        let numbers = [jitter(), jitter(), jitter()];
        assert!(numbers.iter().all(|number| (0.0..=1.0).contains(number)));
        assert!(numbers[0] != numbers[1] || numbers[1] != numbers[2]);
    }

    #[test]
    fn an_answer_clears_the_record() {
        let early = |at| (Life::Ready, at);
        assert_eq!(
            decisions(&[early(0), early(1), early(2), early(3), (Life::Answered, 4), early(5)])[5],
            Some(100)
        );
    }

    #[test]
    fn slow_boot_failures_end_as_well() {
        let boot = |at| (Life::NeverReady, at);
        assert_eq!(
            decisions(&[boot(0), boot(60_000), boot(120_000), boot(180_000), boot(240_000)])[4],
            None
        );
    }
}
