//! What a setting takes: how it is written, its range, and where it goes.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use super::Settings;
use super::values::{self, duration, duration_text, size_text};

/// Longer than anyone waits, and short enough to be added to a clock.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 86_400);
pub(crate) const MOMENT: Duration = Duration::from_millis(1);
/// More than anybody has: a number that is as good as without an end.
pub(crate) const ANY: usize = 1 << 50;

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
        get: fn(&Settings) -> usize,
        set: fn(&mut Settings, usize),
    },
    Text {
        wanted: &'static str,
        /// What it is where nothing is set.
        unset: &'static str,
        get: fn(&Settings) -> Option<String>,
        /// `folder`: what a path of the file's is relative to. None: it can't be.
        set: fn(&mut Settings, text: &str, folder: Option<&Path>) -> Option<()>,
    },
}

/// The least and the most that a duration may be.
pub(crate) struct Time {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

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

// What the rows of the table are written with.

pub(super) const fn count(from: usize, to: usize, at: fn(&mut Settings) -> &mut usize) -> Kind {
    Kind::Count { from, to, at }
}

pub(super) const fn size(from: usize, to: usize, at: fn(&mut Settings) -> &mut usize) -> Kind {
    Kind::Size { from, to, at }
}

pub(super) const fn time(from: Duration, at: fn(&mut Settings) -> &mut Duration) -> Kind {
    time_within(from, YEAR, at)
}

pub(super) const fn time_within(from: Duration, to: Duration, at: fn(&mut Settings) -> &mut Duration) -> Kind {
    let limits = Time { from, to };
    Kind::Time { limits, at }
}

pub(super) const fn switch(at: fn(&mut Settings) -> &mut bool) -> Kind {
    Kind::Switch { at }
}

pub(super) const fn words(at: fn(&mut Settings) -> &mut Vec<String>) -> Kind {
    Kind::Words { at }
}

pub(super) const fn choice(
    among: &'static [&'static str],
    get: fn(&Settings) -> usize,
    set: fn(&mut Settings, usize),
) -> Kind {
    Kind::Choice { among, get, set }
}

pub(super) const fn text(
    wanted: &'static str,
    unset: &'static str,
    get: fn(&Settings) -> Option<String>,
    set: fn(&mut Settings, &str, Option<&Path>) -> Option<()>,
) -> Kind {
    Kind::Text {
        wanted,
        unset,
        get,
        set,
    }
}

impl Kind {
    /// Sets it, or says what it must be.
    pub(crate) fn set(&self, settings: &mut Settings, value: &Value<'_>) -> Result<(), String> {
        let refused = || value.refuse(&self.wanted());
        match self {
            Kind::Count { from, to, at } => {
                let text = match value {
                    Value::Number(text) => Some(text.as_str()),
                    Value::Typed(text) => Some(*text),
                    _ => None,
                };
                let number = text.and_then(|text| text.parse().ok());
                *at(settings) = number
                    .filter(|number| (*from..=*to).contains(number))
                    .ok_or_else(refused)?;
            }
            Kind::Size { from, to, at } => {
                let text = match value {
                    Value::Number(text) => Some(text.as_str()),
                    value => value.text(),
                };
                let number = text.and_then(values::size);
                *at(settings) = number
                    .filter(|number| (*from..=*to).contains(number))
                    .ok_or_else(refused)?;
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
                *at(settings) = truth.ok_or_else(refused)?;
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
                *at(settings) = words.ok_or_else(refused)?;
            }
            Kind::Choice { among, set, .. } => {
                let chosen = value
                    .text()
                    .and_then(|text| among.iter().position(|name| *name == text));
                set(settings, chosen.ok_or_else(refused)?);
            }
            Kind::Text { set, .. } => {
                let folder = match value {
                    Value::Text { folder, .. } => Some(*folder),
                    _ => None,
                };
                value
                    .text()
                    .and_then(|text| set(settings, text, folder))
                    .ok_or_else(refused)?;
            }
        }
        Ok(())
    }

    /// Its value, as the file would have it; JSON and TOML write these alike. None where nothing is set. (A place that can
    /// be written to is also what is read.)
    pub(crate) fn get(&self, settings: &mut Settings) -> Option<Json> {
        Some(match self {
            Kind::Count { at, .. } => Json::from(*at(settings)),
            Kind::Size { at, .. } => match size_text(*at(settings)) {
                text if text.ends_with("bytes") => Json::from(*at(settings)),
                text => Json::from(text.replace(' ', "")),
            },
            Kind::Time { at, .. } => Json::from(duration_text(*at(settings))),
            Kind::Switch { at } => Json::from(*at(settings)),
            Kind::Words { at } => Json::from(at(settings).clone()),
            Kind::Choice { among, get, .. } => Json::from(among[get(settings)]),
            Kind::Text { get, .. } => Json::from(get(settings)?),
        })
    }

    /// What it must be, to the end of a sentence.
    pub(crate) fn wanted(&self) -> String {
        match self {
            Kind::Count { from, to, .. } => format!("a whole number{}", within(*from, *to, |end| end.to_string())),
            Kind::Size { from, to, .. } => {
                let within = within(*from, *to, size_text);
                let comma = if within.is_empty() { "" } else { "," };
                format!("a number of bytes, or a text such as \"32MiB\"{comma}{within}")
            }
            Kind::Time { limits, .. } => limits.wanted(),
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Words { .. } => r#"a list of words such as ["key", "token"]"#.to_owned(),
            Kind::Choice { among, .. } => {
                let quoted: Vec<_> = among.iter().map(|name| format!("\"{name}\"")).collect();
                quoted.join(" or ")
            }
            Kind::Text { wanted, .. } => (*wanted).to_owned(),
        }
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
        given.filter(fits).ok_or_else(|| value.refuse(&self.wanted()))
    }

    pub(crate) fn wanted(&self) -> String {
        let examples = match self.to {
            YEAR => r#""250ms", "30s", "5m" or a number of seconds"#,
            _ => r#""50us""#,
        };
        let (from, to) = self.ends();
        format!("a duration such as {examples}, from {from} to {to}")
    }

    /// The least and the most, in words.
    pub(super) fn ends(&self) -> (String, String) {
        let text = |end: Duration| match end {
            Duration::ZERO => "0".to_owned(),
            YEAR => "a year".to_owned(),
            end => duration_text(end),
        };
        (text(self.from), text(self.to))
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

fn within(from: usize, to: usize, text: impl Fn(usize) -> String) -> String {
    match to {
        ANY.. => String::new(),
        to => format!(" from {} to {}", text(from), text(to)),
    }
}

/// A path of the file's: relative to the file's folder, where a shell has not expanded it.
pub(super) fn located(path: &Path, folder: Option<&Path>) -> Option<PathBuf> {
    match (folder, path.strip_prefix("~")) {
        (None, _) => Some(path.to_owned()),
        (Some(_), Ok(below)) => Some(PathBuf::from(env::var_os("HOME")?).join(below)),
        (Some(folder), Err(_)) => Some(folder.join(path)),
    }
}
