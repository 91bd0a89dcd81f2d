//! The tables of PROTOCOL.md are made of the table of settings, and compared with what is there.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use super::Settings;
use super::document::{METHODS, of, written};
use super::kind::{ANY, Kind, Time};
use super::settings::{Group, OF_A_METHOD};
use super::values::size_text;

/// The parts of PROTOCOL.md that are made here: what is between these two lines.
const PARTS: [(&str, &[Group], bool); 2] = [
    (
        "settings",
        &[Group::Runs, Group::Replaced, Group::State, Group::Clients, Group::Log],
        true,
    ),
    ("limits", &[Group::Limits, Group::Times], false),
];

fn with_part(document: &str, name: &str, part: &str) -> String {
    let marks = [
        format!("<!-- {name}: made from crates/baskd/src/config/settings.rs -->\n"),
        format!("<!-- end of {name} -->\n"),
    ];
    let [start, end] = marks.each_ref().map(|mark| {
        document
            .find(mark)
            .unwrap_or_else(|| panic!("PROTOCOL.md has no line {mark}"))
    });
    format!("{}{part}\n{}", &document[..start + marks[0].len()], &document[end..])
}

/// What a user reads is what the daemon does: no default is written twice.
#[test]
fn protocol_md_has_the_tables_of_the_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../PROTOCOL.md");
    let document = fs::read_to_string(&path).unwrap();
    let made = PARTS
        .iter()
        .fold(document.clone(), |document, (name, groups, methods)| {
            with_part(&document, name, &tables(groups, *methods))
        });
    if env::var_os("BASKD_WRITE_DOCS").is_some() {
        fs::write(&path, &made).unwrap();
        return;
    }
    for (line, (is, should)) in document.lines().zip(made.lines()).enumerate() {
        assert_eq!(is, should, "PROTOCOL.md, line {}: {HOW}", line + 1);
    }
    assert!(document == made, "PROTOCOL.md: {HOW}");
}

const HOW: &str = "it is not what the table of settings makes it. Make it anew: \
                   BASKD_WRITE_DOCS=1 cargo test -p baskd --lib protocol_md_has_the_tables";

#[test]
fn each_group_is_in_a_part() {
    let grouped: Vec<_> = PARTS.iter().flat_map(|(_, groups, _)| groups.iter().copied()).collect();
    assert_eq!(grouped, Group::ALL);
}

/// A table for each of these groups, and that of methods where they are asked for.
fn tables(groups: &[Group], with_methods: bool) -> String {
    let mut text = String::new();
    let mut defaults = Settings::default();
    for group in groups {
        head(&mut text, group.title());
        for setting in of(*group) {
            let default = match (setting.kind.get(&mut defaults), &setting.kind) {
                (Some(value), _) => format!("`{}`", written(&value)),
                (None, Kind::Text { unset, .. }) => (*unset).to_owned(),
                (None, _) => "none".to_owned(),
            };
            line(&mut text, setting.name, &default, &range(&setting.kind), setting.about);
        }
    }
    if with_methods {
        head(&mut text, METHODS);
        let name = format!("[methods.NAME]` `{}", OF_A_METHOD.name);
        line(&mut text, &name, "none", &times(&OF_A_METHOD.limits), OF_A_METHOD.about);
    }
    text
}

fn head(text: &mut String, title: &str) {
    let _ = write!(
        text,
        "\n### {title}\n\n| setting | default | takes | what it does |\n| --- | --- | --- | --- |\n"
    );
}

fn line(text: &mut String, name: &str, default: &str, range: &str, about: &str) {
    let cell = |cell: &str| cell.replace('|', "\\|");
    let _ = writeln!(
        text,
        "| `{name}` | {} | {} | {} |",
        cell(default),
        cell(range),
        cell(about)
    );
}

/// What a setting takes, for readers who know how durations and sizes are written.
fn range(kind: &Kind) -> String {
    match kind {
        Kind::Count { to: ANY.., .. } => "a number".to_owned(),
        Kind::Size { to: ANY.., .. } => "a size".to_owned(),
        Kind::Count { from, to, .. } => format!("{from} to {to}"),
        Kind::Size { from, to, .. } => format!("{} to {}", size_text(*from), size_text(*to)),
        Kind::Time { limits, .. } => times(limits),
        Kind::Switch { .. } => "`true`, `false`".to_owned(),
        Kind::Words { .. } => "words".to_owned(),
        Kind::Choice { among, .. } => {
            let quoted: Vec<_> = among.iter().map(|name| format!("`\"{name}\"`")).collect();
            quoted.join(", ")
        }
        Kind::Text { wanted, .. } => (*wanted).to_owned(),
    }
}

fn times(limits: &Time) -> String {
    let (from, to) = limits.ends();
    format!("{from} to {to}")
}
