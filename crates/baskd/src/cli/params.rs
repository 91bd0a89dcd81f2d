//! The parameters of a call as they are typed: `key=value`, `key:=JSON`, `key=@FILE`, `key:=@FILE`, JSON, or `-`.
//!
//! Values stay JSON text from the first to the last, so that no number loses a digit.

use std::fs;
use std::io::{self, Read};

use serde_json::value::{RawValue, to_raw_value};

use super::exit::Failure;

/// The params that the arguments of a call make; None if there are none. Members that are given one by one are added to
/// those of an object given as JSON, and take the place of its own of that name.
pub(crate) fn read(arguments: &[String]) -> Result<Option<Box<RawValue>>, Failure> {
    from(arguments, || {
        let mut text = String::new();
        io::stdin()
            .lock()
            .read_to_string(&mut text)
            .map_err(|error| Failure::Usage(format!("can't read params from stdin: {error}")))?;
        Ok(text)
    })
}

fn from(arguments: &[String], stdin: impl Fn() -> Result<String, Failure>) -> Result<Option<Box<RawValue>>, Failure> {
    let mut whole: Option<Box<RawValue>> = None;
    let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
    for argument in arguments {
        let source = match argument.as_str() {
            "-" => stdin()?,
            json if json.trim_start().starts_with(['{', '[']) => json.to_owned(),
            pair => {
                set(&mut members, member(pair)?);
                continue;
            }
        };
        if whole.is_some() {
            return Err(Failure::Usage(
                "params can be given as JSON only once: put both into one object".to_owned(),
            ));
        }
        whole = Some(object_or_array(&source)?);
    }
    match whole {
        None if arguments.is_empty() => Ok(None),
        None => object(&members).map(Some),
        Some(whole) if members.is_empty() => Ok(Some(whole)),
        Some(whole) => merged(&whole, members).map(Some),
    }
}

/// One `key=value`, in any of its forms.
pub(crate) fn member(argument: &str) -> Result<(String, Box<RawValue>), Failure> {
    let Some((key, value)) = argument.split_once('=') else {
        return Err(Failure::Usage(format!(
            "`{argument}` has no name: write it as name={argument}, or give all params as one JSON object or array"
        )));
    };
    let (key, json) = match key.strip_suffix(':') {
        Some(key) => (key, true),
        None => (key, false),
    };
    if key.is_empty() {
        return Err(Failure::Usage(format!(
            "`{argument}` has no name before its `=`: write name=value"
        )));
    }
    let value = if json {
        json_value(key, value)?
    } else {
        text_value(value)?
    };
    Ok((key.to_owned(), value))
}

/// A JSON scalar where it reads as one, else text; the text of a file after an `@`.
pub(crate) fn text_value(value: &str) -> Result<Box<RawValue>, Failure> {
    if let Some(file) = value.strip_prefix('@') {
        return string(&file_text(file)?);
    }
    match serde_json::from_str::<Box<RawValue>>(value) {
        // White space around a value isn't part of it as JSON, but is as text.
        Ok(raw) if raw.get() == value && !value.starts_with(['{', '[']) => Ok(raw),
        _ => string(value),
    }
}

fn json_value(key: &str, value: &str) -> Result<Box<RawValue>, Failure> {
    let (text, place) = match value.strip_prefix('@') {
        Some(file) => (file_text(file)?, file),
        None => (value.to_owned(), value),
    };
    serde_json::from_str(&text).map_err(|error| {
        Failure::Usage(format!(
            "`{place}` is no JSON ({error}): write {key}={value} if you mean it as text"
        ))
    })
}

fn file_text(file: &str) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| {
        Failure::Usage(match error.kind() {
            io::ErrorKind::InvalidData => {
                format!("the file {file} is not UTF-8 text: pass its path instead, and let the method read it")
            }
            _ => {
                format!("can't read the file {file}: {error} (for a text that begins with an @, write name:='\"@…\"')")
            }
        })
    })
}

fn object_or_array(text: &str) -> Result<Box<RawValue>, Failure> {
    match serde_json::from_str::<Box<RawValue>>(text) {
        Ok(raw) if raw.get().starts_with(['{', '[']) => Ok(raw),
        Ok(raw) => Err(Failure::Usage(format!(
            "params are a JSON object or array, not `{}`",
            raw.get()
        ))),
        Err(error) => Err(Failure::Usage(format!("the params are no JSON: {error}"))),
    }
}

fn merged(whole: &RawValue, members: Vec<(String, Box<RawValue>)>) -> Result<Box<RawValue>, Failure> {
    if whole.get().starts_with('[') {
        return Err(Failure::Usage(
            "params are either an array or have names: give all of them one way".to_owned(),
        ));
    }
    let given = serde_json::from_str::<Members>(whole.get())
        .map_err(|error| Failure::Usage(format!("the params are no JSON object: {error}")))?;
    let mut all = Vec::new();
    for member in given.0.into_iter().chain(members) {
        set(&mut all, member);
    }
    object(&all)
}

/// Of members given twice the last counts.
fn set(members: &mut Vec<(String, Box<RawValue>)>, (key, value): (String, Box<RawValue>)) {
    match members.iter_mut().find(|(there, _)| *there == key) {
        Some(member) => member.1 = value,
        None => members.push((key, value)),
    }
}

fn string(text: &str) -> Result<Box<RawValue>, Failure> {
    to_raw_value(text).map_err(|error| Failure::Failed(format!("can't write JSON: {error}")))
}

fn object(members: &[(String, Box<RawValue>)]) -> Result<Box<RawValue>, Failure> {
    let mut text = String::from("{");
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(string(key)?.get());
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    RawValue::from_string(text).map_err(|error| Failure::Failed(format!("can't write JSON: {error}")))
}

/// An object's members in their order, undecoded.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(arguments: &[&str]) -> Result<String, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        match from(&arguments, || Ok(r#" {"from": "stdin"} "#.to_owned())) {
            Ok(Some(raw)) => Ok(raw.get().to_owned()),
            Ok(None) => Ok("none".to_owned()),
            Err(Failure::Usage(text)) => Err(text),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn ok(arguments: &[&str]) -> String {
        params(arguments).unwrap()
    }

    #[test]
    fn scalars_and_text() {
        assert_eq!(ok(&[]), "none");
        assert_eq!(ok(&["by=5"]), r#"{"by":5}"#);
        assert_eq!(
            ok(&["a=1.500", "b=true", "c=null", r#"d="5""#]),
            r#"{"a":1.500,"b":true,"c":null,"d":"5"}"#
        );
        assert_eq!(
            ok(&["a=five", "b=", "c= 5", "d=05", "e=NaN"]),
            r#"{"a":"five","b":"","c":" 5","d":"05","e":"NaN"}"#
        );
        assert_eq!(ok(&["a=[1]", "b={}"]), r#"{"a":"[1]","b":"{}"}"#);
        assert_eq!(ok(&["n=12345678901234567890123"]), r#"{"n":12345678901234567890123}"#);
        assert_eq!(ok(&["url=http://x/?a=b:=c"]), r#"{"url":"http://x/?a=b:=c"}"#);
        assert_eq!(ok(&["a=1", "b=2", "a=3"]), r#"{"a":3,"b":2}"#);
        assert_eq!(ok(&["quo\"te=1"]), r#"{"quo\"te":1}"#);
    }

    #[test]
    fn json() {
        assert_eq!(ok(&["a:=[1, 2]"]), r#"{"a":[1, 2]}"#);
        assert_eq!(ok(&[r#"{"a": 1.0}"#]), r#"{"a": 1.0}"#);
        assert_eq!(ok(&["[1, 2]"]), "[1, 2]");
        assert_eq!(ok(&["-"]), r#"{"from": "stdin"}"#);
        assert_eq!(ok(&["-", "a=1", "from=here"]), r#"{"from":"here","a":1}"#);
    }

    #[test]
    fn files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f").display().to_string();
        fs::write(&file, "{\"a\":\n1}\n").unwrap();
        assert_eq!(ok(&[&format!("x=@{file}")]), r#"{"x":"{\"a\":\n1}\n"}"#);
        assert_eq!(ok(&[&format!("x:=@{file}")]), "{\"x\":{\"a\":\n1}}");
        fs::write(&file, b"\xff").unwrap();
        assert!(params(&[&format!("x=@{file}")]).unwrap_err().contains("not UTF-8"));
        assert!(
            params(&["x=@/nowhere"])
                .unwrap_err()
                .contains("can't read the file /nowhere")
        );
    }

    #[test]
    fn slips_are_explained() {
        assert!(params(&["5"]).unwrap_err().contains("name=5"));
        assert!(params(&["=5"]).unwrap_err().contains("name=value"));
        assert!(params(&[":=5"]).unwrap_err().contains("name=value"));
        assert!(params(&["a:=five"]).unwrap_err().contains("a=five"));
        assert!(params(&["{", "a=1"]).unwrap_err().contains("no JSON"));
        assert!(params(&["{}", "[]"]).unwrap_err().contains("only once"));
        assert!(params(&["[1]", "a=1"]).unwrap_err().contains("array"));
    }
}
