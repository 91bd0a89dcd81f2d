"""The daemon is killed, with -9, under load: every call has one outcome, and it is the truth.

The controller appends each call's number to a file, so that it is known how often it ran.
"""

from __future__ import annotations

import asyncio
import collections
import os
import signal
import threading
import unittest
import unittest.mock
from typing import Any

import baskd
from tests.fake import WAIT
from tests.started import StartedDaemon, ended

THREADS = 8
EACH = 8  # calls under way of each thread
ROUNDS = 18
# The calls under which the daemon is killed: each of a kind that is not idempotent, in the midst of a round.
KILLS = (3 * THREADS * EACH + 30, 9 * THREADS * EACH + 30)


class Crash(StartedDaemon):
    CONTROLLER = """
import os
import signal
import baskd

class Controller(baskd.BaseController):
    def ran(self, n, tell):
        with open(os.path.join(os.environ["FOLDER"], "ran"), "a") as file:
            file.write(f"{n}\\n")
        if tell:
            with open(os.path.join(os.environ["FOLDER"], "told"), "w") as file:
                file.write(str(os.getppid()))
            signal.pause()
        return n

    def append(self, n, tell=False):
        return self.ran(n, tell)

    @baskd.idempotent
    def look(self, n):
        return self.ran(n, False)

    def talk(self, data):
        self.send(data)
"""

    def setUp(self) -> None:
        super().setUp()
        os.mkfifo(self.file("told"))
        self.outcomes: dict[int, list[Any]] = collections.defaultdict(list)
        # Not how fast this machine starts a Python is tested here.
        for where in ("baskd._calls.ASK_SECONDS", "baskd.aio.ASK_SECONDS"):
            patched = unittest.mock.patch(where, WAIT)
            patched.start()
            self.addCleanup(patched.stop)

    def kill(self) -> None:
        """Kills the daemons whose controllers say that they run a call that is to be their last."""
        for _ in KILLS:
            with open(self.file("told")) as file:
                daemon = int(file.read())
            with ended(daemon):
                os.kill(daemon, signal.SIGKILL)

    @staticmethod
    def request(n: int) -> tuple[str, dict[str, Any], bool | None]:
        """Three kinds in turn: not idempotent; idempotent as the controller says; as the caller says."""
        kind = n % 3
        if kind == 0:
            return "append", {"n": n, "tell": n in KILLS}, None
        return ("look", {"n": n}, None) if kind == 1 else ("append", {"n": n}, True)

    def check(self) -> None:
        with open(self.file("ran")) as file:
            ran = collections.Counter(int(line) for line in file)
        numbers = range(THREADS * EACH * ROUNDS)
        self.assertEqual({n: len(self.outcomes[n]) for n in numbers if len(self.outcomes[n]) != 1}, {})
        kinds: collections.Counter[str] = collections.Counter()
        for n in numbers:
            outcome = self.outcomes[n][0]
            if isinstance(outcome, baskd.Disconnected):
                self.assertEqual((n % 3, outcome.data), (0, {"method": "append"}), repr(outcome.__cause__))
                kinds["lost, and ran" if ran[n] else "lost, and did not run"] += 1
            else:
                self.assertEqual(outcome, n)
                kinds["answered"] += 1
                self.assertGreaterEqual(ran[n], 1)
            self.assertLessEqual(ran[n], 1 if n % 3 == 0 else 2, n)
            kinds["ran twice"] += ran[n] == 2
        # The kills fell where they were meant to.
        self.assertGreaterEqual(kinds["lost, and ran"], len(KILLS))
        self.assertGreaterEqual(kinds["answered"], len(numbers) * 2 // 3)

    def test_threads(self) -> None:
        backend = self.client()
        self.assertEqual(backend.append(n=-1), -1)
        together = threading.Barrier(THREADS)

        def work(thread: int) -> None:
            for turn in range(ROUNDS):
                first = turn * THREADS * EACH + thread * EACH
                together.wait(WAIT)
                handles = []
                for n in range(first, first + EACH):
                    method, params, idempotent = self.request(n)
                    handles.append((n, backend.submit(method, params, idempotent=idempotent)))
                for n, handle in handles:
                    try:
                        self.outcomes[n].append(handle.result())
                    except baskd.BaskdError as error:
                        self.outcomes[n].append(error)

        killer = self.thread(self.kill)
        threads = [self.thread(work, number) for number in range(THREADS)]
        for thread in [*threads, killer]:
            thread.join(3 * WAIT)
            self.assertFalse(thread.is_alive())
        self.check()

    def test_asyncio(self) -> None:
        async def call(backend: baskd.AsyncClient, n: int) -> None:
            method, params, idempotent = self.request(n)
            try:
                self.outcomes[n].append(await backend.call(method, params, idempotent=idempotent))
            except baskd.BaskdError as error:
                self.outcomes[n].append(error)

        async def main() -> None:
            async with baskd.AsyncClient(self.controller, socket=self.path) as backend:
                self.assertEqual(await backend.append(n=-1), -1)
                for turn in range(ROUNDS):
                    first = turn * THREADS * EACH
                    await asyncio.gather(*(call(backend, n) for n in range(first, first + THREADS * EACH)))

        killer = self.thread(self.kill)
        asyncio.run(main())
        killer.join(WAIT)
        self.assertFalse(killer.is_alive())
        self.check()

    def test_messages_go_on_and_tell_of_the_gap(self) -> None:
        backend = self.client()
        messages = backend.messages(scope="all")
        backend.talk("a")
        self.assertEqual(next(messages).data, "a")
        daemon = backend.status()["pid"]
        with ended(daemon):
            os.kill(daemon, signal.SIGKILL)
        reader: list[Any] = []
        waiting = self.thread(lambda: reader.extend([next(messages), next(messages)]))
        backend.talk("b")
        waiting.join(WAIT)
        self.assertEqual([(message.restarted, message.data) for message in reader], [(True, None), (False, "b")])
        self.assertNotEqual(backend.status()["pid"], daemon)


if __name__ == "__main__":
    unittest.main()
