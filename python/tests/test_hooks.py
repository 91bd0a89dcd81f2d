"""on_snapshot and on_restore, which the daemon calls over the wire, and nobody else."""

from __future__ import annotations

import unittest
from typing import Any

from tests.support import FIXTURES, Spawned, alone, begun
from tests.test_cancel import CANCELLED

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

    def test_hooks_that_cant_be_called_keep_it_from_starting(self) -> None:
        for hook, message in [
            (
                "def on_restore(self): pass",
                r"on_restore can't be called with \(state\): .*`def on_restore\(self, state\)`",
            ),
            ("def on_restore(self, state, more): pass", "'more'"),
            ("def on_restore(self, *, state): pass", "on_restore can't be called"),
            ("async def on_restore(self): pass", "too many"),
            ("def on_snapshot(self, params): pass", r"'params'; write it as `def on_snapshot\(self\)`"),
            ("def on_snapshot(self): yield", "on_snapshot can't be a generator"),
            ("async def on_restore(self, state): yield", "on_restore can't be a generator"),
            ("on_snapshot = 5", "can't be int"),
            ("on_snapshot = property(lambda self: 1 / 0)", "division"),
        ]:
            with Spawned(f"class Controller:\n def f(self): pass\n {hook}\n", ready=False) as router:
                failed = router.read()["failed"]
                self.assertEqual(failed["stage"], "construct")
                self.assertRegex(failed["message"], message)

    def test_signatures_that_will_do(self) -> None:
        for hook in (
            "def on_restore(self, state, strict=True): self.got = state",
            "def on_restore(self, *args): (self.got,) = args",
            "def on_restore(me, params, /): me.got = params",
            "def on_restore(self, **kwargs): pass\n on_restore = lambda self, s: setattr(self, 'got', s)",
            "def on_restore(self, params: str): self.got = params",
            "def _set(self, state, extra): self.got = state\n"
            " on_restore = functools.wraps(_set)(lambda self, *args: self._set(*args, 1))",
            "on_restore = functools.partialmethod(setattr, 'got')",
            "@baskd.concurrent\n def on_restore(self, state): self.got = threading.current_thread().name and state",
        ):
            source = f"import baskd, functools, threading\nclass Controller:\n def f(self): return self.got\n {hook}\n"
            with Spawned(source) as router:
                for state in ({"a": 1}, [1], None, "s", {}):
                    self.assertIsNone(router.result("on_restore", restore(state)), hook)
                    self.assertEqual(router.result("f"), state, hook)

    def test_what_has_yet_to_run_is_no_state(self) -> None:
        source = """
async def later():
    return 1
def items():
    yield 1
class Controller:
    def f(self): pass
    def on_snapshot(self): return (items if self.how == "items" else later)()
    def on_restore(self, state): return (items if state == "items" else later)()
"""
        with Spawned(source) as router:
            for how, said in (("items", "returned a generator"), ("later", "`async def on_")):
                router.result("setProperty", ["how", how])
                for error in (router.error("on_snapshot"), router.error("on_restore", restore(how))):
                    self.assertEqual((error["code"], error["data"]["type"]), (-32020, "BadHook"))
                    self.assertIn(said, error["message"])
            router.end_input()
            self.assertEqual(router.complained.wait(), "")

    def test_they_send_nothing(self) -> None:
        for kind in ("def", "async def"):
            source = f"class Controller:\n def f(self): self.send(1)\n {kind} on_snapshot(self): self.send(1)\n"
            with Spawned(source) as router:
                self.assertIn("send() works while a method runs", router.error("on_snapshot")["message"])
                self.assertEqual(router.items(router.call("f"))[0], [1])

    def test_a_child_that_a_snapshot_forks(self) -> None:
        source = """
import os
class Controller:
    def f(self): return 1
    def on_snapshot(self):
        pid = os.fork()
        return os.waitpid(pid, 0)[1] if pid else "the child's"
"""
        with Spawned(source) as router:
            self.assertEqual(router.result("on_snapshot"), 0)
            self.assertEqual(router.result("f"), 1)

    def test_a_process_that_dies_in_one(self) -> None:
        source = "import os\nclass Controller:\n def f(self): pass\n def on_restore(self, state): os._exit(3)\n"
        with Spawned(source) as router:
            ident = router.call("on_restore", restore(1))
            self.assertEqual(router.process.wait(20), 3)
            self.assertEqual(router.begun[ident & 0x7FFF], ident)


class TestBesideCalls(unittest.TestCase):
    def test_a_snapshot_while_calls_are_under_way(self) -> None:
        """A generator that is parked, a coroutine that awaits, threads that run: none of them is in its way."""
        for cls in ("Controller", "Async"):
            with Spawned(HOOKS, cls=cls, window=[2, 1 << 20]) as router:
                parked = router.call("count", [10])
                self.assertEqual(router.items_within(parked, 2), [0, 1])
                calls = [router.call("hold", [n]) for n in range(3)]
                if cls == "Async":
                    calls.append(router.call("hold_async"))
                for ident in calls:
                    begun(router, ident)
                for n in range(20):
                    router.result("add", [n])
                    self.assertEqual(router.result("on_snapshot")["words"], list(range(n + 1)))
                self.assertIsNone(router.result("on_restore", restore({"words": [], "limit": 1})))
                router.more(parked, 100)
                items, end = router.items(parked)
                self.assertEqual((items, end["result"]), (list(range(2, 10)), 10))
                self.assertIsNone(router.result("release"))
                left = set(calls)
                while left:
                    message = router.read()
                    if "begun" not in message:
                        self.assertEqual(message["result"], "released")
                        left.remove(message["id"])

    def test_in_order_with_plain_calls(self) -> None:
        with Spawned(HOOKS) as router:
            idents = []
            for n in range(200):
                idents += [router.call("add", [n]), router.call("on_snapshot")]
            answers = [router.answer(ident) for ident in idents]
            self.assertEqual([len(answer["result"]["words"]) for answer in answers[1::2]], list(range(1, 201)))

    def test_a_cancel_before_it_begins(self) -> None:
        for cls in ("Controller", "Async"):
            with Spawned(HOOKS, cls=cls) as router:
                first = router.call("sleep")
                begun(router, first)
                ident = router.call("on_restore", restore({"words": ["no"], "limit": 0}))
                router.cancel(ident)
                router.cancel(first)
                for each in (first, ident):
                    self.assertEqual(router.answer(each)["error"], CANCELLED)
                self.assertEqual(router.begun[ident & 0x7FFF], 0)
                self.assertEqual(router.result("all"), [[], 10, None])


class TestAsyncSetProperty(unittest.TestCase):
    SOURCE = """
import asyncio
class Controller:
    seen = None
    def all(self): return [self.seen, self.a, self.b]
    async def setProperty(self, name, value):
        await asyncio.sleep(0)
        if name == "bad": raise ValueError(name)
        setattr(self, name, value)
    def on_start(self): self.seen = self.a
    def on_restore(self, state): self.a = self.b = state
"""

    def test_it_is_awaited_wherever_properties_are_put_back(self) -> None:
        with Spawned(self.SOURCE, properties={"a": 1, "bad": 2, "b": 3}) as router:
            self.assertEqual(router.result("all"), [1, 1, 3])
            router.complained.expect("the property bad can't be set again (ValueError)")
            self.assertIsNone(router.result("on_restore", restore(0, bad=1, b=4)))
            self.assertEqual(router.result("all"), [1, 0, 4])
