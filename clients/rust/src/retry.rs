//! When to try again: pure rules.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// How long to wait before each try to connect, where nobody waits for an answer: from 50 to 100 ms at first, from 1 to 2 s
/// in the end. By chance, so that the many clients of a daemon that restarts don't come back in step.
pub(crate) struct BackOff(Duration);

impl BackOff {
    pub(crate) fn new() -> BackOff {
        BackOff(FIRST)
    }

    pub(crate) fn next(&mut self) -> Duration {
        let whole = self.0;
        self.0 = (whole * 2).min(LONGEST);
        // A new one is seeded by chance, for the maps of the standard library.
        let chance = (RandomState::new().hash_one(0) >> 32) as f64 / f64::from(u32::MAX);
        whole.mul_f64(0.5 + chance / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_get_longer_and_are_never_the_same() {
        let ms = Duration::from_millis;
        let mut back_off = BackOff::new();
        for whole in [100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = back_off.next();
            assert!(wait >= ms(whole / 2) && wait <= ms(whole), "{wait:?} of {whole} ms");
        }
        assert_ne!(BackOff::new().next(), BackOff::new().next());
    }
}
