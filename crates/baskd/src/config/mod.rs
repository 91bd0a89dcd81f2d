//! What a user may set, and where: flags beat the environment, which beats the file, which beats the defaults.
//!
//! [`settings`] is the one table of everything that can be set, [`kind`] what a setting takes, [`values`] how durations and
//! sizes are written; [`file`] reads TOML, [`names`] knows what was meant, [`mistake`] says what is wrong; [`document`]
//! makes the table into documents. Nothing is guessed: an unknown key or a value out of its range is refused with its place, before anything
//! is started.

mod document;
mod file;
mod kind;
mod mistake;
mod names;
mod settings;
mod values;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use directories::BaseDirs;
use rustix::fs::OFlags;
use serde_json::Value as Json;

use crate::backend::{Affinity, ReloadMode};
use crate::limits::Limits;
use crate::logs::LogFormat;
use crate::rpc::OnDisconnect;
use crate::serve::ControllerSpec;
use file::File;
use kind::Value;
use mistake::{Mistake, Place};
use settings::{SETTINGS, Setting};

pub use document::default_file;
pub use mistake::Error;
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

/// The settings of an instance but for its flags, and where each was made.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// What the user should know of, and what keeps nothing from starting.
    pub notes: Vec<String>,
    /// The file that is read if it is there. None where there is no home.
    pub file: Option<PathBuf>,
    places: Places,
}

/// By a setting's name; `methods.NAME.timeout` for a method's.
#[derive(Debug, Clone, Default)]
struct Places(BTreeMap<String, Place>);

impl Places {
    fn note(&mut self, name: &str, place: Place) {
        self.0.insert(name.to_owned(), place);
    }
}

impl Settings {
    /// The settings of an instance but for its flags: see [`Loaded::read`].
    ///
    /// # Errors
    /// All that is wrong in the file and in the environment.
    pub fn load(instance: &str, asked: Option<&Path>) -> Result<Settings, Error> {
        Loaded::read(instance, asked).map(|loaded| loaded.settings)
    }

    /// What a file of that text would say, and nothing else: neither the environment nor flags. `path` is where it is, or
    /// will be.
    ///
    /// # Errors
    /// All that is wrong in it.
    pub fn of_text(path: &Path, text: &str) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        let mistakes = File { path, text }.apply(&mut settings, &mut Places::default());
        Error::of(mistakes).map_or(Ok(settings), Err)
    }

    /// Sets what a flag says. `flag` is the setting's name after two hyphens, with hyphens between its words.
    ///
    /// # Errors
    /// Says why it can't be set so.
    pub fn set_flag(&mut self, flag: &'static str, text: &str) -> Result<(), Error> {
        let name = flag.trim_start_matches('-').replace('-', "_");
        let set = match Setting::named(&name) {
            Some(setting) => setting.kind.set(self, &Value::Typed(text)),
            None => Err("there is no such setting".to_owned()),
        };
        set.map_err(|what| Mistake::new(Place::Flag(flag), what).into())
    }
}

impl Loaded {
    /// `asked`: the file given by `--config`, which must be there; the usual one may be missing.
    ///
    /// # Errors
    /// All that is wrong in the file and in the environment.
    pub fn read(instance: &str, asked: Option<&Path>) -> Result<Loaded, Error> {
        let (file, must_exist) = file_for(instance, asked);
        let mut loaded = Loaded {
            settings: Settings::default(),
            notes: Vec::new(),
            file,
            places: Places::default(),
        };
        let mut mistakes = match &loaded.file {
            Some(path) => read_file(&mut loaded.settings, &mut loaded.places, path, must_exist),
            None => Vec::new(),
        };
        for setting in SETTINGS {
            let name = setting.variable();
            let Some(value) = variable(&name) else { continue };
            let set = match value.to_str() {
                Some(text) => setting.kind.set(&mut loaded.settings, &Value::Typed(text)),
                None => Err("is not UTF-8".to_owned()),
            };
            match set {
                Ok(()) => loaded.places.note(setting.name, Place::Variable(name)),
                Err(what) => mistakes.push(Mistake {
                    key: Some(setting.name.to_owned()),
                    ..Mistake::new(Place::Variable(name), format!("`{}` {what}", setting.name))
                }),
            }
        }
        loaded.notes = misspelt_variables();
        Error::of(mistakes).map_or(Ok(loaded), Err)
    }

    /// Each setting as it is now: all of them, or those that are not what they would be anyway.
    #[must_use]
    pub fn effective(&self, all: bool) -> Vec<Effective> {
        let mut settings = self.settings.clone();
        let mut defaults = Settings::default();
        let effective = |name: &str, value: Json, default: Json| Effective {
            from: self.places.0.get(name).map(Place::short),
            place: self.places.0.get(name).map_or(Json::Null, Place::to_json),
            name: name.to_owned(),
            value,
            default,
        };
        let mut list: Vec<_> = SETTINGS
            .iter()
            .map(|setting| {
                let [value, default] =
                    [&mut settings, &mut defaults].map(|from| setting.kind.get(from).unwrap_or_default());
                effective(setting.name, value, default)
            })
            .filter(|setting| all || setting.value != setting.default)
            .collect();
        let mut timeouts: Vec<_> = self.settings.limits.timeouts.iter().collect();
        timeouts.sort();
        list.extend(timeouts.into_iter().map(|(method, timeout)| {
            let name = format!("methods.{method}.{}", settings::OF_A_METHOD.name);
            effective(&name, values::duration_text(*timeout).into(), Json::Null)
        }));
        list
    }
}

/// What a setting is, and where that was said.
#[derive(Debug, Clone)]
pub struct Effective {
    pub name: String,
    /// As the file would have it; null where nothing is set.
    pub value: Json,
    pub default: Json,
    /// `FILE:LINE` or `$VARIABLE`; None for the default.
    pub from: Option<String>,
    /// The same for programs: `file`, `line` and `by`, each of which may be null; null for the default.
    pub place: Json,
}

impl Effective {
    /// The value as a person would write it; "none" where nothing is set.
    #[must_use]
    pub fn written(&self) -> String {
        match &self.value {
            Json::Null => "none".to_owned(),
            value => document::written(value),
        }
    }
}

/// Says all that is wrong with a config file, whatever the environment.
///
/// # Errors
/// All that is wrong in it.
pub fn check(path: &Path) -> Result<(), Error> {
    let mistakes = read_file(&mut Settings::default(), &mut Places::default(), path, true);
    Error::of(mistakes).map_or(Ok(()), Err)
}

/// The file that an instance's settings are read from, and whether it must be there: it is the one `asked` for, else that of
/// `$BASKD_CONFIG`, else the usual one, which may be missing. None where there is no home.
#[must_use]
pub fn file_for(instance: &str, asked: Option<&Path>) -> (Option<PathBuf>, bool) {
    let asked = asked.map(Path::to_owned);
    match asked.or_else(|| variable("BASKD_CONFIG").map(PathBuf::from)) {
        Some(path) => (Some(path), true),
        None => (file_of(instance), false),
    }
}

fn read_file(settings: &mut Settings, places: &mut Places, path: &Path, must_exist: bool) -> Vec<Mistake> {
    let failed = |what: String| vec![Mistake::new(Place::File(path.to_owned()), what)];
    let text = match text_of(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return Vec::new(),
        Err(error) => return failed(format!("the config can't be read: {error}")),
    };
    match std::path::absolute(path) {
        Ok(path) => File {
            path: &path,
            text: &text,
        }
        .apply(settings, places),
        Err(error) => failed(format!("the config has no place: {error}")),
    }
}

/// What a config file holds.
///
/// # Errors
/// As of any file; and where it is none: a pipe would be waited for, for ever.
pub fn text_of(path: &Path) -> io::Result<String> {
    // A pipe without a writer holds up whoever opens it, unless that is said.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file: put one in its place"));
    }
    io::read_to_string(file)
}

/// One that is empty counts as not there.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Variables that look like a setting's, and are none's.
pub fn misspelt_variables() -> Vec<String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let ours = names.filter(|name| name.to_uppercase().starts_with("BASKD_"));
    let mut notes: Vec<_> = ours
        .filter(|name| !SETTINGS.iter().any(|setting| setting.variable() == *name) && !OTHERS.contains(&name.as_str()))
        .filter_map(|name| {
            let near = names::meant_variable(&name)?;
            Some(format!("${name} is no setting: did you mean ${near}?"))
        })
        .collect();
    notes.sort();
    notes
}

/// Variables of baskd's that are no settings.
const OTHERS: &[&str] = &[
    "BASKD_NAME",
    "BASKD_SOCKET",
    "BASKD_CONFIG",
    "BASKD_START",
    "BASKD_BIN",
    "BASKD_FDS",
];

/// Where an instance's settings are read from, unless a file is given. None where there is no home.
#[must_use]
pub fn file_of(instance: &str) -> Option<PathBuf> {
    let folder = BaseDirs::new()?.config_dir().join("baskd");
    Some(folder.join(format!("{instance}.toml")))
}

#[cfg(test)]
mod protocol_md;
#[cfg(test)]
mod tests;
