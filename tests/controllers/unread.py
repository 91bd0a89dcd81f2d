"""Gives more than anybody wants to read, in every way there is, and tells how much of it was made."""

import sys

import baskd
from basecontroller import BaseController

KIB = "x" * 1024


class Controller(BaseController):
    def __init__(self):
        self.made = 0

    def how_many(self):
        return self.made

    def add(self, a: int, b: int = 1):
        return a + b

    def echo(self, params):
        return params

    def big(self, size: int):
        return "x" * size

    def items(self):
        while True:
            self.made += 1
            yield KIB

    @baskd.concurrent
    def items_beside(self):
        while True:
            self.made += 1
            yield KIB

    def sends(self, n: int = 1 << 40):
        for _ in range(n):
            self.made += 1
            self.send(KIB)
        return n

    def talks(self, n: int):
        for i in range(n):
            print(i, KIB, file=sys.stderr)
        return n


class Async(Controller):
    """The same beside an asyncio loop."""

    async def aitems(self):
        while True:
            self.made += 1
            yield KIB
