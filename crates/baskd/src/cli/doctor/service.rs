//! The systemd units, and whether they outlive a log-out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::finding::{Finding, Findings};

/// What systemd says of a unit.
type Properties = BTreeMap<String, String>;

const ASKED: &str = "--property=LoadState,ActiveState,SubState,Result,StatusText,FragmentPath,NeedDaemonReload,ExecStart,UnitFileState,NRestarts";

pub(super) fn look(name: &str) -> Vec<Finding> {
    let mut found = Findings::of("units");
    let (socket, service) = (format!("baskd@{name}.socket"), format!("baskd@{name}.service"));
    match (show(&socket), show(&service)) {
        (Ok(socket_unit), Ok(service_unit)) => {
            if !judge(&mut found, name, &socket_unit, &service_unit) {
                return found.all();
            }
        }
        (Err(why), _) | (_, Err(why)) => {
            found.note(
                format!("systemd's user manager can't be asked: {why}"),
                "only for `baskd install`: log in by a session that systemd knows (ssh, a desktop; not `su`)",
            );
            return found.all();
        }
    }
    let mut found = found.all();
    found.extend(linger());
    found
}

fn show(unit: &str) -> Result<Properties, String> {
    let output = Command::new("systemctl")
        .args(["--user", "show", ASKED, "--", unit])
        .output()
        .map_err(|error| format!("systemctl: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().next().unwrap_or("it says no reason").to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter_map(|line| line.split_once('='));
    Ok(lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// False where there is nothing to go on with, since it is not installed.
fn judge(found: &mut Findings, name: &str, socket: &Properties, service: &Properties) -> bool {
    let of = |unit: &Properties, key: &str| unit.get(key).cloned().unwrap_or_default();
    let flag = if name == "default" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    if of(service, "LoadState") == "not-found" || of(service, "FragmentPath").is_empty() {
        found.note(
            "not installed: nothing starts a daemon at log-in",
            format!("baskd install path/to/controller.py{flag}, if you want that"),
        );
        return false;
    }
    if of(service, "NeedDaemonReload") == "yes" || of(socket, "NeedDaemonReload") == "yes" {
        found.warning(
            "the units have changed since systemd read them",
            "systemctl --user daemon-reload",
        );
    }
    if let Some(program) = program(&of(service, "ExecStart")).filter(|program| !program.exists()) {
        found.problem(
            format!(
                "{} starts {}, which is gone",
                of(service, "FragmentPath"),
                program.display()
            ),
            format!("baskd install{flag}, by the baskd that is to run"),
        );
    }
    for (unit, kind) in [(socket, "socket"), (service, "service")] {
        let state = of(unit, "ActiveState");
        let unit_name = format!("baskd@{name}.{kind}");
        match (state.as_str(), kind) {
            ("failed", _) => found.problem(
                format!("{unit_name} has failed: {}", of(unit, "Result")),
                format!("journalctl --user -u {unit_name} says why; then systemctl --user reset-failed {unit_name} and start it"),
            ),
            ("active" | "activating" | "reloading", _) | (_, "service") => {
                let text = of(unit, "StatusText");
                let told = if text.is_empty() { of(unit, "SubState") } else { format!("{}: {text}", of(unit, "SubState")) };
                found.good(format!("{unit_name} is {state} ({told})"));
            }
            _ => found.warning(
                format!("{unit_name} is {state}: the first connection starts nothing"),
                format!("systemctl --user enable --now {unit_name}"),
            ),
        }
        let file_state = of(unit, "UnitFileState");
        if kind == "socket" && state == "active" && file_state == "disabled" {
            found.warning(
                format!("{unit_name} is not enabled: it is not there after the next log-in"),
                format!("systemctl --user enable {unit_name}"),
            );
        }
    }
    true
}

/// The program in `{ path=/usr/bin/baskd ; argv[]=… }`.
fn program(exec: &str) -> Option<PathBuf> {
    let (_, after) = exec.split_once("path=")?;
    let (path, _) = after.split_once(" ;")?;
    Some(PathBuf::from(path))
}

/// Without it, a user's services end with the last session.
fn linger() -> Vec<Finding> {
    let mut found = Findings::of("linger");
    let user = Command::new("id").arg("-un").output();
    let user = user
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    if user.is_empty() {
        return found.all();
    }
    match Path::new("/var/lib/systemd/linger").join(&user).exists() {
        true => found.good("on: it runs without a session, and from the start of the machine"),
        false => found.warning(
            "off: it ends when you log out, and starts when you log in",
            "loginctl enable-linger",
        ),
    }
    found.all()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn unit(properties: &[(&str, &str)]) -> Properties {
        properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn levels(socket: &Properties, service: &Properties) -> Vec<(Level, String)> {
        let mut found = Findings::of("units");
        judge(&mut found, "chat", socket, service);
        found
            .all()
            .into_iter()
            .map(|finding| (finding.level, finding.remedy.unwrap_or_default()))
            .collect()
    }

    #[test]
    fn what_is_wrong_with_a_unit_is_told_with_its_remedy() {
        let well = unit(&[
            ("LoadState", "loaded"),
            ("FragmentPath", "/x"),
            ("ActiveState", "active"),
            ("UnitFileState", "enabled"),
        ]);
        assert_eq!(
            levels(&well, &well),
            [(Level::Good, String::new()), (Level::Good, String::new())]
        );

        let absent = unit(&[("LoadState", "not-found")]);
        let found = levels(&absent, &absent);
        assert_eq!(found[0].0, Level::Note);
        assert!(found[0].1.contains("baskd install path/to/controller.py --name chat"));

        let failed = unit(&[
            ("LoadState", "loaded"),
            ("FragmentPath", "/x"),
            ("ActiveState", "failed"),
            ("Result", "watchdog"),
            (
                "ExecStart",
                "{ path=/nowhere/baskd ; argv[]=/nowhere/baskd serve ; ignore_errors=no }",
            ),
        ]);
        let down = unit(&[
            ("LoadState", "loaded"),
            ("FragmentPath", "/x"),
            ("ActiveState", "inactive"),
            ("NeedDaemonReload", "yes"),
        ]);
        let found = levels(&down, &failed);
        let kinds: Vec<_> = found.iter().map(|(level, _)| *level).collect();
        assert_eq!(kinds, [Level::Warning, Level::Problem, Level::Warning, Level::Problem]);
        assert!(found[2].1.contains("enable --now baskd@chat.socket"));
        assert!(found[3].1.contains("journalctl --user -u baskd@chat.service"));
    }
}
