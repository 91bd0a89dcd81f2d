//! What is to be done, as a value: `--dry-run` prints the very list that is else carried out, so that they can't differ.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::diff;
use crate::cli::exit::Failure;
use crate::cli::systemd::{self, Trouble};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A file is to hold that text. `before`: what it holds now, if it is there.
    Write {
        path: PathBuf,
        text: String,
        before: Option<String>,
    },
    /// All is as it should be: what.
    Same {
        what: String,
    },
    /// A file that is a person's gets another name.
    Keep {
        path: PathBuf,
        aside: PathBuf,
        why: &'static str,
    },
    Remove {
        path: PathBuf,
    },
    /// If nothing is left in it.
    RemoveFolder {
        path: PathBuf,
    },
    /// With all that is in it.
    RemoveTree {
        path: PathBuf,
    },
    Systemctl {
        arguments: Vec<String>,
        /// Whether it is no matter if there is nothing to do it to.
        may_fail: bool,
    },
}

/// A step as it is told: a word, and what it is about.
pub(super) struct Told {
    pub(super) word: &'static str,
    pub(super) what: String,
    pub(super) json: Value,
}

impl Step {
    pub(super) fn systemctl(arguments: &[&str]) -> Step {
        Step::Systemctl {
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            may_fail: false,
        }
    }

    /// As it is told once it is done, or, `would`, before.
    pub(super) fn told(&self, would: bool) -> Told {
        let told = |done, to_be, what: String, json: Value| Told {
            word: if would { to_be } else { done },
            what,
            json,
        };
        let path = |path: &Path| (path.display().to_string(), json!({ "path": path.to_string_lossy() }));
        match self {
            Step::Write {
                path: at, before: None, ..
            } => {
                let (what, json) = path(at);
                told("written", "would write", what, json)
            }
            Step::Write { path: at, .. } => {
                let (what, json) = path(at);
                told("updated", "would update", what, json)
            }
            Step::Same { what } => told("unchanged", "unchanged", what.clone(), json!({ "what": what })),
            Step::Keep { path: at, aside, why } => {
                let json = json!({ "path": at.to_string_lossy(), "as": aside.to_string_lossy(), "why": why });
                told(
                    "kept",
                    "would keep",
                    format!("{} as {}: {why}", at.display(), aside.display()),
                    json,
                )
            }
            Step::Remove { path: at } | Step::RemoveTree { path: at } => {
                let (what, json) = path(at);
                told("removed", "would remove", what, json)
            }
            Step::RemoveFolder { path: at } => {
                let (what, json) = path(at);
                let what = if would {
                    format!("{what}, if it is empty then")
                } else {
                    what
                };
                told("removed", "would remove", what, json)
            }
            Step::Systemctl { arguments, .. } => {
                let command = format!("systemctl --user {}", arguments.join(" "));
                told("ran", "would run", command.clone(), json!({ "command": command }))
            }
        }
    }

    /// What a dry run shows below it: a new file, or what changes in one.
    pub(super) fn details(&self) -> String {
        match self {
            Step::Write { text, before, .. } => diff::shown(before.as_deref().unwrap_or_default(), text),
            _ => String::new(),
        }
    }

    /// Does it. False if there was nothing to be done.
    pub(super) fn carry_out(&self) -> Result<bool, Failure> {
        let failed = |what: &str, path: &Path, error: io::Error| {
            Failure::Failed(format!("{} can't be {what}: {error}", path.display()))
        };
        let done = |outcome: io::Result<()>| match outcome {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            outcome => outcome.map(|()| true),
        };
        match self {
            Step::Write { path, text, before } => {
                if read(path)? != *before {
                    return Err(Failure::Failed(format!(
                        "{} was changed by somebody at this moment: run this again",
                        path.display()
                    )));
                }
                write(path, text).map_err(|error| failed("written", path, error))?;
                Ok(true)
            }
            Step::Same { .. } => Ok(true),
            Step::Keep { path, aside, .. } => {
                done(fs::rename(path, aside)).map_err(|error| failed("put aside", path, error))
            }
            Step::Remove { path } => done(fs::remove_file(path)).map_err(|error| failed("removed", path, error)),
            // A link is somebody's own, as where dotfiles are kept: what it leads to is theirs, too.
            Step::RemoveFolder { path } if path.is_symlink() => Ok(false),
            Step::RemoveFolder { path } => match fs::remove_dir(path) {
                Err(error) if stays(error.kind()) => Ok(false),
                outcome => done(outcome).map_err(|error| failed("removed", path, error)),
            },
            Step::RemoveTree { path } => done(fs::remove_dir_all(path)).map_err(|error| failed("removed", path, error)),
            Step::Systemctl { arguments, may_fail } => {
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                match systemd::run(&arguments) {
                    Ok(_) => Ok(true),
                    Err(Trouble::Refused { .. }) if *may_fail => Ok(false),
                    Err(trouble) => Err(refused(&trouble)),
                }
            }
        }
    }
}

/// Whether a folder that can't be removed for that stays, and nobody need mind: an empty one does nothing.
fn stays(why: io::ErrorKind) -> bool {
    matches!(
        why,
        io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::ResourceBusy
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn refused(trouble: &Trouble) -> Failure {
    Failure::Failed(match trouble {
        Trouble::Unreachable(said) => format!("systemd can't be reached any more: {said}"),
        Trouble::Refused { command, said } => {
            format!("`{command}` failed: {said}; once that is mended, run this again: it goes on where it was")
        }
    })
}

/// What a file holds; None if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, Failure> {
    match baskd::config::text_of(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::Failed(format!("{} can't be read: {error}", path.display()))),
    }
}

/// It holds the old text or the new one, whenever the machine stops. A link stays one, and its target is written.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(_) => path.to_owned(),
    };
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let mode = fs::metadata(&path).map_or(0o644, |there| there.permissions().mode() & 0o777);
    let mut file = NamedTempFile::with_prefix_in(".baskd-", folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_and_keeps_its_mode_and_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        let step = |text: &str, before: Option<&str>| Step::Write {
            path: path.clone(),
            text: text.to_owned(),
            before: before.map(str::to_owned),
        };
        assert!(step("1", None).carry_out().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(step("2", Some("1")).carry_out().unwrap());
        assert!(path.is_symlink());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "2");
        assert_eq!(fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        // Somebody was faster.
        assert!(step("3", Some("1")).carry_out().is_err());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "2");
    }

    #[test]
    fn what_is_gone_already_is_no_failure_and_what_is_not_empty_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for step in [
            Step::Remove { path: path.clone() },
            Step::RemoveFolder { path: path.clone() },
            Step::RemoveTree { path: path.clone() },
        ] {
            assert!(!step.carry_out().unwrap());
        }
        fs::create_dir(&path).unwrap();
        fs::write(path.join("file"), "").unwrap();
        assert!(!Step::RemoveFolder { path: path.clone() }.carry_out().unwrap());
        // A link stays, also to a folder that is empty; and so does what is no folder.
        let (empty, link) = (folder.path().join("empty"), folder.path().join("link"));
        fs::create_dir(&empty).unwrap();
        std::os::unix::fs::symlink(&empty, &link).unwrap();
        for path in [link.clone(), path.join("file")] {
            assert!(!Step::RemoveFolder { path }.carry_out().unwrap());
        }
        assert!(link.is_symlink() && empty.is_dir());
        assert!(Step::RemoveTree { path: path.clone() }.carry_out().unwrap());
        assert!(!path.exists());
    }
}
