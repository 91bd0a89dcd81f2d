"""The daemon dies: under load, and at every step of writing the properties."""

from __future__ import annotations

import json
import time

from ..client import Client
from ..load import Load
from ..round import Round
from ..shim import AFTER, BEFORE, HALF, HOWS, Missing, Shim
from . import Skipped, scenario


@scenario("daemon-kills", rounds=2)
def daemon_kills(round: Round) -> None:
    """kill -9 of the daemon under load; it is started again, and the clients connect again."""
    round.start()
    round.ready()
    for number in range(3):
        round.client(f"client{number}", Load(calls=150).steps, survives=True)
    round.witness(survives=True)
    with round.running():
        for _ in range(round.chance.randrange(2, 5)):
            time.sleep(0.2 * round.chance.random())
            round.kill_daemon()
            round.start_again()


@scenario("journal")
def journal(round: Round) -> None:
    """The daemon is killed before, after and half way through every step of writing the properties."""
    shim = shimmed(round, "properties")
    round.start(env=shim.env)
    client = round.talk("client0")
    client.call(client.new("setProperty", {"name": "client0Seen", "value": 0}))
    before = shim.count
    client.call(client.new("setProperty", {"name": "client0Seen", "value": 1}))
    steps = shim.steps(before)
    if len(steps) < 4:
        raise AssertionError(f"the shim has seen {steps}: writing the properties takes more")
    value = 1
    for number, step in enumerate(steps, 1):
        for how in (BEFORE, AFTER, *([HALF] if step.startswith("write") else [])):
            value += 1
            shim.arm(number, how)
            _dies_in(round, client, f"daemon SIGKILL {HOWS[how]} {step}", value)
            shim.disarm()
            is_whole(round, "properties.json")
            round.start_again()
            client.connect()
            client.call(client.new("getProperty", {"name": "client0Seen"}, may={"InvalidParams"}))
            # What it has left is neither in the way, nor does it become more.
            value += 1
            client.call(client.new("setProperty", {"name": "client0Seen", "value": value}))
            client.call(client.new("getProperty", {"name": "client0Seen"}, may={"InvalidParams"}))
            left = [path.name for path in (round.places.state / "baskd" / "default").glob("*.new*")]
            if left:
                round.history.found.append(f"after {HOWS[how]} {step} and another write, {left} is left")
    round.ready()


def shimmed(round: Round, word: str) -> Shim:
    try:
        shim = Shim(round.places, word)
    except Missing as missing:
        raise Skipped(str(missing)) from None
    round.cleanups.append(shim.close)
    return shim


def _dies_in(round: Round, client: Client, kind: str, value: int) -> None:
    """One setProperty, in which the daemon dies."""
    setting = client.new("setProperty", {"name": "client0Seen", "value": value})
    try:
        client.call(setting, seconds=10)
        round.history.found.append(f"{kind} did not happen: {setting.describe()}")
        round.live.process.kill()
    except (ConnectionError, EOFError):
        pass
    client.drop("daemon")
    round.fault(kind)
    round.buried(kind)


def is_whole(round: Round, name: str) -> None:
    """That a file of the state is there as a whole, or not at all."""
    path = round.places.state / "baskd" / "default" / name
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        pass
    except ValueError:
        round.history.found.append(f"{name} is torn: {path.read_text()[:200]!r}")
