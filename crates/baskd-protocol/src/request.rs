//! The JSON-RPC envelope of what a client sends, read without decoding what is only carried.

use std::borrow::Cow;

use crate::error::Error;
use crate::scan::Members;

/// A request, or a notification where `id` is None. All parts are borrowed from the message.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// As it was written: a JSON string, number or `null`.
    pub id: Option<&'a str>,
    pub method: Cow<'a, str>,
    /// A JSON object or array.
    pub params: Option<&'a str>,
}

/// Why a message is no request, and the id to answer with (`null` where it can't be told).
#[derive(Debug)]
pub struct Invalid<'a> {
    pub id: &'a str,
    pub error: Error,
}

impl<'a> Request<'a> {
    /// Reads the object `text`, whose members a [`crate::scan::Scanner`] has noted.
    pub fn read(text: &'a str, members: &Members) -> Result<Request<'a>, Invalid<'a>> {
        let member = |span: &Option<crate::scan::Span>| span.clone().map(|span| &text[span]);
        let refuse = |id: &'a str, why: &str| Invalid {
            id,
            error: Error::invalid_request(why),
        };

        let id = match member(&members.id) {
            Some(id) if !is_id(id) => return Err(refuse("null", "`id` must be a string, a number or null")),
            id => id,
        };
        match member(&members.jsonrpc).map(unquote) {
            Some(Some(version)) if version == "2.0" => {}
            _ => return Err(refuse("null", "`jsonrpc` must be \"2.0\"")),
        }
        let answer_to = id.unwrap_or("null");
        let Some(method) = member(&members.method).and_then(unquote) else {
            return Err(refuse(answer_to, "`method` must be a string"));
        };
        let params = match member(&members.params) {
            Some("null") | None => None,
            Some(params) if params.starts_with(['{', '[']) => Some(params),
            Some(_) => return Err(refuse(answer_to, "`params` must be an object or an array")),
        };
        Ok(Request { id, method, params })
    }
}

/// Whether a JSON value may be an id.
pub fn is_id(text: &str) -> bool {
    matches!(text.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9')) || text == "null"
}

/// Whether two ids are the same: numbers by their digits, strings by their value, however each was escaped.
pub fn same_id(a: &str, b: &str) -> bool {
    a == b
        || (a.starts_with('"')
            && (a.contains('\\') || b.contains('\\'))
            && unquote(a).is_some_and(|text| unquote(b) == Some(text)))
}

/// The text of a JSON string; None if it is another value, or holds a lone surrogate, which no Rust string can.
pub fn unquote(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Scan, Scanner};

    fn read(text: &str) -> Result<Request<'_>, (String, String)> {
        let mut scanner = Scanner::new(16, 16);
        assert_eq!(scanner.scan(text.as_bytes()), Scan::Complete(text.len()), "{text}");
        Request::read(text, scanner.members()).map_err(|invalid| (invalid.id.to_owned(), invalid.error.message))
    }

    #[test]
    fn ids_are_kept_as_written() {
        for id in ["1", "-1.50e2", "12345678901234567890123", "\"a\\u0062\"", "null"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
            assert_eq!(read(&text).unwrap().id, Some(id));
        }
        assert_eq!(read(r#"{"jsonrpc":"2.0","method":"m"}"#).unwrap().id, None);
    }

    #[test]
    fn ids_are_compared_by_value() {
        for (a, b, same) in [
            ("1", "1", true),
            ("1", "1.0", false),
            (r#""ab""#, r#""a\u0062""#, true),
            (r#""ab""#, r#""ac""#, false),
            (r#""1""#, "1", false),
            (r#""\ud800""#, "null", false),
        ] {
            assert_eq!(same_id(a, b), same, "{a} {b}");
        }
    }

    #[test]
    fn other_ids_and_a_missing_version_are_answered_with_null() {
        for id in ["true", "{}", "[]", "false"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
            assert_eq!(read(&text).unwrap_err().0, "null");
        }
        for text in [
            r#"{"id":1,"method":"m"}"#,
            r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
            "{}",
        ] {
            assert_eq!(read(text).unwrap_err().0, "null", "{text}");
        }
    }

    #[test]
    fn a_wrong_method_or_params_is_answered_with_the_id() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","params":"bar"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
        ] {
            assert_eq!(read(text).unwrap_err().0, "1", "{text}");
        }
    }

    #[test]
    fn a_method_is_unescaped_and_params_are_carried() {
        let text = r#"{"jsonrpc":"2.0","method":"\u006d","params": [1, 2]}"#;
        let request = read(text).unwrap();
        assert_eq!((request.method.as_ref(), request.params), ("m", Some("[1, 2]")));
        assert_eq!(
            read(r#"{"jsonrpc":"2.0","method":"m","params":null}"#).unwrap().params,
            None
        );
    }
}
