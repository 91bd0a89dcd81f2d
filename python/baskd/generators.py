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
from .page import MASK
from .wire import FULL, SLOW

if TYPE_CHECKING:
    from .router import Router

# A generator's turn ends after this long, in seconds, or after FULL items.
_TURN = 1e-3


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
        self._steps(self.runnable.popleft(), FULL)
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
        ident, outbox, encode, lock = call.ident, router.outbox, router.encode, router.sending.lock
        head, tail = router.dialect.item_frame(ident)
        if call.begun:
            step = call.generator.__next__
        elif router.is_cancelled(ident):
            router.finish(call, router.error_line(ident, errors.cancelled()))
            return
        else:
            step = partial(self._first, call)
        outbox.soon()  # Once is enough: a step for which the flusher would fall asleep is the turn's last.
        last = call.last
        until = perf_counter() + _TURN
        router.current = call
        try:
            for _ in range(most):
                try:
                    try:
                        router.running = ident
                        item = step()
                    finally:
                        router.running = 0
                    if router.forked:
                        router.leave_child(None)
                    line = head + encode(item) + tail
                except BaseException as problem:
                    router.finish(call, self._ended(call, problem))
                    return
                with lock:
                    if call.items <= 0 or call.bytes <= 0:
                        call.held = line  # Parked until there is more.
                        return
                    call.items -= 1
                    call.bytes -= len(line) + 1  # its newline
                outbox.lines.append(line)
                if ident == router.untold:
                    router.untold = 0
                now = perf_counter()
                if now - last > SLOW:
                    outbox.flush()
                    now = perf_counter()
                last = now
                if now > until:
                    break
        finally:
            call.last = last
            router.current = None
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
        self._router.begun[call.ident & MASK] = call.ident
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
