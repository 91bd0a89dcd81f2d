//! The workloads that all dialects have: one call after another, many in flight, many connections; and those that only
//! JSON-RPC has: streams and large strings.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memchr::{memchr, memmem};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use crate::connection::{Address, Connection};
use crate::dialect::{Dialect, JsonRpc};
use crate::report::{Latencies, Meter, Span};

/// One connection, one call at a time.
pub(crate) fn sequential(to: &Address, dialect: &mut dyn Dialect, span: Span) -> Result<Value> {
    let mut connection = Connection::open(to)?;
    let mut meter = Meter::start(span);
    let mut latencies = Latencies::default();
    let mut call = Vec::new();
    loop {
        call.clear();
        dialect.push_call(&mut call);
        let before = Instant::now();
        let warm = meter.is_warm();
        connection.write(&call)?;
        wait_for_answer(&mut connection, dialect)?;
        let now = Instant::now();
        if warm {
            latencies.push(now - before);
        }
        if !meter.add(1, now) {
            break;
        }
    }
    Ok(json!({ "per_second": meter.per_second(), "latency": latencies.report() }))
}

pub(crate) fn wait_for_answer(connection: &mut Connection, dialect: &dyn Dialect) -> Result<usize> {
    loop {
        connection.read()?;
        if let Some(length) = dialect.answer(connection.unread())? {
            connection.consume(length);
            return Ok(length);
        }
    }
}

/// Takes the answers that are there, and gives how many.
pub(crate) fn take_answers(connection: &mut Connection, dialect: &dyn Dialect) -> Result<u64> {
    let mut count = 0;
    while let Some(length) = dialect.answer(connection.unread())? {
        connection.consume(length);
        count += 1;
    }
    Ok(count)
}

/// Takes the answers that are still to come, so that no server meets a client that is gone.
fn drain(connection: &mut Connection, dialect: &dyn Dialect, mut left: u64) -> Result<()> {
    while left > 0 {
        connection.read()?;
        left -= take_answers(connection, dialect)?;
    }
    Ok(())
}

/// One connection that always has `depth` calls under way.
pub(crate) fn in_flight(to: &Address, dialect: &mut dyn Dialect, depth: usize, span: Span) -> Result<Value> {
    let mut connection = Connection::open(to)?;
    let mut calls = Vec::new();
    for _ in 0..depth {
        dialect.push_call(&mut calls);
    }
    connection.write(&calls)?;
    let mut meter = Meter::start(span);
    loop {
        connection.read()?;
        let count = take_answers(&mut connection, dialect)?;
        if !meter.add(count, Instant::now()) {
            drain(&mut connection, dialect, depth as u64 - count)?;
            break;
        }
        calls.clear();
        for _ in 0..count {
            dialect.push_call(&mut calls);
        }
        if count > 0 {
            connection.write(&calls)?;
        }
    }
    Ok(json!({ "per_second": meter.per_second() }))
}

/// So many connections, each with one call under way.
pub(crate) fn clients(to: &Address, dialect: &mut dyn Dialect, count: usize, span: Span) -> Result<Value> {
    let mut connections = (0..count).map(|_| Connection::open(to)).collect::<Result<Vec<_>>>()?;
    let mut sent = vec![Instant::now(); count];
    let mut call = Vec::new();
    for connection in &mut connections {
        call.clear();
        dialect.push_call(&mut call);
        connection.write(&call)?;
    }
    let mut meter = Meter::start(span);
    let mut latencies = Latencies::default();
    let mut ready = Vec::with_capacity(count);
    let mut waiting = count;
    while waiting > 0 {
        wait_for_any(&connections, &mut ready)?;
        for &place in &ready {
            let connection = &mut connections[place];
            connection.read()?;
            let Some(length) = dialect.answer(connection.unread())? else {
                continue;
            };
            connection.consume(length);
            let now = Instant::now();
            if meter.is_warm() {
                latencies.push(now - sent[place]);
            }
            if !meter.add(1, now) {
                waiting -= 1;
                continue;
            }
            call.clear();
            dialect.push_call(&mut call);
            connection.write(&call)?;
            sent[place] = now;
        }
    }
    Ok(json!({ "per_second": meter.per_second(), "latency": latencies.report() }))
}

/// Puts the places of those that have something to read into `ready`.
pub(crate) fn wait_for_any(connections: &[Connection], ready: &mut Vec<usize>) -> Result<()> {
    let mut polled: Vec<PollFd<'_>> = connections.iter().map(|it| PollFd::new(it, PollFlags::IN)).collect();
    let patience = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
    if poll(&mut polled, Some(&patience))? == 0 {
        bail!("the server has said nothing for 30 s");
    }
    ready.clear();
    ready.extend(
        polled
            .iter()
            .enumerate()
            .filter(|(_, it)| !it.revents().is_empty())
            .map(|(place, _)| place),
    );
    Ok(())
}

/// Items of one stream a second: from the request to the last item, which the warm-up's stream precedes.
pub(crate) fn stream(to: &Address, method: &str, items: u64) -> Result<Value> {
    let mut connection = Connection::open(to)?;
    let mut seconds = 0.0;
    for count in [items / 10, items] {
        let before = Instant::now();
        let mut seen = 0;
        read_stream(&mut connection, method, &format!("{{\"count\":{count}}}"), |_| {
            seen += 1
        })?;
        seconds = before.elapsed().as_secs_f64();
        if seen != count {
            bail!("{seen} items instead of {count}");
        }
    }
    Ok(json!({ "per_second": items as f64 / seconds }))
}

/// A stream whose items are the time at which they were yielded: how long each was on its way.
pub(crate) fn ticks(to: &Address, count: u64) -> Result<Value> {
    let mut connection = Connection::open(to)?;
    let mut latencies = Latencies::default();
    let params = format!("{{\"count\":{count}}}");
    let mut seen = 0;
    let mut wrong = None;
    read_stream(&mut connection, "ticks", &params, |item| {
        let now = monotonic();
        seen += 1;
        match std::str::from_utf8(item)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
        {
            // The first items find caches cold.
            Some(then) if seen > count / 10 => latencies.push(Duration::from_nanos(now.saturating_sub(then))),
            Some(_) => {}
            None => wrong = Some(String::from_utf8_lossy(item).into_owned()),
        }
    })?;
    if let Some(item) = wrong {
        bail!("an item that is no time: {item}");
    }
    Ok(json!({ "latency": latencies.report() }))
}

fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Calls `stream.call` and hands each item to `on_item`, to the stream's end.
fn read_stream(connection: &mut Connection, method: &str, params: &str, mut on_item: impl FnMut(&[u8])) -> Result<()> {
    const ITEM: &[u8] = b"\"result\":{\"item\":";
    let call = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stream.call\",\"params\":{{\"method\":\"{method}\",\"params\":{params}}}}}\n"
    );
    connection.write(call.as_bytes())?;
    let item = memmem::Finder::new(ITEM);
    loop {
        connection.read()?;
        while let Some(end) = memchr(b'\n', connection.unread()) {
            let line = &connection.unread()[..end];
            if let Some(place) = item.find(&line[..line.len().min(120)]) {
                // Three brackets close what is around an item.
                on_item(&line[place + ITEM.len()..line.len() - 3]);
            } else if memmem::find(line, b"\"message\":\"closed\"").is_some() {
                connection.consume(end + 1);
                return Ok(());
            } else if memmem::find(line, b"\"code\":").is_some() {
                bail!("the stream failed: {}", String::from_utf8_lossy(line));
            }
            connection.consume(end + 1);
        }
    }
}

/// A string of so many bytes there and back, one after another.
pub(crate) fn echo(to: &Address, bytes: usize, span: Span) -> Result<Value> {
    let mut connection = Connection::open(to)?;
    let mut dialect = JsonRpc::new("echo", &format!("{{\"text\":\"{}\"}}", "x".repeat(bytes)));
    let mut meter = Meter::start(span);
    let mut latencies = Latencies::default();
    let mut call = Vec::with_capacity(bytes + 200);
    loop {
        call.clear();
        dialect.push_call(&mut call);
        let before = Instant::now();
        let warm = meter.is_warm();
        connection.write(&call)?;
        let length = wait_for_line(&mut connection, &dialect)?;
        if length < bytes {
            bail!("{length} bytes came back of {bytes}");
        }
        let now = Instant::now();
        if warm {
            latencies.push(now - before);
        }
        if !meter.add(1, now) {
            break;
        }
    }
    Ok(json!({ "per_second": meter.per_second(), "latency": latencies.report() }))
}

/// As `wait_for_answer`, for a long one: only new bytes are searched for its end.
fn wait_for_line(connection: &mut Connection, dialect: &dyn Dialect) -> Result<usize> {
    let mut searched = 0;
    loop {
        connection.read()?;
        let fresh = &connection.unread()[searched..];
        if memchr(b'\n', fresh).is_some() {
            let length = dialect
                .answer(connection.unread())?
                .context("an answer ends where its line does")?;
            connection.consume(length);
            return Ok(length);
        }
        searched += fresh.len();
    }
}
