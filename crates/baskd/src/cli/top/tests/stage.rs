//! A model that is fed by hand, and what it looks like.

use std::fmt::Write as _;
use std::time::Duration;

use baskd_client::{Log, LogLine};
use jiff::tz::TimeZone;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::event::KeyCode;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;
use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};

use crate::cli::top::keys::Key;
use crate::cli::top::model::{Event, Model, Order};
use crate::cli::top::view::{draw, theme::Theme};

pub(super) struct Stage {
    pub(super) model: Model,
    now: Duration,
}

impl Stage {
    pub(super) fn new() -> Stage {
        Stage {
            model: Model::new(TimeZone::UTC),
            now: Duration::ZERO,
        }
    }

    pub(super) fn take(&mut self, event: Event) -> Option<Order> {
        self.model.take(self.now, event)
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.take(Event::Tick);
    }

    pub(super) fn read(&mut self, reading: Value) {
        self.take(Event::Reading(Box::new(serde_json::from_value(reading).unwrap())));
    }

    pub(super) fn press(&mut self, code: KeyCode) -> Option<Order> {
        self.take(Event::Key(Key::plain(code)))
    }

    pub(super) fn type_in(&mut self, text: &str) -> Option<Order> {
        text.chars()
            .map(|letter| self.press(KeyCode::Char(letter)))
            .last()
            .flatten()
    }

    pub(super) fn log(&mut self, call: Option<(u64, &str)>, level: &str, stream: &str, text: &str) {
        let line: LogLine = serde_json::from_value(json!({
            "time": "2026-11-25T22:31:05.123456789Z", "level": level, "stream": stream, "line": text,
            "call": call.map(|(number, _)| number), "method": call.map(|(_, method)| method),
        }))
        .unwrap();
        self.take(Event::Log(Log::Line(line)));
    }

    pub(super) fn drawn(&self, theme: Theme, width: u16, height: u16) -> Buffer {
        struct Whole<'a>(&'a Model, Theme);
        impl Widget for Whole<'_> {
            fn render(self, area: Rect, buffer: &mut Buffer) {
                draw(self.0, self.1, area, buffer);
            }
        }
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let drawn = terminal.draw(|frame| frame.render_widget(Whole(&self.model, theme), frame.area()));
        drawn.unwrap().buffer.clone()
    }

    /// As text, without the ends of lines.
    pub(super) fn picture(&self, width: u16, height: u16) -> String {
        let buffer = self.drawn(Theme::with_colours(true), width, height);
        let mut picture = String::new();
        for row in buffer.content().chunks(usize::from(width)) {
            // A wide letter has its second cell, too, which is empty.
            let mut skip = 0;
            let mut line = String::new();
            for cell in row.iter().map(Cell::symbol) {
                if skip == 0 {
                    line.push_str(cell);
                    skip = ratatui::text::Span::raw(cell).width().saturating_sub(1);
                } else {
                    skip -= 1;
                }
            }
            let _ = writeln!(picture, "{}", line.trim_end());
        }
        picture
    }
}

/// A daemon that has been up for a minute and `second`s, and is busy.
pub(in crate::cli::top) fn busy(second: u64) -> Value {
    let calls = 1204
        + (0..=second)
            .map(|second| [80, 95, 120, 160, 210, 170, 130, 110, 90, 60][second as usize % 10])
            .sum::<u64>();
    let counts = [0, 40, 210, 95, 30, 8, 5, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let bounds = [
        0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 10_000.0, 60_000.0,
        600_000.0,
    ];
    let bounds = bounds.map(Value::from).into_iter().chain([Value::Null]);
    let buckets: Vec<Value> = bounds
        .zip(counts)
        .map(|(le, count)| json!({ "le_ms": le, "count": count * (second + 1) }))
        .collect();
    let running = |call: u64, method: &str, age_ms: u64| json!({ "call": call, "method": method, "age_ms": age_ms });
    json!({
        "name": "search", "version": "0.1.0", "pid": 4711, "socket": "/run/user/1000/baskd/search.sock",
        "uptime_ms": 60_000 + second * 1000, "started_ms": 1_795_000_000_000_u64, "listening": "systemd",
        "controller": { "spec": "/home/me/projects/app/controller.py:Controller", "file": "/home/me/projects/app/controller.py", "class": "Controller", "embedded": false },
        "python": { "executable": "/home/me/app/.venv/bin/python", "found": ".venv beside the controller", "version": "3.11.7", "codec": "msgspec" },
        "state": "ready", "reason": null,
        "workers": [
            { "worker": 1, "pid": 4712, "state": "ready", "uptime_ms": 59_000 + second * 1000, "ready_ms": 231, "calls": calls / 2, "rss_bytes": 222_298_112,
              "running": [running(1839, "search", 12), running(1830, "index_folder", 65_000)] },
            { "worker": 2, "pid": 4790, "state": "ready", "uptime_ms": 21_000, "ready_ms": 240, "calls": 312, "rss_bytes": 198_180_864, "running": [] },
        ],
        "beside": [{ "worker": 1, "pid": 4795, "state": "standby", "uptime_ms": 20_000, "ready_ms": 250, "calls": 0, "rss_bytes": 180_355_072, "running": [] }],
        "queued": 1, "in_flight": 4, "connections": 7, "calls": calls, "restarts": 3, "reloads": 1, "recycled": 0,
        "restarts_by": { "crash": 2, "reload": 1, "restart": 0, "recycled": 0 },
        "under_way": [
            { "call": 1830, "method": "index_folder", "worker": 1, "age_ms": 65_000, "where": "running" },
            { "call": 1838, "method": "similarity", "worker": 2, "age_ms": 2300, "where": "running" },
            { "call": 1839, "method": "search", "worker": 1, "age_ms": 12, "where": "running" },
            { "call": 1840, "method": "a_method_with_a_name_that_is_so_long_that_no_screen_of_eighty_columns_has_the_room", "worker": 1, "age_ms": 11, "where": "running" },
            { "call": 1841, "method": "search", "worker": null, "age_ms": 3, "where": "queued" },
        ],
        "rates": { "10s": { "calls": 121.4, "errors": 0.2 }, "1m": { "calls": 98.2, "errors": 0.05 }, "5m": { "calls": 20.1, "errors": 0.01 } },
        "latency": { "count": calls, "p50_ms": 0.21, "p90_ms": 0.48, "p99_ms": 4.2, "max_ms": 203.0, "buckets": buckets },
        "methods": [
            { "method": "search", "calls": calls - 40, "errors": second / 4, "p50_ms": 0.21, "p90_ms": 0.4, "p99_ms": 4.1, "max_ms": 27.4 },
            { "method": "similarity", "calls": 39, "errors": 0, "p50_ms": 1.2, "p90_ms": 2.0, "p99_ms": 3.0, "max_ms": 3.0 },
            { "method": "index_folder", "calls": 1, "errors": 0, "p50_ms": 203.0, "p90_ms": 203.0, "p99_ms": 203.0, "max_ms": 203.0 },
        ],
        "last_error": { "code": -32020, "name": "MethodError", "method": "search", "message": "ValueError: an empty query", "at_ms": 1_795_000_058_000_u64 + second * 1000 },
        "last_exit": { "worker": 2, "reason": "it was killed by SIGKILL (out of memory)", "exit": { "signal": 9, "oom": true }, "ran_ms": 38_000, "at_ms": 1_795_000_039_000_u64, "stderr": [] },
        "exits": [
            { "worker": 2, "reason": "it was killed by SIGKILL (out of memory)", "exit": { "signal": 9, "oom": true }, "ran_ms": 38_000, "at_ms": 1_795_000_039_000_u64 },
            { "worker": 2, "reason": "it exited with code 3", "exit": { "code": 3 }, "ran_ms": 812, "at_ms": 1_795_000_001_000_u64 },
        ],
        "snapshot": null, "properties": ["model"],
    })
}

/// The same, and what it has told in half a minute.
pub(super) fn busy_stage() -> Stage {
    let mut stage = Stage::new();
    for second in 0..30 {
        stage.read(busy(second));
        stage.wait(1);
    }
    stage.log(
        None,
        "info",
        "daemon",
        "Controller is ready after 231ms: 4 methods, Python 3.11.7, msgspec",
    );
    for number in 0..40 {
        stage.log(
            Some((1800 + number, "search")),
            "info",
            "stdout",
            &format!("searched for “query {number}”: {} hits", number * 3 % 11),
        );
    }
    stage.log(Some((1830, "index_folder")), "info", "stderr", "warning: /home/me/Bilder/日本.txt is no UTF-8, which is so long a line that it does not fit on any screen that people have, or on none that is not very wide indeed, at least");
    stage.log(
        None,
        "warn",
        "daemon",
        "worker 2: Python was killed by SIGKILL (out of memory); the next is started",
    );
    stage.log(
        Some((1831, "search")),
        "info",
        "stdout",
        "\u{1b}[31mred\u{1b}[0m \u{1b}]52;c;c3RvbGVu\u{7}and \u{1b}[2J\u{1b}[Hharmless \u{202e}txet",
    );
    stage
}
