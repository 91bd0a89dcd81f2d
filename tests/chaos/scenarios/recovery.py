"""How long it takes from a death to the next answer, with a standby and without."""

from __future__ import annotations

import signal
import time

from ..round import READY, Round
from . import scenario

#: What the controller takes to warm up, in seconds, beside the start of Python: a small model.
WARM = "0.2"


@scenario("recovery")
def recovery(round: Round) -> None:
    """Python is killed under a client that calls without a pause, which is answered by a new one."""
    _kill_again_and_again(round, standby=False)


@scenario("recovery-standby")
def recovery_standby(round: Round) -> None:
    """The same, with `standby`: each kill waits until a second process is warm."""
    _kill_again_and_again(round, standby=True)


def _kill_again_and_again(round: Round, standby: bool) -> None:
    round.start(config=f"standby = {str(standby).lower()}\n", env={"CHAOS_WARM": WARM})
    round.ready()
    round.witness()
    with round.running():
        for _ in range(10):
            if standby:
                _until_warm(round)
            # A moment of chance, at which the client most likely waits for an answer.
            time.sleep(0.02 * round.chance.random())
            round.signal_python(signal.SIGKILL)
    round.recovery = "idle but for one client, with standby" if standby else "idle but for one client"


def _until_warm(round: Round) -> None:
    deadline = time.monotonic() + READY
    with round.ask() as connection:
        while time.monotonic() < deadline:
            beside = connection.call("daemon.status")["beside"]
            if any(process["state"] == "standby" and process["ready_ms"] is not None for process in beside):
                return
    raise TimeoutError(f"there is no standby after {READY} s")
