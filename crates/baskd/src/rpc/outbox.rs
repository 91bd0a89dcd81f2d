//! What a connection has to write: lines, one after another, in one buffer, so that one write sends all that is ready.

use std::cell::{Cell, RefCell};

use tokio::sync::Notify;

/// Below this, a connection is taken to read what it is sent: windows open, subscriptions that lose items are fed.
pub const LOW: usize = 64 << 10;
/// Above this, nothing more is read from it, nor begun for it.
pub const HIGH: usize = 1 << 20;

#[derive(Default)]
pub struct Outbox {
    lines: RefCell<Vec<u8>>,
    /// What was taken to be written and is not yet.
    taken: Cell<usize>,
    closed: Cell<bool>,
    wake: Notify,
}

impl Outbox {
    /// Appends lines. Those for a connection that is gone are dropped.
    pub(crate) fn push(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.closed.get() {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        let was_empty = lines.is_empty();
        write(&mut lines);
        if was_empty {
            self.wake.notify_one();
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
        self.taken.set(into.len());
    }

    /// So much of what was taken is not yet written.
    pub fn set_unwritten(&self, bytes: usize) {
        self.taken.set(bytes);
    }

    /// Returns when there is something to write, or [`Outbox::wake`] was called.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub fn close(&self) {
        self.closed.set(true);
        self.lines.borrow_mut().clear();
        self.taken.set(0);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }
}
