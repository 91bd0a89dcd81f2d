//! What a user may set, and where: flags beat the environment, which beats the file, which beats the defaults.
//!
//! [`settings`] is the one table of everything that can be set, [`values`] how durations and sizes are written, [`file`]
//! reads TOML. Nothing is guessed: an unknown key or a value out of its range is refused with its place, before anything
//! is started.

mod file;
mod settings;
mod values;

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use directories::BaseDirs;

use crate::backend::{Affinity, ReloadMode};
use crate::limits::Limits;
use crate::logs::LogFormat;
use crate::rpc::OnDisconnect;
use crate::serve::ControllerSpec;
use settings::{SETTINGS, Value};

pub use values::duration;

/// Everything that can be set, with its default.
#[derive(Debug, Clone)]
pub struct Settings {
    pub controller: ControllerSpec,
    /// An interpreter or a venv's folder.
    pub python: Option<PathBuf>,
    pub workers: usize,
    pub affinity: Affinity,
    /// Whether one more Python is kept warm, for when one dies.
    pub standby: bool,
    pub reload_mode: ReloadMode,
    /// Whether the controller is reloaded when its files change.
    pub watch: bool,
    /// Properties whose name has one of these words are never written to disk.
    pub volatile: Vec<String>,
    pub on_disconnect: OnDisconnect,
    /// How long running calls may take to end when the daemon is asked to stop.
    pub grace: Duration,
    /// How long the daemon stays without connections and calls; zero: for ever.
    pub idle_exit: Duration,
    /// What is logged: a level, or a filter.
    pub log: String,
    /// How many lines of the log are kept for those who ask later.
    pub log_lines: usize,
    pub log_format: LogFormat,
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            controller: ControllerSpec::default(),
            python: None,
            workers: 1,
            affinity: Affinity::default(),
            standby: false,
            reload_mode: ReloadMode::default(),
            watch: false,
            volatile: ["key", "token", "secret", "password"].map(str::to_owned).into(),
            on_disconnect: OnDisconnect::default(),
            grace: Duration::from_secs(10),
            idle_exit: Duration::ZERO,
            log: "info".to_owned(),
            log_lines: 1000,
            log_format: LogFormat::Auto,
            limits: Limits::default(),
        }
    }
}

/// Something that can't be set so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Error {
    place: Place,
    what: String,
}

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Line(PathBuf, usize),
    Variable(String),
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(out, "{}", path.display()),
            Place::Line(path, line) => write!(out, "{}, line {line}", path.display()),
            Place::Variable(name) => write!(out, "${name}"),
            Place::Flag(flag) => write!(out, "{flag}"),
        }
    }
}

impl Settings {
    /// The settings of an instance but for its flags. `asked`: the file given by `--config`, which must be there; the
    /// usual one may be missing.
    ///
    /// # Errors
    /// The first thing that is wrong in the file, then in the environment.
    pub fn load(instance: &str, asked: Option<&Path>) -> Result<Settings, Error> {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let asked = asked
            .map(Path::to_owned)
            .or(variable("BASKD_CONFIG").map(PathBuf::from));
        let mut settings = Settings::default();
        match (asked, file_of(instance)) {
            (Some(path), _) => file::read(&mut settings, &path, true)?,
            (None, Some(path)) => file::read(&mut settings, &path, false)?,
            (None, None) => {}
        }
        for setting in SETTINGS {
            let name = format!("BASKD_{}", setting.name.to_uppercase());
            if let Some(value) = variable(&name) {
                let place = Place::Variable(name);
                let Some(text) = value.to_str() else {
                    let what = "it is not UTF-8".to_owned();
                    return Err(Error { place, what });
                };
                setting.set(&mut settings, &Value::Typed(text), place)?;
            }
        }
        Ok(settings)
    }

    /// Sets what a flag says. `flag` is the setting's name after two hyphens, with hyphens between its words.
    ///
    /// # Errors
    /// Says why it can't be set so.
    pub fn set_flag(&mut self, flag: &'static str, text: &str) -> Result<(), Error> {
        let place = Place::Flag(flag);
        match SETTINGS
            .iter()
            .find(|setting| flag.strip_prefix("--").map(|flag| flag.replace('-', "_")).as_deref() == Some(setting.name))
        {
            Some(setting) => setting.set(self, &Value::Typed(text), place),
            None => Err(Error {
                place,
                what: "there is no such setting".to_owned(),
            }),
        }
    }
}

/// The variables that settings can be made by.
pub fn variables() -> impl Iterator<Item = String> {
    SETTINGS
        .iter()
        .map(|setting| format!("BASKD_{}", setting.name.to_uppercase()))
}

/// Where an instance's settings are read from, unless a file is given. None where there is no home.
#[must_use]
pub fn file_of(instance: &str) -> Option<PathBuf> {
    let folder = BaseDirs::new()?.config_dir().join("baskd");
    Some(folder.join(format!("{instance}.toml")))
}

#[cfg(test)]
mod tests;
