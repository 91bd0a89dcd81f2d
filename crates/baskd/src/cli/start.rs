//! `start`: a daemon in the background, for those who can't keep a terminal; and what other commands start one by.
//!
//! One that answers is all that is wanted, whoever has started it. Where nobody does, [`launch`] starts one. It may find
//! another in its place, or that may be gone again: so whoever answers in the end is asked what it is. Where an instance
//! is installed, systemd is asked to listen, and starts it: a daemon beside it would keep it from its own socket.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use baskd::config::{self, Settings};
use baskd::serve::ControllerSpec;
use baskd_client::{Client, Error};
use baskd_protocol::socket::instance_name;
use clap::{Args, ValueHint};
use serde_json::json;
use tokio::time::timeout;

use super::duration::parse_some;
use super::exit::Failure;
use super::launch::{answers, launch};
use super::systemd::{self, Trouble};
use super::{Instance, is_nobody, output, runtime};

/// How long a daemon may take to listen, unless it is told. It may wait for another to stop, for half of that.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one that listens may take to say what it serves, which it does whatever its Python does.
const ANSWER: Duration = Duration::from_secs(10);
/// How long to wait before one that was on its way out is looked for again.
const PAUSE: Duration = Duration::from_millis(10);

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
    #[arg(value_hint = ValueHint::FilePath)]
    controller: Option<ControllerSpec>,
    /// An interpreter, or the folder of a venv or of a project that has one
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
        // It may come up only after the one that was asked before it has gone, so it is kept in mind.
        let mut ours = None;
        let status = loop {
            if !answers(&socket)? {
                ours = Some(self.start(&socket, ours.is_none(), patience)?);
            }
            let ask = async { Client::builder().start(false).connect(&socket).await?.status().await };
            // One that was just started may have to wait for its state, which the one before it still has.
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = if ours.is_some() { left } else { left.min(ANSWER) };
            match runtime.block_on(async { timeout(patience, ask).await }) {
                // It was asked to stop, and whoever had connected by then is still answered: the next one is started.
                Ok(Ok(status)) if status.state == "stopping" && Instant::now() < deadline => sleep(PAUSE),
                Ok(Ok(status)) => break status,
                // It was on its way out: the next one is started.
                Ok(Err(error))
                    if (matches!(error, Error::Disconnected { .. }) || is_nobody(&error))
                        && Instant::now() < deadline =>
                {
                    // Or systemd has tried to start it, again and again.
                    if let Some(why) = systemd::failure(&socket) {
                        // Before its cause was mended, perhaps: once, it gets another try.
                        if ours.is_none() && systemd::is_mended(&socket) {
                            ours = Some(self.start(&socket, true, left)?);
                            continue;
                        }
                        return Err(Failure::NotStarted(why));
                    }
                    sleep(PAUSE);
                }
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
        let is_ours = matches!(ours, Some(Started::Here(pid)) if pid == status.pid);
        let is_started = is_ours || matches!(ours, Some(Started::BySystemd));
        if let Some(asked) = self.controller.as_ref().map(spec_of).filter(|_| !is_ours)
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
            // A path need not be text, and then it is told as well as can be.
            true => json!({ "socket": socket.to_string_lossy(), "pid": status.pid, "started": is_started }).to_string(),
            false => socket.display().to_string(),
        };
        runtime.block_on(output::line(told))
    }

    /// Starts one; somebody listens then. `anew`: also where systemd has given up.
    fn start(&self, socket: &Path, anew: bool, patience: Duration) -> Result<Started, Failure> {
        if start_unit(socket, anew)? {
            return Ok(Started::BySystemd);
        }
        let name = name(&self.instance)?;
        let config = self.config.as_deref();
        if self.controller.is_none() && !names_controller(&name, config)? {
            return Err(nothing_to_start(&name, config));
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
        launch(&name, socket, &arguments, patience).map(Started::Here)
    }
}

/// A daemon that was started here, with its pid; or the socket that has systemd start one.
enum Started {
    Here(u32),
    BySystemd,
}

/// Has systemd listen there, if the instance is installed. False if it is not, or there is no manager. `anew`:
/// what has failed before is forgotten.
fn start_unit(socket: &Path, anew: bool) -> Result<bool, Failure> {
    let Some(name) = systemd::installed_at(socket) else {
        return Ok(false);
    };
    let unit = systemd::socket_unit(&name);
    if anew {
        systemd::forget_failure(&name);
    }
    match systemd::run(&["start", &unit]) {
        Ok(_) if answers(socket)? => Ok(true),
        Ok(_) => Err(Failure::NotStarted(format!(
            "systemd says that {unit} listens, and nobody does at {}: `systemctl --user restart {unit}` makes it anew",
            socket.display()
        ))),
        Err(Trouble::Unreachable(_)) => Ok(false),
        Err(Trouble::Refused { said, .. }) => Err(Failure::NotStarted(format!(
            "systemd can't start {unit}: {said}; `systemctl --user status {unit}` may tell why"
        ))),
    }
}

/// Starts the daemon that the config describes, where it does. False if there is nothing to start.
pub(crate) fn start_configured(instance: &Instance, socket: &Path) -> Result<bool, Failure> {
    if start_unit(socket, true)? {
        return Ok(true);
    }
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
    let settings = Settings::load(name, config)?;
    Ok(settings.controller != ControllerSpec::Embedded)
}

fn nothing_to_start(name: &str, config: Option<&Path>) -> Failure {
    let (place, _) = config::file_for(name, config);
    let place = place.map_or_else(String::new, |path| format!(" in {}", path.display()));
    Failure::Usage(format!(
        "nothing to start: name a controller (`baskd start path/to/controller.py`), or set `controller`{place}"
    ))
}

/// As it is written on a command line.
pub(crate) fn written(spec: &ControllerSpec) -> String {
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
