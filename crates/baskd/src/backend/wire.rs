//! The lines between the daemon and the router, as PROTOCOL.md has them.
//!
//! The router writes an envelope's bytes always in the same way, so a reply is told by its prefix and its value is
//! carried without a look. Whatever does not have that form is [`Line::Garbage`]: the child is the user's program, and
//! may be as broken as it likes.

use baskd_protocol::reply::push_number;
use baskd_protocol::trace::Trace;
use serde::Deserialize;
use serde_json::Value;

/// How many values there may be in what a router tells of its controller. It is the one thing of Python's that is decoded,
/// and some of them take a hundred times as much memory as they have bytes.
const MOST_PARTS: usize = 1 << 18;

#[derive(Debug, PartialEq)]
pub(crate) enum Line<'a> {
    Result { id: u64, value: &'a [u8] },
    Error { id: u64, value: &'a [u8] },
    Item { id: u64, data: &'a [u8] },
    Begun,
    Ready(Box<Ready>),
    Failed(Failed),
    Garbage,
}

/// What a router says of its controller when it is ready.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Ready {
    pub(crate) protocol: u32,
    pub(crate) version: String,
    pub(crate) python: String,
    pub(crate) codec: String,
    pub(crate) controller: String,
    #[serde(default)]
    pub(crate) doc: Option<String>,
    #[serde(default)]
    pub(crate) stateless: bool,
    /// Of `on_snapshot` and `on_restore`, those that the controller has.
    #[serde(default)]
    pub(crate) hooks: Vec<String>,
    /// The files that the controller is made of.
    #[serde(default)]
    pub(crate) files: Vec<String>,
    pub(crate) methods: Vec<Method>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Method {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) doc: Option<String>,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) concurrent: bool,
    #[serde(default)]
    pub(crate) idempotent: bool,
    pub(crate) params: Vec<Parameter>,
    #[serde(default)]
    pub(crate) whole: bool,
    #[serde(default)]
    pub(crate) extra: bool,
    #[serde(default)]
    pub(crate) result: Value,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) schema: Value,
    #[serde(default)]
    pub(crate) default: Option<Value>,
}

/// Why a router could not start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Failed {
    pub(crate) stage: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) traceback: String,
    #[serde(default)]
    pub(crate) files: Vec<String>,
}

impl Ready {
    pub(crate) fn has_hook(&self, hook: &str) -> bool {
        self.hooks.iter().any(|has| has == hook)
    }
}

impl Failed {
    /// What the router tells is more than may be.
    pub(crate) fn too_much(what: &str) -> Failed {
        Failed::unreadable(&serde::de::Error::custom(what))
    }

    fn unreadable(error: &serde_json::Error) -> Failed {
        Failed {
            stage: "describe".to_owned(),
            kind: "ProtocolError".to_owned(),
            message: format!("what the router tells of it can't be read: {error}"),
            traceback: String::new(),
            files: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct Start {
    ready: Option<Box<Ready>>,
    failed: Option<Failed>,
}

impl Line<'_> {
    /// Reads a line, given without its newline.
    pub(crate) fn parse(line: &[u8]) -> Line<'_> {
        if let Some(rest) = line.strip_prefix(b"{\"id\":")
            && let Some((id, rest)) = number(rest)
            && let Some(rest) = rest.strip_suffix(b"}")
        {
            if let Some(value) = rest.strip_prefix(b",\"result\":") {
                return Line::Result { id, value };
            }
            if let Some(value) = rest.strip_prefix(b",\"error\":") {
                return Line::Error { id, value };
            }
        } else if let Some(rest) = line.strip_prefix(b"__STREAM__{\"id\":")
            && let Some((id, rest)) = number(rest)
            && let Some(data) = rest
                .strip_prefix(b",\"data\":")
                .and_then(|rest| rest.strip_suffix(b"}"))
        {
            return Line::Item { id, data };
        } else if let Some(rest) = line.strip_prefix(b"{\"begun\":")
            && let Some((_, b"}")) = number(rest)
        {
            return Line::Begun;
        } else if line.starts_with(b"{") {
            // Each value follows one of these, or the key that does.
            if memchr::memchr3_iter(b'[', b'{', b',', line).nth(MOST_PARTS).is_some() {
                return Line::Failed(Failed::too_much(
                    "it has too many parts: are there very large default values?",
                ));
            }
            return match serde_json::from_slice(line) {
                Ok(Start {
                    ready: Some(mut ready), ..
                }) => {
                    ready.methods.retain(|method| needs_no_escape(&method.name));
                    Line::Ready(ready)
                }
                Ok(Start {
                    failed: Some(failed), ..
                }) => Line::Failed(failed),
                Err(error) if line.starts_with(b"{\"ready\":") || line.starts_with(b"{\"failed\":") => {
                    Line::Failed(Failed::unreadable(&error))
                }
                _ => Line::Garbage,
            };
        }
        Line::Garbage
    }
}

/// Whether a method's name can be in a line as it is, as Python's identifiers can.
fn needs_no_escape(name: &str) -> bool {
    !name.contains(|letter: char| letter == '"' || letter == '\\' || letter.is_control())
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 19 {
        return None;
    }
    let number = bytes[..digits].iter().fold(0u64, |number, digit| {
        number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    Some((number, &bytes[digits..]))
}

/// What a call's line says beside its id.
pub(crate) struct CallLine<'a> {
    /// One of the controller's own names, which are Python identifiers: they need no escapes.
    pub(crate) method: &'a str,
    pub(crate) params: Option<&'a str>,
    pub(crate) window: Option<(u64, u64)>,
    pub(crate) trace: Option<&'a Trace>,
}

pub(crate) fn push_call(out: &mut Vec<u8>, id: u64, call: &CallLine<'_>) {
    out.extend_from_slice(b"{\"id\":");
    push_number(out, id);
    out.extend_from_slice(b",\"method\":\"");
    out.extend_from_slice(call.method.as_bytes());
    out.push(b'"');
    if let Some(params) = call.params {
        out.extend_from_slice(b",\"params\":");
        push_on_one_line(out, params.as_bytes());
    }
    if let Some((items, bytes)) = call.window {
        out.extend_from_slice(b",\"window\":[");
        push_number(out, items);
        out.push(b',');
        push_number(out, bytes);
        out.push(b']');
    }
    if let Some(trace) = call.trace {
        push_trace(out, trace);
    }
    out.extend_from_slice(b"}\n");
}

fn push_trace(out: &mut Vec<u8>, trace: &Trace) {
    let texts: Vec<_> = std::iter::once(trace.parent()).chain(trace.state()).collect();
    // Texts always can be written.
    if let Ok(json) = serde_json::to_vec(&texts) {
        out.extend_from_slice(b",\"trace\":");
        out.extend_from_slice(&json);
    }
}

/// Copies JSON, a pretty-printed one's newlines as spaces: outside of strings they mean nothing, and inside there are
/// none.
fn push_on_one_line(out: &mut Vec<u8>, json: &[u8]) {
    let start = out.len();
    out.extend_from_slice(json);
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'\n', b'\r', &out[at..]) {
        out[at + found] = b' ';
        at += found + 1;
    }
}

pub(crate) fn push_cancel(out: &mut Vec<u8>, id: u64) {
    out.extend_from_slice(b"{\"cancel\":");
    push_number(out, id);
    out.extend_from_slice(b"}\n");
}

pub(crate) fn push_more(out: &mut Vec<u8>, id: u64, items: u64, bytes: u64) {
    out.extend_from_slice(b"{\"more\":[");
    push_number(out, id);
    out.push(b',');
    push_number(out, items);
    out.push(b',');
    push_number(out, bytes);
    out.extend_from_slice(b"]}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_end_their_string_are_left_out() {
        let line = br#"{"ready":{"protocol":1,"version":"1","python":"3","codec":"json","controller":"C","methods":[
            {"name":"a\",\"method\":\"hidden","kind":"plain","params":[]},{"name":"a\\","kind":"plain","params":[]},
            {"name":"a\nb","kind":"plain","params":[]},{"name":"gr\u00fc\u00dfe","kind":"plain","params":[]}]}}"#;
        let Line::Ready(ready) = Line::parse(line) else {
            panic!("{:?}", Line::parse(line));
        };
        let names: Vec<_> = ready.methods.iter().map(|method| method.name.as_str()).collect();
        assert_eq!(names, ["gr\u{fc}\u{df}e"]);
    }

    #[test]
    fn replies_are_told_by_their_prefix() {
        assert_eq!(
            Line::parse(br#"{"id":7,"result":{"a":1}}"#),
            Line::Result {
                id: 7,
                value: br#"{"a":1}"#
            }
        );
        assert_eq!(
            Line::parse(br#"{"id":7,"error":{}}"#),
            Line::Error { id: 7, value: b"{}" }
        );
        assert_eq!(
            Line::parse(br#"__STREAM__{"id":70,"data":null}"#),
            Line::Item { id: 70, data: b"null" }
        );
        assert_eq!(Line::parse(br#"{"begun":70}"#), Line::Begun);
    }

    #[test]
    fn anything_else_is_garbage() {
        for line in [
            &b""[..],
            b"x",
            b"{",
            b"{}",
            b"[]",
            b"__STREAM__",
            b"__STREAM__{\"id\":1}",
            b"{\"id\":}",
            b"{\"id\":1,\"result\":",
            b"{\"id\":1",
            b"{\"id\":99999999999999999999,\"result\":1}",
            b"{\"other\":1}",
            b"{\"begun\":",
            b"{\"begun\":{\"id\":7,\"result\":1}",
            b"\xff\xfe",
        ] {
            assert_eq!(Line::parse(line), Line::Garbage, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_greeting_that_cannot_be_read_is_a_failure_and_says_why() {
        for line in [
            &b"{\"ready\":1}"[..],
            b"{\"failed\":{}}",
            b"{\"ready\":{\"doc\":\"\\ud800\"}}",
        ] {
            assert!(
                matches!(Line::parse(line), Line::Failed(_)),
                "{}",
                String::from_utf8_lossy(line)
            );
        }
    }

    #[test]
    fn a_greeting_of_too_many_parts_is_not_decoded() {
        for unit in ["[", "0,", "{\"\":"] {
            let line = format!("{{\"ready\":{{\"methods\":[{}", unit.repeat(300_000));
            let Line::Failed(failed) = Line::parse(line.as_bytes()) else {
                panic!("{unit}");
            };
            assert!(failed.message.contains("too many parts"), "{}", failed.message);
        }
    }

    #[test]
    fn a_call_has_its_trace() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let line = |state| {
            let trace = Trace::new(parent, state).unwrap();
            let mut out = Vec::new();
            let (method, params, window) = ("f", Some("[1]"), None);
            push_call(
                &mut out,
                9,
                &CallLine {
                    method,
                    params,
                    window,
                    trace: Some(&trace),
                },
            );
            String::from_utf8(out).unwrap()
        };
        let start = format!("{{\"id\":9,\"method\":\"f\",\"params\":[1],\"trace\":[\"{parent}\"");
        assert_eq!(line(None), format!("{start}]}}\n"));
        assert_eq!(line(Some(r#"a="\"#)), format!("{start},\"a=\\\"\\\\\"]}}\n"));
    }

    #[test]
    fn a_call_is_one_line_however_its_params_were_printed() {
        let mut out = Vec::new();
        let mut line = CallLine {
            method: "f",
            params: Some("{\n  \"a\": \"x\\ny\"\r\n}"),
            window: Some((5, 100)),
            trace: None,
        };
        push_call(&mut out, 9, &line);
        (line.method, line.params, line.window) = ("g", None, None);
        push_call(&mut out, 10, &line);
        push_cancel(&mut out, 9);
        push_more(&mut out, 9, 0, 512);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"id\":9,\"method\":\"f\",\"params\":{   \"a\": \"x\\ny\"  },\"window\":[5,100]}\n{\"id\":10,\"method\":\"g\"}\n{\"cancel\":9}\n{\"more\":[9,0,512]}\n"
        );
    }
}
