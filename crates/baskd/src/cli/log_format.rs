//! How the log is written: for people, as JSON, or to the journal. Which of these, is asked of what stderr is.
//!
//! Whichever it is, a thread of its own does the writing, and what waits for it has a limit: see [`super::log`] and
//! [`super::journal`].

use std::env;
use std::fmt::{self, Debug, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use baskd::logs::LogFormat;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{FormatFields, Writer, debug_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt as pretty, registry};

use super::exit::Failure;
use super::harmless::harmless;
use super::journal::{self, Journal};
use super::log::{Flush, Log};
use super::log_file::ShortFile;

/// Starts logging. `is_file`: stderr is a log file of the daemon's own. `instance` is for the journal, which has many.
pub(crate) fn start(filter: &str, format: LogFormat, is_file: bool, instance: &str) -> Result<Flush, Failure> {
    let level = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| Failure::Usage(format!("`{filter}` is no log level: {error}")))?;
    let is_journals = stderr_is_the_journals();
    let format = match format {
        LogFormat::Auto if is_journals => LogFormat::Journal,
        LogFormat::Auto => LogFormat::Pretty,
        chosen => chosen,
    };
    let mut no_journal = None;
    if format == LogFormat::Journal {
        match journal::open(instance) {
            Ok((journal, flush)) => {
                registry().with(level).with(ToJournal(journal)).init();
                return Ok(flush);
            }
            Err(error) => no_journal = Some(error),
        }
    }
    let (log, flush) = match is_file {
        true => Log::to(ShortFile::stderr()),
        false => Log::to(io::stderr()),
    };
    if format == LogFormat::Json {
        registry().with(level).with(Json(log)).init();
        return Ok(flush);
    }
    let lines = pretty::layer()
        .fmt_fields(harmless_fields())
        .with_writer(log)
        .with_ansi(io::stderr().is_terminal());
    // The journal has the time of each line already.
    if is_journals || no_journal.is_some() {
        registry().with(level).with(lines.without_time()).init();
    } else {
        registry().with(level).with(lines).init();
    }
    if let Some(error) = no_journal {
        tracing::warn!(target: "baskd", "the journal can't be reached ({error}): the log goes to stderr");
    }
    Ok(flush)
}

/// As the crate writes them, but that what Python has printed stays one line and steers no terminal: also not the one on
/// which somebody reads the log file later.
fn harmless_fields() -> impl for<'a> FormatFields<'a> + 'static {
    let write = |out: &mut Writer<'_>, field: &Field, value: &dyn Debug| {
        let text = format!("{value:?}");
        let text = harmless(&text);
        match (field.name(), out.has_ansi_escapes()) {
            ("message", _) => write!(out, "{text}"),
            (name, true) => write!(out, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{text}"),
            (name, false) => write!(out, "{name}={text}"),
        }
    };
    debug_fn(write).delimited(" ")
}

/// Whether stderr is a stream to the journal, and `$JOURNAL_STREAM` not left over from somebody whose was.
fn stderr_is_the_journals() -> bool {
    let named = env::var("JOURNAL_STREAM").ok();
    let stderr = Path::new("/proc/self/fd/2").metadata();
    match (named, stderr) {
        (Some(named), Ok(stderr)) => is_stream(&named, stderr.dev(), stderr.ino()),
        _ => false,
    }
}

/// `named` is a device and an inode, as systemd writes them: decimal, with a colon between.
fn is_stream(named: &str, device: u64, inode: u64) -> bool {
    named
        .split_once(':')
        .is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// What an event says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) message: String,
    /// `stdout` or `stderr` of Python, or `daemon`.
    pub(crate) stream: String,
    pub(crate) call: Option<u64>,
    pub(crate) method: Option<String>,
}

impl Said {
    pub(crate) fn by(event: &Event<'_>) -> Said {
        let mut said = Said {
            stream: "daemon".to_owned(),
            ..Said::default()
        };
        event.record(&mut said);
        said
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.insert_str(0, value),
            "stream" => value.clone_into(&mut self.stream),
            "method" => self.method = Some(value.to_owned()),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "call" => self.call = Some(value),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String can't fail.
        let _ = match field.name() {
            "message" => {
                self.message.insert_str(0, &format!("{value:?}"));
                Ok(())
            }
            name => write!(self.message, " {name}={value:?}"),
        };
    }
}

/// An object a line.
struct Json(Log);

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = json_line(*event.metadata().level(), &Said::by(event), OffsetDateTime::now_utc());
        // It takes whole lines, and always takes them.
        let _ = self.0.clone().write_all(line.as_bytes());
    }
}

fn json_line(level: Level, said: &Said, now: OffsetDateTime) -> String {
    let object = json!({
        "time": now.format(&Rfc3339).unwrap_or_default(),
        "level": Lower(level).to_string(),
        "stream": said.stream,
        "call": said.call,
        "method": said.method,
        "message": said.message,
    });
    format!("{object}\n")
}

/// A level's name as the protocol has it.
struct Lower(Level);

impl fmt::Display for Lower {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.as_str().to_lowercase())
    }
}

struct ToJournal(Journal);

impl<S: Subscriber> Layer<S> for ToJournal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.push(*event.metadata().level(), Said::by(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_stream_is_the_journals_if_device_and_inode_are() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", ":", "8:1234:5", "x:y", "8: 1234"] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }

    /// Keeps what events say.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<(Level, Said)>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let said = (*event.metadata().level(), Said::by(event));
            self.0.lock().unwrap().push(said);
        }
    }

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pretty_line_is_one_and_steers_nothing() {
        let written = Written::default();
        let to = written.clone();
        let lines = pretty::layer()
            .fmt_fields(harmless_fields())
            .with_writer(move || to.clone())
            .with_ansi(false)
            .without_time();
        tracing::subscriber::with_default(registry().with(lines), || {
            let printed = "a\r\x1b]0;x\x07\u{202e}\u{2028}\nb";
            tracing::info!(target: "python", stream = "stdout", call = Some(7_u64), "{printed}");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let wanted = " INFO python: a^M^[]0;x^G\\u{202e}\\u{2028}^Jb stream=\"stdout\" call=7\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn what_events_say() {
        let kept = Kept::default();
        tracing::subscriber::with_default(registry().with(kept.clone()), || {
            let (call, method) = (Some(7_u64), Some("search"));
            tracing::info!(target: "python", stream = "stdout", call, method, "{}", "hello\tyou");
            tracing::warn!(pid = 5, path = "/x", "more");
            tracing::info!(call = None::<u64>, "plain");
        });
        let said = kept.0.lock().unwrap().clone();
        let of_call = Said {
            message: "hello\tyou".to_owned(),
            stream: "stdout".to_owned(),
            call: Some(7),
            method: Some("search".to_owned()),
        };
        assert_eq!(said[0], (Level::INFO, of_call));
        assert_eq!(
            (said[1].0, said[1].1.message.as_str()),
            (Level::WARN, "more pid=5 path=\"/x\"")
        );
        assert_eq!((said[2].1.message.as_str(), said[2].1.call), ("plain", None));
        let line = json_line(said[0].0, &said[0].1, OffsetDateTime::UNIX_EPOCH);
        let object: Value = serde_json::from_str(&line).unwrap();
        let wanted = json!({
            "time": "1970-01-01T00:00:00Z", "level": "info", "stream": "stdout", "call": 7, "method": "search",
            "message": "hello\tyou",
        });
        assert_eq!(object, wanted);
        assert!(line.ends_with("}\n") && line.lines().count() == 1);
    }
}
