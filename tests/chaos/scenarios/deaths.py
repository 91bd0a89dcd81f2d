"""Python dies: from inside in every way there is, from outside at any moment."""

from __future__ import annotations

import signal
import time

from support.daemon import CONTROLLERS

from ..load import Load
from ..round import Round
from . import scenario

CRASHES = frozenset(("BackendCrashed",))
#: Where processes die before they have answered anything, the breaker may open for a while.
WITH_BREAKER = CRASHES | {"BackendUnavailable"}


@scenario("deaths", rounds=2)
def deaths(round: Round) -> None:
    """Calls that end their Python: by signals, by exit, out of memory, with a child that holds its pipes."""
    round.start()
    round.ready()
    load = Load(calls=120, dies=0.06, may=WITH_BREAKER)
    for number in range(3):
        round.client(f"client{number}", load.steps)
    with round.running():
        pass


@scenario("kills", rounds=2)
def kills(round: Round) -> None:
    """Python is killed from outside at random moments, under the load of four clients."""
    standby = round.chance.random() < 0.5
    round.start(config="standby = true\n" if standby else "")
    round.ready()
    for number in range(3):
        round.client(f"client{number}", Load(calls=250).steps)
    round.witness()
    with round.running():
        for _ in range(round.chance.randrange(6, 12)):
            round.signal_python(round.chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]))
            # Not to be safe, but for chance.
            time.sleep(round.chance.choice([0.0, 0.002, 0.02, 0.1]) * round.chance.random())
    round.recovery = "under load, with standby" if standby else "under load"


@scenario("workers")
def workers(round: Round) -> None:
    """Two workers, of which one or both are killed at random moments."""
    round.history.ordered = False
    round.start(f"{CONTROLLERS / 'chaos.py'}:Stateless", config="workers = 2\n")
    round.ready()
    for number in range(3):
        round.client(f"client{number}", Load(calls=200).steps)
    round.witness()
    with round.running():
        for _ in range(round.chance.randrange(5, 9)):
            if round.chance.random() < 0.3:
                # Whether a kill lets it succeed or not: it is answered.
                round.fault("reload of both workers")
                with round.ask() as connection:
                    connection.call("daemon.reload", may_fail=True)
            round.signal_python(signal.SIGKILL)
            time.sleep(round.chance.choice([0.0, 0.01, 0.05]) * round.chance.random())
