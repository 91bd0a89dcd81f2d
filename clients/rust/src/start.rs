//! Starting a daemon where none answers, by `baskd start`: it makes sure that one daemon runs, however many ask for it at
//! once, and has ended when that is so or can't be. What it says then is the error.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use crate::Error;

/// What `baskd start` says, with status 2, where it was not told what to start.
const NOTHING: &str = "nothing to start";

/// What a daemon is started with, if one is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Starter {
    /// As on a command line, a path in it absolute. None: what the config says.
    pub(crate) controller: Option<String>,
    pub(crate) python: Option<PathBuf>,
    /// The instance's name, where the socket's path does not say it.
    pub(crate) name: Option<String>,
    /// The `baskd` program.
    pub(crate) binary: Option<PathBuf>,
}

/// What came of it.
pub(crate) enum Started {
    Runs,
    /// It is not said what to start, or there is no program to do it.
    Nothing,
}

impl Starter {
    /// Has a daemon run at `socket`. If this future is dropped, it may come up all the same.
    pub(crate) async fn start(&self, socket: &Path) -> Result<Started, Error> {
        let Some(binary) = self.program()? else {
            return Ok(Started::Nothing);
        };
        let mut command = Command::new(binary);
        command.arg("start");
        command.args(&self.controller);
        for (flag, value) in [
            ("--name", self.name.as_ref().map(AsRef::as_ref)),
            ("--socket", Some(socket.as_os_str())),
            ("--python", self.python.as_ref().map(|path| path.as_os_str())),
        ] {
            if let Some(value) = value {
                command.arg(flag).arg(value);
            }
        }
        // Ctrl-C is for whoever waits, so it gets a process group of its own.
        command
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        let written = written(command.as_std());
        let ended = command.output().await.map_err(|error| Error::StartFailed {
            command: written.clone(),
            status: None,
            said: Some(format!("{} can't be run: {error}", program_of(&command))),
        })?;
        if ended.status.success() {
            return Ok(Started::Runs);
        }
        let said = said(&ended.stderr);
        let status = ended.status.code();
        if status == Some(2) && said.starts_with(NOTHING) {
            return Ok(Started::Nothing);
        }
        Err(Error::StartFailed {
            command: written,
            status,
            said: (!said.is_empty()).then_some(said),
        })
    }

    /// The program that was given, `$BASKD_BIN`, the one on the PATH, or one built in the checkout that this crate is in.
    /// None if there is none, and nobody has said that a daemon is to be started.
    fn program(&self) -> Result<Option<PathBuf>, Error> {
        let named = self.binary.clone();
        let named = named.or_else(|| env::var_os("BASKD_BIN").filter(|it| !it.is_empty()).map(PathBuf::from));
        if let Some(named) = named {
            return Ok(Some(named));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path = env::split_paths(&path).map(|folder| folder.join("baskd"));
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let built = ["release", "debug"].map(|kind| checkout.join("target").join(kind).join("baskd"));
        if let Some(found) = on_path.chain(built).find(|path| is_program(path)) {
            return Ok(Some(found));
        }
        match self.controller {
            None => Ok(None),
            Some(_) => Err(Error::StartFailed {
                command: "baskd start".to_owned(),
                status: None,
                said: Some(
                    "the program `baskd` is not on the PATH: install it with `cargo install baskd`, or name it in $BASKD_BIN"
                        .to_owned(),
                ),
            }),
        }
    }
}

/// Whether a daemon may be started at all, as far as the environment goes.
pub(crate) fn is_allowed() -> bool {
    env::var_os("BASKD_START").is_none_or(|value| value != "0")
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The sentence in an error object of the command line's, or whatever else it has said.
fn said(stderr: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Object {
        message: String,
    }

    let text = String::from_utf8_lossy(stderr);
    let object = serde_json::from_str::<Object>(&text);
    object.map_or_else(|_| text.trim().to_owned(), |object| object.message)
}

fn program_of(command: &Command) -> String {
    command.as_std().get_program().to_string_lossy().into_owned()
}

fn written(command: &std::process::Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said() {
        assert_eq!(said(br#"{"name":"StartFailed","message":"no Python"}"#), "no Python");
        assert_eq!(said(b"error: unexpected argument\n"), "error: unexpected argument");
    }
}
