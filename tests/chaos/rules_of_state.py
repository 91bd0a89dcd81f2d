"""The model, of what outlives a process: properties, and what a snapshot keeps."""

from __future__ import annotations

import json
from typing import Any, Optional

from .history import Entry, History, Request
from .rules import Found, rule

#: A property that is not there.
ABSENT = "absent"


@rule
def properties_are_what_was_set(history: History) -> Found:
    """Each property has one client, which sets and reads it in order. What it reads must be what it set last, or
    something that may have been set since: an attempt whose answer was lost, or says that it did not go well."""
    for name, requests in _by_property(history).items():
        live: list[Any] = [ABSENT]
        durable: list[Any] = [ABSENT]
        deaths = sorted(fault.at for fault in history.faults if fault.kind.startswith("daemon "))
        for request in requests:
            while deaths and deaths[0] < request.sent:
                deaths.pop(0)
                live = [ABSENT] if _is_volatile(name) else list(durable)
                durable = list(live)
            if request.method == "setProperty":
                live, durable = _after_set(request, live, durable)
                continue
            seen = _seen(request)
            if seen is None:
                continue
            if seen not in live:
                yield f"{name} is {seen!r} for {request.token}, and must be one of {live}", (request.token,)
            live = [seen]


def _after_set(request: Request, live: list[Any], durable: list[Any]) -> tuple[list[Any], list[Any]]:
    value = request.params["value"]
    answer = request.final[0] if request.final else None
    if answer is None or answer.outcome in ("Cancelled", "TimedOut"):
        return [*live, value], [*durable, value]
    if answer.outcome == "result":
        return [value], [value]
    if answer.outcome == "InternalError":
        # It is set, and may not outlive the daemon: the disk is full.
        return [value], [*durable, value]
    if answer.outcome == "BackendCrashed" and answer.data.get("ran") == "yes":
        return [*live, value], [*durable, value]
    return live, durable


def _seen(request: Request) -> Any:
    answer = request.final[0] if request.final else None
    if answer is None:
        return None
    if answer.outcome == "InvalidParams":
        return ABSENT
    return answer.body.get("result")


def _by_property(history: History) -> dict[str, list[Request]]:
    found: dict[str, list[Request]] = {}
    for request in history.requests.values():
        if request.method in ("setProperty", "getProperty"):
            found.setdefault(request.params["name"], []).append(request)
    for requests in found.values():
        assert len({request.client for request in requests}) == 1, "a property is one client's"
        requests.sort(key=lambda request: (request.connection, request.place))
    return found


def _is_volatile(name: str) -> bool:
    return name.endswith(("Key", "Token", "Secret", "Password"))


@rule
def every_process_is_told_the_properties(history: History) -> Found:
    """What was acknowledged before a process was started is set in it before it serves a call."""
    acked: dict[str, list[tuple[int, Any]]] = {}
    for request in history.requests.values():
        if request.method == "setProperty" and request.outcome == "result":
            acked.setdefault(request.params["name"], []).append((request.final[0].at, request.params["value"]))
    told: dict[int, set[str]] = {}
    serving: set[int] = set()
    deaths = [fault.at for fault in history.faults if fault.kind.startswith("daemon ")]
    for entry in history.ledger:
        if entry.kind == "p":
            told.setdefault(entry.pid, set()).add(entry.words[0])
        elif entry.kind == "b" and entry.pid not in serving:
            serving.add(entry.pid)
            up = _up(history, entry.pid)
            for name, times in acked.items():
                first = min(at for at, _ in times)
                lost = _is_volatile(name) and any(first < death < entry.at for death in deaths)
                if up is not None and first < up.at and not lost and name not in told.get(entry.pid, ()):
                    yield f"process {entry.pid} served {entry.token} without the property {name}", (entry.token,)


def _up(history: History, pid: int) -> Optional[Entry]:
    return next((entry for entry in history.ledger if entry.kind == "u" and entry.pid == pid), None)


@rule
def counters_go_on_from_a_snapshot(history: History) -> Found:
    """In one process each count is one more; a new one goes on from a snapshot that was taken, and from none older than
    the last that the daemon is known to keep."""
    counts: dict[int, int] = {}
    taken: set[int] = set()
    for entry in history.ledger:
        if entry.kind == "s":
            taken.add(int(entry.words[0]))
        elif entry.kind in ("r", "x"):
            value = int(entry.words[0])
            if value not in taken:
                yield f"process {entry.pid} restored {value}, of which no snapshot was taken", ()
            if entry.kind == "r":
                counts[entry.pid] = value
        elif entry.kind == "u":
            counts.setdefault(entry.pid, 0)
        elif entry.kind == "k":
            value = int(entry.words[1])
            expected = counts.get(entry.pid, 0) + 1
            if value != expected:
                yield f"{entry.token} counted {value} in process {entry.pid}, and not {expected}", (entry.token,)
            counts[entry.pid] = value


@rule
def no_process_serves_behind_a_kept_snapshot(history: History) -> Found:
    serving: dict[int, Entry] = {}
    restored: dict[int, int] = {}
    for entry in history.ledger:
        if entry.kind == "r":
            restored[entry.pid] = int(entry.words[0])
        elif entry.kind == "b" and entry.pid not in serving:
            serving[entry.pid] = entry
    # A process gives the next snapshot only once the daemon has the one before.
    certain = list(history.kept)
    before: dict[int, Entry] = {}
    for entry in history.ledger:
        if entry.kind == "s":
            if entry.pid in before:
                certain.append((entry.at, int(before[entry.pid].words[0])))
            before[entry.pid] = entry
    # When a daemon is killed, what counts is what it has left on disk, which the suite then notes; what is refused is
    # put aside.
    lost = [fault.at for fault in history.faults if fault.kind.startswith("daemon ")]
    lost += [entry.at for entry in history.ledger if entry.kind == "x"]
    certain.sort()
    for pid, first in serving.items():
        up = _up(history, pid)
        since = max((at for at in lost if up is not None and at < up.at), default=0)
        kept = [count for at, count in certain if up is not None and since < at < up.at]
        if kept and restored.get(pid, 0) < kept[-1]:
            told = json.dumps(restored.get(pid))
            yield f"process {pid} serves from {told}, though a snapshot of {kept[-1]} was kept", (first.token,)


#: So far may an age be from what the ledger says: the daemon has its snapshot a little later than it was taken.
SLACK_MS = 500


@rule
def an_age_is_that_of_a_snapshot(history: History) -> Found:
    """Who is told of a crash is told how old the snapshot is that the next process has: one that was taken, then."""
    taken = [entry.at / 1e6 for entry in history.ledger if entry.kind == "s"]
    for request in history.requests.values():
        for answer in request.final:
            age = answer.data.get("snapshot_age_ms")
            if answer.outcome != "BackendCrashed" or not isinstance(age, (int, float)):
                continue
            # It is as old as it was when the process died: between the request and its answer.
            low, high = request.sent / 1e6 - SLACK_MS, answer.at / 1e6 + SLACK_MS
            if not any(low - at <= age <= high - at for at in taken):
                yield f"{request.token} is told of a snapshot that is {age} ms old, which none is", (request.token,)
