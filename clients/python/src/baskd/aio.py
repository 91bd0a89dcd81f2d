"""The client for asyncio: `connect_async()`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any

from ._errors import BaskdError
from ._loop import LoopConnection
from ._loop_streams import AsyncFeed, AsyncListener, AsyncStream, listen
from ._options import Request, arguments
from ._retry import ASK_SECONDS, because, lost_under_way, says_idempotent, sooner
from ._sinks import Message, Pending, log_feed, message_feed
from ._start import Target
from ._wire import Params

__all__ = ["AsyncClient", "AsyncFeed", "AsyncListener", "AsyncRemoteMethod", "AsyncStream", "Message", "connect_async"]


def connect_async(
    name: str | None = None,
    *,
    controller: str | os.PathLike[str] | None = None,
    socket: str | os.PathLike[str] | None = None,
    python: str | os.PathLike[str] | None = None,
    start: bool = True,
) -> AsyncClient:
    """`async with connect_async() as backend`, or `backend = await connect_async()`.

    As `connect`, it raises StartFailed or NotRunning if no daemon answers and none can be started.
    """
    return AsyncClient(controller, name=name, socket=socket, python=python, start=start)


class AsyncClient:
    """`Client` for one event loop: `await backend.increment(by=5)`, `async for item in backend.stream(…)`.

    Cancelling a task cancels the call that it waits for. All else is as `Client` has it, but for this: while there are
    subscriptions, a connection that is lost is made again in the background.
    """

    def __init__(
        self,
        controller: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        socket: str | os.PathLike[str] | None = None,
        python: str | os.PathLike[str] | None = None,
        start: bool = True,
    ) -> None:
        self._connection = LoopConnection(Target(controller, name, socket, python, start))
        self._listeners: list[asyncio.Task[None]] = []

    # --- calls ------------------------------------------------------------------------------------------------

    async def call(
        self, method: str, params: Params = None, *, timeout: float | None = None, idempotent: bool | None = None
    ) -> Any:
        """Calls a method and returns its result. `params` is a dict (by name) or a list (by position).

        After `timeout` seconds the call is cancelled and TimedOut raised; the time that it takes to connect, and to
        start a daemon, counts.

        A call that is under way when the connection is lost raises Disconnected: it may have run. One that is
        `idempotent` is sent again, once. If you don't say whether it is, the controller does, by `@idempotent`;
        it is asked when that matters, at most for 2 s.
        """
        request = Request(method, params, timeout)
        link, pending = await self._connection.send(request)
        await self._connection.answer(link, pending, request)
        if lost_under_way(pending) and await self._may_be_sent_again(request, pending, idempotent):
            lost = pending
            try:
                link, pending = await self._connection.send(request)
            except BaskdError as error:
                because(lost.error, error)
                return lost.outcome()
            await self._connection.answer(link, pending, request)
        return pending.outcome()

    async def _may_be_sent_again(self, request: Request, lost: Pending, idempotent: bool | None) -> bool:
        if self._connection.closed:
            return False
        if idempotent is not None:
            return idempotent
        deadline = sooner(time.monotonic() + ASK_SECONDS, request.deadline)
        try:
            link = await self._connection.live(deadline)
            asked = link.shared("rpc.discover")
            if not await link.wait_until(asked, deadline):
                return False
            return says_idempotent(asked.outcome(), request.method)
        except BaskdError as error:
            because(lost.error, error)
            return False

    def stream(
        self, method: str, params: Params = None, *, window: int = 256, timeout: float | None = None
    ) -> AsyncStream:
        """An asynchronous iterator over what the method sends or yields. The call starts with the first step.

        At most `window` items are under way or waiting here: a generator pauses until they are taken. If the connection
        is lost it ends with Disconnected, after the items that came.
        """
        return AsyncStream(self._connection, method, params, timeout, window)

    def __getattr__(self, name: str) -> AsyncRemoteMethod:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return AsyncRemoteMethod(self, name)

    # --- properties -------------------------------------------------------------------------------------------

    async def get(self, name: str) -> Any:
        """A property's value."""
        return await self.call("getProperty", {"name": name}, idempotent=True)

    async def set(self, name: str, value: Any) -> Any:
        """Sets a property, which outlives the Python process; returns its value."""
        return await self.call("setProperty", {"name": name, "value": value})

    get_property = get
    set_property = set

    # --- messages and logs ------------------------------------------------------------------------------------

    async def on_message(
        self,
        callback: Callable[[Any], object],
        *,
        scope: str = "own",
        method: str | None = None,
        on_gap: Callable[[Message], object] | None = None,
    ) -> AsyncListener:
        """Has `callback(data)` called, or awaited, with what calls send, until the listener is closed.

        A function is called with all that a call sent before that call's result is there; a coroutine is
        awaited beside it.

        Where messages may be missing, `on_gap` is called, or awaited, with a Message that says so: `dropped`, if they
        came faster than they were taken, or `restarted`, if the connection was lost. Without it, this is logged.
        """
        sink = message_feed(scope, method)
        try:
            self._connection.add(sink)
            await self._connection.subscribed(sink)
        except BaseException:
            self._connection.remove(sink)
            raise
        task = asyncio.ensure_future(listen(sink, callback, on_gap))
        self._listeners.append(task)
        task.add_done_callback(self._listeners.remove)
        return AsyncListener(self._connection, sink, task)

    def messages(self, *, scope: str = "own", method: str | None = None) -> AsyncFeed[Message]:
        """An asynchronous iterator over what calls send, without an end but `aclose()`. Where some may be missing, it
        has a Message that says so: by `dropped` or `restarted`."""
        return AsyncFeed(self._connection, message_feed(scope, method))

    def logs(self, *, lines: int | None = None) -> AsyncFeed[dict[str, Any]]:
        """An asynchronous iterator over the daemon's log lines. `{"dropped": N}` and `{"restarted": True}` stand where
        some are, or may be, missing. With `lines`, so many of the last ones come first, then `{"live": True}`; and
        again after a reconnection."""
        return AsyncFeed(self._connection, log_feed(lines))

    # --- the daemon -------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """`daemon.status`, as PROTOCOL.md has it."""
        status: dict[str, Any] = await self.call("daemon.status", idempotent=True)
        return status

    async def methods(self) -> list[dict[str, Any]]:
        """The controller's methods, as OpenRPC method objects: those it has now, for a reload may change them."""
        methods: list[dict[str, Any]] = (await self.call("rpc.discover", idempotent=True))["methods"]
        return methods

    async def restart(self) -> None:
        """Starts Python anew, and returns when it is ready. Properties are set again."""
        await self.call("daemon.restart", idempotent=False)

    async def reload(self) -> None:
        """Loads the controller anew beside the old one, then switches over. Nothing is dropped."""
        await self.call("daemon.reload", idempotent=False)

    async def shutdown(self) -> None:
        """Stops the daemon. The next call would start one again."""
        await self.call("daemon.shutdown", idempotent=False)

    async def close(self) -> None:
        """Ends the connection, and with it the calls that still run. Nothing connects again."""
        await self._connection.close()
        here = asyncio.current_task()  # which may be a callback's
        await asyncio.gather(*(task for task in self._listeners if task is not here), return_exceptions=True)

    aclose = close

    def __await__(self) -> Generator[Any, None, AsyncClient]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> AsyncClient:
        await self._connection.live()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<baskd.AsyncClient {self._connection.target.path}>"


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
