"""The model: what must be true of every history, whatever was broken. A rule is a function that gives what is wrong.

Each has a test with a made-up history that it must refuse (test_rules.py): a rule that can't fail checks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Callable

from .history import CONCURRENT, LEDGERED, History, Request


@dataclass(frozen=True)
class Violation:
    rule: str
    what: str
    #: The calls that it is about.
    tokens: tuple[str, ...] = ()


Found = Iterator[tuple[str, tuple[str, ...]]]
Rule = Callable[[History], Found]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def check(history: History) -> list[Violation]:
    """Everything that is wrong with a history."""
    wrong = [Violation("found", what) for what in history.found]
    for each in RULES:
        wrong += [Violation(each.__name__, what, tokens) for what, tokens in each(history)]
    return wrong


@rule
def every_request_has_one_answer(history: History) -> Found:
    for request in history.requests.values():
        count = len(request.final)
        if request.way == "notification":
            if count:
                yield f"the notification {request.token} was answered", (request.token,)
        elif count > 1:
            yield f"{request.token} was answered {count} times", (request.token,)
        elif count == 0 and not request.lost:
            yield f"{request.token} was not answered", (request.token,)


@rule
def nothing_answers_what_was_not_asked(history: History) -> Found:
    for stray in history.strays:
        yield f"a message that answers nothing: {stray[:300]}", ()


@rule
def an_answer_is_one_that_may_be(history: History) -> Found:
    for request in history.requests.values():
        for answer in request.final:
            if answer.outcome != "result" and answer.outcome not in request.may:
                yield f"{request.token} was answered {answer.outcome}: {answer.body}", (request.token,)
            if answer.outcome == "BackendCrashed" and answer.data.get("ran") not in ("yes", "no"):
                yield f"{request.token} crashed, and is not told whether it ran: {answer.body}", (request.token,)
            if answer.outcome == "Cancelled" and request.cancelled is None and answer.data.get("by") == "client":
                yield f"{request.token} was cancelled by a client that did not ask for it", (request.token,)


@rule
def a_result_is_its_own(history: History) -> Found:
    for request in _ledgered(history):
        for answer in request.final:
            if answer.outcome != "result" or request.method == "items_later":
                continue
            value = answer.body.get("result")
            own = value[0] if isinstance(value, list) and value else value
            if own != request.token:
                yield f"{request.token} has another's result: {str(value)[:200]}", (request.token,)


@rule
def what_has_a_result_has_ended(history: History) -> Found:
    ended = history.ended()
    for request in _ledgered(history):
        if request.outcome != "result":
            continue
        times = [entry for entry in ended.get(request.token, ()) if entry.at <= request.final[0].at]
        if not times and not _is_of(history, request, history.liars):
            yield f"{request.token} has a result, and has not come to its end", (request.token,)


@rule
def nothing_runs_twice_unless_it_may(history: History) -> Found:
    # Also what nobody waits for: notifications, and calls of clients that are gone.
    for token, times in history.began().items():
        request = history.requests.get(token)
        most = 2 if request is not None and request.is_idempotent else 1
        if len(times) > most and not {entry.pid for entry in times} & history.liars:
            yield f"{token} was run {len(times)} times, in {[entry.pid for entry in times]}", (token,)


@rule
def what_runs_again_does_so_elsewhere(history: History) -> Found:
    for token, times in history.began().items():
        if len(times) > len({entry.pid for entry in times}):
            yield f"{token} was run again in the same process", (token,)


@rule
def an_idempotent_call_gets_its_second_run(history: History) -> Found:
    """Who dies by himself does so twice before his client is told. (What a kill from outside hit may have been counted
    against a call that was only next.)"""
    began = history.began()
    kills = [fault.at for fault in history.faults if fault.pid is not None or fault.kind.startswith("daemon ")]
    for request in _ledgered(history):
        for answer in request.final:
            if answer.outcome != "BackendCrashed" or not request.is_idempotent or answer.data.get("ran") != "yes":
                continue
            times = began.get(request.token, [])
            hit = any(request.sent <= at <= answer.at for at in kills)
            if len(times) < 2 and not hit and not _near_a_liar(history, request):
                yield f"{request.token} is idempotent, and was run {len(times)} times only", (request.token,)


@rule
def ran_no_has_not_begun(history: History) -> Found:
    began = history.began()
    for request in _ledgered(history):
        for answer in request.final:
            says_no = answer.outcome in ("BackendCrashed", "Cancelled") and answer.data.get("ran") == "no"
            if says_no and request.token in began and not _is_of(history, request, history.liars):
                yield f'{request.token} is told `ran: "no"`, and has begun', (request.token,)


@rule
def ran_yes_has_begun(history: History) -> Found:
    """But for what a kill from outside hit between the router's mark and the method's first line: of all that the main
    thread runs, one a kill; and of threads, each."""
    began = history.began()
    kills = [fault.at for fault in history.faults if fault.pid is not None]
    hit: set[int] = set()
    for request in _ledgered(history):
        for answer in request.final:
            says_yes = answer.outcome == "BackendCrashed" and answer.data.get("ran") == "yes"
            if not says_yes or request.token in began or _near_a_liar(history, request):
                continue
            kill = max((at for at in kills if request.sent <= at <= answer.at), default=None)
            if kill is None or (kill in hit and request.method not in CONCURRENT):
                yield f'{request.token} is told `ran: "yes"`, and has not begun', (request.token,)
            elif request.method not in CONCURRENT:
                hit.add(kill)


@rule
def what_is_said_not_to_have_run_has_not(history: History) -> Found:
    """Who is told that a call waited when its time was up, or that there is no Python, is told that it has not run.

    An idempotent one that waits for its second run, when there is no Python for that, is told so as any other is: it
    has run once, in a process that died of itself or by a kill, and never again.
    """
    began = history.began()
    for request in _ledgered(history):
        for answer in request.final:
            waited = answer.outcome in ("BackendUnavailable", "Overloaded") or (
                answer.outcome == "TimedOut" and answer.data.get("where") in ("starting", "queued")
            )
            times = began.get(request.token, [])
            if request.is_idempotent and len(times) == 1 and times[0].at < answer.at and _died(history, times[0].pid):
                continue
            if waited and times and not _is_of(history, request, history.liars):
                where = answer.data.get("where", "")
                yield f"{request.token} was answered {answer.outcome} {where}, and has begun", (request.token,)


@rule
def calls_of_a_connection_begin_in_order(history: History) -> Found:
    if not history.ordered:
        return
    latest: dict[tuple[str, int], Request] = {}
    again: set[str] = set()
    for entry in history.ledger:
        request = history.requests.get(entry.token) if entry.kind == "b" else None
        if request is None or request.method in CONCURRENT or entry.pid in history.liars:
            continue
        # What is run again may come late: its answer, and that of what was behind it, died together.
        if request.token in again:
            continue
        again.add(request.token)
        whose = (request.client, request.connection)
        before = latest.get(whose)
        if before is not None and before.place > request.place:
            yield f"{request.token} began after {before.token}, which was sent later", (request.token, before.token)
        latest[whose] = request


@rule
def a_stream_is_whole(history: History) -> Found:
    for request in history.requests.values():
        if request.way != "stream":
            continue
        tokens = (request.token,)
        items = [item[0] if isinstance(item, list) else item for item in request.items]
        if items != list(range(len(items))):
            yield f"the items of {request.token} are {str(items)[:200]}", tokens
        if request.outcome == "result" and request.ends and len(items) != request.params["n"]:
            yield f"{request.token} ended well with {len(items)} of {request.params['n']} items", tokens
        if request.closings > 1 or (request.ends and not request.closings and not request.lost):
            yield f"{request.token} was closed {request.closings} times", tokens


def _died(history: History, pid: int) -> bool:
    """Whether that process was followed by another."""
    at = next((entry.at for entry in history.ledger if entry.pid == pid), 0)
    return any(entry.kind == "u" and entry.pid != pid and entry.at > at for entry in history.ledger)


def _ledgered(history: History) -> Iterable[Request]:
    return (request for request in history.requests.values() if request.method in LEDGERED)


def _is_of(history: History, request: Request, pids: set[int]) -> bool:
    return any(entry.pid in pids for entry in history.ledger if entry.kind == "b" and entry.token == request.token)


def _near_a_liar(history: History, request: Request) -> bool:
    """Whether a process that lies could have had this call: one that lived between its request and its answer."""
    lied = [entry.at for entry in history.ledger if entry.pid in history.liars]
    answered = request.final[0].at
    return bool(lied) and min(lied) <= answered and max(lied) >= request.sent - int(5e9)
