//! A subscription that outlives its connection: its events come from one connection after another, with a word between.
//!
//! Whoever makes a connection subscribes on it, before any call, to what all feeds are fed with (their [`Tap`]s). A feed's
//! own task only sees to it that a connection is made, by knocking, and ends the subscription when its reader is gone.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::Error;
use crate::connection::{Connection, Failure};
use crate::inbox::{Fate, Inbox};
use crate::retry::BackOff;
use crate::session::{Effort, Session};

/// What is asked for, each time.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) subscribe: &'static str,
    pub(crate) params: Box<RawValue>,
    pub(crate) unsubscribe: &'static str,
}

/// The reading end: events, decoded as `T`. Dropping it ends the subscription.
#[derive(Debug)]
pub(crate) struct Feed<T> {
    events: mpsc::Receiver<Box<RawValue>>,
    fate: watch::Receiver<Fate>,
    /// What asked for it.
    method: &'static str,
    /// Why there will be no more, where the fate does not tell.
    ending: Arc<Mutex<Option<Error>>>,
    has_ended: bool,
    event: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Feed<T> {
    /// Subscribes, and keeps up to `buffered` events for their reader.
    pub(crate) async fn open(session: &Arc<Session>, asked: Asked, buffered: usize) -> Result<Feed<T>, Error> {
        let (inbox, events) = Inbox::new(buffered);
        let tap = Arc::new(Tap {
            asked,
            inbox,
            reason: Mutex::default(),
            on: tokio::sync::Mutex::default(),
        });
        let fate = tap.inbox.fate();
        let (tell, told) = oneshot::channel();
        let session = session.clone();
        let method = tap.asked.subscribe;
        let ending = Arc::new(Mutex::default());
        tokio::spawn({
            let ending = ending.clone();
            async move {
                keep(&session, &tap, tell).await;
                // Before the inbox goes, by which its reader learns that it has ended.
                *ending.lock().unwrap_or_else(PoisonError::into_inner) = tap.reason().take();
            }
        });
        told.await.unwrap_or_else(|_| Err(Error::disconnected(method)))?;
        Ok(Feed {
            events,
            fate,
            method,
            ending,
            has_ended: false,
            event: PhantomData,
        })
    }

    /// The next event; an error is the last, and None comes after it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let event = match ready!(self.events.poll_recv(cx)) {
            Some(event) => Some(serde_json::from_str(event.get()).map_err(Error::Decode)),
            None => self.ended().map(Err),
        };
        if !matches!(event, Some(Ok(_))) {
            self.has_ended = true;
            // What still comes is not read, and the keeper may go.
            self.events.close();
        }
        Poll::Ready(event)
    }

    fn ended(&self) -> Option<Error> {
        let reason = self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        match *self.fate.borrow() {
            _ if reason.is_some() => reason,
            Fate::Full => Some(Error::Lagged),
            Fate::Closed => None,
            // The runtime ends.
            Fate::Open => Some(Error::disconnected(self.method)),
        }
    }
}

/// What a feed is fed with, and from where.
#[derive(Debug)]
pub(crate) struct Tap {
    asked: Asked,
    inbox: Inbox,
    /// Why there will be no more, where the inbox's fate does not tell.
    reason: Mutex<Option<Error>>,
    on: tokio::sync::Mutex<Option<On>>,
}

/// A subscription on a connection.
#[derive(Debug)]
struct On {
    connection: Arc<Connection>,
    id: Box<RawValue>,
}

impl Tap {
    /// Subscribes on a connection, unless it is done. Not to be dropped before it is done.
    pub(crate) async fn attach(&self, connection: &Arc<Connection>) -> Result<(), Failure> {
        let mut on = self.on.lock().await;
        let inbox = match &*on {
            Some(on) if Arc::ptr_eq(&on.connection, connection) => return Ok(()),
            Some(_) => self.inbox.after_gap(),
            None => self.inbox.clone(),
        };
        let asked = &self.asked;
        let id = connection
            .subscribe(asked.subscribe, Some(&asked.params), inbox)
            .await?;
        *on = Some(On {
            connection: connection.clone(),
            id,
        });
        Ok(())
    }

    /// There will be no more, for this reason.
    pub(crate) fn refuse(&self, error: Error) {
        self.reason().get_or_insert(error);
        self.inbox.close();
    }

    async fn lost(&self) {
        let connection = self.on.lock().await.as_ref().map(|on| on.connection.clone());
        if let Some(connection) = connection {
            connection.closed().await;
        }
    }

    async fn detach(&self) {
        if let Some(on) = self.on.lock().await.take() {
            on.connection.end(&on.id, self.asked.unsubscribe);
        }
    }

    fn reason(&self) -> MutexGuard<'_, Option<Error>> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when nobody reads any more, or nothing more will come.
async fn keep(session: &Arc<Session>, tap: &Arc<Tap>, tell: oneshot::Sender<Result<(), Error>>) {
    session.register(tap.clone());
    let begun = begin(session, tap).await;
    let has_begun = begun.is_ok();
    // If he is gone already, it ends at once.
    let _ = tell.send(begun);
    if has_begun {
        tokio::select! {
            () = tap.inbox.ended() => {}
            () = go_on(session, tap) => {}
        }
    }
    session.unregister(tap);
    tap.detach().await;
}

/// Sees to it that there is a connection, for as long as it is polled.
async fn go_on(session: &Arc<Session>, tap: &Tap) {
    loop {
        tap.lost().await;
        resume(session, tap).await;
    }
}

async fn begin(session: &Arc<Session>, tap: &Tap) -> Result<(), Error> {
    loop {
        match tap.attach(&session.connection(Effort::Start).await?).await {
            Ok(()) => return Ok(()),
            Err(Failure::Final(error)) => return Err(error),
            // It went with its connection. Another is only made by a daemon that answers on it.
            Err(Failure::Unsent | Failure::Lost { .. }) => {}
        }
    }
}

/// Knocks until there is a connection, made by whomever: it subscribes for all that are registered.
async fn resume(session: &Arc<Session>, tap: &Tap) {
    let mut back_off = BackOff::new();
    loop {
        match session.connection(Effort::Knock).await {
            Ok(_) => return,
            Err(Error::NoDaemon { .. }) => sleep(back_off.next()).await,
            Err(error) => return tap.refuse(error),
        }
    }
}
