//! Whole pages, as a person reads them.

use baskd_client::Status;
use serde_json::{Value, json};

use super::page::page;

const NOW: u64 = 1_795_000_100_000;

fn drawn(status: Value) -> String {
    let status: Status = serde_json::from_value(status).unwrap();
    page(&status, NOW).finish(None, false)
}

fn with(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

/// What a daemon of the first version tells.
fn old() -> Value {
    json!({
        "name": "default", "version": "0.1.0", "pid": 4711, "socket": "/run/user/1000/baskd/default.sock", "uptime_ms": 81234,
        "controller": { "spec": "/home/me/app/controller.py:Controller", "file": "/home/me/app/controller.py", "class": "Controller", "embedded": false },
        "python": { "executable": "/home/me/app/.venv/bin/python", "found": ".venv beside the controller", "version": "3.11.7", "codec": "msgspec" },
        "state": "ready", "reason": null,
        "workers": [{ "worker": 1, "pid": 4712, "state": "ready", "uptime_ms": 81002, "ready_ms": 231, "calls": 17, "rss_bytes": 31457280,
            "running": [{ "call": 18, "method": "search", "age_ms": 12 }] }],
        "queued": 0, "in_flight": 1, "connections": 2, "calls": 1204, "restarts": 1,
        "last_exit": { "reason": "it was killed by SIGKILL", "exit": { "signal": 9 }, "ran_ms": 1500, "stderr": ["last words"] },
        "properties": ["model", "tokenizer"],
    })
}

fn new() -> Value {
    let exit = |reason: &str, at_ms: u64| json!({ "worker": 1, "reason": reason, "exit": { "signal": 9 }, "ran_ms": 1500, "at_ms": at_ms });
    let killed = "it was killed by SIGKILL";
    let exits = json!([
        exit(killed, NOW - 130_000),
        exit(killed, NOW - 140_000),
        exit("it exited with code 3", NOW - 7_300_000)
    ]);
    let more = json!({
        "started_ms": NOW - 81234, "listening": "systemd",
        "beside": [{ "worker": 1, "pid": 4709, "state": "leaving", "uptime_ms": 90000, "ready_ms": 240, "calls": 5, "rss_bytes": 31457280,
            "running": [{ "call": 9, "method": "index", "age_ms": 3000, "cancelled": true }] }],
        "in_flight": 3, "queued": 2,
        "under_way": [
            { "call": 18, "method": "search", "worker": 1, "age_ms": 12, "where": "running" },
            { "call": 19, "method": "search", "worker": null, "age_ms": 11, "where": "queued" },
        ],
        "rates": { "10s": { "calls": 12.54, "errors": 0.0 }, "1m": { "calls": 11.9, "errors": 0.0 }, "5m": { "calls": 11.0, "errors": 0.011 } },
        "latency": { "count": 1204, "p50_ms": 11.4, "p90_ms": 13.1, "p99_ms": 402.3, "max_ms": 61000.0, "buckets": [{ "le_ms": null, "count": 1204 }] },
        "methods": [
            { "method": "search", "calls": 1190, "errors": 3, "p50_ms": 11.4, "p90_ms": 13.1, "p99_ms": 402.3, "max_ms": 61000.0 },
            { "method": "getProperty", "calls": 14, "errors": 0, "p50_ms": 0.127, "p90_ms": 0.2, "p99_ms": 0.3, "max_ms": 0.31 },
        ],
        "restarts": 2, "reloads": 1, "recycled": 0, "restarts_by": { "crash": 2, "reload": 1, "restart": 0, "recycled": 0 },
        "snapshot": { "age_ms": 81300, "bytes": 512 },
        "exits": exits,
        "last_error": { "code": -32020, "name": "MethodError", "method": "search", "message": "ValueError: an empty\nquery", "at_ms": NOW - 12_000 },
    });
    with(old(), more)
}

#[test]
fn a_daemon_that_has_seen_something() {
    let expected = "\
default  ready, up 1 min 21 s
controller  /home/me/app/controller.py:Controller
python      /home/me/app/.venv/bin/python
            3.11.7 with msgspec; .venv beside the controller

WORKER  STATE     PID          UP  MEMORY  CALLS  NOW
1       ready    4712  1 min 21 s  30 MiB     17  search for 12 ms (call 18)
1       leaving  4709  1 min 30 s  30 MiB      5  index, cancelled 3.0 s ago (call 9)

calls       1,204 since the start, 1 running, 4 waiting (the oldest for 11 ms)
calls/s     12.5 over 10 s, 11.9 over 1 min, 11.0 since the start
errors/s    0 over 10 s, 0 over 1 min, 0.01 since the start

METHOD       CALLS  ERRORS      P50      P90      P99        MAX
search       1,190       3    11 ms    13 ms   402 ms  1 min 1 s
getProperty     14       0  0.13 ms  0.20 ms  0.30 ms    0.31 ms
(all)        1,204       3    11 ms    13 ms   402 ms  1 min 1 s

restarts    2 after a crash, 1 by a reload
last exit   2 min 10 s ago: it was killed by SIGKILL, after 1.5 s; likewise the one before
              last words
            2 h 1 min ago: it exited with code 3, after 1.5 s
last error  12 s ago: MethodError of search: ValueError: an empty query

snapshot    512 bytes, 1 min 21 s old
properties  model, tokenizer
daemon      baskd 0.1.0, process 4711, 2 connections
socket      /run/user/1000/baskd/default.sock  (held by systemd)";
    let page = drawn(new());
    assert_eq!(page, expected, "\n{page}");
}

#[test]
fn an_older_daemon_tells_less() {
    let expected = "\
default  ready, up 1 min 21 s
controller  /home/me/app/controller.py:Controller
python      /home/me/app/.venv/bin/python
            3.11.7 with msgspec; .venv beside the controller

WORKER  STATE   PID          UP  MEMORY  CALLS  NOW
1       ready  4712  1 min 21 s  30 MiB     17  search for 12 ms (call 18)

calls       1,204 since the start, 1 running, 0 waiting

restarts    1
last exit   it was killed by SIGKILL, after 1.5 s
              last words

properties  model, tokenizer
daemon      baskd 0.1.0, process 4711, 2 connections
socket      /run/user/1000/baskd/default.sock";
    let page = drawn(old());
    assert_eq!(page, expected, "\n{page}");
}

#[test]
fn a_worker_without_a_process_is_told_of() {
    let page = drawn(with(
        new(),
        json!({
            "workers": [
                { "worker": 1, "pid": 4712, "state": "ready", "uptime_ms": 81002, "ready_ms": 231, "calls": 17, "rss_bytes": 31457280, "running": [] },
                { "worker": 3, "pid": 4714, "state": "starting", "uptime_ms": 100, "ready_ms": null, "calls": 0, "rss_bytes": 9437184, "running": [] },
            ],
            "down": [{ "worker": 2, "state": "backing off", "reason": "it was killed by SIGKILL" }],
            "beside": [],
            "restarts_by": { "crash": 2, "failed_start": 3, "reload": 0, "restart": 0, "recycled": 0 },
        }),
    ));
    let expected = "\
WORKER  STATE         PID          UP   MEMORY  CALLS  NOW
1       ready        4712  1 min 21 s   30 MiB     17  idle
2       backing off     -           -        -      -  it was killed by SIGKILL
3       starting     4714      100 ms  9.0 MiB      0  -
";
    assert!(
        page.starts_with("default  ready with 2 of 3 workers, up 1 min 21 s\n"),
        "{page}"
    );
    assert!(page.contains(expected), "{page}");
    assert!(
        page.contains("restarts    2 after a crash, 3 after a failed start\n"),
        "{page}"
    );
}

#[test]
fn why_it_does_not_serve_is_said_once() {
    let reason = "the controller can't be imported: ModuleNotFoundError: No module named 'torch'";
    let exit =
        |at_ms: u64| json!({ "worker": 1, "reason": reason, "exit": { "code": 1 }, "ran_ms": 90, "at_ms": at_ms });
    let mut last = exit(NOW - 400);
    last["stderr"] = (0..20).map(|line| format!("line {line}")).collect();
    let page = drawn(with(
        old(),
        json!({
            "state": "unavailable", "reason": reason, "workers": [], "down": [{ "worker": 1, "state": "unavailable", "reason": reason }], "in_flight": 0, "calls": 0, "started_ms": NOW - 1500, "uptime_ms": 1500,
            "python": { "executable": "/usr/bin/python3", "found": "python3 on the PATH", "version": null, "codec": null },
            "restarts": 4, "restarts_by": { "crash": 0, "failed_start": 4, "reload": 0, "restart": 0, "recycled": 0 },
            "exits": [exit(NOW - 400), exit(NOW - 900), exit(NOW - 1200)], "last_exit": last,
        }),
    ));
    assert_eq!(page.matches("torch").count(), 1, "{page}");
    assert!(
        page.starts_with("default  unavailable, up 1.5 s\nreason      the controller can't"),
        "{page}"
    );
    assert!(
        page.contains("\nno Python runs\n") && page.contains("0 since the start, none under way\n"),
        "{page}"
    );
    assert!(
        page.contains("last exit   just now: for that reason; likewise 2 before it\n              line 8\n"),
        "{page}"
    );
    assert!(
        page.contains("python      /usr/bin/python3\n            python3 on the PATH\n"),
        "{page}"
    );
}

#[test]
fn several_workers_and_many_calls() {
    let call = |number: u64| json!({ "call": number, "method": "wait", "age_ms": 1300, "cancelled": false });
    let worker = |number: u64, calls: std::ops::Range<u64>| {
        let running: Vec<_> = calls.map(call).collect();
        json!({ "worker": number, "pid": 100 + number, "state": "ready", "uptime_ms": 2000, "ready_ms": 90, "calls": 0, "rss_bytes": null, "running": running })
    };
    let mut standby = worker(1, 0..0);
    standby["state"] = "standby".into();
    let page = drawn(with(
        new(),
        json!({ "workers": [worker(1, 1..8), worker(2, 8..9)], "beside": [standby], "in_flight": 8, "queued": 0, "exits": [
            { "worker": 2, "reason": "it exited with code 3", "exit": { "code": 3 }, "ran_ms": 20, "at_ms": NOW - 5000 },
        ] }),
    ));
    assert!(
        page.contains("wait for 1.3 s (call 4)\n") && page.contains("  and 3 more\n"),
        "{page}"
    );
    assert!(page.contains("\n-       standby  101"), "{page}");
    assert!(page.contains("8 running, 0 waiting\n"), "{page}");
    assert!(
        page.contains("last exit   5.0 s ago: worker 2: it exited with code 3, after 20 ms"),
        "{page}"
    );
}
