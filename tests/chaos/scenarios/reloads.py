"""Reloads, restarts and recycling under load: nothing may be dropped, whatever is killed meanwhile."""

from __future__ import annotations

import time

from ..load import Load
from ..round import Round
from . import scenario


@scenario("restarts")
def restarts(round: Round) -> None:
    """daemon.restart under load: nothing fails."""
    round.start()
    round.ready()
    for number in range(3):
        round.client(f"client{number}", Load(calls=150, may=frozenset()).steps)
    with round.running(), round.ask() as connection:
        for _ in range(3):
            time.sleep(0.1 * round.chance.random())
            round.fault("restart")
            connection.call("daemon.restart")
