"""Cancelling strikes the call it is meant for, and nothing else."""

from __future__ import annotations

import random
import unittest
from pathlib import Path

from tests.storm import storm
from tests.support import FIXTURES, Spawned, begun

CANCELLED = {"code": -32024, "message": "The call was cancelled.", "data": {"by": "client"}}


class TestCancel(unittest.TestCase):
    def test_plain_methods(self) -> None:
        with Spawned(FIXTURES / "slow.py") as router:
            for method in ("sleep", "spin", "swallows_exceptions"):
                ident = router.call(method)
                begun(router, ident)
                router.cancel(ident)
                self.assertEqual(router.answer(ident)["error"], CANCELLED)
            self.assertEqual(router.result("cleaned_up"), ["sleep"])
            ident = router.call("ignores")
            begun(router, ident)
            router.cancel(ident)
            self.assertEqual(router.answer(ident)["result"], "ignored")

    def test_a_call_that_has_not_begun(self) -> None:
        with Spawned(FIXTURES / "slow.py") as router:
            first, second, third = router.call("sleep"), router.call("sleep"), router.call("echo", [1])
            begun(router, first)
            router.cancel(second)
            router.cancel(first)
            self.assertEqual(router.answer(first)["error"], CANCELLED)
            self.assertEqual(router.answer(second)["error"], CANCELLED)
            self.assertEqual(router.begun[second & 0x7FFF], 0)
            self.assertEqual(router.answer(third)["result"], [1])

    def test_a_mark_is_seen_without_a_signal(self) -> None:
        with Spawned(FIXTURES / "slow.py") as router:
            for _ in range(3):  # echo is known to be quick now
                router.result("echo")
            gate = Path(router.folder.name, "gate")
            first, second, third = router.call("until", [str(gate)]), router.call("echo", [1]), router.call("echo", [2])
            begun(router, first)
            router.cancel(second, by_signal=False)
            gate.touch()
            self.assertIn("result", router.answer(first))
            self.assertEqual(router.answer(second)["error"], CANCELLED)
            self.assertEqual(router.begun[second & 0x7FFF], 0)
            self.assertEqual(router.answer(third)["result"], [2])

    def test_generators(self) -> None:
        for cls in ("Controller", "Async"):
            with Spawned(FIXTURES / "generators.py", cls=cls, window=[5, 1 << 20]) as router:
                ident = router.call("spins")  # struck within a step
                self.assertEqual([router.read()["data"] for _ in range(2)], ["first", "second"])
                router.cancel(ident)
                self.assertEqual(router.answer(ident)["error"], CANCELLED)
                self.assertEqual(router.result("what_happened"), ["spins cancelled"])
                ident = router.call("stubborn")
                self.assertEqual(router.items_within(ident, 5), ["again"] * 5)
                router.cancel(ident)
                self.assertIn("error", router.answer(ident))

    def test_a_signal_for_nobody(self) -> None:
        for fixture in ("slow.py", "aio.py"):
            with Spawned(FIXTURES / fixture) as router:
                ident = router.call("sleep", {"seconds": 0.2})
                begun(router, ident)
                for other in (1, ident + (1 << 15), 0):
                    router.cancel(other)
                self.assertEqual(router.answer(ident)["result"], 0.2)

    def test_what_python_drops_is_raised_again(self) -> None:
        """In a `__del__` nothing can be raised: Python would say so on stderr, and go on."""
        source = """
class Noisy:
    def __del__(self):
        for _ in range(2000):
            pass
class Controller:
    def work(self):
        while True:
            Noisy()
    def sleep_in_del(self):
        import time
        class Sleeper:
            def __del__(self):
                time.sleep(0.05)
        while True:
            Sleeper()
"""
        with Spawned(source) as router:
            for method in ["work"] * 50 + ["sleep_in_del"] * 3:
                ident = router.call(method)
                begun(router, ident)
                router.cancel(ident)
                self.assertEqual(router.answer(ident)["error"], CANCELLED)
            router.end_input()
            self.assertEqual(router.complained.wait(), "")

    def test_the_users_own_hook_is_kept(self) -> None:
        source = """
import sys
sys.unraisablehook = lambda unraisable: print("heard of", unraisable.exc_value)
class Bad:
    def __del__(self):
        raise ValueError("this")
class Controller:
    def drop(self):
        Bad()
"""
        with Spawned(source) as router:
            self.assertIsNone(router.result("drop"))
            router.printed.expect("heard of this")

    def test_a_storm(self) -> None:
        """Cancels at every moment of a call's life: each call gets its one answer, and no other call is hurt."""
        seed = random.SystemRandom().randrange(1 << 32)
        for cls in ("Controller", "Async"):
            with self.subTest(cls=cls, seed=seed):
                figures = storm(cls, 25_000, seed)
                self.assertGreater(figures.struck - figures.never_begun, 100, figures)
