//! Lines of text with colours: rows of a label and what it says, tables whose columns are aligned; cut to a terminal's
//! width, and plain where nobody looks at them.

use ratatui::text::Span;

use crate::cli::harmless::harmless;

/// What a piece of text means, which is a colour where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// What only helps to read the rest.
    Quiet,
    Title,
    Good,
    Warning,
    Bad,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Quiet => "\x1b[2m",
            Tone::Title => "\x1b[1m",
            Tone::Good => "\x1b[32m",
            Tone::Warning => "\x1b[33m",
            Tone::Bad => "\x1b[31m",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Piece {
    text: String,
    tone: Tone,
}

/// A piece of text in this tone. What a controller or a client may have made up is in it: what would steer a terminal is
/// shown instead.
pub(super) fn piece(text: impl AsRef<str>, tone: Tone) -> Piece {
    // In a row or a column there is one line.
    let text = harmless(&text.as_ref().replace(['\n', '\t'], " ")).into_owned();
    Piece { text, tone }
}

pub(super) fn plain(text: impl AsRef<str>) -> Piece {
    piece(text, Tone::Plain)
}

pub(super) fn quiet(text: impl AsRef<str>) -> Piece {
    piece(text, Tone::Quiet)
}

/// As a terminal shows it.
fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Columns, with a head; the first of each row is on the left, as is the last, which is not padded.
pub(super) struct Table {
    head: Vec<&'static str>,
    /// Which columns have their texts on the left. The others are numbers.
    left: Vec<bool>,
    rows: Vec<Vec<Piece>>,
}

impl Table {
    /// `columns`: what is at their head, and whether it is on the left.
    pub(super) fn new(columns: &[(&'static str, bool)]) -> Table {
        Table {
            head: columns.iter().map(|(head, _)| *head).collect(),
            left: columns.iter().map(|(_, left)| *left).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<Piece>) {
        self.rows.push(cells);
    }
}

#[derive(Default)]
pub(super) struct Page(Vec<Row>);

enum Row {
    Line(Vec<Piece>),
    Labelled(&'static str, Vec<Piece>),
}

impl Page {
    pub(super) fn line(&mut self, pieces: Vec<Piece>) {
        self.0.push(Row::Line(pieces));
    }

    /// An empty line, unless there is one, or nothing yet.
    pub(super) fn gap(&mut self) {
        if self.0.last().is_some_and(|row| !row.is_empty()) {
            self.line(Vec::new());
        }
    }

    /// `label`: empty where the line goes on with what the one above says.
    pub(super) fn row(&mut self, label: &'static str, pieces: Vec<Piece>) {
        self.0.push(Row::Labelled(label, pieces));
    }

    pub(super) fn table(&mut self, table: Table) {
        let head: Vec<_> = table.head.iter().map(quiet).collect();
        let rows: Vec<_> = std::iter::once(head).chain(table.rows).collect();
        let widest = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(&cell.text))
                .max()
        };
        let widths: Vec<_> = (0..table.left.len())
            .map(|column| widest(column).unwrap_or(0))
            .collect();
        for row in rows {
            let mut pieces = Vec::new();
            for (column, cell) in row.into_iter().enumerate() {
                let padding = " ".repeat(widths[column].saturating_sub(width(&cell.text)));
                if column > 0 {
                    pieces.push(plain("  "));
                }
                let (before, after) = if table.left[column] {
                    ("", padding.as_str())
                } else {
                    (padding.as_str(), "")
                };
                pieces.extend([plain(before), cell, plain(after)]);
            }
            self.line(pieces);
        }
    }

    /// `columns`: the terminal's, if it is one. `colours`: whether it is to have any.
    pub(super) fn finish(self, columns: Option<usize>, colours: bool) -> String {
        let labels = self.0.iter().map(|row| match row {
            Row::Line(_) => 0,
            Row::Labelled(label, _) => label.len(),
        });
        let label_width = labels.max().unwrap_or(0);
        let lines = self.0.into_iter().map(|row| {
            let pieces = match row {
                Row::Line(pieces) => pieces,
                Row::Labelled(label, pieces) => {
                    let label = quiet(format!("{label:label_width$}  "));
                    std::iter::once(label).chain(pieces).collect()
                }
            };
            drawn(pieces, columns, colours)
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Row {
    fn is_empty(&self) -> bool {
        matches!(self, Row::Line(pieces) if pieces.is_empty())
    }
}

/// One line, of at most so many columns. One that is cut says so by its last letter.
fn drawn(mut pieces: Vec<Piece>, columns: Option<usize>, colours: bool) -> String {
    // Nobody wants blanks at a line's end.
    while let Some(last) = pieces.last_mut() {
        last.text.truncate(last.text.trim_end().len());
        if !last.text.is_empty() {
            break;
        }
        pieces.pop();
    }
    let whole: usize = pieces.iter().map(|piece| width(&piece.text)).sum();
    let mut room = columns
        .filter(|columns| *columns < whole)
        .map(|columns| columns.saturating_sub(1));
    let is_cut = room.is_some();
    let mut line = String::new();
    for Piece { text, tone } in pieces {
        let mut shown = text.as_str();
        if let Some(room) = &mut room {
            shown = fitting(shown, *room);
            *room -= width(shown);
        }
        if shown.is_empty() {
            continue;
        }
        if colours && tone != Tone::Plain {
            line.extend([tone.code(), shown, "\x1b[0m"]);
        } else {
            line.push_str(shown);
        }
        if shown.len() < text.len() {
            break;
        }
    }
    if is_cut {
        line.push('…');
    }
    line
}

/// The beginning of a text, of at most so many columns.
fn fitting(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (at, letter) in text.char_indices() {
        taken += width(letter.encode_utf8(&mut [0; 4]));
        if taken > columns {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = Page::default();
        page.row("state", vec![piece("ready", Tone::Good)]);
        page.row("", vec![plain("more of it")]);
        page.gap();
        page.gap();
        let mut table = Table::new(&[("METHOD", true), ("CALLS", false), ("NOW", true)]);
        table.row(vec![plain("search"), plain("12"), plain("")]);
        table.row(vec![plain("日本"), plain("1,204"), plain("busy")]);
        page.table(table);
        page
    }

    #[test]
    fn it_is_aligned_and_plain() {
        let expected = "state  ready\n       more of it\n\nMETHOD  CALLS  NOW\nsearch     12\n日本    1,204  busy";
        assert_eq!(page().finish(None, false), expected);
    }

    #[test]
    fn it_is_cut_where_it_says_so() {
        let cut = page().finish(Some(15), false);
        assert_eq!(
            cut,
            "state  ready\n       more of…\n\nMETHOD  CALLS …\nsearch     12\n日本    1,204 …"
        );
        for columns in 1..20 {
            let cut = page().finish(Some(columns), true);
            for line in cut.lines() {
                let mut shown = line.to_owned();
                for tone in [Tone::Quiet, Tone::Good] {
                    shown = shown.replace(tone.code(), "");
                }
                assert!(width(&shown.replace("\x1b[0m", "")) <= columns, "{line} of {columns}");
            }
        }
    }

    #[test]
    fn colours_are_taken_back() {
        let text = page().finish(None, true);
        assert!(text.contains("\x1b[32mready\x1b[0m"), "{text}");
        assert!(!page().finish(None, false).contains('\x1b'));
    }

    #[test]
    fn nobody_s_words_steer_the_terminal() {
        let mut page = Page::default();
        page.line(vec![plain("\x1b[2Jgone\r\nnext \u{202e}desrever\u{61c}\u{2028}")]);
        let shown = "^[[2Jgone^M next \\u{202e}desrever\\u{61c}\\u{2028}";
        assert_eq!(page.finish(None, false), shown);
    }
}
