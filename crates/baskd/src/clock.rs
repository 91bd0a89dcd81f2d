//! The time at which the bytes in hand came in, to measure calls by.
//!
//! To ask the system costs as much as some calls' whole way through the daemon. So it is asked once for each chunk that
//! is read, from a client or from Python, and everything in the chunk bears that time. The daemon has one thread.

use std::cell::Cell;
use std::time::Instant;

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

/// A chunk has come in.
pub(crate) fn tick() {
    NOW.set(Instant::now());
}

/// When the last chunk came in.
pub(crate) fn now() -> Instant {
    NOW.get()
}
