"""A connection that threads share: several calls under way, and no thread of its own.

Leader and followers. Somebody has to read the socket; a background thread for it would cost every call two
switches between threads (and the GIL's hand-over, up to 5 ms when another thread computes). So the calling
threads read: the first that has to wait becomes the leader and polls; what comes for others wakes them. When
it has its own answer it leaves and one of the followers takes its place. A program with one thread thus pays
for `poll`, `recv` and a few uncontended locks.

- Nobody reads while nobody waits. That is sound: streams have windows, answers keep in the socket's buffer,
  and who listens to messages waits for them in a thread (`_messages.Listener`).
- Nobody blocks in a write either: what the socket does not take stays in the outbox, which the leader
  empties while it reads. A daemon that waits for its answers to be taken can so never wait for us.
- `_lock` guards everything but the poll itself. Sinks and pending requests are read without it: what they
  say only ever goes from "not yet" to "ready".
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from ._errors import CLOSED, FORKED, BaskdError, Disconnected
from ._link import Link, Sent
from ._sinks import Never, Pending, Sink, Waitable
from ._wire import Params

# A signal that comes just before its thread goes to sleep does not wake it, and where threads take turns it does come
# then: so the main thread, which is the one that Ctrl-C is for, looks around so often.
_LOOK_SECONDS = 0.5
_LOOK_MS = 500

_LONGEST_MS = (1 << 31) - 1  # that `poll` takes


class ThreadLink(Link):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._lock = threading.Lock()
        self._main_thread = threading.main_thread().ident
        self._leader: int | None = None  # the thread that polls
        self._followers: list[threading.Lock] = []
        self._abandoned: deque[Sink] = deque()
        # Fetches the leader out of its poll when there is something to write that it does not know of.
        self._nudged, self._nudge_end = os.pipe()
        os.set_blocking(self._nudged, False)
        os.set_blocking(self._nudge_end, False)
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)
        self._poll.register(self._nudged, select.POLLIN)

    # --- writing ----------------------------------------------------------------------------------------------

    def request(
        self, method: str, params: Params = None, sink: Sink | None = None, sent: list[Sent] | None = None
    ) -> Pending:
        with self._lock:
            pending = super().request(method, params, sink, sent)
            self._nudge()
        self._sweep()
        return pending

    def notify(self, method: str, params: Params) -> None:
        with self._lock:
            super().notify(method, params)
            self._nudge()
        self._sweep()

    def cancel(self, pending: Pending) -> None:
        with self._lock:
            super().cancel(pending)
            self._nudge()
        self._sweep()

    def end(self, sink: Sink, error: BaskdError | None = None) -> None:
        with self._lock:
            super().end(sink, error)
            self._nudge()
        self._sweep()

    def abandon(self, sink: Sink) -> None:
        """Ends a subscription from a finalizer. That may run anywhere, in a thread that holds the lock too."""
        self._abandoned.append(sink)
        self._sweep()

    def _sweep(self) -> None:
        # Whoever finds the lock taken may go: its holder looks here after letting it go.
        # (A `with`, for it lets no interrupt in between the lock and what it guards, as `acquire` does. It may wait for
        # another who comes between the looks, and not for this very thread, which would find it taken.)
        while self._abandoned and not self._lock.locked():
            with self._lock:
                with contextlib.suppress(IndexError):
                    super().end(self._abandoned.popleft())
                self._nudge()

    def _nudge(self) -> None:
        if self._leader is not None and self.outbox.data and self.lost is None:
            with contextlib.suppress(BlockingIOError):  # full: it has been nudged
                os.write(self._nudge_end, b"!")

    def drain(self, deadline: float | None = None) -> bool:
        """Returns when all has been written, so that a thread that only writes is held up, not its memory filled;
        False when the deadline has passed before."""
        return not self.outbox.data or self.wait(self.outbox, deadline) or self.lost is not None

    # --- waiting ----------------------------------------------------------------------------------------------

    def wait(self, target: Waitable, deadline: float | None = None) -> bool:
        """Returns whether `target` is ready; False when the deadline (of `time.monotonic`) has passed."""
        try:
            while not target.ready():
                if self.lost is not None:
                    return target.ready()  # by the loss, which may have come after the look
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                if self._take_lead(target):
                    if self._abandoned:
                        self._sweep()
                    self._lead(left)
                else:
                    self._follow(target, left)
            return True
        finally:
            # What others rely on is done though an interrupt comes amid it. Written out: a function's entry is a place
            # for one, too.
            try:
                self._hand_over()
            except BaseException:
                self._hand_over()
                raise

    def wait_lost(self, deadline: float | None = None) -> bool:
        """Returns whether the connection has ended by then."""
        self.wait(Never(), deadline)
        return self.lost is not None

    def _take_lead(self, target: Waitable) -> bool:
        with self._lock:
            # Ready by now, it may be by the very last bytes to come: who leads nevertheless polls for ever.
            if self._leader is not None or self.lost is not None or target.ready():
                return False
            self._leader = threading.get_ident()
            self._poll.modify(
                self.sock, select.POLLIN | (select.POLLOUT if self.outbox.data and not self.hung_up else 0)
            )
            return True

    def _lead(self, left: float | None) -> None:
        """Reads, and writes, for everyone, once.

        An interrupt (Ctrl-C) mostly finds a thread in `poll`, where nothing can be lost by it; that is why
        there is a `poll` before each `recv`.
        """
        events: list[tuple[int, int]] = []
        try:
            limit = _LOOK_MS if self._leader == self._main_thread else None
            if left is not None and (limit is None or left < _LOOK_SECONDS):
                limit = min(math.ceil(left * 1000), _LONGEST_MS)
            events = self._poll.poll(limit)
        finally:
            with self._lock:
                self._leader = None
                self._serve(events)
        self._sweep()

    def _serve(self, events: list[tuple[int, int]]) -> None:
        if self.lost is not None:
            self._retire()
            return
        readable = False
        for descriptor, event in events:
            if descriptor == self._nudged:
                os.read(self._nudged, 4096)
            elif event & ~select.POLLOUT:
                readable = True
        # Last, for where that reads the end, all descriptors are closed, and their numbers may be other files'.
        if readable:
            self.receive()
        self.flush()

    def _follow(self, target: Waitable, left: float | None) -> None:
        """Waits until `target` may be ready or the lead is free."""
        if threading.get_ident() == self._main_thread:
            left = _LOOK_SECONDS if left is None else min(left, _LOOK_SECONDS)
        asleep = threading.Lock()
        asleep.acquire()
        waker = partial(_release, asleep)
        try:
            with self._lock:
                if target.ready() or self._leader is None:
                    return
                self._followers.append(asleep)
                target.wakers.append(waker)
            self._sweep()
            asleep.acquire(timeout=-1 if left is None else min(left, threading.TIMEOUT_MAX))
        finally:
            try:
                self._rise(target, asleep, waker)
            except BaseException:  # as in `wait`
                self._rise(target, asleep, waker)
                raise

    def _rise(self, target: Waitable, asleep: threading.Lock, waker: Callable[[], None]) -> None:
        with self._lock:
            # It may have been interrupted before it lay down, and here.
            with contextlib.suppress(ValueError):
                self._followers.remove(asleep)
            with contextlib.suppress(ValueError):
                target.wakers.remove(waker)

    def _hand_over(self) -> None:
        """Wakes a follower to lead. It does the same when it leaves, so one is enough."""
        with self._lock:
            if self._leader == threading.get_ident():  # interrupted between taking the lead and leading
                self._leader = None
                if self.lost is not None:
                    self._retire()
            if self._followers and self._leader is None:
                _release(self._followers[0])
        if self._abandoned:
            self._sweep()

    # --- the end ----------------------------------------------------------------------------------------------

    def close(self, error: BaskdError | None = None) -> None:
        with self._lock:
            self.lose(error or Disconnected(CLOSED))

    def _retire(self) -> None:
        if self._leader is not None:
            # The leader polls these descriptors; closed, their numbers could be another file's at once.
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        else:
            self.forget()

    def after_fork(self) -> None:
        """In a forked child, to which no other thread came: nobody leads, and nobody will let go of the lock."""
        self._lock = threading.Lock()
        self._leader, self._followers = None, []
        self.lose(Disconnected(FORKED))
        self.forget()  # where it had been lost, and its leader had not seen that yet

    def forget(self) -> None:
        """Closes this process's descriptors, and nothing of a parent's that are the same sockets."""
        if self.sock.fileno() >= 0:
            self.sock.close()
            os.close(self._nudged)
            os.close(self._nudge_end)


def _release(asleep: threading.Lock) -> None:
    if asleep.locked():
        asleep.release()
