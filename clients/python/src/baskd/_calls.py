"""A call under way, and a stream, for threads."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from ._connection import Connection
from ._errors import BaskdError, Disconnected, TimedOut
from ._link import Sent
from ._locks import locked
from ._options import Request
from ._retry import ASK_SECONDS, because, left, lost_under_way, never_began, says_idempotent, sooner, too_late
from ._sinks import Pending, StreamSink
from ._threads import ThreadLink

if TYPE_CHECKING:
    from .client import Client


class Call:
    """A call, over the connections that it takes: one, and one more if it is lost under way and is idempotent."""

    __slots__ = (
        "_ask_until",
        "_connection",
        "_error",
        "_final",
        "_forks",
        "_idempotent",
        "_lock",
        "_lost_by",
        "_over",
        "_sent",
        "link",
        "pending",
        "request",
    )

    def __init__(self, connection: Connection, request: Request, idempotent: bool | None) -> None:
        self._connection = connection
        self._idempotent = idempotent
        self._ask_until: float | None = None
        self._final = idempotent is False  # it is not sent again, however it is lost
        self._over = False  # its answer is the answer, whatever it is
        self._error: BaskdError | None = None  # what is told instead
        self._lost_by: BaskdError | None = None  # why it was sent again, and so may have run
        self._lock = threading.RLock()  # of the decision, for which several threads may wait
        self._forks = connection.forks
        self._sent: list[Sent] = []
        self.request = request
        self.link: ThreadLink
        self.pending: Pending

    def send(self) -> None:
        self.link, self.pending = self._connection.send(self.request, self._sent)

    def wait(self, until: float | None = None) -> bool:
        """Whether it is answered by then."""
        while True:
            # Read once, and before the link, which is set first: another thread may send it again at any moment, and
            # what is decided here is of what was waited for.
            pending = self.pending
            if not self.link.wait(pending, until):
                return False
            is_answer = self._is_answer(pending)
            # Asked in this order: that it is not sent again any more is noted after it was sent.
            if pending is self.pending and (is_answer or self._decide(pending, until)):
                return True
            if until is not None and time.monotonic() >= until:
                return False

    def answered(self) -> bool:
        return self._is_answer(self.pending)

    def _is_answer(self, pending: Pending) -> bool:
        if pending.error is None:
            return pending.done
        if self._over or self._connection.closed or self._connection.forks != self._forks:
            return True
        return not (self.request.is_refused(pending.error) or (lost_under_way(pending) and not self._final))

    def outcome(self) -> Any:
        error = self.pending.error
        if error is not None and self._error is not None:
            raise self._error
        if self._lost_by is not None and never_began(error):
            raise self._lost_by  # what a daemon that stops says is about the second time
        return self.pending.outcome()

    def abandon(self) -> None:
        """Cancels it, wherever it is."""
        self.send_no_more()
        for link, pending in self._sent:
            link.cancel(pending)

    def send_no_more(self) -> None:
        self._over = True

    def _decide(self, lost: Pending, until: float | None) -> bool:
        """What becomes of a call that was lost. True if that is the answer; else it may have been sent again."""
        return bool(
            locked(self._lock, None if until is None else until - time.monotonic(), partial(self._decided, lost, until))
        )

    def _decided(self, lost: Pending, until: float | None) -> bool:
        # Another thread has decided, maybe after it had been sent again and lost again.
        if self._over or self.pending is not lost or self._is_answer(lost):
            return self.answered()
        was_refused = self.request.is_refused(lost.error)
        again = self._ask_next(until) if was_refused else self._send_again(until)
        if again is None:
            return False  # not yet known
        self._final |= not was_refused
        self._over |= not again
        return not again

    def _send(self) -> None:
        """Again."""
        self.send()
        if self._over:  # cancelled meanwhile, by who may have seen only the one before
            self.link.request("rpc.cancel", {"id": self.pending.id})

    def _ask_next(self, until: float | None) -> bool | None:
        """As `_send_again`, of the daemon that comes after one that stops."""
        refusal, deadline = self.pending.error, self.request.deadline
        try:
            if not self.link.wait_lost(sooner(until, deadline)):
                left(deadline)
                return None
            self._connection.live(sooner(until, deadline))
            if self._over:  # cancelled meanwhile
                return False
            self.request.refusals += 1
            self._send()
        except BaskdError as error:
            if isinstance(error, TimedOut):
                if deadline is None or time.monotonic() < deadline:
                    return None
                self._error = self._error or error
            self.abandon()
            because(refusal, error)
            return False
        return True

    def _send_again(self, until: float | None) -> bool | None:
        """Whether that was done; None if it is not known by then."""
        if self._idempotent is None:
            self._idempotent = self._ask(until)
        if not self._idempotent:
            return self._idempotent
        lost, deadline = self.pending.error, self.request.deadline
        try:
            self._connection.live(sooner(until, deadline))
            if self._over:  # cancelled meanwhile
                return False
            self._lost_by = lost  # first, for another thread may read the next answer at once
            self._send()
        except BaskdError as error:
            if isinstance(error, TimedOut) and (deadline is None or time.monotonic() < deadline):
                return None
            self.abandon()
            because(lost, error)
            return False
        return True

    def _ask(self, until: float | None) -> bool | None:
        if self._ask_until is None:
            self._ask_until = sooner(time.monotonic() + ASK_SECONDS, self.request.deadline) or 0.0
        deadline = sooner(until, self._ask_until)
        try:
            link = self._connection.live(deadline)
            asked = link.shared("rpc.discover")
            if link.wait(asked, deadline):
                return says_idempotent(asked.outcome(), self.request.method)
        except TimedOut:
            pass
        except BaskdError as error:
            because(self.pending.error, error)
            return False
        return False if time.monotonic() >= self._ask_until else None


class CallHandle:
    """A call that was sent. It runs whether or not anybody waits for it."""

    def __init__(self, client: Client, call: Call) -> None:
        self._client = client
        self._call = call

    @property
    def id(self) -> int:
        """The request's id, which its messages carry; another one after it was sent again."""
        return self._call.pending.id

    def done(self) -> bool:
        """Whether its answer has been read. The socket is read only while some thread waits for something."""
        return self._call.answered()

    def result(self, timeout: float | None = None) -> Any:
        """The method's result. `timeout` limits only this wait: after it, TimeoutError, and the call goes on."""
        if not self._call.wait(None if timeout is None else time.monotonic() + timeout):
            raise TimeoutError(f"The call is not answered after {timeout} s; it goes on.")
        self._client._settle_listeners()
        return self._call.outcome()

    def cancel(self) -> bool:
        """Cancels the call, from any thread; whoever waits for its result gets CallCancelled.

        False if it had been answered already.
        """
        call = self._call
        call.send_no_more()  # first, for the connection may be lost meanwhile
        if call.pending.done:
            return False
        request = call.link.request("rpc.cancel", {"id": call.pending.id})
        call.link.wait(request)
        try:
            return bool(request.outcome())
        except Disconnected:
            return False


def open_stream(connection: Connection, request: Request) -> tuple[ThreadLink, StreamSink]:
    """Asks for a call's partial results: of the next daemon, where one that stops has not begun it."""
    while True:
        sent: list[Sent] = []
        try:
            link, pending = connection.send(request, sent)
            if not link.wait(pending, request.given_up()) and link.lost is None:
                raise request.unanswered()
        except BaseException:
            for where, asked in sent:
                where.cancel(asked)
            raise
        if connection.closed or not request.is_refused(pending.error):
            pending.outcome()
            return link, cast(StreamSink, pending.sink)
        make_again(connection, request, link, pending.error)


def make_again(connection: Connection, request: Request, link: ThreadLink, refusal: BaskdError | None) -> None:
    """Returns when a request that was refused can be made again. Raises why not."""
    if not link.wait_lost(request.deadline):
        raise too_late()
    try:
        connection.live(request.deadline)
    except TimedOut:
        raise
    except BaskdError as error:
        because(refusal, error)
        raise cast(BaskdError, refusal) from error
    request.refusals += 1


class Stream:
    """One call's partial results, as an iterator; afterwards its return value is `result`.

    Leaving the loop early, `close()` and the end of a `with` cancel the call.
    """

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._begun = False  # as far as its items tell
        self._closed = False
        self._lock = threading.Lock()  # of who asks the next daemon
        self._forks = connection.forks
        self._granting = threading.Lock()  # of the count: Python 3.9 lets another thread in amid a `+=`
        self._link, self._sink = open_stream(connection, request)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        while True:
            sink = self._sink
            try:
                item = sink.items.popleft()
            except IndexError:
                pass
            else:
                self._begun = True
                with self._granting:
                    more = sink.grant()
                if more:
                    self._link.notify("stream.more", [sink.subscription, more])
                return item
            if not sink.over:
                self._wait()
            elif not sink.items:  # the last may have come after the look and before the end
                if not self._may_be_made_again():
                    raise sink.error or StopIteration
                self._make_again(sink)

    def _wait(self) -> None:
        try:
            self._link.wait(self._sink)
        except BaseException:
            self.close()
            raise

    def _may_be_made_again(self) -> bool:
        if self._begun or self._closed or self._connection.closed or self._connection.forks != self._forks:
            return False
        return self._request.is_refused(self._sink.error)

    def _make_again(self, refused: StreamSink) -> None:
        with self._lock:
            if self._sink is refused and self._may_be_made_again():  # else another reader has done that, or tried
                self._ask_next()

    def _ask_next(self) -> None:
        try:
            make_again(self._connection, self._request, self._link, self._sink.error)
            self._link, self._sink = open_stream(self._connection, self._request)
        except BaseException as error:
            self._closed = True
            if isinstance(error, BaskdError):
                self._sink.error = error  # for later steps, too
            raise
        if self._closed:  # from another thread, meanwhile
            self._link.end(self._sink)

    @property
    def result(self) -> Any:
        """What the method returned; known when the loop has ended by itself."""
        sink = self._sink
        if sink.error is not None and not sink.items and not self._may_be_made_again():
            raise sink.error
        if not sink.ended or sink.items:
            raise RuntimeError("A stream has a result after its last item; this one is not there yet or was closed.")
        return sink.result

    def close(self) -> None:
        """Cancels the call, unless it has ended. From any thread; a loop over it ends."""
        self._closed = True
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
