//! What there is before anything is done: where an instance's files are, whether systemd can be reached, and who runs.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

use baskd::config;
use baskd::serve::ControllerSpec;
use baskd_client::socket::{self, DEFAULT_NAME, SocketError, valid_name};
use baskd_protocol::presence::{Holder, holder, lock_of};
use directories::BaseDirs;

use crate::cli::exit::Failure;
use crate::cli::systemd::{self, Pair, Trouble, UnitFiles};

/// Where an instance's things are.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) socket: PathBuf,
    pub(super) config: PathBuf,
    pub(super) state: PathBuf,
    pub(super) files: UnitFiles,
}

impl Place {
    pub(super) fn of(name: Option<&str>) -> Result<Place, Failure> {
        let given = || env::var("BASKD_NAME").ok().filter(|name| !name.is_empty());
        let name = name
            .map(str::to_owned)
            .or_else(given)
            .unwrap_or_else(|| DEFAULT_NAME.to_owned());
        if !valid_name(&name) {
            return Err(baskd_client::Error::from(SocketError::BadName(name)).into());
        }
        // By its name, whatever $BASKD_SOCKET says: the unit knows of no other.
        let socket = socket::resolve(Some(&name), None)?;
        let no_home = || Failure::Failed("there is no folder for its config: set HOME or XDG_CONFIG_HOME".to_owned());
        let dirs = BaseDirs::new().ok_or_else(no_home)?;
        let state = dirs.state_dir().ok_or_else(no_home)?.join("baskd").join(&name);
        Ok(Place {
            config: config::file_of(&name).ok_or_else(no_home)?,
            files: UnitFiles::here().ok_or_else(no_home)?,
            name,
            socket,
            state,
        })
    }

    /// As other commands are told which instance is meant.
    pub(super) fn flags(&self) -> String {
        match self.name.as_str() {
            DEFAULT_NAME => String::new(),
            name => format!(" --name {name}"),
        }
    }
}

/// The manager, as far as it matters to an instance.
pub(super) struct Manager {
    pub(super) units: Pair,
    /// What is otherwise there than here, and does not matter much.
    pub(super) warning: Option<String>,
}

/// Asks it; or why not, as a sentence. `instead`: what can be done without it.
pub(super) fn manager(place: &Place, instead: &str) -> Result<Manager, String> {
    let trouble = |trouble: Trouble| match trouble {
        Trouble::Unreachable(said) => unreachable(&said, instead),
        Trouble::Refused { command, said } => format!("`{command}` failed: {said}"),
    };
    let environment = systemd::run(&["show-environment"]).map_err(trouble)?;
    let units = systemd::pair(&place.name).map_err(trouble)?;
    let theirs = |name: &str, below_home: &str| {
        let given = systemd::variable(&environment, name).map(PathBuf::from);
        given.or_else(|| match below_home {
            "" => None,
            below => Some(Path::new(&systemd::variable(&environment, "HOME")?).join(below)),
        })
    };
    let config = place.config.parent().and_then(Path::parent);
    if let Some(there) = differs(theirs("XDG_CONFIG_HOME", ".config"), config) {
        return Err(elsewhere("units and configs", "XDG_CONFIG_HOME", &there));
    }
    let runtime = place.socket.parent().and_then(Path::parent);
    if let Some(there) = differs(theirs("XDG_RUNTIME_DIR", ""), runtime) {
        return Err(elsewhere("the socket", "XDG_RUNTIME_DIR", &there));
    }
    let state = place.state.parent().and_then(Path::parent);
    let there = differs(theirs("XDG_STATE_HOME", ".local/state"), state);
    let warning = there.map(|there| {
        format!(
            "systemd's daemon has its state in {}, and one that is started here, by $XDG_STATE_HOME, elsewhere",
            there.display()
        )
    });
    Ok(Manager { units, warning })
}

/// The folder that they have, if it is another than ours.
fn differs(theirs: Option<PathBuf>, ours: Option<&Path>) -> Option<PathBuf> {
    let (theirs, ours) = (theirs?, ours?);
    let is_same = theirs == ours
        || fs::canonicalize(&theirs).is_ok_and(|there| fs::canonicalize(ours).is_ok_and(|here| here == there));
    (!is_same).then_some(theirs)
}

fn elsewhere(what: &str, variable: &str, there: &Path) -> String {
    format!(
        "systemd has {what} in {}, and here ${variable} says otherwise: run this with `{variable}={}`",
        there.display(),
        there.display()
    )
}

fn unreachable(said: &str, instead: &str) -> String {
    let mut text = format!("systemd's user manager can't be reached ({said}): ");
    let user = rustix::process::geteuid().as_raw();
    let given = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if user == 0 && given("SUDO_USER").is_some() {
        text.push_str("run this without sudo, since it is for the user who runs it");
    } else if !Path::new("/run/systemd/system").is_dir() {
        text.push_str("this machine, or container, was not started by systemd; `baskd start` runs a daemon without it");
    } else {
        let _ = write!(
            text,
            "log in as this user, by ssh or `machinectl shell`, rather than by su; or have its manager run without a login, by \
             `loginctl enable-linger` and `export XDG_RUNTIME_DIR=/run/user/{user}`"
        );
    }
    let _ = write!(text, "; {instead}");
    text
}

/// A daemon of that name that is not systemd's, in words.
pub(super) fn outsider(place: &Place, units: Option<&Pair>) -> Result<Option<String>, Failure> {
    if units.is_some_and(|units| units.service.is_active()) {
        return Ok(None);
    }
    let who = |holder: Holder| match holder.who.as_str() {
        "" => "it is just starting".to_owned(),
        who => who.to_owned(),
    };
    let ask = |lock: &Path| {
        holder(lock).map_err(|error| Failure::Failed(format!("the lock {} can't be read: {error}", lock.display())))
    };
    if let Some(holder) = ask(&lock_of(&place.socket))? {
        return Ok(Some(format!(
            "a daemon runs on {} ({})",
            place.socket.display(),
            who(holder)
        )));
    }
    let there = ask(&place.state.join("lock"))?;
    Ok(there.map(|holder| {
        format!(
            "a daemon of the name {} runs on another socket ({})",
            place.name,
            who(holder)
        )
    }))
}

/// Fails unless the socket listens now.
pub(super) fn listens(place: &Place) -> Result<(), Failure> {
    let unit = systemd::socket_unit(&place.name);
    match systemd::pair(&place.name) {
        Ok(pair) if !pair.socket.is_active() => Err(Failure::Failed(format!(
            "{unit} is {} ({}): `systemctl --user status {unit}` tells why",
            pair.socket.active, pair.socket.result
        ))),
        Ok(_) => Ok(()),
        Err(Trouble::Unreachable(said) | Trouble::Refused { said, .. }) => Err(Failure::Failed(format!(
            "systemd does not say what became of {unit}: {said}"
        ))),
    }
}

/// A name for what is put aside, that nothing has.
pub(super) fn free(path: &Path) -> PathBuf {
    let named = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(".saved");
        if number > 1 {
            name.push(format!(".{number}"));
        }
        PathBuf::from(name)
    };
    let mut number = 1;
    while named(number).symlink_metadata().is_ok() {
        number += 1;
    }
    named(number)
}

/// This program, by the name that it is found by where it is: a link that an upgrade points elsewhere stays one.
pub(super) fn program() -> Result<PathBuf, Failure> {
    let failed = |why: &str| Failure::Failed(format!("this program can't be found ({why}): run it by its path"));
    let path = env::current_exe().map_err(|error| failed(&error.to_string()))?;
    if !path.is_file() {
        return Err(failed("it was replaced meanwhile"));
    }
    let search = env::var_os("PATH").unwrap_or_default();
    let linked = env::split_paths(&search)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("baskd"))
        .find(|link| fs::canonicalize(link).is_ok_and(|target| target == path));
    Ok(linked.unwrap_or(path))
}

/// Whether a program is where a build has put it, rather than an installation.
pub(super) fn is_temporary(program: &Path) -> bool {
    let names: Vec<_> = program.iter().filter_map(|name| name.to_str()).collect();
    let is_build = |pair: &[&str]| pair[0] == "target" && ["debug", "release"].contains(&pair[1]);
    names.windows(2).any(is_build) || program.starts_with(env::temp_dir())
}

/// A controller that is found from any folder.
pub(super) fn absolute(spec: &ControllerSpec) -> ControllerSpec {
    match spec {
        ControllerSpec::File { path, class } => ControllerSpec::File {
            path: tidy(path),
            class: class.clone(),
        },
        other => other.clone(),
    }
}

/// The absolute path, without `..` where that leads to the same. Links stay: a venv's interpreter is one, and so may be
/// the folder that is the current release.
pub(super) fn tidy(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    let is_same = fs::canonicalize(&plain).ok() == fs::canonicalize(&absolute).ok();
    if is_same { plain } else { absolute }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_are_made_absolute_and_keep_their_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1")).unwrap();
        fs::create_dir(root.join("bin")).unwrap();
        fs::write(root.join("releases/1/c.py"), "").unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        assert_eq!(tidy(&root.join("bin/../current/c.py")), root.join("current/c.py"));
        // Above a link's target is not above the link.
        fs::write(root.join("releases/d.py"), "").unwrap();
        assert_eq!(tidy(&root.join("current/../d.py")), root.join("current/../d.py"));
        assert_eq!(tidy(Path::new("x")), env::current_dir().unwrap().join("x"));
    }

    #[test]
    fn nothing_that_was_put_aside_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chat.toml");
        for name in ["chat.toml.saved", "chat.toml.saved.2", "chat.toml.saved.3"] {
            assert_eq!(free(&path), folder.path().join(name));
            fs::write(free(&path), "").unwrap();
        }
    }

    #[test]
    fn what_was_just_built_is_told_from_what_is_installed() {
        assert!(is_temporary(Path::new("/home/me/baskd/target/debug/baskd")));
        assert!(is_temporary(&env::temp_dir().join("x/baskd")));
        assert!(!is_temporary(Path::new("/home/me/.cargo/bin/baskd")));
        assert!(!is_temporary(Path::new("/home/me/target/baskd")));
    }
}
