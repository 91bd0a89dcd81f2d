//! What a manager shows of the daemon: one line, for a person.

use crate::backend::{Overview, State};

/// The longest, in characters.
const LONGEST: usize = 300;

/// One line for `systemctl status`.
pub(super) fn status_of(now: &Overview, is_stopping: bool, serves: &str) -> String {
    let reason = now.reason.as_deref().unwrap_or("it can't be started");
    let text = match now.state {
        _ if is_stopping => "stopping".to_owned(),
        State::Stopping => "stopping".to_owned(),
        _ if now.is_reloading => "reloading".to_owned(),
        State::Starting => format!("starting {serves}"),
        State::BackingOff => format!("backing off: {reason}"),
        State::Unavailable => format!("unavailable: {reason}"),
        State::Ready => {
            let workers = match (now.ready_workers, now.workers) {
                (ready, all) if ready == all => counted(all as u64, "worker"),
                (ready, all) => format!("{ready} of {all} workers"),
            };
            let methods = counted(now.methods as u64, "method");
            let calls = counted(now.calls, "call");
            let restarts = counted(now.restarts, "restart");
            let failure = now.reload_failure.as_deref();
            let failure = failure.map_or_else(String::new, |why| format!("; the last reload failed: {why}"));
            format!("ready: {methods}, {workers}, {calls}, {restarts}{failure}")
        }
    };
    one_line(&text)
}

/// As in "1,204 calls".
fn counted(count: u64, what: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let plural = if count == 1 { "" } else { "s" };
    format!("{text} {what}{plural}")
}

/// A message's parts are lines, and what Python says of itself may have some.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::service) fn at(state: State) -> Overview {
        Overview {
            state,
            reason: None,
            ready_workers: 2,
            workers: 2,
            methods: 4,
            calls: 1204,
            restarts: 3,
            reloads_begun: 0,
            is_reloading: false,
            reload_failure: None,
        }
    }

    #[test]
    fn a_status_is_one_line_that_a_person_reads() {
        let mut now = at(State::Ready);
        let status = |now: &Overview| status_of(now, false, "controller.py:Controller");
        assert_eq!(status(&now), "ready: 4 methods, 2 workers, 1,204 calls, 3 restarts");
        (now.workers, now.calls, now.restarts) = (3, 1_000_000, 1);
        now.reload_failure = Some("it\nbroke".to_owned());
        assert_eq!(
            status(&now),
            "ready: 4 methods, 2 of 3 workers, 1,000,000 calls, 1 restart; the last reload failed: it broke"
        );
        now.is_reloading = true;
        assert_eq!(status(&now), "reloading");
        assert_eq!(status_of(&now, true, ""), "stopping");
        assert_eq!(status(&at(State::Starting)), "starting controller.py:Controller");
        now = at(State::Unavailable);
        now.reason = Some("x".repeat(1000));
        assert_eq!(status(&now).chars().count(), LONGEST + 1);
    }
}
