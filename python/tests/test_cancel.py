"""Cancelling strikes the call it is meant for, and nothing else."""

from __future__ import annotations

import random
import time
import unittest

from tests.support import FIXTURES, Spawned

CANCELLED = {"code": -32024, "message": "The call was cancelled.", "data": {"by": "client"}}


def begun(router: Spawned, ident: int) -> None:
    """Waits until the call's user code has begun, as the shared page says."""
    until = time.monotonic() + 10
    while router.begun[ident & 0x7FFF] != ident:
        assert time.monotonic() < until, "it never began"
        time.sleep(0.001)


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

    def test_generators(self) -> None:
        for cls in ("Controller", "Async"):
            with Spawned(FIXTURES / "generators.py", cls=cls, window=[5, 1 << 20]) as router:
                ident = router.call("spins")  # struck within a step
                self.assertEqual(router.read()["data"], "first")
                time.sleep(0.01)
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

    def test_a_storm(self) -> None:
        """Cancels at every moment of a call's life: each call gets its one answer, and no other call is hurt."""
        storm = random.Random(7)
        source = """
import time
class Controller:
    def work(self, n: int):
        x = 0
        for i in range(n):
            x += i
        return x
    def gen(self, n: int):
        for i in range(3):
            x = sum(range(n))
            yield i
        return n
    def innocent(self, n: int):
        return sum(range(n))
"""
        asynchronous = """
    async def later(self, n: int):
        import asyncio
        for i in range(2):
            sum(range(n))
            await asyncio.sleep(0)
        return n
"""
        for text, methods in ((source, ["work", "gen"]), (source + asynchronous, ["work", "gen", "later"])):
            with Spawned(text) as router:
                answers: dict[int, dict[str, object]] = {}
                struck = rounds = 0
                while rounds < 400 or struck < 50:  # On a busy machine most calls end before their cancel comes.
                    rounds += 1
                    self.assertLess(rounds, 10_000)
                    victim = router.call(storm.choice(methods), {"n": storm.choice([1, 100, 3000, 20_000, 100_000])})
                    others = {router.call("innocent", {"n": 500}): 124750 for _ in range(2)}
                    until = time.perf_counter() + storm.random() * 0.0008
                    while time.perf_counter() < until:
                        pass
                    router.cancel(victim)
                    answers.clear()
                    while len(answers) < 3:
                        message = router.read()
                        if "begun" in message or "data" in message:
                            continue
                        self.assertNotIn(message["id"], answers)
                        answers[message["id"]] = message
                    for ident, result in others.items():
                        self.assertEqual(answers[ident].get("result"), result)
                    if "error" in answers[victim]:
                        self.assertEqual(answers[victim]["error"], CANCELLED)
                        struck += 1
                # Python may tell of a coroutine that was made and not awaited, or of a Cancelled that struck in a weak
                # reference's callback and went no further, as it does with a Ctrl-C. Nothing else may have gone wrong.
                self.assertNotRegex(router.complained.text, r"\w+Error")
