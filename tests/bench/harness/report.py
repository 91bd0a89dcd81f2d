"""RESULTS.md: what was reached and what was not, in the same words; then the figures that it comes from."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Optional

from .contenders import CONTENDERS
from .rounds import Round
from .rows import Cells, Missing, Row, Spread, rows, spread

Saved = dict[str, Any]
#: Fewer rounds than this are no measurement.
ENOUGH = 5


def markdown(saved: Saved) -> str:
    return "\n".join(_lines(saved)) + "\n"


def _lines(saved: Saved) -> Iterator[str]:
    rounds: list[Round] = saved["rounds"]
    about = saved["about"]
    yield "# How fast it is"
    yield ""
    yield (
        f"Written by `{about['command']}` on {about['date']}, in {about['seconds'] / 60:.0f} minutes. What is "
        f"measured is the median of {_count(len(rounds), 'round')}, and in brackets the least and the most of them. "
        "Ratios are made within a round, of things measured one after another within seconds. Absolute figures are "
        "this machine's, and no promise. A do-nothing relay is a process that carries lines from the socket to the "
        "direct loop and back."
    )
    if len(rounds) < ENOUGH:
        yield ""
        yield f"**Fewer than {ENOUGH} rounds: this shows that everything can be measured, and measures nothing.**"
    yield ""
    yield f"Machine: {about['machine']}."
    yield f"With {about['versions']}."
    yield ""
    yield "![the ratios and their spread](results.svg)"
    section = ""
    reached = [0, 0]
    table: list[str] = []
    for row in rows(saved["codecs"]):
        measured = spread(rounds, row.value)
        if measured is None and not _is_asked(row, saved):
            continue
        if row.section != section:
            section = row.section
            table += [
                "",
                f"## {section}",
                "",
                "| what | goal | measured | a do-nothing relay | |",
                "| --- | --- | --- | --- | --- |",
            ]
        verdict = "not measured"
        if measured:
            is_reached = row.is_reached(measured.median)
            verdict = "reached" if is_reached else "**not reached**"
            reached[0] += is_reached
            reached[1] += 1
        relay = spread(rounds, row.relay)
        table.append(
            f"| {row.what} | {goal(row)} | {shown(measured, row.unit)} | {shown(relay, row.unit)} | {verdict} |"
        )
    yield ""
    yield f"{reached[0]} of {_count(reached[1], 'goal')} reached."
    yield from table
    yield from _figures(rounds)
    yield from _fairness(rounds)
    yield from _scale(rounds)
    if saved["failures"]:
        yield from ("", "## What could not be measured", "")
        for what, why in saved["failures"].items():
            yield f"- {what}: {why[:300]}"


def _is_asked(row: Row, saved: Saved) -> bool:
    """Whether a row without a value is missed: a run of a part leaves the others out."""
    return bool(saved["whole"])


def goal(row: Row) -> str:
    return f"{'≤' if row.is_limit else '≥'} {row.goal:g}{row.unit if row.unit != '×' else ' ×'}"


def shown(measured: Optional[Spread], unit: str) -> str:
    if measured is None:
        return "–"
    values = [digits(value) for value in (measured.median, measured.least, measured.most)]
    return f"{values[0]}{'' if unit == '×' else unit} ({values[1]}–{values[2]})"


def digits(value: float) -> str:
    """Three that count, at most two behind the point."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _count(many: int, what: str) -> str:
    return f"{many:,} {what}" if many == 1 else f"{many:,} {what}s"


def _figures(rounds: Sequence[Round]) -> Iterator[str]:
    columns = (
        ("sequential", "one call, µs (p50)", "latency.p50_us"),
        ("inflight", "64 in flight, calls/s", "per_second"),
        ("clients", "8 clients, calls/s", "per_second"),
        ("stream", "items/s", "per_second"),
        ("echo", "1 MiB there and back, ms (p50)", "latency.p50_us"),
    )
    names = [f"{it.name}/{codec}" for it in CONTENDERS for codec in it.codecs]
    abouts = {it.name: it.about for it in CONTENDERS}
    lines = []
    for name in names:
        values = [_median(rounds, workload, name, path) for workload, _, path in columns]
        if any(value is not None for value in values):
            if values[4] is not None:
                values[4] /= 1000
            who, _, codec = name.partition("/")
            cells = ["–" if value is None else f"{value:,.0f}" if value >= 1000 else digits(value) for value in values]
            lines.append(f"| {who}, {codec} | {abouts[who]} | " + " | ".join(cells) + " |")
    if lines:
        yield from ("", "## The figures behind it", "")
        yield "| | what it is | " + " | ".join(title for _, title, _ in columns) + " |"
        yield "| --- | --- |" + " ---: |" * len(columns)
        yield from lines
    one, two = (_median(rounds, "hops", "kernel", f"{which}.p50_us") for which in ("one_hop", "two_hops"))
    if one and two:
        yield ""
        yield (
            f"The kernel's ping-pong: one hop {one:.1f} µs, two hops {two:.1f} µs. "
            f"A hop, as above, is the difference: {two - one:.1f} µs."
        )
    for name in _names(rounds, "ticks"):
        tick, call = (_median(rounds, of, name, "latency.p50_us") for of in ("ticks", "sequential"))
        if tick and call:
            yield ""
            yield f"An item on its way, {name}: {tick:.0f} µs (p50); a sequential call there and back: {call:.0f} µs."


def _names(rounds: Sequence[Round], measurement: str) -> list[str]:
    return sorted({name for cells in rounds for name in cells.get(measurement, {})})


def _median(rounds: Sequence[Round], measurement: str, contender: str, path: str) -> Optional[float]:
    values = []
    for cells in rounds:
        try:
            values.append(Cells(cells)(measurement, contender, path))
        except Missing:
            continue
    return statistics.median(values) if values else None


def _fairness(rounds: Sequence[Round]) -> Iterator[str]:
    for name in _names(rounds, "fairness"):
        yield from ("", f"## A flood and its neighbour ({name})", "")
        yield "One connection keeps 1,000 calls in flight; another makes one call after another."
        yield ""
        yield "| | alone | beside the flood | times as long |"
        yield "| --- | ---: | ---: | ---: |"
        for percentile in ("p50", "p99"):
            alone, beside = (f"{who}.latency.{percentile}_us" for who in ("alone", "beside"))
            times = spread(rounds, partial(_quotient, name=name, over=beside, under=alone))
            figures = [_median(rounds, "fairness", name, path) or 0.0 for path in (alone, beside)]
            yield f"| {percentile}, µs | {figures[0]:,.0f} | {figures[1]:,.0f} | {shown(times, '×')} |"
        share = spread(rounds, partial(_share, name=name))
        if share:
            yield ""
            yield f"Of two such floods, the slower one gets {shown(share, '%')} of what both get; 50 would be its half."


def _quotient(cells: Cells, name: str, over: str, under: str) -> float:
    return cells("fairness", name, over) / cells("fairness", name, under)


def _share(cells: Cells, name: str) -> float:
    rates = [cells("fairness", name, f"floods.{place}.per_second") for place in (0, 1)]
    return 100 * min(rates) / sum(rates)


def _scale(rounds: Sequence[Round]) -> Iterator[str]:
    for name in _names(rounds, "scale"):
        sample = next(cells["scale"][name] for cells in rounds if name in cells.get("scale", {}))
        value = partial(_median, rounds, "scale", name)
        yield from ("", f"## Many connections, many calls ({name})", "")
        yield "| state | a call, µs | the daemon's PSS, MB |"
        yield "| --- | ---: | ---: |"
        for place, entry in enumerate(sample["connections"]):
            path = f"connections.{place}"
            figures = (
                f"{_shown(value(f'{path}.sequential.latency.p50_us'))} (p50) | {_shown(value(f'{path}.pss'), 1e-6)}"
            )
            yield f"| {_count(entry['connections'], 'connection')}, of which one calls | {figures} |"
        for place, entry in enumerate(sample["queued"]):
            path = f"queued.{place}"
            figures = f"{_shown(value(f'{path}.us_per_call'))} | {_shown(value(f'{path}.pss'), 1e-6)}"
            yield f"| {_count(entry['queued'], 'call')} queued behind a busy Python, then answered | {figures} |"
        for place, entry in enumerate(sample["depths"]):
            rate = value(f"depths.{place}.per_second")
            yield f"| {entry['in_flight']:,} in flight all the time | {_shown(1 / rate if rate else None, 1e6)} | |"


def _shown(value: Optional[float], times: float = 1) -> str:
    return "–" if value is None else digits(value * times)
