"""A slow reader of one stream, against the real daemon: it holds up nothing else of its client, and costs no memory."""

from __future__ import annotations

import asyncio
import resource
import threading
from typing import Any

import baskd
from tests.real import RealDaemon

ITEMS = 1_000_000
SIZE = 200
WINDOW = 256

# What is read on where not all is; a client in Python takes its time.
READ_ON = 100_000


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class SlowReader(RealDaemon):
    def test_threads(self) -> None:
        stream = self.backend.stream("rows", {"count": ITEMS, "size": SIZE})
        self.assertEqual(next(stream), [0, "x" * SIZE])
        peak = peak_bytes()
        for n in range(500):
            self.assertEqual(self.backend.add(n), n + 1)
        handles = [self.backend.submit("add", [n]) for n in range(500)]
        self.assertEqual([handle.result() for handle in handles], [n + 1 for n in range(500)])
        # One was read, a window is here, and one waits at its yield.
        self.assertLessEqual(self.backend.asked_for(), WINDOW + 2)
        self.assertLessEqual(len(stream._sink.items), WINDOW)
        self.assertEqual(list(self.backend.stream("count", [20_000])), list(range(20_000)))
        expected = 1
        for n, _ in stream:
            if n != expected:
                self.fail(f"{n} came in place of {expected}")
            expected += 1
        self.assertEqual((expected, stream.result), (ITEMS, "all"))
        self.assertLess(peak_bytes() - peak, 32 << 20)
        self.wait_for_end()

    def test_a_thread_of_its_own_reads_while_others_call(self) -> None:
        stream = self.backend.stream("rows", {"count": 20_000, "size": SIZE}, window=8)
        taken: list[Any] = []
        calls_done = threading.Event()

        def read_slowly() -> None:
            taken.append(next(stream)[0])
            calls_done.wait()
            taken.extend(row[0] for row in stream)

        reader = threading.Thread(target=read_slowly)
        reader.start()
        for n in range(1_000):
            self.assertEqual(self.backend.add(n), n + 1)
        self.assertLessEqual(self.backend.asked_for(), 8 + 2)
        calls_done.set()
        reader.join()
        self.assertEqual(taken, list(range(20_000)))
        self.assertEqual(stream.result, "all")
        self.wait_for_end()

    def test_asyncio(self) -> None:
        async def main() -> None:
            async with baskd.connect_async(socket=self.path) as backend:
                stream = backend.stream("rows", {"count": ITEMS, "size": SIZE})
                self.assertEqual(await stream.__anext__(), [0, "x" * SIZE])
                peak = peak_bytes()
                for n in range(500):
                    self.assertEqual(await backend.add(n), n + 1)
                sums = await asyncio.gather(*(backend.add(n) for n in range(500)))
                self.assertEqual(sums, [n + 1 for n in range(500)])
                self.assertLessEqual(await backend.asked_for(), WINDOW + 2)
                self.assertEqual([n async for n in backend.stream("count", [20_000])], list(range(20_000)))
                expected = 1
                async for row in stream:
                    self.assertEqual(row[0], expected)
                    expected += 1
                    if expected == READ_ON:
                        break
                self.assertLess(peak_bytes() - peak, 32 << 20)
                await stream.aclose()
                while "rows" not in await backend.how_ended():
                    pass

        asyncio.run(main())

    def test_cancelled_where_it_waits(self) -> None:
        with self.backend.stream("rows", {"count": ITEMS, "size": SIZE}) as stream:
            next(stream)
            self.assertLessEqual(self.backend.asked_for(), WINDOW + 2)
        self.wait_for_end()

    def wait_for_end(self) -> None:
        while "rows" not in self.backend.how_ended():
            pass
