//! The last error that a client was answered with, kept so that keeping it costs little more than copying it: a client
//! may be answered with a hundred thousand of them a second, and few ever ask.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use baskd_protocol::error::ErrorCode;
use serde_json::{Value, json};

use super::code_of;
use crate::backend::Known;

/// So many characters of its message are told, which may each be written in so many bytes.
const CHARS: usize = 200;
const KEPT: usize = 64 + 12 * CHARS;

#[derive(Default)]
pub(crate) struct LastError(RefCell<Option<Kept>>);

struct Kept {
    /// The beginning of the error object.
    error: Vec<u8>,
    /// None if it is no method's.
    method: Option<Rc<Known>>,
    at: Instant,
}

impl LastError {
    pub(crate) fn keep(&self, error: &[u8], method: Option<&Rc<Known>>, at: Instant) {
        let mut last = self.0.borrow_mut();
        let kept = last.get_or_insert_with(|| Kept {
            error: Vec::with_capacity(KEPT),
            method: None,
            at,
        });
        kept.error.clear();
        kept.error.extend_from_slice(&error[..error.len().min(KEPT)]);
        kept.method = method.cloned();
        kept.at = at;
    }

    /// As `last_error` of `daemon.status`.
    pub(crate) fn told(&self) -> Value {
        let last = self.0.borrow();
        let Some(kept) = &*last else { return Value::Null };
        let code = code_of(&kept.error);
        let at = SystemTime::now().checked_sub(kept.at.elapsed());
        let at_ms = at
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |at| at.as_millis() as u64);
        json!({
            "code": code,
            "name": ErrorCode::from_code(code).map(ErrorCode::name),
            "method": kept.method.as_ref().map(|method| &method.name),
            "message": message_of(&kept.error).unwrap_or_default(),
            "at_ms": at_ms,
        })
    }
}

/// The message in an error object, of which the beginning may be all there is. It comes after the code in all that the
/// daemon and its router write.
fn message_of(error: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"\"message\":";
    let start = memchr::memmem::find(error, KEY)? + KEY.len();
    let text = &error[start..];
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let message = serde_json::Deserializer::from_slice(text)
        .into_iter::<String>()
        .next()?
        .or_else(|_| serde_json::from_slice(&closed(text)))
        .ok()?;
    Some(match message.char_indices().nth(CHARS) {
        Some((end, _)) => message[..end].to_owned(),
        None => message,
    })
}

/// A JSON string whose end is missing, ended: without what may be half of a letter.
fn closed(text: &[u8]) -> Vec<u8> {
    // The longest that one letter can be is two escapes of six bytes each; a cut at a letter's border is found in them.
    let cut = (0..12.min(text.len())).map(|less| {
        let mut cut = text[..text.len() - less].to_vec();
        cut.push(b'"');
        cut
    });
    let mut whole = cut.filter(|cut| serde_json::from_slice::<String>(cut).is_ok());
    whole.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use baskd_protocol::error::Error;

    fn kept(error: &[u8]) -> Value {
        let last = LastError::default();
        last.keep(error, None, Instant::now());
        last.told()
    }

    #[test]
    fn it_is_told_by_code_and_name() {
        assert_eq!(LastError::default().told(), Value::Null);
        let told = kept(&Error::parse("it is \"bad\"").to_json());
        assert_eq!((&told["code"], &told["name"]), (&json!(-32700), &json!("ParseError")));
        assert!(told["message"].as_str().unwrap().contains("it is \"bad\""), "{told}");
        assert!(told["at_ms"].as_u64().unwrap() > 1_600_000_000_000);
        let told = kept(br#"{"code":5,"message":"own"}"#);
        assert_eq!((&told["code"], &told["name"]), (&json!(5), &Value::Null));
    }

    #[test]
    fn a_long_message_is_cut_at_a_letter() {
        for letter in ["a", "\u{e4}", "\u{1f600}", "\\n", "\\u00e4", "\\ud83d\\ude00"] {
            for before in 0..12 {
                let text = format!("{}{}", "x".repeat(before), letter.repeat(3000));
                let told = kept(format!(r#"{{"code":-32020,"message":"{text}","data":null}}"#).as_bytes());
                let message = told["message"].as_str().unwrap();
                assert_eq!(message.chars().count(), CHARS, "{letter}");
            }
        }
    }
}
