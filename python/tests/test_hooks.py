"""on_snapshot and on_restore, which the daemon calls over the wire, and nobody else."""

from __future__ import annotations

import unittest
from typing import Any

from tests.support import FIXTURES, Spawned, alone
from tests.test_cancel import CANCELLED, begun

HOOKS = FIXTURES / "hooks.py"


def restore(state: Any, **properties: Any) -> dict[str, Any]:
    return {"state": state, "properties": properties}


class TestHooks(unittest.TestCase):
    def test_they_are_told_but_not_listed(self) -> None:
        for cls in ("Controller", "Async", "Decorated"):
            with Spawned(HOOKS, cls=cls) as router:
                self.assertEqual(router.ready["hooks"], ["on_snapshot", "on_restore"], cls)
                names = {method["name"] for method in router.ready["methods"]}
                self.assertTrue(names.isdisjoint({"on_snapshot", "on_restore", "on_start", "on_stop"}))
                self.assertEqual(router.error("on_snapshots")["data"], {"nearest": []})

    def test_some_or_none(self) -> None:
        for source, hooks in [
            ("", []),
            (" def on_snapshot(self): return 1\n", ["on_snapshot"]),
            (" async def on_restore(self, state): pass\n", ["on_restore"]),
            (" on_snapshot = None\n", []),
            (" @staticmethod\n def on_snapshot(): return 1\n", ["on_snapshot"]),
            (" def __init__(self): self.on_restore = print\n", ["on_restore"]),
            (" def __getattr__(self, name): return print\n", []),
        ]:
            with Spawned(f"class Controller:\n def f(self): pass\n{source}") as router:
                self.assertEqual(router.ready["hooks"], hooks, source)
                for name in {"on_snapshot", "on_restore"} - set(hooks):
                    self.assertEqual(router.error(name)["code"], -32601)

    def test_there_and_back(self) -> None:
        for cls in ("Controller", "Async", "Decorated"):
            with Spawned(HOOKS, cls=cls) as router:
                router.result("add", ["a"])
                router.result("add", ["b"])
                state = router.result("on_snapshot")
                self.assertEqual(state, {"words": ["a", "b"], "limit": 10})
            with Spawned(HOOKS, cls=cls, properties={"limit": 20}) as router:
                self.assertEqual(router.ready["hooks"], ["on_snapshot", "on_restore"])
                self.assertIsNone(router.result("on_restore", restore(state, limit=30, extra=[1])))
                self.assertEqual(router.result("all"), [["a", "b"], 30, [1]])
                # Again, and without anything but the state.
                self.assertIsNone(router.result("on_restore", {"state": {"words": [], "limit": 1}}))
                self.assertEqual(router.result("all"), [[], 1, [1]])

    def test_nobody_else_can_call_them(self) -> None:
        done = alone('{"method":"on_snapshot"}\n{"method":"on_restore","params":{"state":1}}\n', str(HOOKS))
        self.assertEqual([line.count("-32601") for line in done.stdout.splitlines()], [1, 1])


class TestFailures(unittest.TestCase):
    def test_errors_are_answers(self) -> None:
        for cls in ("Controller", "Async"):
            with Spawned(HOOKS, cls=cls) as router:
                error = router.error("on_restore", restore("bad"))
                self.assertEqual((error["code"], error["data"]["type"]), (-32020, "ValueError"))
                self.assertIn("hooks.py", error["data"]["traceback"].splitlines()[1])
                self.assertIn("in on_restore", error["data"]["traceback"].splitlines()[1])
                router.result("add", [float("nan")])
                self.assertEqual(router.error("on_snapshot")["data"], {"path": "$.words[0]"})

    def test_properties_that_cant_be_set_do_not_matter_to_the_others(self) -> None:
        for cls in ("Controller", "Async"):
            with Spawned(HOOKS, cls=cls) as router:
                given = restore({"words": [], "limit": 5}, read_only=1, limit=6, add=2, extra=7)
                self.assertIsNone(router.result("on_restore", given))
                self.assertEqual(router.result("all"), [[], 6, 7])
                router.complained.expect("the property read_only can't be set again (AttributeError)")
                router.complained.expect("the property add can't be set again (Refused)")

    def test_cancelled(self) -> None:
        for cls in ("Controller", "Async"):
            with Spawned(HOOKS, cls=cls) as router:
                ident = router.call("on_restore", restore("wait", limit=1))
                begun(router, ident)
                router.cancel(ident)
                self.assertEqual(router.answer(ident)["error"], CANCELLED)
                self.assertEqual(router.result("all"), [[], 10, None])
