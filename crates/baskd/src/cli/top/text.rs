//! Text for a terminal: made harmless, made to fit, and numbers as people read them.

use ratatui::text::Span;

use crate::cli::harmless::does_something;
pub(crate) use crate::cli::status::words::{count, every as rate, grouped, size};

/// What is cut off as it comes: a line is drawn in one row, and nobody reads on for longer.
const LONGEST: usize = 2000;
/// How many marks may stand on one letter. Each would make a cell longer, and none wider.
const MARKS: usize = 8;

/// Takes away what would be more than text: whole escape sequences, with what they carry, and whatever else a terminal
/// might obey or that would change how the rest reads. A tab becomes a space, another control character a `·`.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    let mut characters = text.chars().peekable();
    let mut marks = 0;
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => match characters.next_if(|next| !next.is_control()) {
                Some('[') => skip_csi(&mut characters),
                // OSC, DCS, SOS, PM and APC carry a text up to ST, or to BEL.
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut characters),
                // Of two or three characters.
                Some(' '..='/') => _ = characters.next_if(|next| !next.is_control()),
                _ => {}
            },
            '\u{9b}' => skip_csi(&mut characters),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut characters),
            '\t' => cleaned.push(' '),
            _ if character.is_control() => cleaned.push('·'),
            _ if is_invisible(character) => {}
            _ => {
                let mut bytes = [0; 4];
                let is_mark = Span::raw(&*character.encode_utf8(&mut bytes)).width() == 0;
                marks = if is_mark { marks + 1 } else { 0 };
                // A mark has nothing to stand on at the beginning.
                if marks <= MARKS && !(is_mark && cleaned.is_empty()) {
                    cleaned.push(character);
                }
            }
        }
        if cleaned.len() > LONGEST {
            cleaned.push('…');
            break;
        }
    }
    let kept = cleaned.trim_end().len();
    cleaned.truncate(kept);
    cleaned
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_csi(characters: &mut Characters<'_>) {
    while characters.next_if(|next| matches!(next, ' '..='?')).is_some() {}
    characters.next_if(|next| matches!(next, '@'..='~'));
}

/// One that never ends takes the rest with it: nobody can tell what was meant to be text.
fn skip_string(characters: &mut Characters<'_>) {
    while let Some(character) = characters.next() {
        match character {
            '\x07' | '\u{9c}' => return,
            '\x1b' if characters.next_if_eq(&'\\').is_some() => return,
            _ => {}
        }
    }
}

/// Characters that turn the direction of what follows, or that show nothing and take no room.
fn is_invisible(character: char) -> bool {
    does_something(character)
        || matches!(character,
        '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200c}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

pub(crate) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The beginning of a text, in at most so many columns; that it goes on is told by a `…`.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut left = columns.saturating_sub(1);
    for grapheme in Span::raw(text).styled_graphemes(ratatui::style::Style::new()) {
        let wide = width(grapheme.symbol);
        if wide > left {
            break;
        }
        left -= wide;
        fitted.push_str(grapheme.symbol);
    }
    if columns > 0 {
        fitted.push('…');
    }
    fitted
}

/// The end of a text, in at most so many columns: of a path, what tells it from others.
pub(crate) fn fit_end(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let span = Span::raw(text);
    let graphemes: Vec<&str> = span
        .styled_graphemes(ratatui::style::Style::new())
        .map(|grapheme| grapheme.symbol)
        .collect();
    let mut left = columns.saturating_sub(1);
    let mut from = graphemes.len();
    while from > 0 && width(graphemes[from - 1]) <= left {
        from -= 1;
        left -= width(graphemes[from]);
    }
    let dots = if columns > 0 { "…" } else { "" };
    format!("{dots}{}", graphemes[from..].concat())
}

/// As [`fit`], and filled up with spaces.
pub(crate) fn left(text: &str, columns: usize) -> String {
    let fitted = fit(text, columns);
    let missing = columns.saturating_sub(width(&fitted));
    format!("{fitted}{}", " ".repeat(missing))
}

/// The same, at the right.
pub(crate) fn right(text: &str, columns: usize) -> String {
    let fitted = fit(text, columns);
    let missing = columns.saturating_sub(width(&fitted));
    format!("{}{fitted}", " ".repeat(missing))
}

/// Milliseconds, from microseconds to minutes.
pub(crate) fn latency(ms: f64) -> String {
    match ms {
        ms if !ms.is_finite() => "longer".to_owned(),
        ms if ms < 1.0 => format!("{:.0} µs", ms * 1000.0),
        ms if ms < 10.0 => format!("{} ms", short(ms)),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{} s", short(ms / 1000.0)),
        ms => format!("{} min", short(ms / 60_000.0)),
    }
}

/// How long something lasts, in a column: `12 ms`, `1.2 s`, `1m 21s`, `2h 01m`, `12d 3h`.
pub(crate) fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..10 => format!("{seconds}.{} s", ms % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_taken_away() {
        for (dirty, cleaned) in [
            ("plain — ünïcode 日本 🎉", "plain — ünïcode 日本 🎉"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b[2J\x1b[H\x1b[?1049lgone", "gone"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]52;c;c3RvbGVu\x1b\\after", "after"),
            ("\x1b_baskd;7;f\x1b\\said", "said"),
            ("\x1bPdevice\u{9c}after", "after"),
            ("\u{9b}31mred\u{9d}x\u{9c}!", "red!"),
            ("\x1b]never ends", ""),
            ("\x1b(0lines\x1bcreset", "linesreset"),
            ("\x1b\x1b[1mtwice", "twice"),
            ("cut \x1b[", "cut"),
            ("cut \x1b", "cut"),
            ("a\tb\rc\nd\x07e\x08f\0g\x7fh", "a b·c·d·e·f·g·h"),
            ("right\u{202e}tfel\u{2066}", "righttfel"),
            ("no\u{200b}thing\u{feff}", "nothing"),
            ("end   ", "end"),
        ] {
            assert_eq!(clean(dirty), cleaned, "{dirty:?}");
        }
    }

    #[test]
    fn marks_and_length_have_an_end() {
        let marks = "\u{301}".repeat(1000);
        assert_eq!(clean(&format!("{marks}a{marks}b")).chars().count(), 2 + MARKS);
        let long = clean(&"x".repeat(1_000_000));
        assert!(long.len() < LONGEST + 10 && long.ends_with('…'));
    }

    #[test]
    fn what_is_too_long_is_cut_by_columns() {
        assert_eq!(fit("search", 6), "search");
        assert_eq!(fit("search", 5), "sear…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!((fit("search", 1), fit("search", 0)), ("…".to_owned(), String::new()));
        assert_eq!(fit_end("/home/me/controller.py", 14), "…controller.py");
        assert_eq!(left("ab", 4) + &right("ab", 4), "ab    ab");
        assert_eq!(width(&left("日本語", 4)), 4);
    }

    #[test]
    fn ages_are_short() {
        assert_eq!(
            [12, 1234, 59_900, 61_000, 7_260_000, 90_000_000, 86_400_000 * 365].map(age),
            ["12 ms", "1.2 s", "59 s", "1m 01s", "2h 01m", "1d 1h", "365d 0h"]
        );
    }

    #[test]
    fn numbers() {
        assert_eq!(
            [0.05, 1.0, 2.5, 250.0, 2500.0, 60_000.0, f64::INFINITY].map(latency),
            ["50 µs", "1 ms", "2.5 ms", "250 ms", "2.5 s", "1 min", "longer"]
        );
    }
}
