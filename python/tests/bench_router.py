"""A bench, not a test: how many calls a second one router answers, from a pipe and into a pipe.

    python python/tests/bench_router.py [PYTHON ...]

The driver writes N requests and reads N answers, at most DEPTH under way, on the other core.
"""

from __future__ import annotations

import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests import support

N = 200_000
DEPTH = 2_000
CHUNK = 200

CONTROLLER = """
from basecontroller import BaseController
class Controller(BaseController):
    def __init__(self):
        self.n = 0
    def increment(self, params):
        self.n += params.get("by", 1)
        return {"counter": self.n}
    def add(self, by: int = 1):
        self.n += by
        return {"counter": self.n}
    def count(self, n: int):
        for i in range(n):
            yield {"token": i}
"""
ASYNC = (
    CONTROLLER
    + """
    async def later(self, by: int = 1):
        return {"counter": by}
"""
)


def pipelined(router: support.Spawned, method: str, n: int = N) -> float:
    """Calls a second, with many under way."""
    room = threading.Semaphore(DEPTH // CHUNK)

    def write() -> None:
        for first in range(0, n, CHUNK):
            room.acquire()
            router.raw(
                b"".join(
                    b'{"id":%d,"method":"%b","params":{"by":5}}\n' % ((i + 1) << 15 | (i + 1) & 0x7FFF, method.encode())
                    for i in range(first, first + CHUNK)
                )
            )

    began = time.perf_counter()
    threading.Thread(target=write, daemon=True).start()
    seen = chunks = 0
    while seen < n:
        data = os.read(router._stdout, 1 << 20)
        seen += data.count(b'"result"')
        while chunks < seen // CHUNK:
            chunks += 1
            room.release()
    return n / (time.perf_counter() - began)


def sequential(router: support.Spawned, n: int = 20_000) -> float:
    """Microseconds a call, one after the other."""
    line = b'{"id":32769,"method":"increment","params":{"by":5}}\n'
    began = time.perf_counter()
    for _ in range(n):
        os.write(router._stdin, line)
        os.read(router._stdout, 65536)
    return (time.perf_counter() - began) / n * 1e6


def stream(router: support.Spawned, n: int = 300_000) -> float:
    """Items a second of a generator."""
    began = time.perf_counter()
    router.call("count", {"n": n}, [1 << 40, 1 << 50])
    while b'"result"' not in os.read(router._stdout, 1 << 20):
        pass
    return n / (time.perf_counter() - began)


def measure(python: str) -> None:
    sys.executable = python
    with support.Spawned(CONTROLLER) as router:
        label = f"{router.ready['python']:8} {router.ready['codec']:8}"
        print(f"{label} increment(params) {pipelined(router, 'increment'):9,.0f}/s", flush=True)
        print(f"{label} add(by: int)      {pipelined(router, 'add'):9,.0f}/s", flush=True)
        print(f"{label} one at a time     {sequential(router):9.1f} us", flush=True)
        print(f"{label} generator items   {stream(router):9,.0f}/s", flush=True)
    with support.Spawned(ASYNC) as router:
        print(f"{label} in the async loop {pipelined(router, 'increment'):9,.0f}/s", flush=True)
        print(f"{label} async def         {pipelined(router, 'later', 60_000):9,.0f}/s", flush=True)


if __name__ == "__main__":
    for each in sys.argv[1:] or [sys.executable]:
        measure(each)
