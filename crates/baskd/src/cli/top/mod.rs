//! `top`: a live view of one instance.
//!
//! Events (a reading of `daemon.status`, a line of the log, a key, a second that went by) go into the [`model`], a value;
//! the [`view`] draws that, on any size of screen; neither does anything else. What they are fed by, and what they ask
//! for, is here: tasks that speak with the [`daemon`], a thread that reads keys, and the [`screen`].

mod daemon;
mod keys;
mod model;
mod pulse;
mod reading;
mod screen;
mod tail;
#[cfg(test)]
mod tests;
mod text;
mod view;

use std::io;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use baskd_client::Client;
use clap::Args;
use jiff::tz::TimeZone;
use ratatui::crossterm::event::{self, Event as TerminalEvent};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::LocalSet;
use tokio::time::{Instant, interval, sleep_until};

use super::duration::parse;
use super::exit::Failure;
use super::{Instance, only_if_one_runs};
use keys::Key;
use model::{Event, Model, Order};
use screen::Screen;

/// More often is more than anybody sees.
const SHORTEST: Duration = Duration::from_millis(50);
/// How many events may wait to be taken in.
const WAITING: usize = 1024;
/// How long a line of the log may wait to be drawn, together with those that come after it.
const TOGETHER: Duration = Duration::from_millis(100);
/// Ages are in seconds.
const TICK: Duration = Duration::from_secs(1);

/// Watch the daemon, its Python and its calls, live
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: q quits, arrows select a call and c cancels it, r reloads, R restarts, ? shows them all.
It needs a terminal of 80 columns and 24 rows. $NO_COLOR, if set, is heeded.

Examples:
  baskd top
  baskd top --name search --interval 250ms")]
pub(crate) struct Top {
    /// How often to look: `250ms`, `2s`
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,
    #[command(flatten)]
    pub(crate) instance: Instance,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        interval if interval < SHORTEST => Err(format!("it must be at least {} ms", SHORTEST.as_millis())),
        interval => Ok(interval),
    }
}

impl Top {
    /// Before a daemon is connected to: one that only looks is no reason for systemd to start it.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        screen::check()?;
        only_if_one_runs(&self.instance)
    }

    pub(crate) async fn run(&self, client: Client) -> Result<(), Failure> {
        let mut signals = Signals::new()?;
        let mut screen = Screen::take()?;
        let tasks = LocalSet::new();
        let outcome = tasks
            .run_until(watch(client, self.interval, &mut screen, &mut signals))
            .await;
        screen.leave().await;
        outcome.map_err(|error| Failure::Failed(format!("can't draw on this terminal any more: {error}")))
    }
}

async fn watch(client: Client, every: Duration, screen: &mut Screen, signals: &mut Signals) -> io::Result<()> {
    let (sender, mut events) = mpsc::channel(WAITING);
    let look_now = Rc::new(Notify::new());
    tokio::task::spawn_local({
        let (client, sender, look_now) = (client.clone(), sender.clone(), look_now.clone());
        async move { daemon::look(client, every, &look_now, sender).await }
    });
    tokio::task::spawn_local(daemon::listen(client.clone(), sender.clone()));
    let mut terminal = read_terminal()?;

    let begun = Instant::now();
    let mut model = Model::new(TimeZone::system());
    let mut ticks = interval(TICK);
    let mut draw_at = Some(begun);
    loop {
        // In this order, so that no flood of lines keeps a key from being heard, or a frame from being drawn.
        let event = tokio::select! {
            biased;
            () = ended(&mut signals.ends) => return Ok(()),
            _ = signals.resume.recv() => {
                screen.resume()?;
                None
            }
            // None: what reads it has ended, and has told why.
            Some(event) = terminal.recv() => of_terminal(event?),
            written = screen.written() => {
                written?;
                continue;
            }
            () = sleep_until(draw_at.unwrap_or(begun)), if draw_at.is_some() && !screen.is_writing() => {
                screen.draw(&model)?;
                draw_at = None;
                continue;
            }
            event = events.recv() => event,
            _ = ticks.tick() => Some(Event::Tick),
        };
        let is_log = matches!(event, Some(Event::Log(_)));
        let soon = Instant::now() + if is_log { TOGETHER } else { Duration::ZERO };
        draw_at = Some(draw_at.map_or(soon, |at| at.min(soon)));
        match event.and_then(|event| model.take(begun.elapsed(), event)) {
            None => {}
            Some(Order::Do(deed)) => {
                tokio::task::spawn_local(daemon::act(client.clone(), deed, sender.clone()));
            }
            Some(Order::Refresh) => look_now.notify_one(),
            Some(Order::Redraw) => screen.redraw()?,
            Some(Order::Suspend) => screen.suspend().await?,
            Some(Order::Quit) => return Ok(()),
        }
    }
}

/// A change of size is an event of no one's: the frame that is drawn then has the size that the terminal has.
fn of_terminal(event: TerminalEvent) -> Option<Event> {
    match event {
        TerminalEvent::Key(key) => Key::of(key).map(Event::Key),
        TerminalEvent::Paste(text) => Some(Event::Paste(text)),
        _ => None,
    }
}

/// Reads what is typed, in a thread: it waits in a system call. Nothing waits for its end, which the process's brings.
fn read_terminal() -> io::Result<Receiver<io::Result<TerminalEvent>>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let read = move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(receiver)
}

/// What ends it: being interrupted or told to, and the loss of the terminal.
struct Signals {
    ends: [Signal; 4],
    /// It was stopped, and goes on.
    resume: Signal,
}

impl Signals {
    /// From here on none of them ends the process by itself.
    fn new() -> Result<Signals, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Failed(format!("can't listen for signals: {error}")));
        Ok(Signals {
            ends: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
                listen(SignalKind::quit())?,
            ],
            resume: listen(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
        })
    }
}

async fn ended([interrupt, terminate, hangup, quit]: &mut [Signal; 4]) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        _ = quit.recv() => {}
    }
}
