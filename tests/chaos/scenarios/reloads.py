"""Reloads, restarts and recycling under load: nothing may be dropped."""

from __future__ import annotations

import time

from support.connection import Connection

from ..load import Load
from ..round import READY, Round
from . import scenario

#: Nothing is broken: no call may be told of a crash.
WELL = Load(calls=200, may=frozenset())
BROKEN = {
    "a syntax error": "\nclass\n",
    "an import that fails": "\nimport a_library_that_is_not_there\n",
    "a start that fails": "\nController.on_start = lambda self: 1 / 0\n",
    "a start that dies": "\nController.on_start = lambda self: os._exit(7)\n",
    "a start that hangs": "\nController.on_start = lambda self: time.sleep(600)\n",
    "a state that is refused": "\nController.on_restore = lambda self, state: 1 / 0\n",
}


@scenario("restarts")
def restarts(round: Round) -> None:
    """daemon.restart under load: nothing fails."""
    round.start()
    round.ready()
    for number in range(3):
        round.client(f"client{number}", WELL.steps)
    with round.running(), round.ask() as connection:
        for _ in range(3):
            time.sleep(0.1 * round.chance.random())
            round.fault("restart")
            connection.call("daemon.restart")
            round.note_kept("a restart went well")


@scenario("reloads", rounds=2)
def reloads(round: Round) -> None:
    """daemon.reload under load, to versions that start and to some that don't: nothing fails, no count is lost."""
    mode = round.chance.choice(["beside", "beside", "replace"])
    standby = round.chance.random() < 0.5
    controller = round.write_controller(1)
    round.start(
        str(controller),
        config=f'reload_mode = "{mode}"\nstandby = {str(standby).lower()}\n'
        'startup_timeout = "5s"\nsnapshot_every = "100ms"\n',
    )
    round.ready()
    round.witness()
    for number in range(3):
        round.client(f"client{number}", WELL.steps)
    # With "replace" nothing serves meanwhile, so a version that does not start is told to those who call.
    plan = [None, round.chance.choice(list(BROKEN)) if mode == "beside" else None, None]
    round.chance.shuffle(plan)
    version = 1
    with round.running(), round.ask() as connection:
        for broken in plan:
            time.sleep(0.1 * round.chance.random())
            if broken is None:
                version += 1
                round.write_controller(version)
                round.fault(f"reload ({mode})")
                answer = connection.answer(connection.request("daemon.reload"))
                if answer.get("result") is not True:
                    round.history.found.append(f"the reload to version {version} was answered {answer}")
                round.note_kept("a reload went well")
            else:
                round.write_controller(99, BROKEN[broken])
                round.fault(f"reload: {broken}")
                error = connection.answer(connection.request("daemon.reload")).get("error")
                if error is None or error["code"] != -32022:
                    round.history.found.append(f"the reload of {broken} was answered {error}")
            seen = connection.call("getProperty", {"name": "version"})
            if seen != version:
                round.history.found.append(f"version {version} should serve, and {seen} does")
    check_count(round)


@scenario("watch")
def watch(round: Round) -> None:
    """`watch`: the controller's file changes under load, and what serves follows; nothing fails."""
    controller = round.write_controller(1)
    round.start(str(controller), config="watch = true\n")
    round.ready()
    for number in range(2):
        round.client(f"client{number}", WELL.steps)
    with round.running(), round.ask() as connection:
        for version in (2, 3):
            round.write_controller(version)
            round.fault("the controller's file changes")
            deadline = time.monotonic() + 20
            while connection.call("getProperty", {"name": "version"}) != version:
                if time.monotonic() > deadline:
                    round.history.found.append(f"20 s after the file changed, version {version} does not serve")
                    break
    check_count(round)


# So much is more than `max_rss`, and less than the machine has.
HOARD = 512 << 20
# One that is too large when it is younger than this, in milliseconds, may need that much: it serves on for a while.
FRESH_MS = 5_000


@scenario("recycling")
def recycling(round: Round) -> None:
    """`max_calls` and `max_rss` under load: processes are replaced again and again, and nothing fails."""
    by_calls = round.chance.random() < 0.5
    standby = round.chance.random() < 0.5
    limit = "max_calls = 60\n" if by_calls else 'max_rss = "64MiB"\n'
    round.start(config=f"{limit}standby = {str(standby).lower()}\n")
    round.ready()
    round.witness()
    for number in range(3):
        round.client(f"client{number}", WELL.steps)
    with round.running(), round.ask() as connection:
        if by_calls:
            _hoard(round, connection, times=1, mib=0, from_ms=0)
        else:
            _hoard(round, connection, times=2, mib=8, from_ms=FRESH_MS)
    recycled = round.status()["recycled"]
    for _ in range(recycled):
        round.fault(f"replaced, by {'max_calls' if by_calls else 'max_rss'}")
    if not recycled:
        round.history.found.append("no process was replaced")
    check_count(round)


def _hoard(round: Round, connection: Connection, times: int, mib: int, from_ms: int) -> None:
    """Takes so much at each call, of a Python that is so old, until so many have been replaced."""
    deadline = time.monotonic() + 2 * READY
    number = 0
    while (status := connection.call("daemon.status"))["recycled"] < times:
        if all(it["uptime_ms"] >= from_ms and (it["rss_bytes"] or 0) < HOARD for it in status["workers"]):
            number += 1
            connection.call("hoard", {"token": f"hoard-{number}", "mib": mib})
        if time.monotonic() > deadline:
            round.history.found.append(f"{number} times {mib} MiB were taken, and not {times} processes replaced")
            return


def check_count(round: Round) -> None:
    """Where nothing has died, a counter that snapshots carry over has lost nothing."""
    with round.ask() as connection:
        _, count = connection.call("count", {"token": "last-count"})
    counted = sum(entry.kind == "k" for entry in round.entries())
    if count != counted:
        round.history.found.append(f"{counted} calls counted, and the counter is at {count}")
