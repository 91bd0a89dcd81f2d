"""A client that only writes."""

from __future__ import annotations

import time

from .case import DaemonTest
from .connection import Connection
from .processes import resident_bytes

#: How long nothing may be taken before it is taken to be refused.
QUIET_SECONDS = 0.5


def flood(test: DaemonTest, slow: Connection, message: bytes, other: Connection, most: int = 100 << 20) -> None:
    """Sends a message again and again without reading, until no more is taken; others are served meanwhile.

    Fails if there is no end to it, or if the daemon grows by what it has not written.
    """
    before = resident_bytes(test.daemon.pid)
    slow.socket.setblocking(False)
    sent = 0
    idle_since = time.monotonic()
    left = memoryview(message)
    while time.monotonic() - idle_since < QUIET_SECONDS:
        try:
            count = slow.socket.send(left)
            left = left[count:] or memoryview(message)
            sent += count
            idle_since = time.monotonic()
            test.assertLess(sent, most, "a flood is taken without end")
        except BlockingIOError:
            test.assertEqual(other.call("add", [1]), 2)
    test.assertLess(resident_bytes(test.daemon.pid) - before, 40 << 20)
