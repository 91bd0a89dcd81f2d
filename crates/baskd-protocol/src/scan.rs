//! Where does a JSON value end, and is it JSON at all?
//!
//! [`Scanner`] walks the bytes of one object or array once, however they are split into reads: it stops at the end of
//! what it is given and goes on from there. It checks the whole grammar of RFC 8259 but for UTF-8 (which
//! [`std::str::from_utf8`] does faster, once, at the end), so that what it accepts can be carried to Python and back
//! without being parsed again. On the way it notes where the members of a request, or the entries of a batch, are.

use std::ops::Range;

/// A member's or entry's place, counted from the value's first byte.
pub type Span = Range<usize>;

/// What [`Scanner::scan`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// The value goes on after the bytes given.
    Incomplete,
    /// The value ends before this offset, counted from its first byte.
    Complete(usize),
    /// The byte at this offset can't be there.
    Invalid(usize),
    /// The bracket at this offset nests deeper than allowed.
    TooDeep(usize),
}

/// The members of a request, each where it stood last.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Members {
    pub jsonrpc: Option<Span>,
    pub id: Option<Span>,
    pub method: Option<Span>,
    pub params: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// A value or `]`.
    ValueOrEnd,
    /// A key must come.
    Key,
    /// A key or `}`.
    KeyOrEnd,
    Colon,
    /// `,` or the bracket that closes.
    After,
    Text,
    Escape,
    /// So many hex digits of `\uXXXX` are still to come.
    Hex(u8),
    /// `true`, `false` or `null` (0, 1, 2), of which so many bytes were seen.
    Literal(u8, u8),
    Number(Number),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    /// The state after `byte`, or None where the number ends before it.
    fn after(self, byte: u8) -> Option<Number> {
        use Number::*;
        match (self, byte) {
            (Minus, b'0') => Some(Zero),
            (Minus, b'1'..=b'9') => Some(Integer),
            (Integer, b'0'..=b'9') => Some(Integer),
            (Zero | Integer, b'.') => Some(Point),
            (Point | Fraction, b'0'..=b'9') => Some(Fraction),
            (Zero | Integer | Fraction, b'e' | b'E') => Some(Exponent),
            (Exponent, b'+' | b'-') => Some(ExponentSign),
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => Some(ExponentDigits),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Number::Zero | Number::Integer | Number::Fraction | Number::ExponentDigits
        )
    }
}

const LITERALS: [&[u8]; 3] = [b"true", b"false", b"null"];

/// One value's scan. [`Scanner::reset`] makes it ready for the next.
#[derive(Debug)]
pub struct Scanner {
    state: State,
    at: usize,
    /// The open brackets, outermost first.
    open: Vec<u8>,
    max_nesting: usize,
    /// Whether the string under way is a key.
    in_key: bool,
    /// The member whose value is awaited or under way at depth 1.
    member: Member,
    /// Where the key, and where the value at depth 1, began.
    key_start: usize,
    value_start: usize,
    members: Members,
    entries: Vec<Span>,
    entry_count: usize,
    max_entries: usize,
    noting: bool,
}

impl Scanner {
    /// `max_nesting`: how many brackets may be open at once. `max_entries`: how many entries of a batch are noted; the
    /// others are only counted.
    pub fn new(max_nesting: usize, max_entries: usize) -> Scanner {
        Scanner {
            state: State::Value,
            at: 0,
            open: Vec::new(),
            max_nesting,
            in_key: false,
            member: Member::Other,
            key_start: 0,
            value_start: 0,
            members: Members::default(),
            entries: Vec::new(),
            entry_count: 0,
            max_entries,
            noting: true,
        }
    }

    pub fn reset(&mut self) {
        self.state = State::Value;
        self.at = 0;
        self.open.clear();
        self.members = Members::default();
        self.entries.clear();
        self.entry_count = 0;
        self.noting = true;
    }

    /// The members noted so far; whole only after [`Scan::Complete`].
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The entries of a batch, as many as were to be noted.
    pub fn entries(&self) -> &[Span] {
        &self.entries
    }

    /// How many entries a batch has.
    pub fn entry_count(&self) -> usize {
        self.entry_count
    }

    /// Stops noting members and forgets the bytes seen, so that the rest of a value that is too large can be skipped:
    /// the next [`Scanner::scan`] is given only new bytes.
    pub fn skip_rest(&mut self) {
        self.noting = false;
        self.at = 0;
    }

    /// Goes on with `bytes`, which begin with the value's first byte (after [`Scanner::skip_rest`]: with the first byte
    /// not seen yet).
    pub fn scan(&mut self, bytes: &[u8]) -> Scan {
        while self.at < bytes.len() {
            let byte = bytes[self.at];
            match self.state {
                State::Text => match text_end(&bytes[self.at..]) {
                    None => {
                        self.at = bytes.len();
                        return Scan::Incomplete;
                    }
                    Some(skipped) => {
                        self.at += skipped;
                        match bytes[self.at] {
                            b'"' => self.close_text(bytes),
                            b'\\' => self.state = State::Escape,
                            _ => return Scan::Invalid(self.at),
                        }
                    }
                },
                State::Escape => match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.state = State::Text,
                    b'u' => self.state = State::Hex(4),
                    _ => return Scan::Invalid(self.at),
                },
                State::Hex(left) => match byte {
                    b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => {
                        self.state = if left == 1 { State::Text } else { State::Hex(left - 1) };
                    }
                    _ => return Scan::Invalid(self.at),
                },
                State::Literal(which, seen) => {
                    let word = LITERALS[which as usize];
                    if word[seen as usize] != byte {
                        return Scan::Invalid(self.at);
                    }
                    if seen as usize + 1 == word.len() {
                        self.close_value(self.at + 1);
                    } else {
                        self.state = State::Literal(which, seen + 1);
                    }
                }
                State::Number(number) => match number.after(byte) {
                    Some(next) => self.state = State::Number(next),
                    None if number.may_end() => {
                        // The byte that ends a number belongs to what follows: it is looked at again.
                        self.close_value(self.at);
                        continue;
                    }
                    None => return Scan::Invalid(self.at),
                },
                _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {}
                State::Value | State::ValueOrEnd => match byte {
                    b']' if self.state == State::ValueOrEnd => {
                        if let Some(end) = self.close_bracket(b'[') {
                            return end;
                        }
                    }
                    _ => {
                        if self.open.len() == 1 {
                            self.value_start = self.at;
                        }
                        if let Some(refusal) = self.open_value(byte) {
                            return refusal;
                        }
                    }
                },
                State::Key | State::KeyOrEnd => match byte {
                    b'"' => {
                        self.in_key = true;
                        self.key_start = self.at;
                        self.state = State::Text;
                    }
                    b'}' if self.state == State::KeyOrEnd => {
                        if let Some(end) = self.close_bracket(b'{') {
                            return end;
                        }
                    }
                    _ => return Scan::Invalid(self.at),
                },
                State::Colon => match byte {
                    b':' => self.state = State::Value,
                    _ => return Scan::Invalid(self.at),
                },
                State::After => {
                    let inside = self.open.last().copied();
                    match (byte, inside) {
                        (b',', Some(b'{')) => self.state = State::Key,
                        (b',', Some(_)) => self.state = State::Value,
                        (b'}', Some(b'{')) | (b']', Some(b'[')) => {
                            if let Some(end) = self.close_bracket(if byte == b'}' { b'{' } else { b'[' }) {
                                return end;
                            }
                        }
                        _ => return Scan::Invalid(self.at),
                    }
                }
            }
            self.at += 1;
        }
        Scan::Incomplete
    }

    fn open_value(&mut self, byte: u8) -> Option<Scan> {
        match byte {
            b'{' | b'[' => {
                if self.open.len() >= self.max_nesting {
                    return Some(Scan::TooDeep(self.at));
                }
                self.open.push(byte);
                self.state = if byte == b'{' {
                    State::KeyOrEnd
                } else {
                    State::ValueOrEnd
                };
            }
            // Only an object or an array can be told to have ended by its last byte.
            _ if self.open.is_empty() => return Some(Scan::Invalid(self.at)),
            b'"' => {
                self.in_key = false;
                self.state = State::Text;
            }
            b't' => self.state = State::Literal(0, 1),
            b'f' => self.state = State::Literal(1, 1),
            b'n' => self.state = State::Literal(2, 1),
            b'-' => self.state = State::Number(Number::Minus),
            b'0' => self.state = State::Number(Number::Zero),
            b'1'..=b'9' => self.state = State::Number(Number::Integer),
            _ => return Some(Scan::Invalid(self.at)),
        }
        None
    }

    fn close_text(&mut self, bytes: &[u8]) {
        if !self.in_key {
            return self.close_value(self.at + 1);
        }
        self.state = State::Colon;
        // The key is looked at while its bytes are at hand: only four matter, so nothing grows with the number of
        // members.
        if self.open.len() == 1 && self.noting {
            self.member = Member::named(&bytes[self.key_start..self.at + 1]);
        }
    }

    fn close_value(&mut self, end: usize) {
        self.state = State::After;
        if self.open.len() == 1 {
            self.note(end);
        }
    }

    fn close_bracket(&mut self, expected: u8) -> Option<Scan> {
        debug_assert_eq!(self.open.last(), Some(&expected));
        self.open.pop();
        self.state = State::After;
        match self.open.len() {
            0 => Some(Scan::Complete(self.at + 1)),
            1 => {
                self.note(self.at + 1);
                None
            }
            _ => None,
        }
    }

    /// A value at depth 1 has ended: it is a member's, or an entry of a batch.
    fn note(&mut self, end: usize) {
        if self.open[0] == b'[' {
            self.entry_count += 1;
        }
        if !self.noting {
            return;
        }
        let span = self.value_start..end;
        if self.open[0] == b'[' {
            if self.entries.len() < self.max_entries {
                self.entries.push(span);
            }
            return;
        }
        match self.member {
            Member::Jsonrpc => self.members.jsonrpc = Some(span),
            Member::Id => self.members.id = Some(span),
            Member::Method => self.members.method = Some(span),
            Member::Params => self.members.params = Some(span),
            Member::Other => {}
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Member {
    Jsonrpc,
    Id,
    Method,
    Params,
    Other,
}

impl Member {
    fn named(quoted: &[u8]) -> Member {
        let unescaped;
        let name = if memchr::memchr(b'\\', quoted).is_some() {
            unescaped = serde_json::from_slice::<String>(quoted).unwrap_or_default();
            unescaped.as_bytes()
        } else {
            &quoted[1..quoted.len() - 1]
        };
        match name {
            b"jsonrpc" => Member::Jsonrpc,
            b"id" => Member::Id,
            b"method" => Member::Method,
            b"params" => Member::Params,
            _ => Member::Other,
        }
    }
}

/// The offset of the first byte that a string's plain run can't hold: a quote, a backslash or a control character.
fn text_end(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let mut chunks = bytes.chunks_exact(8);
    let mut at = 0;
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_ne_bytes(word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        // A borrow can mark a byte too many, never one too few: the bytes of a marked word are looked at singly.
        if (has_zero(word ^ (ONES * u64::from(b'"'))) | has_zero(word ^ (ONES * u64::from(b'\\'))) | control) != 0
            && let Some(found) = chunk.iter().position(ends_plain_run)
        {
            return Some(at + found);
        }
        at += 8;
    }
    chunks
        .remainder()
        .iter()
        .position(ends_plain_run)
        .map(|found| at + found)
}

fn ends_plain_run(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(text: &[u8]) -> Scan {
        Scanner::new(128, 1024).scan(text)
    }

    #[test]
    fn ends_where_the_value_ends() {
        assert_eq!(scan(b"{}{}"), Scan::Complete(2));
        let value = br#"[1, 2.5e+3, -0, "a\"]", {"b": [true, null]}]"#;
        assert_eq!(scan(&[value, &b" []"[..]].concat()), Scan::Complete(value.len()));
        assert_eq!(scan(b"{\"a\":1"), Scan::Incomplete);
        assert_eq!(scan(b"[12"), Scan::Incomplete);
    }

    #[test]
    fn refuses_what_is_not_json_at_its_first_wrong_byte() {
        for (text, at) in [
            ("{\"a\" 1}", 5),
            ("[1,]", 3),
            ("{,}", 1),
            ("[01]", 2),
            ("[1.]", 3),
            ("[-]", 2),
            ("[tru]", 4),
            ("{\"a\":1]", 6),
            ("[\"a\nb\"]", 3),
            ("[\"\\x\"]", 3),
            ("[\"\\u12g4\"]", 6),
            ("{1:2}", 1),
            ("{\"a\":1,}", 7),
            ("3", 0),
        ] {
            assert_eq!(scan(text.as_bytes()), Scan::Invalid(at), "{text}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let deep = vec![b'['; 100_000];
        assert_eq!(scan(&deep), Scan::TooDeep(128));
        let fits = [vec![b'['; 128], vec![b']'; 128]].concat();
        assert_eq!(scan(&fits), Scan::Complete(256));
    }

    #[test]
    fn notes_members_and_entries() {
        let text = br#"{"id" : 7, "m\u0065thod":"f","params":{"id":1},"x":[1], "id": 8,"jsonrpc":"2.0"}"#;
        let mut scanner = Scanner::new(128, 2);
        assert_eq!(scanner.scan(text), Scan::Complete(text.len()));
        let at = |span: &Option<Span>| std::str::from_utf8(&text[span.clone().unwrap()]).unwrap();
        let members = scanner.members();
        assert_eq!(
            (
                at(&members.id),
                at(&members.method),
                at(&members.params),
                at(&members.jsonrpc)
            ),
            ("8", "\"f\"", "{\"id\":1}", "\"2.0\"")
        );

        scanner.reset();
        let text = b"[ {} ,[1], 2,\"x\"]";
        assert_eq!(scanner.scan(text), Scan::Complete(text.len()));
        assert_eq!(scanner.entry_count(), 4);
        assert_eq!(scanner.entries(), [2..4, 6..9]);
    }

    #[test]
    fn the_rest_of_a_large_value_can_be_skipped() {
        let mut scanner = Scanner::new(128, 8);
        assert_eq!(scanner.scan(b"{\"id\":5,\"params\":[\"aaaa"), Scan::Incomplete);
        assert_eq!(scanner.members().id, Some(6..7));
        scanner.skip_rest();
        assert_eq!(scanner.scan(b"aaa"), Scan::Incomplete);
        scanner.skip_rest();
        assert_eq!(scanner.scan(b"\"]}{"), Scan::Complete(3));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_found_whole_however_it_is_split(value in json(), pretty: bool, cuts in prop::collection::vec(0usize..400, 0..6)) {
            let value = serde_json::json!([value]);
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.sort_unstable();
            let mut scanner = Scanner::new(128, 8);
            for cut in cuts {
                prop_assert_eq!(scanner.scan(&text.as_bytes()[..cut]), Scan::Incomplete);
            }
            prop_assert_eq!(scanner.scan(text.as_bytes()), Scan::Complete(text.len()));
        }

        #[test]
        fn agrees_with_serde_json_on_what_is_json(mut text in prop_oneof![
            "[\\[\\]{}\",:0-9eE.+\\-truefalsn \\\\u]{0,24}",
            json().prop_map(|value| value.to_string()),
        ], at: prop::sample::Index, byte in 0x20u8..0x7f, damage: bool) {
            text.insert(0, '[');
            text.push(']');
            if damage && text.is_ascii() {
                let mut bytes = text.into_bytes();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                text = String::from_utf8(bytes).unwrap();
            }
            // serde_json also refuses lone surrogates and numbers beyond f64, which are JSON by its grammar.
            prop_assume!(!text.contains("\\u") && !text.contains(['e', 'E']));
            let ours = matches!(scan(text.as_bytes()), Scan::Complete(end) if end == text.len());
            let theirs = text.starts_with(['[', '{']) && serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }
}
