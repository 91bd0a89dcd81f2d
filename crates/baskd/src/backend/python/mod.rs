//! Which Python runs the controller.
//!
//! The rules' order stands in [`Looking::find`], and they in [`rules`]; PROTOCOL.md ("Which Python") says the same. Each looks at
//! the files beside the controller and at the [`Surroundings`], nothing else, and notes what it saw: `baskd doctor` shows
//! that. What was found is then looked at by [`sound`], so that what can't run is refused with its remedy.

mod project;
mod requires;
mod rules;
mod sound;
mod surroundings;
#[cfg(test)]
mod tests;
mod versions;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use project::Project;
use versions::Version;

pub(crate) use sound::{what_else, why_not};
pub use surroundings::Surroundings;

/// The router needs it.
const OLDEST: Version = Version::minor(3, 9);

/// An interpreter, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    pub path: PathBuf,
    pub found: String,
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("there is no Python at {}: pass --python with an interpreter, or a venv's folder", .0.display())]
    NotThere(PathBuf),
    #[error("{} has no bin/python: is it a venv? Make one with `python3 -m venv {}`", .0.display(), .0.display())]
    NoVenv(PathBuf),
    #[error("the project {} has no venv: make one with `{remedy}`, or name an interpreter with --python", .folder.display())]
    NoVenvInProject { folder: PathBuf, remedy: String },
    #[error("there is no python3 on the PATH: install Python 3.9 or newer, or pass --python")]
    None,
    #[error("{} wants Python {wanted}, and {there}: {remedy}, or name an interpreter with --python", .file.display())]
    NoneSuits {
        file: PathBuf,
        wanted: String,
        there: String,
        remedy: String,
    },
    #[error("{} ({found}) {what}", .path.display())]
    Unusable {
        path: PathBuf,
        found: String,
        /// What is wrong with it, and the remedy.
        what: String,
    },
    #[error("{} ({found}) is Python {version}, and 3.9 or newer is needed: pass --python with one, or make the venv anew", .path.display())]
    TooOld {
        path: PathBuf,
        found: String,
        version: String,
    },
}

/// What was looked for, and what came of it.
#[derive(Debug)]
pub struct Search {
    pub interpreter: Result<Interpreter, FindError>,
    /// What was looked at, in order; the last one decided.
    pub looked: Vec<Looked>,
    /// What keeps nothing from starting, and is most likely not what was meant.
    pub warnings: Vec<String>,
}

/// A place where a Python may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// As `.venv beside the controller, or above it`.
    pub at: &'static str,
    /// What is there.
    pub saw: String,
}

/// Looks for the Python to run. `asked`: what --python or the config says. `beside`: the controller's folder, or the
/// working folder.
#[must_use]
pub fn search(asked: Option<&Path>, beside: &Path, around: &Surroundings) -> Search {
    let mut looking = Looking {
        around,
        beside,
        is_asked: false,
        looked: Vec::new(),
        warnings: Vec::new(),
    };
    let interpreter = looking.find(asked).and_then(|found| looking.sound(found));
    Search {
        interpreter,
        looked: looking.looked,
        warnings: looking.warnings,
    }
}

type Found = Result<Option<Interpreter>, FindError>;

struct Looking<'a> {
    around: &'a Surroundings,
    beside: &'a Path,
    /// `beside` is a project that was asked for: nothing outside of it counts.
    is_asked: bool,
    looked: Vec<Looked>,
    warnings: Vec<String>,
}

impl Looking<'_> {
    /// The rules, in order.
    fn find(&mut self, asked: Option<&Path>) -> Result<Interpreter, FindError> {
        if let Some(asked) = asked {
            return self.asked(asked);
        }
        let rules = [
            Self::active_venv,
            Self::dot_venv,
            Self::environment_of_uv,
            Self::pdm,
            Self::plain_venv,
            Self::conda,
            Self::uv,
            Self::version_file,
            Self::required,
        ];
        self.first_of(&rules)?.map_or_else(|| self.any(), Ok)
    }

    fn first_of(&mut self, rules: &[fn(&mut Self) -> Found]) -> Found {
        for rule in rules {
            if let Some(found) = rule(self)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// `--python`, or `python` of the config.
    fn asked(&mut self, asked: &Path) -> Result<Interpreter, FindError> {
        const AT: &str = "--python, or `python` of the config";
        if asked.is_dir() {
            if let Some(path) = in_venv(asked, "the venv asked for")? {
                return Ok(self.take(AT, path, "the venv asked for"));
            }
            return self.asked_project(asked);
        }
        if asked.is_file() {
            // A venv's interpreter is a link, and must be run by the link's own name.
            let path = std::path::absolute(asked).unwrap_or_else(|_| asked.to_owned());
            return Ok(self.take(AT, path, "the interpreter asked for"));
        }
        if let Some(what) = sound::broken_link(asked) {
            return Err(unusable(asked, "the interpreter asked for", what));
        }
        if asked.components().count() == 1
            && let Some(path) = self.around.on_path(asked)
        {
            return Ok(self.take(AT, path, "the name asked for, on the PATH"));
        }
        self.note(AT, format!("{} is not there", asked.display()));
        Err(FindError::NotThere(asked.to_owned()))
    }

    /// A project's folder: as if the controller were there, but that nothing above it and nothing active counts.
    fn asked_project(&mut self, folder: &Path) -> Result<Interpreter, FindError> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let mut inside = Looking {
            around: self.around,
            beside: &folder,
            is_asked: true,
            looked: Vec::new(),
            warnings: Vec::new(),
        };
        let found = inside.first_of(&[
            Looking::dot_venv,
            Looking::environment_of_uv,
            Looking::pdm,
            Looking::plain_venv,
            Looking::uv,
            Looking::version_file,
            Looking::required,
        ]);
        self.looked.append(&mut inside.looked);
        self.warnings.append(&mut inside.warnings);
        found?.ok_or_else(|| match Project::of(&folder) {
            Some(project) => FindError::NoVenvInProject {
                remedy: project.remedy("python3"),
                folder: folder.clone(),
            },
            None => FindError::NoVenv(folder.clone()),
        })
    }

    /// What was found, unless it is plain that it can't serve.
    fn sound(&mut self, found: Interpreter) -> Result<Interpreter, FindError> {
        if let Some(what) = sound::wrong(&found.path) {
            return Err(unusable(&found.path, &found.found, what));
        }
        match sound::version(&found.path) {
            Some(version) if version < OLDEST => Err(FindError::TooOld {
                path: found.path,
                found: found.found,
                version: version.to_string(),
            }),
            // Of one whose files do not tell, the router will: it looks before anything else.
            _ => Ok(found),
        }
    }

    /// The folders in which something of the controller's may be.
    fn folders(&self) -> Vec<PathBuf> {
        let most = if self.is_asked { 1 } else { usize::MAX };
        self.beside.ancestors().take(most).map(Path::to_owned).collect()
    }

    fn project(&mut self) -> Option<Project> {
        const AT: &str = "the project's files beside the controller, or above it";
        let folders = self.folders();
        folders.iter().find_map(|folder| {
            let project = Project::of(folder)?;
            let is_ours = ["pyproject.toml", "uv.lock"].map(|file| self.may_follow(AT, &folder.join(file)));
            is_ours.iter().all(|is_ours| *is_ours).then_some(project)
        })
    }

    /// Whether what was found by looking may be followed, if it is there: in a folder above, as /tmp, anybody may have put
    /// it. Of a link it counts who has made it. What was asked for is followed, whoever it belongs to.
    fn may_follow(&mut self, at: &'static str, path: &Path) -> bool {
        let user = rustix::process::geteuid().as_raw();
        let owner = fs::symlink_metadata(path).map(|there| there.uid());
        let Some(owner) = owner.ok().filter(|owner| !self.is_asked && !is_trusted(*owner, user)) else {
            return true;
        };
        let what = format!(
            "{} belongs to another user (id {owner}), and is passed over: --python follows what it names",
            path.display()
        );
        // A project is looked for by more than one rule.
        if !self.warnings.contains(&one_line(&what)) {
            self.note(at, what.clone());
            self.warn(what);
        }
        false
    }

    fn take(&mut self, at: &'static str, path: PathBuf, found: &str) -> Interpreter {
        self.note(at, path.display().to_string());
        Interpreter {
            path,
            found: one_line(found),
        }
    }

    fn nothing(&mut self, at: &'static str, saw: &str) -> Found {
        self.note(at, saw.to_owned());
        Ok(None)
    }

    fn note(&mut self, at: &'static str, saw: String) {
        let saw = one_line(&saw);
        self.looked.push(Looked { at, saw });
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(one_line(&warning));
    }
}

/// Whose files may say what this user runs.
fn is_trusted(owner: u32, user: u32) -> bool {
    owner == user || owner == 0
}

/// What files say goes into comments, logs and terminals: one line of it, without control characters.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// The interpreter of the venv at `folder`, if there is one. A link that leads nowhere is not passed over: what would run
/// instead has not the venv's packages, and would fail in a way that says less.
fn in_venv(folder: &Path, how: &str) -> Result<Option<PathBuf>, FindError> {
    for name in ["bin/python", "bin/python3"] {
        let Ok(path) = std::path::absolute(folder.join(name)) else {
            continue;
        };
        if path.is_file() {
            return Ok(Some(path));
        }
        if let Some(what) = sound::broken_link(&path) {
            return Err(unusable(&path, how, what));
        }
    }
    Ok(None)
}

fn unusable(path: &Path, found: &str, what: String) -> FindError {
    FindError::Unusable {
        path: path.to_owned(),
        found: found.to_owned(),
        what,
    }
}
