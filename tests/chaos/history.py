"""What happened: what clients asked and were told, what truly ran, what was broken, and when.

Times are CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from support.lines import whole_lines

NAMES = {
    -32700: "ParseError",
    -32600: "InvalidRequest",
    -32601: "MethodNotFound",
    -32602: "InvalidParams",
    -32603: "InternalError",
    -32006: "TooManySubscriptions",
    -32007: "RequestTooLarge",
    -32008: "ResponseTooLarge",
    -32009: "TooManyConnections",
    -32010: "BatchTooLarge",
    -32011: "BatchResponseTooLarge",
    -32020: "MethodError",
    -32021: "BackendCrashed",
    -32022: "BackendUnavailable",
    -32023: "TimedOut",
    -32024: "Cancelled",
    -32025: "Overloaded",
    -32026: "ResultNotJson",
    -32027: "Forbidden",
    -32028: "PropertyRefused",
}

#: Methods that write down in the ledger that they begin.
IDEMPOTENT = frozenset(("again", "die_once", "die_always"))
LEDGERED = IDEMPOTENT | {
    *("work", "beside", "later", "items", "items_later", "sent", "count", "large", "hoard", "fail"),
    *("die", "stubborn", "spin", "scribble", "close"),
}
#: Those that run in threads, beside all others and in no order.
CONCURRENT = frozenset(("beside",))


@dataclass
class Answer:
    at: int
    body: dict[str, Any]

    @property
    def outcome(self) -> str:
        """`result`, or the name of the error."""
        error = self.body.get("error")
        return "result" if error is None else NAMES.get(error.get("code"), str(error.get("code")))

    @property
    def data(self) -> dict[str, Any]:
        """What an error holds beside its message."""
        data = (self.body.get("error") or {}).get("data")
        return data if isinstance(data, dict) else {}


@dataclass
class Request:
    """One call. Its token is its id on the wire as well."""

    token: str
    client: str
    connection: int
    #: Its place among all that its connection sent.
    place: int
    method: str
    params: dict[str, Any]
    #: `call`, `rpc`, `stream`, `notification`.
    way: str
    sent: int
    #: What it may be answered with, other than a result.
    may: frozenset[str] = frozenset()
    #: How many requests were in the batch that it was in; 0: none.
    batch: int = 0
    #: Everything that came for its id; of a stream, that is its acknowledgement.
    answers: list[Answer] = field(default_factory=list)
    #: Of a stream: its items, its last events, its closing notifications.
    items: list[Any] = field(default_factory=list)
    ends: list[Answer] = field(default_factory=list)
    closings: int = 0
    #: When its client asked for its end.
    cancelled: Optional[int] = None
    #: Why it can't be answered any more: `vanished` (its client is gone), `daemon` (that was killed).
    lost: Optional[str] = None

    @property
    def final(self) -> list[Answer]:
        """What ends it: at most one, whatever happens."""
        if self.way != "stream":
            return self.answers
        refused = [answer for answer in self.answers if answer.outcome != "result"]
        return refused + self.ends

    @property
    def outcome(self) -> Optional[str]:
        return self.final[0].outcome if self.final else None

    @property
    def is_idempotent(self) -> bool:
        return self.method in IDEMPOTENT

    def describe(self) -> str:
        told = [f"{answer.outcome} {json.dumps(answer.body)[:300]} at {ms(answer.at)}" for answer in self.final]
        marks = [f"lost: {self.lost}"] if self.lost else []
        marks += [f"cancelled at {ms(self.cancelled)}"] if self.cancelled else []
        marks += [f"{len(self.items)} items"] if self.items else []
        return (
            f"{self.token} {self.way} {self.method} {json.dumps(self.params)[:120]} (connection {self.connection}, "
            f"place {self.place}) sent at {ms(self.sent)} -> {'; '.join(told) or 'no answer'} {' '.join(marks)}"
        ).rstrip()


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: `b` began, `e` ended, `k` counted, `f` first run, `p` property set, `u` process up,
    `s` snapshot taken, `r` restored, `x` restore refused."""

    kind: str
    words: tuple[str, ...]
    pid: int
    at: int

    @property
    def token(self) -> str:
        return self.words[0] if self.words else ""

    def describe(self) -> str:
        return f"{self.kind} {' '.join(self.words)} in {self.pid} at {ms(self.at)}"


@dataclass(frozen=True)
class Fault:
    """What was broken, and when. `pid`: of the process that it hit, if one died of it."""

    kind: str
    at: int
    pid: Optional[int] = None

    def describe(self) -> str:
        return f"{self.kind} at {ms(self.at)}" + (f" (process {self.pid})" if self.pid else "")


@dataclass
class History:
    requests: dict[str, Request] = field(default_factory=dict)
    #: Messages that answer nothing that was asked.
    strays: list[str] = field(default_factory=list)
    ledger: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    #: Processes that were made to lie about what they ran: for what they had, only the number of answers counts.
    liars: set[int] = field(default_factory=set)
    #: When the daemon was known to keep a snapshot, and of which count at least.
    kept: list[tuple[int, int]] = field(default_factory=list)
    #: Whether plain calls run in the order in which they were sent: not with several workers.
    ordered: bool = True
    #: What was wrong that no rule is needed for: a process left, a daemon that ended.
    found: list[str] = field(default_factory=list)

    def began(self) -> dict[str, list[Entry]]:
        return _by_token(self.ledger, "b")

    def ended(self) -> dict[str, list[Entry]]:
        return _by_token(self.ledger, "e")

    def around(self, tokens: Iterable[str], margin: float = 0.5) -> list[str]:
        """The part of it that these calls are in, as lines."""
        wanted = [self.requests[token] for token in tokens if token in self.requests]
        lines = [request.describe() for request in wanted]
        entries = [entry for entry in self.ledger if entry.token in set(tokens)]
        times = [at for request in wanted for at in (request.sent, *(answer.at for answer in request.final))]
        times += [entry.at for entry in entries]
        lines += ["ledger: " + entry.describe() for entry in entries]
        if times:
            low, high = min(times) - int(margin * 1e9), max(times) + int(margin * 1e9)
            lines += ["fault: " + fault.describe() for fault in self.faults if low <= fault.at <= high]
            lives = [entry for entry in self.ledger if entry.kind in "usrx" and low <= entry.at <= high]
            lines += ["ledger: " + entry.describe() for entry in lives]
        return lines


def read_ledger(path: Path) -> list[Entry]:
    """All of it, in the order in which it was written."""
    entries = []
    for line in whole_lines(path):
        kind, *words, pid, at = line.split(" ")
        entries.append(Entry(kind, tuple(words), int(pid), int(at)))
    return entries


def ms(at: Optional[int]) -> str:
    return "never" if at is None else f"{at / 1e6:.3f}"


def _by_token(ledger: list[Entry], kind: str) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in ledger:
        if entry.kind == kind:
            found.setdefault(entry.token, []).append(entry)
    return found
