//! What one line of a connection is, told in one pass, and without one where the daemon wrote it.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a line is.
#[derive(Debug, PartialEq)]
pub(crate) enum Line {
    /// With the id of the request, if it can be one of this client's.
    Answer(Option<u64>),
    Notification,
    /// jsonrpsee's client ends a connection on which such is said, and so it should.
    Nonsense,
}

impl Line {
    pub(crate) fn of(line: &[u8]) -> Line {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            #[serde(borrow)]
            method: Option<&'a RawValue>,
        }

        // What the daemon writes is recognised by how it begins, which spares a second pass over large results.
        if line.starts_with(b"{\"jsonrpc\":\"2.0\",\"method\":") {
            return Line::Notification;
        }
        if let Some(id) = leading_id(line) {
            return Line::Answer(id);
        }
        match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            // The answer to a batch, and this client sends none; or nothing.
            Some(b'[') | None => return Line::Answer(None),
            Some(_) => return Line::Nonsense,
        }
        match serde_json::from_slice::<Envelope>(line) {
            Ok(Envelope { method: Some(_), .. }) => Line::Notification,
            Ok(Envelope { id, .. }) => Line::Answer(id.and_then(|id| id.get().parse().ok())),
            Err(_) => Line::Nonsense,
        }
    }
}

/// The id of a message that begins as jsonrpsee's requests and the daemon's answers do; within, None if it is no
/// number.
pub(crate) fn leading_id(message: &[u8]) -> Option<Option<u64>> {
    let rest = message.strip_prefix(b"{\"jsonrpc\":\"2.0\",\"id\":")?;
    let end = rest.iter().position(|&byte| byte == b',')?;
    let digits = std::str::from_utf8(&rest[..end]).ok()?;
    Some(digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_notifications() {
        let kind = |line: &str| Line::of(line.as_bytes());
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":7,"result":1}"#), Line::Answer(Some(7)));
        assert_eq!(
            kind(r#"{"result":{"id":3},"id":7,"jsonrpc":"2.0"}"#),
            Line::Answer(Some(7))
        );
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#), Line::Answer(None));
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":"a,b","error":{}}"#), Line::Answer(None));
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#),
            Line::Answer(None)
        );
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","method":"stream.item","params":{"id":1}}"#),
            Line::Notification
        );
        assert_eq!(
            kind(r#"{"params":{"id":1},"method":"stream.item","jsonrpc":"2.0"}"#),
            Line::Notification
        );
        assert_eq!(kind("[]"), Line::Answer(None));
        assert_eq!(kind("nonsense"), Line::Nonsense);
        assert_eq!(kind("{"), Line::Nonsense);
    }
}
