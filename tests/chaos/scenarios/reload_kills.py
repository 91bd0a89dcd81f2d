"""Something dies in the middle of a reload: Python, old or new, or the daemon, at each of its steps."""

from __future__ import annotations

import threading
import time

from support.daemon import Daemon

from ..client import Client
from ..load import Load
from ..round import Round
from ..shim import AFTER, BEFORE, HOWS, Shim
from . import scenario
from .daemons import is_whole, shimmed

CONFIG = 'snapshot_every = "100ms"\n'


@scenario("reload-kills")
def reload_kills(round: Round) -> None:
    """Python is killed during reloads under load, the old one or the new one: one of them serves on."""
    standby = round.chance.random() < 0.5
    round.start(config=CONFIG + f"standby = {str(standby).lower()}\n")
    round.ready()
    for number in range(3):
        round.client(f"client{number}", Load(calls=200).steps)
    with round.running(), round.ask() as connection:
        for _ in range(round.chance.randrange(3, 6)):
            reload = connection.request("daemon.reload")
            time.sleep(0.15 * round.chance.random())
            status = connection.call("daemon.status")
            whom = round.chance.choice(["workers", "beside"])
            if status[whom]:
                round.kill_process(int(status[whom][0]["pid"]), f"Python SIGKILL in a reload, of {whom}")
            # Whether it went well or not: it is answered.
            connection.answer(reload)


@scenario("reload-steps")
def reload_steps(round: Round) -> None:
    """The daemon is killed before and after every step of a reload: files, processes, and each line of its log."""
    shim = shimmed(round, "*")
    round.start(config="snapshot_every = 0\n", env=shim.env)
    client = round.talk("client0")
    value = 0
    _set_and_count(client, value)
    before, lines = shim.count, len(round.live.log)
    with round.ask() as connection:
        connection.call("daemon.reload")
    round.live.wait_for_log("the old Python has ended")
    steps, lines = shim.steps(before), len(round.live.log) - lines
    if len(steps) < 6:
        raise AssertionError(f"the shim has seen {steps}: a reload takes more")
    moments = [(number, how) for number in range(1, len(steps) + 1) for how in (BEFORE, AFTER)]
    moments += [(number, 0) for number in range(1, lines + 1)]
    if not round.is_long:
        moments = sorted(round.chance.sample(moments, min(10, len(moments))))
    for number, how in moments:
        value += 1
        _set_and_count(client, value)
        what = f"{HOWS[how]} {steps[number - 1].split()[0]}" if how else f"at line {number} of its log"
        _die_in_reload(round, shim, number, how)
        client.drop("daemon")
        round.fault(f"daemon SIGKILL in a reload, {what}")
        round.buried(f"a kill in a reload, {what}")
        shim.disarm()
        for name in ("properties.json", "snapshot.json"):
            is_whole(round, name)
        round.start_again()
        client.connect()
        client.call(client.new("getProperty", {"name": "client0Seen"}))
    round.ready()


def _die_in_reload(round: Round, shim: Shim, number: int, how: int) -> None:
    daemon = round.live
    if how:
        shim.arm(number, how)
    else:
        threading.Thread(target=_kill_at_line, args=(daemon, len(daemon.log) + number), daemon=True).start()
    try:
        with round.ask() as connection:
            connection.call("daemon.reload", may_fail=True)
    except (ConnectionError, EOFError, AssertionError):
        pass  # As it was meant.
    try:
        # Some steps come after the answer: the end of the old Python.
        daemon.wait(5)
    except TimeoutError:
        pass
    except Exception:
        # This time it took fewer steps than when they were counted.
        daemon.process.kill()


def _kill_at_line(daemon: Daemon, count: int) -> None:
    deadline = time.monotonic() + 5
    while len(daemon.log) < count and time.monotonic() < deadline:
        time.sleep(0)
    daemon.process.kill()


def _set_and_count(client: Client, value: int) -> None:
    client.call(client.new("setProperty", {"name": "client0Seen", "value": value}))
    client.call(client.new("count"))
