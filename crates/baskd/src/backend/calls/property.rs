//! Properties that are being set, and the answers that wait for the journal to have them.

use std::collections::HashMap;

use baskd_protocol::error::Error;
use baskd_protocol::request::unquote;
use serde_json::value::RawValue;

use super::super::{Outcome, Sink};

/// A property that a `setProperty` under way sets.
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) value: Box<RawValue>,
}

/// The answer to a `setProperty`, held until the journal has it.
pub(crate) struct Held {
    pub(crate) property: Property,
    /// None if nobody waits for it any more.
    pub(crate) sink: Option<Box<dyn Sink>>,
    pub(crate) result: Vec<u8>,
}

impl Held {
    /// A property that was set though its `setProperty` has had another answer.
    pub(super) fn quiet(property: Property) -> Held {
        Held {
            property,
            sink: None,
            result: Vec::new(),
        }
    }

    /// Answers, if anybody still waits.
    pub(crate) fn end(self, error: Option<&[u8]>) {
        if let Some(sink) = self.sink {
            sink.end(match error {
                Some(error) => Outcome::Error(error),
                None => Outcome::Result(&self.result),
            });
        }
    }
}

impl Property {
    pub(crate) fn size(&self) -> usize {
        self.name.len() + self.value.get().len()
    }

    /// The name and value in the params of a `setProperty`, read as Python will read them: of members given twice the
    /// last counts. None where they are missing or of another type, which Python refuses; an error for a name that
    /// Python would take, and nothing else could.
    pub(crate) fn read(params: &str) -> Result<Option<Property>, Error> {
        let (name, value) = if params.starts_with('[') {
            match serde_json::from_str::<(&RawValue, Box<RawValue>)>(params) {
                Ok(given) => given,
                Err(_) => return Ok(None),
            }
        } else {
            let Ok(mut given) = serde_json::from_str::<HashMap<String, &RawValue>>(params) else {
                return Err(lone_surrogates());
            };
            match (given.remove("name"), given.remove("value")) {
                (Some(name), Some(value)) => (name, value.to_owned()),
                _ => return Ok(None),
            }
        };
        match unquote(name.get()) {
            Some(name) => Ok(Some(Property {
                name: name.into_owned(),
                value,
            })),
            None if name.get().starts_with('"') => Err(lone_surrogates()),
            None => Ok(None),
        }
    }
}

fn lone_surrogates() -> Error {
    Error::invalid_params("name", "a text without lone surrogates", serde_json::Value::Null)
}
