"""What a call is sent as: its arguments, its time limit, a stream's window."""

from __future__ import annotations

import math
import time
from typing import Any

from ._errors import BaskdError, TimedOut, UsageError
from ._retry import REFUSALS, never_began
from ._wire import Params

# The daemon answers a call that is late. Only if it does not, so much later, is it given up here.
GRACE_SECONDS = 5.0


class Request:
    """One call, as the caller asks for it. The line for it is made when it is written, which may be a second time, and
    after a part of its time has passed."""

    __slots__ = ("deadline", "method", "params", "refusals", "timeout", "traceparent", "tracestate", "window")

    def __init__(
        self,
        method: str,
        params: Params,
        timeout: float | None,
        window: int | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> None:
        if timeout is not None and not 0 <= timeout < math.inf:
            raise UsageError(f"A timeout is a number of seconds, not {timeout}.")
        self.method = method
        self.params = params
        self.timeout = timeout
        self.window = window
        self.refusals = 0  # by daemons that stop
        self.traceparent = traceparent
        self.tracestate = tracestate
        self.deadline = None if timeout is None else time.monotonic() + timeout

    def is_refused(self, error: BaskdError | None) -> bool:
        """Whether it is to be made again, of the next daemon: one that stops has not begun it."""
        return never_began(error) and self.refusals < REFUSALS

    def for_the_wire(self) -> tuple[str, Params]:
        """The method and the params to write; a call with a timeout, or of a trace, goes by `rpc.call`."""
        if self.deadline is None and self.window is None and self.traceparent is None:
            return self.method, self.params
        options: dict[str, Any] = {"method": self.method}
        if self.params is not None:
            options["params"] = self.params
        if self.deadline is not None:
            options["timeout_ms"] = max(1, math.ceil((self.deadline - time.monotonic()) * 1000))
        if self.traceparent is not None:
            options["traceparent"] = self.traceparent
            if self.tracestate is not None:
                options["tracestate"] = self.tracestate
        if self.window is None:
            return "rpc.call", options
        return "stream.call", {**options, "window": self.window}

    def given_up(self) -> float | None:
        """When an answer is no longer waited for."""
        return None if self.deadline is None else self.deadline + GRACE_SECONDS

    def unanswered(self) -> TimedOut:
        """Where even the daemon's TimedOut does not come: it is stopped, or starved."""
        return TimedOut(
            f"The daemon itself did not answer {self.method} within its {self.timeout} s: see `baskd status`."
        )


def arguments(method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Params:
    """A call's arguments as params: positional ones an array, keywords an object."""
    if args and kwargs:
        raise TypeError(
            f"{method}() takes its arguments by position or by name, not both: JSON-RPC has no way to say so"
        )
    return list(args) if args else kwargs or None
