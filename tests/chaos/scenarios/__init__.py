"""The scenarios: each breaks one kind of thing. A scenario is a function of a round, from whose seed its plan comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from ..round import Round

Play = Callable[[Round], None]


class Skipped(Exception):
    """This machine can't show it, and why."""


@dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    play: Play
    #: How many rounds the short run makes; 0: it is for the long run alone.
    rounds: int


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, rounds: int = 1) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        about = (play.__doc__ or "").split("\n")[0].rstrip(".")
        SCENARIOS[name] = Scenario(name, about, play, rounds)
        return play

    return register


def find(name: str) -> Optional[Scenario]:
    return SCENARIOS.get(name)


from . import clients, daemons, deaths, disk, garbage, recovery, reload_kills, reloads, snapshots, starts, stops  # noqa: E402, F401
