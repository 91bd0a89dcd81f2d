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
# So many lines at most wait for company.
FULL = 64

_CHUNK = 1 << 18
_FLUSH_AFTER = 1e-3
_IDLE_ROUNDS = 50


class Reader:
    """Reads whole lines: calls into `lines`, what is about calls under way into `controls`. Any thread may read."""

    def __init__(self, descriptor: int) -> None:
        self.lines: deque[bytes] = deque()
        self.controls: deque[bytes] = deque()
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
        while not self.lines and not self.controls and not self.ended:
            self.wait_unless(lambda: bool(self.lines or self.controls))
        return bool(self.lines or self.controls)

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

        Gives whether there are new lines for the main thread.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            while self._is_ready():
                self._read()
            then()
            return bool(self.lines)
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """In a forked child: the input is the parent's."""
        self.lines.clear()
        self.controls.clear()
        self.ended = True
        self._lock = threading.Lock()
        os.close(self._descriptor)

    def _is_ready(self) -> bool:
        return not self.ended and bool(self._ready.poll(0))

    def _read(self) -> None:
        data = os.read(self._descriptor, _CHUNK)
        if not data:
            self.ended = True
            self.on_end()
            if not self._parts:
                return
            data = b"\n"  # What is left is a line, too.
        elif b"\n" not in data:
            self._parts.append(data)  # A long line is joined once, when its end has come.
            return
        if self._parts:
            data = b"".join([*self._parts, data])
            self._parts.clear()
        lines = data.split(b"\n")
        rest = lines.pop()
        if rest:
            self._parts.append(rest)
        if data.startswith(_CONTROLS) or b'\n{"c' in data or b'\n{"m' in data:
            for line in lines:
                (self.controls if line.startswith(_CONTROLS) else self.lines).append(line)
        else:
            self.lines.extend(lines)


# How {"cancel": …} and {"more": …} begin; a call begins with its id.
_CONTROLS = (b'{"cancel":', b'{"more":')


class Outbox:
    """Lines to go out. Appending to `lines` is all it takes; `flush` writes them, from any thread."""

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
            data = lines[0] if count == 1 else b"".join(lines[:count])
            del lines[:count]  # Others may have appended meanwhile: theirs stay.
            self.flushes += 1
            try:
                written = os.write(self._descriptor, data)
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
