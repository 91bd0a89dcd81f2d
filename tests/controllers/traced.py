"""Tells which trace its callers belong to: in every kind of method, at every moment."""

import asyncio
import threading

import baskd


def here():
    return [baskd.traceparent(), baskd.tracestate()]


class Controller(baskd.BaseController):
    def __init__(self):
        self.events = {}
        self.left = []
        self.at_start = None

    def on_start(self):
        self.at_start = here()

    def plain(self):
        return here()

    def sends(self):
        before = here()
        self.send(here())
        return [before, here()]

    def raises(self):
        raise ValueError(str(baskd.traceparent()))

    def started(self):
        return self.at_start

    def steps(self, count: int):
        for _ in range(count):
            yield here()
        return here()

    @baskd.concurrent
    def beside(self, name: str):
        before = here()
        self.send(before)
        self._event(name).wait(20)
        return [before, here()]

    def let(self, name: str):
        self._event(name).set()
        return here()

    def thread(self):
        """In a thread of its own making, which the router knows nothing of."""
        told = []
        thread = threading.Thread(target=lambda: told.append(here()))
        thread.start()
        thread.join()
        return told

    def _event(self, name):
        return self.events.setdefault(name, threading.Event())


class Async(Controller):
    async def task(self, name: str):
        """In a coroutine, in a task that it starts, and in a thread of asyncio's, with others at work meanwhile."""
        before = here()
        self.send(before)
        await asyncio.to_thread(self._event(name).wait, 20)
        child = asyncio.create_task(self._child())
        return [before, here(), await child, await asyncio.to_thread(here)]

    async def _child(self):
        await asyncio.sleep(0)
        return here()

    async def agen(self, count: int):
        for _ in range(count):
            yield here()
            await asyncio.sleep(0)

    async def leaves(self):
        """Starts a task that outlives the call."""
        self.left.append(asyncio.create_task(self._late()))

    async def _late(self):
        await asyncio.to_thread(self._event("late").wait, 20)
        return here()

    async def late(self):
        return [await self.left[0], here()]

    @baskd.concurrent
    def beside_out_of_credit(self, count: int):
        """Wakes the main thread from within its own context, again and again."""
        for n in range(count):
            self.send(n)
        return here()
