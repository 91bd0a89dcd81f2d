//! A process that is started beside the one that serves, to take its place: at a reload, or because that one is worn.

use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use baskd_protocol::error::CancelledBy;

use super::super::Again;
use super::super::calls::Gate;
use super::super::orders::{NotReady, STOPPING};
use super::super::reload::Round;
use super::super::worker::{Exit, Worker};
use super::boot::{Boot, Failure};
use super::end::{END_GRACE, discard, retire, until};
use super::hook::{NoAnswer, ON_RESTORE, ON_SNAPSHOT, ask, restore_params};
use super::{Reported, State, Supervisor, describe};

/// How long calls wait for a process to give its state to one that is to replace it by itself.
const UNASKED_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Beside {
    pub(super) boot: Boot,
    pub(super) why: Why,
}

pub(super) enum Why {
    Reload(Rc<Round>),
    /// The old one has answered so many calls, or become so large.
    Worn,
}

/// What a process beside has come to.
pub(super) enum News {
    /// It may take its place.
    Go,
    Failed(Failure),
    /// It is ready, but another worker's is not.
    Abort(NotReady),
}

/// When a worn process may be replaced again, after that has failed: each try costs a start.
#[derive(Default)]
pub(super) struct WornPause {
    pause: Duration,
    until: Option<Instant>,
}

impl WornPause {
    const FIRST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(600);

    pub(super) fn failed(&mut self) {
        self.pause = (2 * self.pause).clamp(WornPause::FIRST, WornPause::LONGEST);
        self.until = Some(Instant::now() + self.pause);
    }

    pub(super) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }
}

/// What became of a switch.
pub(super) enum Switched {
    Done,
    /// The old one serves on.
    Stayed,
    OldDied(Exit),
    Stopping,
}

impl Beside {
    /// Waits for news; for ever if there is nothing beside.
    pub(super) async fn next(beside: &mut Option<Beside>) -> News {
        let Some(beside) = beside else { return pending().await };
        let round = match &beside.why {
            Why::Reload(round) => Some(round.clone()),
            Why::Worn => None,
        };
        if beside.boot.ready.is_none() {
            match beside.boot.next().await {
                Ok(()) => {
                    if let Some(round) = &round {
                        round.report(Ok(()));
                    }
                }
                Err(failure) => return News::Failed(failure),
            }
        }
        let Some(round) = round else { return News::Go };
        tokio::select! {
            outcome = beside.boot.next() => match outcome {
                Ok(()) => pending().await,
                Err(failure) => News::Failed(failure),
            },
            verdict = round.verdict() => match verdict {
                Ok(()) => News::Go,
                Err(reason) => News::Abort(reason),
            },
        }
    }
}

impl Supervisor {
    /// Starts one beside.
    pub(super) fn start_beside(&mut self, why: Why) {
        let warm = match why {
            Why::Worn if self.beside.is_some() => return,
            // One is for a crash or a reload.
            Why::Worn if self.shared.calls.borrow().free_seats() < 2 => {
                self.worn_pause.failed();
                return self.shared.logs.warn(
                    "a worn Python can't be replaced now, and serves on: others before it have calls that have not ended",
                );
            }
            Why::Worn => self.take_standby(),
            // What stands by is of the old version.
            Why::Reload(_) => {
                self.shared.standby.renew(&self.shared);
                self.drop_beside(&NotReady::because("a reload was asked for"));
                None
            }
        };
        let boot = match warm {
            Some(warm) => Ok(warm),
            None => Boot::start(&self.shared, self.post),
        };
        match boot {
            Ok(boot) => self.beside = Some(Beside { boot, why }),
            Err(no_start) => self.beside_failed(&why, &Failure::from(no_start)),
        }
    }

    /// The old one serves on.
    pub(super) fn beside_failed(&mut self, why: &Why, failure: &Failure) {
        match why {
            Why::Reload(round) => {
                self.shared.logs.warn(&format!(
                    "reload: the new Python did not start, and the old one serves on: {}",
                    failure.reason
                ));
                round.report(Err(failure.told()));
                self.end_round(round, Err(failure.told()));
            }
            Why::Worn => {
                self.worn_pause.failed();
                self.shared.logs.warn(&format!(
                    "a worn Python can't be replaced now, and serves on: {}",
                    failure.reason
                ));
            }
        }
    }

    /// Ends what was started beside, if anything was.
    pub(super) fn drop_beside(&mut self, why_not: &NotReady) {
        let Some(Beside { boot, why }) = self.beside.take() else {
            return;
        };
        if let Why::Reload(round) = why {
            if boot.ready.is_none() {
                round.report(Err(why_not.clone()));
            }
            self.end_round(&round, Err(why_not.clone()));
        }
        discard(&self.shared, boot.worker);
    }

    pub(super) fn end_round(&self, round: &Round, outcome: Result<(), NotReady>) {
        round.done(outcome);
        self.shared.next_reload();
        self.shared.started.notify_waiters();
    }

    /// Has the process beside serve, and the old one end what it has. If the controller carries its state over, calls wait
    /// until the old one has given it and the new one has it; else only until those before them have begun, and those that
    /// have the main thread have ended.
    pub(super) async fn switch(&mut self, old: &mut Worker, beside: Beside) -> Switched {
        let Beside { mut boot, why } = beside;
        let round = match why {
            Why::Reload(round) => Some(round),
            Why::Worn => None,
        };
        let mark = self.shared.journal.changes();
        let deadline = Instant::now() + self.shared.options.limits.drain_timeout;
        let outcome = self.take_over(old, &mut boot, deadline, round.is_some()).await;
        match outcome {
            Ok(()) => {
                let new = self.open(boot);
                let old = std::mem::replace(old, new);
                // Only somebody who has asked for a reload can have meant that calls are cancelled for it.
                retire(&self.shared, old, round.as_ref().map(|_| deadline));
                let (count, why) = match round {
                    Some(_) => (&self.shared.reloads_done, Again::Reload),
                    None => (&self.shared.recycled, Again::Recycled),
                };
                count.set(count.get() + 1);
                self.shared.told.started_again(why);
                if let Some(round) = round {
                    self.end_round(&round, Ok(()));
                }
                Switched::Done
            }
            Err(NoSwitch::Stay(why)) => {
                discard(&self.shared, boot.worker);
                // Others may have been sent properties meanwhile.
                let missed = self.shared.journal.since(mark);
                self.shared.change(|calls| calls.stay_and_set(old.seat(), missed));
                self.set_gate(Gate::Open);
                self.set(State::Ready, None);
                self.shared.logs.warn(&format!(
                    "the new Python can't take over, and the old one serves on: {}",
                    why.reason
                ));
                match round {
                    Some(round) => self.end_round(&round, Err(why)),
                    None => self.worn_pause.failed(),
                }
                Switched::Stayed
            }
            Err(NoSwitch::OldDied(exit)) => {
                // The new one is as good as any.
                self.next = Some(boot);
                self.round = round.map(|round| (round, Reported::Yes));
                Switched::OldDied(exit)
            }
            Err(NoSwitch::Stopping) => {
                discard(&self.shared, boot.worker);
                if let Some(round) = round {
                    self.end_round(&round, Err(NotReady::because(STOPPING)));
                }
                Switched::Stopping
            }
        }
    }

    /// `may_cancel`: whether calls that take too long are cancelled. Else, if they keep the old one from giving its state,
    /// it serves on: nobody is to wait long for a switch that nobody has asked for.
    async fn take_over(
        &mut self,
        old: &mut Worker,
        boot: &mut Boot,
        deadline: Instant,
        may_cancel: bool,
    ) -> Result<(), NoSwitch> {
        let shared = self.shared.clone();
        let orders = &shared.workers[self.post].orders;
        let seat = old.seat();
        let carries = shared.serving_has(ON_SNAPSHOT) && boot.has_hook(ON_RESTORE);
        self.set_gate(Gate::Hold { starting: false });
        shared.change(|calls| calls.leave(seat));
        let patience = if carries && !may_cancel {
            deadline.min(Instant::now() + UNASKED_PATIENCE)
        } else {
            deadline
        };
        let settled = tokio::select! {
            settled = timeout_at(patience, until(&shared, old, |calls| {
                if carries { calls.nothing_sent(seat) } else { calls.is_settled(seat) }
            })) => settled,
            outcome = boot.next() => {
                let why = outcome.err().map(|failure| failure.told());
                return Err(NoSwitch::Stay(why.unwrap_or_else(|| NotReady::because("it is not ready"))));
            },
            () = orders.until_stop() => return Err(NoSwitch::Stopping),
        };
        match settled {
            Ok(Some(exit)) => return Err(NoSwitch::OldDied(exit)),
            Ok(None) => {}
            // What still runs is cancelled, at once or as the old one is retired.
            Err(_) if !carries => {}
            Err(_) if !may_cancel => {
                return Err(NoSwitch::stay("calls run that take long, and it is not needed at once"));
            }
            Err(_) => {
                shared
                    .logs
                    .warn("reload: calls that still run are cancelled: `drain_timeout` is over");
                shared.change(|calls| calls.cancel_begun(seat, CancelledBy::Shutdown));
                let left = tokio::select! {
                    left = timeout(END_GRACE, until(&shared, old, |calls| calls.nothing_sent(seat))) => left,
                    () = orders.until_stop() => return Err(NoSwitch::Stopping),
                };
                match left {
                    Ok(Some(exit)) => return Err(NoSwitch::OldDied(exit)),
                    Ok(None) => {}
                    Err(_) => {
                        return Err(NoSwitch::stay("a call can't be cancelled, so no snapshot can be taken"));
                    }
                }
            }
        }
        if !carries {
            return Ok(());
        }
        let limit = shared.options.limits.hook_timeout();
        let state = ask(&shared, orders, old, ON_SNAPSHOT, None, limit).await;
        match state {
            Ok(state) => shared.took_snapshot(&state).map_err(|why| NoSwitch::stay(&why))?,
            Err(NoAnswer::Died { exit, .. }) => return Err(NoSwitch::OldDied(exit)),
            Err(NoAnswer::Failed(reason)) => {
                return Err(NoSwitch::stay(&format!(
                    "on_snapshot failed (`baskd restart` goes back to the last snapshot): {reason}"
                )));
            }
            Err(NoAnswer::Busy) => return Err(NoSwitch::stay("there are too many calls")),
            Err(NoAnswer::Stopping) => return Err(NoSwitch::Stopping),
        }
        let Some(snapshot) = shared.last_snapshot() else {
            return Ok(());
        };
        let params = restore_params(&shared, &snapshot);
        match ask(&shared, orders, &mut boot.worker, ON_RESTORE, Some(params), limit).await {
            Ok(_) => {
                shared.logs.info("the old Python's state was restored in the new one");
                Ok(())
            }
            Err(NoAnswer::Failed(reason)) => Err(NoSwitch::stay(&format!("on_restore failed: {reason}"))),
            Err(NoAnswer::Busy) => Err(NoSwitch::stay("there are too many calls")),
            Err(NoAnswer::Died { exit, .. }) => {
                let how = describe(exit.status, exit.oom);
                let reason = format!("it {how} in on_restore");
                shared.note_exit(boot.worker.seat(), &exit, &reason);
                shared.bury(boot.worker.seat(), &exit);
                Err(NoSwitch::Stay(NotReady {
                    reason,
                    stderr: exit.stderr,
                }))
            }
            Err(NoAnswer::Stopping) => Err(NoSwitch::Stopping),
        }
    }
}

enum NoSwitch {
    Stay(NotReady),
    OldDied(Exit),
    Stopping,
}

impl NoSwitch {
    fn stay(reason: &str) -> NoSwitch {
        NoSwitch::Stay(NotReady::because(reason))
    }
}
