//! `status`: what the daemon and its Python are doing, as a page or as JSON.

use baskd_client::{Client, Status as Report, Worker};
use clap::Args;
use serde_json::value::RawValue;

use super::Target;
use super::duration::spoken;
use super::exit::Failure;
use super::output;

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
            let status: Box<RawValue> = client.call("daemon.status", ()).await?;
            return output::line(status.get()).await;
        }
        output::line(page(&client.status().await?)).await
    }
}

fn page(report: &Report) -> String {
    let mut page = Page::default();
    let state = match &report.reason {
        Some(reason) => format!("{}: {reason}", report.state),
        None => report.state.clone(),
    };
    page.row(&report.name, state);

    let controller = &report.controller;
    page.row(
        "controller",
        if controller.embedded {
            format!("{} (the embedded example)", controller.class)
        } else {
            controller.spec.clone()
        },
    );
    page.row("python", python(report));
    for worker in &report.workers {
        process(&mut page, "worker", None, worker);
    }
    for other in &report.beside {
        process(&mut page, "beside", Some(&other.state), other);
    }
    page.row(
        "calls",
        format!(
            "{}, {} under way, {} queued",
            report.calls, report.in_flight, report.queued
        ),
    );
    page.row("restarts", report.restarts.to_string());
    for (label, times) in [("reloads", report.reloads), ("recycled", report.recycled)] {
        if times > 0 {
            page.row(label, times.to_string());
        }
    }
    if let Some(snapshot) = &report.snapshot {
        page.row(
            "snapshot",
            format!("{}, {} old", size(snapshot.bytes), spoken(snapshot.age_ms)),
        );
    }
    if let Some(last) = &report.last_exit {
        let after = last.ran_ms.map(|ms| format!("after {}", spoken(ms)));
        let how = match &last.reason {
            Some(reason) => [after, Some(reason.clone())]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(": "),
            None => {
                let how = exit(last.exit.code, last.exit.signal, last.exit.oom);
                [Some(how), after].into_iter().flatten().collect::<Vec<_>>().join(" ")
            }
        };
        page.row("last exit", how);
        for line in &last.stderr {
            page.row("", line.clone());
        }
    }
    if !report.properties.is_empty() {
        page.row("properties", report.properties.join(", "));
    }
    let connections = count(report.connections, "connection");
    page.row(
        "daemon",
        format!(
            "baskd {}, process {}, up {}, {connections}",
            report.version,
            report.pid,
            spoken(report.uptime_ms)
        ),
    );
    page.row("socket", report.socket.clone());
    page.finish()
}

/// A Python process, and below it what it runs.
fn process(page: &mut Page, label: &str, state: Option<&str>, process: &Worker) {
    let pid = match process.pid {
        Some(pid) => format!("process {pid}"),
        None => "no process".to_owned(),
    };
    let mut parts = vec![state.map_or_else(|| pid.clone(), |state| format!("{pid}, {state}"))];
    parts.push(match process.ready_ms {
        Some(ms) => format!("up {}, ready in {}", spoken(process.uptime_ms), spoken(ms)),
        None => format!("starting for {}", spoken(process.uptime_ms)),
    });
    parts.extend(process.rss_bytes.map(size));
    parts.push(count(process.calls, "call"));
    page.row(label, parts.join(", "));
    for running in &process.running {
        page.row(
            "  running",
            format!(
                "{} for {} (call {})",
                running.method,
                spoken(running.age_ms),
                running.call
            ),
        );
    }
}

fn python(report: &Report) -> String {
    let python = &report.python;
    let mut parts: Vec<String> = Vec::new();
    parts.extend(python.version.clone());
    parts.extend(python.executable.clone());
    parts.extend(python.found.as_ref().map(|found| format!("({found})")));
    parts.extend(python.codec.as_ref().map(|codec| format!("with {codec}")));
    parts.join(" ")
}

fn exit(code: Option<i32>, signal: Option<i32>, oom: bool) -> String {
    match (code, signal) {
        _ if oom => "killed for want of memory".to_owned(),
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(code), None) => format!("exit code {code}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn count(number: u64, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

fn size(bytes: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    match bytes as f64 / MIB {
        _ if bytes < 10_240 => format!("{bytes} bytes"),
        tiny if tiny < 1.0 => format!("{:.0} KiB", tiny * 1024.0),
        small if small < 10.0 => format!("{small:.1} MiB"),
        medium if medium < 1024.0 => format!("{medium:.0} MiB"),
        large => format!("{:.1} GiB", large / 1024.0),
    }
}

/// Rows of a label and what it says, aligned.
#[derive(Default)]
struct Page(Vec<(String, String)>);

impl Page {
    fn row(&mut self, label: &str, text: String) {
        self.0.push((label.to_owned(), text));
    }

    fn finish(self) -> String {
        let width = self.0.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let lines = self.0.iter().map(|(label, text)| format!("{label:width$}  {text}"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_example_of_protocol_md() {
        let report: Report = serde_json::from_value(json!({
            "name": "default", "version": "0.1.0", "pid": 4711, "socket": "/run/user/1000/baskd/default.sock", "uptime_ms": 81234,
            "controller": { "spec": "/home/me/app/controller.py:Controller", "file": "/home/me/app/controller.py", "class": "Controller", "embedded": false },
            "python": { "executable": "/home/me/app/.venv/bin/python", "found": ".venv beside the controller", "version": "3.11.7", "codec": "msgspec" },
            "state": "ready", "reason": null,
            "workers": [{ "worker": 1, "pid": 4712, "state": "ready", "uptime_ms": 81002, "ready_ms": 231, "calls": 17, "rss_bytes": 31457280,
                "running": [{ "call": 18, "method": "search", "age_ms": 12 }] }],
            "queued": 0, "in_flight": 1, "connections": 2, "calls": 17, "restarts": 1,
            "beside": [{ "worker": 1, "pid": 4709, "state": "leaving", "uptime_ms": 90000, "ready_ms": 240, "calls": 5, "rss_bytes": 31457280, "running": [] }],
            "reloads": 1, "recycled": 0, "snapshot": { "age_ms": 81300, "bytes": 512 },
            "last_exit": { "reason": "it was killed by SIGKILL", "exit": { "signal": 9 }, "ran_ms": 1500, "stderr": ["last words"] }, "properties": ["model", "tokenizer"],
        }))
        .unwrap();
        let expected = "\
default     ready
controller  /home/me/app/controller.py:Controller
python      3.11.7 /home/me/app/.venv/bin/python (.venv beside the controller) with msgspec
worker      process 4712, up 1 min 21 s, ready in 231 ms, 30 MiB, 17 calls
  running   search for 12 ms (call 18)
beside      process 4709, leaving, up 1 min 30 s, ready in 240 ms, 30 MiB, 5 calls
calls       17, 1 under way, 0 queued
restarts    1
reloads     1
snapshot    512 bytes, 1 min 21 s old
last exit   after 1.5 s: it was killed by SIGKILL
            last words
properties  model, tokenizer
daemon      baskd 0.1.0, process 4711, up 1 min 21 s, 2 connections
socket      /run/user/1000/baskd/default.sock";
        assert_eq!(page(&report), expected);
    }
}
