//! `serve`: the daemon, in the foreground.

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use baskd::limits::Limits;
use baskd::serve::{self, ControllerSpec, Options};
use baskd_client::socket;
use clap::Args;
use tracing_subscriber::EnvFilter;

use super::Instance;
use super::duration::parse;
use super::exit::Failure;
use super::log::{Flush, Log};

/// Run the daemon in the foreground, until Ctrl-C, a TERM, or `baskd stop`
#[derive(Debug, Args)]
#[command(after_help = "\
What the controller prints, and what the daemon has to say, goes to stderr.

Examples:
  baskd serve                                   the embedded example
  baskd serve python/controller.py              its class Controller
  baskd serve search.py:Search --name search    another class, under a name of its own
  baskd serve mypackage.models:Llama --python .venv")]
pub(crate) struct Serve {
    /// path/to/controller.py, path.py:Class or package.module:Class [default: the embedded example]
    controller: Option<ControllerSpec>,
    /// The interpreter, or the folder of its venv [default: $VIRTUAL_ENV, else a .venv beside the controller or above,
    /// else python3]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// How long calls under way may take to end when it is stopped
    #[arg(long, value_name = "DURATION", value_parser = parse, default_value = "10s")]
    grace: Duration,
    /// Say more: what it does; twice, every detail
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,python=warn
    #[arg(long, value_name = "LEVEL", conflicts_with = "verbose")]
    log: Option<String>,
    #[command(flatten)]
    instance: Instance,
}

impl Serve {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let log = self.log()?;
        let options = Options {
            name: socket::instance_name(self.instance.name.as_deref(), self.instance.socket.as_deref())
                .map_err(baskd_client::Error::from)?,
            socket: self.instance.socket()?,
            controller: self.controller.clone().unwrap_or_default(),
            python: self.python.clone(),
            grace: self.grace,
            limits: Limits::default(),
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

    /// Starts logging to stderr.
    fn log(&self) -> Result<Flush, Failure> {
        let level = match (self.log.as_deref(), self.verbose) {
            (Some(level), _) => level,
            (None, 0) => "info",
            (None, 1) => "debug",
            (None, _) => "trace",
        };
        let filter = EnvFilter::builder().parse(level).map_err(|error| {
            Failure::Usage(format!(
                "`{level}` is no log level ({error}): write error, warn, info, debug or trace"
            ))
        })?;
        let (stderr, flush) = Log::to(io::stderr());
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(stderr)
            .with_ansi(io::stderr().is_terminal());
        // The journal has the time of each line already.
        if env::var_os("JOURNAL_STREAM").is_some() {
            subscriber.without_time().init();
        } else {
            subscriber.init();
        }
        Ok(flush)
    }
}
