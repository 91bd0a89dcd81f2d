//! What the supervisor is asked for. Restarts that are asked for at once are one restart; a stop comes before everything.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::reload::Round;

/// Told when a new process is ready, or why it is not.
pub type Asker = Box<dyn FnOnce(Result<(), &NotReady>)>;

/// Why a new process is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    pub reason: String,
    /// The last lines that it wrote to stderr.
    pub stderr: Vec<String>,
}

impl NotReady {
    pub(crate) fn because(reason: impl Into<String>) -> NotReady {
        NotReady {
            reason: reason.into(),
            stderr: Vec::new(),
        }
    }
}

/// One asker for each of several, who together tell `asker`: once all are ready, or once the first is not.
pub(crate) fn for_each(workers: usize, asker: Option<Asker>) -> Vec<Option<Asker>> {
    let Some(asker) = asker else {
        return (0..workers).map(|_| None).collect();
    };
    let waiting = Rc::new(RefCell::new(Some(asker)));
    let left = Rc::new(Cell::new(workers));
    let one = |_| {
        let (waiting, left) = (waiting.clone(), left.clone());
        let tell: Asker = Box::new(move |outcome| {
            left.set(left.get() - 1);
            if (outcome.is_err() || left.get() == 0)
                && let Some(asker) = waiting.take()
            {
                asker(outcome);
            }
        });
        Some(tell)
    };
    (0..workers).map(one).collect()
}

pub(crate) const STOPPING: &str = "the daemon is stopping";

#[derive(Default)]
pub(crate) struct Orders {
    restart: Cell<bool>,
    reload: RefCell<Option<Rc<Round>>>,
    /// Those who asked since the last process was started, and those who wait for that one.
    askers: RefCell<Vec<Asker>>,
    joined: RefCell<Vec<Asker>>,
    /// The grace, once a stop was asked for.
    stop: Cell<Option<Duration>>,
    changed: Notify,
    /// Nothing but the stop is done any more.
    is_closed: Cell<bool>,
    stopped: Cell<bool>,
    done: Notify,
}

pub(crate) enum Order {
    Restart,
    Reload(Rc<Round>),
    Stop(Duration),
}

impl Orders {
    /// Asks for a restart. False if too many wait for one already.
    pub(crate) fn restart(&self, asker: Option<Asker>, most: usize) -> bool {
        if self.is_closed.get() {
            if let Some(asker) = asker {
                asker(Err(&NotReady::because(STOPPING)));
            }
            return true;
        }
        let mut askers = self.askers.borrow_mut();
        if askers.len() + self.joined.borrow().len() >= most {
            return false;
        }
        askers.extend(asker);
        self.restart.set(true);
        self.changed.notify_one();
        true
    }

    /// Asks for a part in a reload. There is one at a time.
    pub(crate) fn reload(&self, round: Rc<Round>) {
        *self.reload.borrow_mut() = Some(round);
        self.changed.notify_one();
    }

    /// Asks for a stop, and waits for it.
    pub(crate) async fn stop(&self, grace: Duration) {
        let done = self.done.notified();
        if self.stopped.get() {
            return;
        }
        self.stop.set(Some(grace));
        self.changed.notify_one();
        done.await;
    }

    /// The next order. A stop is never taken off: whoever asks next is told, too.
    pub(crate) async fn next(&self) -> Order {
        loop {
            if let Some(grace) = self.stop.get() {
                return Order::Stop(grace);
            }
            if self.restart.take() {
                return Order::Restart;
            }
            if let Some(round) = self.reload.take() {
                return Order::Reload(round);
            }
            self.changed.notified().await;
        }
    }

    /// The stop that was asked for.
    pub(crate) fn stop_asked(&self) -> Option<Duration> {
        self.stop.get()
    }

    /// Waits until anything is asked for.
    pub(crate) async fn until_any(&self) {
        while self.stop.get().is_none() && !self.restart.get() && self.reload.borrow().is_none() {
            self.changed.notified().await;
        }
    }

    /// Waits for a stop only.
    pub(crate) async fn until_stop(&self) {
        while self.stop.get().is_none() {
            self.changed.notified().await;
        }
    }

    /// A process is started now: it is what all who have asked so far wait for.
    pub(crate) fn starting(&self) {
        self.restart.set(false);
        self.joined.borrow_mut().append(&mut self.askers.borrow_mut());
    }

    /// Answers those who wait for the process that was started last.
    pub(crate) fn answer(&self, outcome: Result<(), &NotReady>) {
        for asker in self.joined.take() {
            asker(outcome);
        }
    }

    /// Nothing else will be done: who waits for it is told.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        let why = NotReady::because(STOPPING);
        self.starting();
        self.answer(Err(&why));
        if let Some(round) = self.reload.take() {
            round.report(Err(why.clone()));
            round.done(Err(why));
        }
    }

    /// The stop is done.
    pub(crate) fn stopped(&self) {
        self.stopped.set(true);
        self.done.notify_waiters();
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
    async fn restarts_that_are_asked_for_before_a_start_are_one() {
        let orders = Orders::default();
        let seen = Rc::default();
        for _ in 0..1000 {
            orders.restart(None, 10);
        }
        orders.restart(asker(&seen, "before"), 10);
        assert!(matches!(orders.next().await, Order::Restart));
        orders.restart(asker(&seen, "while it drained"), 10);
        orders.starting();
        orders.restart(asker(&seen, "while it started"), 10);
        orders.answer(Ok(()));
        assert_eq!(*seen.borrow(), ["before Ok(())", "while it drained Ok(())"]);
        assert!(matches!(orders.next().await, Order::Restart));
    }

    #[tokio::test]
    async fn a_stop_comes_first_and_is_not_forgotten() {
        let orders = Orders::default();
        orders.restart(None, 10);
        let stop = orders.stop(Duration::from_secs(1));
        let see = async {
            orders.until_stop().await;
            for _ in 0..2 {
                assert!(matches!(orders.next().await, Order::Stop(_)));
            }
            orders.stopped();
        };
        tokio::join!(stop, see);
        orders.stop(Duration::ZERO).await;
    }

    #[test]
    fn several_are_ready_once_all_are_and_fail_with_the_first() {
        let seen = Rc::default();
        let mut all = for_each(3, asker(&seen, "all")).into_iter().flatten();
        let mut tell = |outcome| all.next().unwrap()(outcome);
        tell(Ok(()));
        tell(Ok(()));
        assert!(seen.borrow().is_empty());
        tell(Ok(()));
        assert_eq!(*seen.borrow(), ["all Ok(())"]);
        let mut failing = for_each(3, asker(&seen, "failing")).into_iter().flatten();
        let why = NotReady::because("x");
        for outcome in [Ok(()), Err(&why), Ok(())] {
            failing.next().unwrap()(outcome);
        }
        assert_eq!(seen.borrow()[1..], ["failing Err(\"x\")"]);
        assert_eq!(for_each(2, None).len(), 2);
    }

    #[test]
    fn only_so_many_wait() {
        let orders = Orders::default();
        let seen = Rc::default();
        assert!(orders.restart(asker(&seen, "a"), 1));
        assert!(!orders.restart(asker(&seen, "b"), 1));
    }
}
