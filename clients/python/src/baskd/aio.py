"""The client for asyncio: `connect_async()`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import socket as sockets
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from ._errors import Disconnected
from ._link import Link
from ._socket import locate, open_socket
from ._wire import (
    FeedSink,
    Message,
    Params,
    Pending,
    Sink,
    StreamSink,
    Waitable,
    arguments,
    log_feed,
    message_feed,
    stream_options,
    unanswered,
    with_options,
)

__all__ = ["AsyncClient", "AsyncFeed", "AsyncListener", "AsyncRemoteMethod", "AsyncStream", "Message", "connect_async"]

T = TypeVar("T")

_log = logging.getLogger("baskd")

# As in `client`: when a daemon that lets a timeout pass is given up.
_GRACE_SECONDS = 5.0

# From how many calls under way on those of one turn of the loop are written together.
_MANY = 8


def connect_async(name: str | None = None, *, socket: str | os.PathLike[str] | None = None) -> AsyncClient:
    """`async with connect_async() as backend`, or `backend = await connect_async()`.

    As `connect`, it raises NotRunning if no daemon answers.
    """
    return AsyncClient(locate(name, socket))


class LoopLink(Link):
    """A connection that the event loop reads and writes.

    Bare readers and writers instead of a transport: a transport would not say how much of what it was given
    has left, and that decides whether a request may be sent again.
    """

    def __init__(self, sock: sockets.socket) -> None:
        super().__init__(sock)
        self.loop = asyncio.get_running_loop()
        self._writing = False
        self._flush_is_due = False
        self.loop.add_reader(self.sock, self.receive)

    def write(self, line: bytes) -> None:
        """With few calls under way each is written at once, which is soonest. With many, those of one turn of the loop
        go out together: a write for each would cost more than all else."""
        if self.session.awaited < _MANY:
            super().write(line)
            return
        self.append(line)
        if not self._flush_is_due:
            self._flush_is_due = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self._flush_is_due = False
        super().flush()
        writing = bool(self.outbox.data) and self.lost is None
        if writing and not self._writing:
            self.loop.add_writer(self.sock, self.flush)
        elif self._writing and not writing and self.lost is None:
            self.loop.remove_writer(self.sock)
        self._writing = writing

    async def wait(self, target: Waitable) -> None:
        while not target.ready() and self.lost is None:
            await _woken(target)

    async def drain(self) -> None:
        if self._flush_is_due:
            await asyncio.sleep(0)  # the flush stands before this in the loop's queue
        if self.outbox.data:
            await self.wait(self.outbox)

    def close(self) -> None:
        self.lose(Disconnected("This client was closed."))

    def _retire(self) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(self.sock)
            self.loop.remove_writer(self.sock)
        super()._retire()


class AsyncClient:
    """`Client` for one event loop: `await backend.increment(by=5)`, `async for item in backend.stream(…)`.

    Cancelling a task cancels the call that it waits for.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._link: LoopLink | None = None
        self._feeds: list[FeedSink] = []
        self._listeners: list[asyncio.Task[None]] = []
        self._closed = False

    # --- calls ------------------------------------------------------------------------------------------------

    async def call(self, method: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Calls a method and returns its result. `params` is a dict (by name) or a list (by position).

        After `timeout` seconds the call is cancelled and TimedOut raised.
        """
        link, pending = await self._send(*with_options(method, params, timeout))
        try:
            if timeout is None:
                await link.wait(pending)
            else:
                await asyncio.wait_for(link.wait(pending), timeout + _GRACE_SECONDS)
        except asyncio.TimeoutError:
            link.cancel(pending)
            raise unanswered(method, timeout) from None
        except BaseException:
            link.cancel(pending)
            raise
        return pending.outcome()

    def stream(
        self, method: str, params: Params = None, *, window: int = 256, timeout: float | None = None
    ) -> AsyncStream:
        """An asynchronous iterator over what the method sends or yields. The call starts with the first step.

        At most `window` items are under way or waiting here: a generator pauses until they are taken.
        """
        return AsyncStream(self, stream_options(method, params, timeout, window))

    def __getattr__(self, name: str) -> AsyncRemoteMethod:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return AsyncRemoteMethod(self, name)

    # --- properties -------------------------------------------------------------------------------------------

    async def get(self, name: str) -> Any:
        """A property's value."""
        return await self.call("getProperty", {"name": name})

    async def set(self, name: str, value: Any) -> Any:
        """Sets a property, which outlives the Python process; returns its value."""
        return await self.call("setProperty", {"name": name, "value": value})

    get_property = get
    set_property = set

    # --- messages and logs ------------------------------------------------------------------------------------

    async def on_message(
        self, callback: Callable[[Any], object], *, scope: str = "own", method: str | None = None
    ) -> AsyncListener:
        """Has `callback(data)` called, or awaited, with what calls send, until the listener is closed.

        A function is called with all that a call sent before that call's result is there; a coroutine is
        awaited beside it.
        """
        sink = message_feed(scope, method)
        await self._subscribe(sink)
        task = asyncio.ensure_future(_listen(sink, callback))
        self._listeners.append(task)
        task.add_done_callback(self._listeners.remove)
        return AsyncListener(self, sink, task)

    def messages(self, *, scope: str = "own", method: str | None = None) -> AsyncFeed[Message]:
        """An asynchronous iterator over what calls send, without an end but `aclose()`."""
        return AsyncFeed(self, message_feed(scope, method))

    def logs(self) -> AsyncFeed[dict[str, Any]]:
        """An asynchronous iterator over the daemon's log lines."""
        return AsyncFeed(self, log_feed())

    # --- the daemon -------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        status: dict[str, Any] = await self.call("daemon.status")
        return status

    async def methods(self) -> list[dict[str, Any]]:
        """The controller's methods, as OpenRPC method objects."""
        methods: list[dict[str, Any]] = (await self.call("rpc.discover"))["methods"]
        return methods

    async def restart(self) -> None:
        """Starts Python anew, and returns when it is ready. Properties are set again."""
        await self.call("daemon.restart")

    async def reload(self) -> None:
        """Loads the controller anew beside the old one, then switches over. Nothing is dropped."""
        await self.call("daemon.reload")

    async def shutdown(self) -> None:
        """Stops the daemon."""
        await self.call("daemon.shutdown")

    async def close(self) -> None:
        """Ends the connection, and with it the calls that still run."""
        self._closed = True
        if self._link is not None:
            self._link.close()
        for sink in self._feeds:
            sink.fail(None)
        self._feeds.clear()
        here = asyncio.current_task()  # which may be a callback's
        await asyncio.gather(*(task for task in self._listeners if task is not here), return_exceptions=True)

    aclose = close

    def __await__(self) -> Generator[Any, None, AsyncClient]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> AsyncClient:
        self._live()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<baskd.AsyncClient {self._path}>"

    # --- the connection ---------------------------------------------------------------------------------------

    def _live(self) -> LoopLink:
        """The connection, made (anew) if there is none. Connecting to a Unix socket does not wait."""
        if self._closed:
            raise Disconnected("This client was closed.")
        link = self._link
        if link is not None and link.loop is not asyncio.get_running_loop():
            link.lose(Disconnected("This connection belonged to another event loop."))
        if link is None or link.lost is not None:
            link = self._link = LoopLink(open_socket(self._path))
        for sink in tuple(self._feeds):
            if sink.detached and not sink.over:
                sink.detached = False
                sink.pending = link.request(*sink.request, sink=sink)
                sink.wake()
        return link

    async def _send(self, method: str, params: Params, window: int | None = None) -> tuple[LoopLink, Pending]:
        """Writes a request: to the connection there is, and if nothing of it has left when that turns out to
        be lost, to a new one."""
        for _ in range(2):
            link = self._live()
            pending = link.request(method, params, None if window is None else StreamSink(window))
            try:
                await link.drain()
            except BaseException:
                link.cancel(pending)
                raise
            if not (pending.unsent and isinstance(pending.error, Disconnected)):
                break
        return link, pending

    async def _subscribe(self, sink: FeedSink) -> None:
        self._feeds.append(sink)
        try:
            for _ in range(2):
                link = self._live()
                pending = cast(Pending, sink.pending)
                await link.wait(pending)
                if not sink.detached:
                    break
            pending.outcome()
        except BaseException:
            self._unsubscribe(sink)
            raise

    def _unsubscribe(self, sink: FeedSink) -> None:
        with contextlib.suppress(ValueError):
            self._feeds.remove(sink)
        if self._link is not None:
            self._link.end(sink)
        sink.fail(None)


class AsyncFeed(Generic[T]):
    """What comes by a subscription. When the connection is lost it connects again, once, and goes on; if no
    daemon answers it raises."""

    def __init__(self, client: AsyncClient, sink: FeedSink) -> None:
        self._client = client
        self._sink = sink
        if sink.pending is None:
            # Asked for at once, so that what a call sends is not missed that is made before the first step.
            client._feeds.append(sink)
            client._live()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        sink = self._sink
        while not sink.items:
            if sink.over:
                raise sink.error or StopAsyncIteration
            await self._client._live().wait(sink)
        item: T = sink.items.popleft()
        return item

    async def aclose(self) -> None:
        self._client._unsubscribe(self._sink)

    async def __aenter__(self) -> AsyncFeed[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if not self._sink.over and self._client._link is not None:
                self._client._link.loop.call_soon_threadsafe(self._client._unsubscribe, self._sink)


class AsyncListener:
    """A callback for messages. It stays, whether or not anybody holds this, until `aclose()`."""

    def __init__(self, client: AsyncClient, sink: FeedSink, task: asyncio.Task[None]) -> None:
        self._client = client
        self._sink = sink
        self._task = task

    async def aclose(self) -> None:
        """Ends it, after what has come so far was handed over."""
        self._client._unsubscribe(self._sink)
        if asyncio.current_task() is not self._task:
            await self._task


class AsyncStream:
    """One call's partial results; afterwards its return value is `result`.

    Leaving the loop early, `aclose()`, the end of an `async with` and cancelling the task cancel the call.
    """

    def __init__(self, client: AsyncClient, options: dict[str, Any]) -> None:
        self._client = client
        self._options = options
        self._link: LoopLink | None = None
        self._sink = StreamSink(options["window"])
        self._closed = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._closed:
            raise StopAsyncIteration
        try:
            link = self._link or await self._start()
            await link.wait(self._sink)
        except BaseException:
            await self.aclose()
            raise
        sink = self._sink
        if not sink.items:
            raise sink.error or StopAsyncIteration
        item = sink.items.popleft()
        if more := sink.grant():
            link.notify("stream.more", [sink.subscription, more])
        return item

    async def _start(self) -> LoopLink:
        link, pending = await self._client._send("stream.call", self._options, self._sink.window)
        self._link, self._sink = link, cast(StreamSink, pending.sink)
        try:
            await link.wait(pending)
        except BaseException:
            link.cancel(pending)
            raise
        pending.outcome()
        return link

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


class AsyncRemoteMethod:
    """A method of the controller: await its call, or `.stream(...)` it."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self._client = client
        self._name = name

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await self._client.call(self._name, arguments(self._name, args, kwargs))

    def stream(self, *args: Any, **kwargs: Any) -> AsyncStream:
        return self._client.stream(self._name, arguments(self._name, args, kwargs))

    def __repr__(self) -> str:
        return f"<baskd method {self._name}>"


def _end(link: LoopLink, sink: Sink) -> None:
    if not sink.over:
        link.end(sink)


async def _listen(sink: FeedSink, callback: Callable[[Any], object]) -> None:
    """Hands messages to a callback. It is woken before whoever waits for the answer that comes after them."""
    while sink.items or not sink.over:
        if not sink.items:
            # Without connecting, for there is nobody to tell that it can't: the next call connects.
            await _woken(sink)
            continue
        message: Message = sink.items.popleft()
        if message.dropped:
            _log.warning("%d messages were dropped, because they came faster than they were taken", message.dropped)
            continue
        try:
            handled = callback(message.data)
            if inspect.isawaitable(handled):
                await handled
        except Exception:
            _log.exception("The callback for messages raised")
    if sink.error is not None:
        _log.error("No more messages: %s", sink.error)


async def _woken(target: Waitable) -> None:
    future = asyncio.get_running_loop().create_future()

    def waker() -> None:
        if not future.done():
            future.set_result(None)

    target.wakers.append(waker)
    try:
        await future
    finally:
        target.wakers.remove(waker)
