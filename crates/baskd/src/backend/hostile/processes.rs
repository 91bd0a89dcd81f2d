//! How processes come to the table, serve, leave and die: as the supervisors do it, and all that is known here of that.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use baskd_protocol::error::Error;
use serde_json::json;

use super::super::Affinity;
use super::super::calls::{Calls, Death, Gate};
use super::super::methods::Methods;
use super::super::page::{Page, SLOTS};
use super::super::said::Said;
use super::clients::Hook;
use super::{Child, Daemon, MAX_CALLS, MAX_PARAMS, MAX_RESPONSE, MOST_CHILDREN};

impl Daemon {
    pub(super) fn new(shape: u8) -> Daemon {
        let workers = 1 + usize::from(shape & 1);
        let affinity = match shape & 2 {
            0 => Affinity::None,
            _ => Affinity::Connection,
        };
        let mut daemon = Daemon {
            calls: Calls::new(workers, affinity, MAX_CALLS, MAX_PARAMS),
            workers,
            children: Vec::new(),
            tally: Rc::default(),
            held: Vec::new(),
            known: VecDeque::new(),
            missed: Vec::new(),
            own: 0,
            params_bytes: 0,
        };
        for worker in 0..workers {
            let child = daemon.start(worker);
            daemon.children.push(child);
        }
        daemon
    }

    pub(super) fn start(&mut self, worker: usize) -> Child {
        let page = page();
        let seat = self.calls.take_seat(worker, page.clone()).expect("there is a seat");
        Child {
            worker,
            seat,
            page,
            said: Said::new(seat, MAX_RESPONSE),
        }
    }

    /// As the supervisor does when a process has said that it is ready.
    pub(super) fn ready(&mut self, child: usize, methods: Methods) {
        let missed = std::mem::take(&mut self.missed);
        self.own += missed.len();
        self.params_bytes += missed.iter().map(String::len).sum::<usize>();
        let seat = self.children[child].seat;
        self.calls.ready(seat, Rc::new(methods), missed);
    }

    /// Another process for a worker that has one, as at a reload.
    pub(super) fn start_beside(&mut self, worker: usize) {
        if self.children.len() < MOST_CHILDREN {
            let child = self.start(worker);
            self.children.push(child);
        }
    }

    /// A standby is another worker's.
    pub(super) fn move_to(&mut self, child: usize, worker: usize) {
        let child = &mut self.children[child];
        if !self.calls.serves(child.seat) {
            self.calls.move_to(child.seat, worker);
            child.worker = worker;
        }
    }

    /// The daemon calls a hook.
    pub(super) fn ask(&mut self, child: usize) {
        let hook = Hook::called(&self.tally);
        let (seat, params) = (self.children[child].seat, Some("{\"state\":1}".to_owned()));
        self.own += 1;
        self.params_bytes += 20;
        let id = self.calls.ask(seat, "on_restore", params, Box::new(hook));
        id.into_iter().for_each(|id| self.know(id));
    }

    pub(super) fn die(&mut self, child: usize) {
        let gone = self.children.swap_remove(child);
        self.bury(&gone);
        if !self.children.iter().any(|other| other.worker == gone.worker) {
            let child = self.start(gone.worker);
            self.children.push(child);
        }
    }

    pub(super) fn bury(&mut self, gone: &Child) {
        if self.calls.serves(gone.seat) {
            self.calls.set_gate(gone.worker, Gate::Hold { starting: true });
        }
        let death = Death {
            how: "died",
            exit: json!({ "code": 1 }),
            stderr: &[],
            snapshot_age: None,
        };
        self.calls.died(gone.seat, &death);
    }

    pub(super) fn close(&mut self, worker: usize) {
        let closed = Error::backend_unavailable("it is closed", &[], None);
        self.calls.set_gate(worker, Gate::Closed(closed));
    }

    pub(super) fn reopen(&mut self, worker: usize) {
        let mut its = self.children.iter().filter(|child| child.worker == worker);
        let gate = match its.any(|child| self.calls.serves(child.seat)) {
            true => Gate::Open,
            false => Gate::Hold { starting: true },
        };
        self.calls.set_gate(worker, gate);
    }

    /// Every process is gone, and no other comes.
    pub(super) fn end(mut self) {
        for child in std::mem::take(&mut self.children) {
            self.bury(&child);
            self.check();
        }
        (0..self.workers).for_each(|worker| self.close(worker));
        self.written();
        self.check();
        assert_eq!(
            self.tally.ended.get(),
            self.tally.submitted.get(),
            "not all calls were answered"
        );
        assert_eq!(self.tally.hooks.get(), 0, "not all hooks were told their end");
        assert_eq!(
            (self.calls.live(), self.calls.queued(), self.calls.in_flight()),
            (0, 0, 0)
        );
        assert_eq!(self.calls.properties(), (0, 0));
        (0..4).for_each(|owner| self.calls.owner_gone(owner));
        drop(self.calls);
        assert_eq!(self.tally.lost.get(), 0);
    }
}

/// A page for a new process. To make one takes a few system calls, so that those that nobody has any more are used again.
fn page() -> Rc<Page> {
    thread_local!(static PAGES: RefCell<Vec<Rc<Page>>> = const { RefCell::new(Vec::new()) });
    PAGES.with_borrow_mut(|pages| {
        let free = pages.iter().find(|page| Rc::strong_count(page) == 1).cloned();
        match free {
            Some(page) => {
                // The first slots and the last are all that is ever marked here, as begun or as cancelled.
                let zeros = [0; 8192];
                let (begun, cancelled) = (0, SLOTS as u64 * 8);
                for (at, length) in [(begun, 4096), (cancelled - 4096, 8192)] {
                    rustix::io::pwrite(page.fd(), &zeros[..length], at).expect("the page can be written");
                }
                page
            }
            None => {
                let page = Rc::new(Page::new().expect("there is memory for a page"));
                pages.push(page.clone());
                page
            }
        }
    })
}
