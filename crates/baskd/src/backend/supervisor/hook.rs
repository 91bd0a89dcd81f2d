//! Calls of the daemon's own: `on_snapshot` and `on_restore`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use baskd_protocol::error::CancelledBy;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::orders::Orders;
use super::super::snapshot::Snapshot;
use super::super::worker::{Event, Exit, Worker};
use super::super::{Item, Outcome, Shared, Sink, Taken};

/// So many characters of a failed hook's traceback are told.
const LONGEST_TEXT: usize = 2000;

pub(crate) const ON_SNAPSHOT: &str = "on_snapshot";
pub(crate) const ON_RESTORE: &str = "on_restore";

/// Why a hook has given nothing.
pub(super) enum NoAnswer {
    /// `began`: whether the hook had begun.
    Died {
        exit: Exit,
        began: bool,
    },
    /// It raised, or took too long.
    Failed(String),
    /// The table is full.
    Busy,
    Stopping,
}

/// Where a hook's answer goes.
struct Answer {
    outcome: RefCell<Option<Result<Vec<u8>, String>>>,
    came: Notify,
}

struct Waiting(Rc<Answer>);

impl Sink for Waiting {
    fn item(&mut self, _: Item<'_>) -> Taken {
        Taken::Now
    }

    fn end(self: Box<Self>, outcome: Outcome<'_>) {
        *self.0.outcome.borrow_mut() = Some(read(outcome));
        self.0.came.notify_one();
    }

    fn ends_with_its_owner(&self) -> bool {
        false
    }
}

#[derive(Deserialize)]
struct Told {
    message: String,
    data: Option<ToldData>,
}

#[derive(Deserialize)]
struct ToldData {
    traceback: Option<String>,
}

fn read(outcome: Outcome<'_>) -> Result<Vec<u8>, String> {
    match outcome {
        Outcome::Result(result) => Ok(result.to_vec()),
        Outcome::Error(error) => Err(match serde_json::from_slice::<Told>(error) {
            Ok(told) => {
                let traceback = told.data.and_then(|data| data.traceback).unwrap_or_default();
                shortened(format!("{}\n{traceback}", told.message).trim_end())
            }
            Err(_) => "it failed".to_owned(),
        }),
    }
}

/// What an exception says may be as long as it likes, and hold what is not for the log.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

/// Calls a hook of a process that serves nothing else, and waits for what it gives, or for the daemon to stop.
pub(super) async fn ask(
    shared: &Shared,
    orders: &Orders,
    worker: &mut Worker,
    hook: &str,
    params: Option<String>,
    limit: Duration,
) -> Result<Vec<u8>, NoAnswer> {
    tokio::select! {
        answer = ask_to_the_end(shared, worker, hook, params, limit) => answer,
        () = orders.until_stop() => Err(NoAnswer::Stopping),
    }
}

/// As [`ask`], also while the daemon stops.
pub(super) async fn ask_to_the_end(
    shared: &Shared,
    worker: &mut Worker,
    hook: &str,
    params: Option<String>,
    limit: Duration,
) -> Result<Vec<u8>, NoAnswer> {
    let answer = Rc::new(Answer {
        outcome: RefCell::default(),
        came: Notify::new(),
    });
    let seat = worker.seat();
    let sink = Box::new(Waiting(answer.clone()));
    let Some(id) = shared.change(|calls| calls.ask(seat, hook, params, sink)) else {
        return Err(NoAnswer::Busy);
    };
    let deadline = Instant::now() + limit;
    loop {
        tokio::select! {
            () = answer.came.notified() => {
                let outcome = answer.outcome.take().unwrap_or_else(|| Err(String::new()));
                return outcome.map_err(NoAnswer::Failed);
            },
            event = worker.next() => {
                if let Event::Died(exit) = event {
                    let began = shared.calls.borrow().has_begun(seat, id);
                    return Err(NoAnswer::Died { exit, began });
                }
            },
            () = sleep_until(deadline) => {
                shared.change(|calls| calls.cancel(id, CancelledBy::Shutdown));
                return Err(NoAnswer::Failed(format!("it has not ended within {limit:?}")));
            }
        }
    }
}

/// What `on_restore` is given: the state, and the properties, which were set later than it was taken.
pub(super) fn restore_params(shared: &Shared, snapshot: &Snapshot) -> String {
    let properties = String::from_utf8(shared.journal.to_json()).unwrap_or_else(|_| "{}".to_owned());
    format!(r#"{{"state":{},"properties":{properties}}}"#, snapshot.state.get())
}

/// Where a snapshot that is taken while others are served goes.
struct Taking {
    shared: Rc<Shared>,
    /// Whether one is being taken.
    under_way: Rc<Cell<bool>>,
}

impl Sink for Taking {
    fn item(&mut self, _: Item<'_>) -> Taken {
        Taken::Now
    }

    fn end(self: Box<Self>, outcome: Outcome<'_>) {
        self.under_way.set(false);
        match outcome {
            Outcome::Result(state) => {
                if let Err(why) = self.shared.took_snapshot(state) {
                    self.shared.logs.warn(&why);
                }
            }
            Outcome::Error(_) => {
                let why = read(outcome).err().unwrap_or_default();
                self.shared
                    .logs
                    .warn(&format!("on_snapshot failed, and the last snapshot stays: {why}"));
            }
        }
    }

    fn ends_with_its_owner(&self) -> bool {
        false
    }
}

/// When snapshots are taken of a process that serves.
pub(super) struct Snapshotting {
    under_way: Rc<Cell<bool>>,
    /// How many calls it had answered when the last was taken.
    answered: u64,
}

impl Snapshotting {
    pub(super) fn new() -> Snapshotting {
        Snapshotting {
            under_way: Rc::default(),
            answered: 0,
        }
    }

    /// Asks for one, after the calls that were sent already; not if it would be the same as the last.
    pub(super) fn take(&mut self, shared: &Rc<Shared>, seat: usize) {
        let answered = shared.calls.borrow().answered(seat);
        if answered == self.answered || self.under_way.replace(true) {
            return;
        }
        self.answered = answered;
        let sink = Box::new(Taking {
            shared: shared.clone(),
            under_way: self.under_way.clone(),
        });
        let Some(id) = shared.change(|calls| calls.ask(seat, ON_SNAPSHOT, None, sink)) else {
            // The table is full; the next one comes.
            return self.under_way.set(false);
        };
        // From then on it is a cancelled call like any other, and may cost the process.
        if let Some(at) = std::time::Instant::now().checked_add(shared.options.limits.hook_timeout()) {
            let calls = shared.calls.borrow();
            shared.deadlines.add(id, at, |id| calls.is_live(id), calls.live());
        }
    }
}
