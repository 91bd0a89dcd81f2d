"""What ordinary clients do: a plan of steps from a seed, of every kind of call there is."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .client import Client, Step
from .history import Request

#: How often each kind of call is made.
KINDS = {
    "work": 30,
    "slow work": 4,
    "again": 12,
    "beside": 6,
    "later": 8,
    "items": 6,
    "items_later": 3,
    "sent": 4,
    "count": 8,
    "large": 2,
    "fail": 3,
}
DEATHS = ("kill", "segfault", "abort", "exit", "out of memory", "with a child", "close everything")


@dataclass(frozen=True)
class Load:
    """How much, and of what."""

    calls: int = 150
    #: The share of steps that make Python die from inside.
    dies: float = 0.0
    cancels: float = 0.06
    timeouts: float = 0.06
    properties: float = 0.12
    #: What any call may be answered with, as things are being broken.
    may: frozenset[str] = frozenset(("BackendCrashed",))

    def steps(self, chance: random.Random) -> Iterator[Step]:
        made = 0
        value = 0
        while made < self.calls:
            if chance.random() < self.properties:
                value += 1
                yield _properties(value, chance.choice(["Seen", "Seen", "ApiKey"]), self.may)
                made += 2
                continue
            if chance.random() < self.dies:
                yield _death(
                    chance.choice(DEATHS), chance.choice(["die", "die_once", "die_once", "die_always"]), self.may
                )
                made += 2
                continue
            plans = [_plan(chance) for _ in range(chance.choice([1, 1, 2, 5, 12]))]
            made += len(plans)
            if len(plans) > 1 and chance.random() < 0.3:
                yield _batch(plans, self.may)
            else:
                yield _pipeline(plans, self.may, chance.random() < self.timeouts, chance.randrange(0, 12))
            if chance.random() < self.cancels:
                yield _cancel(chance.randrange(1 << 20))
            most = chance.choice([0, 0, 3, 20, 60])
            yield lambda client, most=most: client.settle(most)  # type: ignore[misc]
            if chance.random() < 0.15:
                pause = chance.random() * 0.01
                yield lambda client, pause=pause: client.read(pause)  # type: ignore[misc]


@dataclass(frozen=True)
class _Planned:
    method: str
    params: dict[str, object]
    way: str
    may: frozenset[str] = frozenset()

    def made(self, client: Client, may: Iterable[str], batch: bool = False) -> Request:
        way = "call" if batch and self.way in ("stream", "rpc") else self.way
        return client.new(self.method, self.params, way, may={*may, *self.may})


def _plan(chance: random.Random) -> _Planned:
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    way = chance.choices(["call", "rpc", "notification"], [10, 1, 1])[0]
    if kind == "slow work":
        return _Planned("work", {"ms": chance.choice([2, 5, 20])}, way)
    if kind in ("work", "again"):
        return _Planned(kind, {"ms": 1} if chance.random() < 0.2 else {}, way)
    if kind in ("beside", "later"):
        return _Planned(kind, {"ms": chance.randrange(0, 8)}, way)
    if kind in ("items", "items_later"):
        params: dict[str, object] = {"n": chance.choice([0, 1, 3, 20])}
        if kind == "items" and chance.random() < 0.2:
            params["size"] = 20_000
        return _Planned(kind, params, chance.choice(["stream", "stream", "call"]))
    if kind == "sent":
        return _Planned(kind, {"n": chance.choice([1, 3, 10])}, chance.choice(["stream", "call"]))
    if kind == "large":
        return _Planned(kind, {"size": chance.choice([1000, 70_000, 1_500_000])}, "call")
    if kind == "fail":
        return _Planned(kind, {"what": chance.choice(["value", "memory", "exit"])}, way, frozenset(("MethodError",)))
    return _Planned(kind, {}, way)


def _pipeline(plans: list[_Planned], may: frozenset[str], in_time: bool, timeout_ms: int) -> Step:
    def step(client: Client) -> None:
        made = [plan.made(client, may) for plan in plans]
        if not in_time:
            client.send(*made)
            return
        # A count that is struck half way is one that the ledger knows nothing of.
        calls = [each for each in made if each.way not in ("stream", "notification") and each.method != "count"]
        for each in calls:
            each.may |= {"TimedOut"}
        client.send(*calls, timeout_ms=timeout_ms)
        client.send(*[each for each in made if each not in calls])

    return step


def _batch(plans: list[_Planned], may: frozenset[str]) -> Step:
    return lambda client: client.send_batch(*(plan.made(client, may, batch=True) for plan in plans))


def _cancel(place: int) -> Step:
    def step(client: Client) -> None:
        waiting = [each for each in client.open.values() if _can_be_cancelled(each)]
        if waiting:
            client.cancel(waiting[place % len(waiting)])

    return step


def _can_be_cancelled(each: Request) -> bool:
    return each.cancelled is None and not each.batch and each.method != "count"


def _properties(value: int, kind: str, may: frozenset[str]) -> Step:
    """Sets a property that is this client's alone, and reads it in the same breath."""

    def step(client: Client) -> None:
        name = f"{client.name}{kind}"
        client.send(
            client.new("setProperty", {"name": name, "value": value}, may={*may, "InternalError"}),
            client.new("getProperty", {"name": name}, may={*may, "InvalidParams"}),
        )

    return step


def _death(how: str, method: str, may: frozenset[str]) -> Step:
    def step(client: Client) -> None:
        # A process that has answered is replaced at once, however often that happens.
        client.send(client.new("work", may=may), client.new(method, {"how": how}, may={*may, "BackendCrashed"}))

    return step
