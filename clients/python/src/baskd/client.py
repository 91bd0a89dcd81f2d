"""The client for threads: `connect()`."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import Any, cast

from ._calls import CallHandle, Stream
from ._errors import Disconnected, all_errors
from ._link import Sent
from ._messages import Feed, Listener
from ._socket import locate, open_socket
from ._threads import ThreadLink
from ._wire import (
    FeedSink,
    Message,
    Params,
    Pending,
    StreamSink,
    arguments,
    log_feed,
    message_feed,
    stream_options,
    unanswered,
    with_options,
)

__all__ = ["CallHandle", "Client", "Feed", "Listener", "Message", "RemoteMethod", "Stream", "connect"]

# The daemon answers a call that is late. Only if it does not, so much later, is it given up here.
_GRACE_SECONDS = 5.0

_ERRORS = {error.__name__ for error in all_errors()}
_ASYNC = {"AsyncClient", "AsyncStream", "connect_async"}


def connect(name: str | None = None, *, socket: str | os.PathLike[str] | None = None) -> Client:
    """Connects to the daemon of that name, or at that socket; by default `$BASKD_SOCKET`, else `$BASKD_NAME`,
    else `default`. Raises NotRunning if none answers."""
    client = Client(locate(name, socket))
    client._live()
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
    """A connection to one daemon, to be shared by threads. Use it in a `with`, or `close()` it.

    `backend.increment(by=5)` calls the controller's method; so does `backend.call("increment", {"by": 5})`,
    which also reaches methods whose names are this class's own or start with an underscore.

    A connection that was lost is made again by the next call. Calls that were under way then fail with
    Disconnected; a request of which nothing had left is sent again.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._link: ThreadLink | None = None
        self._feeds: list[FeedSink] = []
        self._listeners: list[Listener] = []
        self._closed = False
        self._lock = threading.Lock()  # of the connecting; the link has its own
        self._connected = threading.Condition(self._lock)
        _clients.add(self)

    # --- calls ------------------------------------------------------------------------------------------------

    def call(self, method: str, params: Params = None, *, timeout: float | None = None) -> Any:
        """Calls a method and returns its result. `params` is a dict (by name) or a list (by position).

        After `timeout` seconds the call is cancelled and TimedOut raised. Ctrl-C cancels the call, too.
        """
        name, options = with_options(method, params, timeout)
        sent: list[Sent] = []
        try:
            link, pending = self._send(name, options, sent)
            answered = link.wait(pending, None if timeout is None else time.monotonic() + timeout + _GRACE_SECONDS)
        except BaseException:
            _cancel(sent)
            raise
        if not answered:
            link.cancel(pending)
            raise unanswered(method, timeout)
        self._settle_listeners()
        return pending.outcome()

    def submit(self, method: str, params: Params = None, *, timeout: float | None = None) -> CallHandle:
        """Sends a call and returns at once, with a handle to wait for its result or to cancel it."""
        name, options = with_options(method, params, timeout)
        sent: list[Sent] = []
        try:
            return CallHandle(self, *self._send(name, options, sent))
        except BaseException:
            _cancel(sent)
            raise

    def stream(self, method: str, params: Params = None, *, window: int = 256, timeout: float | None = None) -> Stream:
        """Calls a method and returns an iterator over what it sends or yields.

        At most `window` items are under way or waiting here: a generator pauses until they are taken, and
        others are served meanwhile.
        """
        options = stream_options(method, params, timeout, window)
        sent: list[Sent] = []
        try:
            link, pending = self._send("stream.call", options, sent, window)
            link.wait(pending)
        except BaseException:
            _cancel(sent)
            raise
        pending.outcome()
        return Stream(link, cast(StreamSink, pending.sink))

    def __getattr__(self, name: str) -> RemoteMethod:
        if name.startswith("_"):  # what copy, pickle, inspect and notebooks look for is no remote method
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return RemoteMethod(self, name)

    # --- properties -------------------------------------------------------------------------------------------

    def get(self, name: str) -> Any:
        """A property's value."""
        return self.call("getProperty", {"name": name})

    def set(self, name: str, value: Any) -> Any:
        """Sets a property, which outlives the Python process; returns its value."""
        return self.call("setProperty", {"name": name, "value": value})

    get_property = get
    set_property = set

    # --- messages and logs ------------------------------------------------------------------------------------

    def on_message(
        self, callback: Callable[[Any], object], *, scope: str = "own", method: str | None = None
    ) -> Listener:
        """Has `callback(data)` called, in a thread of its own, with what calls send: those of this client, or
        with `scope="all"` everyone's. A call returns after the callback is done with what that call sent, so
        the callback must not wait for something that the calling thread holds."""
        sink = message_feed(scope, method)
        self._subscribe(sink)
        listener = Listener(self, sink, callback)
        self._listeners.append(listener)
        return listener

    def messages(self, *, scope: str = "own", method: str | None = None) -> Feed[Message]:
        """An iterator over what calls send, without an end but `close()`."""
        sink = message_feed(scope, method)
        self._subscribe(sink)
        return Feed(self, sink)

    def logs(self) -> Feed[dict[str, Any]]:
        """An iterator over the daemon's log lines, Python's stdout and stderr among them."""
        sink = log_feed()
        self._subscribe(sink)
        return Feed(self, sink)

    # --- the daemon -------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """`daemon.status`, as PROTOCOL.md has it."""
        status: dict[str, Any] = self.call("daemon.status")
        return status

    def methods(self) -> list[dict[str, Any]]:
        """The controller's methods, as OpenRPC method objects."""
        methods: list[dict[str, Any]] = self.call("rpc.discover")["methods"]
        return methods

    def restart(self) -> None:
        """Starts Python anew, and returns when it is ready. Properties are set again."""
        self.call("daemon.restart")

    def reload(self) -> None:
        """Loads the controller anew beside the old one, then switches over. Nothing is dropped."""
        self.call("daemon.reload")

    def shutdown(self) -> None:
        """Stops the daemon."""
        self.call("daemon.shutdown")

    def close(self) -> None:
        """Ends the connection, and with it the calls that still run. Messages that have come are handed over."""
        with self._lock:
            self._closed = True
            link, feeds, listeners = self._link, list(self._feeds), list(self._listeners)
        if link is not None:
            link.close()
        for feed in feeds:
            self._unsubscribe(feed)
        for listener in listeners:
            listener.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<baskd.Client {self._path}>"

    # --- the connection ---------------------------------------------------------------------------------------

    def _live(self) -> ThreadLink:
        """The connection, made anew if it was lost."""
        link = self._link
        if link is not None and link.lost is None:
            return link
        with self._lock:
            return self._connect()

    def _connect(self) -> ThreadLink:
        """To be called with the lock held. Subscribes what no connection feeds."""
        if self._closed:
            raise Disconnected("This client was closed.")
        link = self._link
        if link is None or link.lost is not None:
            link = ThreadLink(open_socket(self._path))
        for sink in tuple(self._feeds):
            if sink.detached and not sink.over:
                sink.detached = False
                sink.pending = link.request(*sink.request, sink=sink)
        self._link = link
        self._connected.notify_all()
        return link

    def _send(
        self, method: str, params: Params, sent: list[Sent], window: int | None = None
    ) -> tuple[ThreadLink, Pending]:
        """Writes a request: to the connection there is, and if nothing of it has left when that turns out to
        be lost, to a new one."""
        for _ in range(2):
            link = self._live()
            pending = link.request(method, params, None if window is None else StreamSink(window), sent)
            link.drain()
            if not (pending.unsent and isinstance(pending.error, Disconnected)):
                break
        return link, pending

    def _subscribe(self, sink: FeedSink) -> None:
        self._feeds.append(sink)
        try:
            for _ in range(2):
                with self._lock:
                    link = self._connect()
                    pending = sink.pending
                if pending is not None:
                    link.wait(pending)
                    if not sink.detached:
                        break
            if pending is not None:
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
        with self._lock:
            self._connected.notify_all()

    def _abandon(self, sink: FeedSink) -> None:
        """The same from a finalizer, which must not wait for a lock."""
        if not sink.over:
            with contextlib.suppress(ValueError):
                self._feeds.remove(sink)
            if self._link is not None:
                self._link.abandon(sink)

    def _wait_connected(self, sink: FeedSink) -> None:
        """Waits for a sink without connecting: for a listener, which has nobody to tell that it can't."""
        with self._lock:
            self._connected.wait_for(lambda: sink.over or not sink.detached)
            link = self._link
        if link is not None:
            link.wait(sink)

    def _forget_listener(self, listener: Listener) -> None:
        with contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def _settle_listeners(self) -> None:
        for listener in tuple(self._listeners):
            listener.settle()

    def _after_fork(self) -> None:
        """In a forked child. The socket is the parent's: the child lets go of it and connects for itself.
        Threads, and what they listened to, stay with the parent."""
        self._lock = threading.Lock()
        self._connected = threading.Condition(self._lock)
        self._feeds, self._listeners = [], []
        link, self._link = self._link, None
        if link is not None:
            link.forget()


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


def _cancel(sent: list[Sent]) -> None:
    for link, pending in sent:
        link.cancel(pending)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _forked() -> None:
    for client in _clients:
        client._after_fork()


os.register_at_fork(after_in_child=_forked)
