"""Moments that nobody tells of."""

from __future__ import annotations

import time
from typing import Callable

from tests.fake import WAIT


def eventually(condition: Callable[[], object]) -> None:
    """Returns when that is so, which only looking tells."""
    until = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > until:
            raise AssertionError("What was waited for did not come.")
        time.sleep(0.001)
