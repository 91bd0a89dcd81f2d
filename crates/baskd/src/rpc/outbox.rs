//! What a connection has to write: lines, one after another, in one buffer, so that one write sends all that is ready.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::bell::Bell;

/// Below this, a connection is taken to read what it is sent: windows open, subscriptions that lose items are fed.
pub const LOW: usize = 64 << 10;
/// Above this, nothing more is read from it, nor begun for it.
pub const HIGH: usize = 1 << 20;

pub struct Outbox {
    lines: RefCell<Vec<u8>>,
    /// What was taken to be written and is not yet.
    taken: Cell<usize>,
    closed: Cell<bool>,
    bell: Bell,
    /// Bytes in all outboxes there are.
    total: Rc<Cell<usize>>,
}

impl Outbox {
    pub(crate) fn new(total: Rc<Cell<usize>>) -> Outbox {
        Outbox {
            lines: RefCell::default(),
            taken: Cell::new(0),
            closed: Cell::new(false),
            bell: Bell::default(),
            total,
        }
    }

    /// Appends lines. Those for a connection that is gone are dropped.
    pub(crate) fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.closed.get() {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        let before = lines.len();
        write(&mut lines);
        self.total.set(self.total.get() + lines.len() - before);
        if before == 0 {
            self.bell.ring();
        }
    }

    /// Bytes that were not written yet.
    pub fn len(&self) -> usize {
        self.lines.borrow().len() + self.taken.get()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Swaps what there is for an empty buffer.
    pub fn take(&self, into: &mut Vec<u8>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut *self.lines.borrow_mut(), into);
        let before = self.taken.replace(into.len());
        self.total.set(self.total.get() - before);
    }

    /// So much of what was taken is not yet written.
    pub fn set_unwritten(&self, bytes: usize) {
        if self.closed.get() {
            return;
        }
        let before = self.taken.replace(bytes);
        self.total.set(self.total.get() + bytes - before);
    }

    /// Returns when there is something to write, or [`Outbox::wake`] was called.
    pub async fn changed(&self) {
        self.bell.heard().await;
    }

    pub(crate) fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.bell.poll_heard(cx)
    }

    pub(crate) fn wake(&self) {
        self.bell.ring();
    }

    pub fn close(&self) {
        self.total.set(self.total.get() - self.len());
        self.closed.set(true);
        self.lines.take();
        self.taken.set(0);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_outboxes_hold_is_counted_until_it_is_written_or_they_are_closed() {
        let total = Rc::<Cell<usize>>::default();
        let outboxes = [Outbox::new(total.clone()), Outbox::new(total.clone())];
        for outbox in &outboxes {
            outbox.push(|out| out.extend_from_slice(b"one line\n"));
        }
        assert_eq!(total.get(), 18);
        let mut writing = Vec::new();
        outboxes[0].take(&mut writing);
        outboxes[0].push(|out| out.push(b'\n'));
        assert_eq!(total.get(), 19);
        outboxes[0].set_unwritten(4);
        assert_eq!((outboxes[0].len(), total.get()), (5, 14));
        outboxes[0].close();
        outboxes[0].set_unwritten(0);
        outboxes[0].push(|out| out.push(b'\n'));
        assert_eq!(total.get(), 9);
        drop(outboxes);
        assert_eq!(total.get(), 0);
    }
}
