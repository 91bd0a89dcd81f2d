"""A storm of cancels from several clients, by every way there is to cancel; what each call has become is checked.

    cd tests && python3 -m wire.test_storm --calls 1000000

Calls are made by clients that cancel, by `rpc.cancel`, by `$/cancelRequest`, by `stream.cancel`, or by vanishing, and
by one that never does. The controller marks that a call has begun, and that it has ended: see controllers/storm.py.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import select
import time
import unittest
from pathlib import Path
from typing import Any, Optional

from support.daemon import CONTROLLERS, Daemon

CANCELLED = -32024
CLIENTS = 4
DEPTH = 16
METHODS = ["plain"] * 8 + ["compute"] * 4 + ["generate"] * 2 + ["later"] * 3 + ["sleep", "sleep_later"]
RESULT, STRUCK, NOBODY = 1, 2, 3


class Ledger:
    """What was asked for, and what came of it, by the calls' keys."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.made = 0
        self.cancelled = bytearray(calls)
        self.outcome = bytearray(calls)

    def settle(self, key: int, outcome: int) -> None:
        assert not self.outcome[key], f"call {key} was answered twice"
        self.outcome[key] = outcome


class Client:
    def __init__(self, daemon: Daemon, ledger: Ledger, chance: random.Random, patient: bool) -> None:
        self.ledger = ledger
        self.chance = chance
        self.patient = patient
        self.connection = daemon.connect()
        self.next = 0
        #: Keys of calls under way by request id, or by subscription; requests of streams that are not there yet.
        self.waiting: dict[int, int] = {}
        self.opening: dict[int, int] = {}
        self.streams: dict[int, int] = {}
        self.closing: set[int] = set()
        #: Requests to cancel, which are answered, too.
        self.cancels: set[int] = set()

    @property
    def under_way(self) -> int:
        return len(self.waiting) + len(self.opening) + len(self.streams)

    def make(self, count: int) -> None:
        lines = []
        for _ in range(count):
            key = self.ledger.made
            self.ledger.made += 1
            method = self.chance.choice(METHODS)
            params = [key] if method == "plain" else [key, self.chance.choice([1, 30, 300, 2000])]
            self.next += 1
            if method == "generate":
                self.opening[self.next] = key
                lines.append(request(self.next, "stream.call", {"method": method, "params": params}))
            else:
                self.waiting[self.next] = key
                lines.append(request(self.next, method, params))
        self.connection.write("".join(lines))

    def cancel_one(self) -> None:
        mark = self.ledger.cancelled
        if self.streams and self.chance.random() < 0.4:
            subscription, key = self.chance.choice(list(self.streams.items()))
            mark[key] = 1
            self.next += 1
            self.cancels.add(self.next)
            self.connection.write(request(self.next, "stream.cancel", [subscription]))
        elif self.waiting:
            ids = list(self.waiting)
            victim = ids[0] if self.chance.random() < 0.6 else self.chance.choice(ids)
            mark[self.waiting[victim]] = 1
            if self.chance.random() < 0.5:
                self.next += 1
                self.cancels.add(self.next)
                self.connection.write(request(self.next, "rpc.cancel", [victim]))
            else:
                self.connection.write(request(None, "$/cancelRequest", [victim]))

    def vanish(self) -> None:
        for under_way in (self.waiting, self.opening, self.streams):
            for key in under_way.values():
                self.ledger.cancelled[key] = 1
                self.ledger.settle(key, NOBODY)
        self.connection.socket.close()

    def read_what_came(self) -> None:
        while select.select([self.connection.socket], [], [], 0)[0]:
            self.take(json.loads(self.connection.read_line()))
            while b"\n" in self.connection._received:
                self.take(json.loads(self.connection.read_line()))

    def take(self, message: dict[str, Any]) -> None:
        if "method" in message:
            self.take_event(message["params"])
            return
        ident = message["id"]
        if ident in self.cancels:
            assert message["result"] in (True, False), message
            self.cancels.remove(ident)
        elif ident in self.opening:
            self.streams[message["result"]] = self.opening.pop(ident)
        else:
            key = self.waiting.pop(ident)
            if "result" in message:
                assert message["result"] == key * 3, f"another call's result: {message}"
                self.ledger.settle(key, RESULT)
            else:
                self.take_error(key, message["error"])

    def take_event(self, params: dict[str, Any]) -> None:
        subscription = params["subscription"]
        event = params.get("result")
        if event is None:
            self.closing.remove(subscription)
        elif "item" in event:
            assert event["item"] == self.streams[subscription], f"another call's item: {params}"
        else:
            key = self.streams.pop(subscription)
            self.closing.add(subscription)
            if "end" in event:
                assert event["end"] == key * 3, f"another call's end: {params}"
                self.ledger.settle(key, RESULT)
            else:
                self.take_error(key, event["error"])

    def take_error(self, key: int, error: dict[str, Any]) -> None:
        assert error["code"] == CANCELLED and error["data"]["by"] == "client", f"another error: {error}"
        assert self.ledger.cancelled[key], f"call {key} was cancelled, and nobody asked for it"
        self.ledger.settle(key, STRUCK)


def request(ident: Optional[int], method: str, params: Any) -> str:
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    if ident is not None:
        message["id"] = ident
    return json.dumps(message) + "\n"


def storm(calls: int, seed: int) -> str:
    """Runs it, and gives a sentence of figures; raises an AssertionError that says what went wrong."""
    chance = random.Random(seed)
    ledger = Ledger(calls)
    vanished = 0
    with Daemon(f"{CONTROLLERS / 'storm.py'}:Async") as daemon:
        with daemon.connect() as connection:
            connection.call("prepare", [calls])
        clients = [Client(daemon, ledger, chance, patient=number == 0) for number in range(CLIENTS)]
        while ledger.made < calls:
            place = chance.randrange(CLIENTS)
            client = clients[place]
            client.make(min(chance.randint(1, 6), calls - ledger.made))
            until = time.perf_counter() + chance.random() * 3e-4
            while time.perf_counter() < until:
                pass
            if not client.patient:
                for _ in range(chance.choice([0, 0, 1, 1, 2])):
                    client.cancel_one()
                if chance.random() < 0.002:
                    client.vanish()
                    vanished += 1
                    client = clients[place] = Client(daemon, ledger, chance, patient=False)
            for other in clients:
                other.read_what_came()
            while client.under_way >= DEPTH:
                client.take(json.loads(client.connection.read_line()))
        for client in clients:
            while client.under_way or client.cancels or client.closing:
                client.take(json.loads(client.connection.read_line()))
        report = daemon.places.root / "report"
        with daemon.connect() as connection:
            connection.call("report", [str(report)])
            assert connection.call("daemon.status")["restarts"] == 0
        marks = Path(report).read_bytes()
        for client in clients:
            client.connection.socket.close()
        said = [line for line in daemon.log if not re.search(r"INFO baskd: (listening on|\w+ is ready)", line)]
    assert not said, "in the log: " + "\n".join(said[:20])
    never_begun = 0
    for key, (outcome, began, ended) in enumerate(zip(ledger.outcome, marks[:calls], marks[calls:], strict=True)):
        assert outcome, f"call {key} was never answered"
        told = f"call {key} began {began} times, and ended {ended} times"
        if outcome == RESULT or not ledger.cancelled[key]:
            assert began == ended == 1, f"{told}; its result came"
        else:
            assert ended <= began <= 1, f"{told}; it was cancelled"
            never_begun += not began
    cancelled, struck = ledger.cancelled.count(1), ledger.outcome.count(STRUCK)
    return (
        f"seed {seed}: {calls:,} calls, {cancelled:,} of them cancelled: {struck:,} were answered so, of which "
        f"{never_begun:,} had not begun; {vanished:,} clients vanished; no other call was hurt"
    )


class Storm(unittest.TestCase):
    def test_a_short_one(self) -> None:
        seed = random.SystemRandom().randrange(1 << 32)
        with self.subTest(seed=seed):
            storm(6_000, seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args()
    print(storm(arguments.calls, arguments.seed))
