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
from typing import Callable, Optional

# User code that took longer than this is followed by a flush, in seconds.
SLOW = 50e-6
# So many lines at most wait for company.
FULL = 64

_CHUNK = 1 << 18
_FLUSH_AFTER = 1e-3
_IDLE_ROUNDS = 50


class Reader:
    """Reads whole lines into `lines`. Any thread may, one at a time."""

    def __init__(self, descriptor: int) -> None:
        self.lines: deque[bytes] = deque()
        self.ended = False
        #: Called when the input ends.
        self.on_end: Callable[[], None] = lambda: None
        #: Held while reading. Lines may have come while one waited for it.
        self.lock = threading.Lock()
        self._descriptor = descriptor
        self._parts: list[bytes] = []
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLIN)

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._descriptor

    def wait(self) -> bool:
        """Blocks until there is a line. False: the input has ended and there is none."""
        while not self.lines and not self.ended:
            with self.lock:
                if not self.lines and not self.ended:
                    self._read()
        return bool(self.lines)

    def look(self) -> None:
        """Reads what has come, without waiting."""
        with self.lock:
            if self._is_ready():
                self._read()

    def wait_within(self, takes: Callable[[bytes], bool], is_over: Callable[[], bool]) -> None:
        """Blocks for one read in the middle of a call. Lines that `takes` does not take are left for later."""
        with self.lock:
            if not is_over() and not self.ended:  # Another thread may have read what is waited for.
                self._read(takes)

    def look_beside(self, takes: Callable[[bytes], bool]) -> bool:
        """As `wait_within`, without waiting, from any thread. Whether lines were left for the main one."""
        if not self.lock.acquire(blocking=False):
            return False  # Another thread is reading, and will see to what it reads.
        try:
            before = len(self.lines)
            while self._is_ready():
                self._read(takes)
            return len(self.lines) > before
        finally:
            self.lock.release()

    def abandon(self) -> None:
        """In a forked child: the input is the parent's."""
        self.lines.clear()
        self.ended = True
        self.lock = threading.Lock()
        os.close(self._descriptor)

    def _is_ready(self) -> bool:
        return not self.ended and bool(self._ready.poll(0))

    def _read(self, takes: Optional[Callable[[bytes], bool]] = None) -> None:
        data = os.read(self._descriptor, _CHUNK)
        if not data:
            self.ended = True
            self.on_end()
            lines, self._parts = self._parts and [b"".join(self._parts)], []
        elif b"\n" not in data:
            self._parts.append(data)  # A long line is joined once, when its end has come.
            return
        else:
            if self._parts:
                data = b"".join([*self._parts, data])
                self._parts = []
            lines = data.split(b"\n")
            rest = lines.pop()
            if rest:
                self._parts.append(rest)
        self.lines.extend(lines if takes is None else [line for line in lines if not takes(line)])


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
