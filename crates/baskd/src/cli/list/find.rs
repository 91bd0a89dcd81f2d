//! Which instances there are, by what is on the disk. Nobody is connected to.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use baskd::config;
use baskd_client::socket::{resolve, valid_name};
use baskd_protocol::presence::who_listens;
use baskd_protocol::presence::{Holder, holder, lock_of};
use baskd_protocol::socket::{check_folder_for_client, folder_of};
use directories::BaseDirs;

use crate::cli::systemd::UnitFiles;

/// An instance, and what there is of it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: String,
    /// Where its socket is, or would be. None for a daemon that runs on one that can't be told.
    pub(super) socket: Option<PathBuf>,
    pub(super) has_socket: bool,
    /// Without a daemon: by systemd, that is, or by a stranger.
    pub(super) is_listened_on: bool,
    /// The daemon that runs.
    pub(super) holder: Option<Holder>,
    pub(super) config: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
    pub(super) is_installed: bool,
}

/// All of them, by name.
pub(super) fn all() -> Vec<Found> {
    let states = BaseDirs::new().and_then(|dirs| Some(dirs.state_dir()?.join("baskd")));
    let names_of_states: BTreeSet<_> = names_in(states.as_deref(), |path| path.is_dir().then_some(path)).collect();
    // A daemon's state is locked, too, and that has the instance's name, whatever its socket is called.
    let locked: Vec<(String, Holder)> = names_of_states
        .iter()
        .filter_map(|name| {
            let lock = states.as_ref()?.join(name).join("lock");
            Some((name.clone(), holder(&lock).ok()??))
        })
        .collect();

    let mut found: Vec<Found> = Vec::new();
    for (stem, socket) in sockets() {
        let mut one = at(stem, Some(socket));
        if let Some(pid) = one.holder.as_ref().and_then(|holder| holder.pid)
            && let Some((name, _)) = locked.iter().find(|(_, holder)| holder.pid == Some(pid))
        {
            one = Found {
                holder: one.holder,
                has_socket: one.has_socket,
                ..at(name.clone(), one.socket)
            };
        }
        found.push(one);
    }
    for (name, holder) in locked {
        let is_known = found
            .iter()
            .any(|one| one.name == name && one.holder.as_ref().is_some_and(|known| known.pid == holder.pid));
        if !is_known {
            let socket = holder.pid.and_then(socket_of);
            found.push(Found {
                holder: Some(holder),
                ..at(name, socket)
            });
        }
    }
    let configs = config::file_of("x").and_then(|path| Some(path.parent()?.to_owned()));
    let names_of_configs = names_in(configs.as_deref(), |path| {
        (path.extension()? == "toml").then(|| path.with_extension(""))
    });
    let units = UnitFiles::here().map(|files| files.names()).unwrap_or_default();
    let names: BTreeSet<_> = names_of_states
        .into_iter()
        .chain(names_of_configs)
        .chain(units)
        .collect();
    for name in names {
        if !found.iter().any(|one| one.name == name) {
            found.push(by_name(&name));
        }
    }
    found
}

/// The instance of that name, where it would be.
pub(super) fn by_name(name: &str) -> Found {
    at(name.to_owned(), resolve(Some(name), None).ok())
}

fn at(name: String, socket: Option<PathBuf>) -> Found {
    let is_there = |path: PathBuf| path.exists().then_some(path);
    let states = BaseDirs::new().and_then(|dirs| Some(dirs.state_dir()?.join("baskd")));
    let holder = socket.as_deref().and_then(|socket| holder(&lock_of(socket)).ok()?);
    Found {
        is_listened_on: holder.is_none() && socket.as_deref().is_some_and(|socket| who_listens(socket).is_some()),
        has_socket: socket.as_deref().is_some_and(is_socket),
        holder,
        config: config::file_of(&name).and_then(is_there),
        state: states.map(|states| states.join(&name)).and_then(is_there),
        is_installed: UnitFiles::here().is_some_and(|files| files.is_installed(&name)),
        socket,
        name,
    }
}

/// The sockets in the folders that instances are looked for in, and those that are missing while a daemon has their lock.
fn sockets() -> Vec<(String, PathBuf)> {
    let user = rustix::process::geteuid().as_raw();
    let usual = resolve(Some("x"), None).ok();
    let usual = usual.as_deref().map(folder_of).map(Path::to_owned);
    let others = [format!("/run/user/{user}/baskd"), format!("/tmp/baskd-{user}")].map(PathBuf::from);
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in usual.into_iter().chain(others) {
        // One that could be somebody else's is not to be believed.
        let is_known = folders
            .iter()
            .any(|known| fs::canonicalize(known).ok() == fs::canonicalize(&folder).ok());
        if check_folder_for_client(&folder).is_ok() && !is_known {
            folders.push(folder);
        }
    }
    let mut sockets = Vec::new();
    for folder in folders {
        let stem = |path: PathBuf| {
            let name = path.file_name()?.to_str()?;
            let stem = name.strip_suffix(".lock").unwrap_or(name).strip_suffix(".sock")?;
            Some(PathBuf::from(stem))
        };
        let stems: BTreeSet<_> = names_in(Some(&folder), stem).collect();
        for stem in stems {
            let path = folder.join(format!("{stem}.sock"));
            if is_socket(&path) || holder(&lock_of(&path)).is_ok_and(|holder| holder.is_some()) {
                sockets.push((stem, path));
            }
        }
    }
    sockets
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket())
}

/// The file names of what `named` makes of a folder's entries, if instances can have them.
fn names_in(folder: Option<&Path>, named: impl Fn(PathBuf) -> Option<PathBuf>) -> impl Iterator<Item = String> {
    let entries = folder
        .and_then(|folder| fs::read_dir(folder).ok())
        .into_iter()
        .flatten();
    entries.filter_map(move |entry| {
        let path = named(entry.ok()?.path())?;
        let name = path.file_name()?.to_str()?;
        valid_name(name).then(|| name.to_owned())
    })
}

/// Where a daemon listens that was given a socket of its own: what it was started with tells.
fn socket_of(pid: u32) -> Option<PathBuf> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let words = |file: &str| -> Option<Vec<Vec<u8>>> {
        let text = fs::read(folder.join(file)).ok()?;
        Some(text.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
    };
    let arguments = words("cmdline")?;
    let flag = arguments
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.strip_prefix(b"--socket") {
            Some([]) => arguments.get(at + 1).cloned(),
            Some([b'=', path @ ..]) => Some(path.to_vec()),
            _ => None,
        });
    let variable = || {
        let environment = words("environ")?;
        environment
            .iter()
            .find_map(|word| Some(word.strip_prefix(b"BASKD_SOCKET=")?.to_vec()))
    };
    let path = flag.or_else(variable).filter(|path| !path.is_empty())?;
    let path = fs::read_link(folder.join("cwd")).ok()?.join(OsString::from_vec(path));
    // It is only believed if that socket is its own.
    let theirs = holder(&lock_of(&path)).ok()??;
    (theirs.pid == Some(pid)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_instance_can_have_are_no_instances() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["chat.toml", "chat.toml.saved", "-x.toml", "a b.toml", "notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let named = |path: PathBuf| (path.extension()? == "toml").then(|| path.with_extension(""));
        assert_eq!(names_in(Some(folder.path()), named).collect::<Vec<_>>(), ["chat"]);
        assert_eq!(names_in(Some(Path::new("/nowhere")), named).count(), 0);
    }
}
