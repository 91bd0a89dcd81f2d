//! Telling one task of this thread that there is something for it. Everything runs on one thread, so it takes no lock; a
//! call rings several times on its way.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
pub(crate) struct Bell {
    /// It was rung, and nobody has heard it yet.
    rung: Cell<bool>,
    /// Of the task that listened last.
    waker: RefCell<Option<Waker>>,
}

impl Bell {
    /// To ring it twice before it is heard is to ring it once.
    pub(crate) fn ring(&self) {
        if !self.rung.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Ready if it was rung since it was heard last. Only one task listens.
    pub(crate) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.rung.take() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(crate) async fn heard(&self) {
        poll_fn(|cx| self.poll_heard(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    #[tokio::test]
    async fn it_is_heard_once_whenever_it_was_rung() {
        let bell = Rc::new(Bell::default());
        bell.ring();
        bell.ring();
        bell.heard().await;
        assert!(poll_fn(|cx| Poll::Ready(bell.poll_heard(cx))).await.is_pending());
        let listener = bell.clone();
        LocalSet::new()
            .run_until(async move {
                let heard = spawn_local(async move { listener.heard().await });
                yield_now().await;
                assert!(!heard.is_finished());
                bell.ring();
                heard.await.unwrap();
            })
            .await;
    }
}
