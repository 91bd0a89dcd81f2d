//! Which Python runs the controller.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
    #[error("there is no python3 on the PATH: install Python 3.9 or newer, or pass --python")]
    None,
}

/// The one asked for (an interpreter or a venv's folder), else `$VIRTUAL_ENV`, else `.venv` beside the controller or
/// above it, else `python3`. `beside` is the controller's folder, or the working folder.
pub fn find(asked: Option<&Path>, beside: &Path) -> Result<Interpreter, FindError> {
    find_in(asked, beside, env::var_os("VIRTUAL_ENV"), env::var_os("PATH"))
}

fn find_in(
    asked: Option<&Path>,
    beside: &Path,
    venv: Option<OsString>,
    search: Option<OsString>,
) -> Result<Interpreter, FindError> {
    let found = |path: PathBuf, found: &str| {
        Ok(Interpreter {
            path,
            found: found.to_owned(),
        })
    };
    if let Some(asked) = asked {
        return match asked {
            _ if asked.is_dir() => match in_venv(asked) {
                Some(path) => found(path, "the venv asked for"),
                None => Err(FindError::NoVenv(asked.to_owned())),
            },
            // A venv's interpreter is a link, and must be run by the link's own name.
            _ if asked.is_file() => found(
                std::path::absolute(asked).unwrap_or_else(|_| asked.to_owned()),
                "the interpreter asked for",
            ),
            _ if asked.components().count() == 1 => match on_path(asked, search) {
                Some(path) => found(path, "the name asked for, on the PATH"),
                None => Err(FindError::NotThere(asked.to_owned())),
            },
            _ => Err(FindError::NotThere(asked.to_owned())),
        };
    }
    if let Some(path) = venv
        .filter(|venv| !venv.is_empty())
        .and_then(|venv| in_venv(Path::new(&venv)))
    {
        return found(path, "$VIRTUAL_ENV");
    }
    for folder in beside.ancestors() {
        if let Some(path) = in_venv(&folder.join(".venv")) {
            return found(
                path,
                if folder == beside {
                    ".venv beside the controller"
                } else {
                    ".venv above the controller"
                },
            );
        }
    }
    match on_path(Path::new("python3"), search) {
        Some(path) => found(path, "python3 on the PATH"),
        None => Err(FindError::None),
    }
}

fn in_venv(folder: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(folder.join("bin/python")).ok()?;
    path.is_file().then_some(path)
}

fn on_path(name: &Path, search: Option<OsString>) -> Option<PathBuf> {
    env::split_paths(&search?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn venv(folder: &Path) -> PathBuf {
        fs::create_dir_all(folder.join("bin")).unwrap();
        let path = folder.join("bin/python");
        fs::write(&path, "").unwrap();
        path
    }

    #[test]
    fn the_order_is_that_of_the_contract() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let beside = root.join("app/python");
        fs::create_dir_all(&beside).unwrap();
        fs::create_dir_all(root.join("usr")).unwrap();
        let system = root.join("usr/python3");
        fs::write(&system, "").unwrap();
        let path = || Some(root.join("usr").into_os_string());

        assert!(matches!(find_in(None, &beside, None, None), Err(FindError::None)));
        assert_eq!(find_in(None, &beside, None, path()).unwrap().path, system);
        let above = venv(&root.join("app/.venv"));
        assert_eq!(find_in(None, &beside, Some("".into()), path()).unwrap().path, above);
        let near = venv(&beside.join(".venv"));
        assert_eq!(
            find_in(None, &beside, None, path()).unwrap(),
            Interpreter {
                path: near,
                found: ".venv beside the controller".into()
            }
        );
        let active = venv(&root.join("active"));
        assert_eq!(
            find_in(None, &beside, Some(root.join("active").into()), path())
                .unwrap()
                .path,
            active
        );
        let asked = venv(&root.join("asked"));
        assert_eq!(
            find_in(
                Some(&root.join("asked")),
                &beside,
                Some(root.join("active").into()),
                path()
            )
            .unwrap()
            .path,
            asked
        );
        assert_eq!(find_in(Some(&asked), &beside, None, path()).unwrap().path, asked);
        assert_eq!(
            find_in(Some(Path::new("python3")), &beside, None, path()).unwrap().path,
            system
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(
            find_in(Some(root.path()), root.path(), None, None),
            Err(FindError::NoVenv(_))
        ));
        assert!(matches!(
            find_in(Some(&root.path().join("no")), root.path(), None, None),
            Err(FindError::NotThere(_))
        ));
    }
}
