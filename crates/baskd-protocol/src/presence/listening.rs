//! Who listens on a path, found out without connecting: to connect to a socket that systemd holds is to have it start the
//! daemon.
//!
//! The kernel is asked by `sock_diag(7)`, which tells the inode that a socket is bound to. The names in `/proc/net/unix`
//! would not do: anybody can give a socket a name that reads as another's line there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// The program that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listens {
    /// systemd, or one that this user may not look at, as a manager with capabilities is.
    Systemd,
    Other,
}

/// None if nobody listens there, as far as that can be seen.
#[must_use]
pub fn who_listens(path: &Path) -> Option<Listens> {
    let there = fs::symlink_metadata(path).ok()?;
    let place = (there.ino() as u32, there.dev());
    let listening = listening().ok()?;
    let socket = listening.iter().find(|bound| bound.is_at(place))?;
    let link = format!("socket:[{}]", socket.inode);
    let mut names = processes_with(&link).peekable();
    let is_systemds = names.peek().is_none() || names.any(|name| name.starts_with("systemd"));
    Some(if is_systemds { Listens::Systemd } else { Listens::Other })
}

/// A socket that listens, and what it is bound to.
struct Bound {
    inode: u32,
    file: u32,
    /// As the kernel has it: the minor number in the lower 20 bits.
    device: u32,
}

impl Bound {
    fn is_at(&self, (file, device): (u32, u64)) -> bool {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        self.file == file && self.device == major << 20 | minor
    }
}

const REQUEST_LENGTH: u32 = 40;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const UNIX: u8 = 1;
/// Of the states of a socket: it listens.
const LISTEN: u8 = 10;
/// What is to be told: where it is bound.
const SHOW_VFS: u32 = 2;
const VFS: u16 = 1;
const HEADER: usize = 16;
const MESSAGE: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The kernel fills no more at once.
const CHUNK: usize = 64 << 10;

/// All Unix sockets that listen on a path, in this network namespace.
fn listening() -> io::Result<Vec<Bound>> {
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    let mut request = Vec::new();
    request.extend_from_slice(&REQUEST_LENGTH.to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&DUMP.to_ne_bytes());
    // Number and sender, which nobody else is told apart from by.
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[UNIX, 0, 0, 0]);
    request.extend_from_slice(&(1_u32 << LISTEN).to_ne_bytes());
    // Any inode.
    request.extend_from_slice(&[0; 4]);
    request.extend_from_slice(&SHOW_VFS.to_ne_bytes());
    // Any cookie.
    request.extend_from_slice(&[0; 8]);
    send(&kernel, &request, SendFlags::empty())?;

    let mut found = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let (read, _) = recv(&kernel, &mut chunk[..], RecvFlags::empty())?;
        let mut rest = &chunk[..read];
        if rest.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while let Some((kind, body, after)) = message(rest) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ => found.extend(bound(body)),
            }
            rest = after;
        }
    }
}

/// The first of some messages: its kind, what is in it, and those after it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = number(bytes, 0)? as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(aligned(length)..).unwrap_or_default()))
}

/// None of one that is bound to no path.
fn bound(body: &[u8]) -> Option<Bound> {
    let inode = number(body, 4)?;
    let mut attributes = body.get(MESSAGE..)?;
    loop {
        let length = u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind == VFS {
            return Some(Bound {
                inode,
                file: number(value, 0)?,
                device: number(value, 4)?,
            });
        }
        attributes = attributes.get(aligned(length)..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
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
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

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
        let moved = folder.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        assert_eq!(who_listens(&moved), Some(Listens::Other));
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _connection = UnixStream::connect(&moved).unwrap();
        drop(listener);
        assert_eq!(who_listens(&moved), None);
    }

    /// Others can give their sockets any name.
    #[test]
    fn a_name_that_reads_as_anothers_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let line = format!("\n0: 00000002 00000000 00010000 0001 01 1 {}", path.display());
        let bind = |name: &[u8]| UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        let _forged = bind(line.as_bytes().get(..107).unwrap_or(line.as_bytes()));
        let _not_text = bind(b"\xff\xfebaskd");
        assert_eq!(who_listens(&path), None);
        fs::remove_file(&path).unwrap();
        let _listener = UnixListener::bind(&path).unwrap();
        assert_eq!(who_listens(&path), Some(Listens::Other));
    }

    #[test]
    fn what_the_kernel_says_is_read_with_care() {
        assert!(message(&[1, 0]).is_none());
        assert!(message(&[8, 0, 0, 0, 3, 0, 0, 0]).is_none());
        assert!(bound(&[0; 16]).is_none());
        assert!(bound(&[&[0; 16][..], &[0, 0, 1, 0]].concat()).is_none());
    }
}
