//! `doctor`: looks at everything that a daemon needs, and says of each thing that is wrong what to do about it.
//!
//! Nothing is changed, and no daemon is started: a socket that systemd holds is not connected to. Each file looks at one
//! kind of thing and gives findings; here is the order in which they are looked at, which is that in which a person would
//! mend them.

mod finding;
mod limits;
mod places;
mod python;
mod service;

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use baskd::config::Settings;
use baskd::serve::ControllerSpec;
use baskd_protocol::socket::instance_name;
use clap::Args;

use super::exit::Failure;
use super::{Instance, output, runtime};
use finding::{Finding, Level};

/// Look for what keeps a daemon from running well, and say what to do about it
#[derive(Debug, Args)]
#[command(after_help = "\
It looks at the folders, the socket and the daemon at it, the config, the interpreter and the packages that the controller
imports, the systemd units, and the machine's limits. It changes nothing, and starts nothing.

Exit status:
  0 no problem   1 a problem was found   2 usage

Examples:
  baskd doctor
  baskd doctor --name chat
  baskd doctor python/controller.py --python .venv
  baskd doctor --json | jq -r '.[] | select(.level == \"problem\") | .remedy'")]
pub(crate) struct Doctor {
    /// The controller to look at [default: the config's, else the embedded example]
    controller: Option<ControllerSpec>,
    /// The interpreter to look at, or the folder of its venv [default: as for `baskd serve`]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// The config file [default: baskd/NAME.toml in $XDG_CONFIG_HOME, or ~/.config]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON: an array of {level, check, what, remedy}
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    instance: Instance,
}

impl Doctor {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let name = instance_name(self.instance.name.as_deref(), self.instance.socket.as_deref())
            .map_err(baskd_client::Error::from)?;
        let socket = self.instance.socket()?;
        let runtime = runtime()?;
        let flags = self.instance.flags();

        let mut found = places::config(&name, self.config.as_deref());
        // With a slip in the config, all else is looked at as if it were not there.
        let mut settings = Settings::load(&name, self.config.as_deref()).unwrap_or_default();
        if let Some(controller) = &self.controller {
            settings.controller = controller.clone();
        }
        if let Some(python) = &self.python {
            settings.python = Some(python.clone());
        }
        found.extend(places::environment());
        found.extend(places::runtime_folder(&socket));
        found.extend(places::state_folder(&name));
        found.extend(places::socket(&socket, &flags, &runtime));
        found.extend(python::look(&settings));
        found.extend(service::look(&name));
        found.extend(limits::look(&settings));

        let told = match self.json {
            true => finding::as_json(&found).to_string(),
            false => {
                let coloured =
                    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                finding::page(&found, coloured)
            }
        };
        runtime.block_on(output::line(told))?;
        match problems(&found) {
            0 => Ok(()),
            _ => Err(Failure::Told),
        }
    }
}

fn problems(found: &[Finding]) -> usize {
    found.iter().filter(|finding| finding.level == Level::Problem).count()
}
