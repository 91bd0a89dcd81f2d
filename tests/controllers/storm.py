"""Short calls of every kind, each of which marks that it has begun, and that it has come to its end."""

import asyncio
import time
import weakref


class Noisy:
    """Goes in a cycle, which the garbage collector ends at any moment, running code where nothing can be raised."""

    def __init__(self):
        self.itself = self
        self.reference = weakref.ref(self, forget)

    def __del__(self):
        sum(range(20))


def forget(_):
    sum(range(20))


class Controller:
    def prepare(self, calls: int):
        self.began, self.ended = bytearray(calls), bytearray(calls)
        return True

    def plain(self, key: int):
        self.began[key] += 1
        result = key * 3
        self.ended[key] += 1
        return result

    def compute(self, key: int, n: int):
        self.began[key] += 1
        for i in range(n):
            if i % 50 == 0:
                Noisy()
        self.ended[key] += 1
        return key * 3

    def sleep(self, key: int, n: int):
        self.began[key] += 1
        time.sleep(n * 1e-6)
        self.ended[key] += 1
        return key * 3

    def generate(self, key: int, n: int):
        self.began[key] += 1
        for _ in range(3):
            sum(range(n))
            yield key
        self.ended[key] += 1
        return key * 3

    def report(self, path: str):
        with open(path, "wb") as file:
            file.write(self.began + self.ended)
        return True


class Async(Controller):
    async def later(self, key: int, n: int):
        self.began[key] += 1
        for _ in range(2):
            sum(range(n))
            await asyncio.sleep(0)
        self.ended[key] += 1
        return key * 3

    async def sleep_later(self, key: int, n: int):
        self.began[key] += 1
        await asyncio.wait_for(asyncio.sleep(n * 1e-6), 60)
        self.ended[key] += 1
        return key * 3
