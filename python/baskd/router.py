"""The heart: what is known of the calls under way, how they are answered, and how they are cancelled.

Who runs user code: plain methods are run by `pump`, inline, on the main thread. Generators are stepped by `generators`,
on the main thread too; coroutines by `loop_async`; `@concurrent` methods by the threads of `threads`.

Cancelling. The daemon marks the call in the shared page, says so in a line, and sends SIGURG. `strike`, its handler,
raises `Cancelled` only if the marked call is `running`: set just before user code starts on the main thread, cleared
just after it, both inside the `try` that answers the call. So it never strikes the router, nor another call. `send()`,
being router code within user code, clears it for its time. Everything that does not run on the main thread at that
moment is reached by the line, or looks at the page itself.

A call is struck once: what catches `Cancelled` and goes on has its way, until the daemon loses its patience. But where
nothing can be caught, in a weak reference's callback, a `__del__`, a generator that the garbage collector closes,
Python drops what was raised, and the user's code goes on without having heard of it: `_unraisable` has it struck again.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import warnings
from time import sleep
from types import CodeType, FrameType
from typing import Any, Callable, Optional, Union

from . import _controller, errors, printing
from ._controller import Cancelled, Refused
from .calls import CURRENT, UNBOUNDED, Call, Window
from .codec import Codec
from .dialects import DaemonDialect, SeedDialect, Unreadable
from .errors import BadParams, NotJson
from .generators import Generators
from .methods import Method
from .page import MASK, Page
from .pump import Pump
from .sending import Sending
from .threads import Threads
from .wire import Outbox, Reader

# Of so many calls, at most, early credit is kept.
_EARLY = 1024

# A blow that went nowhere is repeated after so long, in seconds.
_AGAIN = 5e-4

Starter = Callable[[Call], None]


class Router:
    """All the state of a router that serves. Its loops are `loop_plain` and `loop_async`."""

    def __init__(
        self,
        methods: dict[str, Method],
        page: Page,
        codec: Codec,
        dialect: Union[DaemonDialect, SeedDialect],
        reader: Reader,
        outbox: Outbox,
    ) -> None:
        self.methods = methods
        self.begun, self.cancels, self.marks = page
        self.encode = codec.encode
        self.dialect = dialect
        self.error_line = dialect.error
        #: Encodes a result into the line that answers its call.
        self.result_line: Callable[[int, Any], bytes] = dialect.result
        self.reader = reader
        self.outbox = outbox
        #: The credit that a call starts with, in items and bytes.
        self.window = UNBOUNDED

        #: The id of the call whose user code is on the main thread and may be struck; else 0.
        self.running = 0
        #: The call whose user code is on the main thread: a plain one's message until it sends, else a Call.
        self.current: Any = None
        #: Calls that have begun and not ended, plain ones only once they have sent. By id.
        self.live: dict[int, Call] = {}
        #: The latest call that began, if nothing has gone out by which the daemon can tell; else 0.
        self.untold = 0
        #: Credit that came before its call began, by id.
        self.early: dict[int, list[list[int]]] = {}
        #: How many coroutines have been created that have not begun: what comes after them waits its turn.
        self.starting = 0
        #: What Cancelled is raised as; in the asyncio loop, a CancelledError too.
        self.cancelled_type: Any = Cancelled
        #: The call that `strike` interrupted last.
        self.struck_call = 0
        #: Whether this is a forked child of the router, which must leave the wire alone.
        self.forked = False
        #: Tells the loop, from another thread, that there are lines to handle.
        self.wake: Callable[[], None] = lambda: None
        self.main_thread = threading.get_ident()

        self.pump = Pump(self)
        self._next_hook: Callable[[Any], None] = sys.unraisablehook
        self._next_warning: Any = None
        self.sending = Sending(self)
        self.generators = Generators(self)
        self.threads = Threads(self)
        self.start_async: Optional[Starter] = None

    def names(self) -> list[str]:
        """Of the methods that anybody may call."""
        return [method.name for method in self.methods.values() if not method.hidden]

    def install(self) -> None:
        """Ties the router to the process: its signal, what a fork leaves to a child, `baskd.cancelled()`."""
        signal.signal(signal.SIGURG, self.strike)
        os.register_at_fork(after_in_child=self._after_fork)
        _controller.host.cancelled = self.is_cancelled_here
        self._next_hook = sys.unraisablehook
        sys.unraisablehook = self._unraisable
        self._next_warning = getattr(warnings, "_warn_unawaited_coroutine", None)
        if self._next_warning is not None:
            warnings._warn_unawaited_coroutine = self._unawaited  # type: ignore[attr-defined]

    # What was read

    def start(self, message: dict[str, Any], ident: int, method: Method) -> None:
        """Begins a call that does not end here and now."""
        try:
            arguments, named = method.bind(message.get("params"))
        except BadParams as bad:
            self.outbox.lines.append(self.error_line(ident, bad.error))
            return
        if self.is_cancelled(ident):
            self.outbox.lines.append(self.error_line(ident, errors.cancelled()))
            return
        call = self._enlist(message, method)
        function = method.function
        call.begin = lambda: function(*arguments, **named)
        if method.is_async:
            assert self.start_async is not None
            self.start_async(call)
        elif method.concurrent:
            self.threads.start(call)
        else:
            self.generators.start(call)

    def take_controls(self) -> None:
        """Handles what has come about calls under way, even in the middle of one. From a thread, runs no user code."""
        controls = self.reader.controls
        while controls:
            try:
                line = controls.popleft()
            except IndexError:
                return  # Another thread was faster.
            try:
                message = self.dialect.decode(line)
            except Unreadable:
                message = None
            if not self.control(message, line):
                self.complain("is not understood", line)

    def control(self, message: Any, line: bytes = b"") -> bool:
        """Handles what such a line said. False if it makes no sense.

        From a thread, what only the main thread can do is left to that, with its line.
        """
        try:
            ident = message["more"][0] if "more" in message else message["cancel"]
        except Exception:
            return False
        call = self.live.get(ident)
        if call is None:
            if "more" in message:
                self._keep_early(ident, message["more"])
        elif (call.generator is not None or call.task is not None) and threading.get_ident() != self.main_thread:
            # It may be about to sleep; what is among the calls keeps it awake.
            self.reader.blocks.append(line)
        elif "more" in message:
            self.sending.more(call, *message["more"][1:])
        else:
            self._cancel(call)
        return True

    def complain(self, what: str, said: Any) -> None:
        """Tells the log of a line from the daemon."""
        print(f"baskd: a line from the daemon {what}: {repr(said)[:200]}", file=sys.stderr)

    def _keep_early(self, ident: int, more: list[int]) -> None:
        """Keeps credit for a call that has not begun. It may also have ended: so not too much is kept."""
        self.early.setdefault(ident, []).append(more)
        if len(self.early) > _EARLY:
            del self.early[next(iter(self.early))]

    def _cancel(self, call: Call) -> None:
        if call.task is not None:
            if call.begun:
                call.task.cancel()  # If not, it sees the page when it begins.
        elif call.generator is not None and call is not self.current:
            self.generators.cancel(call)
        else:
            self.sending.wake()

    def begin(self, ident: int) -> None:
        """Marks a call as begun: its user code is entered next. Raises Cancelled if somebody was faster.

        Whoever cancels a call, or lets its time run out, marks that first, and looks then whether it has begun. So one
        of the two sees the other's mark: what was said to have waited in the queue never runs.
        """
        self.begun[ident & MASK] = ident
        if self.cancels[ident & MASK] == ident:
            raise self.cancelled_type("the call was cancelled")

    # Answers

    def item_line(self, ident: int, encoded: bytes) -> bytes:
        """A call's partial result."""
        head, tail = self.dialect.item_frame(ident)
        return head + encoded + tail

    def finish(self, call: Call, line: bytes) -> None:
        """Puts the answer of a call that was under way into the outbox."""
        self.live.pop(call.ident, None)
        self.outbox.lines.append(line)
        self.tell(call.ident)
        if self.reader.ended:
            self.wake()  # It may have been the last.

    def tell(self, ident: int) -> None:
        """Something goes out by which the daemon learns that this call has begun."""
        if ident == self.untold:
            self.untold = 0

    def about_to_wait(self) -> None:
        """Before the main thread blocks on input: flushes, and says what has begun if nothing else says so."""
        if self.forked:
            self.leave_child(None)
        if self.untold:
            if self.live and self.dialect.has_credit:
                self.outbox.lines.append(self.dialect.begun(self.untold))
            self.untold = 0
        self.outbox.flush()

    def error_of(self, problem: BaseException, ident: int, method: Optional[Method]) -> errors.Error:
        """The error object that answers a call whose user code ended with `problem`."""
        if self.forked:
            self.leave_child(problem)
        if isinstance(problem, Cancelled) and self.is_cancelled(ident):
            return errors.cancelled()
        if isinstance(problem, NotJson):
            return problem.error
        if isinstance(problem, Refused) and method is not None and method.is_property:
            return problem.error
        if isinstance(problem, KeyboardInterrupt) and not self.dialect.has_credit:
            raise problem  # By hand, in a terminal.
        return errors.method_error(problem)

    # Calls

    def materialized(self, message: dict[str, Any]) -> Call:
        """Makes a Call of a plain one, which is a message only as long as it sends nothing."""
        call = self._enlist(message, self.methods[message["method"]])
        call.begun = True
        return call

    def _enlist(self, message: dict[str, Any], method: Method) -> Call:
        ident = message["id"]
        window: Window = message.get("window", self.window) if self.dialect.has_credit else UNBOUNDED
        call = Call(ident, method, window)
        for _, items, size in self.early.pop(ident, ()):
            call.items += items
            call.bytes += size
        self.live[ident] = call
        self.untold = ident
        return call

    # Cancelling

    def strike(self, signum: int, frame: Optional[FrameType]) -> None:
        """SIGURG: raises Cancelled if the call in user code on the main thread is a cancelled one."""
        self.pump.careful = True
        ident = self.running
        if ident and self.cancels[ident & MASK] == ident:
            if getattr(self.current, "task", None) is not None and _in_asyncio(frame):
                # That would leave asyncio with half a task. It is about to go back, or to wait; there the line reaches.
                _thread.start_new_thread(_signal_soon, (self.main_thread,))
                return
            self.running = 0
            self.struck_call = ident
            raise self.blow(ident, frame.f_code if frame is not None else None)

    def is_unwinding(self) -> bool:
        """Whether what happens on this thread, the main one, comes of the call under way having been struck."""
        current = self.current
        ident = current["id"] if type(current) is dict else getattr(current, "ident", 0)
        return bool(ident and ident == self.struck_call)

    def _unraisable(self, unraisable: Any) -> None:
        """Python drops an exception. If that is what `strike` raised, and the call goes on, it is struck again."""
        ident = getattr(unraisable.exc_value, "struck_call", 0)
        if not ident or threading.get_ident() != self.main_thread or not self.is_unwinding():
            self._next_hook(unraisable)
            return
        if sys.gettrace() is None:
            self._strike_at_next_line(sys._getframe(1))
        else:  # Somebody debugs this: it is signalled again, until that comes at a better moment.
            _thread.start_new_thread(_signal_soon, (self.main_thread,))
            self.running = ident  # Last: from here on it may be struck.

    def _strike_at_next_line(self, frame: Optional[FrameType]) -> None:
        """Raises Cancelled in the code that went on, at the next line that it comes to.

        Another signal would not do: user code may spend most of its time where what is raised is dropped.
        """

        def trace(_: FrameType, event: str, __: Any) -> Any:
            if not self.is_unwinding():
                sys.settrace(None)  # The call has ended.
                return None
            if event == "line":
                sys.settrace(None)
                raise self.blow(self.struck_call)
            return None if event == "call" else trace

        while frame is not None:
            if frame.f_code not in printing.CODES:  # That is entered by user code's print(), and goes back there.
                if errors.is_ours(frame.f_code.co_filename):
                    break
                if not frame.f_code.co_filename.startswith(_ASYNCIO):
                    frame.f_trace = trace
            frame = frame.f_back
        sys.settrace(trace)

    def blow(self, ident: int, code: Optional[CodeType] = None) -> BaseException:
        cancelled = self.cancelled_type("the call was cancelled")
        cancelled.struck_call, cancelled.struck_in = ident, code
        blow: BaseException = cancelled
        return blow

    def _unawaited(self, coroutine: Any) -> None:
        """Python would warn of a coroutine that was never awaited: not if that is so because its call was struck."""
        if threading.get_ident() != self.main_thread or not self.is_unwinding():
            self._next_warning(coroutine)

    def is_cancelled(self, ident: int) -> bool:
        """Whether the daemon has marked that call."""
        return bool(self.cancels[ident & MASK] == ident)

    def is_cancelled_here(self) -> bool:
        """`baskd.cancelled()`."""
        call = CURRENT.get() or self.current
        if call is None:
            return False
        return self.is_cancelled(call["id"] if type(call) is dict else call.ident)

    # Forks

    def _after_fork(self) -> None:
        """In a child that user code forked: the wire, the page and the calls are the parent's alone."""
        self.forked = True
        self.running = 0
        self.pump.messages.clear()
        self.generators.runnable.clear()
        self.live.clear()
        self.reader.abandon()
        self.outbox.abandon()
        signal.signal(signal.SIGURG, signal.SIG_DFL)

    def leave_child(self, problem: Optional[BaseException]) -> None:
        """Ends a forked child that has come back from user code into the router, as its parent's code never should."""
        status = 0
        if isinstance(problem, SystemExit):
            status = problem.code if isinstance(problem.code, int) else int(problem.code is not None)
        elif problem is not None:
            status = 1
            sys.stderr.write(errors.traceback_of(problem))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


_LIBRARY = os.path.dirname(os.__file__) + os.sep
_ASYNCIO = os.path.join(_LIBRARY, "asyncio", "")
_PACKAGES = os.path.join(_LIBRARY, "site-packages", "")


def _in_asyncio(frame: Optional[FrameType]) -> bool:
    """Whether asyncio is at work there, or what it calls of the standard library."""
    while frame is not None and frame.f_code in _STRIKING:
        # The signal has come once more, while it was being dealt with; or asyncio prints something.
        frame = frame.f_back
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_ASYNCIO):
            return True
        if not file.startswith(_LIBRARY) or file.startswith(_PACKAGES):
            return False
        frame = frame.f_back
    return False


_STRIKING = (Router.strike.__code__, Router.blow.__code__, _in_asyncio.__code__, *printing.CODES)


def _signal_soon(thread: int) -> None:
    sleep(_AGAIN)
    signal.pthread_kill(thread, signal.SIGURG)


def needs_asyncio(methods: dict[str, Method]) -> bool:
    """Whether any method is async. If none is, asyncio is not even imported."""
    return any(method.is_async for method in methods.values())
