//! Which section is where. It goes by the screen's size and by what seldom changes (how many workers there are), never
//! by what is under way.

use ratatui::layout::Rect;

/// From here on there are sections beside each other below the graphs, too.
const WIDE: (u16, u16) = (130, 30);
/// A line of a section's own, and no row.
const HEADING: u16 = 1;

#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) head: Rect,
    pub(crate) notices: Rect,
    /// All between the notices and the foot.
    pub(crate) body: Rect,
    pub(crate) rates: Rect,
    pub(crate) latency: Rect,
    pub(crate) workers: Rect,
    pub(crate) calls: Rect,
    pub(crate) methods: Option<Rect>,
    pub(crate) restarts: Rect,
    pub(crate) log: Rect,
    pub(crate) foot: Rect,
}

impl Layout {
    pub(crate) fn of(screen: Rect, notices: u16, workers: u16) -> Layout {
        let mut rest = screen;
        let head = from_top(&mut rest, 2);
        let notices = from_top(&mut rest, notices);
        let foot = from_bottom(&mut rest, 2);
        let body = rest;
        let graphs = from_top(&mut rest, HEADING + (body.height / 5).clamp(4, 9));
        let is_wide = screen.width >= WIDE.0 && screen.height >= WIDE.1;
        let (rates, latency) = beside(graphs, graphs.width / 2);
        if is_wide {
            let log = rest.height * 2 / 5;
            let log = from_bottom(&mut rest, log);
            let (left, right) = beside(rest, rest.width * 11 / 20);
            let (workers, calls) = above(left, HEADING + workers.clamp(1, left.height / 2 - HEADING));
            let (methods, restarts) = above(right, right.height.div_ceil(2));
            return Layout {
                head,
                notices,
                body,
                rates,
                latency,
                workers,
                calls,
                methods: Some(methods),
                restarts,
                log,
                foot,
            };
        }
        let rows = rest.height.saturating_sub(4 * HEADING);
        let workers = from_top(&mut rest, HEADING + workers.clamp(1, (rows / 4).max(1)));
        let calls = from_top(&mut rest, HEADING + (rows / 3).max(2));
        let restarts = from_top(&mut rest, HEADING + (rows / 5).max(2));
        Layout {
            head,
            notices,
            body,
            rates,
            latency,
            workers,
            calls,
            methods: None,
            restarts,
            log: rest,
            foot,
        }
    }
}

fn from_top(rest: &mut Rect, rows: u16) -> Rect {
    let (taken, left) = above(*rest, rows);
    *rest = left;
    taken
}

fn from_bottom(rest: &mut Rect, rows: u16) -> Rect {
    let (left, taken) = above(*rest, rest.height.saturating_sub(rows));
    *rest = left;
    taken
}

fn above(area: Rect, rows: u16) -> (Rect, Rect) {
    let rows = rows.min(area.height);
    let upper = Rect { height: rows, ..area };
    let lower = Rect {
        y: area.y + rows,
        height: area.height - rows,
        ..area
    };
    (upper, lower)
}

/// With a column between them.
fn beside(area: Rect, columns: u16) -> (Rect, Rect) {
    let columns = columns.min(area.width);
    let left = Rect {
        width: columns.saturating_sub(1),
        ..area
    };
    let right = Rect {
        x: area.x + columns,
        width: area.width - columns,
        ..area
    };
    (left, right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_screen_is_filled_and_nothing_overlaps() {
        for width in (80..=300).step_by(5) {
            for height in 24..=100 {
                for (notices, workers) in [(0, 0), (2, 1), (2, 64)] {
                    let screen = Rect::new(0, 0, width, height);
                    let layout = Layout::of(screen, notices, workers);
                    let lower = [layout.workers, layout.calls, layout.restarts, layout.log];
                    let upper = [layout.head, layout.notices, layout.rates, layout.latency, layout.foot];
                    let all: Vec<Rect> = [&lower[..], &upper[..]]
                        .concat()
                        .into_iter()
                        .chain(layout.methods)
                        .collect();
                    for (at, area) in all.iter().enumerate() {
                        assert_eq!(area.intersection(screen), *area, "{width}×{height}");
                        for other in &all[at + 1..] {
                            assert!(!area.intersects(*other), "{width}×{height}: {area} {other}");
                        }
                    }
                    for area in lower {
                        assert!(area.height > HEADING, "{width}×{height}: {layout:?}");
                    }
                    assert!(layout.log.height >= HEADING + 2, "{width}×{height}: {layout:?}");
                }
            }
        }
    }
}
