//! What keys and events do.

use ratatui::crossterm::event::KeyCode;
use serde_json::json;

use super::stage::{Stage, busy, busy_stage};
use crate::cli::top::keys::Key;
use crate::cli::top::model::{Deed, Event, Link, Mode, Order};

fn said(stage: &Stage) -> String {
    stage
        .model
        .message()
        .map(|message| message.text.clone())
        .unwrap_or_default()
}

fn cancel(call: u64, method: &str) -> Deed {
    Deed::Cancel {
        call,
        method: method.to_owned(),
    }
}

#[test]
fn it_quits() {
    assert_eq!(Stage::new().type_in("q"), Some(Order::Quit));
    assert_eq!(Stage::new().take(Event::Key(Key::control('c'))), Some(Order::Quit));
    // Also while something is asked or typed; `q` is a letter then.
    let mut stage = busy_stage();
    assert_eq!(stage.type_in("/q"), None);
    assert_eq!(stage.take(Event::Key(Key::control('c'))), Some(Order::Quit));
    assert_eq!(stage.take(Event::Key(Key::control('z'))), Some(Order::Suspend));
    assert_eq!(stage.take(Event::Key(Key::control('l'))), Some(Order::Redraw));
    assert_eq!(busy_stage().type_in("?q"), Some(Order::Quit));
}

#[test]
fn a_selection_is_of_a_call_and_not_of_a_row() {
    let mut stage = busy_stage();
    stage.press(KeyCode::Down);
    stage.press(KeyCode::Down);
    assert_eq!(stage.model.selected, Some(1838));
    let mut reading = busy(31);
    reading["under_way"].as_array_mut().unwrap().remove(0);
    stage.read(reading);
    assert_eq!(stage.model.selected, Some(1838));
    assert_eq!(stage.type_in("c"), Some(Order::Do(cancel(1838, "similarity"))));
    // It is on its way, and not asked for twice.
    assert_eq!(stage.type_in("c"), None);
    assert_eq!(
        stage.take(Event::Done(cancel(1838, "similarity"), Ok(true))),
        Some(Order::Refresh)
    );
    assert_eq!(said(&stage), "cancelled call 1838, similarity");
    // What has ended is not selected any more.
    let mut reading = busy(32);
    reading["under_way"] = json!([{ "call": 1900, "method": "search", "worker": 1, "age_ms": 1, "where": "running" }]);
    stage.read(reading);
    assert_eq!(stage.model.selected, None);
    assert_eq!(stage.type_in("c"), None);
    assert!(said(&stage).contains("select a call first"));
}

#[test]
fn the_selection_ends_at_the_ends() {
    let mut stage = busy_stage();
    stage.press(KeyCode::Up);
    assert_eq!(stage.model.selected, Some(1841));
    stage.press(KeyCode::Down);
    assert_eq!(stage.model.selected, Some(1841));
    stage.type_in("kkkkkkkkk");
    assert_eq!(stage.model.selected, Some(1830));
    stage.press(KeyCode::Esc);
    assert_eq!(stage.model.selected, None);
    let mut nothing = Stage::new();
    nothing.press(KeyCode::Down);
    assert!(said(&nothing).contains("none is under way"));
}

#[test]
fn reload_and_restart_are_asked_about() {
    let mut stage = busy_stage();
    assert_eq!(stage.type_in("rn"), None);
    assert_eq!(said(&stage), "no reload");
    assert_eq!(stage.type_in("ry"), Some(Order::Do(Deed::Reload)));
    stage.wait(3);
    assert!(stage.picture(80, 24).contains("reloading, 3.0 s"));
    assert_eq!(stage.type_in("Ry"), Some(Order::Do(Deed::Restart)));
    stage.take(Event::Done(Deed::Reload, Ok(true)));
    assert_eq!(said(&stage), "reloaded: the new version serves");
    stage.take(Event::Done(Deed::Restart, Err("no Python".to_owned())));
    assert_eq!(said(&stage), "restart failed: no Python");
    // An outcome is not there for ever.
    stage.wait(120);
    assert_eq!(said(&stage), "");
}

#[test]
fn what_is_pasted_presses_no_key() {
    let mut stage = busy_stage();
    stage.type_in("R");
    assert_eq!(stage.take(Event::Paste("y".to_owned())), None);
    assert_eq!(stage.model.mode, Mode::Confirm(Deed::Restart));
    stage.type_in("n/");
    stage.take(Event::Paste("two words\nRy".to_owned()));
    assert_eq!(stage.model.look.filter, "two words");
}

#[test]
fn a_filter_is_kept_or_taken_back() {
    let mut stage = busy_stage();
    stage.type_in("/hits");
    stage.press(KeyCode::Enter);
    assert_eq!(
        (stage.model.look.filter.as_str(), &stage.model.mode),
        ("hits", &Mode::Watch)
    );
    stage.type_in("/xx");
    stage.press(KeyCode::Backspace);
    stage.press(KeyCode::Esc);
    assert_eq!(stage.model.look.filter, "hits");
    stage.press(KeyCode::Esc);
    assert_eq!(stage.model.look.filter, "");
}

#[test]
fn the_log_stands_still_and_follows() {
    let mut stage = busy_stage();
    stage.press(KeyCode::PageUp);
    assert!(stage.picture(80, 24).contains("10 newer lines below"));
    stage.press(KeyCode::PageDown);
    assert_eq!(stage.model.look.until, None);
    stage.press(KeyCode::Home);
    assert!(stage.picture(80, 24).contains("Controller is ready"));
    stage.type_in("f");
    assert_eq!(stage.model.look.until, None);
    stage.type_in("f");
    stage.log(None, "info", "daemon", "later");
    assert!(!stage.picture(80, 24).contains("later"));
    stage.press(KeyCode::End);
    assert!(stage.picture(80, 24).contains("later"));
}

#[test]
fn frozen_it_still_takes_in_what_is_told() {
    let mut stage = busy_stage();
    stage.press(KeyCode::Down);
    stage.type_in(" ");
    let before = stage.picture(160, 50);
    let mut reading = busy(31);
    reading["under_way"] = json!([]);
    stage.read(reading);
    assert_eq!(stage.picture(160, 50), before);
    // What is seen can be meant, too.
    assert_eq!(stage.type_in("c"), Some(Order::Do(cancel(1830, "index_folder"))));
    stage.type_in(" ");
    assert!(stage.picture(160, 50).contains("no call is under way"));
}

#[test]
fn it_goes_on_with_the_daemon_that_comes_back() {
    let mut stage = busy_stage();
    stage.press(KeyCode::Down);
    stage.type_in("R");
    stage.take(Event::Lost("no daemon answers".to_owned()));
    assert_eq!(stage.model.mode, Mode::Watch);
    stage.wait(4);
    stage.take(Event::Lost("no daemon answers".to_owned()));
    assert!(matches!(&stage.model.link, Link::Lost { since, .. } if since.as_secs() == 30));
    assert_eq!(stage.type_in("c"), None);
    assert_eq!(said(&stage), "there is no daemon to ask");
    let mut next = busy(0);
    next["pid"] = json!(5000);
    next["started_ms"] = json!(1_795_000_100_000_u64);
    next["calls"] = json!(3);
    stage.read(next);
    assert_eq!(said(&stage), "connected again, to another daemon, after 4 seconds");
    // Its numbers are its own, and it counts from nothing.
    assert_eq!(stage.model.selected, None);
    assert_eq!(stage.model.shown().pulse.recent(), None);
    assert!(stage.model.shown().pulse.last().unwrap().calls < 1000.0);
}

#[test]
fn a_daemon_that_does_not_answer_is_not_gone() {
    let mut stage = busy_stage();
    stage.take(Event::Silent);
    stage.wait(3);
    assert!(stage.picture(80, 24).contains("has not answered for 3.0 s"));
    stage.read(busy(31));
    assert_eq!(stage.model.link, Link::Up);
}

#[test]
fn an_older_daemon_tells_less() {
    let mut stage = Stage::new();
    stage.read(json!({
        "name": "old", "version": "0.0.1", "pid": 1, "socket": "/s", "uptime_ms": 5000, "controller": { "spec": "embedded", "file": null, "class": "Controller" },
        "python": { "executable": null, "found": null, "version": null, "codec": null }, "state": "ready", "reason": null,
        "workers": [{ "worker": 1, "pid": 2, "state": "ready", "uptime_ms": 4000, "ready_ms": 1, "calls": 1, "rss_bytes": null, "running": [] }],
        "queued": 0, "in_flight": 0, "connections": 1, "calls": 1, "restarts": 0, "last_exit": null, "snapshot": null,
    }));
    let picture = stage.picture(80, 24);
    assert!(picture.contains("this daemon does not tell"), "{picture}");
}
