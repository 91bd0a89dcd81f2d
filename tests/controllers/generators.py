"""Generators, sync and async."""

import asyncio
import time

import baskd
from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.log = []
        self.produced = 0

    def echo(self, params):
        return params

    def what_happened(self):
        return self.log

    def how_many(self):
        return self.produced

    def count(self, n: int = 3):
        """Yields 0 to n-1, and gives n."""
        for i in range(n):
            yield i
        return n

    def nothing(self):
        """Yields nothing."""
        return "done"
        yield

    def endless(self):
        """Yields for ever, and says how it ended."""
        try:
            while True:
                yield self.produced
                self.produced += 1
        except baskd.Cancelled:
            self.log.append("endless cancelled")
            raise
        finally:
            self.log.append("endless closed")

    def slow(self, n: int = 3, seconds: float = 0.05):
        for i in range(n):
            time.sleep(seconds)
            yield i

    def spins(self):
        """Works for ever between two yields."""
        yield "first"
        try:
            self.send("second")
            while True:
                pass
        except baskd.Cancelled:
            self.log.append("spins cancelled")
            raise

    def stubborn(self):
        """Catches its end, and goes on."""
        while True:
            try:
                while True:
                    yield "again"
            except baskd.Cancelled:
                self.log.append("stubborn")

    def fails(self, after: int = 2):
        yield from range(after)
        raise ValueError("no more")

    def not_json(self):
        yield 1
        try:
            yield object()
        finally:
            self.log.append("not_json closed")

    def stalls(self):
        """Fast items, and then a long wait: none of them may wait with it."""
        for i in range(20):
            yield i
        time.sleep(60)

    def stalls_after_a_slow_one(self):
        time.sleep(0.05)
        yield "slow"
        time.sleep(60)

    def sends(self, n: int = 3):
        """send(), in a plain method."""
        for i in range(n):
            self.send(i)
            self.produced = i + 1
        return n

    def gives_a_generator(self, n: int = 3):
        """Does not look like a generator function."""
        return (i for i in range(n))

    def sends_in_a_generator(self):
        self.send("sent")
        yield "yielded"
        return "returned"


class Async(Controller):
    """The same, where there is an asyncio loop."""

    async def acount(self, n: int = 3):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def aendless(self):
        try:
            while True:
                yield self.produced
                self.produced += 1
        except baskd.Cancelled:
            self.log.append("aendless cancelled")
            raise
        finally:
            self.log.append("aendless closed")

    async def afails(self):
        yield 1
        raise ValueError("no more")

    async def awaits(self):
        """Waits for ever between two yields."""
        yield "first"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            self.log.append(f"awaits {isinstance(cancelled, baskd.Cancelled)}")
            raise
