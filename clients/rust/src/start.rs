//! Starting a daemon where none answers: by `baskd start`, which makes sure that one runs and says why if it can't.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Error;

/// What `baskd start` says, with status 2, where it was not told what to start.
const NOTHING: &str = "nothing to start";

/// What is started, and whether anything is.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) wanted: bool,
    pub(crate) controller: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) python: Option<PathBuf>,
    pub(crate) binary: Option<PathBuf>,
}

impl Launch {
    pub(crate) const fn new() -> Launch {
        Launch {
            wanted: true,
            controller: None,
            name: None,
            python: None,
            binary: None,
        }
    }

    /// Whether a daemon is to be started at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted && env::var_os("BASKD_START").is_none_or(|value| value != "0")
    }

    /// Makes sure that a daemon listens at `socket`. False if there is nothing to start: no controller was named, and
    /// the instance's config names none; or there is no program that could, and nobody has asked for one.
    pub(crate) async fn start(&self, socket: &Path) -> Result<bool, Error> {
        let Some(binary) = self.find_binary()? else {
            return Ok(false);
        };
        let mut arguments: Vec<OsString> = vec!["start".into()];
        arguments.extend(self.controller.as_ref().map(OsString::from));
        for (flag, value) in [
            ("--name", self.name.as_ref().map(OsString::from)),
            ("--python", self.python.as_ref().map(|path| path.clone().into())),
            ("--socket", Some(socket.into())),
        ] {
            arguments.extend(value.into_iter().flat_map(|value| [OsString::from(flag), value]));
        }
        let failed = |error: String| Error::StartFailed(format!("{} can't be run: {error}", binary.display()));
        let mut command = Command::new(&binary);
        command.args(arguments).stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || command.output()).await;
        let output = run
            .map_err(|panic| failed(panic.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        told(&output)
    }

    /// The one that was named, that of `$BASKD_BIN`, or the one on the PATH.
    fn find_binary(&self) -> Result<Option<PathBuf>, Error> {
        let named = self.binary.clone().or_else(|| {
            env::var_os("BASKD_BIN")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        });
        if named.is_some() {
            return Ok(named);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders = env::split_paths(&path);
        match folders.find_map(|folder| Some(folder.join("baskd")).filter(|program| program.is_file())) {
            Some(program) => Ok(Some(program)),
            None if self.controller.is_none() => Ok(None),
            None => Err(Error::StartFailed(
                "the program baskd is not on the PATH: install it with `cargo install baskd`, or name it in $BASKD_BIN"
                    .to_owned(),
            )),
        }
    }
}

fn told(output: &Output) -> Result<bool, Error> {
    if output.status.success() {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let said = said.strip_prefix("baskd: ").unwrap_or(said);
    if output.status.code() == Some(2) && said.starts_with(NOTHING) {
        return Ok(false);
    }
    Err(Error::StartFailed(if said.is_empty() {
        format!("`baskd start` ended ({}) and said nothing", output.status)
    } else {
        said.to_owned()
    }))
}
