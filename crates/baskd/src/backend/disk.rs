//! A file that is whole or is not there, whenever the daemon or the machine stops.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::logs::Logs;

/// Writes beside it, has the disk take it, renames it, and has the disk take that.
pub(super) fn save(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    // What a daemon that was killed has left there, or somebody else has put there, is not written to.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        // On a full disk, half a file would take what room there is.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// What `read` makes of the file; nothing if it is not there. One that makes no sense is put aside, and that is said.
pub(super) fn load<T>(
    path: &Path,
    what: &str,
    logs: &Logs,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let there = read(&text);
    if there.is_none() {
        let aside = put_aside(path, "unreadable")?;
        logs.warn(&format!(
            "{what} in {} can't be read; it is put aside as {}",
            path.display(),
            aside.display()
        ));
    }
    Ok(there)
}

/// Renames it so that it is not read again, but can be looked at.
pub(super) fn put_aside(path: &Path, why: &str) -> io::Result<PathBuf> {
    let aside = path.with_extension(format!("json.{why}"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_saved_whole_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("properties.json");
        save(&path, b"1").unwrap();
        fs::write(folder.path().join("victim"), "precious").unwrap();
        std::os::unix::fs::symlink("victim", path.with_extension("json.new")).unwrap();
        save(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(folder.path().join("victim")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot.json");
        let logs = Logs::default();
        let read = |text: &[u8]| (text == b"whole").then_some(());
        assert!(load(&path, "it", &logs, read).unwrap().is_none());
        fs::write(&path, "who").unwrap();
        assert!(load(&path, "it", &logs, read).unwrap().is_none());
        assert!(!path.exists() && folder.path().join("snapshot.json.unreadable").exists());
        fs::write(&path, "whole").unwrap();
        assert!(load(&path, "it", &logs, read).unwrap().is_some());
    }
}
