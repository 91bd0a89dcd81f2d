"""The way to the daemon, for asyncio: `_threads` and `_connection` in one loop, where nothing needs a lock.

Other than a thread, a task can watch a connection that nobody waits for: one that was lost while there are
subscriptions to keep is made again in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import weakref
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any

from ._errors import CLOSED, BaskdError, Disconnected, NotRunning, to_one_caller
from ._link import Link
from ._options import Request
from ._retry import KNOCK_SECONDS, TRIES, BackOff, left, never_left, too_late
from ._sinks import FeedSink, Never, Pending, StreamSink, Waitable
from ._socket import CONNECT_SECONDS, open_socket
from ._start import Target

# From how many calls under way on those of one turn of the loop are written together.
_MANY = 8


class LoopLink(Link):
    """A connection that the event loop reads and writes.

    Bare readers and writers instead of a transport: a transport would not say how much of what it was given
    has left, and that decides whether a request may be sent again.
    """

    def __init__(self, sock: socket.socket, owner: LoopConnection) -> None:
        super().__init__(sock)
        self.loop = asyncio.get_running_loop()
        self._owner = weakref.ref(owner)
        self.ended = Never()
        self._process = os.getpid()
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
        writing = bool(self.outbox.data) and self.lost is None and not self.hung_up
        if writing and not self._writing:
            self.loop.add_writer(self.sock, self.flush)
        elif self._writing and not writing and self.lost is None:
            self.loop.remove_writer(self.sock)
        self._writing = writing

    async def wait(self, target: Waitable) -> None:
        while not target.ready() and self.lost is None:
            await woken(target)

    async def wait_until(self, target: Waitable, deadline: float | None) -> bool:
        """Whether it is ready by then."""
        try:
            await asyncio.wait_for(self.wait(target), None if deadline is None else deadline - time.monotonic())
        except asyncio.TimeoutError:
            return False
        return target.ready()

    async def wait_lost(self, deadline: float | None) -> bool:
        """Returns whether the connection has ended by then."""
        await self.wait_until(self.ended, deadline)
        return self.lost is not None

    def is_behind(self) -> bool:
        return self._flush_is_due or bool(self.outbox.data)

    async def drain(self) -> None:
        if self._flush_is_due:
            await asyncio.sleep(0)  # the flush stands before this in the loop's queue
        if self.outbox.data:
            await self.wait(self.outbox)

    def close(self, error: BaskdError | None = None) -> None:
        self.lose(error or Disconnected(CLOSED))

    def lose(self, error: BaskdError) -> None:
        first = self.lost is None
        super().lose(error)
        self.ended.wake()
        owner = self._owner()
        if first and owner is not None:
            owner.keep()

    def _retire(self) -> None:
        # In a forked child the loop's selector may be (an epoll) the parent's own, which is to read on.
        if not self.loop.is_closed() and self._process == os.getpid():
            self.loop.remove_reader(self.sock)
            self.loop.remove_writer(self.sock)
        super()._retire()


class LoopConnection:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.link: LoopLink | None = None
        self.feeds: list[FeedSink] = []
        self.closed = False
        self._keeper: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Future[None]] = set()  # for a daemon that is started

    async def live(self, deadline: float | None = None, start: bool = True) -> LoopLink:
        """The connection; made anew if it was lost, with a daemon that is started for it if none answers."""
        ready = self._ready()
        if ready is not None:
            return ready
        for _ in range(TRIES):
            link = await self._reach(deadline, start)
            if link.proven or await self._prove(link, deadline):
                break
        return link

    async def _reach(self, deadline: float | None, start: bool) -> LoopLink:
        """A connection. After one to a daemon that stops, the next one is waited for where it is not started here."""
        while True:
            last = self.link
            try:
                return await self._connect(deadline)
            except NotRunning:
                starting = self.target.start() if start else None
                if starting is not None:
                    await self._started(starting, deadline)
                    return await self._connect(deadline)
                if last is None or not last.may_be_followed():
                    raise
            seconds = left(deadline)
            await asyncio.sleep(KNOCK_SECONDS if seconds is None else min(seconds, KNOCK_SECONDS))

    async def send(self, request: Request) -> tuple[LoopLink, Pending]:
        """Writes a request: to the connection there is, and if nothing of it has left when that turns out to be lost,
        to a new one."""
        for _ in range(TRIES):
            link = self._ready() or await self.live(request.deadline)
            sink = None if request.window is None else StreamSink(request.window)
            pending = link.request(*request.for_the_wire(), sink)
            if link.is_behind():
                await self._cancelled_with(link, pending, request, link.drain())
            if pending.error is None or not never_left(pending):
                break
        return link, pending

    async def answer(self, link: LoopLink, pending: Pending, request: Request) -> None:
        """Waits for it. Who stops waiting cancels it."""
        if request.deadline is not None:
            await self._cancelled_with(link, pending, request, link.wait(pending))
            return
        try:
            await link.wait(pending)
        except BaseException:
            link.cancel(pending)
            raise

    @staticmethod
    async def _cancelled_with(link: LoopLink, pending: Pending, request: Request, waiting: Awaitable[None]) -> None:
        until = request.given_up()
        try:
            if until is None:
                await waiting
            else:
                await asyncio.wait_for(waiting, max(0.0, until - time.monotonic()))
        except asyncio.TimeoutError:
            link.cancel(pending)
            raise request.unanswered() from None
        except BaseException:
            link.cancel(pending)
            raise

    async def await_next(self, link: LoopLink, request: Request) -> None:
        """Returns when a request that was refused, by a daemon that stops, can be made again."""
        if not await link.wait_lost(request.deadline):
            raise too_late()
        request.refusals += 1

    # --- connecting -------------------------------------------------------------------------------------------

    def _ready(self) -> LoopLink | None:
        """The connection, if nothing is to be done for it."""
        link = self.link
        if link is None or link.lost is not None or not link.proven or link.loop is not asyncio.get_running_loop():
            return None
        return link

    def present(self) -> LoopLink | None:
        """The connection that there is, if it is this loop's."""
        if self.closed:
            raise Disconnected(CLOSED)
        link = self.link
        if link is not None and link.loop is not asyncio.get_running_loop():
            link.lose(Disconnected("This connection belonged to another event loop."))
        return link if link is not None and link.lost is None else None

    async def _connect(self, deadline: float | None) -> LoopLink:
        given_up = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                return self.connect_now()
            except BlockingIOError as error:
                if time.monotonic() >= given_up:
                    raise Disconnected(
                        f"Can't connect to the daemon at {self.target.path}: {error.strerror}."
                    ) from error
            seconds = left(deadline)
            await asyncio.sleep(KNOCK_SECONDS if seconds is None else min(seconds, KNOCK_SECONDS))

    def connect_now(self) -> LoopLink:
        """Raises BlockingIOError where that would take time: on a Unix socket mostly it takes none."""
        link = self.present()
        if link is None:
            is_first = self.link is None
            link = self.link = LoopLink(open_socket(self.target.path, 0), self)
            link.proven = is_first and self.target.controller is None
        for sink in tuple(self.feeds):
            if sink.detached and not sink.over:
                sink.detached = False
                sink.pending = link.request(*sink.request, sink=sink)
                sink.wake()
        return link

    async def _started(self, starting: Future[None], deadline: float | None) -> None:
        loop = asyncio.get_running_loop()
        told = loop.create_future()

        def tell(_: Future[None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_resolve, told)

        self._waiting.add(told)
        try:
            starting.add_done_callback(tell)
            await asyncio.wait({told}, timeout=left(deadline))
        finally:
            self._waiting.discard(told)
        if self.closed:
            raise Disconnected(CLOSED)
        if not starting.done():
            raise too_late()
        error = starting.exception()
        if error is not None:
            raise (to_one_caller(error) if isinstance(error, BaskdError) else error) from None

    async def _prove(self, link: LoopLink, deadline: float | None) -> bool:
        """Whether a daemon answers, which it does whatever its Python does; and it has to be the one that is meant."""
        asked = link.shared("daemon.status")
        if not await link.wait_until(asked, deadline):
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

    # --- subscriptions ----------------------------------------------------------------------------------------

    def add(self, sink: FeedSink) -> None:
        """Has a sink fed by what is connected now, or the next time: before any call that is made after this."""
        self.present()  # raises if this is closed
        self.feeds.append(sink)
        try:
            self.connect_now()
        except (Disconnected, BlockingIOError):
            pass  # whoever waits for the subscription is told, and may have a daemon started
        except BaseException:
            self.remove(sink)
            raise

    async def subscribed(self, sink: FeedSink) -> None:
        """Waits until it is fed, or over. Raises if the daemon refuses, or none answers and none can be started."""
        try:
            for _ in range(TRIES):
                if sink.over:
                    return  # closed, or refused: its error says so
                link = await self.live()
                pending = sink.pending
                if pending is not None:
                    await link.wait(pending)
                    if not sink.detached:
                        break
            if pending is not None:
                pending.outcome()
        except BaskdError:
            self.remove(sink)
            raise

    def remove(self, sink: FeedSink) -> None:
        with contextlib.suppress(ValueError):
            self.feeds.remove(sink)
        if self.link is not None:
            self.link.end(sink)
        sink.fail(None)

    def keep(self) -> None:
        """Has the connection made again in the background if there are subscriptions that had one."""
        if self.closed or not self._kept():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # the next loop that a subscription is read in does it
        if self._keeper is None or self._keeper.done() or self._keeper.get_loop() is not loop:
            self._keeper = loop.create_task(self._keep())

    def _kept(self) -> list[FeedSink]:
        return [sink for sink in self.feeds if sink.fed and not sink.over]

    async def _keep(self) -> None:
        """Until they are fed again. Starts no daemon, or `baskd stop` would be undone at once."""
        back_off = BackOff()
        while any(sink.detached for sink in self._kept()):
            await asyncio.sleep(back_off.next())
            try:
                link = await self._connect(None)
                for sink in self._kept():
                    if sink.pending is not None:
                        await link.wait(sink.pending)
            except Disconnected:
                continue  # nobody there yet, or no more
            except BaskdError as error:
                for sink in self._kept():
                    sink.fail(to_one_caller(error))

    # --- the end ----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        self.closed = True
        if self.link is not None:
            self.link.close()
        for sink in self.feeds:
            sink.fail(None)
        self.feeds.clear()
        for told in self._waiting:
            _resolve(told)
        keeper, self._keeper = self._keeper, None
        if keeper is not None and keeper.get_loop() is asyncio.get_running_loop():
            keeper.cancel()
            await asyncio.wait({keeper})


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def woken(target: Waitable) -> None:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def waker() -> None:
        _resolve(future)

    target.wakers.append(waker)
    try:
        await future
    finally:
        target.wakers.remove(waker)
