//! How a process comes to its end. To be asked to end and to have ended are two things: end of input, TERM, KILL stand in
//! [`end`], and nowhere else.

use std::rc::Rc;
use std::time::Duration;

use baskd_protocol::error::CancelledBy;
use rustix::process::Signal;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::Shared;
use super::super::calls::Calls;
use super::super::status::{Role, describe};
use super::super::worker::{Event, Exit, Worker};

/// How long a process may take from the end of its input to its exit, `on_stop` included; and then from SIGTERM to
/// SIGKILL.
pub(super) const END_GRACE: Duration = Duration::from_secs(10);
/// How often a process that is left is looked at for what nobody waits for any more.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Later than the daemon runs.
const NEVER: Duration = Duration::from_secs(86_400 * 365);
pub(super) const TERM_GRACE: Duration = Duration::from_secs(2);

/// Serves until `enough`, or until the process dies.
pub(super) async fn until(shared: &Shared, worker: &mut Worker, enough: impl Fn(&mut Calls) -> bool) -> Option<Exit> {
    loop {
        let rest = shared.rest.notified();
        if enough(&mut shared.calls.borrow_mut()) {
            return None;
        }
        tokio::select! {
            event = worker.next() => {
                if let Event::Died(exit) = event {
                    return Some(exit);
                }
            },
            () = rest => {}
        }
    }
}

/// End of input, `patience`, TERM, grace, KILL.
pub(super) async fn end(shared: &Shared, worker: &mut Worker, patience: Duration) -> Exit {
    let died = async |worker: &mut Worker| loop {
        if let Event::Died(exit) = worker.next().await {
            return exit;
        }
    };
    worker.close_input();
    if let Ok(exit) = timeout(patience, died(worker)).await {
        return exit;
    }
    if !patience.is_zero() {
        let told = format!("Python has not ended {patience:?} after its input: SIGTERM");
        shared.logs.warn(&told);
    }
    worker.signal(Signal::TERM);
    if let Ok(exit) = timeout(TERM_GRACE, died(worker)).await {
        return exit;
    }
    worker.signal(Signal::KILL);
    died(worker).await
}

/// Has a process that serves no more end what it has, and then ends it, beside all else. At the deadline, if there is
/// one, what still runs is cancelled.
pub(super) fn retire(shared: &Rc<Shared>, mut worker: Worker, deadline: Option<Instant>) {
    let deadline = deadline.unwrap_or_else(|| Instant::now() + NEVER);
    shared.set_role(worker.seat(), Role::Leaving);
    shared.change(|calls| calls.leave(worker.seat()));
    aside(shared, async move |shared| {
        let seat = worker.seat();
        let exit = match drain_left(&shared, &mut worker, deadline).await {
            Left::Died(exit) => {
                let how = describe(exit.status, exit.oom);
                let reason = format!("it {how} before it had ended its calls, when another had taken its place");
                shared.note_exit(seat, &exit, &reason);
                shared
                    .logs
                    .warn(&format!("the old Python {how} before it had ended its calls"));
                exit
            }
            Left::Drained => end(&shared, &mut worker, END_GRACE).await,
            Left::Late => {
                shared
                    .logs
                    .warn("calls that still run in the old Python are cancelled: `drain_timeout` is over");
                shared.change(|calls| calls.cancel_begun(seat, CancelledBy::Shutdown));
                end(&shared, &mut worker, END_GRACE).await
            }
            // What was cancelled just now may be about to leave.
            Left::Stopping => {
                let left = timeout(
                    TERM_GRACE,
                    until(&shared, &mut worker, |calls| calls.nothing_sent(seat)),
                )
                .await;
                match left {
                    Ok(Some(exit)) => exit,
                    Ok(None) => end(&shared, &mut worker, END_GRACE).await,
                    Err(_) => end(&shared, &mut worker, Duration::ZERO).await,
                }
            }
            Left::Stuck => {
                shared
                    .logs
                    .warn("the old Python still runs what was cancelled `kill_grace` ago: it is ended");
                end(&shared, &mut worker, Duration::ZERO).await
            }
        };
        shared.bury(seat, &exit);
        shared.logs.info("the old Python has ended");
    });
}

/// What has become of the calls of a process that is left.
enum Left {
    Drained,
    Died(Exit),
    /// The deadline has come.
    Late,
    /// All else has ended.
    Stopping,
    /// Nobody waits for what it still runs.
    Stuck,
}

async fn drain_left(shared: &Shared, worker: &mut Worker, deadline: Instant) -> Left {
    let seat = worker.seat();
    let kill_grace = shared.options.limits.kill_grace;
    loop {
        let enough = |calls: &mut Calls| calls.nothing_sent(seat) || shared.is_ending.get();
        let look = deadline.min(Instant::now() + LOOK_EVERY);
        match timeout_at(look, until(shared, worker, enough)).await {
            Ok(Some(exit)) => return Left::Died(exit),
            Ok(None) if shared.calls.borrow().nothing_sent(seat) => return Left::Drained,
            Ok(None) => return Left::Stopping,
            Err(_) if Instant::now() >= deadline => return Left::Late,
            Err(_) => {}
        }
        let abandoned = shared.calls.borrow().abandoned_for(seat);
        if abandoned.is_some_and(|time| time >= kill_grace) {
            return Left::Stuck;
        }
    }
}

/// Ends a process that has served nobody, if it has not ended. One that was ready has its `on_stop` called.
pub(crate) fn discard(shared: &Rc<Shared>, mut worker: Worker) {
    if worker.is_dead() {
        return;
    }
    let patience = if worker.was_ready() { END_GRACE } else { Duration::ZERO };
    shared.set_role(worker.seat(), Role::Leaving);
    aside(shared, async move |shared| {
        let exit = end(&shared, &mut worker, patience).await;
        shared.bury(worker.seat(), &exit);
    });
}

/// Runs beside all else; the daemon does not stop before it has ended.
fn aside<F>(shared: &Rc<Shared>, work: F)
where
    F: AsyncFnOnce(Rc<Shared>) + 'static,
{
    shared.ending.set(shared.ending.get() + 1);
    let shared = shared.clone();
    tokio::task::spawn_local(async move {
        work(shared.clone()).await;
        shared.ending.set(shared.ending.get() - 1);
        shared.rest.notify_waiters();
    });
}

/// Waits until all that was retired or discarded has ended.
pub(crate) async fn all_ended(shared: &Shared) {
    loop {
        let rest = shared.rest.notified();
        if shared.ending.get() == 0 {
            return;
        }
        rest.await;
    }
}
