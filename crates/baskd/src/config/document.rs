//! What is made of the table of settings: a config file that has every key. (PROTOCOL.md's tables are made by a test.)

use std::fmt::Write as _;

use serde_json::Value as Json;

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

pub(super) const METHODS: &str = "Of one method";
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
                let _ = writeln!(file, "#{} = {}", setting.name, written(&value));
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

pub(super) fn of(group: Group) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.group == group)
}

/// A value as a person would write it.
pub(super) fn written(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(ToString::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        value => value.to_string(),
    }
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
    // What begins with a path, or with what is to be written in these very letters, stays as it is.
    if ["path/", "true "].iter().any(|start| text.starts_with(start)) {
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
    use std::path::PathBuf;

    use super::super::file::File;
    use super::super::{Error, Places};
    use super::*;

    fn read(text: &str) -> Settings {
        let mut settings = Settings::default();
        let path = PathBuf::from("/x/baskd.toml");
        let mistakes = File { path: &path, text }.apply(&mut settings, &mut Places::default());
        assert_eq!(Error::of(mistakes), None);
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
