"""A controller whose state is carried over: a count, and what it is told to do with its hooks."""

import os
import time

import baskd
from basecontroller import BaseController

VERSION = 1


class Controller(BaseController):
    # Settable from outside: what the hooks do.
    fails_in = ""
    apiKey = ""

    def __init__(self):
        self.count = 0
        self.started = []

    def on_start(self):
        if os.environ.get("KEEPS_SLOW_START"):
            time.sleep(float(os.environ["KEEPS_SLOW_START"]))
        while (gate := os.environ.get("KEEPS_GATE")) and not os.path.exists(gate):
            time.sleep(0.005)
        self.started.append("on_start")

    def on_snapshot(self):
        if self.fails_in == "on_snapshot":
            raise ValueError("no snapshot today")
        if self.fails_in == "long on_snapshot":
            time.sleep(1000)
        if self.fails_in == "deep on_snapshot":
            deep = []
            for _ in range(500):
                deep = [deep]
            return deep
        return {"count": self.count, "apiKey": self.apiKey, "model": "as it was"}

    def on_restore(self, state):
        self.started.append("on_restore")
        if os.environ.get("KEEPS_SLOW_RESTORE"):
            time.sleep(float(os.environ["KEEPS_SLOW_RESTORE"]))
        if self.fails_in == "on_restore":
            raise ValueError("what is this?")
        if self.fails_in == "death in on_restore":
            os._exit(7)
        self.count = state["count"]
        self.model = state["model"]

    def increment(self, by: int = 1):
        self.count += by
        return self.count

    def counted(self):
        return self.count

    def pid(self):
        return os.getpid()

    def version(self):
        return VERSION

    def starts(self):
        return self.started

    def sleep(self, seconds: float):
        time.sleep(seconds)
        return os.getpid()

    def until(self, gate: str, dies: bool = False):
        while not os.path.exists(gate):
            time.sleep(0.005)
        if dies:
            os._exit(3)
        return os.getpid()

    def ticks(self, count: int, every: float = 0.01):
        for number in range(count):
            yield [number, os.getpid()]
            time.sleep(every)
        return "done"

    def gated(self, gate: str, count: int = 2):
        """Yields, and ends when the file `gate` is there: a stream that lasts as long as a test wants."""
        yield os.getpid()
        while not os.path.exists(gate):
            yield os.getpid()
            time.sleep(0.005)
        return os.getpid()

    @baskd.concurrent
    def for_ever(self):
        while True:
            time.sleep(0.01)

    def die_in(self, seconds: float):
        time.sleep(seconds)
        os._exit(3)

    def die(self):
        os._exit(3)

    def grow(self, mebibytes: int):
        self.ballast = bytearray(mebibytes << 20)
        self.ballast[::4096] = b"x" * len(self.ballast[::4096])
        return os.getpid()
