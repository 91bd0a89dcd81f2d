"""The rows of the table: what is asked, what counts as reached, and how it comes out of a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Optional

from .rounds import Round, number

P50 = "latency.p50_us"
RATE = "per_second"
PEERS = ("fastapi/json", "grpcio-async/json", "grpcio-threads/json", "mosec/json")
NAMES = {"json": "std json", "msgspec": "msgspec"}


class Missing(Exception):
    """A round without what a row needs."""


class Cells:
    """One round's values, by name."""

    def __init__(self, cells: Round) -> None:
        self.cells = cells

    def __call__(self, measurement: str, contender: str, path: str) -> float:
        try:
            value = number(self.cells[measurement][contender], path)
        except (KeyError, IndexError):
            raise Missing(f"{measurement} of {contender}") from None
        if not value > 0:
            raise Missing(f"{measurement} of {contender}, which is {value}")
        return value

    def best(self, measurement: str, contenders: Sequence[str], path: str) -> float:
        values = []
        for contender in contenders:
            try:
                values.append(self(measurement, contender, path))
            except Missing:
                continue
        if not values:
            raise Missing(f"{measurement} of any of {', '.join(contenders)}")
        return max(values)


@dataclass(frozen=True)
class Spread:
    median: float
    least: float
    most: float
    rounds: int


Value = Callable[[Cells], float]


@dataclass(frozen=True)
class Row:
    section: str
    what: str
    #: At most, or at least, the goal.
    is_limit: bool
    goal: float
    value: Value
    #: The same of a process in the middle that does nothing.
    relay: Optional[Value] = None
    unit: str = "×"

    def is_reached(self, value: float) -> bool:
        return value <= self.goal if self.is_limit else value >= self.goal


def spread(rounds: Sequence[Round], value: Optional[Value]) -> Optional[Spread]:
    """Each round's own value; None if no round has one."""
    values = []
    for cells in rounds if value else ():
        try:
            assert value
            values.append(value(Cells(cells)))
        except Missing:
            continue
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratio(measurement: str, over: str, under: str, path: str = RATE) -> Value:
    return lambda cells: cells(measurement, over, path) / cells(measurement, under, path)


def added(contender: str, codec: str) -> Value:
    """What it adds to the direct limit, in hops."""

    def value(cells: Cells) -> float:
        unit = cells("hops", "kernel", "two_hops.p50_us") - cells("hops", "kernel", "one_hop.p50_us")
        if unit <= 0:
            raise Missing("hops, for two took no longer than one")
        return (cells("sequential", f"{contender}/{codec}", P50) - cells("sequential", f"direct/{codec}", P50)) / unit

    return value


def own(contender: str, codec: str) -> Value:
    name = f"{contender}/{codec}"
    return lambda cells: cells("clients", name, RATE) / cells("sequential", name, RATE)


def rows(codecs: Sequence[str]) -> list[Row]:
    return [row for row in _rows() if not _other_codec(row, codecs)]


def _other_codec(row: Row, codecs: Sequence[str]) -> bool:
    return any(text in row.what and codec not in codecs for codec, text in NAMES.items())


def _rows() -> list[Row]:
    limit = "Against the direct limit"
    node = "From Node, against the seed's way"
    cost = "What the daemon itself costs"
    web = "Against the best of FastAPI, grpcio and mosec"
    made = []
    for codec, text in NAMES.items():
        made.append(
            Row(
                limit,
                f"sequential p50 added, in kernel hops, {text}",
                True,
                1.5,
                added("baskd", codec),
                added("relay", codec),
            )
        )
    for workload, name, goals in (
        ("inflight", "64 in flight", (0.9, 0.8)),
        ("clients", "8 clients", (0.8, 0.7)),
        ("stream", "stream items", (0.95, 0.95)),
        ("echo", "1 MiB echo", (0.8, 0.8)),
    ):
        for (codec, text), goal in zip(NAMES.items(), goals):
            over = [ratio(workload, f"{who}/{codec}", f"direct/{codec}") for who in ("baskd", "relay")]
            made.append(Row(limit, f"{name}, {text}", False, goal, over[0], over[1]))
        if workload == "clients":
            for codec, text in NAMES.items():
                what = f"8 clients / its own sequential rate, {text}"
                made.append(Row(limit, what, False, 3, own("baskd", codec), own("relay", codec)))
    for codec, text in NAMES.items():
        value = ratio("sequential", f"node/{codec}", "python-shell/json", P50)
        made.append(Row(node, f"sequential p50, {text}", True, 1.5, value))
    for workload, name, goals in (("inflight", "64 in flight", (3, 6)), ("stream", "stream items", (1.5, 4))):
        for (codec, text), goal in zip(NAMES.items(), goals):
            made.append(
                Row(node, f"{name}, {text}", False, goal, ratio(workload, f"node/{codec}", "python-shell/json"))
            )
    made.append(Row(cost, "cold start over Python alone", True, 30, _cold_start, unit=" ms"))
    made.append(Row(cost, "the daemon's own PSS, idle", True, 8, _idle_memory, unit=" MB"))
    made.append(Row(cost, "two workers / one, 200 µs of pure Python", False, 1.7, _two_workers))
    for codec, text in NAMES.items():
        what = f"an item of a slow stream / a call, p50, {text}"
        made.append(Row(cost, what, True, 1, _tick(codec)))
    for workload, name, goal in (
        ("sequential", "sequential", 4),
        ("inflight", "64 in flight", 8),
        ("clients", "8 clients", 6),
    ):
        for codec, text in NAMES.items():
            made.append(Row(web, f"{name}, {text}", False, goal, _best_peer(workload, codec)))
    return made


def _cold_start(cells: Cells) -> float:
    for codec in NAMES:
        if f"baskd/{codec}" in cells.cells.get("start", {}):
            return 1000 * (cells("start", f"baskd/{codec}", "seconds") - cells("start", f"python/{codec}", "seconds"))
    raise Missing("start")


def _idle_memory(cells: Cells) -> float:
    return (
        max((cells("start", name, "pss") for name in cells.cells.get("start", {}) if "baskd" in name), default=0) / 1e6
        or _missing()
    )


def _missing() -> float:
    raise Missing("start")


def _two_workers(cells: Cells) -> float:
    for codec in NAMES:
        if f"workers-1/{codec}" in cells.cells.get("workers", {}):
            return cells("workers", f"workers-2/{codec}", RATE) / cells("workers", f"workers-1/{codec}", RATE)
    raise Missing("workers")


def _tick(codec: str) -> Value:
    return lambda cells: cells("ticks", f"baskd/{codec}", P50) / cells("sequential", f"baskd/{codec}", P50)


def _best_peer(workload: str, codec: str) -> Value:
    return lambda cells: cells(workload, f"baskd/{codec}", RATE) / cells.best(workload, PEERS, RATE)
