//! The properties that clients set, kept over deaths of Python and, but for the volatile ones, of the daemon.
//!
//! A `setProperty` is answered when the file has it: written beside, fsynced, renamed, and the folder fsynced. All that
//! come in meanwhile are written together.

use std::cell::{Cell, RefCell};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use baskd_protocol::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::calls::{Held, Property};
use crate::logs::Logs;

const FILE: &str = "properties.json";
const VERSION: u32 = 1;
/// A property whose name holds one of these words is never written to disk.
const VOLATILE_WORDS: [&str; 4] = ["key", "token", "secret", "password"];

/// Clones are the same journal.
#[derive(Clone)]
pub struct Journal {
    inner: Rc<Inner>,
}

struct Inner {
    /// In the order in which they were first set, which is the order in which they are set again.
    properties: RefCell<Vec<Property>>,
    /// The names of those that were set in this daemon's time, each where it was set last.
    changed: RefCell<Vec<(u64, String)>>,
    changes: Cell<u64>,
    waiting: RefCell<Vec<Held>>,
    work: Notify,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    properties: Vec<(&'a str, &'a RawValue)>,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    properties: Vec<(String, Box<RawValue>)>,
}

impl Journal {
    /// Reads what `state_dir` holds, and starts the task that writes. A file that can't be read is put aside, said in
    /// the log, and nothing is set.
    pub fn open(state_dir: &Path, logs: &Logs) -> io::Result<Journal> {
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
        let path = state_dir.join(FILE);
        let properties = match fs::read(&path) {
            Ok(text) => match serde_json::from_slice::<Read>(&text) {
                Ok(read) if read.version == VERSION => read.properties,
                _ => {
                    let aside = path.with_extension("json.unreadable");
                    fs::rename(&path, &aside)?;
                    logs.warn(&format!(
                        "the properties in {} can't be read; they are put aside as {}",
                        path.display(),
                        aside.display()
                    ));
                    Vec::new()
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let properties = properties
            .into_iter()
            .map(|(name, value)| Property { name, value })
            .collect();
        let inner = Rc::new(Inner {
            properties: RefCell::new(properties),
            changed: RefCell::default(),
            changes: Cell::new(0),
            waiting: RefCell::default(),
            work: Notify::new(),
        });
        tokio::task::spawn_local(write(inner.clone(), path));
        Ok(Journal { inner })
    }

    /// Whether one more property, or another value, would still be within these limits, with those (a count, and bytes)
    /// that are being set.
    pub(crate) fn has_room(
        &self,
        new: &Property,
        being_set: (usize, usize),
        max_count: usize,
        max_bytes: usize,
    ) -> Result<(), Error> {
        let properties = self.inner.properties.borrow();
        let others = properties.iter().filter(|other| other.name != new.name);
        let start = (being_set.0 + 1, being_set.1 + new.size());
        let (count, bytes) = others.fold(start, |(count, bytes), other| (count + 1, bytes + other.size()));
        if count > max_count {
            Err(Error::too_many_properties("properties", max_count))
        } else if bytes > max_bytes {
            Err(Error::too_many_properties("bytes of properties", max_bytes))
        } else {
            Ok(())
        }
    }

    /// Properties that were just set: they are set again in the next Python, and answered when they are on disk.
    pub(crate) fn record(&self, held: Vec<Held>) {
        if held.is_empty() {
            return;
        }
        let mut properties = self.inner.properties.borrow_mut();
        let mut changed = self.inner.changed.borrow_mut();
        for Held { property, .. } in &held {
            self.inner.changes.set(self.inner.changes.get() + 1);
            changed.retain(|(_, name)| *name != property.name);
            changed.push((self.inner.changes.get(), property.name.clone()));
            match properties.iter_mut().find(|other| other.name == property.name) {
                Some(there) => there.value = property.value.clone(),
                None => properties.push(Property {
                    name: property.name.clone(),
                    value: property.value.clone(),
                }),
            }
        }
        self.inner.waiting.borrow_mut().extend(held);
        self.inner.work.notify_one();
    }

    /// How many changes there were.
    pub(crate) fn changes(&self) -> u64 {
        self.inner.changes.get()
    }

    /// The params of a `setProperty` for each property that was set since there were so many changes, in that order.
    pub(crate) fn since(&self, changes: u64) -> Vec<String> {
        let properties = self.inner.properties.borrow();
        let changed = self.inner.changed.borrow();
        let later = changed.iter().filter(|(change, _)| *change > changes);
        let set = later.filter_map(|(_, name)| properties.iter().find(|property| property.name == *name));
        set.map(|property| {
            format!(
                r#"{{"name":{},"value":{}}}"#,
                json!(property.name),
                property.value.get()
            )
        })
        .collect()
    }

    /// All of them, as members of a JSON object.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        for property in self.inner.properties.borrow().iter() {
            if out.len() > 1 {
                out.push(b',');
            }
            // A string can always be written.
            out.extend(serde_json::to_vec(&property.name).unwrap_or_default());
            out.push(b':');
            out.extend(
                property
                    .value
                    .get()
                    .bytes()
                    .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }),
            );
        }
        out.push(b'}');
        out
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.inner
            .properties
            .borrow()
            .iter()
            .map(|property| property.name.clone())
            .collect()
    }
}

async fn write(inner: Rc<Inner>, path: PathBuf) {
    loop {
        inner.work.notified().await;
        let waiting = std::mem::take(&mut *inner.waiting.borrow_mut());
        let (now, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|held| is_volatile(&held.property.name));
        for held in now {
            held.end(None);
        }
        if later.is_empty() {
            continue;
        }
        let text = {
            let properties = inner.properties.borrow();
            let lasting = properties.iter().filter(|property| !is_volatile(&property.name));
            let properties = lasting
                .map(|property| (property.name.as_str(), &*property.value))
                .collect();
            serde_json::to_vec(&Written {
                version: VERSION,
                properties,
            })
        };
        let target = path.clone();
        let saved = tokio::task::spawn_blocking(move || save(&target, &text?))
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)));
        let error = saved.err().map(|error| {
            let why = format!(
                "The property is set, but will not outlive the daemon: {} can't be written: {error}.",
                path.display()
            );
            Error::internal(why).to_json()
        });
        for held in later {
            held.end(error.as_deref());
        }
    }
}

fn save(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    // What a daemon that was killed has left there, or somebody else has put there, is not written to.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Whether one of the name's words says that it is a secret: `apiKey`, `api_key` and `API-KEY` are, `tokenizer` and
/// `monkey` are not.
fn is_volatile(name: &str) -> bool {
    words(name).iter().any(|word| {
        VOLATILE_WORDS.contains(
            &word
                .trim_end_matches(|end: char| end.is_ascii_digit())
                .trim_end_matches('s'),
        )
    })
}

fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let starts_word = letter.is_uppercase()
            && (before.is_some_and(|before| !before.is_uppercase())
                || letters.get(at + 1).is_some_and(|after| after.is_lowercase()));
        if !letter.is_alphanumeric() || starts_word {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_words() {
        for name in [
            "key",
            "apiKey",
            "api_key",
            "API-KEY",
            "APIKey",
            "accessToken",
            "token",
            "tokens",
            "key2",
            "dbPassword",
            "SECRET",
            "clientSecrets",
        ] {
            assert!(is_volatile(name), "{name}");
        }
        for name in ["tokenizer", "monkey", "model", "keyboard", "passwordless", "secretary"] {
            assert!(!is_volatile(name), "{name}");
        }
    }

    #[test]
    fn a_file_is_saved_whole_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        save(&path, b"1").unwrap();
        fs::write(folder.path().join("victim"), "precious").unwrap();
        std::os::unix::fs::symlink("victim", path.with_extension("json.new")).unwrap();
        save(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(folder.path().join("victim")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
