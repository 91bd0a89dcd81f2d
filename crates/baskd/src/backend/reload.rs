//! A reload of all workers: each has a new process started beside the old; when all are ready all switch, and if one can't
//! start none does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Notify;

use super::Shared;
use super::orders::{Asker, NotReady, STOPPING};

/// One reload. Each worker says once that it is ready or not ([`Round::report`]), and once how it ended ([`Round::done`]).
pub(crate) struct Round {
    reports_due: Cell<usize>,
    ends_due: Cell<usize>,
    failure: RefCell<Option<NotReady>>,
    askers: RefCell<Vec<Asker>>,
    changed: Notify,
}

/// The reload under way, and who asked for another.
#[derive(Default)]
pub(crate) struct Reloads {
    current: RefCell<Option<Rc<Round>>>,
    waiting: RefCell<Vec<Asker>>,
    another: Cell<bool>,
    is_stopped: Cell<bool>,
}

/// The reloads that were asked for, as whoever watches the daemon sees them: of either mode, and from the asking on.
#[derive(Default)]
pub(crate) struct Reloading {
    begun: Cell<u64>,
    under_way: Cell<u64>,
    failure: RefCell<Option<String>>,
}

impl Reloading {
    pub(crate) fn begun(&self) -> u64 {
        self.begun.get()
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.get() > 0
    }

    /// Why the last one failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }
}

/// One reload that was asked for; over when it is dropped.
struct Counted(Rc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        let under_way = &self.0.reloading.under_way;
        under_way.set(under_way.get() - 1);
        self.0.changed.notify_one();
    }
}

/// Has a reload be seen in [`Reloading`], until what this gives is called, which tells `asker`, or is dropped.
pub(crate) fn counted(shared: &Rc<Shared>, asker: Option<Asker>) -> Asker {
    let reloading = &shared.reloading;
    reloading.begun.set(reloading.begun.get() + 1);
    reloading.under_way.set(reloading.under_way.get() + 1);
    shared.changed.notify_one();
    let counted = Counted(shared.clone());
    Box::new(move |outcome| {
        *counted.0.reloading.failure.borrow_mut() = outcome.err().map(|why| why.reason.clone());
        drop(counted);
        if let Some(asker) = asker {
            asker(outcome);
        }
    })
}

impl Reloads {
    /// Asks for a reload. Gives the round if it begins now; it is to be told to each of so many workers. `Err` if too many
    /// wait for one already.
    pub(crate) fn ask(&self, workers: usize, asker: Option<Asker>, most: usize) -> Result<Option<Rc<Round>>, ()> {
        if self.is_stopped.get() {
            if let Some(asker) = asker {
                asker(Err(&NotReady::because(STOPPING)));
            }
            return Ok(None);
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= most {
            return Err(());
        }
        waiting.extend(asker);
        drop(waiting);
        self.another.set(true);
        Ok(self.next(workers))
    }

    /// The next round, if one was asked for and none is under way.
    pub(crate) fn next(&self, workers: usize) -> Option<Rc<Round>> {
        let mut current = self.current.borrow_mut();
        if current.as_ref().is_some_and(|round| !round.has_ended()) || !self.another.take() {
            return None;
        }
        let round = Rc::new(Round {
            reports_due: Cell::new(workers),
            ends_due: Cell::new(workers),
            failure: RefCell::default(),
            askers: RefCell::new(self.waiting.take()),
            changed: Notify::new(),
        });
        *current = Some(round.clone());
        Some(round)
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.current.borrow().as_ref().is_some_and(|round| !round.has_ended())
    }

    /// Nobody will reload any more.
    pub(crate) fn stop(&self) {
        self.is_stopped.set(true);
        self.another.set(false);
        for asker in self.waiting.take() {
            asker(Err(&NotReady::because(STOPPING)));
        }
    }
}

impl Round {
    /// A worker's new process is ready, or why it is not.
    pub(crate) fn report(&self, outcome: Result<(), NotReady>) {
        self.reports_due.set(self.reports_due.get().saturating_sub(1));
        if let Err(reason) = outcome {
            self.failure.borrow_mut().get_or_insert(reason);
        }
        self.changed.notify_waiters();
    }

    /// Waits until it is known whether all are ready: why they are not, if so.
    pub(crate) async fn verdict(&self) -> Result<(), NotReady> {
        loop {
            let changed = self.changed.notified();
            if let Some(reason) = &*self.failure.borrow() {
                return Err(reason.clone());
            }
            if self.reports_due.get() == 0 {
                return Ok(());
            }
            changed.await;
        }
    }

    /// A worker has switched, or goes on with its old process.
    pub(crate) fn done(&self, outcome: Result<(), NotReady>) {
        self.ends_due.set(self.ends_due.get().saturating_sub(1));
        if let Err(reason) = outcome {
            self.failure.borrow_mut().get_or_insert(reason);
        }
        if !self.has_ended() {
            return;
        }
        let failure = self.failure.borrow().clone();
        for asker in self.askers.take() {
            asker(failure.as_ref().map_or(Ok(()), Err));
        }
    }

    fn has_ended(&self) -> bool {
        self.ends_due.get() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(seen: &Rc<RefCell<Vec<String>>>, name: &'static str) -> Option<Asker> {
        let seen = seen.clone();
        Some(Box::new(move |outcome| {
            let outcome = outcome.map_err(|why| why.reason.clone());
            seen.borrow_mut().push(format!("{name} {outcome:?}"))
        }))
    }

    #[tokio::test]
    async fn all_switch_or_none_does() {
        let seen = Rc::default();
        let reloads = Reloads::default();
        let round = reloads.ask(2, asker(&seen, "a"), 9).unwrap().unwrap();
        round.report(Ok(()));
        assert!(futures_util::FutureExt::now_or_never(round.verdict()).is_none());
        let broken = || NotReady::because("broken");
        round.report(Err(broken()));
        assert_eq!(round.verdict().await, Err(broken()));
        round.done(Err(broken()));
        assert!(seen.borrow().is_empty());
        round.done(Err(NotReady::because("so it stays")));
        assert_eq!(*seen.borrow(), ["a Err(\"broken\")"]);
    }

    #[tokio::test]
    async fn who_asks_while_one_is_under_way_waits_for_the_next() {
        let seen = Rc::default();
        let reloads = Reloads::default();
        let first = reloads.ask(1, asker(&seen, "a"), 9).unwrap().unwrap();
        assert!(reloads.ask(1, asker(&seen, "b"), 9).unwrap().is_none());
        assert!(reloads.ask(1, asker(&seen, "c"), 9).unwrap().is_none());
        assert!(reloads.ask(1, None, 2).is_err());
        first.report(Ok(()));
        assert_eq!(first.verdict().await, Ok(()));
        first.done(Ok(()));
        assert_eq!(*seen.borrow(), ["a Ok(())"]);
        let second = reloads.next(1).unwrap();
        assert!(reloads.next(1).is_none());
        second.report(Ok(()));
        second.done(Ok(()));
        assert_eq!(seen.borrow().len(), 3);
        assert!(reloads.next(1).is_none());
        reloads.stop();
        assert!(reloads.ask(1, asker(&seen, "late"), 9).unwrap().is_none());
        assert_eq!(seen.borrow()[3], "late Err(\"the daemon is stopping\")");
    }
}
