//! `install` and `uninstall`: an instance as a user service of systemd.
//!
//! Everything is looked at before anything is touched: [`facts`] is what there is, [`plan`] and [`uninstall`] make of it
//! a list of [`step`]s, and that is carried out, or, with `--dry-run`, shown.

mod config;
mod diff;
mod facts;
mod own;
mod plan;
mod report;
mod step;
mod uninstall;
mod units;

use std::env;
use std::path::{Path, PathBuf};

use baskd::backend::python;
use baskd::config::Settings;
use baskd::serve::{self, ControllerSpec};
use clap::Args;
use serde_json::json;
use toml_edit::Value;

use super::exit::Failure;
use super::start::written;
use super::systemd::{self, Pair};
use config::{Chosen, Key};
use facts::Place;
use plan::{Install as Planned, Text};
use report::Report;

pub(crate) use uninstall::Uninstall;

/// Have systemd keep an instance: at each login its socket listens, and the first call starts the daemon
#[derive(Debug, Args)]
#[command(after_help = "\
It writes baskd/NAME.toml into $XDG_CONFIG_HOME (~/.config), or sets in it what is given here, and
user units into systemd/user there; then it enables the socket. A second run changes nothing.
Python starts in the folder where this is run.

Examples:
  baskd install python/controller.py --name chat
  baskd install search.py:Search --name search --python .venv --workers 2 --idle-exit 10m
  baskd install --name search --workers 4 --restart     change one thing, and have it taken over
  baskd install controller.py --name chat --dry-run     see what it would do

`baskd uninstall` takes it away again, `baskd list` shows what there is.")]
pub(crate) struct Install {
    /// path/to/controller.py, path.py:Class or package.module:Class [default: what the config says, else the embedded
    /// example]
    controller: Option<ControllerSpec>,
    /// The interpreter, or the folder of its venv [default: what the config says, else found as `baskd serve` finds it]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// How many Pythons serve calls
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Reload the controller when one of its files changes; or, with =false, don't
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    watch: Option<bool>,
    /// How long calls under way may take to end when it is stopped
    #[arg(long, value_name = "DURATION")]
    grace: Option<String>,
    /// How long it stays without a connection and a call, before it ends by itself; the next call starts it again
    #[arg(long, value_name = "DURATION")]
    idle_exit: Option<String>,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,python=warn
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Restart a daemon that runs, so that it takes over what is written
    #[arg(long, conflicts_with = "no_enable")]
    restart: bool,
    /// Write the files, and leave systemd alone
    #[arg(long)]
    no_enable: bool,
    #[command(flatten)]
    how: How,
}

/// What both commands take.
#[derive(Debug, Args)]
struct How {
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON, for programs: each step, and what is to be known
    #[arg(long)]
    json: bool,
    /// The instance's name [default: $BASKD_NAME, else `default`]
    #[arg(long, value_name = "NAME", help_heading = "Which instance")]
    name: Option<String>,
}

impl Install {
    pub(crate) fn is_json(&self) -> bool {
        self.how.json
    }

    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = Place::of(self.how.name.as_deref())?;
        let name = place.name.as_str();
        let working_folder = self.working_folder(&place)?;
        let (config, settings) = self.config(&place, &working_folder)?;
        let program = facts::program()?;
        let text = |path: PathBuf, after: String| {
            let before = step::read(&path)?;
            Ok::<_, Failure>(Text { path, before, after })
        };
        let folder = &place.files.0;
        let socket = text(folder.join("baskd@.socket"), units::socket())?;
        let service = units::service(&program).map_err(Failure::Usage)?;
        let service = text(folder.join("baskd@.service"), service)?;
        let drop_in = units::drop_in(name, &working_folder).map_err(Failure::Usage)?;
        let drop_in = text(place.files.drop_in(name), drop_in)?;

        let (units, warning) = match self.no_enable {
            true => (None, None),
            false => {
                match facts::manager(&place, "`--no-enable` writes the files only") {
                    Ok(manager) => (Some(manager.units), manager.warning),
                    // What would be done where it can be reached, as if it knew nothing yet.
                    Err(why) if self.how.dry_run => (Some(Pair::default()), Some(without_dry_run(&why))),
                    Err(why) => return Err(Failure::Failed(why)),
                }
            }
        };
        let outsider = facts::outsider(&place, units.as_ref())?;
        if let (Some(outsider), false) = (&outsider, self.no_enable) {
            return Err(Failure::Failed(format!(
                "{outsider}, and systemd can't have its socket while it does: stop it with `baskd stop{}`, then run this again",
                place.flags()
            )));
        }
        let planned = Planned {
            name: name.to_owned(),
            config,
            socket,
            service,
            drop_in,
            units,
            restart: self.restart,
        };
        let plan = planned.plan(|path| facts::free(path));

        let mut report = Report::new(self.how.json, self.how.dry_run)?;
        report.go_through(&plan.steps)?;
        if !self.no_enable && !self.how.dry_run {
            facts::listens(&place)?;
        }
        self.tell(&mut report, &place, &settings)?;
        let warnings = warnings(&place, &program, outsider, plan.is_stale);
        for warning in warnings.into_iter().chain(warning) {
            report.warn(warning)?;
        }
        report.finish(json!({
            "name": name,
            "socket": place.socket.to_string_lossy(),
            "controller": written(&settings.controller),
            "python": settings.python.as_ref().map(|path| path.to_string_lossy()),
            "config": planned.config.path.to_string_lossy(),
            "units": place.files.0.to_string_lossy(),
            "program": program.to_string_lossy(),
            "enabled": !self.no_enable && !self.how.dry_run,
        }))
    }

    fn tell(&self, report: &mut Report, place: &Place, settings: &Settings) -> Result<(), Failure> {
        if settings.controller == ControllerSpec::Embedded {
            let what = "the embedded example; name one of your own: baskd install path/to/controller.py";
            report.line("controller", &format!("{what}{}", place.flags()))?;
        }
        if self.no_enable {
            let unit = systemd::socket_unit(&place.name);
            let command = format!("systemctl --user daemon-reload && systemctl --user enable --now {unit}");
            return report.line("enable it", &command);
        }
        report.line("socket", &place.socket.display().to_string())?;
        let flags = place.flags();
        report.line(
            "call it",
            &format!("baskd call METHOD{flags}     the first call starts the daemon"),
        )?;
        report.line(
            "see it",
            &format!("baskd status{flags}, baskd methods{flags}, baskd list"),
        )
    }

    /// Where Python starts: here; or, where only something else is changed, where it did.
    fn working_folder(&self, place: &Place) -> Result<PathBuf, Failure> {
        let here =
            env::current_dir().map_err(|error| Failure::Failed(format!("the working folder is gone: {error}")))?;
        if self.controller.is_some() {
            return Ok(here);
        }
        let before = step::read(&place.files.drop_in(&place.name))?;
        let before = before.as_deref().and_then(units::folder_in).map(PathBuf::from);
        Ok(before.filter(|folder| folder.is_dir()).unwrap_or(here))
    }

    /// The config as it will be, and what it says, all of which is there.
    fn config(&self, place: &Place, working_folder: &Path) -> Result<(Text, Settings), Failure> {
        let usage = |error: baskd::config::Error| Failure::Usage(error.to_string());
        let path = place.config.clone();
        let before = step::read(&path)?;
        // A slip is told with the line that it has now.
        let text = before.as_deref().unwrap_or_default();
        let settings = Settings::of_text(&path, text).map_err(usage)?;
        let keys = self.keys(&settings, text, working_folder)?;
        let after = match &before {
            Some(before) => config::edited(before, &keys),
            None => config::made(&place.name, &keys),
        };
        let after = after.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        let settings = Settings::of_text(&path, &after).map_err(usage)?;
        if let ControllerSpec::File { path, .. } = &settings.controller
            && !path.is_file()
        {
            return Err(Failure::Usage(serve::Error::NoController(path.clone()).to_string()));
        }
        let beside = beside(&settings.controller, working_folder);
        let search = python::search(settings.python.as_deref(), beside, &python::Surroundings::now());
        search.interpreter.map_err(|error| Failure::Usage(error.to_string()))?;
        Ok((Text { path, before, after }, settings))
    }

    /// What is to stand in the config: what is asked for, and the Python, which systemd would not find as a shell does.
    fn keys(&self, before: &Settings, text: &str, working_folder: &Path) -> Result<Vec<Key>, Failure> {
        let mut keys = Vec::new();
        let mut set = |name, value: Value, because| keys.push(Key { name, value, because });
        let text_of = |path: &Path| match path.to_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(Failure::Usage(serve::Error::NotUtf8(path.to_owned()).to_string())),
        };
        let controller = self.controller.as_ref().map(facts::absolute);
        let changed = controller
            .as_ref()
            .is_some_and(|controller| *controller != before.controller);
        if let (Some(controller), true) = (&controller, changed) {
            if let ControllerSpec::File { path, .. } = controller {
                text_of(path)?;
            }
            set("controller", written(controller).into(), None);
        }
        let beside = beside(controller.as_ref().unwrap_or(&before.controller), working_folder);
        let chosen = config::chosen(text, "python");
        let is_to_be_found = chosen == Chosen::Not || (chosen == Chosen::ByUs && changed);
        if self.python.is_some() || is_to_be_found {
            let search = python::search(self.python.as_deref(), beside, &python::Surroundings::now());
            let found = search.interpreter.map_err(|error| Failure::Usage(error.to_string()))?;
            let because = self.python.is_none().then_some(found.found);
            set("python", text_of(&facts::tidy(&found.path))?.into(), because);
        }

        let mut flags = Settings::default();
        let checked = |flags: &mut Settings, flag, text: &str| {
            flags
                .set_flag(flag, text)
                .map_err(|error: baskd::config::Error| Failure::Usage(error.to_string()))
        };
        if let Some(text) = &self.workers {
            checked(&mut flags, "--workers", text)?;
            let workers =
                i64::try_from(flags.workers).map_err(|_| Failure::Usage(format!("--workers: {text} is too many")))?;
            set("workers", workers.into(), None);
        }
        if let Some(watch) = self.watch {
            set("watch", watch.into(), None);
        }
        for (flag, name, text) in [
            ("--grace", "grace", &self.grace),
            ("--idle-exit", "idle_exit", &self.idle_exit),
            ("--log", "log", &self.log),
        ] {
            if let Some(text) = text {
                checked(&mut flags, flag, text)?;
                set(name, text.as_str().into(), None);
            }
        }
        Ok(keys)
    }
}

/// What a dry run says of what would keep it from being done.
fn without_dry_run(why: &str) -> String {
    format!("without --dry-run this fails: {why}")
}

/// Where a venv is looked for, first.
fn beside<'a>(controller: &'a ControllerSpec, working_folder: &'a Path) -> &'a Path {
    match controller {
        ControllerSpec::File { path, .. } => path.parent().unwrap_or(working_folder),
        ControllerSpec::Embedded | ControllerSpec::Module { .. } => working_folder,
    }
}

fn warnings(place: &Place, program: &Path, outsider: Option<String>, is_stale: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(outsider.map(|outsider| {
        format!(
            "{outsider}: stop it with `baskd stop{}` before the unit is started",
            place.flags()
        )
    }));
    if is_stale {
        warnings.push(format!(
            "the daemon that runs does not know of this yet: `systemctl --user restart baskd@{}` has it taken over, as --restart would have",
            place.name
        ));
    }
    if facts::is_temporary(program) {
        warnings.push(format!(
            "{} is in a folder for what is built, and may be gone tomorrow: `cargo install --path crates/baskd`, and install with that one",
            program.display()
        ));
    }
    if systemd::lingers() == Some(false) {
        warnings.push(
            "it ends when you log out, and starts when you log in; `loginctl enable-linger` has it stay".to_owned(),
        );
    }
    if let Some(other) = env::var_os("BASKD_SOCKET").filter(|path| !path.is_empty() && Path::new(path) != place.socket)
    {
        warnings.push(format!(
            "$BASKD_SOCKET leads whoever gives no --name to {}",
            other.to_string_lossy()
        ));
    }
    warnings
}
