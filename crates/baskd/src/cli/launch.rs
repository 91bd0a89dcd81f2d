//! A daemon in the background: its process, until somebody listens at the socket, be it this one or another.
//!
//! It is up when its socket takes a connection, and that is tried until it does or the process has ended. One that has
//! ended is the reason to stop waiting, and what it said is the error, with one exception: of two that are started at
//! once, one finds the other in its place. Then the other's socket is about to be there.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use baskd::service::without_manager;
use baskd_protocol::socket::{SocketError, check_folder_for_client, folder_of};
use directories::BaseDirs;
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, Signal, kill_process, setsid};

use super::exit::Failure;

/// How often its socket is tried, at first and at last.
const FIRST_KNOCK: Duration = Duration::from_millis(2);
pub(crate) const LAST_KNOCK: Duration = Duration::from_millis(100);
/// How long one that is killed for its slowness may take to end by itself.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// So much of the log is shown.
const SHOWN: u64 = 4096;

/// Starts a daemon and waits until somebody listens, be it this one, whose pid it gives, or another.
pub(crate) fn launch(name: &str, socket: &Path, arguments: &[OsString], patience: Duration) -> Result<u32, Failure> {
    let failed = |what: &str, error: io::Error| Failure::NotStarted(format!("{what}: {error}"));
    let state = BaseDirs::new().and_then(|dirs| Some(dirs.state_dir()?.join("baskd").join(name)));
    let Some(state) = state else {
        return Err(Failure::NotStarted(
            "there is no folder for state: set HOME or XDG_STATE_HOME".to_owned(),
        ));
    };
    let path = state.join("serve.log");
    let mut log =
        open_log(&path).map_err(|error| failed(&format!("its log {} can't be written", path.display()), error))?;
    let before = log.seek(SeekFrom::End(0)).unwrap_or_default();
    let program = program().map_err(|error| failed("the program can't be found", error))?;
    let start = || {
        serve(&program, name, socket, arguments, &log)
            .map_err(|error| failed(&format!("{} can't be started", program.display()), error))
    };
    let mut daemon = start()?;
    let deadline = Instant::now() + patience;
    let mut knock = FIRST_KNOCK;
    loop {
        // Asked before the knock: one that ended after it may have been refused by one that came up in between.
        let ended = daemon.try_wait().map_err(|error| failed("the daemon is lost", error))?;
        if answers(socket)? {
            return Ok(daemon.id());
        }
        let is_late = Instant::now() > deadline;
        match ended {
            Some(status) => {
                let said = said_since(&path, before);
                let reason = reason(&said, daemon.id());
                let found_another =
                    reason.is_some_and(|it| it.starts_with("a daemon runs on ") && it.contains(" already "));
                if !found_another || is_late {
                    return Err(not_started(status, reason, &said, &path));
                }
                if knock == LAST_KNOCK {
                    // The other may have been on its way out.
                    daemon = start()?;
                }
            }
            None if is_late => {
                give_up(&mut daemon);
                let said = said_since(&path, before);
                return Err(Failure::NotStarted(format!(
                    "the daemon did not listen within {patience:?}, and was ended; it said: {}",
                    said.trim()
                )));
            }
            None => {}
        }
        sleep(knock);
        knock = (knock * 2).min(LAST_KNOCK);
    }
}

/// Whether somebody listens there. It does not wait for one who takes no connections.
pub(crate) fn answers(path: &Path) -> Result<bool, Failure> {
    match check_folder_for_client(folder_of(path)) {
        Ok(()) => {}
        Err(SocketError::FolderMissing(_)) => return Ok(false),
        Err(error) => return Err(baskd_client::Error::from(error).into()),
    }
    let knock = || {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        connect(
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?,
            &address,
        )
    };
    // One with so many who wait that there is no room for more is there.
    Ok(matches!(knock(), Ok(()) | Err(Errno::AGAIN)))
}

fn open_log(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// This very program, also if its file was replaced by a newer one's.
fn program() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    let is_there = path.is_file();
    Ok(if is_there { path } else { "/proc/self/exe".into() })
}

/// A daemon that has nothing of ours but its log.
fn serve(program: &Path, name: &str, socket: &Path, arguments: &[OsString], log: &File) -> io::Result<Child> {
    keep_descriptors_here();
    let mut command = Command::new(program);
    // Whoever is a service here is somebody else.
    without_manager(&mut command)
        .args(["serve", "--background"])
        .args(arguments)
        .args(["--name", name, "--socket"])
        .arg(socket)
        // It says that stderr is the journal, which has the time of each line already.
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    // SAFETY: between fork and exec it makes one system call, and neither allocates nor locks.
    unsafe {
        command.pre_exec(|| setsid().map(|_| ()).map_err(io::Error::from));
    }
    command.spawn()
}

/// What this process was given, an end of the shell's pipe for one, is not for the daemon: somebody may wait for its end.
fn keep_descriptors_here() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|number: &i32| *number > 2).collect::<Vec<_>>() {
        // SAFETY: only a flag of it is changed, and nobody closes it meanwhile: there is one thread. One that is closed
        // by now, that of the folder, is an error.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        if let Ok(flags) = fcntl_getfd(descriptor) {
            let _ = fcntl_setfd(descriptor, flags | FdFlags::CLOEXEC);
        }
    }
}

/// The last of what was written to the log from there on.
fn said_since(path: &Path, start: u64) -> String {
    let mut said = Vec::new();
    if let Ok(mut log) = File::open(path) {
        let end = log.seek(SeekFrom::End(0)).unwrap_or_default();
        // It may have been shortened meanwhile.
        let start = if start > end { 0 } else { start };
        let _ = log.seek(SeekFrom::Start(start.max(end.saturating_sub(SHOWN))));
        let _ = log.read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// What that daemon gave as its reason, in its own words: others may write to the same log.
fn reason(said: &str, pid: u32) -> Option<&str> {
    let prefix = format!("baskd[{pid}]: ");
    said.lines().rev().find_map(|line| line.strip_prefix(&prefix))
}

fn not_started(status: ExitStatus, reason: Option<&str>, said: &str, log: &Path) -> Failure {
    match (reason, status.code()) {
        (Some(reason), Some(2)) => Failure::Usage(reason.to_owned()),
        (Some(reason), _) => Failure::NotStarted(reason.to_owned()),
        (None, _) => Failure::NotStarted(format!(
            "the daemon ended ({status}) before it listened; {} may tell why: {}",
            log.display(),
            said.trim()
        )),
    }
}

/// TERM, and KILL after a while.
fn give_up(daemon: &mut Child) {
    if let Some(pid) = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + TERM_GRACE;
    while Instant::now() < deadline {
        if !matches!(daemon.try_wait(), Ok(None)) {
            return;
        }
        sleep(LAST_KNOCK);
    }
    let _ = daemon.kill();
    let _ = daemon.wait();
}
