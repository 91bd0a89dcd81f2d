//! Where a Python may be, one rule each: it is taken, passed over with a word of what was seen, or refused.

use std::path::{Path, PathBuf};

use super::project::Project;
use super::requires::Requires;
use super::surroundings::ask;
use super::{FindError, Found, Interpreter, Looking, OLDEST, in_venv, one_line, sound, versions};

impl Looking<'_> {
    /// `$VIRTUAL_ENV`: the venv that the shell has activated.
    pub(super) fn active_venv(&mut self) -> Found {
        const AT: &str = "$VIRTUAL_ENV";
        let Some(folder) = self.around.venv.clone() else {
            return self.nothing(AT, "is not set");
        };
        if let Some(path) = in_venv(&folder, AT)? {
            return Ok(Some(self.take(AT, path, AT)));
        }
        // The shell was left open when the venv went.
        self.warn(format!("$VIRTUAL_ENV is {}, where no venv is", folder.display()));
        self.nothing(AT, &format!("is {}, where no venv is", folder.display()))
    }

    /// `.venv` beside the controller or above it.
    pub(super) fn dot_venv(&mut self) -> Found {
        const AT: &str = ".venv beside the controller, or above it";
        for folder in self.folders() {
            let how = match (self.is_asked, folder == self.beside) {
                (true, _) => ".venv of the project asked for",
                (_, true) => ".venv beside the controller",
                _ => ".venv above the controller",
            };
            if !self.may_follow(AT, &folder.join(".venv")) {
                continue;
            }
            if let Some(path) = in_venv(&folder.join(".venv"), how)? {
                return Ok(Some(self.take(AT, path, how)));
            }
            let empty = folder.join(".venv");
            if empty.is_dir() {
                self.warn(format!("{} has no bin/python, and is passed over", empty.display()));
            }
        }
        self.nothing(AT, "there is none")
    }

    /// Where uv has been told to keep the environment of a project of its own.
    pub(super) fn environment_of_uv(&mut self) -> Found {
        const AT: &str = "$UV_PROJECT_ENVIRONMENT, for a project of uv's";
        let Some(folder) = self.around.uv_environment.clone() else {
            return self.nothing(AT, "is not set");
        };
        let Some(project) = self.project().filter(Project::is_uvs) else {
            return self.nothing(AT, "there is no such project");
        };
        // uv takes it relative to the project.
        let is_relative = folder.is_relative();
        let folder = project.folder.join(folder);
        if is_relative && !self.may_follow(AT, &folder) {
            return self.nothing(AT, "there is none of yours");
        }
        match in_venv(&folder, "$UV_PROJECT_ENVIRONMENT")? {
            Some(path) => Ok(Some(self.take(AT, path, "$UV_PROJECT_ENVIRONMENT"))),
            None => self.nothing(AT, &format!("{} is no venv: `uv sync` makes it", folder.display())),
        }
    }

    /// pdm writes into `.pdm-python` which interpreter it uses, that of its venv as a rule.
    pub(super) fn pdm(&mut self) -> Found {
        const AT: &str = ".pdm-python of the project";
        let project = self.project();
        let project = project.filter(|project| self.may_follow(AT, &project.folder.join(".pdm-python")));
        match project.and_then(|project| project.pdm_python()) {
            Some(path) if path.is_file() => Ok(Some(self.take(AT, path, AT))),
            Some(path) => {
                let gone = format!("names {}, which is not there: `pdm install` makes it", path.display());
                self.warn(format!(".pdm-python {gone}"));
                self.nothing(AT, &gone)
            }
            None => self.nothing(AT, "there is none"),
        }
    }

    /// A venv of another usual name; only beside the controller and in its project, since further up a folder of such a name
    /// is more likely something else.
    pub(super) fn plain_venv(&mut self) -> Found {
        const AT: &str = "venv or env beside the controller, or in its project";
        let mut folders = vec![self.beside.to_owned()];
        folders.extend(self.project().map(|project| project.folder));
        for folder in folders {
            for (name, beside, inside) in [
                ("venv", "venv beside the controller", "venv of the project"),
                ("env", "env beside the controller", "env of the project"),
            ] {
                let how = if folder == self.beside && !self.is_asked {
                    beside
                } else {
                    inside
                };
                let venv = folder.join(name);
                if venv.join("pyvenv.cfg").is_file()
                    && self.may_follow(AT, &venv)
                    && let Some(path) = in_venv(&venv, how)?
                {
                    return Ok(Some(self.take(AT, path, how)));
                }
            }
        }
        self.nothing(AT, "there is none")
    }

    /// An environment of conda's that was activated. `base` is active in every shell of most who have conda, so it says
    /// nothing about the controller.
    pub(super) fn conda(&mut self) -> Found {
        const AT: &str = "$CONDA_PREFIX, unless it is conda's base";
        match self.around.conda.clone() {
            None => self.nothing(AT, "is not set"),
            Some(_) if self.around.is_conda_base => self.nothing(AT, "is conda's base"),
            Some(folder) => match in_venv(&folder, "$CONDA_PREFIX")? {
                Some(path) => Ok(Some(self.take(AT, path, "$CONDA_PREFIX"))),
                None => self.nothing(AT, &format!("is {}, which has no bin/python", folder.display())),
            },
        }
    }

    /// In a project of uv's, what uv would run.
    pub(super) fn uv(&mut self) -> Found {
        const AT: &str = "`uv python find`, for a project of uv's";
        let Some(project) = self.project().filter(Project::is_uvs) else {
            return self.nothing(AT, "there is no such project");
        };
        let Some(uv) = self.around.on_path(Path::new("uv")) else {
            return self.nothing(AT, "uv is not on the PATH");
        };
        let arguments = ["python", "find", "--offline", "--no-python-downloads", "--project"];
        let arguments = arguments.map(Path::new);
        match ask(&uv, arguments.into_iter().chain([project.folder.as_path()])) {
            Ok(said) if Path::new(said.trim()).is_file() => {
                let path = PathBuf::from(said.trim());
                self.warn_of_packages(&project, &path);
                Ok(Some(self.take(AT, path, "uv python find")))
            }
            Ok(said) => self.nothing(AT, &format!("it said {:?}", said.trim())),
            Err(why) => self.nothing(AT, &why),
        }
    }

    /// `.python-version`, which pyenv and uv read.
    pub(super) fn version_file(&mut self) -> Found {
        const AT: &str = ".python-version beside the controller, or above it";
        let chosen = self.folders().into_iter().find_map(|folder| {
            let file = folder.join(".python-version");
            let chosen = versions::chosen(&file)?;
            self.may_follow(AT, &file).then_some((chosen, file))
        });
        let Some((name, file)) = chosen else {
            return self.nothing(AT, "there is none");
        };
        if name == "system" {
            return self.nothing(AT, "says `system`");
        }
        if let Some((path, whose)) = versions::named(self.around, &name) {
            self.warn_where_no_venv(&path);
            let found = self.take(AT, path, &format!(".python-version ({name}), {whose}"));
            return Ok(Some(found));
        }
        let what = format!("says {name}, which is not there");
        self.warn(format!(
            "{} {what}: install it with `uv python install {name}` or `pyenv install {name}`",
            file.display()
        ));
        self.nothing(AT, &what)
    }

    /// What the project's pyproject.toml allows: `python3`, since what was installed without a venv is there; else the
    /// newest that there is.
    pub(super) fn required(&mut self) -> Found {
        const AT: &str = "requires-python of the project";
        let Some((project, text)) = self.project().and_then(|project| {
            let text = project.requires_python()?;
            Some((project, text))
        }) else {
            return self.nothing(AT, "there is none");
        };
        let Some(requires) = Requires::parse(&text) else {
            self.warn(format!(
                "{}: requires-python = \"{text}\" can't be read",
                project.file().display()
            ));
            return self.nothing(AT, &format!("says \"{text}\", which can't be read"));
        };
        let mut there = versions::all(self.around);
        if let Some(path) = self.around.on_path(Path::new("python3"))
            && let Some(version) = sound::version_by_asking(&path)
        {
            let found = "python3 on the PATH".to_owned();
            there.insert(0, versions::Candidate { version, path, found });
        }
        let allowed =
            |candidate: &&versions::Candidate| candidate.version >= OLDEST && requires.allows(candidate.version);
        if let Some(candidate) = there.iter().find(allowed) {
            self.warn_of_packages(&project, &candidate.path);
            let how = format!("{}, for requires-python \"{text}\"", candidate.found);
            return Ok(Some(self.take(AT, candidate.path.clone(), &how)));
        }
        let mut names: Vec<_> = there.iter().map(|candidate| candidate.version.to_string()).collect();
        names.sort();
        names.dedup();
        let there = match names.as_slice() {
            [] => "there is none on the PATH".to_owned(),
            names => format!("there is only {}", names.join(", ")),
        };
        self.note(AT, format!("says \"{text}\", and {there}"));
        let wanted = requires.example();
        Err(FindError::NoneSuits {
            file: project.file(),
            wanted: one_line(&text),
            there,
            remedy: match project.is_uvs() {
                true => "run `uv sync`, which installs one".to_owned(),
                false => format!("install one, and make a venv with `python{wanted} -m venv .venv`"),
            },
        })
    }

    /// `python3`, whichever it is.
    pub(super) fn any(&mut self) -> Result<Interpreter, FindError> {
        const AT: &str = "python3 on the PATH";
        let Some(path) = self.around.on_path(Path::new("python3")) else {
            self.note(AT, "there is none".to_owned());
            return Err(FindError::None);
        };
        self.warn_where_no_venv(&path);
        Ok(self.take(AT, path, AT))
    }

    fn warn_where_no_venv(&mut self, python: &Path) {
        let project = self.project().or_else(|| Project::by_requirements(self.beside));
        if let Some(project) = project {
            self.warn_of_packages(&project, python);
        }
    }

    /// Where packages are named, and `python` is no venv's.
    fn warn_of_packages(&mut self, project: &Project, python: &Path) {
        let packages = project.packages();
        if packages.is_empty() || sound::is_in_venv(python) {
            return;
        }
        self.warn(format!(
            "{} names packages ({packages}), and there is no venv for them, so {} may not have them: `{}`",
            project.file().display(),
            python.display(),
            project.remedy("python3")
        ));
    }
}
