//! The socket's path, made so that nobody else can reach it and no living daemon loses it.
//!
//! # Theory of operation
//!
//! Whoever holds the lock on `SOCKET.lock` owns the path. The lock file is never unlinked: two daemons could otherwise
//! hold locks on two files of one name. With the lock held, a socket that is there is stale, unless some other program
//! listens on it; that one is asked, and left alone. The new socket is bound under a temporary name with a mode of 0600
//! from birth, and renamed over the path, so that at no time the path is missing, open to others, or not listened on.
//!
//! A daemon that nobody needs any more goes so that nobody is lost ([`Listener::withdraw`]): it unlinks the path, then
//! shuts the socket for reading, by which the kernel lets nobody connect any more. Whoever had connected is in the
//! backlog by then. If it is empty, the daemon can end; else it binds the path anew, for which it still has the lock.
//!
//! A socket that was given to the daemon ([`super::given`]) is its manager's: it is neither bound, nor unlinked, nor shut,
//! since `shutdown()` would end the manager's own, too. Only the lock is the daemon's. One that goes leaves whoever has
//! connected, and is not accepted, to the next, for which the manager has that very backlog.
//!
//! A daemon that stops says so in its lock files, and one that is started then waits for its end: a client that finds no
//! socket starts the next one at once.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use baskd_protocol::presence::{Listens, STOPPING, who_listens};
use baskd_protocol::socket::{SocketError, check_folder, folder_of};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::given::{Given, GivenError};

/// As many as a burst of clients may be waiting to be accepted.
const BACKLOG: i32 = 1024;
/// How long a daemon waits for one that stops, which may give its last calls and its Python some time; and how often it
/// looks.
const LONGEST_STOP: Duration = Duration::from_secs(30);
/// How long the lock may be shared by those who only ask who has it, and how soon it is tried again.
const LONGEST_QUESTION: Duration = Duration::from_secs(5);
const BETWEEN_QUESTIONS: Duration = Duration::from_micros(200);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Of the socket.
const OWNERS_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Given(#[from] GivenError),
    #[error("a daemon runs on {} already ({who}): {}, or choose another --name", .path.display(), end_of(.who, .path))]
    Runs { path: PathBuf, who: String },
    #[error(
        "a daemon that somebody has started by hand has the name of {} ({who}): end that process, and this one serves", .path.display()
    )]
    ByHand { path: PathBuf, who: String },
    #[error(
        "systemd holds the socket {}, and starts the daemon for it: do so with `systemctl --user start {}`, or choose another --name", .0.display(), unit_of(.0)
    )]
    Systemds(PathBuf),
    #[error("some other program listens on {}: choose another --socket", .0.display())]
    Foreign(PathBuf),
    #[error("{} is there and is no socket: move it away, or choose another --socket", .0.display())]
    NotASocket(PathBuf),
    #[error("the socket {} can't be made: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What a daemon on a socket that was given to it is told from others by, in what it says of itself to a second one.
const UNDER_SYSTEMD: &str = "under systemd";

/// The unit that serves the instance with this socket.
fn unit_of(socket: &Path) -> String {
    let name = socket.file_stem().unwrap_or_default();
    format!("baskd@{}", name.to_string_lossy())
}

/// How whoever runs there is stopped.
fn end_of(who: &str, path: &Path) -> String {
    if who.contains(UNDER_SYSTEMD) {
        let unit = unit_of(path);
        format!("stop it with `systemctl --user stop {unit}.socket {unit}.service`")
    } else {
        format!("stop it with `baskd stop --socket {}`", path.display())
    }
}

/// A socket that is listened on. Dropping one of our own unlinks the path, if it still is ours.
pub struct Listener {
    pub socket: UnixListener,
    path: PathBuf,
    /// What was bound there; None if somebody else has bound it.
    inode: Option<(u64, u64)>,
}

/// The right to a path. It is given back by dropping it, which is to be the last thing a
/// daemon does.
pub struct Lock {
    file: File,
}

/// Makes `path` a socket of this process, unless it was `given` one that is there. `about` is told to a second daemon that
/// wants it too.
pub fn listen(path: &Path, given: Option<Given>, about: &str) -> Result<(Listener, Lock), ListenError> {
    let io = |source| ListenError::Io {
        path: path.to_owned(),
        source,
    };
    let folder = folder_of(path);
    if fs::symlink_metadata(folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .or_else(|error| {
                if error.kind() == io::ErrorKind::AlreadyExists {
                    Ok(())
                } else {
                    Err(error)
                }
            })
            .map_err(io)?;
    }
    check_folder(folder)?;
    let (lock, socket, inode) = match given {
        Some(given) => {
            given.check(path)?;
            let lock = lock(path, &format!("{about}, {UNDER_SYSTEMD}")).map_err(by_hand)?;
            if fs::symlink_metadata(path).is_err() {
                tracing::warn!(
                    target: "baskd",
                    "{} is gone, so nobody can connect any more: `systemctl --user restart {}.socket`",
                    path.display(),
                    unit_of(path)
                );
            }
            given.socket.set_nonblocking(true).map_err(io)?;
            (lock, given.socket, None)
        }
        None => {
            let lock = lock(path, about)?;
            let (socket, inode) = take(path)?;
            (lock, socket, Some(inode))
        }
    };
    Ok((
        Listener {
            socket,
            path: path.to_owned(),
            inode,
        },
        Lock { file: lock },
    ))
}

/// Who has the lock of a socket that its manager gives to this daemon: `baskd stop` would not reach that one.
fn by_hand(error: ListenError) -> ListenError {
    match error {
        ListenError::Runs { path, who } if !who.contains(UNDER_SYSTEMD) => ListenError::ByHand { path, who },
        error => error,
    }
}

/// Binds a path whose lock is held.
fn take(path: &Path) -> Result<(UnixListener, (u64, u64)), ListenError> {
    let io = |source| ListenError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
        Ok(there) if !there.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => match who_listens(path) {
            Some(Listens::Systemd) => return Err(ListenError::Systemds(path.to_owned())),
            Some(Listens::Other) => return Err(ListenError::Foreign(path.to_owned())),
            None if UnixStream::connect(path).is_ok() => return Err(ListenError::Foreign(path.to_owned())),
            // Nobody listens: it was left behind.
            None => tracing::debug!(path = %path.display(), "a stale socket is replaced"),
        },
    }
    bind(path, folder_of(path)).map_err(io)
}

impl Listener {
    /// Whether it is whoever has started this daemon that has bound it, and keeps it.
    pub(crate) fn is_given(&self) -> bool {
        self.inode.is_none()
    }

    /// Of one of our own. Takes the path away, so that who comes from now on finds no daemon. Who has come before that is to be had from
    /// [`Listener::next_of_last`].
    pub(crate) fn withdraw(&self) -> io::Result<()> {
        self.unlink();
        // Somebody may have looked the path up, and be about to connect: that has happened by now, or is refused.
        Ok(rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Read)?)
    }

    /// One of those who had connected. None if nobody is left.
    pub(crate) fn next_of_last(&self) -> io::Result<Option<UnixStream>> {
        match self.socket.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            // The latter is what an empty backlog of a socket that was shut may be told by.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::InvalidInput) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// After [`Listener::withdraw`]: listens again, on a new socket.
    pub(crate) fn bind_anew(&mut self) -> Result<(), ListenError> {
        let (socket, inode) = take(&self.path)?;
        (self.socket, self.inode) = (socket, Some(inode));
        Ok(())
    }

    fn unlink(&self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|there| Some((there.dev(), there.ino())) == self.inode);
        if is_ours {
            // If it can't be unlinked, the next daemon will find it stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Lock {
    /// Has a daemon that is started now wait for this one's end.
    pub(crate) fn stopping(&mut self) {
        say_stopping(&mut self.file);
    }
}

/// Takes the lock of a path, or says who has it.
fn lock(path: &Path, about: &str) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    lock_file(Path::new(&name), about)
        .map_err(|source| ListenError::Io {
            path: path.to_owned(),
            source,
        })?
        .map_err(|who| ListenError::Runs {
            path: path.to_owned(),
            who,
        })
}

/// Locks a file of one's own, and writes into it who has it; or reads that. Waits for one who stops.
pub(crate) fn lock_file(name: &Path, about: &str) -> io::Result<Result<File, String>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut lock = options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(name)?;
    let since = Instant::now();
    let mut has_told = false;
    while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        // Somebody who only asks who has it (`baskd_protocol::presence`) shares it for a moment; a daemon shares it with nobody.
        if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
            flock(&lock, FlockOperation::Unlock)?;
            if since.elapsed() >= LONGEST_QUESTION {
                let what = format!(
                    "somebody who is no daemon keeps {} locked: `fuser -v` tells who",
                    name.display()
                );
                return Err(io::Error::new(io::ErrorKind::WouldBlock, what));
            }
            thread::sleep(BETWEEN_QUESTIONS);
            continue;
        }
        let mut text = String::new();
        lock.rewind()?;
        // What the other daemon wrote; it helps, and is not needed.
        let _ = (&lock).take(1024).read_to_string(&mut text);
        let who = text.trim();
        let Some(who) = who.strip_suffix(STOPPING).map(str::trim) else {
            return Ok(Err(if who.is_empty() {
                "it is just starting".to_owned()
            } else {
                who.to_owned()
            }));
        };
        if since.elapsed() >= LONGEST_STOP {
            return Ok(Err(format!("{who}, which has been stopping for {LONGEST_STOP:?}")));
        }
        if !std::mem::replace(&mut has_told, true) {
            tracing::info!(target: "baskd", "waiting for the daemon before this one to stop ({who})");
        }
        thread::sleep(LOOK_EVERY);
    }
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{about}")?;
    Ok(Ok(lock))
}

/// Writes into a file that was locked by [`lock_file`] that its owner stops.
pub(crate) fn say_stopping(lock: &mut File) {
    // Without it, the next one is refused as long as this one lives.
    let _ = writeln!(lock, "{STOPPING}");
}

fn bind(path: &Path, folder: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    // By the folder's descriptor, so that the temporary name may be longer than a socket's path can be.
    let folder = rustix::fs::open(
        folder,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let temporary = format!(".baskd-{}", std::process::id());
    let in_proc = PathBuf::from(format!("/proc/self/fd/{}/{temporary}", folder.as_raw_fd()));
    // Left by a daemon of the same pid that was killed between bind and rename.
    let _ = rustix::fs::unlinkat(&folder, &temporary, AtFlags::empty());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // What `bind` makes has the socket's own mode. (A umask would be that of all threads, whatever they make meanwhile.)
    rustix::fs::fchmod(&socket, OWNERS_ONLY)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&in_proc)?)?;
    // Where the umask took away even from that.
    rustix::fs::chmodat(&folder, &temporary, OWNERS_ONLY, AtFlags::empty())?;
    rustix::net::listen(&socket, BACKLOG)?;
    let socket = UnixListener::from(socket);
    let there = rustix::fs::statat(&folder, &temporary, AtFlags::SYMLINK_NOFOLLOW)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    rustix::fs::renameat(&folder, &temporary, &folder, name)?;
    Ok((socket, (there.st_dev, there.st_ino)))
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.unlink();
    }
}

#[cfg(test)]
mod tests;
