"""Python stands still: stopped by a signal, or in a method that never ends."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

from support.processes import open_process

from ..client import Client, Step
from ..load import Load
from ..round import Round
from . import scenario

CONFIG = 'kill_grace = "200ms"\nstall_timeout = "2s"\n'
CRASHES = frozenset(("BackendCrashed",))


@scenario("stopped")
def stopped(round: Round) -> None:
    """SIGSTOP for a while: nothing is lost, and who has a time limit is answered in time."""
    round.start(config='kill_grace = "20s"\n')
    round.ready()
    for number in range(2):
        round.client(f"client{number}", Load(calls=150, cancels=0.02).steps)
    round.client("limited", _limited)
    with round.running():
        for _ in range(round.chance.randrange(3, 6)):
            pid = round.python()
            held = open_process(pid)
            round.fault("Python SIGSTOP")
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.05 + 0.3 * round.chance.random())
            os.kill(pid, signal.SIGCONT)
            os.close(held)


@scenario("stopped-for-good")
def stopped_for_good(round: Round) -> None:
    """SIGSTOP that nobody takes back: once its call is out of time, Python is killed after `kill_grace`."""
    round.start(config=CONFIG)
    round.ready()
    count = round.chance.randrange(2, 4)
    for number in range(2):
        round.client(f"client{number}", Load(calls=60, cancels=0.0, timeouts=0.0).steps)
    stopped: set[int] = set()

    def limited(_: random.Random) -> Iterator[Step]:
        # Some are out of time before the next Python is there.
        while len(stopped) < count:
            yield _with_limit("spin", {}, 300)

    round.client("limited", limited)
    with round.running():
        while len(stopped) < count:
            # Stopped while that call runs: nothing else would end it. Some way into it, since a Python that is stopped
            # with answers still in its buffer looks as if it ran those calls, which nobody has cancelled.
            pid = round.until_begun("limited", stopped)
            time.sleep(0.02 + 0.1 * round.chance.random())
            round.fault("Python SIGSTOP, for good", pid)
            os.kill(pid, signal.SIGSTOP)
            stopped.add(pid)


@scenario("deadlines")
def deadlines(round: Round) -> None:
    """Time limits of a few milliseconds, met at every moment of a call's life: who is told "queued" has not run."""
    round.start()
    round.ready()
    for number in range(3):
        round.client(f"client{number}", _hurried)
    with round.running():
        pass


def _hurried(chance: random.Random) -> Iterator[Step]:
    may = {"TimedOut"}

    def step(timeout_ms: int, methods: list[str]) -> Step:
        return lambda client: client.send(*(client.new(each, may=may) for each in methods), timeout_ms=timeout_ms)

    for _ in range(60):
        kinds = ["work", "work", "again", "later", "beside", "items", "sent"]
        yield step(chance.randrange(1, 6), chance.choices(kinds, k=chance.randrange(1, 30)))
        if chance.random() < 0.5:
            yield lambda client: client.settle()


@scenario("hangs")
def hangs(round: Round) -> None:
    """Methods that never end: who waits for them is answered in time; one that can't be cancelled costs its process."""
    round.start(config=CONFIG)
    round.ready()
    for number in range(2):
        round.client(f"client{number}", Load(calls=80, cancels=0.02, timeouts=0.0).steps)
    count = round.chance.randrange(3, 5)
    plan = [(round.chance.choice(["stubborn", "spin", "stubborn"]), round.chance.random() < 0.5) for _ in range(count)]

    def steps() -> Iterator[Step]:
        for method, is_cancelled in plan:
            yield lambda client, method=method, is_cancelled=is_cancelled: _hang(client, method, is_cancelled)  # type: ignore[misc]
            # A process has to answer something, else its end counts as a failed start.
            yield lambda client: client.call(client.new("work", may=CRASHES)) and None

    round.client("hanging", lambda _: steps())
    with round.running():
        pass
    for line in round.live.log:
        if "still runs and others wait: its Python is killed" in line:
            round.fault("hang, killed after kill_grace")


def _hang(client: Client, method: str, is_cancelled: bool) -> None:
    may = {*CRASHES, "TimedOut"}
    hanging = client.new(method, {}, may=may)
    if not is_cancelled:
        client.call(hanging, timeout_ms=50)
        return
    client.send(hanging)
    client.read(0.05)
    client.cancel(hanging)
    client.settle()


def _with_limit(method: str, params: dict[str, object], timeout_ms: int) -> Step:
    may = {*CRASHES, "TimedOut"}

    def step(client: Client) -> None:
        made = client.call(client.new(method, params, may=may), timeout_ms=timeout_ms)
        late = (made.final[0].at - made.sent) / 1e6 - timeout_ms if made.final else 0.0
        if late > LATE_MS:
            client.history.found.append(f"{made.token} had {timeout_ms} ms, and was answered {late:.0f} ms after that")

    return step


#: So much later than its time limit a call may be answered, on a machine that does other things as well.
LATE_MS = 15_000.0


def _limited(chance: random.Random) -> Iterator[Step]:
    for _ in range(12):
        yield _with_limit("work", {"ms": 1}, chance.choice([20, 60, 200]))
