//! The one table of settings: a row is a key of the file, and `BASKD_` with the key in capitals in the environment.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::values::{duration, duration_text, size, size_text};
use super::{Error, Place, Settings};
use crate::backend::{Affinity, ReloadMode};
use crate::logs::LogFormat;
use crate::rpc::OnDisconnect;
use crate::serve::ControllerSpec;

/// Longer than anyone waits, and short enough to be added to a clock.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MOMENT: Duration = Duration::from_millis(1);

pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// What a setting takes, and where it goes.
pub(crate) enum Kind {
    Count {
        from: usize,
        to: usize,
        at: fn(&mut Settings) -> &mut usize,
    },
    Size {
        from: usize,
        to: usize,
        at: fn(&mut Settings) -> &mut usize,
    },
    Time {
        limits: Time,
        at: fn(&mut Settings) -> &mut Duration,
    },
    Switch {
        at: fn(&mut Settings) -> &mut bool,
    },
    /// A list of them; where everything is text, with commas between.
    Words {
        at: fn(&mut Settings) -> &mut Vec<String>,
    },
    Choice {
        among: &'static [&'static str],
        /// The place in `among`.
        set: fn(&mut Settings, usize),
    },
    Text {
        wanted: &'static str,
        /// `folder`: what a path of the file's is relative to. None: it can't be.
        set: fn(&mut Settings, text: &str, folder: Option<&Path>) -> Option<()>,
    },
}

/// The least and the most that a duration may be.
pub(crate) struct Time {
    from: Duration,
    to: Duration,
}

/// How long calls of one method may take.
pub(crate) const TIMEOUT: Time = Time { from: MOMENT, to: YEAR };

/// A value, as it was given.
pub(crate) enum Value<'a> {
    /// A text of the file's, and how it is written there.
    Text {
        text: &'a str,
        written: &'a str,
        folder: &'a Path,
    },
    /// A number of the file's, in decimal.
    Number(String),
    Truth(bool),
    /// A list of texts, and how it is written.
    List {
        texts: Vec<String>,
        written: &'a str,
    },
    /// What no setting takes.
    Other(&'a str),
    /// By a flag or a variable, where everything is text.
    Typed(&'a str),
}

const fn count(name: &'static str, from: usize, to: usize, at: fn(&mut Settings) -> &mut usize) -> Setting {
    Setting {
        name,
        kind: Kind::Count { from, to, at },
    }
}

const fn bytes(name: &'static str, from: usize, to: usize, at: fn(&mut Settings) -> &mut usize) -> Setting {
    Setting {
        name,
        kind: Kind::Size { from, to, at },
    }
}

const fn time(name: &'static str, from: Duration, at: fn(&mut Settings) -> &mut Duration) -> Setting {
    Setting {
        name,
        kind: Kind::Time {
            limits: Time { from, to: YEAR },
            at,
        },
    }
}

const fn switch(name: &'static str, at: fn(&mut Settings) -> &mut bool) -> Setting {
    Setting {
        name,
        kind: Kind::Switch { at },
    }
}

pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        name: "controller",
        kind: Kind::Text {
            wanted: "path/to/controller.py, path.py:Class or package.module:Class",
            set: |settings, text, folder| {
                settings.controller = match text.parse().ok()? {
                    ControllerSpec::File { path, class } => ControllerSpec::File {
                        path: located(&path, folder)?,
                        class,
                    },
                    other => other,
                };
                Some(())
            },
        },
    },
    Setting {
        name: "python",
        kind: Kind::Text {
            wanted: "an interpreter, or the folder of its venv",
            set: |settings, text, folder| {
                let path = Path::new(text);
                let there = located(path, folder)?;
                // A bare name that is nothing in that folder is looked for on the PATH.
                let is_name = path.components().count() == 1 && !text.starts_with('~') && !there.exists();
                settings.python = Some(if is_name { path.to_owned() } else { there });
                (!text.is_empty()).then_some(())
            },
        },
    },
    count("workers", 1, 64, |settings| &mut settings.workers),
    Setting {
        name: "affinity",
        kind: Kind::Choice {
            among: &["none", "connection"],
            set: |settings, chosen| settings.affinity = [Affinity::None, Affinity::Connection][chosen],
        },
    },
    switch("watch", |settings| &mut settings.watch),
    switch("standby", |settings| &mut settings.standby),
    Setting {
        name: "reload_mode",
        kind: Kind::Choice {
            among: &["beside", "replace"],
            set: |settings, chosen| settings.reload_mode = [ReloadMode::Beside, ReloadMode::Replace][chosen],
        },
    },
    time("snapshot_every", Duration::ZERO, |settings| {
        &mut settings.limits.snapshot_every
    }),
    count("max_calls", 0, 1 << 40, |settings| &mut settings.limits.max_calls),
    bytes("max_rss", 0, 1 << 50, |settings| &mut settings.limits.max_rss),
    Setting {
        name: "volatile",
        kind: Kind::Words {
            at: |settings| &mut settings.volatile,
        },
    },
    Setting {
        name: "on_disconnect",
        kind: Kind::Choice {
            among: &["cancel", "finish"],
            set: |settings, chosen| settings.on_disconnect = [OnDisconnect::Cancel, OnDisconnect::Finish][chosen],
        },
    },
    Setting {
        name: "log",
        kind: Kind::Text {
            wanted: "a log level (error, warn, info, debug, trace) or a filter such as info,python=warn",
            set: |settings, text, _| {
                EnvFilter::builder().parse(text).ok()?;
                text.clone_into(&mut settings.log);
                (!text.is_empty()).then_some(())
            },
        },
    },
    count("log_lines", 0, 1 << 20, |settings| &mut settings.log_lines),
    Setting {
        name: "log_format",
        kind: Kind::Choice {
            among: &["auto", "pretty", "json", "journal"],
            set: |settings, chosen| {
                settings.log_format = [LogFormat::Auto, LogFormat::Pretty, LogFormat::Json, LogFormat::Journal][chosen];
            },
        },
    },
    time("grace", Duration::ZERO, |settings| &mut settings.grace),
    time("idle_exit", Duration::ZERO, |settings| &mut settings.idle_exit),
    time("startup_timeout", MOMENT, |settings| {
        &mut settings.limits.startup_timeout
    }),
    time("http_header_timeout", MOMENT, |settings| {
        &mut settings.limits.http_header_timeout
    }),
    time("drain_timeout", Duration::ZERO, |settings| {
        &mut settings.limits.drain_timeout
    }),
    time("stall_timeout", MOMENT, |settings| &mut settings.limits.stall_timeout),
    time("kill_grace", Duration::ZERO, |settings| &mut settings.limits.kill_grace),
    time("slow_call", Duration::ZERO, |settings| &mut settings.limits.slow_call),
    Setting {
        name: "busy_poll",
        kind: Kind::Time {
            // Longer, and it would be others who wait.
            limits: Time {
                from: Duration::ZERO,
                to: MOMENT,
            },
            at: |settings| &mut settings.limits.busy_poll,
        },
    },
    // The router's page has a slot for each, and some for the daemon's own: PROTOCOL.md, the router wire.
    count("max_queue", 1, 30_720, |settings| &mut settings.limits.max_queue),
    count("max_in_flight", 1, 30_720, |settings| {
        &mut settings.limits.max_in_flight
    }),
    count("max_connections", 1, 65_536, |settings| {
        &mut settings.limits.max_connections
    }),
    bytes("max_request", 1 << 10, 1 << 30, |settings| {
        &mut settings.limits.max_request
    }),
    bytes("max_response", 1 << 10, 1 << 30, |settings| {
        &mut settings.limits.max_response
    }),
    bytes("max_pending", 1 << 10, 64 << 30, |settings| {
        &mut settings.limits.max_pending
    }),
    bytes("max_unread", 1 << 20, 64 << 30, |settings| {
        &mut settings.limits.max_unread
    }),
    bytes("max_id", 16, 64 << 10, |settings| &mut settings.limits.max_id),
    // What Python's own parsers can be trusted with.
    count("max_nesting", 8, 128, |settings| &mut settings.limits.max_nesting),
    count("max_batch", 1, 65_536, |settings| &mut settings.limits.max_batch),
    bytes("max_batch_response", 1 << 10, 1 << 30, |settings| {
        &mut settings.limits.max_batch_response
    }),
    count("max_subscriptions", 1, 65_536, |settings| {
        &mut settings.limits.max_subscriptions
    }),
    count("max_own", 1, 1024, |settings| &mut settings.limits.max_own),
    count("max_lossy", 1, 1024, |settings| &mut settings.limits.max_lossy),
    count("max_properties", 1, 2048, |settings| {
        &mut settings.limits.max_properties
    }),
    bytes("max_properties_bytes", 1 << 10, 1 << 30, |settings| {
        &mut settings.limits.max_properties_bytes
    }),
];

impl Setting {
    pub(crate) fn set(&self, settings: &mut Settings, value: &Value<'_>, place: Place) -> Result<(), Error> {
        self.kind.set(settings, value).map_err(|what| Error {
            what: match place {
                Place::Flag(_) => what,
                _ => format!("`{}` {what}", self.name),
            },
            place,
        })
    }
}

impl Kind {
    fn set(&self, settings: &mut Settings, value: &Value<'_>) -> Result<(), String> {
        match self {
            Kind::Count { from, to, at } => {
                let text = match value {
                    Value::Number(text) => Some(text.as_str()),
                    Value::Typed(text) => Some(*text),
                    _ => None,
                };
                let number = text.and_then(|text| text.parse().ok());
                let number = number.filter(|number| (*from..=*to).contains(number));
                let wanted = || format!("a whole number from {from} to {to}");
                *at(settings) = number.ok_or_else(|| value.refuse(&wanted()))?;
            }
            Kind::Size { from, to, at } => {
                let text = match value {
                    Value::Number(text) => Some(text.as_str()),
                    Value::Typed(text) | Value::Text { text, .. } => Some(*text),
                    _ => None,
                };
                let number = text.and_then(size).filter(|number| (*from..=*to).contains(number));
                let wanted = || {
                    let (from, to) = (size_text(*from), size_text(*to));
                    format!("a number of bytes, or a text such as \"32MiB\", from {from} to {to}")
                };
                *at(settings) = number.ok_or_else(|| value.refuse(&wanted()))?;
            }
            Kind::Time { limits, at } => *at(settings) = limits.time(value)?,
            Kind::Switch { at } => {
                let truth = match value {
                    Value::Truth(truth) => Some(*truth),
                    Value::Typed(text) => match text.to_lowercase().as_str() {
                        "true" | "1" | "yes" | "on" => Some(true),
                        "false" | "0" | "no" | "off" => Some(false),
                        _ => None,
                    },
                    _ => None,
                };
                *at(settings) = truth.ok_or_else(|| value.refuse("true or false"))?;
            }
            Kind::Words { at } => {
                let words = match value {
                    Value::List { texts, .. } => Some(texts.clone()),
                    Value::Typed(text) => {
                        let words = text.split(',').map(|word| word.trim().to_owned());
                        Some(words.filter(|word| !word.is_empty()).collect())
                    }
                    _ => None,
                };
                *at(settings) = words.ok_or_else(|| value.refuse(r#"a list of words such as ["key", "token"]"#))?;
            }
            Kind::Choice { among, set } => {
                let chosen = value
                    .text()
                    .and_then(|text| among.iter().position(|name| *name == text));
                let wanted = || {
                    let quoted: Vec<_> = among.iter().map(|name| format!("\"{name}\"")).collect();
                    quoted.join(" or ")
                };
                set(settings, chosen.ok_or_else(|| value.refuse(&wanted()))?);
            }
            Kind::Text { wanted, set } => {
                let folder = match value {
                    Value::Text { folder, .. } => Some(*folder),
                    _ => None,
                };
                value
                    .text()
                    .and_then(|text| set(settings, text, folder))
                    .ok_or_else(|| value.refuse(wanted))?;
            }
        }
        Ok(())
    }
}

impl Time {
    /// The duration that a value is.
    pub(crate) fn time(&self, value: &Value<'_>) -> Result<Duration, String> {
        let text = match value {
            Value::Number(text) => Some(text.as_str()),
            value => value.text(),
        };
        let given = text.and_then(|text| duration(text).ok());
        let fits = |given: &Duration| (self.from..=self.to).contains(given);
        given.filter(fits).ok_or_else(|| {
            let from = if self.from.is_zero() {
                "0".to_owned()
            } else {
                duration_text(self.from)
            };
            let (examples, to) = if self.to == YEAR {
                (r#""250ms", "30s", "5m" or a number of seconds"#, "a year".to_owned())
            } else {
                (r#""50us""#, duration_text(self.to))
            };
            value.refuse(&format!("a duration such as {examples}, from {from} to {to}"))
        })
    }
}

impl Value<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Value::Text { text, .. } | Value::Typed(text) => Some(text),
            _ => None,
        }
    }

    fn refuse(&self, wanted: &str) -> String {
        let got = match self {
            Value::Text { written, .. } | Value::Other(written) | Value::List { written, .. } => (*written).to_owned(),
            Value::Number(text) => text.clone(),
            Value::Truth(truth) => truth.to_string(),
            Value::Typed(text) => format!("\"{text}\""),
        };
        let (first, is_long) = match got.char_indices().nth(60) {
            Some((end, _)) => (&got[..end], true),
            None => (got.as_str(), false),
        };
        format!("must be {wanted}, not {first}{}", if is_long { "…" } else { "" })
    }
}

/// A path of the file's: relative to the file's folder, where a shell has not expanded it.
fn located(path: &Path, folder: Option<&Path>) -> Option<PathBuf> {
    match (folder, path.strip_prefix("~")) {
        (None, _) => Some(path.to_owned()),
        (Some(_), Ok(below)) => Some(PathBuf::from(env::var_os("HOME")?).join(below)),
        (Some(folder), Err(_)) => Some(folder.join(path)),
    }
}
