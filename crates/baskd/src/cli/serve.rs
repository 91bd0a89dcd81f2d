//! `serve`: the daemon, in the foreground.

use std::path::PathBuf;

use baskd::config::Settings;
use baskd::serve::{self, ControllerSpec, Options};
use baskd_client::socket;
use clap::Args;

use super::Instance;
use super::exit::Failure;
use super::log_format;

/// Run the daemon in the foreground, until Ctrl-C, a TERM, `baskd stop`, or nobody has needed it for `--idle-exit`
#[derive(Debug, Args)]
#[command(after_help = "\
What the controller prints, and what the daemon has to say, goes to stderr.

Examples:
  baskd serve                                   the embedded example
  baskd serve python/controller.py              its class Controller
  baskd serve search.py:Search --name search    another class, under a name of its own
  baskd serve mypackage.models:Llama --python .venv
  baskd serve --config ./baskd.toml             all of that, and more, in a file

What can be set is set by a flag, else by a variable (BASKD_WORKERS, BASKD_MAX_QUEUE, …), else in the
config file: TOML, with the same names in lower case (workers, max_queue, …).")]
pub(crate) struct Serve {
    /// path/to/controller.py, path.py:Class or package.module:Class [default: the embedded example]
    controller: Option<ControllerSpec>,
    /// The interpreter, or the folder of its venv [default: $VIRTUAL_ENV, else a .venv beside the controller or above,
    /// else python3]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// How many Pythons serve calls; more than one only for a controller that says `stateless = True` [default: 1]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Reload the controller when one of its files changes
    #[arg(long)]
    watch: bool,
    /// The config file, which then must be there [default: baskd/NAME.toml in $XDG_CONFIG_HOME, or ~/.config]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long calls under way may take to end when it is stopped [default: 10s]
    #[arg(long, value_name = "DURATION")]
    grace: Option<String>,
    /// How long it stays without a connection and a call, before it ends by itself [default: 0, for ever]
    #[arg(long, value_name = "DURATION")]
    idle_exit: Option<String>,
    /// Say more: what it does; twice, every detail
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,python=warn [default: info]
    #[arg(long, value_name = "LEVEL", conflicts_with = "verbose")]
    log: Option<String>,
    /// How to write the log: pretty, json, journal, or auto, as suits what stderr is [default: auto]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// stderr is a log file of its own, as `baskd start` makes it
    #[arg(long, hide = true)]
    pub(crate) background: bool,
    #[command(flatten)]
    instance: Instance,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let name = socket::instance_name(self.instance.name.as_deref(), self.instance.socket.as_deref())
            .map_err(baskd_client::Error::from)?;
        let settings = self
            .settings(&name)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let log = log_format::start(&settings.log, settings.log_format, self.background, &name)?;
        let options = Options {
            name,
            socket: self.instance.socket()?,
            settings,
        };
        let ended = serve::run(options);
        log.now();
        ended.map_err(|error| {
            let text = error.to_string();
            if error.is_usage() {
                Failure::Usage(text)
            } else {
                Failure::Failed(text)
            }
        })
    }

    /// What the file and the environment say, with the flags on top.
    fn settings(&self, name: &str) -> Result<Settings, baskd::config::Error> {
        let mut settings = Settings::load(name, self.config.as_deref())?;
        if let Some(controller) = &self.controller {
            settings.controller = controller.clone();
        }
        if let Some(python) = &self.python {
            settings.python = Some(python.clone());
        }
        settings.watch |= self.watch;
        let log = match self.verbose {
            0 => self.log.as_deref(),
            1 => Some("debug"),
            _ => Some("trace"),
        };
        let flags = [
            ("--workers", self.workers.as_deref()),
            ("--grace", self.grace.as_deref()),
            ("--idle-exit", self.idle_exit.as_deref()),
            ("--log", log),
            ("--log-format", self.log_format.as_deref()),
        ];
        for (flag, text) in flags {
            if let Some(text) = text {
                settings.set_flag(flag, text)?;
            }
        }
        Ok(settings)
    }
}
