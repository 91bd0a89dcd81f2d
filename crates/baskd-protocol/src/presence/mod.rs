//! Who has an instance's socket, found out without connecting: a socket that systemd holds would start the daemon.

mod listening;
mod lock;

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

pub use listening::{Listens, who_listens};
pub use lock::{Holder, STOPPING, holder, lock_of};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// There is no socket.
    Nobody,
    /// A socket that nobody listens on was left behind.
    Stale,
    /// Somebody listens who is no daemon: systemd, until the first connection, or another program.
    Held(Listens),
    /// A daemon runs, or is about to, or stops.
    Runs(Holder),
    /// Something is there that is no socket.
    NotASocket,
}

impl Presence {
    /// Whether who connects would have a daemon started that does not run: systemd's socket, or that of a daemon which
    /// stops. For those who only look.
    #[must_use]
    pub fn would_start_one(&self) -> bool {
        match self {
            Presence::Held(who) => *who == Listens::Systemd,
            Presence::Runs(holder) => holder.is_stopping,
            Presence::Nobody | Presence::Stale | Presence::NotASocket => false,
        }
    }

    /// Connects to nothing.
    ///
    /// # Errors
    /// If its lock, or what the kernel tells, can't be read.
    pub fn of(socket: &Path) -> io::Result<Presence> {
        if let Some(holder) = holder(&lock_of(socket))? {
            return Ok(Presence::Runs(holder));
        }
        match fs::symlink_metadata(socket) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Presence::Nobody),
            Err(error) => Err(error),
            Ok(there) if !there.file_type().is_socket() => Ok(Presence::NotASocket),
            Ok(_) => Ok(who_listens(socket).map_or(Presence::Stale, Presence::Held)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FlockOperation, flock};
    use std::fs::File;
    use std::os::unix::net::UnixListener;

    #[test]
    fn each_state_of_a_path_is_told_apart_without_touching_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        assert_eq!(Presence::of(&path).unwrap(), Presence::Nobody);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(Presence::of(&path).unwrap(), Presence::Held(Listens::Other));
        let lock = File::create(folder.path().join("a.sock.lock")).unwrap();
        assert_eq!(Presence::of(&path).unwrap(), Presence::Held(Listens::Other));
        fs::write(folder.path().join("a.sock.lock"), "pid 7, x.py\nstopping\n").unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let Presence::Runs(holder) = Presence::of(&path).unwrap() else {
            panic!("nobody has the lock")
        };
        assert_eq!((holder.who.as_str(), holder.is_stopping), ("pid 7, x.py", true));
        drop(lock);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        assert_eq!(Presence::of(&path).unwrap(), Presence::Stale);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(Presence::of(&path).unwrap(), Presence::NotASocket);
    }
}
