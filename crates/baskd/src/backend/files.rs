//! Which files a controller is made of, and whether they have changed since a Python read them.
//!
//! They are looked at, not listened to: a look at a few dozen files costs less than a millisecond, works on every file
//! system, and sees what an editor makes by renaming. The router tells which they are. Those that were known before are
//! noted before the next Python starts, so that what is changed while it reads them is not missed.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Controller;

/// A larger file is not read to compare it: its time and size tell.
const MAX_READ: u64 = 4 << 20;
/// So many are looked at.
const MAX_FILES: usize = 1000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    noted: BTreeMap<PathBuf, Option<Note>>,
    /// Where files may appear that a start has failed for want of.
    folder: Option<PathBuf>,
    main: Option<PathBuf>,
    /// Whether contents are compared: a file that was only touched is then no other.
    reads: bool,
    after_failure: bool,
}

/// What is noted of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
    contents: Option<u64>,
}

impl Files {
    pub(crate) fn new(controller: &Controller, reads: bool) -> Files {
        let (main, folder) = match controller {
            Controller::File { path, .. } => (Some(path.clone()), path.parent().map(Path::to_owned)),
            Controller::Module { .. } => (None, std::env::current_dir().ok()),
            Controller::Embedded => (None, None),
        };
        Files {
            folder,
            main,
            reads,
            ..Files::default()
        }
    }

    /// Those that are known, as they are now: for a Python that is about to start.
    pub(crate) fn at_start(&self) -> Files {
        let mut files = self.clone();
        let known = files.noted.keys().cloned().chain(files.main.clone());
        files.noted = known.map(|path| (path.clone(), self.look(&path))).collect();
        files.after_failure = false;
        files
    }

    /// The router has told which they are. After a failure those of before count as well, and every module beside the
    /// controller: one of them may be what was missing.
    pub(crate) fn learn(&mut self, told: &[String], failed: bool) {
        self.after_failure = failed;
        let mut paths: Vec<_> = told.iter().map(PathBuf::from).take(MAX_FILES).collect();
        paths.extend(self.main.clone());
        if failed {
            paths.extend(self.modules_beside());
        } else {
            self.noted.retain(|path, _| paths.contains(path));
        }
        for path in paths {
            if !self.noted.contains_key(&path) {
                let note = self.look(&path);
                self.noted.insert(path, note);
            }
        }
    }

    /// A start from these has failed, and what was served before is served on: a change of either counts.
    pub(crate) fn add(&mut self, failed: &Files) {
        self.noted.extend(failed.noted.clone());
        self.after_failure = failed.after_failure;
    }

    /// A file that is not what it was, if there is one. One that was only touched is noted as it is now.
    pub(crate) fn changed(&mut self) -> Option<PathBuf> {
        let paths: Vec<_> = self.noted.keys().cloned().collect();
        let changed = paths.into_iter().find(|path| !self.is_same(path));
        changed.or_else(|| {
            let mut beside = self.after_failure.then(|| self.modules_beside())?.into_iter();
            beside.find(|path| !self.noted.contains_key(path))
        })
    }

    /// Whether there is anything to look at.
    pub(crate) fn are_known(&self) -> bool {
        !self.noted.is_empty()
    }

    fn modules_beside(&self) -> Vec<PathBuf> {
        let Some(entries) = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else {
            return Vec::new();
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
            .take(MAX_FILES)
            .collect()
    }

    fn is_same(&mut self, path: &Path) -> bool {
        let quick = quick_look(path);
        let noted = self.noted.get(path).and_then(Option::as_ref);
        let was = noted.map(|note| (note.modified, note.bytes, note.inode));
        if was == quick.as_ref().map(|note| (note.modified, note.bytes, note.inode)) {
            return true;
        }
        let Some(before) = noted.and_then(|note| note.contents) else {
            return false;
        };
        let now = self.look(path);
        let is_same = now.as_ref().and_then(|note| note.contents) == Some(before);
        if is_same {
            self.noted.insert(path.to_owned(), now);
        }
        is_same
    }

    fn look(&self, path: &Path) -> Option<Note> {
        let mut note = quick_look(path)?;
        if self.reads && note.bytes <= MAX_READ {
            note.contents = fs::read(path).ok().map(|text| {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                hasher.finish()
            });
        }
        Some(note)
    }
}

fn quick_look(path: &Path) -> Option<Note> {
    let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Note {
        modified: metadata.modified().ok(),
        bytes: metadata.len(),
        inode: metadata.ino(),
        contents: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path, reads: bool) -> Files {
        let controller = Controller::File {
            path: folder.join("controller.py"),
            class: "Controller".to_owned(),
        };
        Files::new(&controller, reads)
    }

    #[test]
    fn a_change_is_seen_also_while_python_starts() {
        let folder = tempfile::tempdir().unwrap();
        let (main, helper) = (folder.path().join("controller.py"), folder.path().join("helper.py"));
        fs::write(&main, "1").unwrap();
        fs::write(&helper, "1").unwrap();
        let told = [main.to_str().unwrap().to_owned(), helper.to_str().unwrap().to_owned()];
        let mut first = files(folder.path(), true).at_start();
        first.learn(&told, false);
        assert_eq!(first.changed(), None);
        let mut second = first.at_start();
        fs::write(&helper, "22").unwrap();
        second.learn(&told, false);
        assert_eq!(second.changed(), Some(helper.clone()));
        fs::remove_file(&helper).unwrap();
        assert_eq!(second.changed(), Some(helper));
    }

    #[test]
    fn what_was_only_touched_has_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("controller.py");
        fs::write(&main, "1").unwrap();
        let [mut reading, mut looking] = [true, false].map(|reads| files(folder.path(), reads).at_start());
        fs::rename(&main, folder.path().join("old")).unwrap();
        fs::write(&main, "1").unwrap();
        assert_eq!(reading.changed(), None);
        assert_eq!(looking.changed(), Some(main));
    }

    #[test]
    fn after_a_failure_a_module_that_was_missing_counts() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("controller.py"), "import helper").unwrap();
        let mut failed = files(folder.path(), false).at_start();
        let mut served = failed.clone();
        failed.learn(&[], true);
        served.learn(&[], false);
        fs::write(folder.path().join("notes.txt"), "1").unwrap();
        assert_eq!(failed.changed(), None);
        let helper = folder.path().join("helper.py");
        fs::write(&helper, "1").unwrap();
        assert_eq!((failed.changed(), served.changed()), (Some(helper), None));
    }
}
