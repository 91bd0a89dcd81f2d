"""Other clients, whom a test's misdeeds must not reach."""

from __future__ import annotations

import threading
import time
from typing import Optional

from .daemon import Daemon


class Others:
    """A client that makes one small call after another, in a thread, from `with` to its end.

    It calls the controller's `add`, or another method without parameters. Each call must be answered rightly, and none
    may take longer than `patience` seconds: far more than a call takes on a busy machine, far less than anything here
    would hold it up for.
    """

    def __init__(self, daemon: Daemon, method: str = "add", patience: float = 5.0) -> None:
        self._method = method
        self._connection = daemon.connect(seconds=patience)
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._enough = threading.Event()
        self._failure: Optional[BaseException] = None
        self._calls = threading.Condition()
        self.count = 0
        self.slowest = 0.0

    def wait_for(self, calls: int, seconds: float = 20.0) -> None:
        """Returns when so many more have been answered."""
        with self._calls:
            until = self.count + calls
            if not self._calls.wait_for(lambda: self.count >= until or self._failure is not None, seconds):
                raise AssertionError(f"another client's {calls} calls were not answered within {seconds} s")
        self._raise()

    def __enter__(self) -> Others:
        self._thread.start()
        self.wait_for(1)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.wait_for(10)
        self._enough.set()
        self._thread.join()
        self._connection.close()
        if kind is None:
            self._raise()

    def _call(self) -> None:
        try:
            while not self._enough.is_set():
                began = time.monotonic()
                if self._method == "add":
                    result = self._connection.call("add", [self.count, 0])
                    assert result == self.count, f"{result} instead of {self.count}"
                else:
                    self._connection.call(self._method)
                with self._calls:
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.count += 1
                    self._calls.notify_all()
        except BaseException as failure:
            with self._calls:
                self._failure = failure
                self._calls.notify_all()

    def _raise(self) -> None:
        if self._failure is not None:
            raise AssertionError("another client was not served") from self._failure
