//! Who listens on a path, found out without connecting: to connect to a socket that systemd holds is to have it start the
//! daemon.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The program that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listens {
    Systemd,
    /// Some other, or one that this user may not look at.
    Other,
}

/// In `/proc/net/unix`, the flag of a socket that listens.
const LISTENS: u32 = 1 << 16;

/// None if nobody listens there, as far as that can be seen. One that was bound to another path, and has been moved, is not
/// seen.
#[must_use]
pub fn who_listens(path: &Path) -> Option<Listens> {
    let sockets = fs::read_to_string("/proc/net/unix").ok()?;
    let wanted = inode_of(path)?;
    // By another name of its folder, it may be; others' paths, which may be anywhere, are not looked up.
    let is_it = |bound: &Path| bound.file_name() == path.file_name() && inode_of(bound) == Some(wanted);
    let mut listening = sockets.lines().filter_map(listening);
    let (inode, _) = listening.find(|(_, bound)| is_it(Path::new(bound)))?;
    let link = format!("socket:[{inode}]");
    let is_systemds = processes_with(&link).any(|name| name.starts_with("systemd"));
    Some(if is_systemds { Listens::Systemd } else { Listens::Other })
}

/// The inode and the path of a line of `/proc/net/unix`, if that socket listens. Columns are padded, and a path may have
/// spaces in it.
fn listening(line: &str) -> Option<(&str, &str)> {
    let mut rest = line;
    let mut next = || {
        let (word, after) = rest.trim_start().split_once(' ')?;
        rest = after;
        Some(word)
    };
    let (_number, _references, _protocol) = (next()?, next()?, next()?);
    let flags = u32::from_str_radix(next()?, 16).ok()?;
    let (_type, _state) = (next()?, next()?);
    let inode = next()?;
    (flags & LISTENS != 0 && rest.starts_with('/')).then_some((inode, rest))
}

fn inode_of(path: &Path) -> Option<(u64, u64)> {
    let there = fs::symlink_metadata(path).ok()?;
    Some((there.dev(), there.ino()))
}

/// The names of the processes that have this open, of those that may be looked at.
fn processes_with(link: &str) -> impl Iterator<Item = String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(move |process| {
        let mut open = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        open.find(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == link))?;
        fs::read_to_string(process.path().join("comm")).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn who_listens_is_seen_and_not_disturbed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b.sock");
        assert_eq!(who_listens(&path), None);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(who_listens(&path), Some(Listens::Other));
        // By whichever name.
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert_eq!(who_listens(&link.join("a b.sock")), Some(Listens::Other));
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let _connection = UnixStream::connect(&path).unwrap();
        drop(listener);
        assert_eq!(who_listens(&path), None);
    }
}
