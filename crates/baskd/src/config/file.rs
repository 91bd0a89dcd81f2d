//! The config file: TOML, every key at the top level but for `[methods.NAME]`.

use std::fs;
use std::io;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::Value;
use super::settings::{OF_A_METHOD, SETTINGS, Setting};
use super::{Error, Place, Settings};
use crate::backend::nearest;

/// Reads the file at `path`. One that need not be there may be missing.
pub(super) fn read(settings: &mut Settings, path: &Path, must_exist: bool) -> Result<(), Error> {
    let failed = |what: String| Error {
        place: Place::File(path.to_owned()),
        what,
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Ok(()),
        Err(error) => return Err(failed(format!("the config can't be read: {error}"))),
    };
    let path = std::path::absolute(path).map_err(|error| failed(format!("the config has no place: {error}")))?;
    File {
        path: &path,
        text: &text,
    }
    .apply(settings)
}

pub(super) struct File<'a> {
    /// Absolute.
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl File<'_> {
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), Error> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        if let Some(first) = errors.iter().min_by_key(|error| start(error)) {
            return Err(self.error(start(first), first.message().to_owned()));
        }
        for (key, value) in in_order(table.get_ref()) {
            let name = key.get_ref().as_ref();
            if name == "methods" {
                self.methods(settings, value)?;
            } else if let Some(setting) = Setting::named(name) {
                setting.set(settings, &self.value(value), self.place(value.span().start))?;
            } else {
                return Err(self.error(key.span().start, self.unknown(name, value.get_ref())));
            }
        }
        Ok(())
    }

    /// `[methods.NAME]`
    fn methods(&self, settings: &mut Settings, methods: &Spanned<DeValue<'_>>) -> Result<(), Error> {
        let wanted = "write `[methods.NAME]`, and below it `timeout = \"30s\"`";
        let Some(table) = methods.get_ref().as_table() else {
            return Err(self.error(methods.span().start, format!("`methods` must be a table: {wanted}")));
        };
        for (method, value) in in_order(table) {
            let name = method.get_ref().as_ref();
            let Some(table) = value.get_ref().as_table() else {
                return Err(self.error(
                    value.span().start,
                    format!("`methods.{name}` must be a table: {wanted}"),
                ));
            };
            for (key, value) in in_order(table) {
                let key_name = key.get_ref().as_ref();
                if key_name != OF_A_METHOD.name {
                    let what = format!("`methods.{name}.{key_name}` is no setting: a method has `timeout`");
                    return Err(self.error(key.span().start, what));
                }
                let full = format!("methods.{name}.timeout");
                let timeout = OF_A_METHOD
                    .limits
                    .time(&self.value(value))
                    .map_err(|what| self.error(value.span().start, format!("`{full}` {what}")))?;
                settings.limits.timeouts.insert(name.to_owned(), timeout);
            }
        }
        Ok(())
    }

    fn unknown(&self, name: &str, value: &DeValue<'_>) -> String {
        let names = || SETTINGS.iter().map(|setting| setting.name).chain(["methods"]);
        if value.is_table() {
            return format!(
                "`{name}` is no table that is known: settings are written at the top level, before any table, and methods as `[methods.NAME]`"
            );
        }
        match nearest(name, names()).first() {
            Some(near) => format!("`{name}` is no setting: did you mean `{near}`?"),
            None => {
                let all: Vec<_> = names().collect();
                format!("`{name}` is no setting: there are {}", all.join(", "))
            }
        }
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

    fn place(&self, at: usize) -> Place {
        let before = self.text.as_bytes().iter().take(at);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Place::Line(self.path.to_owned(), line)
    }

    fn error(&self, at: usize, what: String) -> Error {
        Error {
            place: self.place(at),
            what,
        }
    }
}

/// As they stand in the file: what is wrong first is said first.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
