"""results.svg: each row's ratio as a share of its goal, turned so that right is better."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from .report import Saved, goal, shown
from .rows import Row, Spread, rows, spread

WIDTH = 1180
LABELS, PLOT, TEXT, GOALS = 20, 400, 860, 1046
PLOT_END = TEXT - 24
ROW, HEAD, SECTION = 26, 92, 44
#: The axis: from so many times worse than the goal to so many times better.
WORST, BEST = 1 / 8, 8.0

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2933; }
.title { font-size: 19px; font-weight: 600; }
.section { font-weight: 600; fill: #1f2933; }
.faint { fill: #6b7785; font-size: 12px; }
.grid { stroke: #e4e8ec; }
.goal { stroke: #1f2933; stroke-width: 1.5; }
.yes { fill: #0b7a75; stroke: #0b7a75; }
.no { fill: #c2410c; stroke: #c2410c; }
.relay { fill: white; stroke: #8794a3; stroke-width: 1.5; }
text.yes, text.no { stroke: none; }
"""


def svg(saved: Saved) -> str:
    lines = list(_body(saved))
    height = int(lines.pop())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="Ratios measured against their goals">'
    )
    return (
        "\n".join(
            [
                head,
                f"<style>{STYLE}</style>",
                f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
                *lines,
                "</svg>",
            ]
        )
        + "\n"
    )


def _body(saved: Saved) -> Iterator[str]:
    """The elements, and last the height."""
    rounds = saved["rounds"]
    wanted = [(row, spread(rounds, row.value), spread(rounds, row.relay)) for row in rows(saved["codecs"])]
    drawn = [(row, measured, relay) for row, measured, relay in wanted if measured]
    sections = len({row.section for row, _, _ in drawn})
    bottom = HEAD + sections * SECTION + len(drawn) * ROW + 6
    yield f'<text class="title" x="{LABELS}" y="34">baskd: what was asked, and what was measured</text>'
    many = f"{len(rounds)} round" + "s" * (len(rounds) != 1)
    yield (
        f'<text class="faint" x="{LABELS}" y="56">Dots are medians of {many}, bars reach from the least to the most. '
        f"{escape(saved['about']['machine'])}.</text>"
    )
    for share in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8):
        x = _x(share)
        kind = "goal" if share == 1 else "grid"
        label = "goal" if share == 1 else f"{share:g}×" if share > 1 else f"1/{1 / share:g}"
        yield f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{HEAD + 4}" y2="{bottom}"/>'
        yield f'<text class="faint" x="{x:.1f}" y="{HEAD - 4}" text-anchor="middle">{label}</text>'
    y = float(HEAD)
    section = ""
    for row, measured, relay in drawn:
        if row.section != section:
            section = row.section
            y += SECTION
            yield f'<text class="section" x="{LABELS}" y="{y - 10:.0f}">{escape(section)}</text>'
        assert measured
        yield from _row(row, measured, relay, y)
        y += ROW
    yield from _legend(bottom + 26)
    yield str(bottom + 44)


def _row(row: Row, measured: Spread, relay: Spread | None, top: float) -> Iterator[str]:
    y = top + ROW / 2
    kind = "yes" if row.is_reached(measured.median) else "no"
    yield f'<text x="{LABELS + 12}" y="{y + 4:.1f}">{escape(row.what)}</text>'
    ends = sorted(_x(_share(row, value)) for value in (measured.least, measured.most))
    yield (
        f'<rect class="{kind}" opacity="0.35" stroke="none" x="{ends[0] - 2:.1f}" y="{y - 3:.1f}" '
        f'width="{ends[1] - ends[0] + 4:.1f}" height="6" rx="3"/>'
    )
    if relay:
        x = _x(_share(row, relay.median))
        yield f'<path class="relay" d="M{x:.1f} {y - 6:.1f} l6 6 l-6 6 l-6 -6 z"/>'
    yield f'<circle class="{kind}" cx="{_x(_share(row, measured.median)):.1f}" cy="{y:.1f}" r="5"/>'
    yield f'<text class="{kind}" x="{TEXT}" y="{y + 4:.1f}">{escape(shown(measured, row.unit))}</text>'
    yield f'<text class="faint" x="{GOALS}" y="{y + 4:.1f}">goal {escape(goal(row))}</text>'


def _share(row: Row, value: float) -> float:
    """How many times better than the goal."""
    if row.is_limit:
        return row.goal / value if value > 0 else BEST
    return value / row.goal


def _x(share: float) -> float:
    held = min(max(share, WORST), BEST)
    return PLOT + (PLOT_END - PLOT) * math.log(held / WORST) / math.log(BEST / WORST)


def _legend(y: float) -> Iterator[str]:
    x = float(LABELS + 6)
    for kind, text in (("yes", "goal reached"), ("no", "not reached")):
        yield f'<circle class="{kind}" cx="{x}" cy="{y - 4}" r="5"/>'
        yield f'<text class="faint" x="{x + 12}" y="{y}">{text}</text>'
        x += 118
    yield f'<path class="relay" d="M{x} {y - 10} l6 6 l-6 6 l-6 -6 z"/>'
    yield f'<text class="faint" x="{x + 12}" y="{y}">a process in the middle that does nothing</text>'
    yield f'<text class="faint" x="{PLOT_END}" y="{y}" text-anchor="end">better than the goal →</text>'
