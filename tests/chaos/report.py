"""What a run has found, in figures."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from dataclasses import dataclass, field

from .round import Round
from .rules import Violation

_DEATH = re.compile(r"Python(?: \(worker \d+ of \d+\))? (was killed by \w+|exited with code \d+)")


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    calls: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    stalls: dict[str, float] = field(default_factory=dict)

    def add(self, round: Round, wrong: list[Violation]) -> None:
        self.passed += not wrong
        self.failed += bool(wrong)
        for request in round.history.requests.values():
            self.calls += 1
            self.answers[
                _named(request.final[0].outcome, request.final[0].data)
                if request.final
                else _unanswered(request.lost, request.way)
            ] += 1
        for fault in round.history.faults:
            self.faults[fault.kind] += 1
        for line in round.logs:
            if found := _DEATH.search(line):
                self.deaths[found[1]] += 1
        if round.recovery is not None:
            self.recoveries.setdefault(round.recovery, []).extend(round.recoveries())
        if round.witnesses:
            self.stalls[round.scenario] = max(self.stalls.get(round.scenario, 0.0), round.longest_stall())

    def show(self, seconds: float, seed: int) -> None:
        rows: list[tuple[str, str]] = [("calls made", str(self.calls))]
        rows += [(f"  {name}", str(count)) for name, count in self.answers.most_common()]
        rows += [("deaths of Python, as the daemon told them", str(sum(self.deaths.values())))]
        rows += [(f"  {name}", str(count)) for name, count in self.deaths.most_common()]
        daemons = {name: count for name, count in self.faults.items() if name.startswith("daemon ")}
        rows += [("deaths of the daemon", str(sum(daemons.values())))]
        rows += [(f"  {name}", str(count)) for name, count in sorted(daemons.items())]
        others = {name: count for name, count in self.faults.items() if name not in daemons}
        rows += [("what else was done to them", str(sum(others.values())))]
        rows += [(f"  {name}", str(count)) for name, count in sorted(others.items())]
        rows += [("from a death of Python to the next answer", "median, longest, of how many")]
        rows += [(f"  {name}", _times(times)) for name, times in sorted(self.recoveries.items()) if times]
        rows += [("the longest that a healthy client waited", f"{max(self.stalls.values(), default=0.0):.0f} ms")]
        rows += [(f"  {name}", f"{stall:.0f} ms") for name, stall in sorted(self.stalls.items())]
        width = max(len(name) for name, _ in rows)
        print()
        for name, value in rows:
            print(f"{name:<{width}}  {value}")
        for skipped in self.skipped:
            print(f"skipped: {skipped}")
        print(f"seed {seed}, {seconds:.0f} s")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)


def _named(outcome: str, data: dict[str, object]) -> str:
    for more in ("ran", "where", "by"):
        if isinstance(data.get(more), str):
            return f"{outcome}, {more}: {data[more]}"
    return outcome


def _unanswered(lost: str | None, way: str) -> str:
    if way == "notification":
        return "none: a notification"
    if lost == "vanished":
        return "none: its client had gone"
    return "none: the daemon was killed" if lost == "daemon" else "none"


def _times(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} ms, {max(times):.0f} ms, {len(times)}"
