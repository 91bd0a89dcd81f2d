"""Sync generators: stepped on the main thread item by item, in turns, and parked while they have no credit."""

from __future__ import annotations

from collections import deque
from functools import partial
from time import perf_counter
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from . import errors
from ._controller import Cancelled
from .calls import Call
from .errors import NotJson
from .wire import HELD, MANY, SLOW

if TYPE_CHECKING:
    from .router import Router

# A generator's turn ends after this long, in seconds, or after MANY items.
_TURN = 1e-3
_ONE: tuple[None, ...] = (None,)
_FEW: tuple[None, ...] = (None,) * 4


class Generators:
    """Those that could run now are in `runnable`; those that wait for credit are only in the router's `live`."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.runnable: deque[Call] = deque()

    def start(self, call: Call) -> None:
        """Takes the first step, so that calls begin in the order in which they came."""
        self._steps(call, 1)

    def turn(self) -> None:
        """Gives the next one its turn."""
        self._steps(self.runnable.popleft(), MANY)
        self._router.outbox.flush()

    def cancel(self, call: Call) -> None:
        """Ends one that is paused, raising Cancelled at its yield."""
        if call in self.runnable:
            self.runnable.remove(call)
        call.held = None
        self._router.finish(call, self._thrown(call))

    def _steps(self, call: Call, most: int) -> None:
        """Takes so many steps at most, as long as there is credit, in one turn."""
        router = self._router
        ident, encode, lock = call.ident, router.encode, router.sending.lock
        outbox, out = router.outbox, router.outbox.lines
        head, tail = router.dialect.item_frame(ident)
        if call.begun:
            step = call.generator.__next__
        elif router.is_cancelled(ident):
            router.finish(call, router.error_line(ident, errors.cancelled()))
            return
        else:
            step = partial(self._first, call)
        outbox.soon()  # Once is enough: a step for which the flusher would fall asleep is the turn's last.
        with lock:
            tokens, bytes_left = call.tokens, call.bytes
            tokens += [None] * max(0, min(most, call.items))
            call.items -= len(tokens)
        size = 0
        group = _ONE  # One that follows a slow step leaves at once; quick ones are timed a few together.
        last, began = call.last, perf_counter()
        leave = began + HELD
        router.current = call
        try:
            while most > 0:
                most -= len(group)
                try:
                    try:
                        # A blow that hits between two steps hits this call all the same, which then loses an item that
                        # nobody waits for any more.
                        router.running = ident
                        if router.is_cancelled(ident):
                            raise router.cancelled_type("the call was cancelled")
                        for _ in group:
                            item = step()
                            if router.forked:
                                break
                            line = head + encode(item) + tail
                            try:
                                if size < bytes_left:
                                    tokens.pop()
                                else:
                                    call.held = line
                                    break
                            except IndexError:
                                call.held = line
                                break
                            size += len(line) + 1  # its newline
                            out.append(line)
                    finally:
                        router.running = 0
                except BaseException as problem:
                    router.finish(call, self._ended(call, problem))
                    return
                if router.forked:
                    router.leave_child(None)
                if call.held is not None:
                    break
                now = perf_counter()
                if now - last > SLOW or now > leave:
                    group = _ONE if now - last > SLOW else _FEW
                    outbox.flush()
                    now = perf_counter()
                    leave = now + HELD
                else:
                    group = _FEW
                last = now
                if now - began > _TURN:
                    break
        finally:
            router.current = None
            call.last = last
            if size and ident == router.untold:
                router.untold = 0
            with lock:
                call.items += len(tokens)
                call.bytes -= size
                tokens.clear()
        if call.held is not None:  # It is parked until there is more, unless there is by now.
            if not router.sending.offer(call, call.held):
                return
            call.held = None
        self.runnable.append(call)

    def _ended(self, call: Call, problem: BaseException) -> bytes:
        """The line that answers a call whose step has given no item."""
        router = self._router
        if isinstance(problem, StopIteration):
            try:
                return router.result_line(call.ident, problem.value)
            except NotJson as bad:
                return router.error_line(call.ident, bad.error)
        if getattr(call.generator, "gi_frame", None) is not None:  # It has just paused, and has to hear of it.
            thrown = self._thrown(call)
            if isinstance(problem, Cancelled):
                return thrown
        return router.error_line(call.ident, router.error_of(problem, call.ident, call.method))

    def _first(self, call: Call) -> Any:
        self._router.begin(call.ident)
        call.begun = True
        assert call.begin is not None
        made = call.begin()
        if not isinstance(made, GeneratorType):
            raise StopIteration(made)  # A wrapper around a generator function that gave something else.
        call.generator = made
        return next(made)

    def _thrown(self, call: Call) -> bytes:
        """Raises Cancelled in a paused generator; the line that answers its call."""
        router = self._router
        outer, router.current = router.current, call
        try:
            call.generator.throw(router.cancelled_type("the call was cancelled"))
            call.generator.close()  # It caught that, and yielded again.
        except StopIteration:
            pass
        except BaseException as problem:
            return router.error_line(call.ident, router.error_of(problem, call.ident, call.method))
        finally:
            router.current = outer
        return router.error_line(call.ident, errors.cancelled())
