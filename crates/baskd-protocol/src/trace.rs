//! W3C trace context: which trace a call belongs to. It is checked here and nowhere else, and carried as it came.
//!
//! <https://www.w3.org/TR/trace-context/>

/// How long a `tracestate` may be, and a `traceparent` of a version to come.
pub const MAX_BYTES: usize = 512;

/// `traceparent` is `VERSION-TRACE-PARENT-FLAGS`: where each of them ends.
const VERSION_END: usize = 2;
const TRACE_END: usize = VERSION_END + 1 + 32;
const PARENT_END: usize = TRACE_END + 1 + 16;
const FLAGS_END: usize = PARENT_END + 1 + 2;

/// What a `traceparent` has to be, for whoever is told that his is not.
pub const WANTED_PARENT: &str =
    "a W3C traceparent, as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, in lower case, no id all zeros";

/// What a `tracestate` has to be.
pub const WANTED_STATE: &str = "a W3C tracestate: printable ASCII, 512 bytes at most";

/// A call's place in a trace: a `traceparent` that was found good, and the `tracestate` that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    parent: Box<str>,
    state: Option<Box<str>>,
}

impl Trace {
    /// None if `parent` is no `traceparent`. A `state` that is none is left out, as W3C has it: it is of less weight.
    #[must_use]
    pub fn new(parent: &str, state: Option<&str>) -> Option<Trace> {
        is_parent(parent).then(|| Trace {
            parent: parent.into(),
            state: state
                .filter(|state| is_state(state) && !state.is_empty())
                .map(Into::into),
        })
    }

    #[must_use]
    pub fn parent(&self) -> &str {
        &self.parent
    }

    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The 32 digits by which all spans of the trace are found.
    #[must_use]
    pub fn id(&self) -> &str {
        self.parent.get(VERSION_END + 1..TRACE_END).unwrap_or_default()
    }
}

/// Whether this is a `traceparent`: of version 00 to the letter; of a later one as far as it looks like that, whatever
/// follows after one more dash. There is no version ff.
#[must_use]
pub fn is_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < FLAGS_END || bytes.len() > MAX_BYTES || !text.is_ascii() {
        return false;
    }
    let version = &bytes[..VERSION_END];
    let (trace, parent) = (&bytes[VERSION_END + 1..TRACE_END], &bytes[TRACE_END + 1..PARENT_END]);
    let dashes = [VERSION_END, TRACE_END, PARENT_END]
        .into_iter()
        .all(|at| bytes[at] == b'-');
    let hex = [version, trace, parent, &bytes[PARENT_END + 1..FLAGS_END]]
        .into_iter()
        .all(is_hex);
    let rest = &bytes[FLAGS_END..];
    let may_follow = rest.is_empty() || (version != b"00" && rest[0] == b'-' && rest.iter().all(u8::is_ascii_graphic));
    dashes && hex && version != b"ff" && !is_zero(trace) && !is_zero(parent) && may_follow
}

/// Whether this can be a `tracestate`. What its members mean is between those who wrote them and those who read them.
#[must_use]
pub fn is_state(text: &str) -> bool {
    text.len() <= MAX_BYTES && text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

fn is_hex(digits: &[u8]) -> bool {
    digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(digits: &[u8]) -> bool {
    digits.iter().all(|digit| *digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_what_w3c_says() {
        let with = |from: &str, to: &str| PARENT.replacen(from, to, 1);
        for good in [
            PARENT.to_owned(),
            with("-01", "-00"),
            with("-01", "-ff"),
            // Of versions to come what is known is read, whatever follows it.
            with("00-", "cc-"),
            with("00-", "cc-") + "-what-the-future-will-be-like",
            with("00-", "fe-") + "-",
        ] {
            assert!(is_parent(&good), "{good}");
        }
        for bad in [
            String::new(),
            "00".to_owned(),
            with("00-", "ff-"),
            with("00-", "0-"),
            with("4bf9", "4BF9"),
            with("4bf9", "4bg9"),
            with("-00f067aa0ba902b7", "-00F067AA0BA902B7"),
            with("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            with("00f067aa0ba902b7", &"0".repeat(16)),
            with("-01", "-1"),
            with("-01", "-0x"),
            with("-01", ""),
            with("-00f", "_00f"),
            PARENT.to_owned() + "-00",
            PARENT.to_owned() + "-",
            PARENT.to_owned() + "\n",
            format!(" {PARENT}"),
            with("00-", "cc-") + ".what",
            with("00-", "cc-") + "-what ever",
            with("00-", "cc-") + "-é",
            with("00-", "cc-") + "-" + &"x".repeat(MAX_BYTES),
            "é".repeat(28),
        ] {
            assert!(!is_parent(&bad), "{bad}");
        }
    }

    #[test]
    fn a_trace_has_its_id_and_a_state_that_can_be_one() {
        let trace = Trace::new(PARENT, Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")).unwrap();
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent(), PARENT);
        assert_eq!(trace.state(), Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
        let long = "x".repeat(MAX_BYTES + 1);
        for none in ["", "é", "a=\n", &long] {
            assert_eq!(Trace::new(PARENT, Some(none)).unwrap().state(), None, "{none}");
        }
        assert!(Trace::new("00", Some("a=b")).is_none());
    }
}
