//! The table, as wide as it needs to be, or as the terminal is.

use std::env;

use ratatui::crossterm::terminal;
use ratatui::text::Span;

use super::row::Row;
use crate::cli::duration::spoken;

const TITLES: [&str; 6] = ["NAME", "STATE", "UPTIME", "MEMORY", "SOCKET", "CONTROLLER"];
const SOCKET: usize = 4;
const CONTROLLER: usize = 5;
/// Between columns.
const GAP: usize = 2;
/// Less of a path says nothing.
const SHORTEST: usize = 12;

pub(super) fn terminal_width() -> Option<usize> {
    terminal::size()
        .ok()
        .map(|(columns, _)| usize::from(columns))
        .filter(|columns| *columns > 0)
}

/// `width`: what it must fit in; None, for a pipe: nothing is cut then.
pub(super) fn draw(rows: &[Row], width: Option<usize>) -> String {
    let mut cells: Vec<[String; 6]> = vec![TITLES.map(str::to_owned)];
    cells.extend(rows.iter().map(|row| self::cells(row, width.is_some())));
    let natural = |column: usize| cells.iter().map(|row| wide(&row[column])).max().unwrap_or(0);
    let natural: Vec<usize> = (0..TITLES.len()).map(natural).collect();
    let widths = match width {
        Some(width) => fit(&natural, width),
        None => natural,
    };
    let lines = cells.iter().map(|row| {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
            if !line.is_empty() {
                line.push_str(&" ".repeat(GAP));
            }
            let cell = cut_front(cell, width);
            line.push_str(&cell);
            line.push_str(&" ".repeat(width - wide(&cell)));
        }
        let line = line.trim_end();
        width.map_or_else(|| line.to_owned(), |width| cut_end(line, width))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn cells(row: &Row, for_people: bool) -> [String; 6] {
    let nothing = || "-".to_owned();
    let path = |text: String| if for_people { short(&text) } else { text };
    let socket = row.socket.as_ref().map(|path| path.to_string_lossy().into_owned());
    [
        row.name.clone(),
        row.state.clone(),
        row.uptime_ms.map_or_else(nothing, spoken),
        row.memory_bytes.map_or_else(nothing, mebibytes),
        socket.map_or_else(nothing, path),
        row.controller.clone().map_or_else(nothing, path),
    ]
    // What a path may hold must not move the cursor.
    .map(|text| {
        text.chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    })
}

/// How wide each column may be; 0 for one that there is no room for. The last two, which are paths, give way.
fn fit(natural: &[usize], width: usize) -> Vec<usize> {
    let mut widths = natural.to_vec();
    let fixed: usize = natural[..SOCKET].iter().map(|width| width + GAP).sum();
    let room = width.saturating_sub(fixed);
    let (socket, controller) = (natural[SOCKET], natural[CONTROLLER]);
    if socket + GAP + controller <= room {
        return widths;
    }
    if room < SHORTEST.min(socket) + GAP + SHORTEST.min(controller) {
        // The controller says more.
        widths[SOCKET] = 0;
        widths[CONTROLLER] = if room < SHORTEST.min(controller) {
            0
        } else {
            controller.min(room)
        };
        return widths;
    }
    let room = room - GAP;
    let half = room / 2;
    (widths[SOCKET], widths[CONTROLLER]) = if socket <= half {
        (socket, room - socket)
    } else if controller <= room - half {
        (room - controller, controller)
    } else {
        (half, room - half)
    };
    widths
}

/// How many places it takes on a terminal.
fn wide(text: &str) -> usize {
    Span::raw(text).width()
}

/// Its end, which is what tells paths apart.
fn cut_front(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let starts = text.char_indices().map(|(at, _)| at);
    let fitting = starts.map(|at| &text[at..]).find(|rest| wide(rest) < width);
    format!("…{}", fitting.unwrap_or_default())
}

fn cut_end(text: &str, width: usize) -> String {
    if wide(text) <= width {
        return text.to_owned();
    }
    let ends = text.char_indices().map(|(at, _)| at).rev();
    let fitting = ends.map(|at| &text[..at]).find(|start| wide(start) < width);
    format!("{}…", fitting.unwrap_or_default())
}

/// Home as `~`.
fn short(path: &str) -> String {
    let home = env::var("HOME").unwrap_or_default();
    match path.strip_prefix(&home) {
        Some(rest) if rest.starts_with('/') && home.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    }
}

fn mebibytes(bytes: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    match bytes as f64 / MIB {
        large if large >= 1024.0 => format!("{:.1} GiB", large / 1024.0),
        small => format!("{small:.0} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, socket: &str, controller: &str) -> Row {
        Row {
            name: name.to_owned(),
            state: "ready".to_owned(),
            uptime_ms: Some(81_000),
            memory_bytes: Some(93 << 20),
            socket: Some(socket.into()),
            controller: Some(controller.to_owned()),
            ..Row::default()
        }
    }

    fn stopped(name: &str) -> Row {
        Row {
            name: name.to_owned(),
            state: "stopped".to_owned(),
            ..Row::default()
        }
    }

    fn rows() -> [Row; 2] {
        let chat = row(
            "chat",
            "/run/user/1000/baskd/chat.sock",
            "/srv/models/llama/controller.py:Controller",
        );
        [chat, stopped("a-name-that-is-as-long-as-it-gets")]
    }

    #[test]
    fn a_pipe_gets_all_of_it() {
        let pad = " ".repeat("a-name-that-is-as-long-as-it-gets".len() - 4);
        let drawn = draw(&rows(), None);
        let lines: Vec<_> = drawn.lines().collect();
        assert_eq!(
            lines[0],
            format!("NAME{pad}  STATE    UPTIME      MEMORY  SOCKET                          CONTROLLER")
        );
        assert_eq!(
            lines[1],
            format!(
                "chat{pad}  ready    1 min 21 s  93 MiB  /run/user/1000/baskd/chat.sock  /srv/models/llama/controller.py:Controller"
            )
        );
        assert_eq!(
            lines[2],
            "a-name-that-is-as-long-as-it-gets  stopped  -           -       -                               -"
        );
    }

    #[test]
    fn a_terminal_gets_the_ends_of_paths() {
        assert_eq!(
            draw(&rows()[..1], Some(80)),
            "\
NAME  STATE  UPTIME      MEMORY  SOCKET                  CONTROLLER
chat  ready  1 min 21 s  93 MiB  …/1000/baskd/chat.sock  …ntroller.py:Controller"
        );
        // The socket needs all its room, the controller does not: it is given away.
        let short = [row("a", "/run/user/1000/baskd/chat.sock", "a.py:C")];
        assert!(draw(&short, Some(80)).ends_with("/run/user/1000/baskd/chat.sock  a.py:C"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut rows = Vec::from(rows());
        rows.push(row(
            "größe",
            "/家/目录/很长的路径/目录/chat.sock",
            "/家/目录/很长的路径/controller.py:C",
        ));
        rows.push(row("x\n", "/a\nb\u{1b}[31m.sock", "c.py"));
        for width in 1..200 {
            let drawn = draw(&rows, Some(width));
            assert_eq!(drawn.lines().count(), rows.len() + 1);
            assert!(drawn.lines().all(|line| wide(line) <= width), "{width}:\n{drawn}");
            assert!(!drawn.contains('\u{1b}'));
        }
    }

    #[test]
    fn sizes_are_told_in_mebibytes() {
        assert_eq!(
            (mebibytes(93 << 20), mebibytes(3 << 29)),
            ("93 MiB".to_owned(), "1.5 GiB".to_owned())
        );
    }
}
