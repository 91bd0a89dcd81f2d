"""Async methods."""

import asyncio
import time

import baskd
from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.log = []
        self.started = None

    async def on_start(self):
        await asyncio.sleep(0)
        self.loop = asyncio.get_running_loop()
        self.started = "yes"

    async def on_stop(self):
        await asyncio.sleep(0)
        print("aio stopped")

    def plain(self, params):
        self.log.append("plain")
        return params

    def what_happened(self):
        return self.log

    async def start_state(self):
        return [self.started, self.loop is asyncio.get_running_loop()]

    async def immediate(self, x: int = 1):
        self.log.append("immediate")
        return x

    async def sleep(self, seconds: float = 60):
        try:
            await asyncio.sleep(seconds)
        except baskd.Cancelled:
            self.log.append("sleep cancelled")
            raise
        return seconds

    async def gather(self, n: int = 3):
        async def one(i):
            await asyncio.sleep(0.001 * (n - i))
            self.send(i)
            return i

        return await asyncio.gather(*(one(i) for i in range(n)))

    async def gather_for_ever(self):
        async def one(i):
            try:
                self.send(f"child {i}")
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.log.append(f"child {i}")
                raise

        await asyncio.wait_for(asyncio.gather(one(1), one(2)), 50)

    async def times_out(self):
        try:
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        except asyncio.TimeoutError:
            return "timed out"

    async def spin(self):
        """Never gives the loop a chance."""
        while True:
            pass

    async def fails(self):
        await asyncio.sleep(0)
        raise ValueError("bad input")

    async def exits(self):
        raise SystemExit(3)

    async def cancels_itself(self):
        raise asyncio.CancelledError("by itself")

    async def in_thread(self):
        """What runs in a thread for it can send for it."""

        def work():
            self.send("from a thread")
            return baskd.cancelled()

        loop = asyncio.get_running_loop()
        import contextvars

        return await loop.run_in_executor(None, contextvars.copy_context().run, work)

    async def sends_much(self, n: int = 100):
        for i in range(n):
            self.send(i)
        return n

    def blocks(self, seconds: float = 0.05):
        time.sleep(seconds)
        return seconds
