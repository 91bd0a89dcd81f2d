//! The one table of settings: a row is a key of the file, `BASKD_` with the key in capitals in the environment, and a
//! line of PROTOCOL.md and of `baskd config --default`, which [`super::document`] makes of it.
//!
//! To add one: a field in [`Settings`] or in its limits, with its default; a row here; and PROTOCOL.md made anew, as the
//! test that fails then says.

use std::path::Path;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Settings;
use super::kind::{
    ANY, Kind, MOMENT, Time, YEAR, choice, count, located, size, switch, text, time, time_within, words,
};
use crate::backend::{Affinity, ReloadMode};
use crate::logs::LogFormat;
use crate::rpc::OnDisconnect;
use crate::serve::ControllerSpec;

/// What can be set, once.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) kind: Kind,
    /// What it does, as Markdown: a sentence or two.
    pub(crate) about: &'static str,
    /// A value that somebody may want, as it is written in the file.
    pub(crate) example: Option<&'static str>,
}

/// What a setting is about, in the order in which the documents have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Runs,
    Replaced,
    State,
    Clients,
    Log,
    Limits,
    Times,
}

impl Group {
    pub(crate) const ALL: [Group; 7] = [
        Group::Runs,
        Group::Replaced,
        Group::State,
        Group::Clients,
        Group::Log,
        Group::Limits,
        Group::Times,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Group::Runs => "What runs",
            Group::Replaced => "When Python is replaced",
            Group::State => "State",
            Group::Clients => "Clients that are gone, and the end",
            Group::Log => "The log",
            Group::Limits => "Limits",
            Group::Times => "Time limits",
        }
    }
}

use Group::{Clients, Limits, Log, Replaced, Runs, State, Times};

// A row is a name, what it is about, what it takes and what it does, whatever its length.
#[rustfmt::skip]
pub(crate) const SETTINGS: &[Setting] = &[
    row("controller", Runs, text(CONTROLLER, "the embedded example", controller, set_controller),
        "The class that is served, and where it is.")
        .example(r#""python/controller.py:Controller""#),
    row("python", Runs, text(PYTHON, "found: see \"Which Python\" in PROTOCOL.md", python, set_python),
        "What runs the controller.")
        .example(r#"".venv""#),
    row("workers", Runs, count(1, 64, |s| &mut s.workers),
        "How many Pythons serve calls; more than one only for a controller that says `stateless = True`."),
    row("affinity", Runs, choice(&["none", "connection"], |s| s.affinity as usize, |s, n| s.affinity = [Affinity::None, Affinity::Connection][n]),
        "Which worker gets a call: the least busy one; `\"connection\"`: the same for all calls of one connection."),

    row("watch", Replaced, switch(|s| &mut s.watch),
        "Whether the controller is reloaded when one of its files changes: those that its Python has imported, but for the standard library and installed packages."),
    row("reload_mode", Replaced, choice(&["beside", "replace"], |s| s.reload_mode as usize, |s, n| s.reload_mode = [ReloadMode::Beside, ReloadMode::Replace][n]),
        "What a reload does first: it starts the new Python beside the old; `\"replace\"`: it ends the old one, where two do not fit."),
    row("standby", Replaced, switch(|s| &mut s.standby),
        "Whether one more Python is kept warm, for when one dies."),
    row("max_calls", Replaced, count(0, ANY, |s| &mut s.limits.max_calls),
        "After so many calls a Python is replaced by a fresh one; 0: never. (The limit on calls that wait is `max_queue`.)"),
    row("max_rss", Replaced, size(0, ANY, |s| &mut s.limits.max_rss),
        "When its memory has reached so many bytes a Python is replaced by a fresh one (looked at between calls, five times a second at most); 0: never.")
        .example(r#""2GiB""#),

    row("snapshot_every", State, time(Duration::ZERO, |s| &mut s.limits.snapshot_every),
        "How often `on_snapshot` is called, if calls were answered since; 0: only at a reload, a restart and a stop."),
    row("volatile", State, words(|s| &mut s.volatile),
        "Properties whose name has one of these words are never written to disk."),

    row("on_disconnect", Clients, choice(&["cancel", "finish"], |s| s.on_disconnect as usize, |s, n| s.on_disconnect = [OnDisconnect::Cancel, OnDisconnect::Finish][n]),
        "What becomes of the calls of a connection that is gone; `\"finish\"`: they run to their end, streams too, without waiting for their reader, and what they give goes nowhere. Notifications are never cancelled."),
    row("grace", Clients, time(Duration::ZERO, |s| &mut s.grace),
        "How long calls may still run at a stop; then they are cancelled."),
    row("idle_exit", Clients, time(Duration::ZERO, |s| &mut s.idle_exit),
        "The daemon ends by itself after so long without a connection (one of `/metrics` counts while it lasts) and without a call that waits or runs, a vanished client's notification among them; 0: never.")
        .example(r#""10m""#),

    row("log", Log, text(LOG, "", |s| Some(s.log.clone()), set_log),
        "What is logged.")
        .example(r#""info,python=warn""#),
    row("log_format", Log, choice(&["auto", "pretty", "json", "journal"], |s| s.log_format as usize,
        |s, n| s.log_format = [LogFormat::Auto, LogFormat::Pretty, LogFormat::Json, LogFormat::Journal][n]),
        "How the log is written to stderr: `\"pretty\"`, for people; `\"json\"`, one object a line; `\"journal\"`, to journald, in fields. `\"auto\"` is `\"journal\"` where stderr is the journal's, else `\"pretty\"`."),
    row("log_lines", Log, count(0, 1 << 20, |s| &mut s.log_lines),
        "How many of the last lines are kept, in memory, for those who ask later (`baskd logs`); 1 MiB of them at most; 0: none."),
    row("slow_call", Log, time(Duration::ZERO, |s| &mut s.limits.slow_call),
        "A call that took longer is a line of the log, of level `warn`: how long it waited and ran, and how it ended; 0: never.")
        .example("\"1s\""),

    row("max_request", Limits, size(1 << 10, 1 << 30, |s| &mut s.limits.max_request),
        "How large a request or a batch may be: a larger one is answered -32007, and the rest of it skipped."),
    row("max_response", Limits, size(1 << 10, 1 << 30, |s| &mut s.limits.max_response),
        "How large a result may be: a larger one is answered -32008."),
    row("max_id", Limits, size(16, 64 << 10, |s| &mut s.limits.max_id),
        "How long a request's id may be, which is kept, and repeated with each message: a longer one is answered -32600 with `id` null."),
    row("max_pending", Limits, size(1 << 10, 64 << 30, |s| &mut s.limits.max_pending),
        "Half-received messages and half-answered batches, in all; and as much of the params of all calls that wait or run. Beyond it: -32025, with `limit` in bytes (-32011 for a batch); the rest of a message is skipped."),
    row("max_unread", Limits, size(1 << 20, 64 << 30, |s| &mut s.limits.max_unread),
        "Answers that clients have not read, in all. Beyond it: -32025 in place of a result of more than 64 KiB, with `limit` in bytes (the method has run); a stream, or a call's own messages, whose reader does not keep up then ends so with its next item."),
    // What Python's own parsers can be trusted with.
    row("max_nesting", Limits, count(8, 128, |s| &mut s.limits.max_nesting),
        "Brackets open at once in a request: a deeper one is answered -32600, and input dropped to the next newline."),
    row("max_connections", Limits, count(1, 65_536, |s| &mut s.limits.max_connections),
        "Connections; but no more than a third of the descriptors that the process may have, less 40. Beyond it: -32009 to the connection's first request, if that comes within 5 s; then it is closed."),
    // The router's page has a slot for each, and some for the daemon's own: PROTOCOL.md, the router wire.
    row("max_queue", Limits, count(1, 30_720, |s| &mut s.limits.max_queue),
        "Calls that wait or run. Beyond it: -32025; but each connection may still have 16."),
    row("max_in_flight", Limits, count(1, 30_720, |s| &mut s.limits.max_in_flight),
        "Calls of one connection that wait or run: set lower than `max_queue`, it keeps room for the others. Beyond it: -32025."),
    row("max_batch", Limits, count(1, 65_536, |s| &mut s.limits.max_batch),
        "Entries of a batch: one of more is answered -32010."),
    row("max_batch_response", Limits, size(1 << 10, 1 << 30, |s| &mut s.limits.max_batch_response),
        "How large a batch's answers may be: -32011, with `id` null, in place of an array that is larger."),
    row("max_subscriptions", Limits, count(1, 65_536, |s| &mut s.limits.max_subscriptions),
        "Subscriptions of one connection, streams included. Beyond it: -32006."),
    row("max_own", Limits, count(1, 1024, |s| &mut s.limits.max_own),
        "Subscriptions of one connection to its `own` messages. Beyond it: -32006."),
    row("max_lossy", Limits, count(1, 1024, |s| &mut s.limits.max_lossy),
        "Subscriptions of one connection to `all` messages and to the log. Beyond it: -32006."),
    row("max_properties", Limits, count(1, 2048, |s| &mut s.limits.max_properties),
        "Properties that are kept: one more is answered -32025, and not set."),
    row("max_properties_bytes", Limits, size(1 << 10, 1 << 30, |s| &mut s.limits.max_properties_bytes),
        "The same of all of them together."),

    row("startup_timeout", Times, time(MOMENT, |s| &mut s.limits.startup_timeout),
        "How long Python may take from its start until it is ready: then it is killed, and counts as not started."),
    row("drain_timeout", Times, time(Duration::ZERO, |s| &mut s.limits.drain_timeout),
        "How long calls may still run at a reload or restart: then they are cancelled. An `on_snapshot` that takes longer (than 10 s at least) has failed."),
    row("stall_timeout", Times, time(MOMENT, |s| &mut s.limits.stall_timeout),
        "How long a plain method's `send()` may wait for its reader: then its call is `Cancelled` by `\"slow reader\"`."),
    row("kill_grace", Times, time(Duration::ZERO, |s| &mut s.limits.kill_grace),
        "How long a cancelled call may still run when others have waited for a second: then its Python is killed, and the calls that had not begun go to the next."),
    row("http_header_timeout", Times, time(MOMENT, |s| &mut s.limits.http_header_timeout),
        "How long an HTTP connection may take to send its next request's headers, waiting for it included: then it is closed."),
    // Longer, and it would be others who wait.
    row("busy_poll", Times, time_within(Duration::ZERO, MOMENT, |s| &mut s.limits.busy_poll),
        "No limit: so long the daemon polls, rather than sleeps, for the answer to the only call under way, or a client's next request, if the last one came so soon. It takes CPU time only while clients call without a pause; 0: never."),
];

/// What `[methods.NAME]` may hold.
pub(crate) struct OfAMethod {
    pub(crate) name: &'static str,
    pub(crate) limits: Time,
    pub(crate) about: &'static str,
    pub(crate) example: &'static str,
}

pub(crate) const OF_A_METHOD: OfAMethod = OfAMethod {
    name: "timeout",
    limits: Time { from: MOMENT, to: YEAR },
    about: "How long a call of that method may take, if its client gives no `timeout_ms` (which may be shorter or longer). Without it nothing limits a call: there is no hidden default. A name that is no method of the controller is said in the log.",
    example: r#""30s""#,
};

const fn row(name: &'static str, group: Group, kind: Kind, about: &'static str) -> Setting {
    Setting {
        name,
        group,
        kind,
        about,
        example: None,
    }
}

impl Setting {
    const fn example(mut self, example: &'static str) -> Setting {
        self.example = Some(example);
        self
    }

    /// By its name, as it is written in the file.
    pub(crate) fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("BASKD_{}", self.name.to_uppercase())
    }
}

const CONTROLLER: &str = "path/to/controller.py, path.py:Class or package.module:Class";
const PYTHON: &str = "an interpreter, or the folder of a venv or of a project that has one";
const LOG: &str = "a log level (error, warn, info, debug, trace) or a filter such as info,python=warn";

fn controller(settings: &Settings) -> Option<String> {
    match &settings.controller {
        ControllerSpec::Embedded => None,
        ControllerSpec::File { path, class } => Some(format!("{}:{class}", path.display())),
        ControllerSpec::Module { module, class } => Some(format!("{module}:{class}")),
    }
}

fn set_controller(settings: &mut Settings, text: &str, folder: Option<&Path>) -> Option<()> {
    settings.controller = match text.parse().ok()? {
        ControllerSpec::File { path, class } => {
            let path = located(&path, folder)?;
            ControllerSpec::File { path, class }
        }
        other => other,
    };
    Some(())
}

fn python(settings: &Settings) -> Option<String> {
    settings.python.as_ref().map(|path| path.display().to_string())
}

fn set_python(settings: &mut Settings, text: &str, folder: Option<&Path>) -> Option<()> {
    let path = Path::new(text);
    let there = located(path, folder)?;
    // A bare name that is nothing in that folder is looked for on the PATH.
    let is_name = path.components().count() == 1 && !text.starts_with('~') && !there.exists();
    settings.python = Some(if is_name { path.to_owned() } else { there });
    (!text.is_empty()).then_some(())
}

fn set_log(settings: &mut Settings, text: &str, _: Option<&Path>) -> Option<()> {
    EnvFilter::builder().parse(text).ok()?;
    // A word that is no level would be taken for a part of the program, of which nothing then is logged but that.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let mut parts = text.split(',').map(str::trim);
    if !parts.all(|part| part.contains(['=', '[']) || is_level(part)) {
        return None;
    }
    text.clone_into(&mut settings.log);
    (!text.is_empty()).then_some(())
}
