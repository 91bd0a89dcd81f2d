"""Which trace a call belongs to is its own matter: whatever runs beside it, and whatever runs after it."""

from __future__ import annotations

import unittest
from typing import Any

from .support import FIXTURES, Spawned, alone

TRACED = FIXTURES / "traced.py"
NONE = [None, None]


def parent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


A, B, C = ([parent(number), f"vendor={number}"] for number in (1, 2, 3))


class PlainLoop(unittest.TestCase):
    cls = "Controller"

    def setUp(self) -> None:
        self.router = Spawned(TRACED, cls=self.cls)
        self.addCleanup(self.router.close)

    def test_a_plain_method_has_its_own_and_the_next_has_none(self) -> None:
        for given, told in (
            (A, A),
            (None, NONE),
            (A[:1], [A[0], None]),
            (B, B),
            (None, NONE),
        ):
            self.assertEqual(self.router.answer(self.router.call("plain", trace=given))["result"], told)

    def test_many_at_once_that_are_quick(self) -> None:
        traces = [None if number % 3 == 0 else [parent(number)] for number in range(1, 300)]
        self.router.result("plain")  # From here on it goes the quick way.
        idents = [self.router.call("plain", trace=trace) for trace in traces]
        for ident, trace in zip(idents, traces):
            self.assertEqual(self.router.answer(ident)["result"], [trace[0] if trace else None, None])

    def test_sending_changes_nothing(self) -> None:
        ident = self.router.call("sends", trace=A)
        self.assertEqual(self.router.items(ident), ([A], {"id": ident, "result": [A, A]}))
        self.assertEqual(self.router.result("plain"), NONE)

    def test_one_that_raises_leaves_nothing(self) -> None:
        message = self.router.answer(self.router.call("raises", trace=A))
        self.assertIn(A[0], message["error"]["message"])
        self.assertEqual(self.router.result("plain"), NONE)

    def test_a_hook_has_none(self) -> None:
        self.assertEqual(self.router.answer(self.router.call("started", trace=A))["result"], NONE)

    def test_generators_take_turns_each_with_its_own(self) -> None:
        first = self.router.call("steps", [3], window=[1, 1 << 20], trace=A)
        second = self.router.call("steps", [3], window=[1, 1 << 20], trace=B)
        third = self.router.call("steps", [3], window=[1, 1 << 20])
        told = {first: A, second: B, third: NONE}
        open_ones = dict.fromkeys(told, 3)
        self.assertEqual(self.router.call("plain", trace=C) > third, True)
        ends = 0
        while ends < len(told):
            message = self.router.read()
            if "begun" in message:
                continue
            if message["id"] not in told:
                self.assertEqual(message["result"], C)
                continue
            if "data" in message:
                self.assertEqual(message["data"], told[message["id"]])
                open_ones[message["id"]] -= 1
                self.router.more(message["id"], 1)
                continue
            self.assertEqual(message["result"], told[message["id"]])
            ends += 1
        self.assertEqual(set(open_ones.values()), {0})

    def test_threads_have_their_own_while_others_run(self) -> None:
        first = self.router.call("beside", ["first"], trace=A)
        self.assertEqual(self.router.items_within(first, 1), [A])
        second = self.router.call("beside", ["second"])
        self.assertEqual(self.router.items_within(second, 1), [NONE])
        let = self.router.call("let", ["second"], trace=B)
        ended = {}
        for _ in range(2):
            message = self.router.read()
            ended[message["id"]] = message["result"]
        self.assertEqual(ended, {let: B, second: [NONE, NONE]})
        let = self.router.call("let", ["first"], trace=C)
        ended = {}
        for _ in range(2):
            message = self.router.read()
            ended[message["id"]] = message["result"]
        self.assertEqual(ended, {let: C, first: [A, A]})

    def test_a_thread_of_the_methods_own_has_none(self) -> None:
        self.assertEqual(self.router.answer(self.router.call("thread", trace=A))["result"], [NONE])


class AsyncLoop(PlainLoop):
    cls = "Async"

    def test_coroutines_and_their_tasks_have_their_own(self) -> None:
        first = self.router.call("task", ["first"], trace=A)
        self.assertEqual(self.router.items_within(first, 1), [A])
        second = self.router.call("task", ["second"])
        self.assertEqual(self.router.items_within(second, 1), [NONE])
        for name, ident, told in (("second", second, NONE), ("first", first, A)):
            self.assertEqual(self.router.answer(self.router.call("let", [name], trace=B))["result"], B)
            self.assertEqual(self.router.answer(ident)["result"], [told] * 4)
        self.assertEqual(self.router.result("plain"), NONE)

    def test_async_generators_have_their_own_between_yields(self) -> None:
        first = self.router.call("agen", [3], trace=A)
        second = self.router.call("agen", [3], trace=B)
        items: dict[int, list[object]] = {first: [], second: []}
        ends = 0
        while ends < 2:
            message = self.router.read()
            if "data" in message:
                items[message["id"]].append(message["data"])
            elif "begun" not in message:
                ends += 1
        self.assertEqual(items, {first: [A] * 3, second: [B] * 3})

    def test_a_task_that_outlives_its_call_keeps_that_ones(self) -> None:
        self.router.answer(self.router.call("leaves", trace=A))
        self.assertEqual(self.router.answer(self.router.call("let", ["late"], trace=B))["result"], B)
        self.assertEqual(self.router.answer(self.router.call("late", trace=C))["result"], [A, C])

    def test_who_is_run_from_anothers_context_has_its_own(self) -> None:
        """A thread that waits for credit wakes the main thread's loop from a context that has its call."""
        beside = self.router.call("beside_out_of_credit", [200], window=[1, 1 << 20], trace=A)
        seen = 0
        plains: dict[int, list[Any]] = {}
        while True:
            message = self.router.read()
            if "begun" in message:
                continue
            if message["id"] != beside:
                self.assertEqual(message["result"], plains.pop(message["id"]))
            elif "data" in message:
                seen += 1
                plains[self.router.call("plain")] = NONE
                self.router.more(beside, 1)
                plains[self.router.call("plain", trace=B)] = B
            else:
                self.assertEqual((seen, message["result"]), (200, A))
                break
        while plains:
            message = self.router.read()
            if "begun" not in message:
                self.assertEqual(message["result"], plains.pop(message["id"]))


class WithoutDaemon(unittest.TestCase):
    def test_there_is_none(self) -> None:
        ended = alone('{"method":"plain","trace":["x"]}\n', str(TRACED))
        self.assertEqual(ended.stdout, '{"result":[null,null]}\n', ended.stderr)

    def test_a_controller_can_be_tested_by_itself(self) -> None:
        import baskd

        self.assertEqual((baskd.traceparent(), baskd.tracestate()), (None, None))


if __name__ == "__main__":
    unittest.main()
