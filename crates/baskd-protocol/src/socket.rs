//! Where an instance's socket is, and whether its folder can be trusted.
//!
//! The daemon and every Rust client ask here, so that they can't disagree. Finding a path is a
//! pure matter of names and environment; only [`check_folder`] and its sibling look at the disk.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use directories::BaseDirs;

/// The name of the instance that is meant when none is given.
pub const DEFAULT_NAME: &str = "default";

/// The longest path a Unix socket can have, in bytes: `sun_path` less its closing NUL.
pub const MAX_PATH: usize = 107;

/// What keeps a socket from being used. Every message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error(
        "'{0}' can't be the name of an instance: use 1 to 32 letters, digits, '_', '.' or '-', starting with a letter or a digit"
    )]
    BadName(String),
    #[error(
        "the socket path {} has {len} bytes, and a Unix socket's may have {MAX_PATH}: choose a shorter one with --socket", .path.display()
    )]
    PathTooLong { path: PathBuf, len: usize },
    #[error("the folder {} is not there: create it with `mkdir -m 700`", .0.display())]
    FolderMissing(PathBuf),
    #[error("{} is a symbolic link, which could be pointed elsewhere: name the folder itself", .0.display())]
    FolderIsLink(PathBuf),
    #[error("{} is not a folder: choose another place with --socket", .0.display())]
    NotAFolder(PathBuf),
    #[error(
        "the folder {} belongs to the user with id {owner} and not to you (id {user}): choose one of your own with --socket", .folder.display()
    )]
    NotYours { folder: PathBuf, owner: u32, user: u32 },
    #[error(
        "the folder {0} has mode {mode:04o}, so others could reach the socket: run `chmod 700 {0}`", .folder.display()
    )]
    FolderOpen { folder: PathBuf, mode: u32 },
    #[error("the folder {} can't be looked at: {source}", .folder.display())]
    Unreadable {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Whether `name` can be an instance's: `[A-Za-z0-9][A-Za-z0-9_.-]{0,31}`.
#[must_use]
pub fn valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=32).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte))
}

/// The socket of the instance that `name` and `socket`, both given explicitly or not at all, mean.
///
/// A given `socket` wins over a given `name`, and either of them over `$BASKD_SOCKET` and
/// `$BASKD_NAME`. Then come `$XDG_RUNTIME_DIR/baskd`, `/run/user/UID/baskd` and `/tmp/baskd-UID`.
///
/// # Errors
/// [`SocketError::BadName`] and [`SocketError::PathTooLong`]; nothing is created or checked.
pub fn socket_path(name: Option<&str>, socket: Option<&Path>) -> Result<PathBuf, SocketError> {
    Surroundings::of_this_process().socket_path(name, socket)
}

/// The name of the instance that `name` and `socket` mean, in the same order of precedence. A
/// socket that was given without a name lends its own: `/run/x/search.sock` is `search`'s, so
/// that two daemons on two sockets don't share the state of `default`.
///
/// # Errors
/// [`SocketError::BadName`].
pub fn instance_name(name: Option<&str>, socket: Option<&Path>) -> Result<String, SocketError> {
    Surroundings::of_this_process().instance_name(name, socket)
}

/// Refuses a folder in which a socket can't be trusted: it must be a folder and no link, belong
/// to the user of this process, and have mode 0700.
///
/// # Errors
/// Says which of these it is not.
pub fn check_folder(folder: &Path) -> Result<(), SocketError> {
    check(folder, false)
}

/// As [`check_folder`], except that a client that is root may use any user's folder.
///
/// # Errors
/// As [`check_folder`].
pub fn check_folder_for_client(folder: &Path) -> Result<(), SocketError> {
    check(folder, rustix::process::geteuid().is_root())
}

/// The folder that `socket` is in; a bare file name is in the working folder.
#[must_use]
pub fn folder_of(socket: &Path) -> &Path {
    match socket.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn check(folder: &Path, any_owner: bool) -> Result<(), SocketError> {
    let found = std::fs::symlink_metadata(folder).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            SocketError::FolderMissing(folder.to_owned())
        } else {
            SocketError::Unreadable {
                folder: folder.to_owned(),
                source,
            }
        }
    })?;
    let user = rustix::process::geteuid().as_raw();
    if found.is_symlink() {
        return Err(SocketError::FolderIsLink(folder.to_owned()));
    }
    if !found.is_dir() {
        return Err(SocketError::NotAFolder(folder.to_owned()));
    }
    if found.uid() != user && !any_owner {
        return Err(SocketError::NotYours {
            folder: folder.to_owned(),
            owner: found.uid(),
            user,
        });
    }
    let mode = found.mode() & 0o777;
    if mode != 0o700 {
        return Err(SocketError::FolderOpen {
            folder: folder.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// All that the way to a socket depends on, gathered once so that the rules can be tested without
/// touching the environment of the test process.
struct Surroundings {
    name: Option<String>,
    socket: Option<PathBuf>,
    /// The folder that holds the sockets of this user's instances.
    folder: PathBuf,
}

impl Surroundings {
    fn of_this_process() -> Self {
        let user = rustix::process::geteuid().as_raw();
        let runtime = BaseDirs::new().and_then(|dirs| dirs.runtime_dir().map(Path::to_path_buf));
        let by_user = PathBuf::from(format!("/run/user/{user}"));
        Self {
            name: given("BASKD_NAME").map(|name| name.to_string_lossy().into_owned()),
            socket: given("BASKD_SOCKET").map(PathBuf::from),
            folder: match runtime {
                Some(runtime) => runtime.join("baskd"),
                None if by_user.is_dir() => by_user.join("baskd"),
                None => PathBuf::from(format!("/tmp/baskd-{user}")),
            },
        }
    }

    fn socket_path(&self, name: Option<&str>, socket: Option<&Path>) -> Result<PathBuf, SocketError> {
        let path = match (socket, name, &self.socket) {
            (Some(socket), _, _) => socket.to_owned(),
            (None, None, Some(socket)) => socket.clone(),
            (None, name, _) => {
                let name = name.or(self.name.as_deref()).unwrap_or(DEFAULT_NAME);
                if !valid_name(name) {
                    return Err(SocketError::BadName(name.to_owned()));
                }
                self.folder.join(format!("{name}.sock"))
            }
        };
        let len = path.as_os_str().as_bytes().len();
        if len > MAX_PATH {
            return Err(SocketError::PathTooLong { path, len });
        }
        Ok(path)
    }

    fn instance_name(&self, name: Option<&str>, socket: Option<&Path>) -> Result<String, SocketError> {
        let named = match (name, socket) {
            (Some(name), _) => Some(name),
            (None, Some(_)) => None,
            (None, None) => self.name.as_deref(),
        };
        match named {
            Some(name) if valid_name(name) => Ok(name.to_owned()),
            Some(name) => Err(SocketError::BadName(name.to_owned())),
            None => Ok(socket
                .or(self.socket.as_deref())
                .and_then(Path::file_stem)
                .and_then(|stem| stem.to_str())
                .filter(|stem| valid_name(stem))
                .unwrap_or(DEFAULT_NAME)
                .to_owned()),
        }
    }
}

/// A variable that is set to something; an empty one is as good as none.
fn given(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn surroundings(name: Option<&str>, socket: Option<&str>) -> Surroundings {
        Surroundings {
            name: name.map(str::to_owned),
            socket: socket.map(PathBuf::from),
            folder: "/run/user/1/baskd".into(),
        }
    }

    #[test]
    fn names() {
        for good in ["a", "default", "0.x_y-z", &"a".repeat(32)] {
            assert!(valid_name(good), "{good}");
        }
        for bad in ["", ".", "-a", "_a", "a/b", "ä", "a b", &"a".repeat(33)] {
            assert!(!valid_name(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_explicit_wins() {
        let path = |name, socket: Option<&str>, env: &Surroundings| {
            env.socket_path(name, socket.map(Path::new))
                .unwrap()
                .display()
                .to_string()
        };
        let none = surroundings(None, None);
        let both = surroundings(Some("env"), Some("/env.sock"));
        assert_eq!(path(None, None, &none), "/run/user/1/baskd/default.sock");
        assert_eq!(path(None, None, &both), "/env.sock");
        assert_eq!(path(Some("a"), None, &both), "/run/user/1/baskd/a.sock");
        assert_eq!(path(None, Some("/b"), &both), "/b");
        assert_eq!(path(Some("a"), Some("/b"), &both), "/b");
        let named = surroundings(Some("env"), None);
        assert_eq!(path(None, None, &named), "/run/user/1/baskd/env.sock");
    }

    #[test]
    fn a_socket_lends_its_name() {
        let name =
            |name, socket: Option<&str>, env: &Surroundings| env.instance_name(name, socket.map(Path::new)).unwrap();
        let none = surroundings(None, None);
        let both = surroundings(Some("env"), Some("/x/other.sock"));
        assert_eq!(name(None, None, &none), "default");
        assert_eq!(name(None, None, &both), "env");
        assert_eq!(name(Some("a"), Some("/x/b.sock"), &both), "a");
        assert_eq!(name(None, Some("/x/b.sock"), &both), "b");
        assert_eq!(name(None, Some("/x/-.sock"), &both), "default");
        assert_eq!(name(None, None, &surroundings(None, Some("/x/o.sock"))), "o");
    }

    #[test]
    fn a_path_may_have_107_bytes() {
        let none = surroundings(None, None);
        let path = |len: usize| PathBuf::from(format!("/{}", "a".repeat(len - 1)));
        assert!(none.socket_path(None, Some(&path(107))).is_ok());
        let error = none.socket_path(None, Some(&path(108))).unwrap_err();
        assert!(error.to_string().contains("108 bytes"), "{error}");
        assert!(matches!(
            none.socket_path(Some("../x"), None),
            Err(SocketError::BadName(_))
        ));
    }

    #[test]
    fn folders() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("f");
        assert!(matches!(check_folder(&folder), Err(SocketError::FolderMissing(_))));
        std::fs::create_dir(&folder).unwrap();
        let chmod = |mode| {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        chmod(0o700);
        check_folder(&folder).unwrap();
        chmod(0o755);
        let error = check_folder(&folder).unwrap_err().to_string();
        assert!(error.contains("mode 0755") && error.contains("chmod 700"), "{error}");
        chmod(0o700);
        let link = temp.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(matches!(check_folder(&link), Err(SocketError::FolderIsLink(_))));
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert!(matches!(
            check_folder(&temp.path().join("file")),
            Err(SocketError::NotAFolder(_))
        ));
    }

    #[test]
    fn a_bare_name_is_in_the_working_folder() {
        assert_eq!(folder_of(Path::new("x.sock")), Path::new("."));
        assert_eq!(folder_of(Path::new("/a/x.sock")), Path::new("/a"));
    }
}
