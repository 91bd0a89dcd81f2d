//! Text that others have made up, as a terminal may get it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text without what a terminal would obey: characters that control it, or turn the order of others around. They are
/// shown instead. It is one line; tabs stay.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    shown(text, does_something)
}

/// The same for several lines.
pub(crate) fn harmless_lines(text: &str) -> Cow<'_, str> {
    shown(text, |character| character != '\n' && does_something(character))
}

fn shown(text: &str, is_shown: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_shown) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            _ if !is_shown(character) => shown.push(character),
            // As `cat -v` has them.
            '\0'..='\x1f' | '\x7f' => {
                shown.push('^');
                shown.push((character as u8 ^ 0x40) as char);
            }
            _ => {
                // A String takes all.
                let _ = write!(shown, "\\u{{{:x}}}", character as u32);
            }
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal, or whoever takes a text apart into lines, might do something about it. A tab is harmless.
pub(crate) fn does_something(character: char) -> bool {
    let turns = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let breaks = matches!(character, '\u{2028}' | '\u{2029}');
    turns || breaks || (character.is_control() && character != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing() {
        assert_eq!(harmless("plain é\ttab"), "plain é\ttab");
        assert_eq!(harmless("\x1b[31mred\x07\r\x7f\0\n"), "^[[31mred^G^M^?^@^J");
        assert_eq!(harmless("\u{9b}31m\u{202e}x"), "\\u{9b}31m\\u{202e}x");
        assert_eq!(harmless("\u{61c}\u{2028}\u{2029}"), "\\u{61c}\\u{2028}\\u{2029}");
        assert_eq!(harmless_lines("one\n\ttwo\r\n\x1b]0;x\x07"), "one\n\ttwo^M\n^[]0;x^G");
    }
}
