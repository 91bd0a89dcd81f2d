"""Async methods: on one loop, beside each other, cancelled in asyncio's way."""

from __future__ import annotations

import signal
import unittest
from typing import Any

from tests.support import FIXTURES, Spawned, begun
from tests.test_cancel import CANCELLED


class TestAsync(unittest.TestCase):
    def test_kinds_and_hooks(self) -> None:
        with Spawned(FIXTURES / "aio.py") as router:
            kinds = {method["name"]: method["kind"] for method in router.ready["methods"]}
            self.assertEqual((kinds["sleep"], kinds["plain"]), ("async", "plain"))
            self.assertNotIn("on_start", kinds)
            self.assertEqual(router.result("start_state"), ["yes", True])
            self.assertEqual(router.wait(), 0)
            router.printed.expect("aio stopped")

    def test_the_plain_loop_never_imports_asyncio(self) -> None:
        source = "import sys\nclass Controller:\n def f(self):\n  return 'asyncio' in sys.modules\n"
        with Spawned(source) as router:
            self.assertFalse(router.result("f"))

    def test_results_and_errors(self) -> None:
        with Spawned(FIXTURES / "aio.py") as router:
            self.assertEqual(router.result("immediate", [5]), 5)
            self.assertEqual(router.result("times_out"), "timed out")
            self.assertEqual(router.items(router.call("gather"))[1]["result"], [0, 1, 2])
            self.assertEqual(router.items(router.call("sends_much"))[0], list(range(100)))
            self.assertEqual(router.items(router.call("in_thread"))[0], ["from a thread"])
            for method, kind in [
                ("fails", "ValueError"),
                ("exits", "SystemExit"),
                ("cancels_itself", "CancelledError"),
            ]:
                error = router.error(method)
                self.assertEqual((error["code"], error["data"]["type"]), (-32020, kind))
                self.assertNotIn("loop_async", error["data"]["traceback"])

    def test_begin_in_the_order_of_arrival(self) -> None:
        with Spawned(FIXTURES / "aio.py") as router:
            idents = [router.ident() for _ in range(6)]
            router.raw(
                b"".join(
                    b'{"id":%d,"method":"%b"}\n' % (ident, [b"immediate", b"plain"][n % 2])
                    for n, ident in enumerate(idents)
                )
            )
            for ident in idents:
                self.assertEqual(router.read()["id"], ident)
            self.assertEqual(router.result("what_happened"), ["immediate", "plain"] * 3)

    def test_cancelled(self) -> None:
        with Spawned(FIXTURES / "aio.py") as router:
            for method, children, seen in (
                ("sleep", 0, ["sleep cancelled"]),
                ("gather_for_ever", 2, ["child 1", "child 2"]),
                ("spin", 0, []),
            ):
                before = router.result("what_happened")
                ident, beside = router.call(method), router.call("sleep", {"seconds": 0.3})
                begun(router, ident)
                answers: dict[int, Any] = {}
                cancelled = False
                while len(answers) < 2:
                    if not children and not cancelled:
                        cancelled = True
                        router.cancel(ident)
                    message = router.read()
                    if "data" in message:
                        children -= 1  # It says that it has begun.
                    elif "begun" not in message:
                        answers[message["id"]] = message
                self.assertEqual(answers[ident]["error"], CANCELLED)
                self.assertEqual(answers[beside]["result"], 0.3)
                self.assertEqual(sorted(router.result("what_happened")[len(before) :]), seen)

    def test_a_plain_method_may_run_a_loop_of_its_own(self) -> None:
        source = (
            "import asyncio\nclass Controller:\n async def other(self):\n  return 1\n"
            " def plain(self):\n  async def f():\n   await asyncio.sleep(0)\n   return 2\n  return asyncio.run(f())\n"
            " def generator(self):\n  yield asyncio.run(self.other())\n"
        )
        with Spawned(source) as router:
            for _ in range(2):
                self.assertEqual(router.result("plain"), 2)
                self.assertEqual(router.result("other"), 1)
            ident = router.call("generator")
            self.assertEqual(router.read(), {"id": ident, "data": 1})
            self.assertIsNone(router.answer(ident)["result"])

    def test_the_end_waits_for_them(self) -> None:
        with Spawned(FIXTURES / "aio.py") as router:
            ident = router.call("sleep", {"seconds": 0.1})
            router.end_input()
            self.assertEqual(router.answer(ident)["result"], 0.1)
            self.assertEqual(router.wait(), 0)

    def test_a_task_left_behind_does_not_keep_it(self) -> None:
        source = (
            "import asyncio\nclass Controller:\n async def f(self):\n"
            "  self.t = asyncio.create_task(asyncio.Event().wait())\n  return 1\n"
        )
        with Spawned(source) as router:
            self.assertEqual(router.result("f"), 1)
            self.assertEqual(router.wait(), 0)
            self.assertNotIn("destroyed", router.complained.wait())

    def test_a_signal_while_idle(self) -> None:
        with Spawned(FIXTURES / "aio.py") as router:
            for _ in range(20):
                router.process.send_signal(signal.SIGURG)
            self.assertEqual(router.result("immediate"), 1)
