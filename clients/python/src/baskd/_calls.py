"""A call under way, and a stream, for threads."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._errors import Disconnected
from ._threads import ThreadLink
from ._wire import Pending, StreamSink

if TYPE_CHECKING:
    from .client import Client


class CallHandle:
    """A call that was sent. It runs whether or not anybody waits for it."""

    def __init__(self, client: Client, link: ThreadLink, pending: Pending) -> None:
        self._client = client
        self._link = link
        self._pending = pending

    @property
    def id(self) -> int:
        """The request's id, which its messages carry."""
        return self._pending.id

    def done(self) -> bool:
        """Whether its answer has been read. The socket is read only while some thread waits for something."""
        return self._pending.done

    def result(self, timeout: float | None = None) -> Any:
        """The method's result. `timeout` limits only this wait: after it, TimeoutError, and the call goes on."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._link.wait(self._pending, deadline):
            raise TimeoutError(f"The call is not answered after {timeout} s; it goes on.")
        self._client._settle_listeners()
        return self._pending.outcome()

    def cancel(self) -> bool:
        """Cancels the call, from any thread; whoever waits for its result gets CallCancelled.

        False if it had been answered already.
        """
        if self._pending.done:
            return False
        request = self._link.request("rpc.cancel", {"id": self._pending.id})
        self._link.wait(request)
        try:
            return bool(request.outcome())
        except Disconnected:
            return False


class Stream:
    """One call's partial results, as an iterator; afterwards its return value is `result`.

    Leaving the loop early, `close()` and the end of a `with` cancel the call.
    """

    def __init__(self, link: ThreadLink, sink: StreamSink) -> None:
        self._link = link
        self._sink = sink

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        sink = self._sink
        while True:
            try:
                item = sink.items.popleft()
            except IndexError:
                pass
            else:
                if more := sink.grant():
                    self._link.notify("stream.more", [sink.subscription, more])
                return item
            if not sink.over:
                self._wait()
            elif not sink.items:  # the last may have come after the look and before the end
                raise sink.error or StopIteration

    def _wait(self) -> None:
        try:
            self._link.wait(self._sink)
        except BaseException:
            self.close()
            raise

    @property
    def result(self) -> Any:
        """What the method returned; known when the loop has ended by itself."""
        sink = self._sink
        if sink.error is not None and not sink.items:
            raise sink.error
        if not sink.ended or sink.items:
            raise RuntimeError("A stream has a result after its last item; this one is not there yet or was closed.")
        return sink.result

    def close(self) -> None:
        """Cancels the call, unless it has ended. From any thread; a loop over it ends."""
        if not self._sink.over:
            self._link.end(self._sink)

    cancel = close

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if not self._sink.over:
                self._link.abandon(self._sink)
