//! What can't be set so: where that was written, why it is refused, and what was probably meant.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

/// Why there are no settings: all that is wrong, in the order in which it stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Error {
    mistakes: Vec<Mistake>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) place: Place,
    /// A sentence, which names the remedy.
    pub(super) what: String,
    /// The key that it is about, as it is written.
    pub(super) key: Option<String>,
    /// The key that was probably meant.
    pub(super) nearest: Option<String>,
    /// The line, as it is written.
    pub(super) written: Option<String>,
}

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    File(PathBuf),
    Line(PathBuf, usize),
    Variable(String),
    Flag(&'static str),
}

impl Mistake {
    pub(super) fn new(place: Place, what: String) -> Mistake {
        Mistake {
            place,
            what,
            key: None,
            nearest: None,
            written: None,
        }
    }

    /// The line's number, where it has one.
    pub(super) fn line(&self) -> Option<usize> {
        match self.place {
            Place::Line(_, line) => Some(line),
            Place::File(_) | Place::Variable(_) | Place::Flag(_) => None,
        }
    }
}

impl Error {
    /// None where nothing is wrong.
    pub(super) fn of(mistakes: Vec<Mistake>) -> Option<Error> {
        (!mistakes.is_empty()).then_some(Error { mistakes })
    }

    /// For programs: an object for each mistake.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mistakes = self.mistakes.iter().map(|mistake| {
            let mut object = mistake.place.to_json();
            object["key"] = json!(mistake.key);
            object["nearest"] = json!(mistake.nearest);
            object["text"] = json!(mistake.written);
            object["message"] = json!(mistake.what);
            object
        });
        mistakes.collect()
    }
}

impl From<Mistake> for Error {
    fn from(mistake: Mistake) -> Error {
        Error {
            mistakes: vec![mistake],
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.what)?;
        match (self.line(), &self.written) {
            (Some(line), Some(written)) => write!(out, "\n  {line} | {written}"),
            _ => Ok(()),
        }
    }
}

impl Place {
    /// The file and line, or the variable or flag; what it is not is null.
    pub(super) fn to_json(&self) -> Json {
        let (file, line) = match self {
            Place::File(path) => (Some(path), None),
            Place::Line(path, line) => (Some(path), Some(line)),
            Place::Variable(_) | Place::Flag(_) => (None, None),
        };
        let named = match self {
            Place::Variable(name) => Some(format!("${name}")),
            Place::Flag(flag) => Some((*flag).to_owned()),
            Place::File(_) | Place::Line(..) => None,
        };
        // A path need not be text, and then it is told as well as can be.
        json!({ "file": file.map(|path| path.to_string_lossy()), "line": line, "by": named })
    }

    /// For a table: as editors and compilers write it.
    pub(super) fn short(&self) -> String {
        match self {
            Place::Line(path, line) => format!("{}:{line}", path.display()),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(out, "{}", path.display()),
            Place::Line(path, line) => write!(out, "{}, line {line}", path.display()),
            Place::Variable(name) => write!(out, "${name}"),
            Place::Flag(flag) => write!(out, "{flag}"),
        }
    }
}
