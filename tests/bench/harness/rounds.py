"""The rounds: everything is measured once in each, those that are compared within seconds of each other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .contenders import Bench, Contender, Measure, Metrics
from .processes import Failed
from .solo import Solo

#: Measurement, then contender and codec as `baskd/json`.
Round = dict[str, dict[str, Metrics]]


@dataclass
class Results:
    rounds: list[Round] = field(default_factory=list)
    #: What could not be measured, and why: each once.
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    workloads: tuple[str, ...]
    solos: tuple[Solo, ...]
    contenders: tuple[Contender, ...]
    codecs: tuple[str, ...]


def run(plan: Plan, count: int, bench: Callable[[], contextlib.AbstractContextManager[Bench]]) -> Results:
    results = Results()
    for number in range(count):
        begun = time.monotonic()
        with bench() as fresh:
            results.rounds.append(_round(plan, number, fresh, results))
        print(f"round {number + 1} of {count}: {time.monotonic() - begun:.0f} s", flush=True)
    return results


def _round(plan: Plan, number: int, bench: Bench, results: Results) -> Round:
    cells: Round = {}
    for solo in plan.solos:
        if solo.beside not in plan.workloads:
            _run_solo(solo, plan, bench, cells, results)
    with contextlib.ExitStack() as stack:
        started: list[tuple[str, Contender, Measure]] = []
        for contender in plan.contenders:
            for codec in plan.codecs if len(contender.codecs) > 1 else contender.codecs:
                if not set(contender.workloads) & set(plan.workloads):
                    continue
                name = f"{contender.name}/{codec}"
                with _noting(results, f"starting {name}"):
                    started.append((name, contender, stack.enter_context(contender.start(bench, codec))))
        for workload in plan.workloads:
            for solo in plan.solos:
                if solo.beside == workload:
                    _run_solo(solo, plan, bench, cells, results)
            # Nobody is always first.
            turn = number % max(len(started), 1)
            for name, contender, measure in started[turn:] + started[:turn]:
                if workload in contender.workloads:
                    with _noting(results, f"{workload} {name}"):
                        cells.setdefault(workload, {})[name] = measure(workload)
            _say(workload)
    print(flush=True)
    return cells


def _run_solo(solo: Solo, plan: Plan, bench: Bench, cells: Round, results: Results) -> None:
    with _noting(results, solo.name):
        cells[solo.name] = solo.run(bench, plan.codecs[0])
    _say(solo.name)


@contextlib.contextmanager
def _noting(results: Results, what: str) -> Iterator[None]:
    """A failure is one of the results, and the rest goes on."""
    try:
        yield
    except (Failed, OSError, KeyError, ValueError) as failure:
        text = str(failure) or type(failure).__name__
        if what not in results.failures:
            print(f"\n  {what} failed: {text}", flush=True)
        results.failures.setdefault(what, text)


def _say(what: str) -> None:
    print(f" {what}", end="", flush=True)


def number(metrics: Metrics, path: str) -> float:
    """The value at a dotted path."""
    value: Any = metrics
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else value[part]
    return float(value)
