"""Sync generators: stepped on the main thread item by item, in turns, and parked while they have no credit."""

from __future__ import annotations

from collections import deque
from time import perf_counter
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from . import errors
from .calls import Call
from .errors import NotJson
from .page import MASK
from .wire import FULL

if TYPE_CHECKING:
    from .router import Router

# A generator's turn ends after this long, in seconds, or after FULL items.
_TURN = 1e-3
_ENDED = object()


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
        router = self._router
        until = perf_counter() + _TURN
        for _ in range(most):
            item = self._step(call)
            if item is _ENDED:
                return
            try:
                line = router.item_line(call.ident, router.encode(item))
            except NotJson as bad:
                self._thrown(call)
                router.finish(call, router.error_line(call.ident, bad.error))
                return
            if not router.sending.offer(call, line):
                call.held = line  # Parked until there is more.
                return
            if perf_counter() > until:
                break
        self.runnable.append(call)

    def _step(self, call: Call) -> Any:
        """One item, or `_ENDED` with the call answered."""
        router = self._router
        if router.is_cancelled(call.ident) and not call.begun:
            router.finish(call, router.error_line(call.ident, errors.cancelled()))
            return _ENDED
        router.current = call
        try:
            try:
                router.running = call.ident
                item = next(call.generator) if call.begun else self._first(call)
            finally:
                router.running = 0
            if not router.forked:
                return item
            router.leave_child(None)
        except StopIteration as end:
            line = self._result(call, end.value)
        except BaseException as problem:
            if getattr(call.generator, "gi_frame", None) is not None:
                line = self._thrown(call)  # Struck when it had just paused: it has to hear of it.
            else:
                line = router.error_line(call.ident, router.error_of(problem, call.ident, call.method))
        finally:
            router.current = None
        router.finish(call, line)
        return _ENDED

    def _first(self, call: Call) -> Any:
        self._router.begun[call.ident & MASK] = call.ident
        call.begun = True
        assert call.begin is not None
        made = call.begin()
        if not isinstance(made, GeneratorType):
            raise StopIteration(made)  # A wrapper around a generator function that gave something else.
        call.generator = made
        return next(made)

    def _result(self, call: Call, value: Any) -> bytes:
        try:
            return self._router.result_line(call.ident, value)
        except NotJson as bad:
            return self._router.error_line(call.ident, bad.error)

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
