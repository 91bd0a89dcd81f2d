//! The Python processes: those that serve, and those beside them.

use baskd_client::{Down, Status, Worker};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::section::{heading, nothing};
use super::theme::Theme;
use crate::cli::top::text::{age, clean, fit, grouped, left, right, size};

/// How many rows they would take.
pub(crate) fn wanted(status: &Status) -> u16 {
    u16::try_from(status.workers.len() + down(status).count() + status.beside.len()).unwrap_or(u16::MAX)
}

pub(crate) fn draw(status: &Status, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let processes = status.workers.iter().chain(&status.beside);
    let bytes: u64 = processes.filter_map(|worker| worker.rss_bytes).sum();
    let columns = usize::from(area.width);
    let of_process = |worker: &Worker| (worker.worker, line(worker, theme, columns));
    let mut all: Vec<_> = status.workers.iter().map(of_process).collect();
    all.extend(down(status).map(|down| (down.worker, without_process(down, theme, columns))));
    all.sort_by_key(|(worker, _)| *worker);
    all.extend(status.beside.iter().map(of_process));
    let rows = usize::from(area.height).saturating_sub(1);
    let sum = match all.len() {
        0 => String::new(),
        many if many > rows => format!("{rows} of {many}"),
        _ => size(bytes),
    };
    let titles = format!(
        "WORKER {} {} {} {} {}  {}",
        right("PID", 8),
        left("STATE", 11),
        right("UP", 8),
        right("MEMORY", 8),
        right("CALLS", 9),
        "RUNS NOW"
    );
    let area = heading(&titles, &sum, theme, area, buffer);
    if all.is_empty() {
        return nothing("no Python runs", theme, area, buffer);
    }
    put(all.into_iter().map(|(_, line)| line), area, buffer);
}

/// The workers that have no process. Of the only one, the state and the reason are the daemon's, and said above.
fn down(status: &Status) -> impl Iterator<Item = &Down> {
    let is_several = status.workers.len() + status.down.len() > 1;
    status.down.iter().filter(move |_| is_several)
}

fn without_process(down: &Down, theme: Theme, columns: usize) -> Line<'static> {
    let state = clean(&down.state);
    let before = vec![
        Span::raw(format!(" {:>6} {} ", down.worker, right("–", 8))),
        Span::styled(left(&state, 11), theme.state(&state)),
        Span::raw(format!(" {} {} {}  ", right("–", 8), right("–", 8), right("–", 9))),
    ];
    let used: usize = before.iter().map(Span::width).sum();
    let why = fit(
        &clean(down.reason.as_deref().unwrap_or_default()),
        columns.saturating_sub(used),
    );
    Line::from([before, vec![Span::styled(why, theme.dim())]].concat())
}

fn line(worker: &Worker, theme: Theme, columns: usize) -> Line<'static> {
    let state = clean(&worker.state);
    let before = vec![
        Span::raw(format!(" {:>6} ", worker.worker)),
        Span::raw(right(
            &worker.pid.map_or_else(|| "–".to_owned(), |pid| pid.to_string()),
            8,
        )),
        Span::raw(" "),
        Span::styled(left(&state, 11), theme.state(&state)),
        Span::raw(format!(
            " {} {} {}  ",
            right(&age(worker.uptime_ms), 8),
            right(&worker.rss_bytes.map_or_else(|| "–".to_owned(), size), 8),
            right(&grouped(worker.calls), 9)
        )),
    ];
    let used: usize = before.iter().map(Span::width).sum();
    let now = fit(&runs(worker), columns.saturating_sub(used));
    let style = if worker.running.is_empty() {
        theme.dim()
    } else {
        theme.plain()
    };
    Line::from([before, vec![Span::styled(now, style)]].concat())
}

/// The call that it has run for longest, and how many beside it.
fn runs(worker: &Worker) -> String {
    let Some(first) = worker.running.iter().max_by_key(|running| running.age_ms) else {
        return "idle".to_owned();
    };
    let others = match worker.running.len() - 1 {
        0 => String::new(),
        others => format!(", and {others} more"),
    };
    let (method, lasts) = (clean(&first.method), age(first.age_ms));
    match first.cancelled {
        true => format!("{method}, cancelled {lasts} ago{others}"),
        false => format!("{method} for {lasts}{others}"),
    }
}
