"""The wire's two ends: what has come in, and what is to go out.

Out: everything that is ready leaves in one write. Nothing waits long for company, because user code that runs for long
is preceded by a flush, or, where that could not be known, is interrupted by one: the flusher's, a thread.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from time import sleep
from typing import Callable

# User code that took longer than this is followed by a flush, in seconds.
SLOW = 50e-6
# So many lines at most wait for company: answers, so that the daemon and the client work on the first of many calls
# while Python works on the last; and items, whose reader asks for nothing new.
FULL = 16
MANY = 128
# And so long, in seconds, where what makes them is quick.
HELD = 100e-6

# As much as a pipe holds; and what is read at once of a line that did not fit into one.
_CHUNK = 1 << 16
_BIG_CHUNK = 1 << 18
# A line of this size is not copied only to put a newline behind it.
_BIG_LINE = 1 << 16
_FLUSH_AFTER = 1e-3
_IDLE_ROUNDS = 50


class Reader:
    """Reads whole lines: calls into `blocks`, what is about calls under way into `controls`. Any thread may read.

    A block is one or more whole lines as they were read: a codec that takes many at once has them at once.
    """

    def __init__(self, descriptor: int) -> None:
        self.blocks: deque[bytes] = deque()
        self.controls: deque[bytes] = deque()
        #: How many cancels were read. A call comes before its cancel: by the time that is counted, it is in `blocks`.
        self.cancels = 0
        self.ended = False
        #: Called when the input ends.
        self.on_end: Callable[[], None] = lambda: None
        # Held while reading. Lines may have come while one waited for it.
        self._lock = threading.Lock()
        self._descriptor = descriptor
        self._parts: list[bytes] = []
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLIN)

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._descriptor

    def wait(self) -> bool:
        """Blocks until there is something. False: the input has ended, and there is nothing."""
        while not self.blocks and not self.controls:
            if self.ended:
                return False
            with self._lock:
                if not self.blocks and not self.controls and not self.ended:
                    self._read()
        return True

    def first_line(self) -> bytes:
        """Takes one line from what was read."""
        line, _, rest = self.blocks.popleft().partition(b"\n")
        if rest:
            self.blocks.appendleft(rest)
        return line

    def wait_unless(self, is_over: Callable[[], bool]) -> None:
        """Blocks for one read, unless the wait is over by the time that no other thread reads."""
        with self._lock:
            if not self.ended and not is_over():
                self._read()

    def look(self) -> None:
        """Reads what has come, without waiting."""
        with self._lock:
            if self._is_ready():
                self._read()

    def look_beside(self, then: Callable[[], None]) -> bool:
        """As `look`, from any thread, unless another is reading; then calls `then` before anyone else may read.

        Gives whether there are calls for the main thread.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            while self._is_ready():
                self._read()
            then()
            return bool(self.blocks)
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """In a forked child: the input is the parent's."""
        self.blocks.clear()
        self.controls.clear()
        self.ended = True
        self._lock = threading.Lock()
        os.close(self._descriptor)

    def _is_ready(self) -> bool:
        return not self.ended and bool(self._ready.poll(0))

    def _read(self) -> None:
        data = os.read(self._descriptor, _BIG_CHUNK if self._parts else _CHUNK)
        if not data:
            self.ended = True
            self.on_end()
            if not self._parts:
                return
            data = b"\n"  # What is left is a line, too.
        end = data.rfind(b"\n") + 1
        if not end:
            self._parts.append(data)  # A long line is joined once, when its end has come.
            return
        rest = b""
        if end < len(data):
            data, rest = data[:end], data[end:]
        if self._parts:
            data = b"".join([*self._parts, data])
            self._parts.clear()
        if rest:
            self._parts.append(rest)
        if data.startswith(_CONTROLS) or b'\n{"c' in data or b'\n{"m' in data:
            for line in data[:-1].split(b"\n"):
                if line.startswith(_CONTROLS):
                    self.controls.append(line)
                    self.cancels += line.startswith(_CONTROLS[0])
                else:
                    self.blocks.append(line)
        else:
            self.blocks.append(data)


# How {"cancel": …} and {"more": …} begin; a call begins with its id.
_CONTROLS = (b'{"cancel":', b'{"more":')


class Outbox:
    """Lines to go out, without their newlines. Appending to `lines` is all it takes.

    `flush` writes them, from any thread.
    """

    def __init__(self, descriptor: int) -> None:
        self.lines: list[bytes] = []
        self.flushes = 0
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._flusher = _Flusher(self)
        self._forked = False

    def flush(self) -> None:
        """Writes all that is there. If nobody reads any more, the daemon is gone: the process ends at once."""
        if not self.lines or self._forked:
            return
        with self._lock:
            lines = self.lines
            count = len(lines)
            if not count:
                return  # Another thread was faster.
            data = lines[0] if count == 1 else b"\n".join(lines[:count])
            del lines[:count]  # Others may have appended meanwhile: theirs stay.
            self.flushes += 1
            try:
                if len(data) < _BIG_LINE:
                    data += b"\n"
                    written = os.write(self._descriptor, data)
                else:
                    written = os.writev(self._descriptor, (data, b"\n"))
                    if written <= len(data):
                        data += b"\n"
                if written < len(data):
                    rest = memoryview(data)[written:]
                    while rest:
                        rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                os._exit(1)

    def soon(self) -> None:
        """Sees to it that what is there, or will be, is flushed in about a millisecond if nobody does so before."""
        self._flusher.arm()

    def abandon(self) -> None:
        """In a forked child: what goes out is the parent's."""
        self._forked = True
        self._lock = threading.Lock()
        self.lines.clear()
        os.close(self._descriptor)


class _Flusher:
    """A thread that flushes what a slow step of user code has caught in the outbox.

    It is there from the first time that it is needed, looks every millisecond while the outbox is in use, and sleeps
    without a wake-up otherwise.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._wake = threading.Semaphore(0)
        self._started = False
        self._awake = False
        self._armings = 0

    def arm(self) -> None:
        # The thread lowers `_awake` before it reads `_armings`; here it is the other way round. So one sees the other.
        self._armings += 1
        if self._awake:
            return
        self._awake = True
        if self._started:
            self._wake.release()
        else:
            self._started = True
            threading.Thread(target=self._run, name="baskd-flusher", daemon=True).start()

    def _run(self) -> None:
        while True:
            armings = self._armings
            self._watch()
            self._awake = False
            if self._armings != armings:
                self._awake = True
                continue
            self._wake.acquire()

    def _watch(self) -> None:
        outbox = self._outbox
        idle = 0
        while idle < _IDLE_ROUNDS:
            flushes = outbox.flushes
            sleep(_FLUSH_AFTER)
            idle = idle + 1 if outbox.flushes == flushes else 0
            if outbox.flushes == flushes and outbox.lines:
                outbox.flush()
                idle = 0
