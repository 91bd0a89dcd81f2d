"""A disk that is full, or fails."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

from ..client import Client
from ..load import Load
from ..round import Round
from ..shim import FAIL, HOWS
from . import Skipped, scenario
from .daemons import is_whole, shimmed

MAY_FAIL = frozenset(("InternalError",))


@scenario("disk-full")
def disk_full(round: Round) -> None:
    """The state is on a small tmpfs that fills up: calls are served, and a property says that it will not last."""
    folder = _small_disk(round)
    round.start()
    round.ready()
    client = round.talk("setter")
    _set(client, 1)
    filler = _fill(folder)
    _must_fail(round, _set(client, 2), "a full disk")
    for number in range(2):
        round.client(
            f"client{number}", Load(calls=80, dies=0.02, may=frozenset(("BackendCrashed", "BackendUnavailable"))).steps
        )
    with round.running():
        round.signal_python(9)
    round.clients.clear()
    _get(client)
    # A snapshot can't be written either: a reload hands it on all the same, and the next Python after a crash has it.
    client.call(client.new("count"))
    with round.ask() as connection:
        connection.call("daemon.reload")
    round.note_kept("a reload went well")
    round.signal_python(9)
    client.call(client.new("count"))
    is_whole(round, "properties.json")
    _restart(round, client)
    _get(client)
    filler.unlink()
    _must_hold(round, _set(client, 3), "room again")
    _restart(round, client)
    _get(client)


@scenario("disk-errors")
def disk_errors(round: Round) -> None:
    """Writing the properties fails from each of its steps on, for lack of room or by an I/O error, and is mended."""
    shim = shimmed(round, "properties")
    round.start(env=shim.env)
    client = round.talk("setter")
    _set(client, 0)
    before = shim.count
    _set(client, 1)
    steps = shim.steps(before)
    value = 1
    for number, step in enumerate(steps, 1):
        for error in (errno.ENOSPC, errno.EIO):
            value += 1
            shim.arm(number, FAIL, error)
            round.fault(f"disk: {errno.errorcode[error]} {HOWS[FAIL]} {step}")
            _must_fail(round, _set(client, value), f"{errno.errorcode[error]} at {step}")
            shim.disarm()
            _get(client)
            is_whole(round, "properties.json")
            if round.chance.random() < 0.3:
                _restart(round, client)
                _get(client)
            value += 1
            _must_hold(round, _set(client, value), "it was mended")
            _get(client)
    round.ready()


def _set(client: Client, value: int) -> str:
    made = client.new("setProperty", {"name": "setterSeen", "value": value}, may=MAY_FAIL)
    return client.call(made).outcome or "nothing"


def _get(client: Client) -> None:
    client.call(client.new("getProperty", {"name": "setterSeen"}, may={"InvalidParams"}))


def _must_fail(round: Round, outcome: str, when: str) -> None:
    if outcome != "InternalError":
        round.history.found.append(f"{when}: setProperty was answered {outcome}, though nothing can have been written")


def _must_hold(round: Round, outcome: str, when: str) -> None:
    if outcome != "result":
        round.history.found.append(f"{when}: setProperty was answered {outcome}")


def _restart(round: Round, client: Client) -> None:
    client.drop("daemon")
    round.kill_daemon()
    round.start_again()
    client.connect()


def _small_disk(round: Round) -> Path:
    folder = round.places.state
    folder.mkdir(mode=0o700, parents=True)
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "none", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        raise Skipped("a small tmpfs can't be mounted here: that takes root (disk-errors shows as much without)")
    round.cleanups.append(lambda: subprocess.run(["umount", str(folder)], capture_output=True, check=False))
    return folder


def _fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return filler
