//! Whether a daemon runs, asked of its lock: nobody is connected to, so nothing is started by the question.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// What a daemon writes below its name in its lock file when it stops.
pub const STOPPING: &str = "stopping";

/// The daemon that has a lock, as it has written it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// `pid 7, /x/controller.py:Controller`; empty where it has not come to write it yet.
    pub who: String,
    pub pid: Option<u32>,
    pub is_stopping: bool,
}

impl Holder {
    fn read(text: &str) -> Holder {
        let text = text.trim();
        let who = text.strip_suffix(STOPPING).map(str::trim_end);
        let is_stopping = who.is_some();
        let who = who.unwrap_or(text);
        let pid = who.strip_prefix("pid ").and_then(|rest| rest.split(',').next());
        Holder {
            pid: pid.and_then(|pid| pid.trim().parse().ok()),
            who: who.to_owned(),
            is_stopping,
        }
    }
}

/// Where the lock of a socket's path is.
#[must_use]
pub fn lock_of(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Who has that lock. The question is a shared lock for a moment: a daemon that wants it just then tells it from another
/// daemon's, and tries again.
///
/// # Errors
/// The file is there, and can't be read.
pub fn holder(lock: &Path) -> io::Result<Option<Holder>> {
    let mut options = OpenOptions::new();
    // A pipe of that name must not keep whoever asks.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = match options.read(true).custom_flags(flags.bits() as i32).open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // It helps, and is not needed.
            let _ = (&mut file).take(1024).read_to_string(&mut text);
            Ok(Some(Holder::read(&text)))
        }
        Err(error) => Err(error.into()),
    }
}
