//! What a reading of `daemon.status` tells beyond its members.

use baskd_client::{LastExit, Status, UnderWay, Worker};

/// A call that is not answered yet.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) method: String,
    pub(crate) worker: Option<u64>,
    pub(crate) age_ms: u64,
    /// `starting`, `queued` or `running`.
    pub(crate) place: String,
}

impl From<&UnderWay> for Call {
    fn from(call: &UnderWay) -> Call {
        Call {
            number: call.call,
            method: call.method.clone(),
            worker: call.worker,
            age_ms: call.age_ms,
            place: call.place.clone(),
        }
    }
}

/// Whether the daemon tells what this version does; one that is older leaves that out, and it is not zero.
pub(crate) fn tells_all(status: &Status) -> bool {
    status.started_ms > 0
}

/// The calls under way, oldest first; of a daemon that does not list them, those that Python runs.
pub(crate) fn under_way(status: &Status) -> Vec<Call> {
    if tells_all(status) {
        return status.under_way.iter().map(Call::from).collect();
    }
    let running = |worker: &Worker| {
        let number = worker.worker;
        let calls = worker.running.iter().map(move |running| Call {
            number: running.call,
            method: running.method.clone(),
            worker: Some(number),
            age_ms: running.age_ms,
            place: "running".to_owned(),
        });
        calls.collect::<Vec<_>>()
    };
    let mut calls: Vec<Call> = status.workers.iter().chain(&status.beside).flat_map(running).collect();
    calls.sort_by_key(|call| call.number);
    calls
}

/// How Pythons ended, newest first.
pub(crate) fn exits(status: &Status) -> Vec<&LastExit> {
    if tells_all(status) {
        status.exits.iter().collect()
    } else {
        status.last_exit.iter().collect()
    }
}

/// How many calls have ended in an error.
pub(crate) fn errors(status: &Status) -> u64 {
    status.methods.iter().map(|method| method.errors).sum()
}

/// How long before this reading something happened, by the daemon's clock. None where it does not tell.
pub(crate) fn since_ms(status: &Status, at_ms: u64) -> Option<u64> {
    let now = status.started_ms + status.uptime_ms;
    (tells_all(status) && at_ms > 0).then(|| now.saturating_sub(at_ms))
}

/// Whether it is of the same daemon as another, rather than of one that was started later.
pub(crate) fn is_of_the_same(status: &Status, last: &Status) -> bool {
    status.pid == last.pid && status.started_ms == last.started_ms && status.uptime_ms >= last.uptime_ms
}
