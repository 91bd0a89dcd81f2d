//! Which call printed a line: the tags that the router puts before what Python prints, `ESC _ baskd;ID;METHOD ESC \`.
//!
//! A tag means what follows it, to the end of the line or the next tag. Whatever looks like one and is none stays in the
//! line. Anybody who prints can print a tag, too: it says no more than who is to be named for the rest of their line.

use std::borrow::Cow;
use std::str;

use super::page::SLOT_BITS;
use crate::logs::Caller;

const START: &[u8] = b"\x1b_baskd;";
const END: &[u8] = b"\x1b\\";
const LONGEST_NAME: usize = 256;
const LONGEST_NUMBER: usize = 20;
const LONGEST: usize = START.len() + LONGEST_NUMBER + 1 + LONGEST_NAME + END.len();

/// A part of a line, which one call has printed, or nobody knows who.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) about: Option<Caller>,
    pub(super) text: Cow<'a, [u8]>,
}

/// Takes the tags off a line, or what is left of one that was broken, which `about` has written so far. There are several
/// parts only if several calls have written in it.
pub(super) fn parts(line: &[u8], about: Option<Caller>) -> Vec<Part<'_>> {
    let mut parts = vec![Part {
        about,
        text: Cow::Borrowed(&[][..]),
    }];
    let mut rest = line;
    loop {
        let (before, tag) = next_tag(rest);
        if let Some(part) = parts.last_mut() {
            append(&mut part.text, before);
        }
        let Some((about, after)) = tag else { break };
        rest = after;
        match parts.last_mut() {
            Some(part) if part.about.as_ref() == Some(&about) => {}
            // A line that begins with a tag has nothing before it.
            Some(part) if part.text.is_empty() => part.about = Some(about),
            _ => parts.push(Part {
                about: Some(about),
                text: Cow::Borrowed(&[][..]),
            }),
        }
    }
    parts
}

/// Where a line that is too long is broken, `most` at most: not within a tag.
pub(super) fn break_at(line: &[u8], most: usize) -> usize {
    let end = line.len().min(most);
    let from = end.saturating_sub(LONGEST);
    for at in memchr::memchr_iter(START[0], &line[from..end]) {
        if from + at > 0 && is_begun(&line[from + at..end]) {
            return from + at;
        }
    }
    end
}

/// Whether this may be the beginning of a tag, and not all of it.
fn is_begun(bytes: &[u8]) -> bool {
    match bytes.strip_prefix(START) {
        Some(after) => memchr::memmem::find(after, END).is_none(),
        None => START.starts_with(bytes),
    }
}

fn append<'a>(text: &mut Cow<'a, [u8]>, more: &'a [u8]) {
    if text.is_empty() {
        *text = Cow::Borrowed(more);
    } else if !more.is_empty() {
        text.to_mut().extend_from_slice(more);
    }
}

/// What comes before the next tag; and that, with what comes after it.
fn next_tag(line: &[u8]) -> (&[u8], Option<(Caller, &[u8])>) {
    for at in memchr::memmem::find_iter(line, START) {
        if let Some(tag) = read_tag(&line[at..]) {
            return (&line[..at], Some(tag));
        }
    }
    (line, None)
}

fn read_tag(bytes: &[u8]) -> Option<(Caller, &[u8])> {
    let bytes = bytes.strip_prefix(START)?;
    let digits = bytes.iter().take(LONGEST_NUMBER + 1).position(|&byte| byte == b';')?;
    let id: u64 = str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    let call = Some(id >> SLOT_BITS).filter(|call| *call > 0)?;
    let bytes = &bytes[digits + 1..];
    let near = &bytes[..bytes.len().min(LONGEST_NAME + END.len())];
    let end = memchr::memmem::find(near, END)?;
    let method = str::from_utf8(&bytes[..end]).ok()?;
    if method.is_empty() || method.chars().any(char::is_control) {
        return None;
    }
    let about = Caller {
        call,
        method: method.to_owned(),
    };
    Some((about, &bytes[end + END.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> Vec<(Option<(u64, String)>, String)> {
        parts(line.as_bytes(), None)
            .into_iter()
            .map(|part| {
                let about = part.about.map(|about| (about.call, about.method));
                (about, String::from_utf8(part.text.into_owned()).unwrap())
            })
            .collect()
    }

    fn tag(call: u64, method: &str) -> String {
        format!("\x1b_baskd;{};{method}\x1b\\", call << SLOT_BITS | 5)
    }

    fn of(call: u64, method: &str, text: &str) -> (Option<(u64, String)>, String) {
        (Some((call, method.to_owned())), text.to_owned())
    }

    fn nobodys(text: &str) -> (Option<(u64, String)>, String) {
        (None, text.to_owned())
    }

    #[test]
    fn a_tag_is_taken_off() {
        assert_eq!(told("hello"), [nobodys("hello")]);
        assert_eq!(told(""), [nobodys("")]);
        assert_eq!(told(&format!("{}hello", tag(7, "search"))), [of(7, "search", "hello")]);
        assert_eq!(told(&tag(7, "größe")), [of(7, "größe", "")]);
    }

    #[test]
    fn the_same_one_again_changes_nothing() {
        let tag = tag(7, "a");
        assert_eq!(told(&format!("{tag}one, {tag}two{tag}")), [of(7, "a", "one, two")]);
    }

    #[test]
    fn another_one_begins_a_line() {
        let line = format!("C{}one{}two{}three", tag(7, "a"), tag(8, "b"), tag(7, "a"));
        assert_eq!(
            told(&line),
            [nobodys("C"), of(7, "a", "one"), of(8, "b", "two"), of(7, "a", "three")]
        );
    }

    #[test]
    fn what_is_no_tag_stays() {
        let long = format!("\x1b_baskd;5;{}\x1b\\x", "m".repeat(300));
        for line in [
            "\x1b_baskd;x;a\x1b\\x",
            "\x1b_baskd;;a\x1b\\x",
            "\x1b_baskd;5;\x1b\\x",
            "\x1b_baskd;5;a\x1b\\ of call 0",
            "\x1b_baskd;5;a",
            "\x1b_baskd;5",
            "\x1b_baskd;99999999999999999999999;a\x1b\\",
            "\x1b_baskd;5;a\tb\x1b\\",
            "\x1b_baskd;-5;a\x1b\\",
            "\x1b_\x1b_",
            long.as_str(),
        ] {
            assert_eq!(told(line), [nobodys(line)]);
            let after = format!("{line}{}it", tag(1, "b"));
            assert_eq!(told(&after).last(), Some(&of(1, "b", "it")), "{line:?}");
        }
        assert_eq!(parts(b"\x1b_baskd;5;\xff\x1b\\x", None)[0].about, None);
    }

    #[test]
    fn a_long_line_is_not_broken_within_a_tag() {
        let tag = tag(7, "search");
        for before in 0..tag.len() + 5 {
            let line = format!("{}{tag}{}", "x".repeat(100), "y".repeat(100));
            let at = break_at(line.as_bytes(), 100 + before);
            let (first, second) = line.split_at(at);
            let texts: String = [first, second]
                .iter()
                .flat_map(|half| told(half))
                .map(|(_, text)| text)
                .collect();
            assert_eq!(texts, "x".repeat(100) + &"y".repeat(100), "{before}");
            assert!(at >= 100 || before == 0, "{before} {at}");
        }
    }

    #[test]
    fn a_long_line_is_broken_somewhere() {
        for line in [
            "\x1b_baskd;".to_owned() + &"5".repeat(500),
            "\x1b".repeat(500),
            "x".repeat(500),
        ] {
            let at = break_at(line.as_bytes(), 400);
            assert!(at > 0 && at <= 400, "{at}");
        }
    }
}
