"""The client for threads: `connect()`."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any

from ._calls import Call, CallHandle, Stream
from ._connection import Connection
from ._errors import all_errors
from ._messages import Feed, Listener
from ._options import Request, arguments
from ._sinks import FeedSink, Message, log_feed, message_feed
from ._start import Target
from ._wire import Params

__all__ = ["CallHandle", "Client", "Feed", "Listener", "Message", "RemoteMethod", "Stream", "connect"]

_ERRORS = {error.__name__ for error in all_errors()}
_ASYNC = {"AsyncClient", "AsyncStream", "connect_async"}


def connect(
    name: str | None = None,
    *,
    controller: str | os.PathLike[str] | None = None,
    socket: str | os.PathLike[str] | None = None,
    python: str | os.PathLike[str] | None = None,
    start: bool = True,
) -> Client:
    """A `Client` that is connected. If no daemon answers and none can be started, this raises StartFailed, or
    NotRunning where there is nothing to start, or `start` is false, or `$BASKD_START` is 0."""
    client = Client(controller, name=name, socket=socket, python=python, start=start)
    client._connection.live()
    return client


def __getattr__(name: str) -> Any:
    """Inside the daemon `baskd` is the router's package, which looks here for what a client has: so the errors and the
    asyncio client are found here, too.

    By `import_module`, and no more than is asked for: `from . import aio` would ask the router's package for `aio`,
    which asks here; and the router pays for what is imported when it starts.
    """
    if name in _ERRORS:
        return getattr(import_module("._errors", __package__), name)
    if name in _ASYNC:
        return getattr(import_module(".aio", __package__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Client:
    """The way to one daemon, to be shared by threads. Use it in a `with`, or `close()` it.

    `backend.increment(by=5)` calls the controller's method; so does `backend.call("increment", {"by": 5})`,
    which also reaches methods whose names are this class's own or start with an underscore.

    The daemon is the one of that `name`, or at that `socket`; by default `$BASKD_SOCKET`, else `$BASKD_NAME`, else
    `default`. If none answers when something is asked of it, one is started, by `baskd start`: for `controller`
    (`path/to/controller.py`, `path.py:Class` or `package.module:Class`) and with `python` (an interpreter, or a venv's
    folder), else as its config says. `start=False`, or `BASKD_START=0` in the environment, has none started. A daemon
    that serves another controller than the given one is refused with WrongController.

    A connection that was lost is made again by the next request; a request of which nothing had left is sent again.
    Calls that were under way fail with Disconnected, unless they are idempotent: see `call`.
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
        self._connection = Connection(Target(controller, name, socket, python, start))
        self._listeners: list[Listener] = []
        _clients.add(self)

    # --- calls ------------------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        idempotent: bool | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Any:
        """Calls a method and returns its result. `params` is a dict (by name) or a list (by position).

        After `timeout` seconds the call is cancelled and TimedOut raised; the time that it takes to connect, and to
        start a daemon, counts. Ctrl-C cancels the call, too.

        A call that is under way when the connection is lost raises Disconnected: it may have run. One that is
        `idempotent` is sent again, once. If you don't say whether it is, the controller does, by `@idempotent`;
        it is asked when that matters, at most for 2 s. One that a daemon has not begun, since it stops, is sent to the
        next one.

        `traceparent` and `tracestate` are the W3C trace context that the call belongs to: the controller reads them by
        `baskd.traceparent()`. One that is malformed raises InvalidParams.
        """
        request = Request(method, params, timeout, None, traceparent, tracestate)
        call = Call(self._connection, request, idempotent)
        try:
            call.send()
            answered = call.wait(request.given_up())
        except BaseException:
            call.abandon()
            raise
        if not answered:
            call.abandon()
            raise request.unanswered()
        self._settle_listeners()
        return call.outcome()

    def submit(
        self,
        method: str,
        params: Params = None,
        *,
        timeout: float | None = None,
        idempotent: bool | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> CallHandle:
        """Sends a call and returns at once, with a handle to wait for its result or to cancel it. Whether it is to be
        sent again, where it is lost, is decided when its result is waited for."""
        call = Call(self._connection, Request(method, params, timeout, None, traceparent, tracestate), idempotent)
        try:
            call.send()
        except BaseException:
            call.abandon()
            raise
        return CallHandle(self, call)

    def stream(
        self,
        method: str,
        params: Params = None,
        *,
        window: int = 256,
        timeout: float | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Stream:
        """Calls a method and returns an iterator over what it sends or yields.

        At most `window` items are under way or waiting here: a generator pauses until they are taken, and
        others are served meanwhile. If the connection is lost it ends with Disconnected, after the items that came.
        """
        return Stream(self._connection, Request(method, params, timeout, window, traceparent, tracestate))

    def __getattr__(self, name: str) -> RemoteMethod:
        if name.startswith("_"):  # what copy, pickle, inspect and notebooks look for is no remote method
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return RemoteMethod(self, name)

    # --- properties -------------------------------------------------------------------------------------------

    def get(self, name: str) -> Any:
        """A property's value."""
        return self.call("getProperty", {"name": name}, idempotent=True)

    def set(self, name: str, value: Any) -> Any:
        """Sets a property, which outlives the Python process; returns its value."""
        return self.call("setProperty", {"name": name, "value": value})

    get_property = get
    set_property = set

    # --- messages and logs ------------------------------------------------------------------------------------

    def on_message(
        self,
        callback: Callable[[Any], object],
        *,
        scope: str = "own",
        method: str | None = None,
        on_gap: Callable[[Message], object] | None = None,
    ) -> Listener:
        """Has `callback(data)` called, in a thread of its own, with what calls send: those of this client, or
        with `scope="all"` everyone's. A call returns after the callback is done with what that call sent, so
        the callback must not wait for something that the calling thread holds. A call that a callback makes waits
        for no callback.

        Where messages may be missing, `on_gap` is called with a Message that says so: `dropped`, if they came
        faster than they were taken, or `restarted`, if the connection was lost. Without it, this is logged.
        """
        listener = Listener(self, self._subscribe(message_feed(scope, method)), callback, on_gap)
        self._listeners.append(listener)
        return listener

    def messages(self, *, scope: str = "own", method: str | None = None) -> Feed[Message]:
        """An iterator over what calls send, without an end but `close()`. Where some may be missing, it has a Message
        that says so: by `dropped` or `restarted`."""
        return Feed(self._connection, self._subscribe(message_feed(scope, method)))

    def logs(self, *, lines: int | None = None) -> Feed[dict[str, Any]]:
        """An iterator over the daemon's log lines, Python's stdout and stderr among them. `{"dropped": N}` and
        `{"restarted": True}` stand where some are, or may be, missing.

        With `lines`, so many of the last ones come first, then `{"live": True}`; and again after a reconnection.
        """
        return Feed(self._connection, self._subscribe(log_feed(lines)))

    # --- the daemon -------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """`daemon.status`, as PROTOCOL.md has it."""
        status: dict[str, Any] = self.call("daemon.status", idempotent=True)
        return status

    def methods(self) -> list[dict[str, Any]]:
        """The controller's methods, as OpenRPC method objects: those it has now, for a reload may change them."""
        methods: list[dict[str, Any]] = self.call("rpc.discover", idempotent=True)["methods"]
        return methods

    def restart(self) -> None:
        """Starts Python anew, and returns when it is ready. Properties are set again."""
        self.call("daemon.restart", idempotent=False)

    def reload(self) -> None:
        """Loads the controller anew beside the old one, then switches over. Nothing is dropped."""
        self.call("daemon.reload", idempotent=False)

    def shutdown(self) -> None:
        """Stops the daemon. The next call would start one again."""
        self.call("daemon.shutdown", idempotent=False)

    def close(self) -> None:
        """Ends the connection, and with it the calls that still run. Messages that have come are handed over. Nothing
        connects again."""
        listeners = list(self._listeners)
        self._connection.close()
        for listener in listeners:
            listener.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<baskd.Client {self._connection.target.path}>"

    def _subscribe(self, sink: FeedSink) -> FeedSink:
        self._connection.subscribe(sink)
        return sink

    def _forget_listener(self, listener: Listener) -> None:
        with contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def _settle_listeners(self) -> None:
        if not self._listeners:
            return
        listeners = tuple(self._listeners)
        # Callbacks may make calls of their own; those of two listeners would wait for each other.
        if not any(listener.runs_here() for listener in listeners):
            for listener in listeners:
                listener.settle()

    def _after_fork(self) -> None:
        self._listeners = []
        self._connection.after_fork()


class RemoteMethod:
    """A method of the controller: call it, or `.stream(...)` it, with its arguments by position or by name."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._client.call(self._name, arguments(self._name, args, kwargs))

    def stream(self, *args: Any, **kwargs: Any) -> Stream:
        return self._client.stream(self._name, arguments(self._name, args, kwargs))

    def submit(self, *args: Any, **kwargs: Any) -> CallHandle:
        return self._client.submit(self._name, arguments(self._name, args, kwargs))

    def __repr__(self) -> str:
        return f"<baskd method {self._name}>"


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _forked() -> None:
    for client in _clients:
        client._after_fork()


os.register_at_fork(after_in_child=_forked)
