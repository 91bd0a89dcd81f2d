//! The command line: one file a command family, and here what they have in common.
//!
//! A command either needs no daemon (`serve`, `demo`, `socket`), or is a client's: it gets a [`Client`] that is
//! connected, prints to stdout what was asked for and nothing else, and returns a [`Failure`] for [`exit`] to word and
//! number.

mod assets;
mod call;
mod config;
mod control;
mod demo;
mod doctor;
mod duration;
mod exit;
mod harmless;
mod install;
mod interrupt;
mod journal;
mod launch;
mod list;
mod log;
mod log_file;
mod log_format;
mod log_lines;
mod logs;
mod methods;
mod output;
mod params;
mod progress;
mod property;
mod serve;
mod start;
mod status;
mod systemd;
mod top;

use std::io::ErrorKind::WouldBlock;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use baskd_client::{Builder, Client, socket};
use baskd_protocol::presence::Presence;
use clap::{Args, CommandFactory, Parser, Subcommand};
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

use exit::{Exit, Failure};
use interrupt::Interrupts;
use start::MayStart;

/// How long the daemon gets to take in that what was under way is cancelled, before this process ends anyway.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long it may take to say how it is.
const ANSWER: Duration = Duration::from_secs(5);

/// Keeps one Python warm and shares it: loads your Controller class once, and lets Node, Rust, Python and shell
/// programs call its methods over a Unix socket.
#[derive(Debug, Parser)]
#[command(name = "baskd", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  baskd demo                              see what it does, in two seconds
  baskd serve python/controller.py        serve a controller of your own
  baskd call increment by=5               call one of its methods

Exit status:
  0 done   1 the method raised, or was cancelled   2 usage, or an unknown method or parameter
  3 no daemon reached   4 Python crashed or is unavailable   5 timed out")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Start(start::Start),
    Call(call::Call),
    Get(property::Get),
    Set(property::Set),
    Methods(methods::Methods),
    Status(status::Status),
    Logs(logs::Logs),
    Top(top::Top),
    Socket(control::Socket),
    Config(config::Config),
    Completions(assets::Completions),
    Man(assets::ManPage),
    Reload(control::Reload),
    Restart(control::Restart),
    Stop(control::Stop),
    Install(install::Install),
    Uninstall(install::Uninstall),
    List(list::List),
    Doctor(doctor::Doctor),
}

/// Which daemon is meant.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Which instance")]
struct Instance {
    /// Its name [default: $BASKD_NAME, else `default`]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its socket, whatever its name [default: $BASKD_SOCKET, else where the name says]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// What every command that talks to a daemon takes.
#[derive(Debug, Clone, Args)]
struct Target {
    /// Print JSON, for programs; if it fails, print the whole error object to stderr
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    instance: Instance,
}

impl Instance {
    fn socket(&self) -> Result<PathBuf, Failure> {
        Ok(socket::resolve(self.name.as_deref(), self.socket.as_deref())?)
    }

    /// What was given, as it would be given to another command.
    fn flags(&self) -> String {
        let name = self.name.as_ref().map(|name| format!(" --name {name}"));
        let socket = self
            .socket
            .as_ref()
            .map(|socket| format!(" --socket {}", socket.display()));
        name.into_iter().chain(socket).collect()
    }
}

pub(crate) fn main() -> ExitCode {
    let command = Cli::parse().command;
    let json = match &command {
        Command::Start(start) => start.json,
        Command::Install(install) => install.is_json(),
        Command::Uninstall(uninstall) => uninstall.is_json(),
        Command::List(list) => list.is_json(),
        Command::Doctor(doctor) => doctor.json,
        Command::Config(config) => config.json,
        command => command.target().is_some_and(|target| target.json),
    };
    match command.run() {
        Ok(()) => Exit::Done.into(),
        Err(failure) => match &command {
            // Whoever has started it looks for that in a log that others may write to.
            Command::Serve(serve) if serve.background => failure.report_as(&format!("baskd[{}]", std::process::id())),
            _ => failure.report(json),
        },
    }
}

impl Command {
    fn run(&self) -> Result<(), Failure> {
        match self {
            Command::Demo(demo) => demo.run(),
            Command::Serve(serve) => serve.run(),
            Command::Start(start) => start.run(),
            Command::Socket(socket) => socket.run(),
            Command::Install(install) => install.run(),
            Command::Uninstall(uninstall) => uninstall.run(),
            Command::List(list) => list.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Config(config) => config.run(),
            Command::Completions(completions) => completions.run(Cli::command()),
            Command::Man(man) => man.run(Cli::command()),
            Command::Call(call) => {
                // What is wrong with the parameters is said before a daemon is looked for.
                let params = call.params()?;
                with_started(&call.target, &call.may_start, async |client| {
                    call.run(client, params).await
                })
            }
            Command::Get(get) => with_started(&get.target, &get.may_start, async |client| get.run(client).await),
            Command::Set(set) => {
                let (name, value) = set.property()?;
                with_started(&set.target, &set.may_start, async |client| {
                    set.run(client, &name, value).await
                })
            }
            Command::Methods(methods) => with_started(&methods.target, &methods.may_start, async |client| {
                methods.run(client).await
            }),
            Command::Status(status) => with_running(&status.target, async |client| status.run(client).await),
            Command::Logs(logs) => logs.run(|target| with_client(target, async |client| logs.follow(client).await)),
            Command::Top(top) => {
                top.check()?;
                // One look is one try: a daemon that is to come is looked for again.
                let builder = Client::builder().reconnect(Duration::ZERO);
                let (runtime, client) = connect(&top.instance, builder, false)?;
                let outcome = runtime.block_on(top.run(client));
                // A thread may be stuck in a write to a terminal that takes nothing.
                runtime.shutdown_background();
                outcome
            }
            Command::Reload(reload) => with_running(&reload.target, async |client| reload.run(client).await),
            Command::Restart(restart) => with_running(&restart.target, async |client| restart.run(client).await),
            Command::Stop(stop) => with_running(&stop.target, async |client| stop.run(client).await),
        }
    }

    /// None for what needs no daemon.
    fn target(&self) -> Option<&Target> {
        match self {
            Command::Demo(_)
            | Command::Serve(_)
            | Command::Start(_)
            | Command::Socket(_)
            | Command::Install(_)
            | Command::Uninstall(_)
            | Command::List(_)
            | Command::Config(_)
            | Command::Doctor(_)
            | Command::Completions(_)
            | Command::Top(_)
            | Command::Man(_) => None,
            Command::Call(call) => Some(&call.target),
            Command::Get(get) => Some(&get.target),
            Command::Set(set) => Some(&set.target),
            Command::Methods(methods) => Some(&methods.target),
            Command::Status(status) => Some(&status.target),
            Command::Logs(logs) => Some(&logs.target),
            Command::Reload(reload) => Some(&reload.target),
            Command::Restart(restart) => Some(&restart.target),
            Command::Stop(stop) => Some(&stop.target),
        }
    }
}

/// For what only looks, or ends: it is no reason for systemd to start a daemon.
fn only_if_one_runs(instance: &Instance) -> Result<(), Failure> {
    let path = instance.socket()?;
    let shown = path.display();
    match Presence::of(&path) {
        Ok(Presence::Runs(holder)) if holder.is_stopping => Err(Failure::NotStarted(format!(
            "the daemon at {shown} is stopping ({})",
            holder.who
        ))),
        Ok(presence) if presence.would_start_one() => Err(Failure::NotStarted(format!(
            "no daemon runs at {shown}: systemd holds its socket, and starts one for the first call, such as `baskd methods{}`",
            instance.flags()
        ))),
        _ => Ok(()),
    }
}

/// The daemon's answer to a question that it answers at once, whatever its Python does.
async fn at_once<T>(
    client: &Client,
    asked: impl Future<Output = Result<T, baskd_client::Error>>,
) -> Result<T, Failure> {
    match timeout(ANSWER, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            let path = client.path();
            let who = match Presence::of(path) {
                Ok(Presence::Runs(holder)) => format!(" ({})", holder.who),
                _ => String::new(),
            };
            Err(Failure::NotStarted(format!(
                "the daemon at {}{who} did not answer within {ANSWER:?}: is it stopped? `kill -CONT` its pid has it go on",
                path.display()
            )))
        }
    }
}

/// As [`with_client`], with a daemon that runs.
fn with_running(target: &Target, work: impl AsyncFnOnce(&Client) -> Result<(), Failure>) -> Result<(), Failure> {
    only_if_one_runs(&target.instance)?;
    run_with_client(target, false, work)
}

/// As [`with_client`]; where no daemon answers, the one that the config describes is started.
fn with_started(
    target: &Target,
    may_start: &MayStart,
    work: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    run_with_client(target, may_start.is_wanted(), work)
}

/// Connects and does `work`, unless it is interrupted: then what is under way is cancelled.
fn with_client(target: &Target, work: impl AsyncFnOnce(&Client) -> Result<(), Failure>) -> Result<(), Failure> {
    run_with_client(target, false, work)
}

fn run_with_client(
    target: &Target,
    may_start: bool,
    work: impl AsyncFnOnce(&Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let socket = target.instance.socket()?;
    let (runtime, client) = connect(&target.instance, Client::builder(), may_start)?;
    let outcome = runtime.block_on(async {
        let mut interrupts = Interrupts::new()?;
        let outcome = tokio::select! {
            outcome = work(&client) => outcome,
            () = interrupts.next() => Err(Failure::Interrupted),
        };
        if matches!(outcome, Err(Failure::Interrupted | Failure::ReaderGone)) {
            let _ = timeout(FAREWELL, client.flush()).await;
        }
        outcome
    });
    // A thread may be stuck in a write that nobody reads; it must not keep the process.
    runtime.shutdown_background();
    outcome.map_err(|failure| match failure {
        // systemd took the connection, and had nobody to give it to.
        Failure::Client(baskd_client::Error::Disconnected { .. } | baskd_client::Error::NoDaemon { .. }) => {
            systemd::failure(&socket).map_or(failure, Failure::NotStarted)
        }
        failure => failure,
    })
}

/// A client of the instance, and the runtime that it lives on.
fn connect(instance: &Instance, builder: Builder, may_start: bool) -> Result<(Runtime, Client), Failure> {
    let socket = instance.socket()?;
    let runtime = runtime()?;
    let connect = || builder.clone().start(false).connect(&socket);
    let mut connected = runtime.block_on(connect());
    if may_start && connected.as_ref().is_err_and(is_nobody) && start::start_configured(instance, &socket)? {
        connected = runtime.block_on(connect());
    }
    let client = connected.map_err(|error| match error {
        baskd_client::Error::NoDaemon { path, source } if source.kind() != WouldBlock => Failure::NoDaemon {
            path,
            flags: instance.flags(),
        },
        error => error.into(),
    })?;
    Ok((runtime, client))
}

/// Whether a daemon could be started there: one that takes no connections is one.
fn is_nobody(error: &baskd_client::Error) -> bool {
    matches!(error, baskd_client::Error::NoDaemon { source, .. } if source.kind() != WouldBlock)
}

fn runtime() -> Result<Runtime, Failure> {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("can't start: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains(&format!("baskd {}", command.get_name())),
                "{}: {help}",
                command.get_name()
            );
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn every_command_that_is_about_one_daemon_takes_a_name_and_a_socket() {
        for command in Cli::command().get_subcommands() {
            let flags: &[&str] = match command.get_name() {
                "demo" | "list" | "completions" | "man" => &[],
                // A unit's socket is where its name says.
                "install" | "uninstall" => &["name"],
                _ => &["name", "socket"],
            };
            for flag in flags {
                assert!(
                    command.get_arguments().any(|argument| argument.get_id() == *flag),
                    "{} --{flag}",
                    command.get_name()
                );
            }
        }
    }
}
