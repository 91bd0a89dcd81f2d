//! What is to be seen.

use std::path::PathBuf;

use ratatui::crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};
use serde_json::json;

use super::stage::{Stage, busy, busy_stage};
use crate::cli::top::model::{Deed, Event};
use crate::cli::top::view::theme::Theme;

const SIZES: [(u16, u16); 3] = [(80, 24), (100, 30), (160, 50)];

/// That it looks as it did when somebody looked at it.
fn assert_looks(stage: &Stage, name: &str, (width, height): (u16, u16)) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/cli/top/tests/pictures")
        .join(format!("{name}-{width}x{height}.txt"));
    let picture = stage.picture(width, height);
    if std::env::var_os("BASKD_PICTURES").is_some_and(|value| value == "write") {
        std::fs::write(&file, picture).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        picture == wanted,
        "{} is no longer what is seen:\n{picture}",
        file.display()
    );
}

fn starting() -> Stage {
    let mut stage = Stage::new();
    stage.read(json!({
        "name": "default", "version": "0.1.0", "pid": 4711, "socket": "/run/user/1000/baskd/default.sock", "uptime_ms": 2300, "started_ms": 1_795_000_000_000_u64,
        "controller": { "spec": "embedded", "file": null, "class": "Controller", "embedded": true },
        "python": { "executable": "/usr/bin/python3", "found": "python3 on the PATH", "version": null, "codec": null },
        "state": "starting", "reason": null,
        "workers": [{ "worker": 1, "pid": 4712, "state": "starting", "uptime_ms": 2250, "ready_ms": null, "calls": 0, "rss_bytes": 9_437_184, "running": [] }],
        "beside": [], "queued": 1, "in_flight": 0, "connections": 2, "calls": 1, "restarts": 0, "reloads": 0, "recycled": 0,
        "restarts_by": { "crash": 0, "reload": 0, "restart": 0, "recycled": 0 },
        "under_way": [{ "call": 1, "method": "increment", "worker": null, "age_ms": 1800, "where": "starting" }],
        "rates": { "10s": { "calls": 0, "errors": 0 }, "1m": { "calls": 0, "errors": 0 }, "5m": { "calls": 0, "errors": 0 } },
        "latency": { "count": 0, "p50_ms": null, "p90_ms": null, "p99_ms": null, "max_ms": null, "buckets": [] },
        "methods": [], "last_error": null, "last_exit": null, "exits": [], "snapshot": null, "properties": [],
    }));
    stage.log(None, "info", "daemon", "Python 4712 starts");
    stage
}

#[test]
fn starting_is_seen() {
    for size in SIZES {
        assert_looks(&starting(), "starting", size);
    }
}

#[test]
fn nothing_is_known_yet() {
    assert_looks(&Stage::new(), "nothing", SIZES[0]);
}

#[test]
fn load_is_seen() {
    for size in SIZES {
        assert_looks(&busy_stage(), "load", size);
    }
}

#[test]
fn a_selected_call_is_seen_and_stays_in_sight() {
    let mut stage = busy_stage();
    stage.press(KeyCode::Up);
    assert_looks(&stage, "selected", SIZES[0]);
}

#[test]
fn what_is_asked_is_seen() {
    let mut stage = busy_stage();
    stage.type_in("R");
    assert_looks(&stage, "confirm", SIZES[0]);
}

#[test]
fn a_filter_is_seen_while_it_is_typed() {
    let mut stage = busy_stage();
    stage.type_in("/killed");
    assert_looks(&stage, "filter", SIZES[0]);
}

#[test]
fn a_frozen_picture_says_so() {
    let mut stage = busy_stage();
    stage.type_in(" ");
    stage.read(busy(31));
    stage.log(None, "info", "daemon", "not to be seen");
    assert_looks(&stage, "frozen", SIZES[0]);
}

#[test]
fn a_worker_without_a_process_is_told_of() {
    let mut stage = busy_stage();
    let mut reading = busy(30);
    reading["workers"].as_array_mut().unwrap().remove(0);
    reading["down"] = json!([{ "worker": 1, "state": "backing off", "reason": "it was killed by SIGKILL" }]);
    reading["beside"] = json!([]);
    reading["restarts_by"]["failed_start"] = json!(1);
    stage.read(reading);
    for size in [SIZES[0], SIZES[2]] {
        assert_looks(&stage, "down", size);
    }
}

#[test]
fn unavailable_says_why() {
    let mut stage = busy_stage();
    let mut reading = busy(30);
    reading["state"] = json!("unavailable");
    reading["reason"] = json!(
        "controller.py can't be imported: ModuleNotFoundError: No module named 'numpy' (line 3); install it into /home/me/app/.venv, or choose another Python with --python; it is tried again when the file changes"
    );
    reading["workers"] = json!([]);
    reading["beside"] = json!([]);
    reading["under_way"] = json!([]);
    reading["in_flight"] = json!(0);
    reading["queued"] = json!(0);
    stage.read(reading);
    for size in [SIZES[0], SIZES[2]] {
        assert_looks(&stage, "unavailable", size);
    }
}

#[test]
fn a_daemon_that_is_gone_is_told() {
    let mut stage = busy_stage();
    stage.take(Event::Lost(
        "no daemon answers at /run/user/1000/baskd/search.sock".to_owned(),
    ));
    stage.wait(12);
    for size in [SIZES[0], SIZES[2]] {
        assert_looks(&stage, "disconnected", size);
    }
}

#[test]
fn an_action_that_failed_says_why() {
    let mut stage = busy_stage();
    stage.type_in("ry");
    let why =
        "Python could not be started: SyntaxError: invalid syntax (controller.py, line 7); the old version serves on"
            .to_owned();
    stage.take(Event::Done(Deed::Reload, Err(why)));
    assert_looks(&stage, "failed", SIZES[0]);
}

#[test]
fn the_help_is_whole() {
    let mut stage = busy_stage();
    stage.type_in("?");
    for size in [SIZES[0], SIZES[2]] {
        assert_looks(&stage, "help", size);
    }
}

#[test]
fn a_screen_that_is_too_small_says_so() {
    let stage = busy_stage();
    for size in [(60, 10), (79, 24), (80, 23)] {
        assert_looks(&stage, "too-small", size);
    }
}

#[test]
fn no_size_is_a_panic() {
    let mut help = busy_stage();
    help.type_in("?");
    let mut filter = busy_stage();
    filter.type_in("/日本");
    let mut lost = busy_stage();
    lost.take(Event::Lost("x".repeat(3000)));
    for stage in [Stage::new(), starting(), busy_stage(), help, filter, lost] {
        for width in (0..=260).step_by(26).chain([1, 79, 80, 81, 119, 120, 121]) {
            for height in [0, 1, 2, 10, 23, 24, 25, 29, 30, 31, 50, 100] {
                stage.drawn(Theme::with_colours(true), width, height);
            }
        }
    }
}

#[test]
fn without_colour_there_is_none() {
    let stage = busy_stage();
    let plain = stage.drawn(Theme::with_colours(false), 160, 50);
    assert!(
        plain
            .content()
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
    assert!(
        plain
            .content()
            .iter()
            .any(|cell| cell.modifier.contains(Modifier::BOLD))
    );
    // And what is said is the same.
    let coloured = stage.drawn(Theme::with_colours(true), 160, 50);
    let symbols = |buffer: &ratatui::buffer::Buffer| {
        buffer
            .content()
            .iter()
            .map(|cell| cell.symbol().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(symbols(&plain), symbols(&coloured));
    let allowed = [Color::Reset, Color::Cyan, Color::Green, Color::Red, Color::Magenta];
    assert!(
        coloured
            .content()
            .iter()
            .all(|cell| allowed.contains(&cell.fg) && cell.bg == Color::Reset)
    );
}

#[test]
fn nothing_that_is_told_reaches_the_terminal_as_a_command() {
    let nasty = "\u{1b}]0;title\u{7}\u{1b}[31m\u{9b}2J\r\n\u{202e}\u{0}x";
    let mut reading = busy(0);
    fn spoil(value: &mut serde_json::Value, nasty: &str) {
        match value {
            serde_json::Value::String(text) => text.insert_str(0, nasty),
            serde_json::Value::Array(values) => values.iter_mut().for_each(|value| spoil(value, nasty)),
            serde_json::Value::Object(members) => members.values_mut().for_each(|value| spoil(value, nasty)),
            _ => {}
        }
    }
    spoil(&mut reading, nasty);
    let mut stage = Stage::new();
    stage.read(reading);
    stage.log(Some((1, nasty)), nasty, nasty, nasty);
    stage.take(Event::NoLog(nasty.to_owned()));
    let check = |stage: &Stage| {
        for (width, height) in SIZES {
            let buffer = stage.drawn(Theme::with_colours(true), width, height);
            for cell in buffer.content() {
                assert!(
                    !cell
                        .symbol()
                        .chars()
                        .any(|letter| letter.is_control() || letter == '\u{202e}')
                );
            }
            let picture = stage.picture(width, height);
            assert!(!picture.contains("31m") && !picture.contains("title"), "{picture}");
        }
    };
    check(&stage);
    stage.take(Event::Done(
        Deed::Cancel {
            call: 1,
            method: nasty.to_owned(),
        },
        Err(nasty.to_owned()),
    ));
    stage.take(Event::Lost(nasty.to_owned()));
    check(&stage);
    stage.press(KeyCode::Char('/'));
    stage.take(Event::Paste(nasty.to_owned()));
    check(&stage);
}
