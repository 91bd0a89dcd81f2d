"""What the shared page says has begun, is what has: for every kind of method, whenever the process dies.

By it the daemon tells the calls that it may give to the next process from those that it may not.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import unittest
from contextlib import contextmanager
from typing import Any, Iterator

from tests.support import FIXTURES, Spawned, begun
from tests.test_cancel import CANCELLED

PLAIN_LOOP = ("plain", "generator", "beside", "generator_beside")
ASYNC_LOOP = (*PLAIN_LOOP, "coroutine", "async_generator")
KINDS = [("Controller", kind) for kind in PLAIN_LOOP] + [("Async", kind) for kind in ASYNC_LOOP]
THREADS = 32


class Marked(Spawned):
    """A router of marks.py, and what its methods have said."""

    def __init__(self, cls: str) -> None:
        self._marks_fd = os.memfd_create("marks")
        path = f"/proc/{os.getpid()}/fd/{self._marks_fd}"
        super().__init__(FIXTURES / "marks.py", cls=cls, environment={"MARKS": path})

    def __enter__(self) -> Marked:
        return self

    def entered(self) -> list[int]:
        """The numbers of the calls whose code has run, in their order; all of it in the one process."""
        size = os.fstat(self._marks_fd).st_size
        # What stands behind the last newline is half of a write that is under way.
        lines = os.pread(self._marks_fd, size, 0).split(b"\n")[:-1]
        pids = {int(line.split()[0]) for line in lines}
        assert pids <= {self.process.pid}, f"user code ran in a child: {pids}"
        return [int(line.split()[1]) for line in lines]

    def is_marked(self, ident: int) -> bool:
        return self.begun[ident & 0x7FFF] == ident

    def warm(self, kind: str) -> None:
        """Calls it until it is known to be quick, if it can be."""
        for _ in range(4):
            self.items(self.call(kind, [0]))

    def send(self, *calls: tuple[str, Any]) -> list[int]:
        """Sends calls in one write, so that they are read together; gives their ids."""
        idents = [self.ident() for _ in calls]
        lines = [{"id": ident, "method": method, "params": params} for ident, (method, params) in zip(idents, calls)]
        self.raw(b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines))
        return idents

    def close(self) -> None:
        super().close()
        os.close(self._marks_fd)


@contextmanager
def dying(cls: str) -> Iterator[Marked]:
    """One that will be killed; what it had to say does not matter."""
    with Marked(cls) as router:
        router.allow_unread = True
        yield router
        router.process.wait(20)


class TestBegun(unittest.TestCase):
    def test_before(self) -> None:
        """The process dies in the call before: the next has not begun, though it was read."""
        for cls, kind in KINDS:
            with self.subTest(cls=cls, kind=kind), dying(cls) as router:
                router.warm(kind)
                killer, behind = router.send(("die", []), (kind, [1]))
                router.process.wait(20)
                self.assertEqual(router.entered().count(1), 0)
                self.assertEqual((router.is_marked(killer), router.is_marked(behind)), (True, False))

    def test_during(self) -> None:
        """The process dies as the first thing that the method does."""
        for cls, kind in KINDS:
            with self.subTest(cls=cls, kind=kind), dying(cls) as router:
                router.warm(kind)
                (ident,) = router.send((kind, [1, "die"]))
                router.process.wait(20)
                self.assertEqual(router.entered()[-1], 1)
                self.assertTrue(router.is_marked(ident))

    def test_after(self) -> None:
        """The call has ended, and its answer may have died in a buffer with the process."""
        for cls, kind in KINDS:
            with self.subTest(cls=cls, kind=kind), dying(cls) as router:
                router.warm(kind)
                ident, _ = router.send((kind, [1]), ("die", []))
                router.process.wait(20)
                # In a thread or in the loop it may not have had its turn; or, in a thread, not come to its first line.
                marked, entered = router.is_marked(ident), 1 in router.entered()
                if kind in ("beside", "generator_beside"):
                    self.assertLessEqual(entered, marked)
                else:
                    self.assertEqual(marked, entered)
                if kind in ("plain", "generator"):
                    self.assertTrue(marked)

    def test_a_call_that_cant_be_bound_never_begins(self) -> None:
        for cls, kind in KINDS:
            with self.subTest(cls=cls, kind=kind), Marked(cls) as router:
                router.warm(kind)
                ran = len(router.entered())
                for params in ({}, {"nmber": 1}, ["one"], [1, "", 3], 5):
                    ident = router.call(kind, params)
                    self.assertEqual(router.answer(ident)["error"]["code"], -32602)
                    self.assertFalse(router.is_marked(ident))
                ident = router.ident()
                router.raw(b'{"id":%d,"method":"%b","params":[tru]}\n' % (ident, kind.encode()))
                self.assertEqual(router.answer(ident)["error"]["code"], -32602)
                self.assertFalse(router.is_marked(ident))
                ident = router.call("nothing")
                self.assertEqual(router.answer(ident)["error"]["code"], -32601)
                self.assertFalse(router.is_marked(ident))
                self.assertEqual(len(router.entered()), ran)

    def test_a_call_that_is_cancelled_in_time_never_begins(self) -> None:
        for cls, kind in KINDS:
            for by_signal in (True, False):
                with self.subTest(cls=cls, kind=kind, by_signal=by_signal), Marked(cls) as router:
                    router.warm(kind)
                    if kind.endswith("beside"):  # All threads are taken.
                        holders = [router.call("holds") for _ in range(THREADS)]
                        for holder in holders:
                            begun(router, holder)
                    else:
                        holders = [router.call("waits")]
                        begun(router, holders[0])
                    ident = router.call(kind, [1])
                    router.cancel(ident, by_signal)
                    for holder in holders:
                        router.cancel(holder)
                    left = {ident, *holders}
                    while left:
                        message = router.read()
                        if "begun" not in message:
                            if message["id"] == ident:
                                self.assertEqual(message["error"], CANCELLED)
                            left.remove(message["id"])
                    self.assertFalse(router.is_marked(ident))
                    self.assertNotIn(1, router.entered())

    def test_user_code_that_cancels_every_task(self) -> None:
        """A call whose task is gone before it began is answered all the same, and what came after it is, too."""
        with Marked("PatientAsync") as router:
            for behind in ([("plain", [3])], []):
                # What follows it has a task before it runs if both were read together, and quickly.
                for _ in range(100):
                    before = len(router.entered())
                    idents = router.send(("cancel_all", []), ("coroutine", [1]), ("async_generator", [2]), *behind)
                    answers: dict[int, Any] = {}
                    while len(answers) < len(idents):
                        message = router.read()
                        if "begun" not in message and "data" not in message:
                            answers[message["id"]] = message
                    for number, ident in enumerate(idents):
                        ran = number in (0, *router.entered()[before:])
                        self.assertEqual((router.is_marked(ident), "result" in answers[ident]), (ran, ran))
                    error = answers[idents[1]].get("error")
                    if error is not None:
                        break
                assert error is not None, "no task was cancelled in time"
                self.assertEqual(error["data"]["type"], "CancelledError")

    def test_a_forked_child_begins_nothing(self) -> None:
        """It comes back from user code with its parent's calls in memory: none of them is its own."""
        for cls, kind in KINDS:
            with self.subTest(cls=cls, kind=kind), Marked(cls) as router:
                every = PLAIN_LOOP if cls == "Controller" else ASYNC_LOOP
                idents = router.send((kind, [1, "leave a child"]), *((other, [2]) for other in every * 3))
                left = set(idents)
                while left:
                    message = router.read()
                    if "begun" not in message and "data" not in message:
                        self.assertIn("result", message)
                        left.remove(message["id"])
                self.assertEqual(router.entered().count(2), 3 * len(every))

    def test_killed_at_any_moment(self) -> None:
        seed = random.SystemRandom().randrange(1 << 32)
        chance = random.Random(seed)
        for cls, every in (("Controller", PLAIN_LOOP), ("Async", ASYNC_LOOP)):
            for only in (("plain",), every):
                for _ in range(6):
                    with self.subTest(seed=seed, cls=cls, only=only), dying(cls) as router:
                        self.kill(router, only, chance)

    def kill(self, router: Marked, kinds: tuple[str, ...], chance: random.Random) -> None:
        for kind in kinds:
            router.warm(kind)
        ran = len(router.entered())
        idents: dict[int, int] = {}

        def read() -> None:
            while router.read_line():
                pass

        def write() -> None:
            try:
                for first in range(1, 20_000, 50):
                    numbers = range(first, first + 50)
                    sent = router.send(*((chance.choice(kinds), [number]) for number in numbers))
                    idents.update(zip(numbers, sent))
            except BrokenPipeError:
                pass

        threads = [threading.Thread(target=work) for work in (read, write)]
        for thread in threads:
            thread.start()
        threshold = ran + chance.randrange(1, 2000)
        while len(router.entered()) < threshold:
            pass
        os.kill(router.process.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        entered = set(router.entered()[ran:])
        marked = {number for number, ident in idents.items() if router.is_marked(ident)}
        self.assertLessEqual(entered, marked, "ran, and was not marked")
        # The mark is the last thing before the method's first line: one call a thread may be between the two.
        self.assertLessEqual(len(marked - entered), 1 if kinds == ("plain",) else 1 + THREADS)
