//! `call`: one call, or with `--stream` its partial results too.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use baskd_client::{CallOptions, Client, Event, Stream, StreamOptions};
use baskd_protocol::trace;
use clap::Args;
use futures_util::FutureExt;
use serde_json::value::RawValue;

use super::Target;
use super::duration::parse_some;
use super::exit::Failure;
use super::output;
use super::params;
use super::progress::Progress;
use super::start::MayStart;

/// Call a method of the controller, and print its result as JSON
#[derive(Debug, Args)]
#[command(after_help = "\
Parameters are given by name, in any of these forms:
  key=value       a number, true, false, null or \"quoted text\" as JSON has them, else text
  key:=JSON       any JSON
  key=@FILE       the text of a file
  key:=@FILE      the JSON in a file
or all at once, as a JSON object or array, or as - to read that from stdin.

Examples:
  baskd call increment by=5
  baskd call search query='warm python' limit=3 filter:='{\"lang\":\"en\"}'
  baskd call add '[1, 2]'
  baskd call summarize text=@article.txt --stream --timeout 30s
  jq -c .request job.json | baskd call train -

Ctrl-C cancels the call.")]
pub(crate) struct Call {
    /// The method; `baskd methods` lists them
    method: String,
    /// Its parameters, as below
    #[arg(value_name = "PARAM")]
    params: Vec<String>,
    /// Print each partial result as a line of JSON, and last the return value unless it is null
    #[arg(long)]
    stream: bool,
    /// Give up after so long: 250ms, 30s, 5m, or a number of seconds
    #[arg(long, value_name = "DURATION", value_parser = parse_some)]
    timeout: Option<Duration>,
    #[command(flatten)]
    trace: Trace,
    #[command(flatten)]
    pub(crate) may_start: MayStart,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// Which trace the call belongs to.
#[derive(Debug, Clone, Args)]
struct Trace {
    /// The W3C trace context that the call continues, for the controller [default: $TRACEPARENT, where that is one]
    #[arg(long, value_name = "CONTEXT", value_parser = parent)]
    traceparent: Option<String>,
    /// What goes with it [default: $TRACESTATE, if $TRACEPARENT is taken]
    #[arg(long, value_name = "LIST", value_parser = state)]
    tracestate: Option<String>,
}

fn parent(text: &str) -> Result<String, String> {
    let wanted = || format!("it must be {}", trace::WANTED_PARENT);
    trace::is_parent(text).then(|| text.to_owned()).ok_or_else(wanted)
}

fn state(text: &str) -> Result<String, String> {
    let wanted = || format!("it must be {}", trace::WANTED_STATE);
    trace::is_state(text).then(|| text.to_owned()).ok_or_else(wanted)
}

impl Trace {
    /// The `traceparent` and `tracestate` to send. What the environment has is this process's, and no business of this
    /// call's user: if it is malformed it is left out.
    fn context(&self, environment: impl Fn(&str) -> Option<String>) -> Result<[Option<String>; 2], Failure> {
        if self.traceparent.is_some() {
            return Ok([self.traceparent.clone(), self.tracestate.clone()]);
        }
        let inherited = environment("TRACEPARENT").filter(|parent| trace::is_parent(parent));
        match (&inherited, &self.tracestate) {
            (None, None) => Ok([None, None]),
            (None, Some(_)) => Err(Failure::Usage(
                "--tracestate says nothing without --traceparent: give both".to_owned(),
            )),
            (Some(_), Some(state)) => Ok([inherited, Some(state.clone())]),
            (Some(_), None) => {
                let state = environment("TRACESTATE").filter(|state| trace::is_state(state));
                Ok([inherited, state])
            }
        }
    }
}

impl Call {
    pub(crate) fn params(&self) -> Result<Option<Box<RawValue>>, Failure> {
        params::read(&self.params)
    }

    pub(crate) async fn run(&self, client: &Client, params: Option<Box<RawValue>>) -> Result<(), Failure> {
        let [traceparent, tracestate] = self.trace.context(|name| env::var(name).ok())?;
        if self.stream {
            let options = StreamOptions {
                timeout: self.timeout,
                window: None,
                traceparent,
                tracestate,
            };
            let stream = client.stream(&self.method, params, options).await?;
            return Printer::new().print(stream).await;
        }
        let options = CallOptions {
            timeout: self.timeout,
            idempotent: None,
            traceparent,
            tracestate,
        };
        let result: Box<RawValue> = client.call_with(&self.method, params, options).await?;
        output::line(result.get()).await
    }
}

/// Prints a stream's items as they come, as many at once as have come.
struct Printer {
    progress: Progress,
    lines: Vec<u8>,
    /// Whether stdout and the progress display are on the same screen, and must take turns.
    shared_screen: bool,
}

/// What is written at once, at most: enough to be fast, and little enough to be seen soon.
const CHUNK: usize = 64 * 1024;

impl Printer {
    fn new() -> Printer {
        let progress = if io::stderr().is_terminal() {
            Progress::on_stderr()
        } else {
            Progress::none()
        };
        Printer {
            shared_screen: progress.is_shown() && io::stdout().is_terminal(),
            progress,
            lines: Vec::new(),
        }
    }

    async fn print(mut self, mut stream: Stream) -> Result<(), Failure> {
        loop {
            // Whatever is there already is taken first; only then is it worth writing.
            let next = match stream.next().now_or_never() {
                Some(event) if self.lines.len() < CHUNK => event,
                Some(event) => {
                    self.flush().await?;
                    event
                }
                None => {
                    self.flush().await?;
                    self.progress.until(stream.next()).await
                }
            };
            match next {
                Some(Ok(Event::Item(item))) => {
                    self.progress.item(item.get());
                    self.line(item.get());
                }
                Some(Ok(Event::End(value))) => {
                    if value.get() != "null" {
                        self.line(value.get());
                    }
                }
                Some(Err(error)) => {
                    // What came before the error is as good as ever.
                    self.flush().await?;
                    return Err(error.into());
                }
                None => return self.flush().await,
            }
        }
    }

    fn line(&mut self, json: &str) {
        self.lines.extend_from_slice(json.as_bytes());
        self.lines.push(b'\n');
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let written = if self.shared_screen {
            // The display is taken off the screen while this is written, which a terminal takes at once.
            self.progress.aside(|| {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&self.lines).and_then(|()| stdout.flush())
            })
        } else {
            return output::bytes(&std::mem::take(&mut self.lines)).await;
        };
        self.lines.clear();
        written.map_err(output::failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn a_flag_beats_the_environment_whose_slips_are_nobodys() {
        let context = |parent: Option<&str>, state: Option<&str>, inherited: [&str; 2]| {
            let trace = Trace {
                traceparent: parent.map(ToOwned::to_owned),
                tracestate: state.map(ToOwned::to_owned),
            };
            let found = trace.context(|name| Some(inherited[usize::from(name == "TRACESTATE")].to_owned()));
            found.ok().map(|found| found.map(Option::unwrap_or_default))
        };
        let told = |parent: &str, state: &str| Some([parent.to_owned(), state.to_owned()]);
        assert_eq!(context(None, None, [PARENT, "a=1"]), told(PARENT, "a=1"));
        assert_eq!(context(None, None, [PARENT, "é"]), told(PARENT, ""));
        assert_eq!(context(None, None, ["00-0", "a=1"]), told("", ""));
        assert_eq!(context(None, Some("b=2"), [PARENT, "a=1"]), told(PARENT, "b=2"));
        // What the environment has is of another trace.
        assert_eq!(context(Some(OTHER), None, [PARENT, "a=1"]), told(OTHER, ""));
        assert_eq!(context(Some(OTHER), Some("b=2"), [PARENT, "a=1"]), told(OTHER, "b=2"));
        assert_eq!(context(None, Some("b=2"), ["", ""]), None);
    }
}
