//! The systemd units, and whether they outlive a log-out.

use super::finding::{Finding, Findings};
use crate::cli::systemd::{Pair, Trouble, UnitFiles, lingers, pair, service_unit, socket_unit};

pub(super) fn look(name: &str) -> Vec<Finding> {
    let mut found = Findings::of("units");
    let flag = if name == "default" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    if !UnitFiles::here().is_some_and(|files| files.is_installed(name)) {
        found.note(
            "not installed: nothing starts a daemon at log-in",
            format!("baskd install path/to/controller.py{flag}, if you want that"),
        );
        return found.all();
    }
    match pair(name) {
        Ok(units) => judge(&mut found, name, &flag, &units),
        Err(Trouble::Unreachable(why)) => found.problem(
            format!("installed, and systemd's user manager can't be asked: {why}"),
            "log in by a session that systemd knows (ssh, a desktop; not `su`), or loginctl enable-linger",
        ),
        Err(Trouble::Refused { command, said }) => found.problem(format!("{command}: {said}"), "see what it says"),
    }
    let mut found = found.all();
    found.extend(linger());
    found
}

fn judge(found: &mut Findings, name: &str, flag: &str, units: &Pair) {
    if units.service.is_outdated || units.socket.is_outdated {
        found.warning(
            "the units have changed since systemd read them",
            "systemctl --user daemon-reload",
        );
    }
    if let Some(program) = units.service.program.as_ref().filter(|program| !program.exists()) {
        found.problem(
            format!("its service runs {}, which is gone", program.display()),
            format!("baskd install{flag}, by the baskd that is to run"),
        );
    }
    for (unit, id) in [(&units.socket, socket_unit(name)), (&units.service, service_unit(name))] {
        if ["not-found", "masked", "bad-setting", "error"].contains(&unit.load.as_str()) {
            found.problem(
                format!("{id} is {}", unit.load),
                format!("baskd install{flag} writes it anew (a masked one: systemctl --user unmask {id})"),
            );
        } else if unit.active == "failed" {
            found.problem(
                format!("{id} has failed: {}", unit.result),
                format!(
                    "journalctl --user -u {} says why; mended, systemctl --user reset-failed {id} and systemctl --user start {}",
                    service_unit(name),
                    socket_unit(name)
                ),
            );
        } else if unit.is_active() || id.ends_with(".service") {
            let said = if unit.status.is_empty() {
                String::new()
            } else {
                format!(": {}", unit.status)
            };
            found.good(format!("{id} is {}{said}", unit.active));
        } else {
            found.warning(
                format!("{id} is {}: the first connection starts nothing", unit.active),
                format!("systemctl --user enable --now {id}"),
            );
        }
    }
    if units.socket.is_active() && units.socket.file == "disabled" {
        found.warning(
            format!(
                "{} is not enabled: it is not there after the next log-in",
                socket_unit(name)
            ),
            format!("systemctl --user enable {}", socket_unit(name)),
        );
    }
}

/// Without it, a user's services end with the last session.
fn linger() -> Vec<Finding> {
    let mut found = Findings::of("linger");
    match lingers() {
        Some(true) => found.good("on: it runs without a session, and from the start of the machine"),
        Some(false) => found.warning(
            "off: it ends when you log out, and starts when you log in",
            "loginctl enable-linger",
        ),
        None => {}
    }
    found.all()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::cli::systemd::Unit;

    fn unit(active: &str, file: &str) -> Unit {
        Unit {
            load: "loaded".to_owned(),
            active: active.to_owned(),
            file: file.to_owned(),
            result: "watchdog".to_owned(),
            ..Unit::default()
        }
    }

    fn levels(socket: Unit, service: Unit) -> Vec<(Level, String)> {
        let mut found = Findings::of("units");
        judge(&mut found, "chat", " --name chat", &Pair { socket, service });
        let all = found.all().into_iter();
        all.map(|finding| (finding.level, finding.remedy.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn what_is_wrong_with_a_unit_is_told_with_its_remedy() {
        let good = (Level::Good, String::new());
        assert_eq!(
            levels(unit("active", "enabled"), unit("inactive", "static")),
            [good.clone(), good]
        );

        let socket = Unit {
            is_outdated: true,
            ..unit("inactive", "disabled")
        };
        let service = Unit {
            program: Some("/nowhere/baskd".into()),
            ..unit("failed", "static")
        };
        let found = levels(socket, service);
        let kinds: Vec<_> = found.iter().map(|(level, _)| *level).collect();
        assert_eq!(kinds, [Level::Warning, Level::Problem, Level::Warning, Level::Problem]);
        assert!(found[2].1.contains("enable --now baskd@chat.socket"));
        assert!(found[3].1.contains("journalctl --user -u baskd@chat.service"));

        let disabled = levels(unit("active", "disabled"), unit("active", "static"));
        assert_eq!(disabled[2].0, Level::Warning);
        let masked = Unit {
            load: "masked".to_owned(),
            ..unit("inactive", "masked")
        };
        assert!(
            levels(masked, unit("inactive", "static"))[0]
                .1
                .contains("unmask baskd@chat.socket")
        );
    }
}
