//! Reloads the controller when one of its files has changed.

use std::time::Duration;

use tokio::time::sleep;

use super::Backend;
use super::status::State;

/// How often the files are looked at, and how long they must have been left alone.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Watches as long as the daemon runs. While Python can't be had, its supervisor looks by itself.
pub(super) async fn run(backend: Backend) {
    let shared = &backend.shared;
    loop {
        sleep(LOOK_EVERY).await;
        let serves = shared
            .workers
            .iter()
            .all(|post| post.status.borrow().state == State::Ready);
        let changed = shared.files.borrow_mut().changed();
        let Some(changed) = changed.filter(|_| serves) else {
            continue;
        };
        let before = shared.files.borrow().clone();
        // Editors write several files, or one in several steps.
        loop {
            let mut looked = before.at_start();
            sleep(LOOK_EVERY).await;
            if looked.changed().is_none() {
                break;
            }
        }
        shared.logs.info(&format!("{} has changed: reload", changed.display()));
        // What is there now is what is loaded, or fails to load: it is no change any more.
        let now = before.at_start();
        *shared.files.borrow_mut() = now;
        let (done, told) = tokio::sync::oneshot::channel();
        let asker: super::Asker = Box::new(move |_| {
            let _ = done.send(());
        });
        if backend.reload(Some(asker)) {
            // Why it failed is in the log already.
            let _ = told.await;
        }
    }
}
