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
    let lines = text.split_inclusive('\n').map(|line| match line.starts_with(MARK) {
        true => format!("{MARK}{sum}\n"),
        false => line.to_owned(),
    });
    lines.collect()
}

/// FNV-1a, of all lines but the mark's. It finds what was changed, and guards against nobody.
fn checksum(text: &str) -> String {
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with(MARK));
    let sum = lines.flat_map(str::bytes).fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
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
        ] {
            assert_eq!(author(&edited), Author::Edited, "{edited}");
            assert_eq!(author(&sign(&edited)), Author::Us);
        }
        assert_eq!(author("a = 1\n"), Author::Other);
        assert_eq!(sign("a = 1\n"), "a = 1\n");
    }
}
