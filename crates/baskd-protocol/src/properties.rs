//! What must hold of any bytes whatever. The fuzz targets in tests/fuzz and the tests below check the same.

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::reply;
use crate::request::{Request, same_id, unquote};
use crate::scan::{Members, Scan, Scanner, Span};

const NESTING: usize = 24;
const ENTRIES: usize = 8;

fn scanner() -> Scanner {
    Scanner::new(NESTING, ENTRIES)
}

/// [`Scanner`] finds what serde_json finds, and the same however the bytes are split.
pub fn boundaries(data: &[u8]) {
    let mut whole = scanner();
    let found = whole.scan(data);
    agrees_with_serde(data, found);
    if let Scan::Complete(end) = found {
        notes_what_serde_reads(&data[..end], &whole);
    }
    let notes = |scanner: &Scanner| {
        (
            scanner.members().clone(),
            scanner.entries().to_vec(),
            scanner.entry_count(),
        )
    };
    for cuts in splits(data) {
        let mut split = scanner();
        assert_eq!(scan_split(&mut split, data, &cuts), found, "split at {cuts:?}");
        assert_eq!(notes(&split), notes(&whole), "split at {cuts:?}");
        // What a scanner has seen before leaves nothing behind.
        split.reset();
        assert_eq!((split.scan(data), notes(&split)), (found, notes(&whole)));
        skips_to_the_same_end(data, found, &cuts);
    }
}

/// Scans ever longer beginnings, as a connection does.
fn scan_split(scanner: &mut Scanner, data: &[u8], cuts: &[usize]) -> Scan {
    for cut in cuts {
        match scanner.scan(&data[..*cut]) {
            Scan::Incomplete => {}
            found => return found,
        }
    }
    scanner.scan(data)
}

/// A value that is too large is skipped from some cut on, and its bytes are dropped as they come.
fn skips_to_the_same_end(data: &[u8], found: Scan, cuts: &[usize]) {
    let mut skipping = scanner();
    let mut dropped = 0;
    let ends = cuts.iter().copied().chain([data.len()]);
    for end in ends {
        let shifted = match skipping.scan(&data[dropped..end]) {
            Scan::Incomplete => {
                skipping.skip_rest();
                dropped = end;
                continue;
            }
            Scan::Complete(at) => Scan::Complete(dropped + at),
            Scan::Invalid(at) => Scan::Invalid(dropped + at),
            Scan::TooDeep(at) => Scan::TooDeep(dropped + at),
        };
        assert_eq!(shifted, found, "skipped from {cuts:?}");
        return;
    }
    assert_eq!(found, Scan::Incomplete, "skipped from {cuts:?}");
}

/// Some ways to split: each byte alone, each single cut where these are few, and some that the bytes themselves decide.
fn splits(data: &[u8]) -> Vec<Vec<usize>> {
    let length = data.len();
    if length < 2 {
        return vec![Vec::new()];
    }
    let mut splits = vec![(1..length).collect()];
    if length <= 48 {
        splits.extend((1..length).map(|cut| vec![cut]));
    }
    // FNV-1a: the same bytes are always split alike, so that a failure can be replayed.
    let mut hash = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    for count in 1..4 {
        let mut cuts: Vec<_> = (0..count)
            .map(|_| {
                hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                1 + (hash >> 33) as usize % (length - 1)
            })
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        splits.push(cuts);
    }
    splits
}

/// What serde_json finds at the beginning of some bytes.
#[derive(Debug, PartialEq)]
enum Oracle {
    Value(usize),
    /// More may make it one.
    Unfinished,
    Wrong,
}

fn oracle(data: &[u8]) -> Oracle {
    // Of what is ignored it checks the grammar, and nothing else: no UTF-8, no surrogates, no nesting, no sizes.
    let mut values = serde_json::Deserializer::from_slice(data).into_iter::<IgnoredAny>();
    match values.next() {
        None => Oracle::Unfinished,
        Some(Ok(_)) => Oracle::Value(values.byte_offset()),
        Some(Err(error)) if error.is_eof() => Oracle::Unfinished,
        Some(Err(_)) => Oracle::Wrong,
    }
}

/// Whether these bytes can still become a value.
fn is_unfinished(data: &[u8]) -> bool {
    // serde_json says of a number without its last digits that it is wrong.
    oracle(data) == Oracle::Unfinished || oracle(&[data, b"0"].concat()) == Oracle::Unfinished
}

fn agrees_with_serde(data: &[u8], found: Scan) {
    let opens = |byte: &u8| matches!(byte, b'{' | b'[');
    let first = data.trim_ascii_start().first();
    match found {
        Scan::Complete(end) => assert_eq!(oracle(data), Oracle::Value(end)),
        Scan::Incomplete => assert!(is_unfinished(data)),
        Scan::TooDeep(at) => {
            assert!(opens(&data[at]) && data[..at].iter().filter(|byte| opens(byte)).count() >= NESTING);
            assert!(is_unfinished(&data[..at]));
        }
        Scan::Invalid(at) if first.is_some_and(opens) => {
            // Up to there it can still become a value, and with that byte it can't: not even if what follows would do.
            assert!(is_unfinished(&data[..at]), "{at}");
            assert_eq!(oracle(&[&data[..=at], b"0000"].concat()), Oracle::Wrong, "{at}");
        }
        // A value that is no object and no array, or nothing at all that could begin one.
        Scan::Invalid(at) => assert!(!opens(&data[at]) && data[..at].trim_ascii().is_empty()),
    }
}

/// The members of an object in their order, as serde_json reads them.
struct InOrder<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for InOrder<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = InOrder<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(InOrder(members))
            }
        }
        from.deserialize_map(Read)
    }
}

impl<'a> InOrder<'a> {
    /// None where there is no such member; of several, the last.
    fn last(&self, name: &str) -> Option<&'a str> {
        let mut members = self.0.iter().rev();
        members.find(|(key, _)| key == name).map(|(_, value)| value.get())
    }
}

fn notes_what_serde_reads(value: &[u8], scanner: &Scanner) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    let span = |part: &str| -> Span {
        let start = part.as_ptr() as usize - text.as_ptr() as usize;
        start..start + part.len()
    };
    // A key that no Rust string can hold is none of ours, and serde_json reads nothing of such an object.
    if let Ok(object) = serde_json::from_str::<InOrder<'_>>(text) {
        let told = |name| object.last(name).map(span);
        let members = Members {
            jsonrpc: told("jsonrpc"),
            id: told("id"),
            method: told("method"),
            params: told("params"),
        };
        assert_eq!(scanner.members(), &members);
    } else if let Ok(array) = serde_json::from_str::<Vec<&RawValue>>(text) {
        let entries: Vec<_> = array.iter().take(ENTRIES).map(|entry| span(entry.get())).collect();
        assert_eq!(scanner.entries(), entries);
        assert_eq!(scanner.entry_count(), array.len());
    }
}

/// A message is taken for what serde_json takes it for, and its id is echoed as it was written.
pub fn envelope(data: &[u8]) {
    let mut whole = scanner();
    let Scan::Complete(end) = whole.scan(data) else { return };
    let Ok(text) = std::str::from_utf8(&data[..end]) else {
        return;
    };
    if text.trim_start().starts_with('{') {
        request(text, whole.members());
    }
    for entry in whole.entries() {
        // As a batch is dispatched: each entry is scanned by itself.
        let entry = &text[entry.clone()];
        let mut scanner = scanner();
        if entry.starts_with('{') {
            assert_eq!(scanner.scan(entry.as_bytes()), Scan::Complete(entry.len()));
            request(entry, scanner.members());
        }
    }
}

fn request(text: &str, members: &Members) {
    let read = Request::read(text, members);
    let answer_to = match &read {
        Ok(request) => request.id.unwrap_or("null"),
        Err(invalid) => invalid.id,
    };
    is_echoed(answer_to);
    let Ok(object) = serde_json::from_str::<InOrder<'_>>(text) else {
        return;
    };
    let told = |name| object.last(name);
    let text_of = |name| told(name).and_then(|raw| serde_json::from_str::<String>(raw).ok());
    let is_id = |raw: &str| raw == "null" || raw.starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9'));
    let id = told("id");
    let expected = if id.is_some_and(|raw| !is_id(raw)) || text_of("jsonrpc").as_deref() != Some("2.0") {
        Err("null")
    } else {
        match (text_of("method"), told("params")) {
            (None, _) => Err(id.unwrap_or("null")),
            (Some(method), None | Some("null")) => Ok((id, method, None)),
            (Some(method), Some(params)) if params.starts_with(['{', '[']) => Ok((id, method, Some(params))),
            (Some(_), Some(_)) => Err(id.unwrap_or("null")),
        }
    };
    let read = match &read {
        Ok(request) => Ok((request.id, request.method.clone().into_owned(), request.params)),
        Err(invalid) => Err(invalid.id),
    };
    assert_eq!(read, expected, "{text}");
}

/// An answer bears the very digits, or the very text, and is one line.
fn is_echoed(id: &str) {
    let mut line = Vec::new();
    reply::result(&mut line, id, b"[1]");
    assert!(!line.contains(&b'\n'));
    let line = String::from_utf8(line).unwrap_or_default();
    let answer: InOrder<'_> = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
    assert_eq!(answer.last("id"), Some(id));
    assert_eq!(answer.last("result"), Some("[1]"));
    assert!(same_id(id, id));
    if id.starts_with('"') {
        assert_eq!(unquote(id).map(String::from), serde_json::from_str(id).ok());
    } else {
        assert_eq!(unquote(id), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    /// Whatever fuzzers have found worth keeping.
    fn replay(target: &str, property: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fuzz/corpus")
            .join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            let name = path.display();
            let checked = std::panic::catch_unwind(|| property(&data));
            assert!(checked.is_ok(), "{name}: {:?}", String::from_utf8_lossy(&data));
            count += 1;
        }
        assert!(count > 20, "{} is nearly empty", folder.display());
    }

    #[test]
    fn the_corpus_of_boundaries() {
        replay("boundaries", boundaries);
    }

    #[test]
    fn the_corpus_of_envelopes() {
        replay("envelope", envelope);
    }

    /// Pieces of JSON in any order, most of it wrong.
    fn pieces(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            9 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
    }

    const JSON: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"\\u00e9\"",
        "\\",
        "\\\"",
        "\\u",
        "d8",
        "00",
        "true",
        "fals",
        "null",
        "0",
        "-",
        "1",
        "12",
        ".5",
        "e+",
        "E3",
        " ",
        "\n",
        "\t",
        "\u{e9}",
        "\"id\":",
        "\"params\" :",
        "[[",
        "]]",
        "{}",
    ];

    const MEMBERS: &[&str] = &[
        "{",
        "}",
        "{\"a\":1,",
        ",",
        "\"jsonrpc\":\"2.0\"",
        "\"jsonrpc\":\"2\\u002e0\"",
        "\"jsonrpc\":2.0",
        "\"id\":1",
        "\"id\":12345678901234567890123e5",
        "\"id\":\"x\"",
        "\"id\":\"\\ud800\"",
        "\"id\":\"a\\\"b\"",
        "\"id\":null",
        "\"id\":{}",
        "\"id\":-0.0",
        "\"i\\u0064\":2",
        "\"method\":\"m\"",
        "\"method\":\"\\n\\u00e9\"",
        "\"method\":5",
        "\"params\":[1]",
        "\"params\":{\"id\":9}",
        "\"params\":null",
        "\"params\":3",
        "\"params\":[ ]",
        " ",
        "[{",
        "},{",
        "}]",
        "1",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn boundaries_of_anything(data in prop::collection::vec(any::<u8>(), 0..64)) {
            boundaries(&data);
        }

        #[test]
        fn boundaries_of_pieces(data in pieces(JSON, 40)) {
            boundaries(&data);
        }

        #[test]
        fn envelopes_of_pieces(data in pieces(MEMBERS, 14)) {
            envelope(&data);
            boundaries(&data);
        }

        #[test]
        fn envelopes_of_whole_requests(members in prop::collection::vec(prop::sample::select(&MEMBERS[4..24]), 0..7), batch: bool) {
            let object = format!("{{{}}}", members.join(","));
            let text = if batch { format!("[{object}, {object},1]") } else { object };
            envelope(text.as_bytes());
            boundaries(text.as_bytes());
        }
    }
}
