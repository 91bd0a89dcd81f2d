"""Clients that behave badly, beside one that does not."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from ..client import Client, Step
from ..load import Load
from ..round import Round
from . import scenario

#: A flood fills what may wait, for everybody who asks for much at that moment.
CANCELS = frozenset(("BackendCrashed", "Cancelled", "Overloaded"))


@scenario("rude-clients", rounds=2)
def rude_clients(round: Round) -> None:
    """Clients that vanish in a call or in a message, flood, stall, half-close, and send garbage."""
    round.start(config='stall_timeout = "1s"\n')
    round.ready()
    round.witness()
    for number in range(3):
        rude = round.client(f"rude{number}", lambda chance: _steps(round, chance))
        rude.sends_garbage = True
    round.client("client0", Load(calls=150, may=frozenset(("BackendCrashed", "Overloaded"))).steps)
    with round.running():
        pass


def _steps(round: Round, chance: random.Random) -> Iterator[Step]:
    for _ in range(10):
        what = chance.choice([_vanish_in_calls, _vanish_in_a_message, _flood, _stall, _listen, _half_close, _garbage])
        yield _in_order(round, what, random.Random(chance.getrandbits(32)))


def _in_order(round: Round, what: object, chance: random.Random) -> Step:
    def step(client: Client) -> None:
        name = what.__name__[1:].replace("_", " ")  # type: ignore[attr-defined]
        round.fault(f"client: {name}")
        what(client, chance)  # type: ignore[operator]
        client.connect()

    return step


def _some(client: Client, chance: random.Random, count: int) -> None:
    client.send(
        *(
            client.new(
                chance.choice(["work", "again", "later", "beside", "items", "spin"]),
                {},
                chance.choice(["call", "rpc"]),
                may=CANCELS,
            )
            for _ in range(count)
        )
    )


def _vanish_in_calls(client: Client, chance: random.Random) -> None:
    _some(client, chance, chance.randrange(1, 30))
    streams = [client.new("items", {"n": 100_000}, "stream", may=CANCELS) for _ in range(chance.randrange(3))]
    client.send(*streams)
    client.read(0.01 * chance.random())
    client.drop()


def _vanish_in_a_message(client: Client, chance: random.Random) -> None:
    _some(client, chance, chance.randrange(3))
    message = json.dumps({"jsonrpc": "2.0", "id": "never", "method": "work", "params": {"token": "x" * 5000}}).encode()
    client.write(message[: chance.randrange(1, len(message) - 1)])
    client.drop()


def _flood(client: Client, chance: random.Random) -> None:
    """Far more than may wait, without reading a byte."""
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "getProperty", "params": ["version"]}).encode() + b"\n"
    client.write_blindly(message * chance.choice([2000, 20_000]), seconds=0.3)
    client.drop()


def _stall(client: Client, chance: random.Random) -> None:
    """A stream, and answers, that it does not read for a while, and then does."""
    stream = client.new("items", {"n": 400, "size": 2000}, "stream", may=CANCELS)
    client.send(stream)
    client.send(*(client.new("large", {"size": 200_000}, may=CANCELS) for _ in range(12)))
    client.stop.wait(0.3 * chance.random())
    client.settle()
    client.drop()


def _listen(client: Client, chance: random.Random) -> None:
    """Subscribes to everything there is to hear, and does not read a word of it."""
    subscriptions = [("messages.subscribe", ["all"]), ("messages.subscribe", ["own"]), ("logs.subscribe", [])]
    messages = [
        {"jsonrpc": "2.0", "id": f"{number}.end", "method": method, "params": params}
        for number, (method, params) in enumerate(subscriptions)
    ]
    client.write_blindly("".join(json.dumps(message) + "\n" for message in messages).encode(), 0.2)
    client.send(*(client.new("sent", {"n": 20, "size": 3000}, may=CANCELS) for _ in range(chance.randrange(1, 10))))
    client.stop.wait(0.2 * chance.random())
    client.drop()


def _half_close(client: Client, chance: random.Random) -> None:
    """Still gets every answer."""
    made = [client.new(chance.choice(["work", "again", "later"]), may=CANCELS) for _ in range(20)]
    client.send(*made, client.new("items", {"n": 50}, "stream", may=CANCELS))
    client.half_close()
    client.settle()
    client.drop()


def _garbage(client: Client, chance: random.Random) -> None:
    kinds = [
        b"{]\n",
        b'{"jsonrpc":"2.0"}\n',
        b"[]\n",
        b'{"jsonrpc":"2.0","id":{},"method":"x"}\n',
        b'{"a":"\n',
        b"[1,2]\n",
    ]
    for _ in range(chance.randrange(1, 20)):
        client.write(chance.choice(kinds))
    if chance.random() < 0.5:
        client.write_blindly(bytes(chance.getrandbits(8) for _ in range(2000)) + b"\n", 0.2)
    client.read(0.02)
    client.drop()
