//! Who is next: calls in order of arrival within one owner (a connection), round robin between owners, so that a flood
//! delays only its sender.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

#[derive(Default)]
pub(crate) struct Queue {
    owners: HashMap<u64, Lane, BuildHasherDefault<Spread>>,
    /// The owners that have calls and are not paused, next first.
    ring: VecDeque<u64>,
    /// Whether lanes go as soon as they are empty.
    is_passing: bool,
}

/// An owner's calls. It stays while its owner does, empty or not: to make one anew for each call would cost more than
/// the call.
struct Lane {
    calls: VecDeque<u64>,
    /// Its owner does not read its answers: nothing more is begun for it.
    paused: bool,
    /// Its owner is gone: it goes, too, once it is empty.
    ends: bool,
}

impl Queue {
    /// One to which calls come from another, which knows their owners.
    pub(crate) fn passing() -> Queue {
        Queue {
            is_passing: true,
            ..Queue::default()
        }
    }

    pub(crate) fn push(&mut self, owner: u64, call: u64) {
        let ends = self.is_passing;
        let lane = self.owners.entry(owner).or_insert_with(|| Lane::new(ends));
        lane.calls.push_back(call);
        if lane.calls.len() == 1 && !lane.paused {
            self.ring.push_back(owner);
        }
    }

    /// Puts a call back before its owner's others, and its owner first.
    pub(crate) fn push_front(&mut self, owner: u64, call: u64) {
        // If it has none, it was gone before this call came back.
        let lane = self.owners.entry(owner).or_insert_with(|| Lane::new(true));
        lane.calls.push_front(call);
        if !lane.paused {
            if lane.calls.len() > 1 {
                self.ring.retain(|other| *other != owner);
            }
            self.ring.push_front(owner);
        }
    }

    /// The call that [`Queue::pop`] would give.
    pub(crate) fn peek(&self) -> Option<u64> {
        let owner = self.ring.front()?;
        self.owners.get(owner)?.calls.front().copied()
    }

    pub(crate) fn pop(&mut self) -> Option<u64> {
        let owner = self.ring.pop_front()?;
        let lane = self.owners.get_mut(&owner)?;
        let call = lane.calls.pop_front();
        if !lane.calls.is_empty() {
            self.ring.push_back(owner);
        } else if lane.ends {
            self.owners.remove(&owner);
        }
        call
    }

    /// As [`Queue::push`], for an owner that is gone and asks for nothing more.
    pub(crate) fn push_last(&mut self, owner: u64, call: u64) {
        self.owners.entry(owner).or_insert_with(|| Lane::new(true));
        self.push(owner, call);
    }

    /// Takes the next owner's turn away until it is put back: what it asks for can't be done now.
    pub(crate) fn set_aside(&mut self) -> Option<u64> {
        self.ring.pop_front()
    }

    pub(crate) fn put_back(&mut self, owners: Vec<u64>) {
        for owner in owners.into_iter().rev() {
            self.ring.push_front(owner);
        }
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
            !lane.ends || !lane.calls.is_empty()
        });
        self.ring
            .retain(|owner| self.owners.get(owner).is_some_and(|lane| !lane.calls.is_empty()));
    }

    pub(crate) fn pause(&mut self, owner: u64) {
        if !self.is_passing {
            self.owners.entry(owner).or_insert_with(|| Lane::new(false));
        }
        let Some(lane) = self.owners.get_mut(&owner) else {
            return;
        };
        lane.paused = true;
        self.ring.retain(|other| *other != owner);
    }

    pub(crate) fn resume(&mut self, owner: u64) {
        if let Some(lane) = self.owners.get_mut(&owner)
            && std::mem::take(&mut lane.paused)
            && !lane.calls.is_empty()
        {
            self.ring.push_back(owner);
        }
    }

    /// The owner asks for nothing more, and waits for nothing.
    pub(crate) fn owner_gone(&mut self, owner: u64) {
        self.resume(owner);
        if let Some(lane) = self.owners.get_mut(&owner) {
            lane.ends = true;
            if lane.calls.is_empty() {
                self.owners.remove(&owner);
            }
        }
    }

    /// Takes all calls out, in the order in which they would have come: their owners, and whether those are paused.
    pub(crate) fn drain(&mut self) -> Vec<(u64, u64, bool)> {
        let mut all = Vec::new();
        while let Some(owner) = self.ring.front().copied() {
            match self.pop() {
                Some(call) => all.push((owner, call, false)),
                None => break,
            }
        }
        for (owner, lane) in std::mem::take(&mut self.owners) {
            all.extend(lane.calls.into_iter().map(|call| (owner, call, lane.paused)));
        }
        all
    }
}

impl Lane {
    fn new(ends: bool) -> Lane {
        Lane {
            calls: VecDeque::new(),
            paused: false,
            ends,
        }
    }
}

/// Owners are numbered one after another; to spread them needs no secret, since no client chooses its own number.
#[derive(Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }

    fn finish(&self) -> u64 {
        self.0
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
        assert_eq!(queue.peek(), Some(10));
        assert_eq!(drain(&mut queue), [10, 20, 30, 11, 21, 12, 13]);
        assert_eq!(queue.peek(), None);
    }

    #[test]
    fn an_owner_that_is_gone_leaves_nothing_but_its_last_calls() {
        let mut queue = Queue::default();
        queue.push(1, 10);
        queue.push(2, 20);
        queue.pause(1);
        queue.owner_gone(1);
        assert_eq!(drain(&mut queue), [20, 10]);
        queue.owner_gone(2);
        queue.owner_gone(3);
        assert!(queue.owners.is_empty());
    }

    #[test]
    fn all_can_be_taken_out_at_once() {
        let mut queue = Queue::default();
        for (owner, call) in [(1, 10), (1, 11), (2, 20), (3, 30)] {
            queue.push(owner, call);
        }
        queue.pause(3);
        let all = [(1, 10, false), (2, 20, false), (1, 11, false), (3, 30, true)];
        assert_eq!(queue.drain(), all);
        assert_eq!(queue.len(), 0);
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
    }
}
