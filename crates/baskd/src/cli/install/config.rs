//! The text of an instance's config file: made, or edited in place.

use toml_edit::{DocumentMut, Item, Value};

use baskd::backend::python::one_line;

use super::own::{Author, author, sign, signed};

/// A key and what it is to be; and, behind it, why.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) value: Value,
    pub(super) because: Option<String>,
}

/// A new file with these keys.
pub(super) fn made(name: &str, keys: &[Key]) -> Result<String, String> {
    let comments = [
        format!("The settings of the instance {name}, written by `baskd install`. Edit them as you like: `baskd install`"),
        "changes only what it is asked to, and `baskd uninstall` keeps what you have edited. `baskd config --default` shows".to_owned(),
        format!("all there are. A daemon that runs takes them over by `systemctl --user restart baskd@{name}`."),
    ];
    let body = edited("", keys)?;
    Ok(signed(&comments, &body))
}

/// The file with these keys set, and nothing else changed: comments, order and spaces stay.
pub(super) fn edited(before: &str, keys: &[Key]) -> Result<String, String> {
    let mut document: DocumentMut = before
        .parse()
        .map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    for key in keys {
        set(&mut document, key);
    }
    let after = document.to_string();
    Ok(match author(before) {
        Author::Us => sign(&after),
        Author::Edited | Author::Other => after,
    })
}

fn set(document: &mut DocumentMut, key: &Key) {
    let mut value = key.value.clone();
    if let Some(Item::Value(before)) = document.get(key.name) {
        // The same, but named by somebody now, is no longer ours to change.
        let is_to_be_kept = key.because.is_some() || because(before).is_none();
        if is_same(before, &value) && is_to_be_kept {
            return;
        }
        *value.decor_mut() = before.decor().clone();
        // What was said of the old value by us may not hold of the new one; what somebody else says of it stays.
        if because(before).is_some() {
            value.decor_mut().set_suffix("");
        }
    }
    if let Some(why) = &key.because {
        value.decor_mut().set_suffix(format!("  {BECAUSE}{}", one_line(why)));
    }
    // In the document, so that the key keeps what stands before it.
    document[key.name] = Item::Value(value);
}

const BECAUSE: &str = "# found: ";

/// Why `install` chose a value by itself, if it did.
fn because(value: &Value) -> Option<&str> {
    value.decor().suffix()?.as_str()?.trim_start().strip_prefix(BECAUSE)
}

/// What is known of a file's Python: none there, named by somebody, or found by `install`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Not,
    ByPerson,
    ByUs,
}

pub(super) fn chosen(text: &str, key: &str) -> Chosen {
    let document: Option<DocumentMut> = text.parse().ok();
    match document.as_ref().and_then(|document| document.get(key)) {
        None => Chosen::Not,
        // In a file that somebody has written or edited, the comment may be theirs, too.
        Some(Item::Value(value)) if because(value).is_some() && author(text) == Author::Us => Chosen::ByUs,
        Some(_) => Chosen::ByPerson,
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.value() == other.value(),
        (Value::Integer(one), Value::Integer(other)) => one.value() == other.value(),
        (Value::Boolean(one), Value::Boolean(other)) => one.value() == other.value(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str, value: impl Into<Value>) -> Key {
        let value = value.into();
        Key {
            name,
            value,
            because: None,
        }
    }

    fn python(path: &str, why: &str) -> Key {
        Key {
            because: Some(why.to_owned()),
            ..key("python", path)
        }
    }

    #[test]
    fn a_new_file_says_whose_it_is_and_what_is_set() {
        let keys = [
            key("controller", "/x \"y\"/c.py:C"),
            python("/v/bin/python", ".venv beside the controller"),
            key("workers", 2),
            key("watch", true),
        ];
        let text = made("chat", &keys).unwrap();
        let body: String = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(
            body,
            "controller = '/x \"y\"/c.py:C'\npython = \"/v/bin/python\"  # found: .venv beside the controller\nworkers = 2\nwatch = true\n"
        );
        assert_eq!(author(&text), Author::Us);
        assert_eq!(edited(&text, &keys).unwrap(), text);
        assert_eq!(chosen(&text, "python"), Chosen::ByUs);
        assert_eq!(
            (chosen(&text, "workers"), chosen(&text, "log")),
            (Chosen::ByPerson, Chosen::Not)
        );
        let more = edited(&text, &[key("workers", 3), key("grace", "1m")]).unwrap();
        assert!(
            more.ends_with("\nworkers = 3\nwatch = true\ngrace = \"1m\"\n"),
            "{more}"
        );
        assert_eq!(author(&more), Author::Us);
    }

    #[test]
    fn what_a_person_wrote_stays() {
        let before = "# mine\n\ncontroller   = 'c.py' # ours\n# many\nworkers = 1   # for now\n\n[methods.f]\n# slow\ntimeout = '30s'\n# end\n";
        let after = edited(
            before,
            &[key("workers", 4), key("controller", "/c.py:C"), key("log", "debug")],
        )
        .unwrap();
        assert_eq!(
            after,
            "# mine\n\ncontroller   = \"/c.py:C\" # ours\n# many\nworkers = 4   # for now\nlog = \"debug\"\n\n[methods.f]\n# slow\ntimeout = '30s'\n# end\n"
        );
        assert_eq!(author(&after), Author::Other);
        assert_eq!(
            edited(before, &[key("workers", 1), key("controller", "c.py")]).unwrap(),
            before
        );
        // Edited since it was installed: so it stays, also if more is set.
        let theirs = made("chat", &[key("workers", 1)]).unwrap() + "# my own\n";
        assert_eq!(author(&edited(&theirs, &[key("workers", 2)]).unwrap()), Author::Edited);
    }

    #[test]
    fn a_python_that_is_named_is_no_longer_found() {
        let found = edited("", &[python("/a/bin/python", "$VIRTUAL_ENV")]).unwrap();
        assert_eq!(found, "python = \"/a/bin/python\"  # found: $VIRTUAL_ENV\n");
        assert_eq!(
            edited(&found, &[key("python", "/b/bin/python")]).unwrap(),
            "python = \"/b/bin/python\"\n"
        );
        let again = edited(&found, &[python("/c/bin/python", "python3 on the PATH")]).unwrap();
        assert_eq!(again, "python = \"/c/bin/python\"  # found: python3 on the PATH\n");
        let named = edited(&found, &[key("python", "/a/bin/python")]).unwrap();
        assert_eq!(named, "python = \"/a/bin/python\"\n");
        let theirs = "python = 'x' # mine\n";
        assert_eq!(
            edited(theirs, &[key("python", "y")]).unwrap(),
            "python = \"y\" # mine\n"
        );
    }

    #[test]
    fn a_python_that_somebody_wrote_is_theirs_whatever_its_comment_says() {
        let theirs = "python = '/a/bin/python'  # found: by me\n";
        assert_eq!(chosen(theirs, "python"), Chosen::ByPerson);
        let ours = made("chat", &[python("/a/bin/python", "$VIRTUAL_ENV")]).unwrap();
        assert_eq!(chosen(&ours, "python"), Chosen::ByUs);
        assert_eq!(chosen(&ours.replace("/a/", "/b/"), "python"), Chosen::ByPerson);
    }

    #[test]
    fn a_reason_stays_in_its_comment() {
        let keys = [python(
            "/a/bin/python",
            "requires-python \">=3.9\nlog = 'trace'\r\u{7f}\"",
        )];
        let text = made("chat", &keys).unwrap();
        assert_eq!(
            text.lines().last(),
            Some("python = \"/a/bin/python\"  # found: requires-python \">=3.9 log = 'trace'  \"")
        );
        assert_eq!(chosen(&text, "log"), Chosen::Not);
    }

    #[test]
    fn what_is_no_toml_is_left_alone() {
        assert!(edited("workers = = 1\n", &[key("workers", 2)]).is_err());
    }
}
