//! The params of the daemon's own methods: by name or by position, read one at a time, so that an error names the
//! parameter.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use baskd_protocol::error::Error;
use baskd_protocol::request::unquote;
use baskd_protocol::trace::{self, Trace};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) struct Params<'a> {
    values: Vec<Option<&'a RawValue>>,
    names: &'static [&'static str],
}

impl<'a> Params<'a> {
    /// `names` are those the method takes, in order.
    pub(crate) fn read(text: Option<&'a str>, names: &'static [&'static str]) -> Result<Params<'a>, Error> {
        let Some(text) = text else {
            return Ok(Params {
                values: vec![None; names.len()],
                names,
            });
        };
        let mut refusal = None;
        let collect = Collect {
            names,
            refusal: &mut refusal,
        };
        let read = collect.deserialize(&mut serde_json::Deserializer::from_str(text));
        match (refusal, read) {
            (Some(error), _) => Err(error),
            (None, Ok(values)) => Ok(Params { values, names }),
            (None, Err(error)) => Err(Error::invalid_params(
                "params",
                &format!("readable ({error})"),
                Value::Null,
            )),
        }
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
        let Some(text) = self.raw(at) else { return Ok(None) };
        // JSON does not tell 5 from 5.0, nor do some of those who write it.
        let whole = |float: &f64| float.fract() == 0.0 && (0.0..9e15).contains(float);
        let number = text
            .parse()
            .ok()
            .or_else(|| text.parse().ok().filter(whole).map(|float| float as u64));
        number
            .map(Some)
            .ok_or_else(|| self.wrong(at, "a whole number, 0 or more"))
    }

    /// The object or array to be handed on.
    pub(crate) fn structured(&self, at: usize) -> Result<Option<&'a str>, Error> {
        match self.raw(at) {
            Some(text) if !text.starts_with(['{', '[']) => Err(self.wrong(at, "an object or an array")),
            text => Ok(text),
        }
    }

    /// The trace that a call belongs to: a `traceparent`, and after it a `tracestate`, which says nothing without it.
    pub(crate) fn trace(&self, at: usize) -> Result<Option<Rc<Trace>>, Error> {
        let (parent, state) = (self.string(at)?, self.string(at + 1)?);
        if state.as_deref().is_some_and(|state| !trace::is_state(state)) {
            return Err(self.wrong(at + 1, trace::WANTED_STATE));
        }
        let Some(parent) = parent else { return Ok(None) };
        let trace = Trace::new(&parent, state.as_deref());
        self.required(at, trace, trace::WANTED_PARENT)
            .map(|trace| Some(Rc::new(trace)))
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

/// Collects the values of those names, and stops at the first that is too much: who sends millions of them must not keep
/// the daemon busy.
struct Collect<'r> {
    names: &'static [&'static str],
    refusal: &'r mut Option<Error>,
}

impl Collect<'_> {
    fn refuse<E: de::Error>(self, error: Error) -> E {
        *self.refusal = Some(error);
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn deserialize<D: Deserializer<'de>>(self, params: D) -> Result<Self::Value, D::Error> {
        params.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object or an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.names.len()];
        let mut at = 0;
        while let Some(value) = array.next_element()? {
            let Some(place) = values.get_mut(at) else {
                let wanted = format!("left out: there are {} parameters", self.names.len());
                return Err(self.refuse(Error::invalid_params(&at.to_string(), &wanted, value_of(value))));
            };
            *place = Some(value);
            at += 1;
        }
        Ok(values)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.names.len()];
        while let Some(name) = object.next_key::<Cow<'de, str>>()? {
            let value: &RawValue = object.next_value()?;
            let Some(at) = self.names.iter().position(|known| *known == name) else {
                let known = if self.names.is_empty() {
                    "none".to_owned()
                } else {
                    self.names.join(", ")
                };
                let wanted = format!("left out: the parameters are {known}");
                return Err(self.refuse(Error::invalid_params(&name, &wanted, value_of(value))));
            };
            values[at] = Some(value);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["id", "n"];

    fn read(text: &str) -> Result<(Option<&str>, Option<u64>), String> {
        let params = Params::read(Some(text), NAMES).map_err(|error| error.message)?;
        Ok((params.raw(0), params.number(1).map_err(|error| error.message)?))
    }

    #[test]
    fn by_name_or_by_position() {
        assert_eq!(read(r#"{"n":5,"id":"a"}"#), Ok((Some("\"a\""), Some(5))));
        assert_eq!(read(r#"["a",5]"#), Ok((Some("\"a\""), Some(5))));
        assert_eq!(read("[]"), Ok((None, None)));
        assert_eq!(read("[1,5.0]"), Ok((Some("1"), Some(5))));
        assert!(read("[1,5.5]").is_err() && read("[1,1e300]").is_err());
        assert_eq!(read(r#"{"\u0069d":null}"#), Ok((None, None)));
        assert!(Params::read(None, NAMES).unwrap().raw(0).is_none());
    }

    #[test]
    fn a_trace_is_a_good_one_or_an_error() {
        let read = |text: &str| {
            let params = Params::read(Some(text), &["traceparent", "tracestate"]).map_err(|error| error.message)?;
            let trace = params.trace(0).map_err(|error| error.message)?;
            Ok::<_, String>(trace.map(|trace| (trace.parent().to_owned(), trace.state().map(str::to_owned))))
        };
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let with = |state: &str| read(&format!(r#"{{"traceparent":"{parent}","tracestate":{state}}}"#));
        assert_eq!(with("\"a=b\""), Ok(Some((parent.to_owned(), Some("a=b".to_owned())))));
        assert_eq!(with("null"), Ok(Some((parent.to_owned(), None))));
        assert_eq!(read(r#"{"tracestate":"a=b"}"#), Ok(None));
        assert_eq!(read("{}"), Ok(None));
        assert!(
            read(r#"{"traceparent":"00-0"}"#)
                .unwrap_err()
                .contains("`traceparent` must be a W3C traceparent")
        );
        assert!(read(r#"{"traceparent":5}"#).is_err());
        assert!(
            with(r#""a=\u00e9""#)
                .unwrap_err()
                .contains("`tracestate` must be a W3C tracestate")
        );
        assert!(with(&format!("\"{}\"", "a".repeat(513))).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            read(r#"{"x":1}"#).unwrap_err(),
            "The parameter `x` must be left out: the parameters are id, n, not 1."
        );
        assert_eq!(
            read("[1,2,3]").unwrap_err(),
            "The parameter `2` must be left out: there are 2 parameters, not 3."
        );
        assert_eq!(
            read("[1,-2]").unwrap_err(),
            "The parameter `n` must be a whole number, 0 or more, not -2."
        );
    }
}
