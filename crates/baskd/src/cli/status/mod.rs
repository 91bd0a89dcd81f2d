//! `status`: what the daemon and its Python are doing, as a page or as JSON.
//!
//! [`page`] is what it says, [`words`] its numbers, and [`layout`] how lines are aligned, coloured and cut.

mod layout;
mod page;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::env;
use std::io::{self, IsTerminal};
use std::time::{SystemTime, UNIX_EPOCH};

use baskd_client::Client;
use clap::Args;
use ratatui::crossterm::terminal;
use serde_json::value::RawValue;

use super::exit::Failure;
use super::output;
use super::{Target, at_once};

/// Say what the daemon and its Python are doing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  baskd status
  baskd status --json | jq '.workers[].pid'

It exits 3 where no daemon runs.")]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) target: Target,
}

impl Status {
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Failure> {
        if self.target.json {
            let status: Box<RawValue> = at_once(client, client.call("daemon.status", ())).await?;
            return output::line(status.get()).await;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let page = page::page(&at_once(client, client.status()).await?, now.as_millis() as u64);
        let is_terminal = io::stdout().is_terminal();
        let columns = is_terminal.then(terminal::size).and_then(Result::ok);
        let columns = columns
            .map(|(columns, _)| usize::from(columns))
            .filter(|columns| *columns > 0);
        output::line(page.finish(columns, is_terminal && wants_colours())).await
    }
}

/// As <https://no-color.org> has it.
fn wants_colours() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}
