//! The socket that whoever has started this daemon has bound for it: systemd's socket activation, `sd_listen_fds(3)`.
//!
//! Such a socket is its manager's. The daemon accepts on it, and does nothing else with it: the manager has the same open
//! socket, and it listens on when this daemon is gone. So no client is refused between two daemons.

use std::env;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use baskd_protocol::socket::folder_of;
use listenfd::ListenFd;

/// A listening Unix stream socket that was passed to this process.
#[derive(Debug)]
pub struct Given {
    pub(super) socket: UnixListener,
    /// What it was bound to.
    pub path: PathBuf,
}

/// No manager passes more to a service that wants one.
const MOST: usize = 64;

/// What was passed is not what a daemon can serve on.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    #[error("{0} sockets were passed to it, and a daemon serves one: let its socket unit have a single ListenStream=")]
    NotOne(usize),
    #[error("LISTEN_FDS={0:?} is no number of sockets: unset it, or let a socket unit with ListenStream= set it")]
    NoCount(String),
    #[error("what was passed to it is no Unix stream socket ({0}): let its socket unit have ListenStream= with a path")]
    NoStream(io::Error),
    #[error("the socket that was passed to it is a connection: let its socket unit have Accept=no")]
    NotListening,
    #[error("the socket that was passed to it has no path: let its socket unit have ListenStream= with a path")]
    NoPath,
    #[error(
        "the socket that was passed to it is {}, and the one it was told to serve on is {}: give its unit the same --name, or neither --name nor --socket", .given.display(), .wanted.display()
    )]
    Another { given: PathBuf, wanted: PathBuf },
}

/// The socket that was passed to this process, if one was. What was passed to another is that one's, though its variables
/// were inherited. To be asked once: who asks takes it.
pub fn given() -> Result<Option<Given>, GivenError> {
    let text = |name: &str| env::var(name).ok();
    let is_ours = text("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(std::process::id());
    let Some(count) = text("LISTEN_FDS").filter(|_| is_ours) else {
        return Ok(None);
    };
    match count_of(&count)? {
        0 => return Ok(None),
        // Before each of them is looked at, which takes long where they are many.
        many if many > MOST => return Err(GivenError::NotOne(many)),
        _ => {}
    }
    let mut passed = ListenFd::from_env();
    match passed.len() {
        0 => return Ok(None),
        1 => {}
        several => return Err(GivenError::NotOne(several)),
    }
    let Some(socket) = passed.take_unix_listener(0).map_err(GivenError::NoStream)? else {
        return Ok(None);
    };
    if !rustix::net::sockopt::socket_acceptconn(&socket).unwrap_or(false) {
        return Err(GivenError::NotListening);
    }
    let address = socket.local_addr().map_err(GivenError::NoStream)?;
    let path = address.as_pathname().ok_or(GivenError::NoPath)?.to_owned();
    Ok(Some(Given { socket, path }))
}

/// What LISTEN_FDS says: decimal digits, and nothing beside them.
fn count_of(text: &str) -> Result<usize, GivenError> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|_| is_digits);
    count.ok_or_else(|| GivenError::NoCount(text.to_owned()))
}

impl Given {
    /// Whether `path` is where it is bound.
    pub(super) fn check(&self, path: &Path) -> Result<(), GivenError> {
        let is_there = self.path == path
            || (self.path.file_name() == path.file_name() && is_same(folder_of(&self.path), folder_of(path)));
        if is_there {
            Ok(())
        } else {
            Err(GivenError::Another {
                given: self.path.clone(),
                wanted: path.to_owned(),
            })
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |folder: &Path| folder.metadata().ok().map(|there| (there.dev(), there.ino()));
    inode(one).is_some_and(|one| inode(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_many_there_are_is_read_strictly() {
        assert_eq!(count_of("1").unwrap(), 1);
        assert_eq!(count_of("2147483647").unwrap(), 2_147_483_647);
        for none in ["", "+1", "-1", " 1", "1 ", "1x", "99999999999999999999999"] {
            let told = count_of(none).unwrap_err().to_string();
            assert!(told.contains("unset it"), "{told}");
        }
    }

    #[test]
    fn it_is_where_it_was_bound_by_whichever_name() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, folder.path().join("link")).unwrap();
        let path = real.join("a.sock");
        let given = Given {
            socket: UnixListener::bind(&path).unwrap(),
            path: path.clone(),
        };
        assert!(given.check(&path).is_ok());
        assert!(given.check(&folder.path().join("link/a.sock")).is_ok());
        let told = given.check(&real.join("b.sock")).unwrap_err().to_string();
        assert!(told.contains("a.sock") && told.contains("b.sock"), "{told}");
        assert!(given.check(&folder.path().join("a.sock")).is_err());
    }
}
