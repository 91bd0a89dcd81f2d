"""A call that outlives the moment it was read in: one that sends items, pauses, or runs beside others."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Callable, Optional, Sequence

from .methods import Method

#: A window without bounds, for callers that give no credit.
UNBOUNDED = (1 << 62, 1 << 62)

#: Credit: items, bytes.
Window = Sequence[int]


class Call:
    """One such call. `items` and `bytes` are its credit; whoever changes them holds the credit's lock."""

    __slots__ = (
        "begin",
        "begun",
        "bytes",
        "generator",
        "held",
        "ident",
        "items",
        "last",
        "method",
        "more",
        "task",
        "tokens",
        "trace",
    )

    def __init__(self, ident: int, method: Optional[Method], window: Window) -> None:
        self.ident = ident
        self.method = method
        self.items, self.bytes = window
        #: A part of `items` that a generator's turn has taken: an entry each. `pop` is atomic, and needs no lock.
        self.tokens: list[None] = []
        #: When it sent its last item, by perf_counter().
        self.last = 0.0
        #: Whether its user code has started.
        self.begun = False
        #: Calls its method, and from then on, for generators, what that gave.
        self.begin: Optional[Callable[[], Any]] = None
        self.generator: Any = None
        #: A generator's item, as a line, that waits for credit.
        self.held: Optional[bytes] = None
        #: An async call's task, and what tells its async generator that there is credit.
        self.task: Any = None
        self.more: Optional[Callable[[], None]] = None
        #: The `traceparent` of its client, and the `tracestate`, if it has given them.
        self.trace: Sequence[str] = ()


#: The call that a thread, or a task with all that it starts, works for.
CURRENT: ContextVar[Optional[Call]] = ContextVar("baskd_call", default=None)
