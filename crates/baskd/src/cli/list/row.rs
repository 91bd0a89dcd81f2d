//! What an instance is, from all that is known of it.

use std::fs;
use std::path::PathBuf;

use baskd::config::Settings;
use baskd::serve::ControllerSpec;
use baskd_client::Status;
use serde_json::{Value, json};

use super::ask::Silence;
use super::find::Found;
use crate::cli::start::written;
use crate::cli::systemd::{Pair, socket_unit};

#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: String,
    /// Why it is so, where somebody has said.
    pub(super) reason: Option<String>,
    pub(super) pid: Option<u32>,
    pub(super) uptime_ms: Option<u64>,
    /// The daemon's and its Pythons'.
    pub(super) memory_bytes: Option<u64>,
    pub(super) socket: Option<PathBuf>,
    pub(super) controller: Option<String>,
    pub(super) config: Option<PathBuf>,
    pub(super) state_folder: Option<PathBuf>,
    pub(super) unit: Option<String>,
}

impl Row {
    pub(super) fn of(found: Found, answer: Option<Result<Status, Silence>>, units: Option<&Pair>) -> Row {
        let (state, reason) = state(&found, answer.as_ref(), units);
        let status = answer.and_then(Result::ok);
        let controller = match &status {
            Some(status) if status.controller.embedded => Some("embedded".to_owned()),
            Some(status) => Some(status.controller.spec.clone()),
            None => configured(found.config.as_ref()),
        };
        let is_unit = found.is_installed || units.is_some_and(|units| units.socket.is_active());
        Row {
            pid: status
                .as_ref()
                .map(|status| status.pid)
                .or(found.holder.and_then(|holder| holder.pid)),
            uptime_ms: status.as_ref().map(|status| status.uptime_ms),
            memory_bytes: status.as_ref().map(memory),
            unit: is_unit.then(|| socket_unit(&found.name)),
            name: found.name,
            state,
            reason,
            socket: found.socket,
            controller,
            config: found.config,
            state_folder: found.state,
        }
    }

    pub(super) fn json(&self) -> Value {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        json!({
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "pid": self.pid,
            "uptime_ms": self.uptime_ms,
            "memory_bytes": self.memory_bytes,
            "socket": path(&self.socket),
            "controller": self.controller,
            "config": path(&self.config),
            "state_folder": path(&self.state_folder),
            "unit": self.unit,
        })
    }
}

fn state(found: &Found, answer: Option<&Result<Status, Silence>>, units: Option<&Pair>) -> (String, Option<String>) {
    let said = |state: &str| (state.to_owned(), None);
    if let Some(holder) = &found.holder {
        return match answer {
            Some(Ok(status)) => (status.state.clone(), status.reason.clone()),
            None if holder.is_stopping => said("stopping"),
            Some(Err(Silence::NoSocket)) => said("starting"),
            Some(Err(Silence::NoAnswer(why))) => ("does not answer".to_owned(), why.clone()),
            None => (
                "does not answer".to_owned(),
                Some("its socket can't be told".to_owned()),
            ),
        };
    }
    let failed = units.and_then(|units| {
        let failed = [&units.service, &units.socket]
            .into_iter()
            .find(|unit| unit.active == "failed")?;
        Some(format!("{} failed: {}", failed.id, failed.result))
    });
    let is_listening = units.is_some_and(|units| units.socket.is_active()) || found.is_listened_on;
    if is_listening {
        ("listening".to_owned(), failed)
    } else if let Some(failed) = failed {
        ("failed".to_owned(), Some(failed))
    } else if found.has_socket {
        said("stale socket")
    } else if found.is_installed {
        said("installed, not listening")
    } else {
        said("stopped")
    }
}

/// What would be served.
fn configured(config: Option<&PathBuf>) -> Option<String> {
    let path = config?;
    let text = fs::read_to_string(path).ok()?;
    match Settings::of_text(path, &text) {
        Ok(settings) if settings.controller == ControllerSpec::Embedded => Some("embedded".to_owned()),
        Ok(settings) => Some(written(&settings.controller)),
        Err(_) => Some("(its config has a slip)".to_owned()),
    }
}

fn memory(status: &Status) -> u64 {
    let pythons = status.workers.iter().chain(&status.beside);
    let pythons: u64 = pythons.filter_map(|worker| worker.rss_bytes).sum();
    pythons + resident_bytes(status.pid).unwrap_or_default()
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::systemd::Unit;
    use baskd_protocol::presence::Holder;

    fn found() -> Found {
        Found {
            name: "chat".to_owned(),
            socket: Some("/run/chat.sock".into()),
            has_socket: false,
            is_listened_on: false,
            holder: None,
            config: None,
            state: None,
            is_installed: false,
        }
    }

    fn pair(socket: &str, service: &str) -> Pair {
        let unit = |id: &str, active: &str| Unit {
            id: id.to_owned(),
            active: active.to_owned(),
            result: if active == "failed" { "watchdog" } else { "success" }.to_owned(),
            ..Unit::default()
        };
        Pair {
            socket: unit("baskd@chat.socket", socket),
            service: unit("baskd@chat.service", service),
        }
    }

    fn told(found: &Found, units: Option<&Pair>) -> String {
        let (state, reason) = state(found, None, units);
        reason.map_or(state.clone(), |reason| format!("{state}: {reason}"))
    }

    #[test]
    fn what_does_not_run_is_told_by_what_there_is() {
        let with_socket = Found {
            has_socket: true,
            ..found()
        };
        let held = Found {
            has_socket: true,
            is_listened_on: true,
            ..found()
        };
        let installed = Found {
            is_installed: true,
            ..found()
        };
        assert_eq!(told(&found(), None), "stopped");
        assert_eq!(told(&with_socket, None), "stale socket");
        assert_eq!(told(&held, None), "listening");
        assert_eq!(told(&installed, None), "installed, not listening");
        assert_eq!(told(&installed, Some(&pair("active", "inactive"))), "listening");
        assert_eq!(
            told(&installed, Some(&pair("active", "failed"))),
            "listening: baskd@chat.service failed: watchdog"
        );
        assert_eq!(
            told(&installed, Some(&pair("failed", "inactive"))),
            "failed: baskd@chat.socket failed: watchdog"
        );
    }

    #[test]
    fn what_runs_and_says_nothing() {
        let holder = |is_stopping| Holder {
            who: "pid 7, x".to_owned(),
            pid: Some(7),
            is_stopping,
        };
        let running = Found {
            holder: Some(holder(false)),
            has_socket: true,
            ..found()
        };
        let state_of = |found: &Found, silence| state(found, Some(&Err(silence)), None).0;
        assert_eq!(state_of(&running, Silence::NoAnswer(None)), "does not answer");
        assert_eq!(state_of(&running, Silence::NoSocket), "starting");
        let stopping = Found {
            holder: Some(holder(true)),
            ..found()
        };
        assert_eq!(state(&stopping, None, None).0, "stopping");
    }
}
