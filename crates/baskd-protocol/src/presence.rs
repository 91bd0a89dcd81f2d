//! Who has an instance's socket, found out without connecting: a socket that systemd holds would start the daemon.
//!
//! A daemon that runs holds the lock on `SOCKET.lock`, also under systemd. Taking that lock to see whether it is free would
//! keep a daemon that is started at that moment from getting it, so `/proc/locks` is read instead.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// There is no socket.
    Nobody,
    /// A socket that nobody listens on was left behind.
    Stale,
    /// Somebody listens who is no daemon: systemd, until the first connection, or another program.
    Held,
    /// A daemon runs, or is about to; what it wrote of itself.
    Runs(String),
    /// Something is there that is no socket.
    NotASocket,
}

impl Presence {
    /// Connects to nothing.
    ///
    /// # Errors
    /// If what the kernel tells of it can't be read.
    pub fn of(socket: &Path) -> io::Result<Presence> {
        let lock = with_suffix(socket, ".lock");
        if is_locked(&lock)? {
            let who = fs::read_to_string(&lock).unwrap_or_default();
            return Ok(Presence::Runs(who.lines().next().unwrap_or_default().to_owned()));
        }
        match fs::symlink_metadata(socket) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Presence::Nobody),
            Err(error) => Err(error),
            Ok(there) if !there.file_type().is_socket() => Ok(Presence::NotASocket),
            Ok(_) => Ok(match is_listened_on(&fs::read_to_string("/proc/net/unix")?, socket) {
                true => Presence::Held,
                false => Presence::Stale,
            }),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether any process has locked the file.
fn is_locked(path: &Path) -> io::Result<bool> {
    let inode = match fs::symlink_metadata(path) {
        Ok(there) => there.ino(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(has_lock(&fs::read_to_string("/proc/locks")?, inode))
}

/// `1: FLOCK  ADVISORY  WRITE 4711 00:2d:131 0 EOF`. The device is not compared: on some file systems it is not the one that
/// `stat` gives. A lock that is waited for has `->` before its kind.
fn has_lock(locks: &str, inode: u64) -> bool {
    let inode = inode.to_string();
    locks.lines().any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        words.next() == Some("FLOCK") && words.nth(3).and_then(|place| place.rsplit(':').next()) == Some(&inode)
    })
}

/// `0000000000000000: 00000002 00000000 00010000 0001 01 52213 /run/user/1000/baskd/chat.sock`; the flag is that of a socket
/// that accepts.
fn is_listened_on(sockets: &str, path: &Path) -> bool {
    const ACCEPTS: u64 = 0x10000;
    sockets.lines().any(|line| {
        let mut rest = line;
        let mut words = std::iter::from_fn(|| {
            let (word, after) = rest.trim_start().split_once(' ')?;
            rest = after;
            Some(word)
        });
        let flags = words.nth(3).and_then(|flags| u64::from_str_radix(flags, 16).ok());
        // What comes after kind, state and inode may have blanks in it.
        let has_path = words.nth(2).is_some();
        has_path && flags.is_some_and(|flags| flags & ACCEPTS != 0) && Path::new(rest) == path
    })
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
        assert_eq!(Presence::of(&path).unwrap(), Presence::Held);
        let lock = File::create(folder.path().join("a.sock.lock")).unwrap();
        assert_eq!(Presence::of(&path).unwrap(), Presence::Held);
        fs::write(folder.path().join("a.sock.lock"), "pid 7, x.py\nstopping\n").unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        assert_eq!(Presence::of(&path).unwrap(), Presence::Runs("pid 7, x.py".to_owned()));
        drop(lock);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        assert_eq!(Presence::of(&path).unwrap(), Presence::Stale);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(Presence::of(&path).unwrap(), Presence::NotASocket);
    }

    #[test]
    fn the_tables_of_the_kernel_are_read() {
        let locks = "1: POSIX  ADVISORY  WRITE 1 00:2d:131 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 00:2d:132 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 4712 00:2d:133 0 EOF\n";
        assert!(has_lock(locks, 132));
        assert!(!has_lock(locks, 131) && !has_lock(locks, 133) && !has_lock(locks, 32));
        let sockets = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 52213 /run/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03   913 /run/c.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01   914 /run/d.sock\n";
        assert!(is_listened_on(sockets, Path::new("/run/a b.sock")));
        assert!(is_listened_on(sockets, Path::new("/run/d.sock")));
        assert!(!is_listened_on(sockets, Path::new("/run/c.sock")));
        assert!(!is_listened_on(sockets, Path::new("/run/d")));
    }
}
