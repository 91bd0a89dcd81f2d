"""Streams, messages and log lines, for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from ._errors import BaskdError, TimedOut
from ._loop import LoopConnection, LoopLink, woken
from ._messages import log_gap
from ._options import Request
from ._sinks import FeedSink, Message, Sink, StreamSink

T = TypeVar("T")

_log = logging.getLogger("baskd")


class AsyncFeed(Generic[T]):
    """What comes by a subscription, without an end but `aclose()`.

    A connection that is lost is made again in the background, as soon as a daemon answers; then an item says that
    there may be a gap. If the daemon refuses the subscription, that error is raised.
    """

    def __init__(self, connection: LoopConnection, sink: FeedSink) -> None:
        self._connection = connection
        self._sink = sink
        # Asked for at once, so that what a call sends is not missed that is made before the first step.
        connection.add(sink)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        sink = self._sink
        while not sink.items:
            if sink.over:
                raise sink.error or StopAsyncIteration
            if not sink.fed:
                await self._connection.subscribed(sink)
                continue
            if sink.detached:
                self._connection.keep()
            await woken(sink)
        item: T = sink.items.popleft()
        return item

    async def aclose(self) -> None:
        self._connection.remove(self._sink)

    async def __aenter__(self) -> AsyncFeed[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            link = self._connection.link
            if self._sink.over:
                return
            if link is not None and not link.loop.is_closed():
                # A finalizer may run in any thread.
                link.loop.call_soon_threadsafe(self._connection.remove, self._sink)
            else:  # nothing feeds it, and nothing is to
                self._connection.feeds.remove(self._sink)


class AsyncListener:
    """A callback for messages. It stays, whether or not anybody holds this, until `aclose()`."""

    def __init__(self, connection: LoopConnection, sink: FeedSink, task: asyncio.Task[None]) -> None:
        self._connection = connection
        self._sink = sink
        self._task = task

    async def aclose(self) -> None:
        """Ends it, after what has come so far was handed over."""
        self._connection.remove(self._sink)
        if asyncio.current_task() is not self._task:
            await self._task


class AsyncStream:
    """One call's partial results; afterwards its return value is `result`.

    Leaving the loop early, `aclose()`, the end of an `async with` and cancelling the task cancel the call.
    """

    def __init__(
        self,
        connection: LoopConnection,
        method: str,
        params: Any,
        timeout: float | None,
        window: int,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> None:
        self._connection = connection
        self._asked = (method, params, timeout, window, traceparent, tracestate)
        Request(*self._asked)  # a mistake is told here
        self._request: Request | None = None  # once it was made, until it has begun
        self._link: LoopLink | None = None
        self._sink = StreamSink(window)
        self._closed = False
        self._lock: asyncio.Lock | None = None

    @property
    def _asking(self) -> asyncio.Lock:
        """Of the tasks that read it one asks. Made in the loop, to which Python 3.9 binds it."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._closed:
            raise StopAsyncIteration
        try:
            while True:
                link = self._link or await self._started()
                await link.wait(self._sink)
                if self._sink.items or not self._is_refused():
                    break
                async with self._asking:
                    if self._link is link:  # else another task has done that
                        await self._make_again(link)
        except BaseException:
            await self.aclose()
            raise
        sink = self._sink
        if not sink.items:
            raise sink.error or StopAsyncIteration
        self._request = None
        item = sink.items.popleft()
        if more := sink.grant():
            link.notify("stream.more", [sink.subscription, more])
        return item

    async def _started(self) -> LoopLink:
        async with self._asking:
            if self._closed:  # by another task, which has failed
                raise StopAsyncIteration
            return self._link or await self._start()

    async def _start(self) -> LoopLink:
        request = self._request = self._request or Request(*self._asked)
        link, pending = await self._connection.send(request)
        self._link, self._sink = link, cast(StreamSink, pending.sink)
        if self._closed:  # by another task, meanwhile
            link.cancel(pending)
        else:
            await self._connection.answer(link, pending, request)
        if not self._is_refused():
            pending.outcome()
        return link

    def _is_refused(self) -> bool:
        """Whether it has ended so that it is to be asked of the next daemon."""
        request = self._request
        return request is not None and not self._connection.closed and request.is_refused(self._sink.error)

    async def _make_again(self, link: LoopLink) -> None:
        assert self._request is not None
        refusal = cast(BaskdError, self._sink.error)
        await self._connection.await_next(link, self._request)
        self._link = None
        try:
            await self._connection.live(self._request.deadline)
        except TimedOut:
            raise
        except BaskdError as error:
            raise refusal from error

    @property
    def result(self) -> Any:
        """What the method returned; known when the loop has ended by itself."""
        sink = self._sink
        if sink.error is not None and not sink.items:
            raise sink.error
        if not sink.ended or sink.items:
            raise RuntimeError("A stream has a result after its last item; this one is not there yet or was closed.")
        return sink.result

    async def aclose(self) -> None:
        """Cancels the call, unless it has ended."""
        self._closed = True
        if self._link is not None:
            _end(self._link, self._sink)

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if self._link is not None and not self._sink.over:
                # A finalizer may run in any thread.
                self._link.loop.call_soon_threadsafe(_end, self._link, self._sink)


def _end(link: LoopLink, sink: Sink) -> None:
    if not sink.over:
        link.end(sink)


async def listen(sink: FeedSink, callback: Callable[[Any], object], on_gap: Callable[[Message], object] | None) -> None:
    """Hands messages to a callback. It is woken before whoever waits for the answer that comes after them."""
    while sink.items or not sink.over:
        if not sink.items:
            await woken(sink)
            continue
        message: Message = sink.items.popleft()
        try:
            gap = message.dropped or message.restarted
            handled = (on_gap or log_gap)(message) if gap else callback(message.data)
            if inspect.isawaitable(handled):
                await handled
        except Exception:
            _log.exception("The callback for messages raised")
    if sink.error is not None:
        _log.error("No more messages: %s", sink.error)
