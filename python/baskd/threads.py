"""Threads for `@concurrent` methods: started as they are needed, up to a bound, and kept."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from . import errors
from ._controller import Cancelled
from .calls import CURRENT, Call

if TYPE_CHECKING:
    from .router import Router

MOST = 32


class Threads:
    """A pool. Its threads are daemons: none of them keeps Python alive when everything else has ended."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def start(self, call: Call) -> None:
        """Runs the call in a thread: an idle one, else a new one, else the first that gets idle."""
        self._calls.put(call)
        if not self._idle.acquire(blocking=False) and self._count < MOST:
            self._count += 1
            threading.Thread(target=self._work, name=f"baskd-{self._count}", daemon=True).start()

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            line = self._run(call)
            self._router.finish(call, line)
            self._router.outbox.flush()
            self._router.sending.wake()
            del call
            self._idle.release()

    def _run(self, call: Call) -> bytes:
        router = self._router
        ident = call.ident
        if router.is_cancelled(ident):
            return router.error_line(ident, errors.cancelled())
        CURRENT.set(call)
        call.begun = True
        assert call.begin is not None
        try:
            router.begin(ident)
            result = call.begin()
            if isinstance(result, GeneratorType):
                result = self._drain(call, result)
            if router.forked:
                router.leave_child(None)
            return router.result_line(ident, result)
        except BaseException as problem:
            return router.error_line(ident, router.error_of(problem, ident, call.method))
        finally:
            CURRENT.set(None)

    def _drain(self, call: Call, generator: Any) -> Any:
        """Sends all items; gives the return value."""
        router = self._router
        while True:
            try:
                item = next(generator)
            except StopIteration as end:
                return end.value
            if router.forked:
                router.leave_child(None)
            try:
                router.sending.send_from_thread(call, router.encode(item))
            except BaseException as problem:
                self._tell(generator)
                raise problem from None

    def _tell(self, generator: Any) -> None:
        """Has a generator hear, at its yield, that nothing more is wanted of it."""
        try:
            generator.throw(self._router.cancelled_type("the call has ended"))
            generator.close()  # It caught that, and yielded again.
        except (StopIteration, Cancelled):
            pass
