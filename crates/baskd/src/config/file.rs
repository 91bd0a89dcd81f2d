//! The config file: TOML, every key at the top level but for `[methods.NAME]`. All that is wrong with it is told at once.

use std::collections::BTreeSet;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::{Kind, Value};
use super::mistake::{Mistake, Place};
use super::names::meant;
use super::settings::{OF_A_METHOD, SETTINGS, Setting};
use super::{Places, Settings};

/// How much of a line is shown.
const SHOWN: usize = 120;

pub(super) struct File<'a> {
    /// Absolute.
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl File<'_> {
    /// Sets what it says, and notes where; or says what is wrong with it, in the order of its lines.
    pub(super) fn apply(&self, settings: &mut Settings, places: &mut Places) -> Vec<Mistake> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut mistakes = Vec::new();
        let mut is_whole = true;
        let mut errors: Vec<_> = errors
            .iter()
            .map(|error| (error.span().unwrap_or_default(), error.message()))
            .collect();
        errors.sort_by_key(|(span, _)| span.start);
        let mut told = BTreeSet::new();
        for (span, message) in errors {
            // One slip confuses the parser until the line ends.
            if told.insert(self.line(span.start)) {
                let (mistake, is_small) = self.no_toml(span, message, table.get_ref());
                is_whole &= is_small;
                mistakes.push(mistake);
            }
        }
        // Where a table's head can't be read, what is below it would be taken for something else.
        if is_whole {
            let wrong = self.table(settings, places, table.get_ref());
            mistakes.extend(wrong.into_iter().filter(|mistake| {
                let line = mistake.line();
                line.is_none_or(|line| !told.contains(&line))
            }));
        }
        mistakes.sort_by_key(Mistake::line);
        mistakes
    }

    fn table(&self, settings: &mut Settings, places: &mut Places, table: &DeTable<'_>) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (key, value) in in_order(table) {
            let name = key.get_ref().as_ref();
            if name == "methods" {
                mistakes.extend(self.methods(settings, places, value));
            } else if let Some(setting) = Setting::named(name) {
                let at = value.span().start;
                match setting.kind.set(settings, &self.value(value)) {
                    Ok(()) => places.note(setting.name, self.place(at)),
                    Err(what) => mistakes.push(self.mistake(at, name, format!("`{name}` {what}"))),
                }
            } else {
                mistakes.push(self.unknown(key.span().start, name, value.get_ref()));
            }
        }
        mistakes
    }

    /// `[methods.NAME]`
    fn methods(&self, settings: &mut Settings, places: &mut Places, methods: &Spanned<DeValue<'_>>) -> Vec<Mistake> {
        let no_table = |at: usize, name: &str| {
            let what = format!("`{name}` must be a table: write `[methods.NAME]`, and below it `timeout = \"30s\"`");
            self.mistake(at, name, what)
        };
        let Some(table) = methods.get_ref().as_table() else {
            return vec![no_table(methods.span().start, "methods")];
        };
        let mut mistakes = Vec::new();
        for (method, value) in in_order(table) {
            let method = method.get_ref().as_ref();
            let Some(table) = value.get_ref().as_table() else {
                mistakes.push(no_table(value.span().start, &format!("methods.{method}")));
                continue;
            };
            for (key, value) in in_order(table) {
                let name = key.get_ref().as_ref();
                let full = format!("methods.{method}.{name}");
                if name != OF_A_METHOD.name {
                    mistakes.push(self.unknown_of_method(key.span().start, method, name, &full));
                    continue;
                }
                match OF_A_METHOD.limits.time(&self.value(value)) {
                    Ok(timeout) => {
                        settings.limits.timeouts.insert(method.to_owned(), timeout);
                        places.note(&full, self.place(value.span().start));
                    }
                    Err(what) => mistakes.push(self.mistake(value.span().start, &full, format!("`{full}` {what}"))),
                }
            }
        }
        mistakes
    }

    fn unknown(&self, at: usize, name: &str, value: &DeValue<'_>) -> Mistake {
        let mut mistake = self.mistake(at, name, String::new());
        if let Some(table) = value.as_table() {
            let inside = in_order(table).into_iter().map(|(key, _)| key.get_ref().as_ref());
            let settings: Vec<_> = inside.filter(|key| Setting::named(key).is_some()).collect();
            mistake.what = if let Some(first) = settings.first() {
                mistake.nearest = Some((*first).to_owned());
                format!("there is no table `{name}`: write `{first}` at the top level, above all tables")
            } else if strsim::jaro_winkler(&name.to_lowercase(), "methods") > 0.75 {
                mistake.nearest = Some("methods".to_owned());
                format!("there is no table `{name}`: did you mean `[methods.NAME]`?")
            } else {
                format!(
                    "there is no table `{name}`: settings are written at the top level, above all tables, and methods as `[methods.NAME]`"
                )
            };
        } else if name == OF_A_METHOD.name {
            mistake.nearest = Some("methods.NAME.timeout".to_owned());
            mistake.what = format!("`{name}` is a method's: write it below `[methods.NAME]`");
        } else if let Some(near) = meant(name) {
            mistake.nearest = Some(near.to_owned());
            mistake.what = format!("`{name}` is no setting: did you mean `{near}`?");
        } else {
            let all: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
            mistake.what = format!("`{name}` is no setting: there are {}, methods", all.join(", "));
        }
        mistake
    }

    fn unknown_of_method(&self, at: usize, method: &str, name: &str, full: &str) -> Mistake {
        let mut mistake = self.mistake(at, full, String::new());
        mistake.what = if let Some(setting) = Setting::named(name) {
            mistake.nearest = Some(setting.name.to_owned());
            format!("`{name}` is a setting of the daemon, not of a method: write it above `[methods.{method}]`")
        } else {
            mistake.nearest = Some(format!("methods.{method}.{}", OF_A_METHOD.name));
            format!("`{full}` is no setting: a method has `{}`", OF_A_METHOD.name)
        };
        mistake
    }

    /// What the parser has to say, in words that name the setting where that is known; and whether all else that was read
    /// is what was meant.
    fn no_toml(&self, span: std::ops::Range<usize>, message: &str, table: &DeTable<'_>) -> (Mistake, bool) {
        let what_is_there = self.text.get(span.clone()).unwrap_or_default().trim();
        let (start, line) = self.line_at(span.start);
        if message == "duplicate key" {
            if line.trim_start().starts_with('[') {
                let what = format!("`{}` is there twice: write all of it below the first", line.trim());
                return (self.mistake(span.start, what_is_there, what), true);
            }
            let first = table
                .get_key_value(what_is_there)
                .map(|(key, _)| self.line(key.span().start));
            let what = match first {
                Some(first) => format!("`{what_is_there}` is set twice: line {first} has it already"),
                None => format!("`{what_is_there}` is set twice"),
            };
            return (self.mistake(span.start, what_is_there, what), true);
        }
        let is_bare = ["string values must be quoted", "invalid float", "invalid boolean"]
            .iter()
            .any(|start| message.starts_with(start));
        let key = line.split_once('=').map(|(key, _)| key.trim());
        let is_value = key.is_some() && span.start > start + line.find('=').unwrap_or(0);
        if let (true, true, Some(setting)) = (is_bare, is_value, key.and_then(Setting::named)) {
            let there = line.split_once('=').map_or("", |(_, value)| value.trim());
            let got = match there.is_empty() {
                true => "nothing".to_owned(),
                false => there.to_owned(),
            };
            let quotes = match setting.kind {
                Kind::Count { .. } | Kind::Switch { .. } => "",
                _ => " (a text stands in quotes)",
            };
            let what = format!(
                "`{}` must be {}, not {got}{quotes}",
                setting.name,
                setting.kind.wanted()
            );
            return (self.mistake(span.start, setting.name, what), true);
        }
        let mut mistake = Mistake::new(self.place(span.start), format!("this is no TOML: {message}"));
        mistake.written = Some(shown(line));
        (mistake, is_bare)
    }

    fn value<'v>(&'v self, value: &'v Spanned<DeValue<'_>>) -> Value<'v> {
        let written = &self.text[value.span()];
        match value.get_ref() {
            DeValue::String(text) => Value::Text {
                text,
                written,
                folder: self.path.parent().unwrap_or(self.path),
            },
            DeValue::Integer(number) if number.radix() == 10 => Value::Number(number.as_str().to_owned()),
            DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
            DeValue::Boolean(truth) => Value::Truth(*truth),
            DeValue::Array(items) => {
                let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
                match texts.collect() {
                    Some(texts) => Value::List { texts, written },
                    None => Value::Other(written),
                }
            }
            _ => Value::Other(written),
        }
    }

    fn mistake(&self, at: usize, key: &str, what: String) -> Mistake {
        Mistake {
            place: self.place(at),
            what,
            key: Some(key.to_owned()),
            nearest: None,
            written: Some(shown(self.line_at(at).1)),
        }
    }

    fn place(&self, at: usize) -> Place {
        Place::Line(self.path.to_owned(), self.line(at))
    }

    /// The number of the line.
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    /// Where the line begins, and the line.
    fn line_at(&self, at: usize) -> (usize, &str) {
        let at = at.min(self.text.len());
        let start = self.text.as_bytes()[..at]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        (start, self.text[start..].lines().next().unwrap_or_default())
    }
}

fn shown(line: &str) -> String {
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// As they stand in the file: what is wrong first is said first.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
