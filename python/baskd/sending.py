"""`send()`, and the credit that bounds what a call sends ahead of its reader.

Out of credit, a send waits: on the main thread by reading the wire itself, since nobody else would, and taking from it
only what is about calls under way; in another thread on a condition. An `async def` can't wait in a plain function;
what it sends is buffered.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any, Optional

from .calls import CURRENT, Call
from .wire import MANY, SLOW

if TYPE_CHECKING:
    from .router import Router

# How often a thread that waits for credit looks at the wire itself, in seconds: the main thread may be busy for long.
_LOOK = 0.02


class Sending:
    """Puts items into the outbox, as far as their calls' credit goes."""

    def __init__(self, router: Router) -> None:
        self._router = router
        #: Of all calls' credit.
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)

    def send(self, data: Any) -> None:
        """`self.send(data)` in a controller."""
        router = self._router
        if router.forked:
            raise RuntimeError("send() works in the process that was called, not in a child that it forked")
        encoded = router.encode(data)
        if threading.get_ident() == router.main_thread:
            self._send_from_main(encoded)
        else:
            self.send_from_thread(self._call_of_thread(), encoded)

    def more(self, call: Call, items: int, size: int) -> None:
        """The reader has made room. Wakes whoever waits for it."""
        with self._changed:
            call.items += items
            call.bytes += size
            self._changed.notify_all()
        if call.more is not None:
            call.more()
        elif call.held is not None and self.offer(call, call.held):
            call.held = None
            self._router.generators.runnable.append(call)

    def wake(self) -> None:
        """Has waiting threads look whether they are cancelled."""
        with self._changed:
            self._changed.notify_all()

    def wait_for_calls(self) -> None:
        """Waits until all calls that run in threads have ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._router.live)

    def offer(self, call: Call, line: bytes) -> bool:
        """Sends an item if the call has credit."""
        with self.lock:
            if call.items <= 0 and call.tokens:
                call.items += 1
                call.tokens.pop()
            if call.items <= 0 or call.bytes <= 0:
                return False
            call.items -= 1
            call.bytes -= len(line) + 1  # its newline
        self.put(call, line)
        return True

    def put(self, call: Call, line: bytes) -> None:
        """Sends an item: at once, unless the call makes them so fast that they had better go together."""
        router = self._router
        outbox = router.outbox
        outbox.lines.append(line)
        router.tell(call.ident)
        now = perf_counter()
        if now - call.last > SLOW or len(outbox.lines) >= MANY:
            outbox.flush()
            now = perf_counter()
        else:
            outbox.soon()
        call.last = now

    def _send_from_main(self, encoded: bytes) -> None:
        router = self._router
        running = router.running
        router.running = 0  # From here on it is the router's code, where Cancelled must not strike.
        try:
            call = router.current
            if call is None:
                call = CURRENT.get()  # A task that an async method started.
            elif type(call) is dict:
                call = router.current = router.materialized(call)
            if call is None or call.method.hidden:
                raise RuntimeError("send() works while a method runs, and none does here")
            line = router.item_line(call.ident, encoded)
            if call.task is not None:
                self.put(call, line)
            else:
                while not self.offer(call, line):
                    if router.is_cancelled(call.ident):
                        break
                    router.about_to_wait()
                    if router.reader.ended:
                        raise router.cancelled_type("nobody is left to send to")
                    router.reader.wait_unless(lambda: bool(router.reader.controls) or call.items > 0 < call.bytes)
                    router.take_controls()
        finally:
            router.running = running
        if running and router.is_cancelled(running):
            router.running = 0
            raise router.cancelled_type("the call was cancelled")

    def send_from_thread(self, call: Call, encoded: bytes) -> None:
        """Sends an item from a thread that is not the main one; raises Cancelled if the call is."""
        router = self._router
        line = router.item_line(call.ident, encoded)
        while not router.is_cancelled(call.ident):
            if self.offer(call, line):
                return
            if router.reader.ended:
                break
            with self._changed:
                if call.items <= 0 or call.bytes <= 0:
                    self._changed.wait(_LOOK)
            if router.reader.look_beside(router.take_controls):
                router.wake()
        raise router.cancelled_type("the call was cancelled")

    def _call_of_thread(self) -> Call:
        """The call that this thread works for: its own, else the one that the main thread runs."""
        router = self._router
        call: Optional[Any] = CURRENT.get() or router.current
        if type(call) is dict:
            with self._changed:
                if type(router.current) is dict:
                    router.current = router.materialized(router.current)
                call = router.current
        if call is None or call.method.hidden:
            raise RuntimeError("send() works while a method runs, and none does here")
        assert isinstance(call, Call)
        return call
