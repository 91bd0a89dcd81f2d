//! The state that a controller's `on_snapshot` gave last: in memory, and on disk for the next daemon.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Notify;

use super::disk;
use super::journal::{Journal, has_word};
use crate::logs::Logs;

const FILE: &str = "snapshot.json";
const VERSION: u32 = 1;
/// As deep as requests may be: what Python's own parsers can be trusted with.
const MAX_DEPTH: usize = 128;

/// Clones are the same.
#[derive(Clone)]
pub struct Snapshots {
    inner: Rc<Inner>,
}

struct Inner {
    path: PathBuf,
    journal: Journal,
    logs: Rc<Logs>,
    last: RefCell<Option<Arc<Snapshot>>>,
    is_saved: Cell<bool>,
    /// Whether it was told that something is left out.
    has_told: Cell<bool>,
    work: Notify,
    done: Notify,
}

pub(crate) struct Snapshot {
    taken: SystemTime,
    /// Whose it is, as it is written on a command line.
    controller: String,
    pub(crate) state: Box<RawValue>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    taken_ms: u64,
    controller: &'a str,
    state: &'a RawValue,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    taken_ms: u64,
    controller: String,
    state: Box<RawValue>,
}

impl Snapshots {
    /// Reads what `state_dir` holds, and starts the task that writes. A file that can't be read is put aside and said in
    /// the log.
    pub fn open(state_dir: &Path, journal: &Journal, logs: &Rc<Logs>) -> io::Result<Snapshots> {
        let path = state_dir.join(FILE);
        let last = disk::load(&path, "the snapshot", logs, |text| {
            let read: Read = serde_json::from_slice(text).ok()?;
            (read.version == VERSION).then_some(Snapshot {
                taken: UNIX_EPOCH + Duration::from_millis(read.taken_ms),
                controller: read.controller,
                state: read.state,
            })
        })?;
        let inner = Rc::new(Inner {
            path,
            journal: journal.clone(),
            logs: logs.clone(),
            last: RefCell::new(last.map(Arc::new)),
            is_saved: Cell::new(true),
            has_told: Cell::new(false),
            work: Notify::new(),
            done: Notify::new(),
        });
        if inner.last.borrow().is_some() {
            // What has become volatile since it was written goes from the disk.
            inner.work.notify_one();
        }
        tokio::task::spawn_local(write(inner.clone()));
        Ok(Snapshots { inner })
    }

    /// The controller has given this state. Why it is not kept, if so.
    pub(crate) fn took(&self, controller: &str, state: &[u8]) -> Result<(), String> {
        if is_deeper_than(state, MAX_DEPTH) {
            return Err(format!(
                "what on_snapshot gave is nested more than {MAX_DEPTH} deep, which Python could not read back: the last snapshot stays"
            ));
        }
        let state = std::str::from_utf8(state).ok();
        let Some(state) = state.and_then(|state| RawValue::from_string(state.to_owned()).ok()) else {
            return Err("what on_snapshot gave is no JSON: the last snapshot stays".to_owned());
        };
        *self.inner.last.borrow_mut() = Some(Arc::new(Snapshot {
            taken: SystemTime::now(),
            controller: controller.to_owned(),
            state,
        }));
        self.inner.is_saved.set(false);
        self.inner.work.notify_one();
        Ok(())
    }

    /// The last one, if it is this controller's.
    pub(crate) fn last(&self, controller: &str) -> Option<Arc<Snapshot>> {
        let last = self.inner.last.borrow();
        last.clone().filter(|last| last.controller == controller)
    }

    /// The controller's `on_restore` does not take it: it is not offered again.
    pub(crate) fn refuse(&self) {
        *self.inner.last.borrow_mut() = None;
        match disk::put_aside(&self.inner.path, "refused") {
            Ok(aside) => self
                .inner
                .logs
                .warn(&format!("the snapshot is put aside as {}", aside.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self
                .inner
                .logs
                .warn(&format!("the snapshot can't be put aside: {error}")),
        }
    }

    /// Waits until what was taken is on disk, or can't be.
    pub(crate) async fn saved(&self) {
        loop {
            let done = self.inner.done.notified();
            if self.inner.is_saved.get() {
                return;
            }
            done.await;
        }
    }
}

impl Snapshot {
    pub(crate) fn age(&self) -> Duration {
        self.taken.elapsed().unwrap_or_default()
    }
}

async fn write(inner: Rc<Inner>) {
    loop {
        inner.work.notified().await;
        let Some(snapshot) = inner.last.borrow().clone() else {
            inner.is_saved.set(true);
            inner.done.notify_waiters();
            continue;
        };
        let (copy, journal_words) = (snapshot.clone(), inner.journal.volatile_words());
        let path = inner.path.clone();
        // A large one takes its time, and others are not to wait for that.
        let saved = tokio::task::spawn_blocking(move || {
            let (lasting, left_out) = without(&copy.state, &journal_words)?;
            let since_epoch = copy.taken.duration_since(UNIX_EPOCH).unwrap_or_default();
            let text = serde_json::to_vec(&Written {
                version: VERSION,
                taken_ms: since_epoch.as_millis() as u64,
                controller: &copy.controller,
                state: lasting.as_deref().unwrap_or(&copy.state),
            })?;
            disk::save(&path, &text).map(|()| left_out)
        })
        .await
        .unwrap_or_else(|panic| Err(io::Error::other(panic)));
        match &saved {
            Ok(left_out) if *left_out > 0 && !inner.has_told.replace(true) => inner.logs.info(&format!(
                "snapshots on disk are without {left_out} members whose names have a word of `volatile`"
            )),
            _ => {}
        }
        if let Err(error) = saved {
            inner.logs.warn(&format!(
                "the snapshot is kept in memory only: {} can't be written: {error}",
                inner.path.display()
            ));
        }
        let last = inner.last.borrow().clone();
        match last {
            None => {
                // It was refused meanwhile.
                let _ = disk::put_aside(&inner.path, "refused");
            }
            // Another was taken meanwhile; its notice is there.
            Some(last) if !Arc::ptr_eq(&last, &snapshot) => continue,
            Some(_) => {}
        }
        inner.is_saved.set(true);
        inner.done.notify_waiters();
    }
}

/// The state without the members whose names are not to be on disk, wherever they are in it, and how many those are. None
/// if there is nothing to leave out. What can't be read for that must not be written.
fn without(state: &RawValue, words: &[String]) -> io::Result<(Option<Box<RawValue>>, usize)> {
    let mut left_out = 0;
    let text = state.get().to_lowercase();
    if !text.contains('\\') && !words.iter().any(|word| text.contains(word.as_str())) {
        return Ok((None, 0));
    }
    let lasting = strip(state, words, MAX_DEPTH, &mut left_out)?;
    Ok((lasting.filter(|_| left_out > 0), left_out))
}

/// None where nothing is left out. So many brackets may be open at once.
fn strip(value: &RawValue, words: &[String], depth: usize, left_out: &mut usize) -> io::Result<Option<Box<RawValue>>> {
    if depth == 0 {
        return Err(io::Error::other(format!("the state is nested deeper than {MAX_DEPTH}")));
    }
    let before = *left_out;
    let lasting = match value.get().as_bytes().first() {
        Some(b'{') => {
            let mut members: BTreeMap<String, Cow<'_, RawValue>> = BTreeMap::new();
            for (name, member) in serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get())? {
                if has_word(&name, words) {
                    *left_out += 1;
                    continue;
                }
                let member = match strip(member, words, depth - 1, left_out)? {
                    Some(stripped) => Cow::Owned(stripped),
                    None => Cow::Borrowed(member),
                };
                members.insert(name, member);
            }
            if *left_out == before {
                return Ok(None);
            }
            to_raw_value(&members)?
        }
        Some(b'[') => {
            let mut items: Vec<Cow<'_, RawValue>> = Vec::new();
            for item in serde_json::from_str::<Vec<&RawValue>>(value.get())? {
                items.push(match strip(item, words, depth - 1, left_out)? {
                    Some(stripped) => Cow::Owned(stripped),
                    None => Cow::Borrowed(item),
                });
            }
            if *left_out == before {
                return Ok(None);
            }
            to_raw_value(&items)?
        }
        _ => return Ok(None),
    };
    Ok(Some(lasting))
}

/// Whether more brackets are open at once, outside of strings.
fn is_deeper_than(json: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    async fn opened(folder: &Path) -> Snapshots {
        let logs = Rc::new(Logs::default());
        let journal = Journal::open(folder, Vec::new(), &logs).unwrap();
        Snapshots::open(folder, &journal, &logs).unwrap()
    }

    #[tokio::test]
    async fn the_last_one_is_there_for_the_next_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let work = async {
            let snapshots = opened(folder.path()).await;
            assert!(snapshots.last("c.py").is_none());
            for state in ["1", "{\"n\":2}"] {
                snapshots.took("c.py", state.as_bytes()).unwrap();
            }
            snapshots.saved().await;
            let next = opened(folder.path()).await;
            assert_eq!(next.last("c.py").unwrap().state.get(), "{\"n\":2}");
            assert!(next.last("c.py").unwrap().age() < Duration::from_secs(60));
            assert!(next.last("other.py").is_none());
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn one_that_is_refused_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let work = async {
            let snapshots = opened(folder.path()).await;
            snapshots.took("c.py", b"1").unwrap();
            let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
            assert!(
                snapshots
                    .took("c.py", deep.as_bytes())
                    .unwrap_err()
                    .contains("128 deep")
            );
            assert!(snapshots.took("c.py", b"[").unwrap_err().contains("no JSON"));
            snapshots.saved().await;
            snapshots.refuse();
            assert!(snapshots.last("c.py").is_none());
            assert!(opened(folder.path()).await.last("c.py").is_none());
            assert!(folder.path().join("snapshot.json.refused").exists());
        };
        LocalSet::new().run_until(work).await;
    }

    #[test]
    fn secrets_are_left_out_wherever_they_are() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let words = ["key".to_owned(), "token".to_owned()];
        let state =
            raw(r#"{"n":1.50,"apiKey":"s3cret","deep":[{"token":1,"x":12345678901234567890},2],"tokenizer":"t"}"#);
        let (lasting, left_out) = without(&state, &words).unwrap();
        assert_eq!(left_out, 2);
        assert_eq!(
            lasting.unwrap().get(),
            r#"{"deep":[{"x":12345678901234567890},2],"n":1.50,"tokenizer":"t"}"#
        );
        assert!(without(&raw("{\"n\":[1]}"), &words).unwrap().0.is_none());
        assert!(is_deeper_than(b"[[1]]", 1) && !is_deeper_than(b"[[1],[1]]", 2));
        assert!(!is_deeper_than(br#"["[[\"[[", 1]"#, 1));
        // A name that is no text can't be told from a secret's: the whole is not written.
        assert!(without(&raw(r#"{"\ud800":1,"apiKey":2}"#), &words).is_err());
    }
}
