"""When to try again: pure rules, which the sync and the async client share.

A request of which nothing had left is sent again, and nobody need know; nor of one that a daemon has not begun, since
it stops: the next daemon is asked, when this one's connection has ended, a few times at most.

One that had left may have run: it is sent again only if it is idempotent, once. That is what the caller says; if he
says nothing it is what the controller says, which is asked on the new connection, for what the old daemon knew may not
be so any more.
"""

from __future__ import annotations

import random
import time
from typing import Any

from ._errors import CLOSED, BaskdError, CallCancelled, Disconnected, TimedOut
from ._sinks import Pending

# How often a request is written of which nothing leaves: a daemon that hangs up on each connection is not running.
TRIES = 3

# How often a call is made again that daemons have not begun, since they stop: somebody has one after another end.
REFUSALS = 3

# How long somebody who is refused by a daemon that stops waits for the next one, where that is not to be started here.
NEXT_SECONDS = 2.0

# How often he looks for it.
KNOCK_SECONDS = 0.02

# How long a caller whose call was under way waits to be told whether it is idempotent; a daemon that was just started
# may still be starting its Python.
ASK_SECONDS = 2.0

_LONGEST_SECONDS = 2.0


class BackOff:
    """How long to wait before each try to connect: from 50 to 100 ms at first, from 1 to 2 s in the end. Random, so
    that the many clients of a daemon that restarts do not come back in step."""

    def __init__(self) -> None:
        self._whole = 0.1

    def next(self) -> float:
        whole, self._whole = self._whole, min(self._whole * 2, _LONGEST_SECONDS)
        return whole * random.uniform(0.5, 1)


def sooner(one: float | None, other: float | None) -> float | None:
    """The earlier of two deadlines, of which either may be none."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def left(deadline: float | None) -> float | None:
    """The seconds until then. Raises TimedOut if there are none."""
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise too_late()
    return seconds


def too_late() -> TimedOut:
    return TimedOut("The call's time passed before there was a daemon to take it.", data={"where": "starting"})


def never_left(pending: Pending) -> bool:
    return pending.unsent and isinstance(pending.error, Disconnected)


def lost_under_way(pending: Pending) -> bool:
    error = pending.error
    return isinstance(error, Disconnected) and error.message != CLOSED


def never_began(error: BaskdError | None) -> bool:
    return isinstance(error, CallCancelled) and error.never_began


def says_idempotent(document: Any, method: str) -> bool:
    """What the answer to `rpc.discover` says of a method."""
    try:
        return any(one["name"] == method and one.get("x-idempotent") is True for one in document["methods"])
    except (KeyError, TypeError, AttributeError):
        return False


def because(error: BaskdError | None, reason: BaskdError) -> None:
    """Has a traceback show why a call that was lost could not be sent again."""
    if error is not None and error is not reason:
        error.__cause__ = reason
