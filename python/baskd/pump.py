"""The way of a plain call, from a block of lines that was read to the line that answers it.

Most calls are of methods that are known to be quick, while nothing is cancelled: for these, `Pump.run` has all that has
to happen on one screen, and does it without a call for each layer. Any other call takes the careful way, `_carefully`,
which asks the shared page whether the call was cancelled, and the clock how long it took.

Nothing waits behind user code. A method that was slow the last time has everything flushed before it runs; how long
quick ones take is asked of the clock for a group of them, and if that was long, for each of the next ones. What is
caught in the outbox by a method that was never slow before, the outbox's flusher sets free.

Which calls have to be careful is known without asking the page for each. The daemon counts its marks in one word: as
long as the count is what it was when the last call that could be meant had ended, no call that was read is marked. That
is compared for each block; a mark that is made later is followed by a signal.
"""

from __future__ import annotations

from time import perf_counter
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Optional

from . import errors
from .dialects import Unreadable
from .errors import BadParams
from .methods import Method
from .page import MASK
from .wire import FULL, SLOW

if TYPE_CHECKING:
    from .router import Router

# So many quick calls are timed together, and so long they may take, in seconds, before each is timed.
_GROUP = 8
_GROUP_SLOW = 100e-6
_TIMED = 16


class Pump:
    """Runs the calls that were read, in their order."""

    def __init__(self, router: Router) -> None:
        self._router = router
        #: What was read and decoded, and has yet to be handled; the next is the last.
        self.messages: list[Any] = []
        #: Whether the next call has to go the careful way. The signal's handler sets it, too.
        self.careful = False
        # How many calls are still to be timed one by one.
        self._timed = 0
        # How many of the daemon's marks are known to be for calls that have ended, or that have begun.
        self._settled = 0

    def run(self) -> None:
        """Handles what was read, in order, until there is nothing, or it is another call's turn."""
        router = self._router
        reader, outbox, messages = router.reader, router.outbox, self.messages
        if reader.controls:
            router.take_controls()
        methods, begun, result_line, out, blocks = (
            router.methods,
            router.begun,
            router.result_line,
            outbox.lines,
            reader.blocks,
        )
        self._look_around()
        marks, settled = router.marks, self._settled
        left = _GROUP
        before = perf_counter()
        while True:
            if not messages:
                if not blocks:
                    break
                messages += router.dialect.messages(blocks.popleft())
                messages.reverse()
                self._look_around()
                if len(messages) > 1:
                    outbox.soon()
                continue
            message = messages.pop()
            try:
                ident = message["id"]
                method = methods[message["method"]]
            except Exception:
                self._other(message)
                continue
            if self.careful or not method.quick:
                if not self._carefully(message, ident, method):
                    return
                left = _GROUP
                before = perf_counter()
                continue

            params = message.get("params")
            if method.takes_whole:
                if params is None:
                    params = {}
            else:
                try:
                    arguments, named = method.bind(params)
                except BadParams as bad:
                    out.append(router.error_line(ident, bad.error))
                    continue
            router.current = message
            result = None
            try:
                try:
                    router.running = ident
                    # As `Router.begin` does; that no mark was made since tells that this call has none.
                    begun[ident & MASK] = ident
                    if marks[0] != settled and router.is_cancelled(ident):
                        raise router.cancelled_type("the call was cancelled")
                    result = method.function(params) if method.takes_whole else method.function(*arguments, **named)
                finally:
                    router.running = 0
                out.append(result_line(ident, result))
            except BaseException as problem:
                line = self._failed(problem, result, message, ident, method)
                if line is None:
                    continue
                out.append(line)
            if router.current is not message:
                router.live.pop(ident, None)
            router.current = None
            router.untold = 0

            left -= 1
            if left:
                continue
            left = _GROUP
            now = perf_counter()
            if now - before > _GROUP_SLOW:
                self._timed = _TIMED
                self.careful = True
            elif len(out) < FULL:
                before = now
                continue
            outbox.flush()
            if router.live:
                return
            before = perf_counter()
        self._settle()

    def _carefully(self, message: dict[str, Any], ident: int, method: Method) -> bool:
        """Runs any call. False: others are to have their turn before the next."""
        router = self._router
        outbox = router.outbox
        if router.starting and not method.is_async:
            self.messages.append(message)  # What came before it has to begin first.
            return False
        before = perf_counter()
        if method.starts:
            router.start(message, ident, method)
        else:
            if method.slow:
                outbox.flush()
                before = perf_counter()
            line = self._answer(message, ident, method)
            if line is not None:
                outbox.lines.append(line)
        slow = perf_counter() - before > SLOW
        method.was(slow)
        if self._timed:
            self._timed -= 1
        self._look_around()  # That may have taken long.
        if slow or len(outbox.lines) >= FULL:
            outbox.flush()
            return not router.live
        return True

    def _answer(self, message: dict[str, Any], ident: int, method: Method) -> Optional[bytes]:
        """Runs a plain method, and gives the line that answers its call, if it has ended."""
        router = self._router
        try:
            arguments, named = method.bind(message.get("params"))
        except BadParams as bad:
            return router.error_line(ident, bad.error)
        if router.is_cancelled(ident):
            return router.error_line(ident, errors.cancelled())
        router.current = message
        result = None
        line: Optional[bytes]
        try:
            try:
                router.running = ident
                router.begin(ident)
                result = method.function(*arguments, **named)
            finally:
                router.running = 0
            line = router.result_line(ident, result)
        except BaseException as problem:
            line = self._failed(problem, result, message, ident, method)
            if line is None:
                return None
        if router.current is not message:
            router.live.pop(ident, None)
        router.current = None
        router.untold = 0
        return line

    def _failed(
        self, problem: BaseException, result: Any, message: dict[str, Any], ident: int, method: Method
    ) -> Optional[bytes]:
        """The line that answers a call that raised, or whose result can't be encoded. None if that is a generator."""
        router = self._router
        if type(result) is not GeneratorType:
            return router.error_line(ident, router.error_of(problem, ident, method))
        # A method that did not look like a generator has given one.
        call = router.materialized(message) if router.current is message else router.current
        router.current = None
        call.method, call.generator, call.begun = method, result, True
        router.untold = ident
        router.generators.runnable.append(call)
        return None

    def _other(self, message: Any) -> None:
        """What is not a call of a method that is there."""
        router = self._router
        lines = router.outbox.lines
        if isinstance(message, Unreadable):
            if message.ident is not None and message.error is not None:
                lines.append(router.error_line(message.ident, message.error))
            elif message.line.strip():
                router.complain("can't be read", message.line)
        elif isinstance(message, dict) and "method" in message:
            error = errors.method_not_found(message["method"], router.names())
            lines.append(router.error_line(message["id"], error))
        elif not router.control(message):
            router.complain("is not understood", message)

    def _look_around(self) -> None:
        """Finds out whether to be careful."""
        router = self._router
        self.careful = False  # First: the handler may set it from here on.
        if router.marks[0] != self._settled or router.starting or self._timed:
            self.careful = True

    def _settle(self) -> None:
        """Everything that was read has begun: a mark whose line was read, too, is for no call that is still to come."""
        reader = self._router.reader
        cancels = reader.cancels  # Before the look: what another thread reads now is in `blocks` when it is counted.
        if not reader.blocks and not self.messages:
            self._settled = cancels
