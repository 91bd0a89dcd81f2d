//! What `install` is to do, from what there is: pure, so that each case can be looked at.

use std::path::PathBuf;

use super::own::{Author, author};
use super::step::Step;
use crate::cli::systemd::{Pair, service_unit, socket_unit};

/// A file as it is, and as it is to be.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) path: PathBuf,
    pub(super) before: Option<String>,
    pub(super) after: String,
}

impl Text {
    fn is_changed(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }
}

pub(super) struct Install {
    pub(super) name: String,
    /// What a person may edit: it is edited, never replaced.
    pub(super) config: Text,
    pub(super) socket: Text,
    pub(super) service: Text,
    pub(super) drop_in: Text,
    /// What the manager knows of the instance. None: it is not asked, and told nothing.
    pub(super) units: Option<Pair>,
    /// Whether a daemon that runs is to be restarted.
    pub(super) restart: bool,
}

pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Whether a daemon runs that does not know what is written.
    pub(super) is_stale: bool,
}

impl Install {
    /// `free`: a name like that one which nobody has.
    pub(super) fn plan(&self, free: impl Fn(&PathBuf) -> PathBuf) -> Plan {
        let mut steps = Vec::new();
        for (text, is_unit) in [
            (&self.config, false),
            (&self.socket, true),
            (&self.service, true),
            (&self.drop_in, true),
        ] {
            if !text.is_changed() {
                let what = text.path.display().to_string();
                steps.push(Step::Same { what });
                continue;
            }
            let mut before = text.before.clone();
            if is_unit && before.as_ref().is_some_and(|before| author(before) != Author::Us) {
                steps.push(Step::Keep {
                    path: text.path.clone(),
                    aside: free(&text.path),
                    why: "somebody has edited it; what it is about belongs into a drop-in of its own",
                });
                before = None;
            }
            steps.push(Step::Write {
                path: text.path.clone(),
                text: text.after.clone(),
                before,
            });
        }
        let Some(units) = &self.units else {
            return Plan { steps, is_stale: false };
        };
        let unit_changed = [&self.socket, &self.service, &self.drop_in]
            .into_iter()
            .any(Text::is_changed);
        let is_unread = units.socket.is_outdated || units.service.is_outdated || units.socket.load == "not-found";
        if unit_changed || is_unread {
            steps.push(Step::systemctl(&["daemon-reload"]));
        }
        let (socket, service) = (socket_unit(&self.name), service_unit(&self.name));
        let runs = units.service.is_active();
        let listens = units.socket.is_active();
        // A socket can't be started beside its own service, and takes its new settings at its start.
        let anew = runs && (!listens || (self.socket.is_changed() && self.restart));
        if anew {
            steps.push(Step::systemctl(&["stop", &service]));
        }
        if units.socket.file != "enabled" || !listens {
            steps.push(Step::systemctl(&["enable", "--now", &socket]));
        } else {
            let what = format!("{socket}: enabled, and listening");
            steps.push(Step::Same { what });
        }
        if listens && self.socket.is_changed() && (!runs || self.restart) {
            steps.push(Step::systemctl(&["restart", &socket]));
        }
        if runs && self.restart && !anew {
            steps.push(Step::systemctl(&["restart", &service]));
        }
        let is_changed = unit_changed || self.config.is_changed();
        Plan {
            steps,
            is_stale: runs && !self.restart && !anew && is_changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::own::signed;
    use super::*;
    use crate::cli::systemd::Unit;

    fn text(path: &str, before: Option<&str>, after: &str) -> Text {
        let ours = |body: &str| signed(&[], body);
        Text {
            path: path.into(),
            before: before.map(ours),
            after: ours(after),
        }
    }

    fn install(before: Option<&str>, units: Option<Pair>) -> Install {
        Install {
            name: "chat".to_owned(),
            config: text("/c/chat.toml", before, "1"),
            socket: text("/u/baskd@.socket", before, "1"),
            service: text("/u/baskd@.service", before, "1"),
            drop_in: text("/u/baskd@chat.service.d/10-baskd.conf", before, "1"),
            units,
            restart: false,
        }
    }

    fn unit(active: &str, file: &str) -> Unit {
        Unit {
            load: "loaded".to_owned(),
            active: active.to_owned(),
            file: file.to_owned(),
            ..Unit::default()
        }
    }

    fn pair(socket: &str, service: &str) -> Option<Pair> {
        Some(Pair {
            socket: unit(socket, "enabled"),
            service: unit(service, "static"),
        })
    }

    fn told(install: &Install) -> (Vec<String>, bool) {
        let plan = install.plan(|path| path.with_extension("saved"));
        let told = plan.steps.iter().map(|step| {
            let told = step.told(false);
            format!("{} {}", told.word, told.what.replace("systemctl --user ", ""))
        });
        (told.collect(), plan.is_stale)
    }

    const ALL_WRITTEN: [&str; 4] = [
        "written /c/chat.toml",
        "written /u/baskd@.socket",
        "written /u/baskd@.service",
        "written /u/baskd@chat.service.d/10-baskd.conf",
    ];

    #[test]
    fn the_first_time_all_is_written_and_enabled() {
        let nothing = Some(Pair {
            socket: Unit {
                load: "not-found".to_owned(),
                active: "inactive".to_owned(),
                ..Unit::default()
            },
            service: Unit::default(),
        });
        let (steps, is_stale) = told(&install(None, nothing));
        assert_eq!(steps[..4], ALL_WRITTEN);
        assert_eq!(steps[4..], ["ran daemon-reload", "ran enable --now baskd@chat.socket"]);
        assert!(!is_stale);
        assert_eq!(told(&install(None, None)).0, ALL_WRITTEN);
    }

    #[test]
    fn the_second_time_nothing_is_done() {
        for service in ["active", "inactive"] {
            let install = install(Some("1"), pair("active", service));
            let plan = install.plan(|path| path.clone());
            assert!(
                plan.steps.iter().all(|step| matches!(step, Step::Same { .. })),
                "{:?}",
                plan.steps
            );
            assert!(!plan.is_stale);
        }
    }

    #[test]
    fn a_daemon_that_runs_is_told_or_restarted() {
        let mut changed = install(Some("1"), pair("active", "active"));
        changed.config = text("/c/chat.toml", Some("0"), "1");
        let (steps, is_stale) = told(&changed);
        assert_eq!(steps[0], "updated /c/chat.toml");
        assert!(
            is_stale && steps.iter().all(|step| !step.starts_with("ran ")),
            "{steps:?}"
        );
        changed.restart = true;
        let (steps, is_stale) = told(&changed);
        assert_eq!(steps.last().unwrap(), "ran restart baskd@chat.service");
        assert!(!is_stale);
        // A new socket is made while the service is not there.
        changed.socket = text("/u/baskd@.socket", Some("0"), "1");
        let (steps, _) = told(&changed);
        assert_eq!(
            steps[4..],
            [
                "ran daemon-reload",
                "ran stop baskd@chat.service",
                "unchanged baskd@chat.socket: enabled, and listening",
                "ran restart baskd@chat.socket"
            ]
        );
    }

    #[test]
    fn what_does_not_listen_is_had_to() {
        let (steps, _) = told(&install(Some("1"), pair("failed", "inactive")));
        assert_eq!(steps.last().unwrap(), "ran enable --now baskd@chat.socket");
        let (steps, is_stale) = told(&install(Some("1"), pair("inactive", "active")));
        assert_eq!(
            steps[4..],
            ["ran stop baskd@chat.service", "ran enable --now baskd@chat.socket"]
        );
        assert!(!is_stale);
        let mut disabled = install(Some("1"), pair("active", "active"));
        disabled.units.as_mut().unwrap().socket.file = "disabled".to_owned();
        assert_eq!(told(&disabled).0.last().unwrap(), "ran enable --now baskd@chat.socket");
    }

    #[test]
    fn a_unit_that_was_edited_is_put_aside_and_a_config_never() {
        let mut edited = install(Some("1"), pair("active", "inactive"));
        edited.service.before = Some("[Service]\nNice=5\n".to_owned());
        edited.config.before = Some("workers = 5\n".to_owned());
        let (steps, _) = told(&edited);
        assert_eq!(steps[0], "updated /c/chat.toml");
        assert!(
            steps[2].starts_with("kept /u/baskd@.service as /u/baskd@.saved: "),
            "{steps:?}"
        );
        assert_eq!(steps[3], "written /u/baskd@.service");
    }
}
