//! One Python more than serve, warm and idle: when one of these dies, it takes its place at once.
//!
//! It is for whichever worker needs it first, so there is one, however many workers there are.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::Shared;
use super::restart::{Decision, History, Life, jitter};
use super::status::{Role, State};
use super::supervisor::{Boot, all_ended, discard};

/// How often it is looked whether there is room for one.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When the next one is started after one was taken.
const AFTER_USE: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(crate) struct Standby {
    /// One that is ready.
    warm: RefCell<Option<Boot>>,
    /// It was taken, or is to be another.
    changed: Notify,
    is_ended: Cell<bool>,
    /// Whether there is one that is not ready yet.
    is_booting: Cell<bool>,
}

impl Standby {
    /// The warm process, unless what it is made of has changed since.
    pub(crate) fn take(&self, shared: &Rc<Shared>) -> Option<Boot> {
        let mut warm = self.warm.take()?;
        self.changed.notify_one();
        if warm.worker.has_died() || warm.files.changed().is_some() {
            discard(shared, warm.worker);
            return None;
        }
        Some(warm)
    }

    /// It is of no use any more: another version serves, or soon will.
    pub(crate) fn renew(&self, shared: &Rc<Shared>) {
        if let Some(warm) = self.warm.take() {
            discard(shared, warm.worker);
        }
        self.changed.notify_one();
    }
}

impl Standby {
    /// Nobody will take it any more. Waits until it has ended.
    pub(crate) async fn end(&self, shared: &Rc<Shared>) {
        self.is_ended.set(true);
        self.renew(shared);
        loop {
            let rest = shared.rest.notified();
            if !self.is_booting.get() {
                break;
            }
            rest.await;
        }
        all_ended(shared).await;
    }
}

/// Keeps one warm as long as the daemon runs.
pub(crate) async fn run(shared: Rc<Shared>) {
    let standby = &shared.standby;
    let mut history = History::default();
    loop {
        if let Some(warm) = standby.warm.take() {
            // It became ready in the very moment in which it was to be another.
            discard(&shared, warm.worker);
        }
        until_served(&shared).await;
        if standby.is_ended.get() {
            return;
        }
        let mut boot = match Boot::start(&shared, 0) {
            Ok(boot) => boot,
            Err(no_start) => {
                shared.logs.warn(&format!("there is no standby: {}", no_start.reason));
                pause(&shared, history.died(Life::NeverReady, Instant::now(), jitter())).await;
                continue;
            }
        };
        shared.set_role(boot.worker.seat(), Role::Standby);
        standby.is_booting.set(true);
        let outcome = tokio::select! {
            outcome = boot.next() => Some(outcome),
            () = standby.changed.notified() => None,
        };
        standby.is_booting.set(false);
        shared.rest.notify_waiters();
        let Some(outcome) = outcome else {
            discard(&shared, boot.worker);
            continue;
        };
        let mut life = Life::NeverReady;
        let failure = match outcome.err() {
            Some(failure) => Some(failure),
            None => {
                tracing::debug!("the standby is ready after {:.0?}", boot.took);
                *standby.warm.borrow_mut() = Some(boot);
                life = Life::Ready;
                tokio::select! {
                    died = died(standby) => {
                        match died {
                            Some(mut boot) => boot.next().await.err(),
                            None => None,
                        }
                    },
                    () = standby.changed.notified() => None,
                }
            }
        };
        match failure {
            None => {
                history = History::default();
                // Whoever took it has calls that wait, and does without a second start beside them.
                sleep(AFTER_USE).await;
            }
            Some(failure) => {
                shared.logs.warn(&format!("the standby is gone: {}", failure.reason));
                pause(&shared, history.died(life, Instant::now(), jitter())).await;
            }
        }
    }
}

/// Waits for the warm one to die where it stands.
async fn died(standby: &Standby) -> Option<Boot> {
    poll_fn(|cx| match &*standby.warm.borrow() {
        Some(warm) => warm.worker.poll_dead(cx),
        None => std::task::Poll::Pending,
    })
    .await;
    standby.warm.take()
}

/// There is nothing to stand by before something serves: it would only slow that down.
async fn until_served(shared: &Shared) {
    loop {
        let started = shared.started.notified();
        let serves = shared
            .workers
            .iter()
            .any(|post| post.status.borrow().state == State::Ready);
        // And during a reload, it would be of who knows which version.
        // And one seat is for a crash or a reload.
        let has_seat = shared.calls.borrow().free_seats() > 1;
        if serves && !shared.reloads.is_under_way() && has_seat {
            return;
        }
        tokio::select! {
            () = started => {}
            () = sleep(LOOK_EVERY), if !has_seat => {}
        }
    }
}

async fn pause(shared: &Shared, decision: Decision) {
    let changed = shared.standby.changed.notified();
    match decision {
        Decision::After(pause) => {
            tokio::select! {
                () = sleep(pause) => {}
                () = changed => {}
            }
        }
        Decision::GiveUp => {
            shared
                .logs
                .warn("no standby is started until another Python serves than now");
            let started = shared.started.notified();
            tokio::select! {
                () = started => {}
                () = changed => {}
            }
        }
    }
}
