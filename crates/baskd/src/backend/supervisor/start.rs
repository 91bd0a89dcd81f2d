//! From nothing to a process that serves.

use std::os::unix::process::ExitStatusExt;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{sleep, sleep_until};

use super::super::Again;
use super::super::files::Files;
use super::super::methods::Methods;
use super::super::orders::{Order, Orders};
use super::super::restart::Life;
use super::super::status::{Role, State, describe};
use super::super::worker::Worker;
use super::beside::{Beside, Why};
use super::boot::{Boot, Failure, NoStart};
use super::end::discard;
use super::hook::{NoAnswer, ON_RESTORE, ask_to_the_end, restore_params};
use super::{BETWEEN_STARTS, LOOK_EVERY, Next, Reported, Supervisor};

/// How long a start may be under way before it is given up for another, though nothing has changed.
const PATIENCE: Duration = Duration::from_secs(10);

impl Supervisor {
    /// The process that is there already, or a new one.
    pub(super) fn get(&mut self) -> Result<Boot, NoStart> {
        if let Some(Beside { boot, why }) = self.beside.take() {
            if let Why::Reload(round) = why {
                let reported = if boot.ready.is_some() {
                    Reported::Yes
                } else {
                    Reported::NotYet
                };
                self.round = Some((round, reported));
            }
            return Ok(boot);
        }
        if let Some(boot) = self.next.take() {
            if !boot.worker.has_died() {
                return Ok(boot);
            }
            discard(&self.shared, boot.worker);
        }
        match self.take_standby() {
            Some(boot) => Ok(boot),
            None => Boot::start(&self.shared, self.post),
        }
    }

    /// The warm process, if there is one.
    pub(super) fn take_standby(&self) -> Option<Boot> {
        let warm = self.shared.standby.take(&self.shared)?;
        let seat = warm.worker.seat();
        self.shared.change(|calls| calls.move_to(seat, self.post));
        if let Some(process) = self.shared.processes.borrow_mut().get_mut(&seat) {
            process.worker = self.post;
        }
        Some(warm)
    }

    /// Waits until a process is ready.
    pub(super) async fn boot(&mut self, boot: &mut Boot) -> Result<(), Next> {
        let since = tokio::time::Instant::now();
        if boot.ready.is_some() {
            return Ok(());
        }
        self.shared.set_role(boot.worker.seat(), Role::Starting);
        let files = boot.files.clone();
        tokio::select! {
            outcome = boot.next() => outcome.map_err(|failure| {
                // The next start looks at what this one was made of.
                *self.shared.files.borrow_mut() = boot.files.clone();
                let is_final = failure.is_final;
                let told = failure.clone();
                match self.failed(Life::NeverReady, failure) {
                    _ if is_final => Next::Wait(told),
                    next => next,
                }
            }),
            // A process that never served has nothing to bring to an end.
            order = order_while_it_starts(&self.shared.workers[self.post].orders, since, files, self.took) => {
                Err(self.after(order))
            }
        }
    }

    /// Gives a process that is to serve the last snapshot, if the controller takes that.
    pub(super) async fn restore(&mut self, boot: &mut Boot) -> Result<(), Next> {
        let Some(snapshot) = self.shared.last_snapshot().filter(|_| boot.has_hook(ON_RESTORE)) else {
            return Ok(());
        };
        let age = snapshot.age();
        let params = restore_params(&self.shared, &snapshot);
        let limit = self.shared.options.limits.startup_timeout;
        let shared = self.shared.clone();
        let since = tokio::time::Instant::now();
        let orders = &shared.workers[self.post].orders;
        let files = boot.files.clone();
        let asked = tokio::select! {
            asked = ask_to_the_end(&shared, &mut boot.worker, ON_RESTORE, Some(params), limit) => asked,
            order = order_while_it_starts(orders, since, files, self.took) => return Err(self.after(order)),
        };
        let reason = match asked {
            Ok(_) => {
                self.restore_kills = 0;
                shared
                    .logs
                    .info(&format!("the state was restored from a snapshot that is {age:.1?} old"));
                return Ok(());
            }
            Err(NoAnswer::Stopping) => return Err(Next::Stop),
            Err(NoAnswer::Failed(reason)) => reason,
            Err(NoAnswer::Busy) => {
                let failure = Failure::before_ready("the table of calls is full".to_owned());
                return Err(self.failed(Life::Ready, failure));
            }
            Err(NoAnswer::Died { exit, began }) => {
                let how = describe(exit.status, exit.oom);
                let reason = format!("it {how} in on_restore");
                shared.note_exit(boot.worker.seat(), &exit, &reason);
                shared.bury(boot.worker.seat(), &exit);
                let was_killed = exit.status.signal() == Some(Signal::KILL.as_raw());
                if !began || (was_killed && self.restore_kills == 0) {
                    // Not of the snapshot; or by somebody who is not likely to do it again.
                    self.restore_kills += u8::from(began);
                    let failure = Failure::before_ready(format!("it {how} before it served"));
                    return Err(self.failed(Life::Ready, failure));
                }
                reason
            }
        };
        self.restore_kills = 0;
        // Half of a state may be worse than none. And it is not tried again, or it would never end.
        self.shared.logs.warn(&format!(
            "on_restore failed with a snapshot that is {age:.1?} old; Python is started anew without it: {reason}"
        ));
        self.shared.snapshots.refuse();
        self.again = Again::FailedStart;
        Err(Next::Start)
    }

    /// Has a process that is ready serve.
    pub(super) fn open(&mut self, boot: Boot) -> Worker {
        let Boot {
            worker,
            told_until,
            files,
            ready,
            took,
            ..
        } = boot;
        self.shared.set_role(worker.seat(), Role::Serving);
        self.set(State::Ready, None);
        *self.shared.files.borrow_mut() = files;
        self.took = took;
        let missed = self.shared.journal.since(told_until);
        if let Some(ready) = ready {
            let known = self.shared.calls.borrow().methods.clone();
            let same = known.clone().filter(|methods| methods.ready == *ready);
            let methods = same.unwrap_or_else(|| {
                let methods = Rc::new(Methods::new(*ready));
                for warning in methods.unknown(self.shared.options.limits.timeouts.keys()) {
                    self.shared.logs.warn(&warning);
                }
                methods
            });
            self.shared
                .change(|calls| calls.ready(worker.seat(), methods.clone(), missed));
            let ready = &methods.ready;
            self.shared.logs.info(&format!(
                "{}{} is ready after {took:.0?}: {} methods, Python {}, {}{}",
                ready.controller,
                self.which(),
                ready.methods.len(),
                ready.python,
                ready.codec,
                known.map_or_else(String::new, |known| methods.news_since(&known)),
            ));
        }
        self.shared.started.notify_waiters();
        self.has_served = true;
        self.orders().answer(Ok(()));
        if let Some((round, reported)) = self.round.take() {
            if reported == Reported::NotYet {
                round.report(Ok(()));
            }
            self.end_round(&round, Ok(()));
        }
        worker
    }
}

/// The next order while a process starts. One that has only just been started is not ended for another: however many
/// restarts are asked for, there is one a second at most; and none would come to its end if it were not given the time
/// that the last one took. But if its files are other ones by now, it is of no use.
async fn order_while_it_starts(
    orders: &Orders,
    since: tokio::time::Instant,
    mut files: Files,
    took: Duration,
) -> Order {
    let patience = since + PATIENCE.max(2 * took);
    tokio::select! {
        () = sleep_until(since + BETWEEN_STARTS) => {}
        () = orders.until_stop() => {}
    }
    orders.until_any().await;
    while tokio::time::Instant::now() < patience && orders.stop_asked().is_none() && files.changed().is_none() {
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = orders.until_stop() => {}
        }
    }
    orders.next().await
}
