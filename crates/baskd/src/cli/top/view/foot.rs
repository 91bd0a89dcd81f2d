//! The two lines at the bottom: what was done or is asked, and the keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::put;
use super::theme::Theme;
use crate::cli::duration::spoken;
use crate::cli::top::keys::ROWS;
use crate::cli::top::model::{Deed, Mode, Model};
use crate::cli::top::text::{clean, fit, fit_end, width};

pub(crate) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width);
    put([said(model, theme, columns), keys(model, theme, columns)], area, buffer);
}

fn said(model: &Model, theme: Theme, columns: usize) -> Line<'static> {
    let room = columns.saturating_sub(2);
    match &model.mode {
        Mode::Confirm(deed) => {
            let question = match deed {
                Deed::Restart => format!("Replace {}'s Python by a new one?", model.instance()),
                _ => format!("Load {}'s controller anew?", model.instance()),
            };
            let question = fit(&question, room.saturating_sub(30));
            return Line::from(vec![
                Span::styled(format!(" {question} "), theme.busy()),
                Span::styled(" y ", theme.selected()),
                Span::raw(" yes   any other key: no"),
            ]);
        }
        Mode::Filter { .. } => {
            let typed = fit_end(&clean(&model.look.filter), room.saturating_sub(40));
            return Line::from(vec![
                Span::styled(" log lines with ", theme.busy()),
                Span::raw(typed),
                Span::styled(" ", theme.selected()),
                Span::styled("  Enter: keep   Esc: as before", theme.dim()),
            ]);
        }
        Mode::Watch | Mode::Help => {}
    }
    if let Some(message) = model.message() {
        let style = if message.is_failure { theme.bad() } else { theme.good() };
        return Line::styled(format!(" {}", fit(&message.text, room)), style);
    }
    let doing = model.doing.iter().map(|(deed, since)| {
        let ms = model.now.saturating_sub(*since).as_millis() as u64;
        format!("{}, {}", deed.under_way(), spoken(ms))
    });
    let doing = doing.collect::<Vec<_>>().join("; ");
    Line::styled(format!(" {}", fit(&doing, room)), theme.busy())
}

fn keys(model: &Model, theme: Theme, columns: usize) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    let rows = ROWS.iter().filter(|row| !row.word.is_empty());
    for row in rows {
        let is_on = row.word == "freeze" && model.is_frozen();
        let word = if is_on { "go on" } else { row.word };
        let taken = width(row.keys) + 1 + width(word) + 2;
        if used + taken > columns + 2 {
            break;
        }
        used += taken;
        spans.push(Span::styled(row.keys, theme.heading()));
        spans.push(Span::raw(format!(" {word}  ")));
    }
    Line::from(spans)
}
