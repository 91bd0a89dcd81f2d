"""What every contender serves: the same small behaviour behind each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from basecontroller import BaseController


class Controller(BaseController):
    # Its counter is each worker's own, which is all the same here.
    stateless = True

    def __init__(self) -> None:
        self.counter = 0

    def increment(self, params: dict[str, Any]) -> dict[str, int]:
        """The small call."""
        self.counter += params.get("by", 1)
        return {"counter": self.counter}

    def echo(self, params: dict[str, Any]) -> Any:
        """The large one."""
        return params["text"]

    def items(self, params: dict[str, Any]) -> Iterator[dict[str, int]]:
        """Small partial results."""
        for number in range(params["count"]):
            yield {"item": number}

    def sendItems(self, params: dict[str, Any]) -> dict[str, int]:
        """The same, as the seed's controllers have it."""
        for number in range(params["count"]):
            self.send({"item": number})
        return {"sent": params["count"]}

    def ticks(self, params: dict[str, Any]) -> Iterator[int]:
        """A partial result a millisecond: the time at which it was yielded."""
        for _ in range(params["count"]):
            time.sleep(0.001)
            yield time.monotonic_ns()

    def compute(self, params: dict[str, Any]) -> int:
        """Pure Python that takes as long as `rounds` says, and no less where two of them share a core."""
        total = 0
        for number in range(params["rounds"]):
            total += number & 3
        return total

    def pause(self, params: dict[str, Any]) -> bool:
        """Keeps Python from everything else for a while."""
        time.sleep(params["seconds"])
        return True
