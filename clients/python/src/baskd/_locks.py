"""Holding a lock for which somebody waits so long and no longer, so that no Ctrl-C leaves it taken."""

from __future__ import annotations

import threading
from typing import Any, Callable, TypeVar

T = TypeVar("T")


def locked(lock: threading.RLock, seconds: float | None, do: Callable[[], T]) -> T | None:
    """What that returns, done with the lock held; None if it could not be had in so many seconds.

    A `with` would be as safe, and has no limit. An interrupt just after `acquire` comes before it could be noted that
    the lock was taken; so the lock itself is asked, and again where the next one comes amid that.
    """
    try:
        if not lock.acquire(timeout=-1 if seconds is None else min(max(0.0, seconds), threading.TIMEOUT_MAX)):
            return None
        return do()
    finally:
        try:
            _let_go(lock)
        except BaseException:
            _let_go(lock)
            raise


def _let_go(lock: Any) -> None:
    if lock._is_owned():
        lock.release()
