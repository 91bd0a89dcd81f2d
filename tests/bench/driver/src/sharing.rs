//! What one connection does to another, and what many connections and calls do to one call.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::connection::{Address, Connection};
use crate::dialect::{Dialect, JsonRpc};
use crate::load::{in_flight, sequential, take_answers, wait_for_answer};
use crate::report::Span;

const FLOOD: usize = 1000;

fn increment() -> JsonRpc {
    JsonRpc::new("increment", "{\"by\":1}")
}

/// Sequential calls alone, then beside a connection that keeps 1,000 calls in flight; then two such floods.
///
/// Each connection has a thread of its own here, so that none waits for another on this side.
pub(crate) fn fairness(to: &Address, span: Span) -> Result<Value> {
    let alone = sequential(to, &mut increment(), span)?;
    // The flood is there before the other begins and after it has ended.
    let longer = Span {
        warm_up: span.warm_up,
        measured: span.measured + Duration::from_millis(200),
    };
    let (flood, beside) = together(
        || in_flight(to, &mut increment(), FLOOD, longer),
        || {
            thread::sleep(Duration::from_millis(50));
            sequential(to, &mut increment(), span)
        },
    )?;
    let flooding = || in_flight(to, &mut increment(), FLOOD, span);
    let (first, second) = together(flooding, flooding)?;
    Ok(json!({ "alone": alone, "beside": beside, "flood": flood, "floods": [first, second] }))
}

fn together(
    one: impl FnOnce() -> Result<Value> + Send,
    other: impl FnOnce() -> Result<Value> + Send,
) -> Result<(Value, Value)> {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other()?;
        Ok((one.join().map_err(|_| anyhow!("a thread panicked"))??, other))
    })
}

/// A call's time, and the memory of the process `pid`, with one connection and with many, one call and many.
pub(crate) fn scale(to: &Address, pid: u32, connections: usize, calls: usize, span: Span) -> Result<Value> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;

    let few = json!({ "connections": 1, "sequential": sequential(to, &mut increment(), span)?, "pss": pss(pid)? });
    let mut idle = Vec::with_capacity(connections);
    for _ in 1..connections {
        let mut connection = Connection::open(to)?;
        // Each is known to the daemon, not only to the kernel.
        ask(&mut connection)?;
        idle.push(connection);
    }
    let many = json!({
        "connections": connections,
        "sequential": sequential(to, &mut increment(), span)?,
        "pss": pss(pid)?,
    });
    drop(idle);

    let mut queues = vec![];
    for queued in [1, calls] {
        queues.push(queue(to, pid, queued)?);
    }
    // Last, for they leave buffers behind.
    let mut depths = vec![];
    for depth in [1, 64, calls] {
        let rate = in_flight(to, &mut increment(), depth, span)?;
        depths.push(json!({ "in_flight": depth, "per_second": rate["per_second"] }));
    }
    Ok(json!({ "connections": [few, many], "depths": depths, "queued": queues }))
}

/// Keeps Python busy while so many calls arrive behind it, looks at the memory, then times their answers.
fn queue(to: &Address, pid: u32, calls: usize) -> Result<Value> {
    let mut holder = Connection::open(to)?;
    let mut pause = JsonRpc::new("pause", "{\"seconds\":0.5}");
    let mut call = Vec::new();
    pause.push_call(&mut call);
    holder.write(&call)?;
    // It has been read, and so comes first, when a later request of its connection is answered.
    holder.write(b"{\"jsonrpc\":\"2.0\",\"id\":\"status\",\"method\":\"daemon.status\"}\n")?;
    holder.read()?;
    let seen = holder.unread().len();
    holder.consume(seen);

    let mut connection = Connection::open(to)?;
    let mut dialect = increment();
    let mut requests = Vec::new();
    for _ in 0..calls {
        dialect.push_call(&mut requests);
    }
    connection.write(&requests)?;
    thread::sleep(Duration::from_millis(200));
    if !connection.unread().is_empty() {
        bail!("calls behind a pause were answered before it");
    }
    let pss = pss(pid)?;
    holder.read()?;
    let start = Instant::now();
    let mut left = calls as u64;
    while left > 0 {
        connection.read()?;
        left -= take_answers(&mut connection, &dialect)?;
    }
    let micros = start.elapsed().as_secs_f64() * 1e6;
    Ok(json!({ "queued": calls, "us_per_call": micros / calls as f64, "pss": pss }))
}

fn ask(connection: &mut Connection) -> Result<()> {
    let mut dialect = increment();
    let mut call = Vec::new();
    dialect.push_call(&mut call);
    connection.write(&call)?;
    wait_for_answer(connection, &dialect).map(drop)
}

/// The process's share of the memory it uses, in bytes.
fn pss(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .with_context(|| format!("reading the memory of {pid}"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .context("smaps_rollup has no Pss")?;
    let kib: u64 = line.split_whitespace().nth(1).context("Pss has no value")?.parse()?;
    Ok(kib * 1024)
}
