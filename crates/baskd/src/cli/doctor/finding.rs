//! What one check found, and how a list of them is shown.

use std::path::Path;

use serde_json::{Value, json};

/// A path as a shell reads it: what a remedy says is copied.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%,=".contains(letter);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Good,
    /// Worth knowing; nothing is wrong.
    Note,
    /// It works, and will not always.
    Warning,
    /// It does not work.
    Problem,
}

impl Level {
    const fn text(self) -> &'static str {
        match self {
            Level::Good => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Level::Good => "\x1b[32m",
            Level::Note => "\x1b[36m",
            Level::Warning => "\x1b[33m",
            Level::Problem => "\x1b[1;31m",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) check: &'static str,
    pub(crate) what: String,
    /// What to do, best as a command.
    pub(crate) remedy: Option<String>,
}

/// Findings about one thing, in the order in which they are made.
pub(crate) struct Findings {
    check: &'static str,
    all: Vec<Finding>,
}

impl Findings {
    pub(crate) fn of(check: &'static str) -> Findings {
        Findings { check, all: Vec::new() }
    }

    pub(crate) fn good(&mut self, what: impl Into<String>) {
        self.add(Level::Good, what.into(), None);
    }

    pub(crate) fn note(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Note, what.into(), Some(remedy.into()));
    }

    pub(crate) fn warning(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, what.into(), Some(remedy.into()));
    }

    pub(crate) fn problem(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Problem, what.into(), Some(remedy.into()));
    }

    fn add(&mut self, level: Level, what: String, remedy: Option<String>) {
        self.all.push(Finding {
            level,
            check: self.check,
            what,
            remedy: remedy.filter(|remedy| !remedy.is_empty()),
        });
    }

    pub(crate) fn all(self) -> Vec<Finding> {
        self.all
    }
}

/// A line for each, its remedy below it, and what it comes to.
pub(crate) fn page(findings: &[Finding], coloured: bool) -> String {
    let width = |of: fn(&Finding) -> usize| findings.iter().map(of).max().unwrap_or(0);
    let levels = width(|finding| finding.level.text().len());
    let checks = width(|finding| finding.check.len());
    let mut lines = Vec::new();
    for finding in findings {
        let (before, after) = if coloured {
            (finding.level.colour(), "\x1b[0m")
        } else {
            ("", "")
        };
        let level = finding.level.text();
        let mut what = finding.what.lines();
        let first = what.next().unwrap_or_default();
        lines.push(format!(
            "{before}{level:levels$}{after}  {:checks$}  {first}",
            finding.check
        ));
        let indent = " ".repeat(levels + checks + 4);
        lines.extend(what.map(|line| format!("{indent}{line}")));
        let remedy = finding.remedy.iter().flat_map(|remedy| remedy.lines());
        lines.extend(remedy.map(|line| format!("{indent}→ {line}")));
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let told = [(Level::Problem, "problem"), (Level::Warning, "warning")].map(|(level, word)| match count(level) {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        many => format!("{many} {word}s"),
    });
    lines.push(format!("\n{}", told.join(", ")));
    lines.join("\n")
}

pub(crate) fn as_json(findings: &[Finding]) -> Value {
    let all = findings.iter().map(|finding| {
        json!({ "level": finding.level.text(), "check": finding.check, "what": finding.what, "remedy": finding.remedy })
    });
    Value::Array(all.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_what_it_is_for() {
        let mut python = Findings::of("python");
        python.good("3.11.7");
        python.problem("`torch` is missing\n(imported by controller.py)", "pip install torch");
        let mut service = Findings::of("linger");
        service.warning("off", "loginctl enable-linger");
        let findings = [python.all(), service.all()].concat();
        assert_eq!(
            page(&findings, false),
            "\
ok       python  3.11.7
problem  python  `torch` is missing
                 (imported by controller.py)
                 → pip install torch
warning  linger  off
                 → loginctl enable-linger

1 problem, 1 warning"
        );
        assert_eq!(
            as_json(&findings)[2],
            json!({ "level": "warning", "check": "linger", "what": "off", "remedy": "loginctl enable-linger" })
        );
    }

    #[test]
    fn a_path_is_quoted_where_a_shell_needs_that() {
        for (path, shown) in [
            ("/run/user/1000/baskd/a-b.sock", "/run/user/1000/baskd/a-b.sock"),
            ("/a b/c", "'/a b/c'"),
            ("/a;reboot", "'/a;reboot'"),
            ("/it's/$HOME", r"'/it'\''s/$HOME'"),
            ("~x", "'~x'"),
            ("-rf", "'-rf'"),
        ] {
            assert_eq!(quoted(Path::new(path)), shown);
        }
    }
}
