//! The last lines of the log, and which of them are looked at.

use std::collections::VecDeque;

use baskd_client::LogLine;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::text::clean;

/// How many lines are kept.
pub(crate) const KEPT: u32 = 1000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    lines: VecDeque<Entry>,
    /// How many came before the first that is kept.
    forgotten: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Line(Line),
    /// Something between the lines: that some are missing.
    Note(String),
}

/// A line that is harmless.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// `22:31:05`.
    pub(crate) time: String,
    pub(crate) level: String,
    pub(crate) stream: String,
    pub(crate) call: Option<u64>,
    pub(crate) method: Option<String>,
    pub(crate) text: String,
}

/// What of it is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look {
    /// Only lines with this in them; empty: all.
    pub(crate) filter: String,
    /// The number of the last line that is shown; None: that which came last, whatever comes.
    pub(crate) until: Option<u64>,
    /// Whether what came after that fills the room that there is.
    pub(crate) fills: bool,
}

impl Line {
    /// `zone`: in which its time is told.
    pub(crate) fn new(line: LogLine, zone: &TimeZone) -> Line {
        let time = line.time.parse::<Timestamp>();
        let time = time.map(|time| zone.to_datetime(time).strftime("%H:%M:%S").to_string());
        Line {
            time: time.unwrap_or_default(),
            level: clean(&line.level),
            stream: clean(&line.stream),
            call: line.call,
            method: line.method.as_deref().map(clean),
            text: clean(&line.line),
        }
    }
}

impl Entry {
    fn has(&self, filter: &str) -> bool {
        let Entry::Line(line) = self else {
            return true;
        };
        // Capitals are meant where they are typed.
        let has_capitals = filter.chars().any(char::is_uppercase);
        let contains = |text: &str| match has_capitals {
            true => text.contains(filter),
            false => text.to_lowercase().contains(filter),
        };
        contains(&line.text)
            || line.method.as_deref().is_some_and(contains)
            || contains(&line.level)
            || contains(&line.stream)
            || line.call.is_some_and(|call| format!("#{call}") == filter)
    }
}

impl Tail {
    pub(crate) fn push(&mut self, entry: Entry) {
        self.lines.push_back(entry);
        if self.lines.len() > KEPT as usize {
            self.lines.pop_front();
            self.forgotten += 1;
        }
    }

    /// One past the number of the last line.
    pub(crate) fn end(&self) -> u64 {
        self.forgotten + self.lines.len() as u64
    }

    /// The last of what is looked at, in order, and how many of those that pass are newer.
    pub(crate) fn shown(&self, look: &Look, at_most: usize) -> (Vec<&Entry>, usize) {
        let passing = self.passing(look);
        let end = look.until.map_or(passing.len(), |until| {
            passing.partition_point(|(number, _)| *number <= until)
        });
        let end = if look.fills {
            end.max(at_most.min(passing.len()))
        } else {
            end
        };
        let shown = passing[end.saturating_sub(at_most)..end]
            .iter()
            .map(|(_, entry)| *entry);
        (shown.collect(), passing.len() - end)
    }

    /// Looks at older (or newer) lines, by so many of those that pass. At the newest, it follows.
    pub(crate) fn scroll(&self, look: &mut Look, back: bool, by: usize) {
        let passing = self.passing(look);
        let Some(last) = passing.len().checked_sub(1) else {
            return;
        };
        let at = look.until.map_or(last, |until| {
            passing
                .partition_point(|(number, _)| *number <= until)
                .saturating_sub(1)
        });
        let to = if back {
            at.saturating_sub(by)
        } else {
            at.saturating_add(by)
        };
        look.until = passing.get(to).filter(|_| to < last).map(|(number, _)| *number);
        look.fills = true;
    }

    /// What the filter lets pass, with its numbers.
    fn passing(&self, look: &Look) -> Vec<(u64, &Entry)> {
        let numbers = self.forgotten..;
        let all = numbers.zip(&self.lines);
        all.filter(|(_, entry)| look.filter.is_empty() || entry.has(&look.filter))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Entry {
        Entry::Line(Line {
            time: "22:31:05".to_owned(),
            level: "info".to_owned(),
            stream: "stdout".to_owned(),
            call: Some(7),
            method: Some("search".to_owned()),
            text: text.to_owned(),
        })
    }

    fn tail(lines: usize) -> Tail {
        let mut tail = Tail::default();
        for number in 0..lines {
            tail.push(line(&format!("line {number}")));
        }
        tail
    }

    fn texts(tail: &Tail, look: &Look, at_most: usize) -> Vec<String> {
        let text = |entry: &&Entry| match entry {
            Entry::Line(line) => line.text.clone(),
            Entry::Note(note) => note.clone(),
        };
        tail.shown(look, at_most).0.iter().map(text).collect()
    }

    #[test]
    fn it_follows_and_forgets() {
        let tail = tail(KEPT as usize + 500);
        assert_eq!(tail.lines.len(), KEPT as usize);
        assert_eq!(texts(&tail, &Look::default(), 2), ["line 1498", "line 1499"]);
    }

    #[test]
    fn it_stands_still_while_lines_come() {
        let mut tail = tail(20);
        let mut look = Look::default();
        tail.scroll(&mut look, true, 5);
        assert_eq!(texts(&tail, &look, 2), ["line 13", "line 14"]);
        for _ in 0..10 {
            tail.push(line("more"));
        }
        assert_eq!(texts(&tail, &look, 2), ["line 13", "line 14"]);
        assert_eq!(tail.shown(&look, 2).1, 15);
        tail.scroll(&mut look, false, 14);
        assert_eq!(look.until, Some(28));
        tail.scroll(&mut look, false, 1);
        assert_eq!(look.until, None);
    }

    #[test]
    fn it_does_not_scroll_out_of_what_there_is() {
        let mut look = Look::default();
        Tail::default().scroll(&mut look, true, 5);
        assert_eq!(look.until, None);
        let mut tail = tail(5);
        tail.scroll(&mut look, true, 99);
        assert_eq!(texts(&tail, &look, 3), ["line 0", "line 1", "line 2"]);
        look.fills = false;
        assert_eq!(texts(&tail, &look, 3), ["line 0"]);
        look.fills = true;
        // What stood still is forgotten in the end; the oldest lines are shown then.
        for number in 0..KEPT {
            tail.push(line(&format!("later {number}")));
        }
        assert_eq!(texts(&tail, &look, 2), ["later 0", "later 1"]);
        tail.scroll(&mut look, false, 2);
        assert_eq!(texts(&tail, &look, 2), ["later 1", "later 2"]);
    }

    #[test]
    fn the_filter_looks_at_all_that_is_shown() {
        let mut tail = tail(3);
        tail.push(line("An Error"));
        tail.push(Entry::Note("2 lines are missing".to_owned()));
        let with = |filter: &str| Look {
            filter: filter.to_owned(),
            ..Look::default()
        };
        assert_eq!(texts(&tail, &with("error"), 9), ["An Error", "2 lines are missing"]);
        assert_eq!(texts(&tail, &with("ERROR"), 9), ["2 lines are missing"]);
        assert_eq!(texts(&tail, &with("search"), 9).len(), 5);
        assert_eq!(texts(&tail, &with("#7"), 9).len(), 5);
        assert_eq!(texts(&tail, &with("#8"), 9).len(), 1);
    }
}
