//! Folders, files, variables, and who is at the socket.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baskd::config::{self, Settings};
use baskd_client::{Client, Status};
use baskd_protocol::socket::{SocketError, check_folder, folder_of};
use directories::BaseDirs;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::finding::{Finding, Findings, quoted};
use baskd_protocol::presence::{Holder, Listens, Presence};

/// How long a daemon that runs may take to say how it is.
const ANSWER: Duration = Duration::from_secs(5);
/// With less room than that on its disk, the state is soon not written any more.
const LITTLE_ROOM: u64 = 64 << 20;

pub(super) fn config(name: &str, asked: Option<&Path>) -> Vec<Finding> {
    let mut found = Findings::of("config");
    let given = asked.map(Path::to_owned).or_else(|| variable("BASKD_CONFIG"));
    match Settings::load(name, asked) {
        Err(error) => found.problem(
            error.to_string(),
            "correct it; baskd config --default shows every setting",
        ),
        Ok(_) => match given.or_else(|| config::file_of(name)) {
            Some(path) if path.exists() => found.good(path.display().to_string()),
            Some(path) => found.good(format!("none (it would be {})", path.display())),
            None => found.warning("there is no folder for it", "set HOME, or XDG_CONFIG_HOME"),
        },
    }
    found.all()
}

/// A variable whose name is mistyped does nothing.
pub(super) fn environment() -> Vec<Finding> {
    let mut found = Findings::of("environment");
    for note in config::misspelt_variables() {
        found.warning(note, "");
    }
    found.all()
}

pub(super) fn runtime_folder(socket: &Path) -> Vec<Finding> {
    let mut found = Findings::of("runtime folder");
    let folder = folder_of(socket);
    match check_folder(folder) {
        Ok(()) => found.good(folder.display().to_string()),
        Err(SocketError::FolderMissing(_)) => found.good(format!("{}, made by the first daemon", folder.display())),
        Err(error) => found.problem(error.to_string(), ""),
    }
    let is_spare = folder.starts_with("/tmp") && env::var_os("BASKD_SOCKET").is_none();
    match variable("XDG_RUNTIME_DIR") {
        None if is_spare => found.warning(
            "$XDG_RUNTIME_DIR is not set and /run/user/UID is not there, so the socket is in /tmp, where clients with it set would not look",
            "log in by a session that systemd knows (ssh, a desktop; not `su`), or run `loginctl enable-linger`",
        ),
        Some(folder) if !folder.is_dir() => found.problem(
            format!("$XDG_RUNTIME_DIR is {}, which is not there", folder.display()),
            "log in anew, or unset it",
        ),
        _ => {}
    }
    found.all()
}

pub(super) fn state_folder(name: &str) -> Vec<Finding> {
    let mut found = Findings::of("state folder");
    let Some(states) = BaseDirs::new().and_then(|dirs| Some(dirs.state_dir()?.join("baskd"))) else {
        found.problem("there is none", "set HOME, or XDG_STATE_HOME");
        return found.all();
    };
    let folder = states.join(name);
    let there = match fs::symlink_metadata(&folder) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            found.good(format!("{}, made by the first daemon", folder.display()));
            return found.all();
        }
        Err(error) => {
            found.problem(format!("{} can't be looked at: {error}", folder.display()), "");
            return found.all();
        }
    };
    let (shown, named) = (folder.display(), quoted(&folder));
    let user = rustix::process::geteuid().as_raw();
    if !there.is_dir() {
        found.problem(
            format!("{shown} is no folder"),
            format!("mv {named} {}", quoted(&old(&folder))),
        );
    } else if there.uid() != user {
        found.problem(
            format!("{shown} belongs to the user with id {}", there.uid()),
            format!("sudo chown -R {user} {named}"),
        );
    } else if there.mode() & 0o077 != 0 {
        found.problem(
            format!(
                "{shown} has mode {:04o}, so others could read your properties",
                there.mode() & 0o777
            ),
            format!("chmod 700 {named}"),
        );
    } else {
        found.good(shown.to_string());
    }
    if let Ok(disk) = rustix::fs::statvfs(&folder) {
        let room = disk.f_bavail.saturating_mul(disk.f_frsize);
        if room < LITTLE_ROOM {
            found.warning(
                format!(
                    "its disk has {} MiB left: properties and snapshots may not be kept",
                    room >> 20
                ),
                format!("make room: df -h {named}"),
            );
        }
    }
    let mut aside: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "unreadable" || extension == "refused")
        })
        .collect();
    aside.sort();
    for path in aside {
        let why = match path.extension().is_some_and(|extension| extension == "refused") {
            true => "the controller's on_restore failed with it",
            false => "it could not be read",
        };
        found.note(
            format!("{} was put aside: {why}", path.display()),
            format!("look at it, then rm {}", quoted(&path)),
        );
    }
    found.all()
}

/// Who is at the socket; and, where that is a daemon, how it is.
pub(super) fn socket(path: &Path, flags: &str, runtime: &Runtime) -> Vec<Finding> {
    let mut found = Findings::of("socket");
    let shown = path.display();
    match Presence::of(path) {
        Err(error) => found.problem(format!("{shown} can't be looked at: {error}"), ""),
        Ok(Presence::Nobody) => found.good(format!("{shown} is free: no daemon runs")),
        Ok(Presence::Stale) => found.note(
            format!("{shown} was left behind by a daemon that was killed"),
            "nothing to do: the next daemon replaces it",
        ),
        Ok(Presence::NotASocket) => found.problem(
            format!("{shown} is no socket"),
            format!("mv {} {}", quoted(path), quoted(&old(path))),
        ),
        Ok(Presence::Held(Listens::Systemd)) => found.good(format!(
            "{shown} is systemd's, which starts the daemon at the first connection"
        )),
        Ok(Presence::Held(Listens::Other)) => found.warning(
            format!("some program that is no daemon of baskd's listens on {shown}"),
            "choose another --name, or --socket",
        ),
        Ok(Presence::Runs(holder)) if holder.is_stopping => found.note(
            format!("the daemon at {shown} stops ({})", holder.who),
            "ask again when it has",
        ),
        Ok(Presence::Runs(Holder { who, .. })) => {
            let ask = async { Client::builder().start(false).connect(path).await?.status().await };
            let status = runtime.block_on(async { timeout(ANSWER, ask).await });
            match status {
                Err(_) => found.problem(
                    format!("a daemon has {shown} ({who}), and did not answer within {ANSWER:?}"),
                    "is it stopped, or swapped out? Look at it with `ps`, and end it if need be",
                ),
                Ok(Err(error)) => found.problem(format!("a daemon has {shown} ({who}): {error}"), ""),
                Ok(Ok(status)) => daemon(&mut found, &status, flags),
            }
        }
    }
    found.all()
}

fn daemon(found: &mut Findings, status: &Status, flags: &str) {
    found.good(format!(
        "{}: a daemon runs (pid {}), and is {}",
        status.socket, status.pid, status.state
    ));
    if status.version != env!("CARGO_PKG_VERSION") {
        found.warning(
            format!(
                "it is baskd {}, and this is {}",
                status.version,
                env!("CARGO_PKG_VERSION")
            ),
            format!("baskd stop{flags}, and start it again"),
        );
    }
    let is_well = matches!(status.state.as_str(), "ready" | "starting" | "stopping");
    if !is_well {
        let why = status.reason.as_deref().unwrap_or("it says no reason");
        let mut what = format!("its Python does not serve: {why}");
        for line in status
            .last_exit
            .iter()
            .flat_map(|exit| exit.stderr.iter().rev().take(5).rev())
        {
            what.push_str("\n  ");
            what.push_str(line);
        }
        found.problem(what, format!("mend the controller, then baskd restart{flags}"));
    }
    let executable = status.python.executable.as_deref().map(Path::new);
    if let Some(gone) = executable.filter(|path| !path.exists()) {
        found.problem(
            format!("its Python, {}, is gone: the next one can't be started", gone.display()),
            "make the venv again, or start the daemon with another --python",
        );
    }
}

/// Where what is in the way is to go.
fn old(path: &Path) -> PathBuf {
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    PathBuf::from(old)
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
