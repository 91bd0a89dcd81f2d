"""The loop of a controller that has async methods: asyncio, with the wire as one of its descriptors.

A coroutine is stepped under the same rules as a plain method: while a step runs on the main thread, `Cancelled` may
strike it. Between its steps a cancelled call's task is cancelled in asyncio's own way, so that whatever it awaits is
cancelled too; what then rises inside the coroutine is a `Cancelled` that is a `CancelledError` as well.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
from typing import Any, Callable, Optional

from . import errors
from ._controller import Cancelled
from .calls import CURRENT, Call
from .errors import NotJson
from .page import MASK
from .router import Router


class CancelledInLoop(Cancelled, asyncio.CancelledError):
    """`Cancelled`, where there is an asyncio loop."""


CancelledInLoop.__name__ = CancelledInLoop.__qualname__ = Cancelled.__name__
CancelledInLoop.__module__ = "baskd"


class AsyncLoop:
    """Runs the router in an asyncio loop of its own, which is there before the first hook."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._loop = asyncio.SelectorEventLoop(_Selector(router))
        asyncio.set_event_loop(self._loop)
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._pumping = False
        self._turning = False
        router.cancelled_type = CancelledInLoop
        router.start_async = self._start
        router.wake = lambda: self._loop.call_soon_threadsafe(self._pump)

    def call(self, function: Callable[[], Any]) -> None:
        """Runs a hook, which may be async, and may start tasks."""

        async def run() -> None:
            given = function()
            if inspect.isawaitable(given):
                await given

        self._loop.run_until_complete(run())

    def serve(self) -> None:
        """Returns when the input has ended, and every call has."""
        self._loop.add_reader(self._router.reader.fileno(), self._on_readable)
        self._loop.call_soon(self._pump)
        self._loop.run_until_complete(self._ended)
        self._router.about_to_wait()
        self._loop.run_in_executor(None, self._router.sending.wait_for_calls)
        self._router.sending.wait_for_calls()

    def close(self) -> None:
        """Cancels what tasks the controller has left behind, and ends the loop."""
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=1))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    # Reading

    def _on_readable(self) -> None:
        reader = self._router.reader
        reader.look()
        if reader.ended:
            self._loop.remove_reader(reader.fileno())
        self._pump()

    def _pump(self) -> None:
        router = self._router
        router.pump()
        if router.reader.lines:
            self._soon()
        elif router.reader.ended:
            self._when_all_is_read()
        self._turn_soon()
'''
