//! From a process that serves to its end: before another, or for good.

use std::time::Duration;

use baskd_protocol::error::{CancelledBy, Error};
use tokio::time::timeout;

use super::super::calls::Gate;
use super::super::orders::{NotReady, STOPPING};
use super::super::status::State;
use super::super::worker::{Exit, Worker};
use super::end::{END_GRACE, TERM_GRACE, all_ended, discard, end, until};
use super::hook::{NoAnswer, ON_SNAPSHOT, ask_to_the_end};
use super::{Next, Reported, Supervisor};

impl Supervisor {
    /// Lets what Python was sent end, within the drain's limit, and then Python. What is queued waits for the next one.
    pub(super) async fn restart(&mut self, worker: &mut Worker) -> Next {
        self.drop_beside(&NotReady::because("Python is restarted"));
        self.shared.standby.renew(&self.shared);
        self.set(State::Starting, None);
        self.shared.logs.info("restart: running calls are ended first");
        self.set_gate(Gate::Hold { starting: false });
        let shared = self.shared.clone();
        let limit = shared.options.limits.drain_timeout;
        let seat = worker.seat();
        shared.change(|calls| calls.leave(seat));
        let drained = tokio::select! {
            drained = timeout(limit, until(&shared, worker, |calls| calls.nothing_sent(seat))) => drained,
            () = self.orders().until_stop() => {
                let grace = self.orders().stop_asked().unwrap_or_default();
                self.finish(worker, grace).await;
                return Next::Stop;
            }
        };
        match drained {
            // It was to end anyway: that says nothing against starting the next.
            Ok(Some(exit)) => {
                self.note_death(seat, &exit);
                return Next::Start;
            }
            Ok(None) => {}
            Err(_) => {
                shared
                    .logs
                    .warn(&format!("restart: calls that still run after {limit:?} are cancelled"));
                shared.change(|calls| calls.cancel_begun(seat, CancelledBy::Shutdown));
                let left = tokio::select! {
                    left = timeout(END_GRACE, until(&shared, worker, |calls| calls.nothing_sent(seat))) => left,
                    // The end that comes next is the stop's.
                    () = self.orders().until_stop() => Ok(None),
                };
                if let Ok(Some(exit)) = left {
                    self.note_death(seat, &exit);
                    return Next::Start;
                }
            }
        }
        if let Some(exit) = self.snapshot_at_end(worker).await {
            self.note_death(seat, &exit);
            return Next::Start;
        }
        let exit = end(&shared, worker, END_GRACE).await;
        shared.bury(seat, &exit);
        Next::Start
    }

    /// Takes the last snapshot of a process that has nothing to do any more; how it died, if it did.
    pub(super) async fn snapshot_at_end(&self, worker: &mut Worker) -> Option<Exit> {
        if !self.shared.serving_has(ON_SNAPSHOT) {
            return None;
        }
        if !self.shared.calls.borrow().nothing_sent(worker.seat()) {
            self.shared
                .logs
                .warn("a cancelled call still runs, so no snapshot can be taken: the last one stays");
            return None;
        }
        let limit = self.shared.options.limits.hook_timeout();
        match ask_to_the_end(&self.shared, worker, ON_SNAPSHOT, None, limit).await {
            Ok(state) => {
                if let Err(why) = self.shared.took_snapshot(&state) {
                    self.shared.logs.warn(&why);
                }
            }
            Err(NoAnswer::Died { exit, .. }) => return Some(exit),
            Err(NoAnswer::Failed(reason)) => self
                .shared
                .logs
                .warn(&format!("on_snapshot failed, and the last snapshot stays: {reason}")),
            Err(NoAnswer::Busy) => self
                .shared
                .logs
                .warn("the table of calls is full: the last snapshot stays"),
            Err(NoAnswer::Stopping) => {}
        }
        None
    }

    /// Answers what there is within `grace`, cancels the rest, and ends Python.
    pub(super) async fn finish(&mut self, worker: &mut Worker, grace: Duration) {
        self.drop_beside(&NotReady::because(STOPPING));
        self.set(State::Stopping, None);
        self.set_gate(Gate::Finishing(Error::never_began()));
        let shared = self.shared.clone();
        let seat = worker.seat();
        let answered = timeout(grace, until(&shared, worker, |calls| calls.is_idle())).await;
        if let Ok(Some(exit)) = &answered {
            // Before the rest is cancelled: what had begun is told what became of it.
            shared.bury(seat, exit);
        }
        shared.change(|calls| calls.end_all());
        if matches!(answered, Ok(Some(_))) {
            return;
        }
        // What was cancelled just now may still be about to leave.
        shared.change(|calls| calls.leave(seat));
        let mut ended = timeout(TERM_GRACE, until(&shared, worker, |calls| calls.nothing_sent(seat))).await;
        if let Ok(None) = ended {
            ended = Ok(self.snapshot_at_end(worker).await);
        }
        let exit = match ended {
            Ok(Some(exit)) => exit,
            Ok(None) => end(&shared, worker, END_GRACE).await,
            // What has not come to an end within its grace does not get as much again.
            Err(_) => end(&shared, worker, Duration::ZERO).await,
        };
        shared.bury(seat, &exit);
    }

    /// What was started, or asked for, to serve next, does not.
    pub(super) fn drop_next(&mut self, why: &NotReady) {
        self.drop_beside(why);
        if let Some(boot) = self.next.take() {
            discard(&self.shared, boot.worker);
        }
        if let Some((round, reported)) = self.round.take() {
            if reported == Reported::NotYet {
                round.report(Err(why.clone()));
            }
            self.end_round(&round, Err(why.clone()));
        }
    }

    pub(super) async fn stopped(&mut self) {
        self.set(State::Stopping, None);
        // The last one's ends what still waits.
        self.set_gate(Gate::Closed(Error::never_began()));
        self.drop_next(&NotReady::because(STOPPING));
        self.orders().close();
        self.shared.is_ending.set(true);
        self.shared.rest.notify_waiters();
        all_ended(&self.shared).await;
        self.orders().stopped();
    }
}
