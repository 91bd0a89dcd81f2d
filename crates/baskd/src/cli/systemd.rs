//! The user's systemd: which units are installed, by the files they leave, and what the manager says of them, by
//! `systemctl --user`.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use baskd::config::{self, Settings};
use baskd_client::socket::valid_name;
use directories::BaseDirs;

/// The drop-in that `install` writes for an instance.
pub(crate) const DROP_IN: &str = "10-baskd.conf";

pub(crate) fn socket_unit(name: &str) -> String {
    format!("baskd@{name}.socket")
}

pub(crate) fn service_unit(name: &str) -> String {
    format!("baskd@{name}.service")
}

/// The folder of the user's own units, and what of ours is there.
#[derive(Debug, Clone)]
pub(crate) struct UnitFiles(pub(crate) PathBuf);

impl UnitFiles {
    /// None where there is no home.
    pub(crate) fn here() -> Option<UnitFiles> {
        Some(UnitFiles(BaseDirs::new()?.config_dir().join("systemd/user")))
    }

    pub(crate) fn drop_in(&self, name: &str) -> PathBuf {
        self.0.join(format!("{}.d", service_unit(name))).join(DROP_IN)
    }

    /// What else changes that instance's units: `systemctl edit` writes such files.
    pub(crate) fn others_drop_ins(&self, name: &str) -> Vec<PathBuf> {
        let ours = self.drop_in(name);
        let folders = [socket_unit(name), service_unit(name)].map(|unit| self.0.join(format!("{unit}.d")));
        let files = folders.iter().flat_map(|folder| entries(folder));
        let is_theirs = |path: &PathBuf| *path != ours && path.extension().is_some_and(|kind| kind == "conf");
        files.filter(is_theirs).collect()
    }

    /// The links by which an instance's socket, or its service, is enabled.
    pub(crate) fn links(&self, name: &str) -> Vec<PathBuf> {
        let units = [socket_unit(name), service_unit(name)];
        let links = self.folders_of_links().into_iter();
        let links = links.flat_map(|folder| units.iter().map(move |unit| folder.join(unit)).collect::<Vec<_>>());
        links.filter(|link| link.is_symlink()).collect()
    }

    pub(crate) fn is_installed(&self, name: &str) -> bool {
        self.drop_in(name).exists() || !self.links(name).is_empty()
    }

    /// Every instance that something is installed for.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let drop_ins = entries(&self.0).into_iter().filter_map(|path| {
            let name = instance_of(path.file_name()?.to_str()?.strip_suffix(".d")?)?.to_owned();
            self.drop_in(&name).exists().then_some(name)
        });
        let links = self.folders_of_links().into_iter().flat_map(|folder| entries(&folder));
        let links = links.filter_map(|link| instance_of(link.file_name()?.to_str()?).map(str::to_owned));
        drop_ins.chain(links).collect()
    }

    fn folders_of_links(&self) -> Vec<PathBuf> {
        let is_one = |path: &PathBuf| {
            let kind = path.extension().and_then(OsStr::to_str);
            kind.is_some_and(|kind| ["wants", "requires", "upholds"].contains(&kind))
        };
        entries(&self.0).into_iter().filter(is_one).collect()
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}

/// `chat` of `baskd@chat.socket`; None for anything else, the templates among it.
pub(crate) fn instance_of(unit: &str) -> Option<&str> {
    let name = unit.strip_prefix("baskd@")?;
    let name = name.strip_suffix(".socket").or(name.strip_suffix(".service"))?;
    valid_name(name).then_some(name)
}

/// Why the manager said nothing, or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// There is no manager that can be reached: what was said, or why.
    Unreachable(String),
    /// It was reached, and refused.
    Refused { command: String, said: String },
}

/// `systemctl --user` with these arguments, ready to be run.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    command.arg("--user").args(arguments).stdin(Stdio::null());
    // It would page, and colour.
    command
        .env("SYSTEMD_PAGER", "")
        .env("SYSTEMD_COLORS", "0")
        .env("LC_ALL", "C");
    if let Some(folder) = runtime_folder() {
        command.env("XDG_RUNTIME_DIR", folder);
    }
    command
}

/// The runtime folder where the environment does not say it (after `su`, in a cron job), and a manager is there.
fn runtime_folder() -> Option<PathBuf> {
    let is_given = env::var_os("XDG_RUNTIME_DIR").is_some_and(|folder| !folder.is_empty());
    let folder = PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    (!is_given && folder.join("systemd/private").exists()).then_some(folder)
}

/// Runs it, and gives what it printed.
pub(crate) fn run(arguments: &[&str]) -> Result<String, Trouble> {
    judge(arguments, command(arguments).output())
}

pub(crate) fn judge(arguments: &[&str], ended: io::Result<Output>) -> Result<String, Trouble> {
    let output = match ended {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Trouble::Unreachable("there is no systemctl here".to_owned()));
        }
        Err(error) => return Err(Trouble::Unreachable(format!("systemctl can't be run: {error}"))),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = match said.as_slice() {
        [] => format!("it ended with {}", output.status),
        lines => lines.join("; "),
    };
    Err(
        if said.contains("Failed to connect to ") || said.contains("not been booted with systemd") {
            Trouble::Unreachable(said)
        } else {
            Trouble::Refused {
                command: format!("systemctl --user {}", arguments.join(" ")),
                said,
            }
        },
    )
}

/// What the manager says of a unit. Empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) id: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, …
    pub(crate) load: String,
    /// `active`, `inactive`, `failed`, `activating`, …
    pub(crate) active: String,
    /// `enabled`, `disabled`, …
    pub(crate) file: String,
    /// Why it is no longer active: `success`, `watchdog`, …
    pub(crate) result: String,
    pub(crate) main_pid: Option<u32>,
    /// Whether its files have changed since the manager read them.
    pub(crate) is_outdated: bool,
    /// What a service says of itself.
    pub(crate) status: String,
    /// What a service runs.
    pub(crate) program: Option<PathBuf>,
}

impl Unit {
    pub(crate) fn is_active(&self) -> bool {
        ["active", "activating", "reloading", "deactivating"].contains(&self.active.as_str())
    }
}

/// The arguments that have [`units`] something to read.
pub(crate) fn show(units: &[String]) -> Vec<&str> {
    const WANTED: &str =
        "--property=Id,LoadState,ActiveState,UnitFileState,Result,MainPID,NeedDaemonReload,StatusText,ExecStart";
    let units = units.iter().map(String::as_str);
    ["show", WANTED].into_iter().chain(units).collect()
}

/// What `systemctl show` printed: a block for each unit, with an empty line between.
pub(crate) fn units(printed: &str) -> Vec<Unit> {
    let blocks = printed.split("\n\n").filter(|block| !block.trim().is_empty());
    let unit = |block: &str| {
        let mut unit = Unit::default();
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => unit.id = value.to_owned(),
                "LoadState" => unit.load = value.to_owned(),
                "ActiveState" => unit.active = value.to_owned(),
                "UnitFileState" => unit.file = value.to_owned(),
                "Result" => unit.result = value.to_owned(),
                "MainPID" => unit.main_pid = value.parse().ok().filter(|pid| *pid != 0),
                "NeedDaemonReload" => unit.is_outdated = value == "yes",
                "StatusText" => unit.status = value.to_owned(),
                "ExecStart" => unit.program = program(value),
                _ => {}
            }
        }
        unit
    };
    blocks.map(unit).collect()
}

/// The program in `{ path=/usr/bin/baskd ; argv[]=… }`.
fn program(exec: &str) -> Option<PathBuf> {
    let (_, after) = exec.split_once("path=")?;
    let (path, _) = after.split_once(" ;")?;
    Some(PathBuf::from(path))
}

/// The socket and the service of an instance, as the manager knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pair {
    pub(crate) socket: Unit,
    pub(crate) service: Unit,
}

impl Pair {
    pub(crate) fn has_failed(&self) -> bool {
        self.service.active == "failed" || self.socket.active == "failed"
    }
}

pub(crate) fn pair(name: &str) -> Result<Pair, Trouble> {
    let names = [socket_unit(name), service_unit(name)];
    let mut pair = Pair::default();
    for unit in units(&run(&show(&names))?) {
        if unit.id == names[0] {
            pair.socket = unit;
        } else if unit.id == names[1] {
            pair.service = unit;
        }
    }
    Ok(pair)
}

/// The instances of which the manager has a unit that runs or has failed.
pub(crate) const LIST: &[&str] = &["list-units", "--all", "--plain", "--no-legend", "--full", "baskd@*"];

/// What [`LIST`] printed.
pub(crate) fn listed(printed: &str) -> BTreeSet<String> {
    let is_there = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|active| active != "inactive")
    };
    let names = printed.lines().filter(is_there);
    let names = names.filter_map(|line| instance_of(line.split_whitespace().next()?));
    names.map(str::to_owned).collect()
}

/// A variable of the manager's own environment, from what `show-environment` printed.
pub(crate) fn variable(printed: &str, name: &str) -> Option<String> {
    let value = printed
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    // What a shell would have to be told in quotes is printed so.
    let value = match value.strip_prefix("$'").and_then(|value| value.strip_suffix('\'')) {
        Some(quoted) => {
            let mut plain = String::new();
            let mut letters = quoted.chars();
            while let Some(letter) = letters.next() {
                plain.push(if letter == '\\' { letters.next()? } else { letter });
            }
            plain
        }
        None => value.to_owned(),
    };
    (!value.is_empty()).then_some(value)
}

/// Whether the manager outlives the user's last session. None where nobody knows.
pub(crate) fn lingers() -> Option<bool> {
    let user = rustix::process::geteuid().as_raw().to_string();
    let mut command = Command::new("loginctl");
    command
        .args(["show-user", &user, "--property=Linger"])
        .stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "Linger=yes" => Some(true),
        "Linger=no" => Some(false),
        _ => None,
    }
}

/// What whoever found no daemon at `socket` can do, if systemd is to have one there.
pub(crate) fn remedy(socket: &Path) -> Option<String> {
    let name = installed_at(socket)?;
    Some(match pair(&name) {
        Ok(pair) if pair.has_failed() => failed(&name),
        _ => format!("start it with `systemctl --user start {}`", socket_unit(&name)),
    })
}

/// Why a daemon that systemd was to start at `socket` is not there, if it has given up.
pub(crate) fn failure(socket: &Path) -> Option<String> {
    let name = installed_at(socket)?;
    let has_failed = pair(&name).is_ok_and(|pair| pair.has_failed());
    has_failed.then(|| format!("no daemon answers at {}: {}", socket.display(), failed(&name)))
}

fn failed(name: &str) -> String {
    let (unit, service) = (socket_unit(name), service_unit(name));
    // What most often keeps one from starting can be told here.
    let why = slip_of(name).unwrap_or_else(|| format!("`systemctl --user status {service} {unit}` tells why"));
    format!(
        "its unit has failed: {why}\nOnce that is mended, `systemctl --user reset-failed {service} {unit}; systemctl --user start {unit}` has it listen again"
    )
}

/// What is wrong with an instance's config.
fn slip_of(name: &str) -> Option<String> {
    let path = config::file_of(name)?;
    match config::text_of(&path) {
        Ok(text) => Settings::of_text(&path, &text).err().map(|slip| slip.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("{} can't be read: {error}", path.display())),
    }
}

/// Has the manager forget that an instance's units have failed, where its config has no slip (any more): they stay failed
/// when their cause is mended, and count the starts before.
pub(crate) fn forget_failure(name: &str) {
    if pair(name).is_ok_and(|pair| pair.has_failed()) && slip_of(name).is_none() {
        // Whether that did it, the start tells.
        let _ = run(&["reset-failed", &socket_unit(name), &service_unit(name)]);
    }
}

/// Whether a start is worth another try, though a daemon that systemd was to start at `socket` has failed.
pub(crate) fn is_mended(socket: &Path) -> bool {
    installed_at(socket).is_some_and(|name| slip_of(&name).is_none())
}

/// The instance that is installed with this very socket.
pub(crate) fn installed_at(socket: &Path) -> Option<String> {
    let name = socket.file_stem()?.to_str().filter(|name| valid_name(name))?;
    let usual = baskd_client::socket::resolve(Some(name), None).ok()?;
    let is_usual = usual == socket;
    (is_usual && UnitFiles::here()?.is_installed(name)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn instances_are_known_by_their_units() {
        assert_eq!(instance_of("baskd@my-chat.1.socket"), Some("my-chat.1"));
        assert_eq!(instance_of("baskd@a.service"), Some("a"));
        for other in [
            "baskd@.socket",
            "baskd@a b.socket",
            "baskd@a.timer",
            "x@a.socket",
            "baskd.socket",
        ] {
            assert_eq!(instance_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_installed_is_told_by_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = UnitFiles(folder.path().join("user"));
        assert!(files.names().is_empty());
        let wants = files.0.join("sockets.target.wants");
        fs::create_dir_all(&wants).unwrap();
        symlink("../baskd@.socket", wants.join("baskd@linked.socket")).unwrap();
        let drop_in = files.drop_in("dropped");
        fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
        fs::write(&drop_in, "").unwrap();
        // A person's drop-in alone does not make it one of ours.
        fs::create_dir_all(files.0.join("baskd@other.service.d")).unwrap();
        fs::write(files.0.join("baskd@.socket"), "").unwrap();
        assert_eq!(files.names().into_iter().collect::<Vec<_>>(), ["dropped", "linked"]);
        assert!(files.is_installed("linked") && files.is_installed("dropped"));
        assert!(!files.is_installed("other"));
    }

    #[test]
    fn what_systemctl_prints() {
        let printed = "Id=baskd@a.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nResult=success\nNeedDaemonReload=no\n\n\
                       Id=baskd@a.service\nLoadState=loaded\nActiveState=failed\nResult=watchdog\nMainPID=0\nNeedDaemonReload=yes\n";
        let units = units(printed);
        assert_eq!(units.len(), 2);
        assert!(units[0].is_active() && units[0].file == "enabled" && !units[0].is_outdated);
        assert_eq!(
            (units[1].active.as_str(), units[1].result.as_str()),
            ("failed", "watchdog")
        );
        assert!(units[1].is_outdated && units[1].main_pid.is_none());

        let printed = "baskd@a.socket loaded active listening baskd a\nbaskd@b.service loaded failed failed baskd b\n\
                       baskd@c.service loaded inactive dead baskd c\n";
        assert_eq!(listed(printed).into_iter().collect::<Vec<_>>(), ["a", "b"]);

        let printed = "HOME=/home/me\nXDG_CONFIG_HOME=$'/home/me/it\\'s here'\nEMPTY=\n";
        assert_eq!(variable(printed, "HOME").as_deref(), Some("/home/me"));
        assert_eq!(
            variable(printed, "XDG_CONFIG_HOME").as_deref(),
            Some("/home/me/it's here")
        );
        assert_eq!(variable(printed, "EMPTY"), None);
        assert_eq!(variable(printed, "XDG"), None);
    }

    #[test]
    fn no_manager_is_told_from_one_that_refuses() {
        let ended = |said: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", "printf '%s' \"$0\" >&2; exit 1", said]).output()
        };
        assert!(matches!(
            judge(&["x"], ended("Failed to connect to bus: No medium found")),
            Err(Trouble::Unreachable(_))
        ));
        assert_eq!(
            judge(&["start", "x"], ended("Unit x not found.\n")),
            Err(Trouble::Refused {
                command: "systemctl --user start x".to_owned(),
                said: "Unit x not found.".to_owned()
            })
        );
        let missing = Err(io::ErrorKind::NotFound.into());
        assert!(matches!(judge(&[], missing), Err(Trouble::Unreachable(_))));
    }
}
