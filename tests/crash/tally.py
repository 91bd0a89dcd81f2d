"""What a client counts: its calls and their outcomes."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from typing import Any

PROPERTY = json.loads(os.environ["CRASH_PROPERTY"])
CRASHED = -32021


class Tally:
    def __init__(self, client: str) -> None:
        self.client = client
        self.calls = 0
        self.results = 0
        self.crashed = 0
        #: The calls that are said not to have begun.
        self.unbegun: list[str] = []
        self.longest = 0.0
        self.other: list[Any] = []

    def new_call(self) -> str:
        """The name of one more call."""
        self.calls += 1
        return f"{self.client}-{self.calls}"

    def result(self, name: str, result: Any, started: float) -> None:
        self._took(started)
        if result == [name, PROPERTY]:
            self.results += 1
        else:
            self.other.append({"call": name, "result": result})

    def error(self, name: str, error: dict[str, Any], started: float) -> None:
        self._took(started)
        ran = (error.get("data") or {}).get("ran") if error.get("code") == CRASHED else None
        if ran == "yes":
            self.crashed += 1
        elif ran == "no":
            self.unbegun.append(name)
        else:
            self.other.append({"call": name, "error": error})

    def _took(self, started: float) -> None:
        self.longest = max(self.longest, time.monotonic() - started)

    def print(self) -> None:
        said = {
            "calls": self.calls,
            "results": self.results,
            "crashed": self.crashed,
            "unbegun": self.unbegun,
            "other": self.other,
            "longest_ms": self.longest * 1000,
        }
        print(json.dumps(said))


def told_to_stop() -> bool:
    """Whether stdin has ended."""
    return bool(select.select([sys.stdin], [], [], 0)[0])
