//! The text of the units: those of `systemd/`, with the path of this program in them, and an instance's drop-in.

use std::path::Path;

use super::own::signed;

const SOCKET: &str = include_str!("../../../../../systemd/baskd@.socket");
const SERVICE: &str = include_str!("../../../../../systemd/baskd@.service");

/// What stands in them for the program.
const PROGRAM: &str = "/usr/bin/baskd";

/// What a path holds that a unit can't say; why, in words.
type Refusal = String;

pub(super) fn socket() -> String {
    signed(&about("socket"), SOCKET)
}

pub(super) fn service(program: &Path) -> Result<String, Refusal> {
    Ok(signed(&about("service"), &with_program(SERVICE, &as_command(program)?)))
}

fn about(kind: &str) -> [String; 2] {
    [
        "Written by `baskd install`, for all instances, and written anew by the next one: what you change here is then"
            .to_owned(),
        format!("put aside. For changes of your own: systemctl --user edit baskd@NAME.{kind}"),
    ]
}

/// Where Python runs, which is the one thing that differs between instances and is no setting.
pub(super) fn drop_in(name: &str, folder: &Path) -> Result<String, Refusal> {
    let comments = [
        format!("Written by `baskd install --name {name}`, in the folder where that was run: Python starts there."),
        format!(
            "`baskd uninstall --name {name}` removes it. For changes of your own: systemctl --user edit baskd@{name}.service"
        ),
    ];
    Ok(signed(
        &comments,
        &format!("[Service]\nWorkingDirectory={}\n", as_folder(folder)?),
    ))
}

/// The folder that a drop-in names.
pub(super) fn folder_in(drop_in: &str) -> Option<String> {
    let written = drop_in
        .lines()
        .find_map(|line| line.strip_prefix("WorkingDirectory="))?;
    let written = match written.strip_suffix('/') {
        Some("") | None => written,
        Some(shorter) => shorter,
    };
    Some(written.replace("%%", "%"))
}

/// In commands only: what is said of it elsewhere, in comments for one, may stay as it is.
fn with_program(unit: &str, program: &str) -> String {
    let lines = unit.split_inclusive('\n').map(|line| match line.split_once('=') {
        Some((key, command)) if key.starts_with("Exec") => {
            let command = match command.split_once(PROGRAM) {
                // Only the program itself, not what is below a folder of that name.
                Some((before, after)) if after.starts_with([' ', '\n']) => format!("{before}{program}{after}"),
                _ => command.to_owned(),
            };
            format!("{key}={command}")
        }
        _ => line.to_owned(),
    });
    lines.collect()
}

/// A path as the first word of a command. systemd takes no quotes, backslashes and control characters there, however they
/// are written; of what is left, `%` begins a specifier and spaces end the word.
fn as_command(path: &Path) -> Result<String, Refusal> {
    let text = utf8(path)?;
    if let Some(bad) = text.chars().find(|c| c.is_control() || "\"'\\".contains(*c)) {
        return Err(format!(
            "systemd runs no program whose path has {bad:?} in it, as {} has: put baskd elsewhere",
            path.display()
        ));
    }
    let text = text.replace('%', "%%");
    // A word that is quoted may hold anything else; one that need not be is easier to read.
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+@%:,=~".contains(c));
    Ok(if is_plain { text } else { format!("\"{text}\"") })
}

/// A path as a whole line's value: taken as it is, but for specifiers, blanks at its end, and a backslash there, which
/// would have the line continued.
fn as_folder(path: &Path) -> Result<String, Refusal> {
    let text = utf8(path)?;
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        return Err(format!(
            "a unit can't name the folder {}, which has {bad:?} in it: run this in another one",
            path.display()
        ));
    }
    let text = text.replace('%', "%%");
    Ok(if text.ends_with(|c: char| c.is_whitespace() || c == '\\') {
        format!("{text}/")
    } else {
        text
    })
}

fn utf8(path: &Path) -> Result<&str, Refusal> {
    path.to_str()
        .ok_or_else(|| format!("the path {} is not UTF-8, which a unit must be", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::own::{Author, author};
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn command(path: &str) -> Result<String, Refusal> {
        as_command(Path::new(path))
    }

    #[test]
    fn a_program_is_written_as_systemd_reads_it() {
        for (path, written) in [
            ("/home/me/.cargo/bin/baskd", "/home/me/.cargo/bin/baskd"),
            ("/opt/my tools/baskd", "\"/opt/my tools/baskd\""),
            ("/opt/100%/baskd", "/opt/100%%/baskd"),
            ("/opt/$HOME;x/baskd", "\"/opt/$HOME;x/baskd\""),
            ("/opt/größe/baskd", "/opt/größe/baskd"),
        ] {
            assert_eq!(command(path).unwrap(), written);
        }
        for path in ["/a\"b", "/a'b", "/a\\b", "/a\nb"] {
            assert!(command(path).unwrap_err().contains("put baskd elsewhere"), "{path}");
        }
        assert!(
            as_command(Path::new(OsStr::from_bytes(b"/\xff")))
                .unwrap_err()
                .contains("not UTF-8")
        );
    }

    #[test]
    fn a_folder_is_written_so_that_it_is_read_again() {
        for (path, written) in [
            ("/", "/"),
            ("/home/me/my app", "/home/me/my app"),
            ("/home/me/100%d", "/home/me/100%%d"),
            ("/x ", "/x /"),
            ("/x\\", "/x\\/"),
            ("/a\"b", "/a\"b"),
        ] {
            assert_eq!(as_folder(Path::new(path)).unwrap(), written);
            let text = drop_in("chat", Path::new(path)).unwrap();
            assert!(text.ends_with(&format!("[Service]\nWorkingDirectory={written}\n")));
            assert_eq!(folder_in(&text).as_deref(), Some(path));
        }
        assert!(as_folder(Path::new("/a\nb")).is_err());
    }

    #[test]
    fn the_program_takes_its_place_in_commands_only() {
        let unit = "# /usr/bin/baskd is meant\nExecStart=/usr/bin/baskd serve --name %i\nExecReload=-/usr/bin/baskd reload\n\
                    ExecStop=/usr/bin/baskd-other\nDescription=/usr/bin/baskd";
        assert_eq!(
            with_program(unit, "\"/a b\""),
            "# /usr/bin/baskd is meant\nExecStart=\"/a b\" serve --name %i\nExecReload=-\"/a b\" reload\n\
             ExecStop=/usr/bin/baskd-other\nDescription=/usr/bin/baskd"
        );
    }

    #[test]
    fn the_repositorys_units_have_a_place_for_it() {
        let text = service(Path::new("/opt/it is/baskd")).unwrap();
        assert!(
            text.contains("\nExecStart=\"/opt/it is/baskd\" serve --name %i\n"),
            "{text}"
        );
        let commands = text.lines().filter(|line| line.starts_with("Exec"));
        assert!(commands.clone().all(|line| !line.contains("/usr/bin/baskd")), "{text}");
        assert_eq!(author(&text), Author::Us);
        assert!(socket().contains("\nListenStream=%t/baskd/%i.sock\n"));
    }
}
