//! `logs`: what the daemon has to say, and what its Python prints; what was kept of it, and what comes.
//!
//! A socket that a manager holds has a daemon started by whoever connects. To look at a log is no reason for that: where no
//! daemon has the socket's lock, there is none to ask. Then the log file of the last one in the background is shown.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use baskd_client::{Client, Error, Log, LogLine, Logs as Lines};
use baskd_protocol::presence::Presence;
use baskd_protocol::socket::instance_name;
use clap::{Args, ValueEnum};
use directories::BaseDirs;
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::exit::Failure;
use super::harmless::harmless;
use super::log_lines::Style;
use super::{Instance, Target, at_once, output, runtime};

/// Show what the daemon says and Python prints, each line with the call that printed it
#[derive(Debug, Args)]
#[command(after_help = "\
The daemon keeps the last 1,000 lines (`log_lines`), since its start. A line is its time, its stream (or the daemon's
own level), and where a call has printed it, that call's method and number.

Examples:
  baskd logs -n 20
  baskd logs -f --method search
  baskd logs --json | jq -r 'select(.stream == \"stderr\").line'

It exits 3 where no daemon runs and none has left a log file.")]
pub(crate) struct Logs {
    /// Go on with what comes, until Ctrl-C, and also with the daemon after this one
    #[arg(short, long)]
    follow: bool,
    /// Only the last N of those that are kept
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Only what the call of that number printed
    #[arg(long, value_name = "N")]
    call: Option<u64>,
    /// Only what calls of that method printed
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Only one of the streams
    #[arg(long, value_enum, value_name = "STREAM")]
    stream: Option<Stream>,
    /// Only what is at least so grave; what Python prints is `info`
    #[arg(long, value_enum, value_name = "LEVEL")]
    level: Option<Level>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Stream {
    Stdout,
    Stderr,
    Daemon,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Logs {
    /// `ask` has a daemon asked.
    pub(crate) fn run(&self, ask: impl FnOnce(&Target) -> Result<(), Failure>) -> Result<(), Failure> {
        let socket = self.target.instance.socket()?;
        let outcome = if may_run(&socket) {
            ask(&self.target)
        } else {
            Err(no_daemon(socket, &self.target.instance))
        };
        match outcome {
            Err(Failure::NoDaemon { path, .. }) => self.show_file(&path),
            // By whom it was to go on until then.
            Err(Failure::Interrupted) => Ok(()),
            outcome => outcome,
        }
    }

    pub(crate) async fn follow(&self, client: &Client) -> Result<(), Failure> {
        let mut lines = at_once(client, client.logs_from(u32::MAX)).await?;
        let printer = Printer::new(self.target.json);
        let last = self.show_kept(&mut lines, &printer).await?;
        if !self.follow {
            return Ok(());
        }
        tokio::select! {
            outcome = self.show_coming(client, &mut lines, &printer, last) => outcome,
            () = reader_gone() => Err(Failure::ReaderGone),
        }
    }

    /// Shows what was kept; gives the time of its last line.
    async fn show_kept(&self, lines: &mut Lines, printer: &Printer) -> Result<Option<Timestamp>, Failure> {
        let most = self.lines.unwrap_or(usize::MAX);
        let mut kept = VecDeque::new();
        let mut last = None;
        loop {
            match lines.next().await.transpose()? {
                Some(Log::Live) => break,
                Some(Log::Line(line)) => {
                    last = time_of(&line).or(last);
                    if self.wants(&line) {
                        kept.push_back(printer.line(&line));
                    }
                }
                Some(Log::Dropped(lines)) => kept.push_back(printer.dropped(lines)),
                // The connection was lost meanwhile: the new one begins at the beginning.
                Some(Log::Restarted) => kept.clear(),
                Some(_) => {}
                None => break,
            }
            if kept.len() > most {
                kept.pop_front();
            }
        }
        let text: String = kept.into_iter().collect();
        output::bytes(text.as_bytes()).await?;
        Ok(last)
    }

    async fn show_coming(
        &self,
        client: &Client,
        lines: &mut Lines,
        printer: &Printer,
        mut last: Option<Timestamp>,
    ) -> Result<(), Failure> {
        // After a gap, what is told may have been told before it.
        let mut repeats = None;
        let mut is_lost = false;
        loop {
            let log = tokio::select! {
                log = lines.next() => log,
                () = client.closed(), if !is_lost => {
                    is_lost = true;
                    printer.note("the daemon has gone: waiting for the next").await?;
                    continue;
                }
            };
            let text = match log.transpose()? {
                Some(Log::Line(line)) => {
                    let time = time_of(&line);
                    if repeats.is_some() && time.is_some() && time <= repeats {
                        continue;
                    }
                    last = time.or(last);
                    if !self.wants(&line) {
                        continue;
                    }
                    printer.line(&line)
                }
                Some(Log::Dropped(lines)) => printer.dropped(lines),
                Some(Log::Restarted) => {
                    is_lost = false;
                    repeats = last;
                    printer.restarted()
                }
                Some(Log::Live) => {
                    repeats = None;
                    continue;
                }
                Some(_) => continue,
                None => return Ok(()),
            };
            output::bytes(text.as_bytes()).await?;
        }
    }

    fn wants(&self, line: &LogLine) -> bool {
        let is_of = |wanted: &str| line.stream == wanted;
        self.call.is_none_or(|call| line.call == Some(call))
            && (self.method.as_deref()).is_none_or(|method| line.method.as_deref() == Some(method))
            && self.stream.is_none_or(|stream| match stream {
                Stream::Stdout => is_of("stdout"),
                Stream::Stderr => is_of("stderr"),
                Stream::Daemon => is_of("daemon"),
            })
            // One that is not known may be grave.
            && self.level.is_none_or(|least| Level::from_str(&line.level, true).is_ok_and(|level| level >= least))
    }

    fn is_choosy(&self) -> bool {
        self.target.json
            || self.call.is_some()
            || self.method.is_some()
            || self.stream.is_some()
            || self.level.is_some()
    }

    /// Shows the end of what the last daemon in the background has left, as it was written.
    fn show_file(&self, socket: &Path) -> Result<(), Failure> {
        let instance = &self.target.instance;
        let name = instance_name(instance.name.as_deref(), instance.socket.as_deref()).map_err(Error::from)?;
        let nobody = format!("no daemon runs at {}", socket.display());
        let read = log_file(&name).and_then(|file| Some((fs::read(&file).ok()?, file)));
        let Some((text, file)) = read else {
            return Err(Failure::NoLog(format!(
                "{nobody}, and none has left a log file; what one under systemd has said is in the journal: \
                 journalctl --user -u baskd@{name}"
            )));
        };
        if self.is_choosy() {
            return Err(Failure::NoLog(format!(
                "{nobody}; what the last one in the background has said is in {}, where it can't be chosen from",
                file.display()
            )));
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(self.lines.unwrap_or(usize::MAX));
        let is_terminal = io::stdout().is_terminal();
        let mut shown = String::new();
        for line in &lines[first..] {
            shown += &if is_terminal { harmless(line) } else { (*line).into() };
            shown.push('\n');
        }
        eprintln!("baskd: {nobody}: this is the end of {}", file.display());
        runtime()?.block_on(output::bytes(shown.as_bytes()))
    }
}

/// How lines are written.
struct Printer {
    is_json: bool,
    style: Style,
}

impl Printer {
    fn new(is_json: bool) -> Printer {
        Printer {
            is_json,
            style: Style::of_stdout(),
        }
    }

    fn line(&self, line: &LogLine) -> String {
        if !self.is_json {
            return self.style.line(line);
        }
        let object = json!({
            "time": line.time, "level": line.level, "stream": line.stream, "call": line.call, "method": line.method,
            "line": line.line,
        });
        format!("{object}\n")
    }

    fn dropped(&self, lines: u64) -> String {
        match self.is_json {
            true => format!("{}\n", json!({ "dropped": lines })),
            false => self.style.remark(&format!(
                "{lines} lines were dropped: they came faster than they were read"
            )),
        }
    }

    fn restarted(&self) -> String {
        match self.is_json {
            true => format!("{}\n", json!({ "restarted": true })),
            false => self.style.remark("connected again"),
        }
    }

    /// What is no part of the log.
    async fn note(&self, text: &str) -> Result<(), Failure> {
        match self.is_json {
            true => Ok(()),
            false => output::bytes(self.style.remark(text).as_bytes()).await,
        }
    }
}

fn time_of(line: &LogLine) -> Option<Timestamp> {
    line.time.parse().ok()
}

fn no_daemon(path: PathBuf, instance: &Instance) -> Failure {
    Failure::NoDaemon {
        path,
        flags: instance.flags(),
    }
}

/// False where nobody would answer but a daemon that is started for it.
fn may_run(socket: &Path) -> bool {
    !Presence::of(socket).is_ok_and(|presence| presence.would_start_one())
}

fn log_file(name: &str) -> Option<PathBuf> {
    Some(BaseDirs::new()?.state_dir()?.join("baskd").join(name).join("serve.log"))
}

/// Returns when nobody reads stdout any more, though nothing is written.
async fn reader_gone() {
    let wait = || poll(&mut [PollFd::new(&io::stdout(), PollFlags::empty())], None);
    let found = spawn_blocking(move || wait().is_ok()).await;
    if !found.unwrap_or_default() {
        // What is written will tell.
        std::future::pending::<()>().await;
    }
}
