"""The loop of a controller that has async methods: asyncio, with the wire as one of its descriptors.

A coroutine is stepped under the same rules as a plain method: while a step runs on the main thread, `Cancelled` may
strike it. Between its steps a cancelled call's task is cancelled in asyncio's own way, so that whatever it awaits is
cancelled too; what then rises inside the coroutine is a `Cancelled` that is a `CancelledError` as well.
"""

from __future__ import annotations

import asyncio
import inspect
import selectors
import traceback
from functools import partial
from time import perf_counter
from typing import Any, Callable, Optional

from . import errors
from ._controller import Cancelled
from .calls import CURRENT, Call
from .router import Router


class CancelledInLoop(Cancelled, asyncio.CancelledError):
    """`Cancelled`, where there is an asyncio loop."""


CancelledInLoop.__name__ = CancelledInLoop.__qualname__ = Cancelled.__name__
CancelledInLoop.__module__ = "baskd"


# A generator that never really waits lets others run after so long, in seconds.
_TURN = 1e-3


class AsyncLoop:
    """Runs the router in an asyncio loop of its own, which is there before the first hook."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._loop = asyncio.SelectorEventLoop(_Selector(router, self._answer_for_the_dead))
        asyncio.set_event_loop(self._loop)
        self._all_ended: asyncio.Future[None] = self._loop.create_future()
        self._pump_is_due = False
        self._turn_is_due = False
        router.cancelled_type = CancelledInLoop
        router.start_async = self._start
        router.wake = self._wake

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
        self._pump_soon()
        self._loop.run_until_complete(self._all_ended)
        self._router.about_to_wait()

    def close(self) -> None:
        """Cancels the tasks that the controller has left behind."""
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=1))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    # What is read, and generators' turns

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._pump_soon)

    def _on_readable(self) -> None:
        reader = self._router.reader
        reader.look()
        if reader.ended:
            self._loop.remove_reader(reader.fileno())
        if not self._pump_is_due:
            self._pump()

    def _pump_soon(self) -> None:
        if not self._pump_is_due:
            self._pump_is_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_due = False
        router = self._router
        if router.starting:
            self._answer_for_the_dead()
        try:
            self._apart(router.pump.run)
        except Exception as problem:
            self._fail(problem)
            return
        if router.forked:
            router.leave_child(None)
        if router.pump.messages or router.reader.blocks or router.reader.controls:
            self._pump_soon()
        elif router.reader.ended:
            self._let_end()
        self._turn_soon()

    def _turn_soon(self) -> None:
        if self._router.generators.runnable and not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        router = self._router
        try:
            if router.generators.runnable:
                self._apart(router.generators.turn)
        except Exception as problem:
            self._fail(problem)
            return
        if router.reader.ended:
            self._pump_soon()
        self._turn_soon()

    def _apart(self, work: Callable[[], None]) -> None:
        """Runs plain methods and generators as if there were no loop: an `asyncio.run()` in one works here, too."""
        asyncio._set_running_loop(None)
        try:
            work()
        finally:
            asyncio._set_running_loop(self._loop)

    def _let_end(self) -> None:
        """All input is read: what can go on does; what waits for credit can't."""
        router = self._router
        for call in list(router.live.values()):
            if call.held is not None:
                router.generators.cancel(call)
            elif call.more is not None:
                call.more()
        if not router.live and not self._all_ended.done():
            self._all_ended.set_result(None)

    def _fail(self, problem: Exception) -> None:
        """The router itself has failed. Nothing would read the wire any more, so this must not go on."""
        if self._all_ended.done():
            raise problem
        self._all_ended.set_exception(problem)

    # Async calls

    def _start(self, call: Call) -> None:
        self._router.starting += 1
        call.task = self._loop.create_task(self._run(call))

    def _answer_for_the_dead(self) -> None:
        """User code may cancel any task, even one that has not begun, of which then nothing runs at all.

        Asked when something may wait for such a call to begin, and when the loop blocks: it costs other calls nothing.
        """
        router = self._router
        for call in [each for each in router.live.values() if each.task is not None and not each.begun]:
            if not call.task.done():
                continue
            router.starting -= 1
            problem = asyncio.CancelledError("its task was cancelled, by other code here, before it began")
            router.finish(call, router.error_line(call.ident, router.error_of(problem, call.ident, call.method)))

    async def _run(self, call: Call) -> None:
        router, ident = self._router, call.ident
        router.starting -= 1
        if router.is_cancelled(ident):
            router.finish(call, router.error_line(ident, errors.cancelled()))
            return
        CURRENT.set(call)
        call.begun = True
        assert call.begin is not None
        try:
            router.begin(ident)
            result = call.begin()
            if inspect.isasyncgen(result):
                await self._drain(call, result)
                result = None
            elif inspect.isawaitable(result):
                result = await _Steps(router, call, result)
            if router.forked:
                router.leave_child(None)
            line = router.result_line(ident, result)
        except BaseException as problem:
            line = router.error_line(ident, router.error_of(problem, ident, call.method))
            if router.struck_call == ident:
                # A coroutine that it had made, and not awaited yet, goes now: see `Router.is_unwinding`.
                router.current = call
                traceback.clear_frames(problem.__traceback__)
                router.current = None
        router.finish(call, line)

    async def _drain(self, call: Call, generator: Any) -> None:
        """Sends all that an async generator yields, pausing it at its yields while there is no credit."""
        router = self._router
        until = perf_counter() + _TURN
        while True:
            try:
                item = await _Steps(router, call, generator.__anext__())
            except StopAsyncIteration:
                return
            if router.forked:
                router.leave_child(None)
            try:
                await self._offer(call, router.item_line(call.ident, router.encode(item)))
                if perf_counter() > until:
                    await asyncio.sleep(0)
                    until = perf_counter() + _TURN
            except BaseException as problem:
                raise await self._thrown(call, generator, problem) from None

    async def _offer(self, call: Call, line: bytes) -> None:
        router = self._router
        while not router.sending.offer(call, line):
            if router.reader.ended:
                raise CancelledInLoop("nobody is left to send to")
            there_is_more = self._loop.create_future()
            call.more = partial(_resolve, there_is_more)
            try:
                await there_is_more
            finally:
                call.more = None

    async def _thrown(self, call: Call, generator: Any, problem: BaseException) -> BaseException:
        """Has a paused generator hear of it: of its cancelling, or that what it yielded is not JSON. What remains."""
        if isinstance(problem, asyncio.CancelledError) and self._router.is_cancelled(call.ident):
            problem = CancelledInLoop("the call was cancelled")
        try:
            await _Steps(self._router, call, generator.athrow(problem))
            await _Steps(self._router, call, generator.aclose())  # It caught that, and yielded again.
        except BaseException as raised:
            if not isinstance(raised, StopAsyncIteration):
                return raised
        return problem


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Steps:
    """Awaits something for a call, with the call `running` during each step of it."""

    __slots__ = ("_call", "_inner", "_router")

    def __init__(self, router: Router, call: Call, awaitable: Any) -> None:
        self._router = router
        self._call = call
        self._inner = awaitable.__await__()

    def __await__(self) -> _Steps:
        return self

    def __iter__(self) -> _Steps:
        return self

    def __next__(self) -> Any:
        return self._step(self._inner.send, None)

    def send(self, value: Any) -> Any:
        return self._step(self._inner.send, value)

    def throw(self, kind: Any, value: Any = None, _: Any = None) -> Any:
        problem = kind if value is None else value
        if isinstance(problem, type):
            problem = problem()
        if isinstance(problem, asyncio.CancelledError) and self._router.is_cancelled(self._call.ident):
            problem = CancelledInLoop("the call was cancelled")
        return self._step(self._inner.throw, problem)

    def close(self) -> None:
        self._inner.close()

    def _step(self, resume: Callable[[Any], Any], value: Any) -> Any:
        router = self._router
        router.current = self._call
        try:
            try:
                router.running = self._call.ident
                awaited = resume(value)
            finally:
                router.running = 0
            if router.forked:
                router.leave_child(None)  # Its parent's loop, with all that waits there, is none of its own.
            return awaited
        except CancelledInLoop as cancelled:
            if getattr(cancelled, "struck_in", None) is not _STEP or cancelled.__context__ is not None:
                raise  # Struck in the user's code, or when that had just ended, by raising something.
            cancelled.struck_in = None  # type: ignore[attr-defined]
            return self._inner.throw(cancelled)  # Struck here, just before the step or after: it has yet to hear of it.
        finally:
            router.current = None


_STEP = _Steps._step.__code__


class _Selector(selectors.DefaultSelector):
    """Where asyncio blocks; just before it does, everything that is ready leaves."""

    def __init__(self, router: Router, answer_for_the_dead: Callable[[], None]) -> None:
        super().__init__()
        self._router = router
        self._answer_for_the_dead = answer_for_the_dead

    def select(self, timeout: Optional[float] = None) -> Any:
        if timeout is None or timeout > 0:
            if self._router.starting:
                self._answer_for_the_dead()
            self._router.about_to_wait()
        else:
            self._router.outbox.flush()
        return super().select(timeout)
