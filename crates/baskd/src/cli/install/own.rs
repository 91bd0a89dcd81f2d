//! Whose words a file holds: a line in it has the checksum of all others, as `install` wrote them. What a person has
//! changed since is so told from what was never touched, without any record beside it.

/// The line begins so, in a unit and in TOML.
const MARK: &str = "# baskd install: ";

/// Who wrote what a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// `install`, and nobody since.
    Us,
    /// `install`, and somebody has edited it.
    Edited,
    /// Somebody else.
    Other,
}

pub(super) fn author(text: &str) -> Author {
    match text.lines().find_map(|line| line.strip_prefix(MARK)) {
        Some(sum) if sum == checksum(text) => Author::Us,
        Some(_) => Author::Edited,
        None => Author::Other,
    }
}

/// A file of ours: comments that say what it is, the mark, and what it is about.
pub(super) fn signed(comments: &[String], body: &str) -> String {
    let comments: String = comments.iter().map(|line| format!("# {line}\n")).collect();
    sign(&format!("{comments}{MARK}\n{body}"))
}

/// Renews the mark's sum.
pub(super) fn sign(text: &str) -> String {
    let sum = checksum(text);
    let Some((before, _, after)) = parts(text) else {
        return text.to_owned();
    };
    format!("{before}{MARK}{sum}\n{after}")
}

/// What stands before the mark, the mark's line, and what follows it. The first one is the mark: a person may write
/// another such line.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if line.starts_with(MARK) {
            return Some((&text[..start], line, &text[end..]));
        }
        start = end;
    }
    None
}

/// FNV-1a, of all lines but the mark's. It finds what was changed, and guards against nobody.
fn checksum(text: &str) -> String {
    let (before, _, after) = parts(text).unwrap_or((text, "", ""));
    let sum = before
        .bytes()
        .chain(after.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{sum:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_has_changed_is_theirs() {
        let text = signed(&["Written by us.".to_owned()], "a = 1\nb = 2\n");
        assert!(text.starts_with("# Written by us.\n# baskd install: "), "{text}");
        assert_eq!(author(&text), Author::Us);
        for edited in [
            text.replace("a = 1", "a = 3"),
            text.replace("us.", "me."),
            format!("{text}\n"),
            format!("{text}{MARK}not theirs to touch\n"),
        ] {
            assert_eq!(author(&edited), Author::Edited, "{edited}");
            assert_eq!(author(&sign(&edited)), Author::Us);
        }
        assert_eq!(author("a = 1\n"), Author::Other);
        assert_eq!(sign("a = 1\n"), "a = 1\n");
    }
}
