"""The page of memory that the daemon and the router share: which calls have begun, and which are cancelled.

Two arrays of 32,768 little-endian u64, `begun` then `cancel`, and one word more, `marks`, which counts what was written
into `cancel`. A call's place in both arrays is the low 15 bits of its id. The router writes `begun`, the daemon the
others; each entry is one aligned word, so no reader sees half of one.
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

SLOTS = 32_768
MASK = SLOTS - 1
#: A whole number of the kernel's pages.
SIZE = 2 * 8 * SLOTS + 4096


class Page(NamedTuple):
    """The arrays, and one of a single word, as memoryviews of format "Q"."""

    begun: memoryview
    cancel: memoryview
    marks: memoryview


def attach(descriptor: int) -> Page:
    """Maps the daemon's page and closes the descriptor."""
    mapped = mmap.mmap(descriptor, SIZE)
    os.close(descriptor)
    return _arrays(memoryview(mapped))


def private() -> Page:
    """A page of one's own, where there is no daemon."""
    return _arrays(memoryview(bytearray(SIZE)))


def _arrays(view: memoryview) -> Page:
    words = view.cast("Q")
    return Page(words[:SLOTS], words[SLOTS : 2 * SLOTS], words[2 * SLOTS : 2 * SLOTS + 1])
