//! What is shown, as a value: events go in, orders come out, and nothing else happens here.

use std::time::Duration;

use baskd_client::{Log, Status};
use jiff::tz::TimeZone;

use super::keys::Key;
use super::pulse::Pulse;
use super::reading::{Call, is_of_the_same, under_way};
use super::tail::{Entry, Line, Look, Tail};
use super::text::{clean, count};

/// For how long an outcome is read.
const MESSAGE: Duration = Duration::from_secs(10);
/// The same of one that says what failed.
const FAILURE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Model {
    /// Since this program began.
    pub(crate) now: Duration,
    /// In which times are told.
    zone: TimeZone,
    pub(crate) link: Link,
    live: Data,
    /// What is shown instead, while it stands still.
    frozen: Option<Box<Data>>,
    /// A call's number.
    pub(crate) selected: Option<u64>,
    pub(crate) look: Look,
    pub(crate) mode: Mode,
    message: Option<Message>,
    /// What was asked for and has not ended, and since when.
    pub(crate) doing: Vec<(Deed, Duration)>,
}

/// What the daemon has told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Data {
    pub(crate) reading: Option<Status>,
    pub(crate) pulse: Pulse,
    pub(crate) tail: Tail,
}

/// Whether there is a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    /// It has not answered since.
    Silent {
        since: Duration,
    },
    Lost {
        since: Duration,
        why: String,
    },
}

/// What the next key is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Watch,
    Help,
    /// Whether that is to be done.
    Confirm(Deed),
    /// A filter is typed; what it was before.
    Filter {
        before: String,
    },
}

/// What is asked of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Cancel { call: u64, method: String },
    Reload,
    Restart,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) is_failure: bool,
    until: Duration,
}

#[derive(Debug)]
pub(crate) enum Event {
    Reading(Box<Status>),
    /// It has been asked and does not answer.
    Silent,
    /// There is no daemon any more, or none yet: why.
    Lost(String),
    Log(Log),
    /// The log can't be had: why.
    NoLog(String),
    /// What became of it: false if there was nothing to be done; why it failed.
    Done(Deed, Result<bool, String>),
    Key(Key),
    /// A text that was pasted: nothing in it is a key.
    Paste(String),
    /// Time goes by.
    Tick,
}

/// What is to be done outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Do(Deed),
    /// Look at the daemon now.
    Refresh,
    /// Draw all anew.
    Redraw,
    /// Give the terminal back for a while.
    Suspend,
    Quit,
}

impl Model {
    pub(crate) fn new(zone: TimeZone) -> Model {
        Model {
            zone,
            now: Duration::ZERO,
            link: Link::Up,
            live: Data::default(),
            frozen: None,
            selected: None,
            look: Look::default(),
            mode: Mode::Watch,
            message: None,
            doing: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, now: Duration, event: Event) -> Option<Order> {
        self.now = now;
        match event {
            Event::Reading(reading) => self.read(*reading),
            Event::Silent => {
                if self.link == Link::Up {
                    self.link = Link::Silent { since: now };
                }
            }
            Event::Lost(why) => self.lost(clean(&why)),
            Event::Log(log) => self.logged(log),
            Event::NoLog(why) => self.live.tail.push(Entry::Note(clean(&why))),
            Event::Done(deed, outcome) => return self.done(&deed, outcome),
            Event::Key(key) => return self.press(key),
            Event::Paste(text) => self.paste(&text),
            Event::Tick => {}
        }
        None
    }

    /// What is to be drawn.
    pub(crate) fn shown(&self) -> &Data {
        self.frozen.as_deref().unwrap_or(&self.live)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    pub(crate) fn freeze(&mut self) {
        self.frozen = match self.frozen {
            Some(_) => None,
            None => Some(Box::new(self.live.clone())),
        };
    }

    /// The message, while it is new.
    pub(crate) fn message(&self) -> Option<&Message> {
        self.message.as_ref().filter(|message| self.now < message.until)
    }

    pub(crate) fn say(&mut self, text: impl Into<String>) {
        self.message = Some(Message {
            text: text.into(),
            is_failure: false,
            until: self.now + MESSAGE,
        });
    }

    fn complain(&mut self, text: &str) {
        self.message = Some(Message {
            text: clean(text),
            is_failure: true,
            until: self.now + FAILURE,
        });
    }

    pub(crate) fn forget_message(&mut self) {
        self.message = None;
    }

    /// The calls that are shown, oldest first.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let reading = self.shown().reading.as_ref();
        reading.map(under_way).unwrap_or_default()
    }

    pub(crate) fn instance(&self) -> String {
        let reading = self.live.reading.as_ref();
        reading.map_or_else(|| "the daemon".to_owned(), |reading| clean(&reading.name))
    }

    fn read(&mut self, reading: Status) {
        let is_next = self
            .live
            .reading
            .as_ref()
            .is_some_and(|last| !is_of_the_same(&reading, last));
        if is_next {
            self.live.pulse.begin_anew();
        }
        if let Link::Lost { since, .. } = &self.link {
            let away = self.now.saturating_sub(*since).as_secs();
            let who = if is_next { "another daemon" } else { "the daemon" };
            let away = count(away, "second");
            self.say(format!("connected again, to {who}, after {away}"));
        }
        self.link = Link::Up;
        self.live.pulse.take(self.now, &reading);
        self.live.reading = Some(reading);
        if is_next {
            // A number is another call's there.
            self.selected = None;
        } else if !self.is_frozen() {
            let is_there = |number| self.calls().iter().any(|call| call.number == number);
            self.selected = self.selected.filter(|number| is_there(*number));
        }
    }

    fn lost(&mut self, why: String) {
        let since = match &self.link {
            Link::Lost { since, .. } => *since,
            Link::Up | Link::Silent { .. } => self.now,
        };
        self.link = Link::Lost { since, why };
        // Whoever was asked for something won't say what became of it.
        if let Mode::Confirm(_) = self.mode {
            self.mode = Mode::Watch;
        }
    }

    fn logged(&mut self, log: Log) {
        let entry = match log {
            Log::Line(line) => Entry::Line(Line::new(line, &self.zone)),
            Log::Dropped(lines) => Entry::Note(format!("{} missing here: they came too fast", count(lines, "line"))),
            Log::Restarted => Entry::Note("the connection was lost here".to_owned()),
            _ => return,
        };
        self.live.tail.push(entry);
    }

    fn done(&mut self, deed: &Deed, outcome: Result<bool, String>) -> Option<Order> {
        self.doing.retain(|(doing, _)| doing != deed);
        let what = deed.named();
        match (outcome, deed) {
            (Ok(true), Deed::Cancel { .. }) => self.say(format!("cancelled {what}")),
            (Ok(false), Deed::Cancel { .. }) => self.say(format!("{what} had ended already")),
            (Ok(_), Deed::Reload) => self.say("reloaded: the new version serves"),
            (Ok(_), Deed::Restart) => self.say("restarted: the new Python is ready"),
            (Err(why), Deed::Cancel { .. }) => self.complain(&format!("can't cancel {what}: {why}")),
            (Err(why), _) => self.complain(&format!("{what} failed: {why}")),
        }
        Some(Order::Refresh)
    }

    /// Begins what was asked for, unless it is under way.
    pub(crate) fn begin(&mut self, deed: Deed) -> Option<Order> {
        if self.doing.iter().any(|(doing, _)| *doing == deed) {
            self.say(format!("{}: still at it", deed.named()));
            return None;
        }
        self.forget_message();
        self.doing.push((deed.clone(), self.now));
        Some(Order::Do(deed))
    }
}

impl Deed {
    pub(crate) fn named(&self) -> String {
        match self {
            Deed::Cancel { call, method } => format!("call {call}, {}", clean(method)),
            Deed::Reload => "reload".to_owned(),
            Deed::Restart => "restart".to_owned(),
        }
    }

    pub(crate) fn under_way(&self) -> String {
        match self {
            Deed::Cancel { .. } => format!("cancelling {}", self.named()),
            Deed::Reload => "reloading".to_owned(),
            Deed::Restart => "restarting".to_owned(),
        }
    }
}
