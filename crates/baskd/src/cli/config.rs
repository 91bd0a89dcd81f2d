//! `config`: what is set and where that was said; every setting; and whether a file is right.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use baskd::config::{self, Effective, Loaded};
use baskd_client::socket;
use clap::Args;
use serde_json::json;

use super::exit::Failure;
use super::{Instance, output, runtime};

/// Say what is set, and where: in the config file, in the environment, or not at all
#[derive(Debug, Args)]
#[command(after_help = "\
Without a flag it shows what differs from its default, as the file and the environment have it now. A daemon that runs has read
them when it was started, and its flags go before both.

Examples:
  baskd config                           what is set, and where
  baskd config --all                     every setting
  baskd config --edit                    write the file, with every setting and what it does to begin with
  baskd config --default > baskd.toml    the same, for a project: baskd serve --config baskd.toml
  baskd config --check baskd.toml        say what is wrong with it; exits 2 if anything is")]
pub(crate) struct Config {
    /// Every setting, those that are as they would be anyway, too
    #[arg(long)]
    all: bool,
    /// Print a config file with every setting, its default and what it does
    #[arg(long, group = "what")]
    default: bool,
    /// Print the path of the instance's config file, which need not be there
    #[arg(long, group = "what")]
    path: bool,
    /// Say whether a config file is right [default: the instance's]
    #[arg(long, value_name = "FILE", num_args = 0..=1, group = "what")]
    check: Option<Option<PathBuf>>,
    /// Open the config file in $VISUAL or $EDITOR, and say afterwards whether it is right
    #[arg(long, group = "what")]
    edit: bool,
    /// The config file, which then must be there [default: baskd/NAME.toml in $XDG_CONFIG_HOME, or ~/.config]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    instance: Instance,
}

impl Config {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.default {
            return print(config::default_file());
        }
        let name = socket::instance_name(self.instance.name.as_deref(), self.instance.socket.as_deref())
            .map_err(baskd_client::Error::from)?;
        let (file, must_exist) = config::file_for(&name, self.config.as_deref());
        match &self.check {
            Some(Some(asked)) => return self.check(asked, true),
            Some(None) => return self.check(&there(file)?, must_exist),
            None => {}
        }
        if self.path {
            let path = there(file)?;
            return print(match self.json {
                true => line(&json!({ "path": path.to_string_lossy(), "exists": path.exists() })),
                false => format!("{}\n", path.display()),
            });
        }
        if self.edit {
            let path = there(file)?;
            edit(&path)?;
            return self.check(&path, true);
        }
        let loaded = Loaded::read(&name, self.config.as_deref())?;
        for note in &loaded.notes {
            eprintln!("baskd: {note}");
        }
        let settings = loaded.effective(self.all);
        print(match self.json {
            true => line(&as_json(&loaded, &settings)),
            false => table(&loaded, &settings),
        })
    }

    fn check(&self, path: &Path, must_exist: bool) -> Result<(), Failure> {
        let is_there = must_exist || path.exists();
        if is_there {
            config::check(path)?;
        }
        print(match (self.json, is_there) {
            (true, _) => line(&json!({ "path": path.to_string_lossy(), "exists": is_there, "mistakes": [] })),
            (false, true) => format!("{} is right\n", path.display()),
            (false, false) => format!("{} is not there: everything has its default\n", path.display()),
        })
    }
}

/// Opens an editor, in which a file that is not there yet has every setting.
fn edit(path: &Path) -> Result<(), Failure> {
    let failed = |what: &str, error: std::io::Error| Failure::Failed(format!("{}: {what}: {error}", path.display()));
    if !path.exists() {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| failed("its folder can't be made", error))?;
        }
        fs::write(path, config::default_file()).map_err(|error| failed("it can't be written", error))?;
    }
    let named = |name| env::var_os(name).filter(|value| !value.is_empty());
    let editor = named("VISUAL")
        .or_else(|| named("EDITOR"))
        .unwrap_or_else(|| "vi".into());
    // As others do it: it may have arguments of its own, as `code --wait`.
    let mut command = editor.clone();
    command.push(" \"$0\"");
    let status = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .arg(path)
        .status()
        .map_err(|error| Failure::Failed(format!("no editor can be run by /bin/sh: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the editor `{}` failed ({status}): set $EDITOR to one that is there",
        editor.display()
    )))
}

fn there(file: Option<PathBuf>) -> Result<PathBuf, Failure> {
    file.ok_or_else(|| Failure::Usage("there is no folder for the config: set HOME, or pass --config".to_owned()))
}

fn as_json(loaded: &Loaded, settings: &[Effective]) -> serde_json::Value {
    let file = loaded.file.as_ref();
    let settings: Vec<_> = settings
        .iter()
        .map(|setting| {
            json!({ "name": setting.name, "value": setting.value, "default": setting.default, "from": setting.place })
        })
        .collect();
    json!({
        "path": file.map(|path| path.to_string_lossy()),
        "exists": file.is_some_and(|path| path.exists()),
        "settings": settings,
        "notes": loaded.notes,
    })
}

/// Names, values and where they are from, aligned.
fn table(loaded: &Loaded, settings: &[Effective]) -> String {
    let mut text = match &loaded.file {
        Some(path) if path.exists() => format!("# {}\n", path.display()),
        Some(path) => format!("# {}, which is not there\n", path.display()),
        None => String::new(),
    };
    if settings.is_empty() {
        text.push_str(
            "# Everything has its default: `baskd config --all` shows it, `baskd config --edit` changes it.\n",
        );
    }
    let rows: Vec<_> = settings
        .iter()
        .map(|setting| {
            let from = setting.from.clone().unwrap_or_else(|| "default".to_owned());
            (setting.name.as_str(), setting.written(), from)
        })
        .collect();
    let width = |of: fn(&(&str, String, String)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let names = width(|row| row.0.len());
    let values = width(|row| row.1.len()).min(40);
    for (name, value, from) in &rows {
        text.push_str(&format!("{name:names$}  {value:values$}  {from}\n"));
    }
    text
}

fn line(value: &serde_json::Value) -> String {
    format!("{value}\n")
}

fn print(text: String) -> Result<(), Failure> {
    runtime()?.block_on(output::bytes(text.as_bytes()))
}
