//! The router's Python files, laid where Python can read them.
//!
//! They are real files in the instance's own folder rather than an archive in memory, so that tracebacks show their
//! lines and `multiprocessing` can start processes of its own. What is there is compared with what this binary carries
//! at every start of Python, and laid anew where it differs: an older version's files or half of a tidied-up folder
//! never run. The folder itself is private to the user.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/router_files.rs"));

/// Makes sure that the router is below `state_dir`, and returns its folder.
pub(crate) fn lay(state_dir: &Path) -> io::Result<PathBuf> {
    let folder = state_dir.join(format!("router-{}-{HASH}", env!("CARGO_PKG_VERSION")));
    if is_there(&folder) {
        return Ok(folder);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    for entry in fs::read_dir(state_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("router-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let new = state_dir.join(format!("router-new-{}", std::process::id()));
    for (name, text) in FILES {
        let path = new.join(name);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?
            .write_all(text.as_bytes())?;
    }
    fs::rename(new, &folder)?;
    Ok(folder)
}

/// Whether all files are there, and no others: a stray `json.py` would be imported in place of Python's own.
fn is_there(folder: &Path) -> bool {
    let carried = |path: &Path| FILES.iter().any(|(name, _)| folder.join(name).starts_with(path));
    let only_carried = |folder: &Path| {
        let Ok(mut entries) = fs::read_dir(folder) else {
            return false;
        };
        entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "__pycache__" || carried(&entry.path())))
    };
    FILES.iter().all(|(name, text)| {
        let path = folder.join(name);
        fs::read(&path).is_ok_and(|there| there == text.as_bytes()) && path.parent().is_some_and(only_carried)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_laid_once_and_mended_when_they_differ() {
        let state = tempfile::tempdir().unwrap();
        let folder = lay(state.path()).unwrap();
        let index = folder.join("index.py");
        let laid = fs::metadata(&index).unwrap().modified().unwrap();
        assert_eq!(lay(state.path()).unwrap(), folder);
        assert_eq!(fs::metadata(&index).unwrap().modified().unwrap(), laid);

        fs::create_dir(folder.join("__pycache__")).unwrap();
        assert_eq!(lay(state.path()).unwrap(), folder);
        assert!(folder.join("__pycache__").exists());
        fs::write(folder.join("json.py"), "").unwrap();
        assert_eq!(lay(state.path()).unwrap(), folder);
        assert!(!folder.join("json.py").exists());

        fs::write(&index, "import evil").unwrap();
        fs::create_dir(state.path().join("router-0.0.1-old")).unwrap();
        assert_eq!(lay(state.path()).unwrap(), folder);
        assert_ne!(fs::read_to_string(&index).unwrap(), "import evil");
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);
    }
}
