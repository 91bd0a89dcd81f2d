//! The state that a controller's `on_snapshot` gave last: in memory, and on disk for the next daemon.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::disk;
use super::journal::Journal;
use crate::logs::Logs;

const FILE: &str = "snapshot.json";
const VERSION: u32 = 1;

/// Clones are the same.
#[derive(Clone)]
pub struct Snapshots {
    inner: Rc<Inner>,
}

struct Inner {
    path: PathBuf,
    journal: Journal,
    logs: Rc<Logs>,
    last: RefCell<Option<Rc<Snapshot>>>,
    is_saved: Cell<bool>,
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
            last: RefCell::new(last.map(Rc::new)),
            is_saved: Cell::new(true),
            work: Notify::new(),
            done: Notify::new(),
        });
        tokio::task::spawn_local(write(inner.clone()));
        Ok(Snapshots { inner })
    }

    /// The controller has given this state.
    pub(crate) fn took(&self, controller: &str, state: &[u8]) {
        let Some(state) = std::str::from_utf8(state)
            .ok()
            .and_then(|state| RawValue::from_string(state.to_owned()).ok())
        else {
            return self.inner.logs.warn("on_snapshot gave what is no JSON: it is not kept");
        };
        *self.inner.last.borrow_mut() = Some(Rc::new(Snapshot {
            taken: SystemTime::now(),
            controller: controller.to_owned(),
            state,
        }));
        self.inner.is_saved.set(false);
        self.inner.work.notify_one();
    }

    /// The last one, if it is this controller's.
    pub(crate) fn last(&self, controller: &str) -> Option<Rc<Snapshot>> {
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
        let lasting = without(&snapshot.state, &inner.journal.volatile_names());
        let since_epoch = snapshot.taken.duration_since(UNIX_EPOCH).unwrap_or_default();
        let text = serde_json::to_vec(&Written {
            version: VERSION,
            taken_ms: since_epoch.as_millis() as u64,
            controller: &snapshot.controller,
            state: lasting.as_deref().unwrap_or(&snapshot.state),
        });
        let path = inner.path.clone();
        let saved = tokio::task::spawn_blocking(move || disk::save(&path, &text?))
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)));
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
            Some(last) if !Rc::ptr_eq(&last, &snapshot) => continue,
            Some(_) => {}
        }
        inner.is_saved.set(true);
        inner.done.notify_waiters();
    }
}

/// The state without the members of these names: what is not to be on disk as a property is not to be there by way of
/// a controller that gives all of its attributes. None if there is nothing to leave out.
fn without(state: &RawValue, names: &[String]) -> Option<Box<RawValue>> {
    if names.is_empty() || !state.get().starts_with('{') {
        return None;
    }
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(state.get()).ok()?;
    let before = members.len();
    members.retain(|name, _| !names.contains(name));
    if members.len() == before {
        return None;
    }
    serde_json::value::to_raw_value(&members).ok()
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
                snapshots.took("c.py", state.as_bytes());
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
            snapshots.took("c.py", b"1");
            snapshots.saved().await;
            snapshots.refuse();
            assert!(snapshots.last("c.py").is_none());
            assert!(opened(folder.path()).await.last("c.py").is_none());
            assert!(folder.path().join("snapshot.json.refused").exists());
        };
        LocalSet::new().run_until(work).await;
    }

    #[test]
    fn secrets_are_left_out() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let names = ["apiKey".to_owned()];
        let state = raw(r#"{"n":1.50,"apiKey":"s3cret","deep":{"apiKey":1}}"#);
        assert_eq!(
            without(&state, &names).unwrap().get(),
            r#"{"deep":{"apiKey":1},"n":1.50}"#
        );
        assert!(without(&raw("{\"n\":1}"), &names).is_none());
        assert!(without(&raw("[1]"), &names).is_none());
    }
}
