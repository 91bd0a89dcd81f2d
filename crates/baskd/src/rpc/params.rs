//! The params of the daemon's own methods: by name or by position, read one at a time, so that an error names the
//! parameter.

use baskd_protocol::error::Error;
use baskd_protocol::request::unquote;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) struct Params<'a> {
    values: Vec<Option<&'a RawValue>>,
    names: &'static [&'static str],
}

impl<'a> Params<'a> {
    /// `names` are those the method takes, in order.
    pub(crate) fn read(text: Option<&'a str>, names: &'static [&'static str]) -> Result<Params<'a>, Error> {
        let mut values = vec![None; names.len()];
        match text {
            None => {}
            Some(array) if array.starts_with('[') => {
                let given: Vec<&RawValue> = serde_json::from_str(array).map_err(unreadable)?;
                if let Some(extra) = given.get(names.len()) {
                    return Err(Error::invalid_params(
                        &names.len().to_string(),
                        &format!("left out: there are {} parameters", names.len()),
                        value_of(extra),
                    ));
                }
                for (place, value) in values.iter_mut().zip(given) {
                    *place = Some(value);
                }
            }
            Some(object) => {
                let given: std::collections::HashMap<String, &RawValue> =
                    serde_json::from_str(object).map_err(unreadable)?;
                for (name, value) in given {
                    match names.iter().position(|other| *other == name) {
                        Some(at) => values[at] = Some(value),
                        None => {
                            let known = if names.is_empty() {
                                "none".to_owned()
                            } else {
                                names.join(", ")
                            };
                            return Err(Error::invalid_params(
                                &name,
                                &format!("left out: the parameters are {known}"),
                                value_of(value),
                            ));
                        }
                    }
                }
            }
        }
        Ok(Params { values, names })
    }

    /// The parameter's JSON, null counting as absent.
    pub(crate) fn raw(&self, at: usize) -> Option<&'a str> {
        self.values[at].map(RawValue::get).filter(|text| *text != "null")
    }

    pub(crate) fn string(&self, at: usize) -> Result<Option<String>, Error> {
        self.raw(at)
            .map(|text| unquote(text).map(Into::into).ok_or_else(|| self.wrong(at, "a string")))
            .transpose()
    }

    pub(crate) fn number(&self, at: usize) -> Result<Option<u64>, Error> {
        self.raw(at)
            .map(|text| text.parse().map_err(|_| self.wrong(at, "a whole number, 0 or more")))
            .transpose()
    }

    /// The object or array to be handed on.
    pub(crate) fn structured(&self, at: usize) -> Result<Option<&'a str>, Error> {
        match self.raw(at) {
            Some(text) if !text.starts_with(['{', '[']) => Err(self.wrong(at, "an object or an array")),
            text => Ok(text),
        }
    }

    pub(crate) fn required<T>(&self, at: usize, value: Option<T>, wanted: &str) -> Result<T, Error> {
        value.ok_or_else(|| self.wrong(at, wanted))
    }

    pub(crate) fn wrong(&self, at: usize, wanted: &str) -> Error {
        Error::invalid_params(self.names[at], wanted, self.values[at].map_or(Value::Null, value_of))
    }
}

fn value_of(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or(Value::Null)
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::invalid_params("params", &format!("readable ({error})"), Value::Null)
}
