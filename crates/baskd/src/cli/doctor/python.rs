//! The interpreter, its venv, and the packages that the controller imports.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use baskd::backend::python::Interpreter;
use baskd::config::Settings;
use baskd::serve::{ControllerSpec, search_python};
use serde::Deserialize;

use super::finding::{Finding, Findings, quoted};

/// What is run to ask the interpreter about itself.
const PROBE: &str = include_str!("probe.py");
/// Longer than any start of Python takes that is to be called one.
const PATIENCE: Duration = Duration::from_secs(20);
const OLDEST: (u32, u32) = (3, 9);

#[derive(Debug, Deserialize)]
struct Told {
    version: String,
    implementation: String,
    prefix: PathBuf,
    base_prefix: PathBuf,
    codecs: Vec<String>,
    pip: bool,
    /// Module, file, line.
    #[serde(default)]
    missing: Vec<(String, String, u32)>,
    syntax: Option<(String, String, u32)>,
    unreadable: Option<String>,
}

pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut controller = Findings::of("controller");
    let file = match &settings.controller {
        ControllerSpec::Embedded => {
            controller.note(
                "none is named: a daemon would serve the embedded example",
                "baskd doctor path/to/controller.py",
            );
            None
        }
        ControllerSpec::Module { module, .. } => {
            controller.good(format!("the module {module}, which is not looked into"));
            None
        }
        ControllerSpec::File { path, .. } if path.is_file() => {
            controller.good(path.display().to_string());
            Some(path.clone())
        }
        ControllerSpec::File { path, .. } => {
            controller.problem(
                format!("there is no {}", path.display()),
                "correct `controller` in the config, or put it there",
            );
            None
        }
    };
    let mut found = controller.all();
    let mut interpreter = Findings::of("python");
    let mut settings = settings.clone();
    if file.is_none() && matches!(settings.controller, ControllerSpec::File { .. }) {
        settings.controller = ControllerSpec::Embedded;
    }
    match search_python(&settings) {
        Err(error) => interpreter.problem(error.to_string(), ""),
        Ok(search) => {
            match search.interpreter {
                Ok(python) => found.extend(ask(&mut interpreter, &python, file.as_deref())),
                Err(error) => {
                    let looked = search
                        .looked
                        .iter()
                        .map(|looked| format!("\n{}: {}", looked.at, looked.saw));
                    interpreter.problem(
                        format!("{error}{}", looked.collect::<String>()),
                        "make a venv beside the controller (python3 -m venv .venv), or name an interpreter with --python",
                    );
                }
            }
            for warning in search.warnings {
                interpreter.warning(warning, "");
            }
        }
    }
    // What is said of the interpreter comes before what was found by it.
    let packages = found.split_off(
        found
            .iter()
            .position(|finding| finding.check == "packages")
            .unwrap_or(found.len()),
    );
    found.extend(interpreter.all());
    found.extend(packages);
    found
}

fn ask(found: &mut Findings, python: &Interpreter, controller: Option<&Path>) -> Vec<Finding> {
    let shown = python.path.display();
    let told = match run(&python.path, controller) {
        Ok(told) => told,
        Err(why) => {
            let is_venv = python.path.parent().and_then(Path::parent).is_some_and(is_venv);
            let remedy = match is_venv {
                true => "make the venv again (`uv sync`, or `python3 -m venv --clear` and `pip install`)",
                false => "choose another with --python, or `python` in the config",
            };
            found.problem(format!("{shown} ({}) does not run: {why}", python.found), remedy);
            return Vec::new();
        }
    };
    let version = told
        .version
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect::<Vec<u32>>();
    let is_old = version.len() < 2 || (version[0], version[1]) < OLDEST;
    if is_old || told.implementation != "cpython" {
        found.problem(
            format!(
                "{shown} is {} {}, and baskd needs CPython 3.9 or newer",
                told.implementation, told.version
            ),
            "choose another with --python, or `python` in the config",
        );
    } else {
        found.good(format!("{}, {shown} ({})", told.version, python.found));
    }
    if told.prefix != told.base_prefix {
        venv(found, &told.prefix);
    }
    packages(&told, python, controller)
}

/// A venv that was moved still starts, but what is in its `bin` starts the old one, or nothing.
fn venv(found: &mut Findings, folder: &Path) {
    let remedy = format!(
        "make it again where it is: python3 -m venv --clear {0} and install into it, or `uv sync`",
        quoted(folder)
    );
    let Ok(config) = fs::read_to_string(folder.join("pyvenv.cfg")) else {
        return;
    };
    let value = |key: &str| {
        let mut lines = config.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| PathBuf::from(value.trim()))
    };
    if let Some(home) = value("home").filter(|home| !home.is_dir()) {
        found.problem(
            format!(
                "the venv {} was made with the Python in {}, which is gone",
                folder.display(),
                home.display()
            ),
            remedy.clone(),
        );
    }
    let activate = fs::read_to_string(folder.join("bin/activate")).unwrap_or_default();
    if let Some(made_at) = made_at(&activate).filter(|made_at| !is_same(made_at, folder)) {
        found.warning(
            format!(
                "the venv {} was made at {} and moved: its Python runs, but pip and other scripts in its bin don't",
                folder.display(),
                made_at.display()
            ),
            remedy,
        );
    }
}

/// Where `bin/activate` says that its venv is.
fn made_at(activate: &str) -> Option<PathBuf> {
    let value = activate.lines().find_map(|line| {
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        line.strip_prefix("VIRTUAL_ENV=")
    })?;
    let path = value.trim_matches(|quote| quote == '"' || quote == '\'');
    // One that finds out when it is run can be moved.
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

fn is_venv(folder: &Path) -> bool {
    folder.join("pyvenv.cfg").is_file()
}

fn packages(told: &Told, python: &Interpreter, controller: Option<&Path>) -> Vec<Finding> {
    let mut found = Findings::of("packages");
    let install = |what: &str| match told.pip {
        true => format!("{} -m pip install {what}", quoted(&python.path)),
        false => format!("uv pip install --python {} {what}", quoted(&python.path)),
    };
    if let Some((message, file, line)) = &told.syntax {
        found.problem(format!("{file}, line {line}: {message}"), "correct it");
    }
    if let Some(why) = &told.unreadable {
        found.problem(format!("the controller can't be read: {why}"), "");
    }
    for (module, file, line) in &told.missing {
        found.problem(
            format!("`{module}` is imported by {file}, line {line}, and not there"),
            format!("{} (if the package has the module's name)", install(module)),
        );
    }
    let is_looked_at = controller.is_some() && told.syntax.is_none() && told.unreadable.is_none();
    if is_looked_at && told.missing.is_empty() {
        found.good("all that the controller imports is there");
    }
    match told.codecs.as_slice() {
        [] => found.note(
            "neither msgspec nor orjson is there, by which calls would be faster; all works without",
            install("msgspec"),
        ),
        codecs => found.good(format!("{}: calls are decoded fast", codecs.join(" and "))),
    }
    found.all()
}

/// Runs the probe, for so long as a Python may take.
fn run(python: &Path, controller: Option<&Path>) -> Result<Told, String> {
    let mut command = Command::new(python);
    command.args(["-c", PROBE]).args(controller);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (mut out, mut err) = match (child.stdout.take(), child.stderr.take()) {
        (Some(out), Some(err)) => (out, err),
        _ => return Err("it has no output".to_owned()),
    };
    let (done, read) = mpsc::channel();
    thread::spawn(move || {
        let (mut said, mut complaint) = (String::new(), String::new());
        let _ = out.read_to_string(&mut said);
        let _ = err.read_to_string(&mut complaint);
        // Nobody waits any more if it took too long.
        let _ = done.send((said, complaint));
    });
    let Ok((said, complaint)) = read.recv_timeout(PATIENCE) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("it said nothing within {PATIENCE:?}"));
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    // A sitecustomize may have printed before it.
    let told = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    told.ok_or_else(|| {
        let last = complaint.lines().last().unwrap_or("it said nothing");
        format!("{last} ({status})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_venv_was_made() {
        for (text, at) in [
            (
                "VIRTUAL_ENV=/home/me/.venv\nexport VIRTUAL_ENV\n",
                Some("/home/me/.venv"),
            ),
            (
                "    export VIRTUAL_ENV='/home/my own/.venv'\n",
                Some("/home/my own/.venv"),
            ),
            ("VIRTUAL_ENV=\"$(cd \"$(dirname x)\" && pwd)\"", None),
            ("", None),
        ] {
            assert_eq!(made_at(text), at.map(PathBuf::from), "{text}");
        }
    }
}
