"""Messages and log lines, for threads: an iterator, or a callback in a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from ._connection import Connection
from ._sinks import FeedSink, Message

if TYPE_CHECKING:
    from .client import Client

T = TypeVar("T")

_log = logging.getLogger("baskd")


class Feed(Generic[T]):
    """What comes by a subscription, as an iterator without an end but `close()`.

    While the connection is lost it waits for a daemon that answers, and starts none; then an item says that there may
    be a gap. If the daemon refuses the subscription it raises that error.
    """

    def __init__(self, connection: Connection, sink: FeedSink) -> None:
        self._connection = connection
        self._sink = sink

    def __iter__(self) -> Feed[T]:
        return self

    def __next__(self) -> T:
        sink = self._sink
        while True:
            try:
                item: T = sink.items.popleft()
                return item
            except IndexError:
                pass
            if not sink.over:
                self._connection.await_event(sink)
            elif not sink.items:
                raise sink.error or StopIteration

    def close(self) -> None:
        self._connection.unsubscribe(self._sink)

    def __enter__(self) -> Feed[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        # A loop that was left by `break` drops its iterator; nobody could read that subscription any more.
        with contextlib.suppress(Exception):
            self._connection.abandon(self._sink)


class Listener:
    """Hands each message's data to a callback, in a thread of its own, until `close()`.

    A call returns only after the callback was done with what that call had sent: who prints progress in the
    callback and the result after the call sees them in this order.
    """

    def __init__(
        self,
        client: Client,
        sink: FeedSink,
        callback: Callable[[Any], object],
        on_gap: Callable[[Message], object] | None = None,
    ) -> None:
        self._client = client
        self._sink = sink
        self._callback = callback
        self._on_gap = on_gap or log_gap
        self._handled = 0
        self._ended = False
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="baskd messages", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it, after what has come so far was handed over."""
        self._client._connection.unsubscribe(self._sink)
        self._client._forget_listener(self)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def settle(self) -> None:
        """Waits until all that has come by now was handed over."""
        due = self._sink.pushed
        # What is dropped is never handed over.
        if self._handled < due and not self._sink.lossy:
            with self._progress:
                self._progress.wait_for(lambda: self._handled >= due or self._ended)

    def runs_here(self) -> bool:
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        try:
            self._listen()
        finally:
            with self._progress:  # also where the callback has ended this thread
                self._ended = True
                self._progress.notify_all()

    def _listen(self) -> None:
        sink = self._sink
        while not sink.over or sink.items:  # in this order: the last may come between the looks
            try:
                message = sink.items.popleft()
            except IndexError:
                self._client._connection.await_event(sink)
                continue
            try:
                self._deliver(message)
            except Exception:
                _log.exception("The callback for messages raised")
            finally:
                with self._progress:
                    self._handled += 1
                    self._progress.notify_all()
        if sink.error is not None:
            _log.error("No more messages: %s", sink.error)

    def _deliver(self, message: Message) -> None:
        if message.dropped or message.restarted:
            self._on_gap(message)
        else:
            self._callback(message.data)


def log_gap(message: Message) -> None:
    if message.restarted:
        _log.warning("The connection to the daemon was lost and set up again; messages may be missing")
    if message.dropped:
        _log.warning("%d messages were dropped, because they came faster than they were taken", message.dropped)
