//! What the page says: what it is, what each Python does now, how calls fare, and what went wrong last.

use baskd_client::{Down, LastExit, Method, Rate, Rates, Status, Worker};

use super::layout::{Page, Piece, Table, Tone, piece, plain, quiet};
use super::words::{count, every, grouped, millis, size};
use crate::cli::duration::spoken;

/// So many methods are told of, calls of one Python, ends of Pythons, and lines that the last one wrote.
const METHODS: usize = 5;
const RUNNING: usize = 4;
const EXITS: usize = 3;
const LINES: usize = 3;
/// So many lines while that is what keeps it from serving.
const LINES_NOW: usize = 12;

/// `now_ms`: Unix time.
pub(super) fn page(status: &Status, now_ms: u64) -> Page {
    let mut page = Page::default();
    title(&mut page, status);
    page.gap();
    workers(&mut page, status);
    page.gap();
    calls(&mut page, status);
    page.gap();
    troubles(&mut page, status, now_ms);
    page.gap();
    rest(&mut page, status);
    page
}

fn tone_of(state: &str) -> Tone {
    match state {
        "ready" => Tone::Good,
        "unavailable" => Tone::Bad,
        _ => Tone::Warning,
    }
}

fn title(page: &mut Page, status: &Status) {
    let mut line = vec![
        piece(&status.name, Tone::Title),
        plain("  "),
        piece(&status.state, tone_of(&status.state)),
    ];
    if let (true, down @ 1..) = (is_several(status), status.down.len()) {
        let all = status.workers.len() + down;
        line.push(plain(format!(" with {} of {all} workers", status.workers.len())));
    }
    line.push(plain(format!(", up {}", spoken(status.uptime_ms))));
    page.line(line);
    if let Some(reason) = &status.reason {
        page.row("reason", vec![piece(reason, tone_of(&status.state))]);
    }
    let controller = &status.controller;
    let spec = if controller.embedded {
        format!("{}, the embedded example", controller.class)
    } else {
        controller.spec.clone()
    };
    page.row("controller", vec![plain(spec)]);
    let python = &status.python;
    let version = python.version.as_ref().map(|version| match &python.codec {
        Some(codec) => format!("{version} with {codec}"),
        None => version.clone(),
    });
    // Which, and on a line of its own, since paths are long, what it is and why it is that one.
    let mut lines: Vec<_> = python.executable.iter().map(plain).collect();
    let about: Vec<_> = version.into_iter().chain(python.found.clone()).collect();
    if !about.is_empty() {
        lines.push(quiet(about.join("; ")));
    }
    for (place, line) in lines.into_iter().enumerate() {
        page.row(if place == 0 { "python" } else { "" }, vec![line]);
    }
}

fn is_several(status: &Status) -> bool {
    status.workers.len() + status.down.len() > 1
}

fn workers(page: &mut Page, status: &Status) {
    // Of the only one, the state and the reason are the daemon's, and said above.
    let down = status.down.iter().filter(|_| is_several(status));
    if status.workers.is_empty() && status.beside.is_empty() && down.clone().count() == 0 {
        return page.line(vec![quiet("no Python runs")]);
    }
    let mut table = Table::new(&[
        ("WORKER", true),
        ("STATE", true),
        ("PID", false),
        ("UP", false),
        ("MEMORY", false),
        ("CALLS", false),
        ("NOW", true),
    ]);
    let processes = status.workers.iter().map(Row::Process).chain(down.map(Row::Down));
    let mut rows: Vec<_> = processes.collect();
    rows.sort_by_key(Row::worker);
    for row in rows.into_iter().chain(status.beside.iter().map(Row::Process)) {
        let process = match row {
            Row::Process(process) => process,
            Row::Down(down) => {
                table.row(without_process(down));
                continue;
            }
        };
        let nothing = || "-".to_owned();
        let number = match process.state.as_str() {
            // It is for whichever needs it.
            "standby" => nothing(),
            _ => process.worker.to_string(),
        };
        let mut doing = doing(process).into_iter();
        table.row(vec![
            plain(number),
            piece(&process.state, tone_of(&process.state)),
            plain(process.pid.map_or_else(nothing, |pid| pid.to_string())),
            plain(spoken(process.uptime_ms)),
            plain(process.rss_bytes.map_or_else(nothing, size)),
            plain(grouped(process.calls)),
            doing.next().unwrap_or_else(|| quiet("-")),
        ]);
        for more in doing {
            let blank = std::iter::repeat_with(|| plain("")).take(6);
            table.row(blank.chain([more]).collect());
        }
    }
    page.table(table);
}

/// A worker, by its process or without one.
enum Row<'a> {
    Process(&'a Worker),
    Down(&'a Down),
}

impl Row<'_> {
    fn worker(&self) -> u64 {
        match self {
            Row::Process(process) => process.worker,
            Row::Down(down) => down.worker,
        }
    }
}

fn without_process(down: &Down) -> Vec<Piece> {
    let tone = tone_of(&down.state);
    let reason = down
        .reason
        .as_ref()
        .map_or_else(|| quiet("-"), |reason| piece(reason, tone));
    let mut row = vec![plain(down.worker.to_string()), piece(&down.state, tone)];
    row.extend(std::iter::repeat_with(|| plain("-")).take(4));
    row.push(reason);
    row
}

/// What a process does now, oldest first.
fn doing(process: &Worker) -> Vec<Piece> {
    let told = |call: &baskd_client::Running| {
        let age = spoken(call.age_ms);
        if call.cancelled {
            let text = format!("{}, cancelled {age} ago (call {})", call.method, call.call);
            piece(text, Tone::Warning)
        } else {
            plain(format!("{} for {age} (call {})", call.method, call.call))
        }
    };
    let mut doing: Vec<_> = process.running.iter().take(RUNNING).map(told).collect();
    let left = process.running.len().saturating_sub(RUNNING);
    if left > 0 {
        doing.push(quiet(format!("and {} more", grouped(left as u64))));
    }
    if doing.is_empty() {
        doing.push(quiet(if process.ready_ms.is_some() { "idle" } else { "-" }));
    }
    doing
}

fn calls(page: &mut Page, status: &Status) {
    let processes = status.workers.iter().chain(&status.beside);
    let running = processes
        .flat_map(|process| &process.running)
        .filter(|call| !call.cancelled);
    let running = running.count() as u64;
    // Python may have begun one just after the others were counted.
    let waiting = (status.in_flight + status.queued).saturating_sub(running);
    let mut line = format!("{} since the start", grouped(status.calls));
    match (running, waiting) {
        (0, 0) => line += ", none under way",
        _ => line += &format!(", {} running, {} waiting", grouped(running), grouped(waiting)),
    }
    let oldest = status.under_way.iter().find(|call| call.place != "running");
    if let Some(oldest) = oldest.filter(|_| waiting > 0) {
        line += &format!(" (the oldest for {})", spoken(oldest.age_ms));
    }
    page.row("calls", vec![plain(line)]);
    // One that is older tells no more.
    if status.started_ms == 0 {
        return;
    }
    let over = |of: fn(&Rate) -> f64| {
        let told = spans(status);
        let told: Vec<_> = told.map(|(rate, span)| format!("{} {span}", every(of(rate)))).collect();
        told.join(", ")
    };
    page.row("calls/s", vec![plain(over(|rate| rate.calls))]);
    if status.rates.five_minutes.errors > 0.0 {
        page.row("errors/s", vec![piece(over(|rate| rate.errors), Tone::Bad)]);
    }
    if status.latency.count > 0 {
        page.gap();
        methods(page, status);
    }
}

/// The rates, each over more time than the one before.
fn spans(status: &Status) -> impl Iterator<Item = (&Rate, &'static str)> {
    let Rates {
        ten_seconds,
        minute,
        five_minutes,
        ..
    } = &status.rates;
    let spans = [
        (ten_seconds, 10_000, "over 10 s"),
        (minute, 60_000, "over 1 min"),
        (five_minutes, 300_000, "over 5 min"),
    ];
    let up = status.uptime_ms;
    let shorter = spans.iter().filter(|(_, span, _)| *span < up).count();
    let shown = spans.into_iter().take(shorter + 1);
    shown.map(move |(rate, span, name)| (rate, if span < up { name } else { "since the start" }))
}

fn methods(page: &mut Page, status: &Status) {
    let mut table = Table::new(&[
        ("METHOD", true),
        ("CALLS", false),
        ("ERRORS", false),
        ("P50", false),
        ("P90", false),
        ("P99", false),
        ("MAX", false),
    ]);
    for method in status.methods.iter().take(METHODS) {
        let name = plain(&method.method);
        table.row(told(name, method.calls, method.errors, times_of(method)));
    }
    if status.methods.len() > 1 {
        let latency = &status.latency;
        let times = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.max_ms];
        let errors = status.methods.iter().map(|method| method.errors).sum();
        let all = match status.methods.len() {
            many if many > METHODS => format!("(all {many})"),
            _ => "(all)".to_owned(),
        };
        table.row(told(quiet(all), latency.count, errors, times));
    }
    page.table(table);
}

fn times_of(method: &Method) -> [Option<f64>; 4] {
    [method.p50_ms, method.p90_ms, method.p99_ms, method.max_ms]
}

fn told(name: Piece, calls: u64, errors: u64, times: [Option<f64>; 4]) -> Vec<Piece> {
    let tone = if errors > 0 { Tone::Bad } else { Tone::Quiet };
    let times = times.map(|time| plain(time.map_or_else(|| "-".to_owned(), millis)));
    [name, plain(grouped(calls)), piece(grouped(errors), tone)]
        .into_iter()
        .chain(times)
        .collect()
}

fn troubles(page: &mut Page, status: &Status, now_ms: u64) {
    page.row("restarts", vec![plain(restarts(status))]);
    let ago = |at_ms: u64| match now_ms.saturating_sub(at_ms) {
        _ if at_ms == 0 => String::new(),
        0..1000 => "just now: ".to_owned(),
        ms => format!("{} ago: ", spoken(ms)),
    };
    let several = is_several(status);
    // An older daemon has no more than the last.
    let last = status.last_exit.iter().filter(|_| status.exits.is_empty());
    let exits: Vec<_> = status.exits.iter().chain(last).collect();
    for (place, alike) in exits.chunk_by(|a, b| a.reason == b.reason).take(EXITS).enumerate() {
        let exit = alike[0];
        let mut text = ago(exit.at_ms);
        if several && exit.worker > 0 {
            text += &format!("worker {}: ", exit.worker);
        }
        text += &match &exit.reason {
            Some(reason) if status.reason.as_ref() == Some(reason) => "for that reason".to_owned(),
            _ => how(exit),
        };
        match alike.len() - 1 {
            0 => {}
            1 => text += "; likewise the one before",
            before => text += &format!("; likewise {before} before it"),
        }
        page.row(if place == 0 { "last exit" } else { "" }, vec![plain(text)]);
        if place == 0 {
            let lines = status.last_exit.as_ref().map_or(&[][..], |last| &last.stderr);
            let most = if status.state == "ready" { LINES } else { LINES_NOW };
            for line in &lines[lines.len().saturating_sub(most)..] {
                page.row("", vec![quiet(format!("  {line}"))]);
            }
        }
    }
    if let Some(error) = &status.last_error {
        let name = error.name.clone().unwrap_or_else(|| format!("error {}", error.code));
        let method = error.method.as_ref().map(|method| format!(" of {method}"));
        page.row(
            "last error",
            vec![
                plain(ago(error.at_ms)),
                piece(format!("{name}{}", method.unwrap_or_default()), Tone::Bad),
                plain(format!(": {}", error.message)),
            ],
        );
    }
}

/// How often, and why.
fn restarts(status: &Status) -> String {
    let by = &status.restarts_by;
    let reasons = [
        (by.crash, "after a crash"),
        (by.failed_start, "after a failed start"),
        (by.reload, "by a reload"),
        (by.restart, "by a restart"),
        (by.recycled, "because it was worn"),
    ];
    let all: u64 = reasons.iter().map(|(times, _)| times).sum();
    if all == 0 {
        return match status.restarts + status.reloads + status.recycled {
            0 => "none".to_owned(),
            times => times.to_string(),
        };
    }
    let told: Vec<_> = reasons
        .iter()
        .filter(|(times, _)| *times > 0)
        .map(|(times, why)| format!("{} {why}", grouped(*times)))
        .collect();
    told.join(", ")
}

/// As in "it was killed by SIGKILL, after 1.5 s".
fn how(exit: &LastExit) -> String {
    let reason = exit
        .reason
        .clone()
        .unwrap_or_else(|| match (exit.exit.code, exit.exit.signal) {
            _ if exit.exit.oom => "it was killed for want of memory".to_owned(),
            (_, Some(signal)) => format!("it was killed by signal {signal}"),
            (Some(code), None) => format!("it exited with code {code}"),
            (None, None) => "it ended".to_owned(),
        });
    match exit.ran_ms {
        Some(ms) => format!("{reason}, after {}", spoken(ms)),
        None => reason,
    }
}

fn rest(page: &mut Page, status: &Status) {
    if let Some(snapshot) = &status.snapshot {
        let text = format!("{}, {} old", size(snapshot.bytes), spoken(snapshot.age_ms));
        page.row("snapshot", vec![plain(text)]);
    }
    if !status.properties.is_empty() {
        page.row("properties", vec![plain(status.properties.join(", "))]);
    }
    page.row(
        "daemon",
        vec![plain(format!(
            "baskd {}, process {}, {}",
            status.version,
            status.pid,
            count(status.connections, "connection")
        ))],
    );
    let by = status.listening.as_deref().filter(|listening| *listening != "own");
    let by = by.map(|listening| quiet(format!("  (held by {listening})")));
    page.row("socket", std::iter::once(plain(&status.socket)).chain(by).collect());
}
