//! The properties that clients set, kept over deaths of Python and, but for the volatile ones, of the daemon.
//!
//! A `setProperty` is answered when the file has it: written beside, fsynced, renamed, and the folder fsynced. All that
//! come in meanwhile are written together.

use std::cell::{Cell, RefCell};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use baskd_protocol::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::calls::{Held, Property};
use super::disk;
use crate::logs::Logs;

const FILE: &str = "properties.json";
const VERSION: u32 = 1;
/// When a file that could not be written is tried again, though nothing new is to be written.
const AGAIN: Duration = Duration::from_secs(5);

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
    /// Whether all that was set is written, or can't be.
    is_written: Cell<bool>,
    written: Notify,
    /// A property whose name has one of these words, in lower case, is never written to disk.
    volatile: Vec<String>,
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
    /// the log, and nothing is set. `volatile`: properties whose name has one of these words are kept in memory only.
    pub fn open(state_dir: &Path, volatile: Vec<String>, logs: &Rc<Logs>) -> io::Result<Journal> {
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
        let path = state_dir.join(FILE);
        let read = disk::load(&path, "the file of properties", logs, |text| {
            let read: Read = serde_json::from_slice(text).ok()?;
            (read.version == VERSION).then_some(read.properties)
        })?;
        let volatile: Vec<_> = volatile.iter().map(|word| word.to_lowercase()).collect();
        let properties: Vec<_> = read
            .unwrap_or_default()
            .into_iter()
            // What has become volatile since goes from the disk with the next that is written.
            .map(|(name, value)| Property { name, value })
            .collect();
        let inner = Rc::new(Inner {
            properties: RefCell::new(properties),
            changed: RefCell::default(),
            changes: Cell::new(0),
            waiting: RefCell::default(),
            work: Notify::new(),
            is_written: Cell::new(true),
            written: Notify::new(),
            volatile,
        });
        tokio::task::spawn_local(write(inner.clone(), path, logs.clone()));
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
        self.inner.is_written.set(false);
        self.inner.work.notify_one();
    }

    /// Waits until all that was set is on disk, or can't be.
    pub(crate) async fn saved(&self) {
        loop {
            let written = self.inner.written.notified();
            if self.inner.is_written.get() {
                return;
            }
            written.await;
        }
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

    /// What has one of these words in its name is in memory only.
    pub(crate) fn volatile_words(&self) -> Vec<String> {
        self.inner.volatile.clone()
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

impl Inner {
    fn is_volatile(&self, name: &str) -> bool {
        has_word(name, &self.volatile)
    }

    fn wrote(&self) {
        if self.waiting.borrow().is_empty() {
            self.is_written.set(true);
            self.written.notify_waiters();
        }
    }
}

async fn write(inner: Rc<Inner>, path: PathBuf, logs: Rc<Logs>) {
    // Whether what is on disk is not what it should be.
    let mut is_behind = inner
        .properties
        .borrow()
        .iter()
        .any(|property| inner.is_volatile(&property.name));
    if is_behind {
        inner.work.notify_one();
    }
    loop {
        tokio::select! {
            () = inner.work.notified() => {}
            () = sleep(AGAIN), if is_behind => {}
        }
        let waiting = std::mem::take(&mut *inner.waiting.borrow_mut());
        let (now, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|held| inner.is_volatile(&held.property.name));
        for held in now {
            held.end(None);
        }
        if later.is_empty() && !is_behind {
            inner.wrote();
            continue;
        }
        let text = {
            let properties = inner.properties.borrow();
            let lasting = properties.iter().filter(|property| !inner.is_volatile(&property.name));
            let properties = lasting
                .map(|property| (property.name.as_str(), &*property.value))
                .collect();
            serde_json::to_vec(&Written {
                version: VERSION,
                properties,
            })
        };
        let target = path.clone();
        let saved = tokio::task::spawn_blocking(move || disk::save(&target, &text?))
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)));
        match (&saved, is_behind) {
            (Err(error), false) => logs.warn(&format!(
                "the properties are kept in memory only until {} can be written again: {error}",
                path.display()
            )),
            (Ok(()), true) => logs.info("the properties are on disk again"),
            _ => {}
        }
        is_behind = saved.is_err();
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
        inner.wrote();
    }
}

/// Whether one of the name's words is among these, be it as a plural or numbered: of `key`, `apiKey`, `api_key` and
/// `API-KEYS2` have it, `tokenizer` and `monkey` don't. What is no word by itself, as `api_key`, is looked for as it is.
pub(super) fn has_word(name: &str, among: &[String]) -> bool {
    let is_among = |word: &str| among.iter().any(|one| one == word);
    is_among(&name.to_lowercase())
        || words(name).iter().any(|word| {
            let stem = word.trim_end_matches(|end: char| end.is_ascii_digit());
            is_among(word) || is_among(stem) || is_among(stem.trim_end_matches('s'))
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
        let words = ["key", "token", "secret", "password"].map(str::to_owned);
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
            assert!(has_word(name, &words), "{name}");
        }
        for name in ["tokenizer", "monkey", "model", "keyboard", "passwordless", "secretary"] {
            assert!(!has_word(name, &words), "{name}");
        }
    }
}
