"""Controllers that keep state in memory, and give and take it by their hooks."""

import asyncio
import functools
import threading
import time

import baskd


class Controller:
    limit = 10

    def __init__(self):
        self.words = []
        self.released = threading.Event()

    @property
    def read_only(self):
        return "constant"

    def add(self, word):
        self.words.append(word)

    def all(self):
        return [self.words, self.limit, getattr(self, "extra", None)]

    def sleep(self):
        time.sleep(60)

    def count(self, n: int):
        yield from range(n)
        return n

    @baskd.concurrent
    def hold(self, n: int):
        self.released.wait(60)
        return "released"

    def release(self):
        self.released.set()

    def on_snapshot(self):
        return {"words": self.words, "limit": self.limit}

    def on_restore(self, state):
        if state == "wait":
            time.sleep(60)
        if state == "bad":
            raise ValueError("no such state")
        self.words = state["words"]
        self.limit = state["limit"]


class Async(Controller):
    async def hold_async(self):
        while not self.released.is_set():
            await asyncio.sleep(0.01)
        return "released"

    async def on_snapshot(self):
        await asyncio.sleep(0)
        return super().on_snapshot()

    async def on_restore(self, state):
        await asyncio.sleep(60 if state == "wait" else 0)
        super().on_restore(state)


def traced(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


class Decorated(Async):
    @traced
    async def on_snapshot(self):
        return await super().on_snapshot()

    @traced
    async def on_restore(self, state):
        await super().on_restore(state)
