//! How a model looks, on a screen of any size: a pure function of both.
//!
//! Every section has a line of its own above it, with its name, what its columns are, and at the right its sum; below that as
//! many rows as the size of the screen gives it, whatever is in them, so that nothing jumps while calls come and go.

mod calls;
mod foot;
mod head;
mod help;
mod latency;
mod layout;
mod log;
mod methods;
mod rates;
mod restarts;
mod section;
pub(crate) mod theme;
mod workers;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::model::{Link, Mode, Model};
use layout::Layout;
use theme::Theme;

/// The smallest screen that everything is drawn on.
pub(crate) const SMALLEST: (u16, u16) = (80, 24);

pub(crate) fn draw(model: &Model, theme: Theme, area: Rect, buffer: &mut Buffer) {
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return draw_too_small(theme, area, buffer);
    }
    let notices = head::notices(model, theme, area.width);
    let layout = Layout::of(
        area,
        notices.len() as u16,
        model.shown().reading.as_ref().map_or(0, workers::wanted),
    );
    head::draw(model, theme, layout.head, buffer);
    put(notices, layout.notices, buffer);
    match &model.shown().reading {
        _ if model.mode == Mode::Help => help::draw(theme, layout.body, buffer),
        // There is nothing to be said of what nobody has told yet.
        None => {}
        Some(status) => {
            let pulse = &model.shown().pulse;
            rates::draw(status, pulse, theme, layout.rates, buffer);
            latency::draw(status, pulse, theme, layout.latency, buffer);
            workers::draw(status, theme, layout.workers, buffer);
            calls::draw(status, model.selected, theme, layout.calls, buffer);
            restarts::draw(status, theme, layout.restarts, buffer);
            if let Some(area) = layout.methods {
                methods::draw(status, theme, area, buffer);
            }
            log::draw(model, theme, layout.log, buffer);
            if model.link != Link::Up {
                buffer.set_style(layout.body, theme.dim());
            }
        }
    }
    foot::draw(model, theme, layout.foot, buffer);
}

fn draw_too_small(theme: Theme, area: Rect, buffer: &mut Buffer) {
    let (width, height) = SMALLEST;
    let lines = [
        Line::styled(
            format!(
                "baskd top needs {width}×{height}: this is {}×{}",
                area.width, area.height
            ),
            theme.strong(),
        ),
        Line::styled("q quits", theme.dim()),
    ];
    put(lines, area, buffer);
}

/// Lines from the top of an area; what does not fit is left out.
fn put(lines: impl IntoIterator<Item = Line<'static>>, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    for (y, line) in (area.top()..area.bottom()).zip(lines) {
        buffer.set_line(area.x, y, &line, area.width);
    }
}
