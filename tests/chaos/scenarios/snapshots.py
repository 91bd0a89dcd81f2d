"""What a controller remembers: it comes back from the last snapshot, whatever dies."""

from __future__ import annotations

import errno
import time

from ..client import Client
from ..load import Load
from ..round import Round
from ..shim import AFTER, BEFORE, FAIL, HALF, HOWS, Shim
from . import scenario
from .daemons import is_whole, shimmed


@scenario("snapshots", rounds=2)
def snapshots(round: Round) -> None:
    """Snapshots every 50 ms, Python and the daemon killed at random moments: counters go on from the last one."""
    round.start(config='snapshot_every = "50ms"\n')
    round.ready()
    for number in range(3):
        round.client(f"client{number}", Load(calls=250).steps, survives=True)
    with round.running():
        for _ in range(round.chance.randrange(4, 8)):
            time.sleep(0.15 * round.chance.random())
            if round.chance.random() < 0.3:
                round.kill_daemon()
                is_whole(round, "snapshot.json")
                round.start_again()
            else:
                round.signal_python(9)


@scenario("snapshot-steps")
def snapshot_steps(round: Round) -> None:
    """The daemon is killed before, after and half way through each step of writing a snapshot; and each fails."""
    shim = shimmed(round, "snapshot")
    round.start(config="snapshot_every = 0\n", env=shim.env)
    client = round.talk("client0")
    _count(client)
    _reload(round)
    _written(shim, 0)
    before = shim.count
    _count(client)
    _reload(round)
    steps = _written(shim, before)
    moments = [(number, how) for number in range(1, len(steps) + 1) for how in (BEFORE, AFTER, FAIL)]
    moments += [(number, HALF) for number, step in enumerate(steps, 1) if step.startswith("write")]
    if not round.is_long:
        moments = sorted(round.chance.sample(moments, min(10, len(moments))))
    for number, how in moments:
        _count(client)
        shim.arm(number, how, errno.ENOSPC)
        if how == FAIL:
            round.fault(f"disk: ENOSPC {HOWS[how]} {steps[number - 1]}")
            _fail_to_write(round, shim, client)
        else:
            _die_in_writing(round, shim, client, f"daemon SIGKILL {HOWS[how]} {steps[number - 1]}")
        _count(client)
    round.ready()


def _die_in_writing(round: Round, shim: Shim, client: Client, kind: str) -> None:
    try:
        with round.ask() as connection:
            connection.call("daemon.reload", may_fail=True)
    except (ConnectionError, EOFError):
        pass  # It is written while the new Python serves already, so this may have been answered.
    round.live.wait(10)
    client.drop("daemon")
    round.fault(kind)
    round.buried(kind)
    shim.disarm()
    is_whole(round, "snapshot.json")
    round.start_again()
    client.connect()


def _fail_to_write(round: Round, shim: Shim, client: Client) -> None:
    """The new Python has the state all the same; and what could not be written is no hindrance to the next."""
    _reload(round)
    _count(client)
    shim.disarm()
    before = shim.count
    _reload(round)
    _written(shim, before)


@scenario("refused-state")
def refused_state(round: Round) -> None:
    """An on_restore that raises, after a crash and in the next daemon: the state is put aside, and calls are served."""
    round.start(config='snapshot_every = "30ms"\n')
    round.ready()
    client = round.talk("client0")
    for number in range(round.chance.randrange(2, 4)):
        _count(client)
        _reload(round)
        round.boot.write_text("refuse\nok")
        round.fault("on_restore refuses")
        if round.chance.random() < 0.5:
            round.signal_python(9)
        else:
            client.drop("daemon")
            round.kill_daemon()
            round.start_again()
            client.connect()
        _count(client)
        round.live.wait_for_log("is put aside as")
        starts = [entry for entry in round.entries() if entry.kind == "x"]
        if len(starts) != number + 1:
            round.history.found.append(f"on_restore was tried {len(starts)} times for {number + 1} refusals")


def _count(client: Client) -> None:
    client.call(client.new("count", may={"BackendCrashed"}))


def _written(shim: Shim, before: int) -> list[str]:
    """Waits until a snapshot is on disk, which a reload does not, and gives the steps that it took."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        steps = shim.steps(before)
        if len(steps) > 1 and steps[-2].startswith("rename") and steps[-1].startswith("fsync"):
            return steps
    raise TimeoutError(f"10 s after a reload, writing its snapshot has taken these steps: {shim.steps(before)}")


def _reload(round: Round) -> None:
    with round.ask() as connection:
        connection.call("daemon.reload")
    round.note_kept("a reload went well")
