//! Calls that may take only so long. One task waits for the earliest deadline; a call that ended before its own costs
//! nothing but its entry, and the entries of ended calls are thrown out whenever they are the most.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use super::{CallId, Shared};

#[derive(Default)]
pub(crate) struct Deadlines {
    heap: RefCell<BinaryHeap<Reverse<(Instant, CallId)>>>,
    earlier: Notify,
}

impl Deadlines {
    pub(crate) fn add(&self, id: CallId, at: Instant, is_live: impl Fn(CallId) -> bool, live: usize) {
        let mut heap = self.heap.borrow_mut();
        if heap.len() > 2 * live + 64 {
            heap.retain(|Reverse((_, id))| is_live(*id));
        }
        let first = heap.peek().is_none_or(|Reverse((earliest, _))| at < *earliest);
        heap.push(Reverse((at, id)));
        if first {
            self.earlier.notify_one();
        }
    }

    fn next(&self) -> Option<Instant> {
        self.heap.borrow().peek().map(|Reverse((at, _))| *at)
    }

    fn pop_due(&self, now: Instant) -> Option<CallId> {
        let mut heap = self.heap.borrow_mut();
        if heap.peek()?.0.0 > now {
            return None;
        }
        heap.pop().map(|Reverse((_, id))| id)
    }
}

pub(crate) async fn run(shared: Rc<Shared>) {
    loop {
        let wait = async {
            match shared.deadlines.next() {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = shared.deadlines.earlier.notified() => {}
        }
        while let Some(id) = shared.deadlines.pop_due(Instant::now()) {
            shared.change(|calls| calls.expire(id));
        }
    }
}
