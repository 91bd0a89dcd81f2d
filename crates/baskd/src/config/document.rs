//! What is made of the table of settings: the tables of PROTOCOL.md, and a config file that has every key.

use std::fmt::Write as _;

use super::Settings;
use super::kind::Kind;
use super::settings::{Group, OF_A_METHOD, SETTINGS, Setting};

/// How wide the comments of the file are.
const WIDTH: usize = 100;

const HEAD: &str = "\
# The settings of one instance of baskd. They are read from baskd/NAME.toml in $XDG_CONFIG_HOME (~/.config), or from the
# file that `baskd serve --config` is given, when the daemon starts.
#
# Each key is here with its default: take away the # before it, and change it. A flag of `baskd serve` goes before a variable
# of the environment (BASKD_ and the key in capitals, as BASKD_MAX_QUEUE), which goes before this file.
#
# A duration is \"250ms\", \"30s\", \"5m\", \"2h\" or a number of seconds; a size is a number of bytes or \"64KiB\", \"32MiB\", \"1GiB\".
# A path is relative to this file's folder, and ~/ is home. `baskd config --check` says whether the file is right.
";

const METHODS: &str = "Of one method";
const METHODS_ABOUT: &str = "These come last: a table reaches to the next one.";

/// A file with every key, each with its default behind a `#`.
#[must_use]
pub fn default_file() -> String {
    let mut file = HEAD.to_owned();
    let mut defaults = Settings::default();
    for group in Group::ALL {
        let _ = write!(file, "\n\n# ---- {} ----\n", group.title());
        for setting in of(group) {
            file.push('\n');
            comment(&mut file, setting.about);
            comment(&mut file, &told(setting));
            if let Some(example) = setting.example {
                let _ = writeln!(file, "# Example: {} = {example}", setting.name);
            }
            if let Some(value) = setting.kind.get(&mut defaults) {
                let _ = writeln!(file, "#{} = {value}", setting.name);
            }
        }
    }
    let _ = write!(file, "\n\n# ---- {METHODS} ----\n\n");
    comment(&mut file, OF_A_METHOD.about);
    comment(
        &mut file,
        &format!("{}. Default: none.", capital(&OF_A_METHOD.limits.wanted())),
    );
    comment(&mut file, &format!("{METHODS_ABOUT} Example:"));
    let _ = writeln!(
        file,
        "#   [methods.search]\n#   {} = {}",
        OF_A_METHOD.name, OF_A_METHOD.example
    );
    file
}

/// The same as Markdown: a table for each of these groups, and that of methods where they are named.
pub(crate) fn tables(groups: &[Group], with_methods: bool) -> String {
    let mut text = String::new();
    let mut defaults = Settings::default();
    for group in groups {
        head(&mut text, group.title());
        for setting in of(*group) {
            let default = match (setting.kind.get(&mut defaults), &setting.kind) {
                (Some(value), _) => format!("`{value}`"),
                (None, Kind::Text { unset, .. }) => (*unset).to_owned(),
                (None, _) => "none".to_owned(),
            };
            line(&mut text, setting.name, &default, &setting.kind.range(), setting.about);
        }
    }
    if with_methods {
        head(&mut text, METHODS);
        let name = format!("[methods.NAME]` `{}", OF_A_METHOD.name);
        line(&mut text, &name, "none", &OF_A_METHOD.limits.range(), OF_A_METHOD.about);
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

fn of(group: Group) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.group == group)
}

/// What it takes, as a sentence; and what it is, where the file can't say that.
fn told(setting: &Setting) -> String {
    let wanted = capital(&setting.kind.wanted());
    match &setting.kind {
        Kind::Text { unset, .. } if !unset.is_empty() => format!("{wanted}. Default: {unset}."),
        _ => format!("{wanted}."),
    }
}

fn capital(text: &str) -> String {
    // What begins with a path is written as it is.
    if !text.contains(' ') || text.starts_with("path/") {
        return text.to_owned();
    }
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Lines of a comment, broken between words.
fn comment(file: &mut String, text: &str) {
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
            let _ = writeln!(file, "{line}");
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(file, "{line}");
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    use super::super::file::File;
    use super::*;

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

    fn read(text: &str) -> Settings {
        let mut settings = Settings::default();
        let path = PathBuf::from("/x/baskd.toml");
        File { path: &path, text }.apply(&mut settings).unwrap();
        settings
    }

    #[test]
    fn the_default_file_sets_nothing_and_uncommented_nothing_else() {
        let file = default_file();
        let defaults = format!("{:?}", Settings::default());
        assert_eq!(format!("{:?}", read(&file)), defaults);

        let is_key = |line: &str| {
            line.strip_prefix('#')
                .is_some_and(|rest| rest.starts_with(char::is_alphabetic))
        };
        let uncommented: Vec<_> = file
            .lines()
            .map(|line| if is_key(line) { &line[1..] } else { line })
            .collect();
        assert_eq!(format!("{:?}", read(&uncommented.join("\n"))), defaults);

        for setting in SETTINGS {
            let is_there = |start: &str| {
                file.lines()
                    .any(|line| line.starts_with(&format!("{start}{} = ", setting.name)))
            };
            assert!(is_there("#") || is_there("# Example: "), "{}", setting.name);
        }
        assert!(file.lines().all(|line| line.chars().count() <= 125), "{file}");
    }

    #[test]
    fn examples_are_right_and_say_something_else_than_the_default() {
        for setting in SETTINGS {
            if let Some(example) = setting.example {
                let mut read = read(&format!("{} = {example}", setting.name));
                let mut defaults = Settings::default();
                assert_ne!(
                    setting.kind.get(&mut read),
                    setting.kind.get(&mut defaults),
                    "{}",
                    setting.name
                );
            }
        }
        let file = format!("[methods.f]\n{} = {}", OF_A_METHOD.name, OF_A_METHOD.example);
        assert_eq!(read(&file).limits.timeouts.len(), 1);
    }

    /// A choice is set by its place and told by its place: both must mean the same one.
    #[test]
    fn what_is_set_is_what_is_told() {
        for setting in SETTINGS {
            if let Kind::Choice { among, .. } = &setting.kind {
                for name in *among {
                    let mut read = read(&format!("{} = \"{name}\"", setting.name));
                    assert_eq!(setting.kind.get(&mut read).unwrap(), *name, "{}", setting.name);
                }
            }
        }
    }
}
