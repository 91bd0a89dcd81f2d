//! The daemon's part: tasks that look at it, listen to its log, and have it do what was asked. Each tells what comes of it
//! as events, and ends when nobody takes them.

use std::time::Duration;

use baskd_client::{Client, Error, Status};
use baskd_protocol::presence::Presence;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::model::{Deed, Event};
use super::tail::KEPT;

/// A daemon that answers does so in a millisecond.
const SILENCE: Duration = Duration::from_secs(2);
/// How often a daemon that is gone is looked for, at least; and how long it is before the log is asked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks at the daemon once in `every`, and at once when it is told to.
pub(crate) async fn look(client: Client, every: Duration, now: &Notify, events: Sender<Event>) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_up = true;
    loop {
        let is_lost = tokio::select! {
            biased;
            // It is known at once, whatever the interval.
            () = client.closed(), if is_up => true,
            () = now.notified() => !is_up,
            _ = ticks.tick() => !is_up,
        };
        let event = if is_lost && is_held(&client) {
            Event::Lost("no daemon runs; systemd holds its socket, for the next call".to_owned())
        } else {
            ask(&client, &events).await
        };
        is_up = matches!(event, Event::Reading(_));
        if !is_up && every > LOOK_AGAIN {
            ticks.reset_at(Instant::now() + LOOK_AGAIN);
        }
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Whether whoever connects would have a daemon started, and not find one.
fn is_held(client: &Client) -> bool {
    Presence::of(client.path()).is_ok_and(|who| who.would_start_one())
}

async fn ask(client: &Client, events: &Sender<Event>) -> Event {
    // Not as `Client::status`, which would ask the next daemon where this one goes.
    let asked = client.call::<Status>("daemon.status", ());
    tokio::pin!(asked);
    let answer = match timeout(SILENCE, &mut asked).await {
        Ok(answer) => answer,
        Err(_) => {
            let _ = events.send(Event::Silent).await;
            asked.await
        }
    };
    match answer {
        Ok(reading) => Event::Reading(Box::new(reading)),
        Err(Error::NoDaemon { path, .. }) => Event::Lost(format!("no daemon answers at {}", path.display())),
        Err(Error::Disconnected { .. }) => Event::Lost("it closed the connection".to_owned()),
        Err(error) => Event::Lost(error.to_string()),
    }
}

/// Listens to the log, from one connection to the next.
pub(crate) async fn listen(client: Client, events: Sender<Event>) {
    loop {
        let error = if is_held(&client) {
            None
        } else {
            listen_once(&client, &events).await
        };
        if let Some(error) = error {
            let lost = Event::NoLog(format!("the log is lost here: {error}"));
            if events.send(lost).await.is_err() {
                return;
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Returns when there will be no more, and why if that is worth telling.
async fn listen_once(client: &Client, events: &Sender<Event>) -> Option<Error> {
    let mut logs = match client.logs_from(KEPT).await {
        Ok(logs) => logs,
        // Who looks at it tells of that.
        Err(Error::NoDaemon { .. } | Error::Disconnected { .. }) => return None,
        Err(error) => return Some(error),
    };
    loop {
        match logs.next().await {
            Some(Ok(log)) => events.send(Event::Log(log)).await.ok()?,
            Some(Err(error)) => return Some(error),
            None => return None,
        }
    }
}

pub(crate) async fn act(client: Client, deed: Deed, events: Sender<Event>) {
    let outcome = match &deed {
        Deed::Cancel { call, .. } => client.cancel_call(*call).await,
        Deed::Reload => client.reload().await.map(|()| true),
        Deed::Restart => client.restart().await.map(|()| true),
    };
    let outcome = outcome.map_err(|error| match error {
        Error::Rpc(error) => error.message,
        error => error.to_string(),
    });
    let _ = events.send(Event::Done(deed, outcome)).await;
}
