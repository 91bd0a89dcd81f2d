//! `start`: a daemon in the background, for those who can't keep a terminal; and what other commands start one by.
//!
//! The daemon is a process of its own, in a session of its own, and what it says goes to a file. It is up when its socket
//! takes a connection, and that is tried until it does or the process has ended. One that has ended is the reason to stop
//! waiting, and what it said is the error, with one exception: of two that are started at once, one finds the other in
//! its place. Then the other's socket is about to be there.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use baskd::config::{self, Settings};
use baskd::serve::ControllerSpec;
use baskd_client::{Client, Error};
use baskd_protocol::socket::{check_folder_for_client, folder_of, instance_name};
use clap::Args;
use directories::BaseDirs;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process, setsid};
use serde_json::json;
use tokio::time::timeout;

use super::duration::parse_some;
use super::exit::Failure;
use super::{Instance, output, runtime};

/// How long a daemon may take to listen, unless it is told. It may wait for another to stop, for half of that.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one that listens may take to say what it serves, which it does whatever its Python does.
const ANSWER: Duration = Duration::from_secs(10);
/// How often its socket is tried, at first and at last.
const FIRST_KNOCK: Duration = Duration::from_millis(2);
const LAST_KNOCK: Duration = Duration::from_millis(100);
/// How long one that is killed for its slowness may take to end by itself.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// So much of the log is shown.
const SHOWN: u64 = 4096;

/// Make sure that a daemon runs: start one in the background, unless one does
#[derive(Debug, Args)]
#[command(after_help = "\
Prints the socket's path once the daemon takes connections. Python may still be starting: a call waits for it.
What the daemon says goes to baskd/NAME/serve.log in $XDG_STATE_HOME, or ~/.local/state.

Examples:
  baskd start python/controller.py
  baskd start --name search --idle-exit 10m search.py:Search")]
pub(crate) struct Start {
    /// As for `baskd serve`; without one, the config must name it [example: python/controller.py]
    controller: Option<ControllerSpec>,
    /// The interpreter, or the folder of its venv
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// End it by itself when nobody has been connected for so long
    #[arg(long, value_name = "DURATION")]
    idle_exit: Option<String>,
    /// The config file, which then must be there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long it may take to listen, before it is ended and this fails [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse_some)]
    timeout: Option<Duration>,
    /// Print JSON, for programs: the socket, the daemon's pid, and whether it was started
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    instance: Instance,
}

/// What other commands start a daemon with: what the config says.
#[derive(Debug, Clone, Args)]
pub(crate) struct MayStart {
    /// Don't start a daemon where none answers [default: one is started if the config names a controller]
    #[arg(long)]
    no_start: bool,
}

impl MayStart {
    pub(crate) fn is_wanted(&self) -> bool {
        !self.no_start && env::var_os("BASKD_START").is_none_or(|value| value != "0")
    }
}

impl Start {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let socket = self.instance.socket()?;
        let runtime = runtime()?;
        let patience = self.timeout.unwrap_or(PATIENCE);
        let deadline = Instant::now() + patience;
        let (status, ours) = loop {
            let ours = if answers(&socket)? {
                None
            } else {
                Some(self.start(&socket, patience)?)
            };
            let ask = async { Client::builder().start(false).connect(&socket).await?.status().await };
            // One that was just started may have to wait for its state, which the one before it still has.
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = if ours.is_some() { left } else { left.min(ANSWER) };
            match runtime.block_on(async { timeout(patience, ask).await }) {
                Ok(Ok(status)) => break (status, ours),
                // It was on its way out: the next one is started.
                Ok(Err(Error::Disconnected { .. } | Error::NoDaemon { .. })) if Instant::now() < deadline => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => {
                    return Err(Failure::NotStarted(format!(
                        "somebody listens at {}, but did not answer within {patience:.1?}: is that a daemon, and is it stopped?",
                        socket.display()
                    )));
                }
            }
        };
        // Of several that were started at once, one has the socket.
        let is_started = ours == Some(status.pid);
        if let Some(asked) = self.controller.as_ref().map(spec_of).filter(|_| !is_started)
            && asked != status.controller.spec
        {
            return Err(Failure::Usage(format!(
                "the daemon at {} serves {}, not {asked}: choose another --name, or stop it with `baskd stop{}`",
                socket.display(),
                status.controller.spec,
                self.instance.flags()
            )));
        }
        let told = match self.json {
            true => json!({ "socket": socket, "pid": status.pid, "started": is_started }).to_string(),
            false => socket.display().to_string(),
        };
        runtime.block_on(output::line(told))
    }

    /// Starts one, and gives its pid; somebody listens then.
    fn start(&self, socket: &Path, patience: Duration) -> Result<u32, Failure> {
        let name = name(&self.instance)?;
        let config = self.config.as_deref();
        if self.controller.is_none() && !names_controller(&name, config)? {
            return Err(nothing_to_start(&name));
        }
        let mut arguments: Vec<OsString> = Vec::new();
        arguments.extend(self.controller.as_ref().map(|spec| written(spec).into()));
        for (flag, value) in [
            (
                "--python",
                self.python.as_ref().map(|path| path.clone().into_os_string()),
            ),
            ("--idle-exit", self.idle_exit.as_ref().map(OsString::from)),
            (
                "--config",
                self.config.as_ref().map(|path| path.clone().into_os_string()),
            ),
        ] {
            arguments.extend(value.into_iter().flat_map(|value| [OsString::from(flag), value]));
        }
        launch(&name, socket, &arguments, patience)
    }
}

/// Starts the daemon that the config describes, where it does. False if there is nothing to start.
pub(crate) fn start_configured(instance: &Instance, socket: &Path) -> Result<bool, Failure> {
    let name = name(instance)?;
    if !names_controller(&name, None)? {
        return Ok(false);
    }
    launch(&name, socket, &[], PATIENCE)?;
    Ok(true)
}

fn name(instance: &Instance) -> Result<String, Failure> {
    instance_name(instance.name.as_deref(), instance.socket.as_deref())
        .map_err(|error| Failure::from(baskd_client::Error::from(error)))
}

/// Whether the file or the environment says what is to be served.
fn names_controller(name: &str, config: Option<&Path>) -> Result<bool, Failure> {
    let settings = Settings::load(name, config).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(settings.controller != ControllerSpec::Embedded)
}

fn nothing_to_start(name: &str) -> Failure {
    let place = config::file_of(name).map_or_else(String::new, |path| format!(" in {}", path.display()));
    Failure::Usage(format!(
        "nothing to start: name a controller (`baskd start path/to/controller.py`), or set `controller`{place}"
    ))
}

/// As it is written on a command line.
fn written(spec: &ControllerSpec) -> String {
    match spec {
        ControllerSpec::Embedded => String::new(),
        ControllerSpec::File { path, class } => format!("{}:{class}", path.display()),
        ControllerSpec::Module { module, class } => format!("{module}:{class}"),
    }
}

/// As a daemon says what it serves.
fn spec_of(spec: &ControllerSpec) -> String {
    match spec {
        ControllerSpec::File { path, class } => {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            format!("{}:{class}", path.display())
        }
        other => written(other),
    }
}

/// Whether somebody listens there.
fn answers(socket: &Path) -> Result<bool, Failure> {
    use baskd_protocol::socket::SocketError;
    match check_folder_for_client(folder_of(socket)) {
        Ok(()) => {}
        Err(SocketError::FolderMissing(_)) => return Ok(false),
        Err(error) => return Err(baskd_client::Error::from(error).into()),
    }
    match UnixStream::connect(socket) {
        Ok(_) => Ok(true),
        // Its backlog is full, so it is there.
        Err(error) => Ok(error.kind() == io::ErrorKind::WouldBlock),
    }
}

/// Starts a daemon and waits until somebody listens, be it this one, whose pid it gives, or another.
fn launch(name: &str, socket: &Path, arguments: &[OsString], patience: Duration) -> Result<u32, Failure> {
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
    command
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
