//! How Python is started: its descriptors, its group, its death with ours.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getpid, getppid, getrlimit, pidfd_open, set_parent_process_death_signal,
    setrlimit,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::page::Page;
use crate::service::without_manager;

/// A Python that was started, and our ends of its pipes.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) guard: Guard,
    pub(crate) pid: Pid,
    /// Readable once the process is dead.
    pub(crate) pidfd: AsyncFd<OwnedFd>,
    pub(crate) page: Page,
    pub(crate) wire_in: pipe::Sender,
    pub(crate) wire_out: pipe::Receiver,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
}

/// How much each pipe of the wire holds, where the system allows it: a large message then takes few turns.
pub(crate) const PIPE_BYTES: usize = 1 << 20;

/// The limit on descriptors that the daemon was started with.
static FIRST_LIMIT: OnceLock<Rlimit> = OnceLock::new();

/// Lets this process have as many descriptors as it is allowed, for as many connections. Python gets the limit that was
/// there: some of its libraries can't cope with high descriptors.
///
/// Returns how many descriptors there may be now.
pub fn allow_many_descriptors() -> usize {
    let first = *FIRST_LIMIT.get_or_init(|| getrlimit(Resource::Nofile));
    // If it can't be raised, connections beyond it wait to be accepted.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: first.maximum,
            maximum: first.maximum,
        },
    );
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Starts `python router/index.py` as PROTOCOL.md says. To be called from the thread that lives as long as the daemon:
/// the death signal is sent when the *thread* that forked ends.
pub(crate) fn spawn(python: &Path, router: &Path) -> io::Result<Process> {
    let page = Page::new()?;
    let (theirs_in, wire_in) = pipe_with(PipeFlags::CLOEXEC)?;
    let (wire_out, theirs_out) = pipe_with(PipeFlags::CLOEXEC)?;
    for wire in [&wire_in, &wire_out] {
        // A user may have only so many large pipes; with a small one, all is as it was, and slower.
        let _ = fcntl_setpipe_size(wire, PIPE_BYTES);
    }
    let (stdout, theirs_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, theirs_stderr) = pipe_with(PipeFlags::CLOEXEC)?;

    let daemon = getpid();
    let inherited = [theirs_in, theirs_out, page.fd().try_clone_to_owned()?];
    let numbers = inherited.each_ref().map(|fd| fd.as_raw_fd().to_string()).join(",");
    let mut command = Command::new(python);
    without_manager(&mut command)
        .arg(router.join("index.py"))
        .env("BASKD_FDS", numbers)
        .stdin(Stdio::null())
        .stdout(Stdio::from(theirs_stdout))
        .stderr(Stdio::from(theirs_stderr))
        .process_group(0);
    let before_exec = move || {
        for fd in &inherited {
            fcntl_setfd(fd, FdFlags::empty())?;
        }
        if let Some(limit) = FIRST_LIMIT.get() {
            setrlimit(Resource::Nofile, *limit)?;
        }
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The daemon may have died before the line above: then nobody would send the signal any more.
        if getppid() != Some(daemon) {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes a few system calls and neither allocates nor locks.
    unsafe { command.pre_exec(before_exec) };

    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let guard = Guard::new(pid)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    // SAFETY: an owned descriptor, closed by nobody but this AsyncFd.
    let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
    Ok(Process {
        child,
        guard,
        pid,
        pidfd,
        page,
        wire_in: pipe::Sender::from_owned_fd(wire_in)?,
        wire_out: pipe::Receiver::from_owned_fd(wire_out)?,
        stdout: pipe::Receiver::from_owned_fd(stdout)?,
        stderr: pipe::Receiver::from_owned_fd(stderr)?,
    })
}

/// A shell in Python's process group that outlives a daemon which is killed, by a moment: the death signal reaches Python
/// only, and what Python has started, a pool of workers for one, would live on for ever.
pub(crate) struct Guard {
    shell: Child,
    /// Nobody else has this end, so it closes with the daemon.
    _daemon_lives: OwnedFd,
}

impl Guard {
    fn new(group: Pid) -> io::Result<Guard> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        let shell = without_manager(&mut Command::new("/bin/sh"))
            .arg0("baskd-guard")
            .args(["-c", "trap '' HUP INT TERM; read _; kill -s KILL 0"])
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(group.as_raw_nonzero().get())
            .spawn()
            .map_err(|error| io::Error::other(format!("its guard, /bin/sh: {error}")))?;
        Ok(Guard {
            shell,
            _daemon_lives: ours,
        })
    }

    /// Once the group was killed.
    pub(crate) fn reap(&mut self) {
        // It may have left the group's fate to itself, if its group could not be joined; it is ended in any case.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
