//! `list`: every instance there is, whoever has started it, and how it is.
//!
//! Instances are found by what they leave: configs, sockets, state folders, units ([`find`]). Only a daemon that runs,
//! which its lock tells, is connected to ([`ask`]): where systemd holds the socket, a connection would start one.

mod ask;
mod find;
mod row;
mod table;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use futures_util::future::{join, join_all};
use tokio::process::Command;
use tokio::time::timeout;

use super::exit::Failure;
use super::systemd::{self, Pair, Trouble};
use super::{output, runtime};
use find::Found;
use row::Row;

/// How long systemd may take to answer; without it, what is told by files is told.
const SYSTEMD: Duration = Duration::from_secs(2);

/// Show every instance: its state, uptime, memory, socket and controller
#[derive(Debug, Args)]
#[command(after_help = "\
States:
  ready, starting, backing off, unavailable, stopping    a daemon runs, and says so of its Python
  does not answer             a daemon runs, and said nothing within a second and a half
  listening                   systemd has the socket, and starts the daemon with the first call
  failed                      its unit has: `systemctl --user status 'baskd@NAME.*'` tells why
  installed, not listening    `systemctl --user start baskd@NAME.socket` has it listen
  stale socket                a daemon that was killed has left it; the next one takes it over
  stopped                     there is its config or its state

MEMORY is the daemon's and its Pythons'. No daemon is started by being listed.

Examples:
  baskd list
  baskd list --json | jq -r '.[] | select(.state == \"ready\") | .name'")]
pub(crate) struct List {
    /// Print a JSON array, for programs
    #[arg(long)]
    json: bool,
}

impl List {
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn run(&self) -> Result<(), Failure> {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async {
            let (found, listening) = (find::all(), find::listening_paths());
            let rows = rows(found, &listening).await;
            if self.json {
                let rows: Vec<_> = rows.iter().map(Row::json).collect();
                return output::line(serde_json::Value::from(rows).to_string()).await;
            }
            if rows.is_empty() {
                // What was asked for is nothing.
                let _ = writeln!(
                    io::stderr().lock(),
                    "there is no instance: `baskd serve CONTROLLER` runs one, `baskd install CONTROLLER --name NAME` keeps one"
                );
                return Ok(());
            }
            let width = io::stdout().is_terminal().then(table::terminal_width).flatten();
            output::line(table::draw(&rows, width)).await
        });
        runtime.shutdown_background();
        outcome
    }
}

/// What each of them is, all asked at the same time.
async fn rows(found: Vec<Found>, listening: &[String]) -> Vec<Row> {
    let answers = join_all(found.iter().map(|one| async {
        match (&one.holder, &one.socket) {
            // One that stops takes no more connections: systemd would start the next one for it.
            (Some(holder), Some(socket)) if !holder.is_stopping => Some(ask::status(socket).await),
            _ => None,
        }
    }));
    let (answers, units) = join(answers, units(&found)).await;
    let mut rows: Vec<_> = found
        .into_iter()
        .zip(answers)
        .map(|(one, answer)| {
            let units = units.get(&one.name);
            Row::of(one, answer, units, listening)
        })
        .collect();
    // One that the manager alone knows of: started, and never installed.
    for (name, pair) in &units {
        if !rows.iter().any(|row| row.name == *name) && (pair.socket.is_active() || pair.service.is_active()) {
            rows.push(Row::of(find::by_name(name), None, Some(pair), listening));
        }
    }
    rows.sort_by(|one, other| one.name.cmp(&other.name).then(one.socket.cmp(&other.socket)));
    rows
}

/// What the manager says of each instance; nothing, if there is none.
async fn units(found: &[Found]) -> BTreeMap<String, Pair> {
    let asked = async {
        let mut names = systemd::listed(&manager(systemd::LIST).await?);
        names.extend(found.iter().filter(|one| one.is_installed).map(|one| one.name.clone()));
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let units = names
            .iter()
            .flat_map(|name| [systemd::socket_unit(name), systemd::service_unit(name)]);
        let units: Vec<_> = units.collect();
        let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
        for unit in systemd::units(&manager(&systemd::show(&units)).await?) {
            let Some(name) = systemd::instance_of(&unit.id) else {
                continue;
            };
            let pair = pairs.entry(name.to_owned()).or_default();
            match unit.id.ends_with(".socket") {
                true => pair.socket = unit,
                false => pair.service = unit,
            }
        }
        Ok::<_, Trouble>(pairs)
    };
    match timeout(SYSTEMD, asked).await {
        Ok(Ok(pairs)) => pairs,
        Ok(Err(_)) | Err(_) => BTreeMap::new(),
    }
}

async fn manager(arguments: &[&str]) -> Result<String, Trouble> {
    let mut command = Command::from(systemd::command(arguments));
    systemd::judge(arguments, command.kill_on_drop(true).output().await)
}
