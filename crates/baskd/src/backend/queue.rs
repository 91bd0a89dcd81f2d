//! Who is next: calls in order of arrival within one owner (a connection), round robin between owners, so that a flood
//! delays only its sender.

use std::collections::{HashMap, VecDeque};

#[derive(Default)]
pub(crate) struct Queue {
    owners: HashMap<u64, Lane>,
    /// The owners that have calls and are not paused, next first.
    ring: VecDeque<u64>,
}

#[derive(Default)]
struct Lane {
    calls: VecDeque<u64>,
    /// Its owner does not read its answers: nothing more is begun for it.
    paused: bool,
}

impl Queue {
    pub(crate) fn push(&mut self, owner: u64, call: u64) {
        let lane = self.owners.entry(owner).or_default();
        lane.calls.push_back(call);
        if lane.calls.len() == 1 && !lane.paused {
            self.ring.push_back(owner);
        }
    }

    /// Puts a call back before its owner's others, and its owner first.
    pub(crate) fn push_front(&mut self, owner: u64, call: u64) {
        let lane = self.owners.entry(owner).or_default();
        lane.calls.push_front(call);
        if !lane.paused {
            self.ring.retain(|other| *other != owner);
            self.ring.push_front(owner);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<u64> {
        let owner = self.ring.pop_front()?;
        let lane = self.owners.get_mut(&owner)?;
        let call = lane.calls.pop_front();
        if lane.calls.is_empty() {
            self.owners.remove(&owner);
        } else {
            self.ring.push_back(owner);
        }
        call
    }

    /// How many calls there are, ended ones among them.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.owners.values().map(|lane| lane.calls.len()).sum()
    }

    /// Throws out the calls that have ended.
    pub(crate) fn retain(&mut self, mut is_live: impl FnMut(u64) -> bool) {
        self.owners.retain(|_, lane| {
            lane.calls.retain(|call| is_live(*call));
            lane.paused || !lane.calls.is_empty()
        });
        self.ring
            .retain(|owner| self.owners.get(owner).is_some_and(|lane| !lane.calls.is_empty()));
    }

    pub(crate) fn pause(&mut self, owner: u64) {
        self.owners.entry(owner).or_default().paused = true;
        self.ring.retain(|other| *other != owner);
    }

    pub(crate) fn resume(&mut self, owner: u64) {
        let Some(lane) = self.owners.get_mut(&owner) else {
            return;
        };
        let was_paused = std::mem::take(&mut lane.paused);
        if lane.calls.is_empty() {
            self.owners.remove(&owner);
        } else if was_paused {
            self.ring.push_back(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn owners_take_turns_and_keep_their_order() {
        let mut queue = Queue::default();
        for call in 10..14 {
            queue.push(1, call);
        }
        queue.push(2, 20);
        queue.push(3, 30);
        queue.push(2, 21);
        assert_eq!(drain(&mut queue), [10, 20, 30, 11, 21, 12, 13]);
        assert!(queue.owners.is_empty());
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let mut queue = Queue::default();
        queue.push(1, 12);
        queue.push(2, 20);
        queue.push_front(1, 11);
        queue.push_front(3, 30);
        assert_eq!(drain(&mut queue), [30, 11, 20, 12]);
    }

    #[test]
    fn whoever_could_not_be_served_keeps_its_turn() {
        let mut queue = Queue::default();
        for (owner, call) in [(1, 10), (1, 11), (2, 20), (3, 30)] {
            queue.push(owner, call);
        }
        assert_eq!(queue.pop(), Some(10));
        queue.push_front(1, 10);
        assert_eq!(drain(&mut queue), [10, 20, 30, 11]);
    }

    #[test]
    fn what_has_ended_can_be_thrown_out() {
        let mut queue = Queue::default();
        for (owner, call) in [(1, 10), (1, 11), (2, 20), (3, 30)] {
            queue.push(owner, call);
        }
        queue.pause(3);
        queue.retain(|call| call == 11);
        assert_eq!(queue.len(), 1);
        queue.push(3, 31);
        queue.push(2, 21);
        assert_eq!(drain(&mut queue), [11, 21]);
        queue.resume(3);
        assert_eq!(drain(&mut queue), [31]);
    }

    #[test]
    fn a_paused_owner_waits_and_others_do_not() {
        let mut queue = Queue::default();
        queue.push(1, 10);
        queue.pause(1);
        queue.push(1, 11);
        queue.push(2, 20);
        assert_eq!(drain(&mut queue), [20]);
        queue.resume(1);
        queue.resume(1);
        assert_eq!(drain(&mut queue), [10, 11]);
        queue.pause(4);
        queue.resume(4);
        assert!(queue.owners.is_empty());
    }
}
