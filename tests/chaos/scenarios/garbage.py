"""A child that writes nonsense wherever it can, or closes what it needs."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ..client import Client, Step
from ..round import Round
from . import scenario

#: A call whose answer was spoilt can only be ended by its time limit, or by the end of its process.
MAY = frozenset(("BackendCrashed", "TimedOut", "BackendUnavailable"))
#: What writes to a descriptor that it has closed itself before.
MAY_FAIL = MAY | {"MethodError"}
LIMIT_MS = 1500


@scenario("garbage", rounds=2)
def garbage(round: Round) -> None:
    """Garbage on the wire, in the shared page, on stdout and stderr; descriptors that are closed or read dry."""
    round.start(config='kill_grace = "200ms"\n')
    round.ready()
    plan = [_stroke(round) for _ in range(round.chance.randrange(6, 12))]

    def steps() -> Iterator[Step]:
        for method, params in plan:
            yield lambda client, method=method, params=params: _spoil(round, client, method, params)  # type: ignore[misc]

    round.client("spoiling", lambda _: steps())
    round.client("client0", _bounded)
    with round.running():
        pass
    # Whoever spoils the page lies about all that it ran.
    round.history.liars |= round.pids()
    with round.ask() as connection:
        connection.call("daemon.restart")


def _stroke(round: Round) -> tuple[str, dict[str, object]]:
    chance = round.chance
    if chance.random() < 0.15:
        return "close", {"which": chance.choice(["in", "wire", 0, 1, 2])}
    where = chance.choice(["wire", "wire", "page", "stdout", "stderr", "in"])
    size = chance.choice([1, 100, 5000, 70_000])
    return "scribble", {
        "where": where,
        "seed": chance.randrange(1 << 30),
        "size": size,
        "newline": chance.random() < 0.7,
    }


def _spoil(round: Round, client: Client, method: str, params: dict[str, object]) -> None:
    # A process that has answered is replaced at once.
    client.call(client.new("work", may=MAY), timeout_ms=LIMIT_MS)
    round.fault(f"garbage: {params.get('where', 'close')}")
    spoiling = client.new(method, params, may=MAY_FAIL)
    behind = [client.new("work", may=MAY) for _ in range(3)]
    client.send(spoiling, *behind, timeout_ms=LIMIT_MS)
    client.settle()
    if any(each.outcome == "TimedOut" for each in (spoiling, *behind)):
        # It may be deaf: the next process is not.
        with round.ask() as connection:
            pid = connection.call("daemon.status")["workers"]
        if pid:
            round.signal_python(9, pid[0]["pid"])


def _bounded(_: random.Random) -> Iterator[Step]:
    for _call in range(30):
        yield lambda client: client.call(client.new("work", may=MAY), timeout_ms=LIMIT_MS) and None
        yield lambda client: client.read(0.01)
