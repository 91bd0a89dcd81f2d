//! Whether a daemon runs, asked of its lock: nobody is connected to, so nothing is started by the question.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::listen::STOPPING;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listen::lock_file;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn who_has_it_is_told_and_nobody_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = lock_of(&folder.path().join("a.sock"));
        assert_eq!(holder(&path).unwrap(), None);
        assert!(!path.exists());
        let lock = lock_file(&path, "pid 7, /x, y/controller.py:C").unwrap().unwrap();
        let found = holder(&path).unwrap().unwrap();
        assert_eq!((found.pid, found.is_stopping), (Some(7), false));
        assert_eq!(found.who, "pid 7, /x, y/controller.py:C");
        let mut lock = lock;
        crate::net::listen::say_stopping(&mut lock);
        let found = holder(&path).unwrap().unwrap();
        assert_eq!((found.pid, found.is_stopping), (Some(7), true));
        drop(lock);
        assert_eq!(holder(&path).unwrap(), None);
    }

    /// Whoever asks all the time keeps no daemon from starting.
    #[test]
    fn a_question_is_not_a_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        drop(lock_file(&path, "pid 1, x").unwrap().unwrap());
        let is_over = Arc::new(AtomicBool::new(false));
        let asking: Vec<_> = (0..2)
            .map(|_| {
                let (path, is_over) = (path.clone(), is_over.clone());
                thread::spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        holder(&path).unwrap();
                    }
                })
            })
            .collect();
        for turn in 0..2000 {
            let lock = lock_file(&path, &format!("pid {turn}, x")).unwrap();
            assert!(lock.is_ok(), "{lock:?}");
        }
        is_over.store(true, Ordering::Relaxed);
        for one in asking {
            one.join().unwrap();
        }
    }
}
