//! What the search depends on besides files: variables, and programs that are asked.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a program may take to answer. It holds up the daemon's start.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any answer.
const LONGEST: usize = 4096;

/// The variables that say something about which Python is meant.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    pub(super) venv: Option<PathBuf>,
    pub(super) uv_environment: Option<PathBuf>,
    pub(super) conda: Option<PathBuf>,
    pub(super) is_conda_base: bool,
    pub(super) pyenv: Option<PathBuf>,
    pub(super) uv_pythons: Option<PathBuf>,
    path: Option<OsString>,
}

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn now() -> Surroundings {
        Surroundings::of(|name| env::var_os(name))
    }

    /// Those that `variable` tells; one that is empty counts as not set.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Surroundings {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let home = path("HOME");
        let below_home = |folder: &str| home.as_ref().map(|home| home.join(folder));
        let data = path("XDG_DATA_HOME").or_else(|| below_home(".local/share"));
        Surroundings {
            venv: path("VIRTUAL_ENV"),
            uv_environment: path("UV_PROJECT_ENVIRONMENT"),
            conda: path("CONDA_PREFIX"),
            is_conda_base: get("CONDA_DEFAULT_ENV").is_some_and(|name| name == "base"),
            pyenv: path("PYENV_ROOT").or_else(|| below_home(".pyenv")),
            uv_pythons: path("UV_PYTHON_INSTALL_DIR").or_else(|| data.map(|data| data.join("uv/python"))),
            path: get("PATH"),
        }
    }

    /// The program of that name.
    pub(super) fn on_path(&self, name: &Path) -> Option<PathBuf> {
        self.path_folders()
            .into_iter()
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    }

    pub(super) fn path_folders(&self) -> Vec<PathBuf> {
        self.path
            .as_ref()
            .map_or_else(Vec::new, |path| env::split_paths(path).collect())
    }

    /// Whether it is pyenv's folder of programs that start whichever version is chosen, and fail where none is.
    pub(super) fn is_shims(&self, folder: &Path) -> bool {
        self.pyenv.as_ref().is_some_and(|pyenv| folder == pyenv.join("shims"))
    }
}

/// What a program prints; or why that is not known. It is given [`PATIENCE`], and killed then.
pub(super) fn ask(program: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String, String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| format!("it can't be run: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    let said = child.stdout.take().and_then(|pipe| all(pipe, deadline));
    let complained = child.stderr.take().and_then(|pipe| all(pipe, deadline));
    if said.is_none() || complained.is_none() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("it can't be run: {error}"))?;
    match (said, complained) {
        (Some(said), Some(_)) if status.success() => Ok(said),
        (Some(_), Some(complained)) => {
            let last = complained.lines().rev().find(|line| !line.trim().is_empty());
            Err(last.map_or_else(|| format!("it failed ({status})"), |line| line.trim().to_owned()))
        }
        _ => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
    }
}

/// All that comes, to the end; None if that does not come in time.
fn all(mut pipe: impl Read + std::os::fd::AsFd, deadline: Instant) -> Option<String> {
    let mut said = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()?;
        let ready = poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left));
        match ready {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(1..) => {}
            _ => return None,
        }
        match pipe.read(&mut chunk).ok()? {
            0 => return Some(String::from_utf8_lossy(&said).into_owned()),
            _ if said.len() > LONGEST => return None,
            length => said.extend_from_slice(&chunk[..length]),
        }
    }
}
