"""The way to the daemon, for threads: one connection after another, and what is subscribed on them.

- A connection that was lost is made again for the next request, by the thread that has it; where no daemon answers
  that starts one.
- A thread that waits for messages or log lines makes it again, too, but patiently, and without starting a daemon:
  else `baskd stop` would be undone at once. Every new connection subscribes first to what the last one fed.
- The socket of a daemon that was killed takes connections until the last moment, though nobody will read them. So one
  that is made after another was lost is used only when the daemon has answered on it.
- The lock is held while connecting, and never while a daemon is started or an answer is waited for.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from ._errors import CLOSED, FORKED, BaskdError, Disconnected, NotRunning, to_one_caller
from ._link import Sent
from ._locks import locked
from ._options import Request
from ._retry import KNOCK_SECONDS, TRIES, BackOff, left, never_left, too_late
from ._sinks import FeedSink, Pending, StreamSink
from ._socket import CONNECT_SECONDS, cannot_connect, open_socket
from ._start import Target
from ._threads import ThreadLink

T = TypeVar("T")


class Connection:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.link: ThreadLink | None = None
        self.feeds: list[FeedSink] = []
        self.closed = False
        self.forks = 0  # what was made before belongs to the parent
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)  # a connection, a closing, or a start that has ended

    def live(self, deadline: float | None = None, start: bool = True) -> ThreadLink:
        """The connection; made anew if it was lost, with a daemon that is started for it if none answers."""
        present = self.link
        if present is not None and present.lost is None and present.proven:
            return present
        for _ in range(TRIES):
            link = self._reach(deadline, start)
            if link.proven or self._prove(link, deadline):
                break
        return link

    def send(self, request: Request, sent: list[Sent]) -> tuple[ThreadLink, Pending]:
        """Writes a request: to the connection there is, and if nothing of it has left when that turns out to be lost,
        to a new one. `sent` has what was written, also where this is interrupted."""
        for _ in range(TRIES):
            link = self.live(request.deadline)
            sink = None if request.window is None else StreamSink(request.window)
            pending = link.request(*request.for_the_wire(), sink, sent)
            if link.outbox.data and not link.drain(request.deadline):
                raise request.unanswered()
            if pending.error is None or not never_left(pending):
                break
        return link, pending

    # --- connecting -------------------------------------------------------------------------------------------

    def _connect(self, deadline: float | None) -> ThreadLink:
        return self._locked(deadline, partial(self._connected, deadline))

    def _connected(self, deadline: float | None) -> ThreadLink:
        if self.closed:
            raise Disconnected(CLOSED)
        link = self.link
        if link is None or link.lost is not None:
            is_first = link is None
            link = self._dial(deadline)
            link.proven = is_first and self.target.controller is None
        self._feed_from(link)
        self.link = link  # now, for a call that is made on it comes after the subscriptions
        self._changed.notify_all()
        return link

    def _reach(self, deadline: float | None, start: bool) -> ThreadLink:
        """A connection. After one to a daemon that stops, the next one is waited for where it is not started here."""
        while True:
            last = self.link
            try:
                return self._connect(deadline)
            except NotRunning:
                starting = self.target.start() if start else None
                if starting is not None:
                    self._wait_started(starting, deadline)
                    return self._connect(deadline)
                if last is None or not last.may_be_followed():
                    raise
            self._locked(deadline, lambda: self.closed or self._changed.wait(KNOCK_SECONDS))

    def _dial(self, deadline: float | None) -> ThreadLink:
        seconds = left(deadline)
        try:
            sock = open_socket(self.target.path, CONNECT_SECONDS if seconds is None else min(seconds, CONNECT_SECONDS))
        except Disconnected:
            left(deadline)  # that is then the reason
            raise
        try:
            return ThreadLink(sock)
        except OSError as error:  # there is no descriptor left for its pipe
            sock.close()
            raise cannot_connect(self.target.path, error) from error

    def _feed_from(self, link: ThreadLink) -> None:
        asking: FeedSink | None = None
        try:
            for sink in tuple(self.feeds):
                if sink.detached and not sink.over:
                    asking = sink
                    sink.detached = False
                    sink.pending = link.request(*sink.request, sink=sink)
                    asking = None
        except BaseException:
            # An interrupt. Of a new connection nobody knows yet: the next one asks again, for all.
            if link is not self.link:
                link.close(Disconnected("Interrupted while connecting."))
            if asking is not None:
                asking.detached = True
            raise

    def _wait_started(self, starting: Future[None], deadline: float | None) -> None:
        starting.add_done_callback(self._notify)

        def wait() -> None:
            while not self.closed and not starting.done():
                self._changed.wait(left(deadline))

        self._locked(deadline, wait)
        if self.closed:
            raise Disconnected(CLOSED)
        error = starting.exception()
        if error is not None:
            raise (to_one_caller(error) if isinstance(error, BaskdError) else error) from None

    def _prove(self, link: ThreadLink, deadline: float | None) -> bool:
        """Whether a daemon answers, which it does whatever its Python does; and it has to be the one that is meant."""
        asked = link.shared("daemon.status")
        if not link.wait(asked, deadline):
            raise too_late()
        if isinstance(asked.error, Disconnected):
            return False
        try:
            self.target.check(asked.outcome())
        except BaskdError as error:
            link.close(error)
            raise
        link.proven = True
        return True

    def _locked(self, deadline: float | None, do: Callable[[], T]) -> T:
        done = locked(self._lock, left(deadline), lambda: (do(),))
        if done is None:
            raise too_late()
        return done[0]

    def _notify(self, _: object = None) -> None:
        with self._lock:
            self._changed.notify_all()

    # --- subscriptions ----------------------------------------------------------------------------------------

    def subscribe(self, sink: FeedSink) -> None:
        """Has a sink fed from now on. Raises if the daemon refuses, or none answers and none can be started."""
        self.feeds.append(sink)
        try:
            for _ in range(TRIES):
                self.live()
                link = self._connect(None)
                pending = sink.pending
                if pending is not None:
                    link.wait(pending)
                    if not sink.detached:
                        break
            if pending is not None:
                pending.outcome()
        except BaseException:
            self.unsubscribe(sink)
            raise

    def unsubscribe(self, sink: FeedSink) -> None:
        with contextlib.suppress(ValueError):
            self.feeds.remove(sink)
        if self.link is not None:
            self.link.end(sink)
        sink.fail(None)
        self._notify()

    def abandon(self, sink: FeedSink) -> None:
        """The same from a finalizer, which must not wait for a lock."""
        if not sink.over:
            with contextlib.suppress(ValueError):
                self.feeds.remove(sink)
            if self.link is not None:
                self.link.abandon(sink)

    def await_event(self, sink: FeedSink) -> None:
        """Waits until there is something to take of a sink, or it is over. While its connection is lost this tries to
        make it again, until somebody closes the subscription or the daemon refuses it."""
        back_off = BackOff()
        while not sink.items and not sink.over:
            with self._lock:
                if sink.detached:
                    self._changed.wait_for(lambda: sink.over or not sink.detached, back_off.next())
                link, detached = self.link, sink.detached
            if sink.over:
                return
            if not detached and link is not None:
                link.wait(sink)
                continue
            try:
                self._connect(None)
            except Disconnected:
                continue  # nobody there yet
            except BaskdError as error:
                sink.fail(to_one_caller(error))

    # --- the end ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        with self._lock:
            self.closed = True
            link, feeds = self.link, list(self.feeds)
            self._changed.notify_all()
        if link is not None:
            link.close()
        for feed in feeds:
            self.unsubscribe(feed)

    def after_fork(self) -> None:
        """In a forked child. The socket is the parent's: the child lets go of it and connects for itself.
        Threads, and what they listened to, stay with the parent."""
        self.forks += 1
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        feeds, self.feeds = self.feeds, []
        for feed in feeds:
            feed.fail(Disconnected(FORKED))
        self.target.after_fork()
        link, self.link = self.link, None
        if link is not None:
            link.after_fork()
