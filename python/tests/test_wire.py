"""Under a daemon: start, calls, errors, properties, and that nothing but the router writes to the wire."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import unittest
from typing import Any

from tests.support import FIXTURES, Spawned


class TestStart(unittest.TestCase):
    def test_ready_says_what_can_be_called(self) -> None:
        with Spawned(FIXTURES / "typed.py") as router:
            ready = router.ready
        self.assertEqual(ready["protocol"], 1)
        self.assertEqual(ready["version"], "0.1.0")
        self.assertEqual(ready["pid"], router.process.pid)
        self.assertEqual(ready["python"], ".".join(map(str, sys.version_info[:3])))
        self.assertIn(ready["codec"], ("json", "msgspec", "orjson"))
        self.assertEqual((ready["controller"], ready["doc"], ready["stateless"]), ("Controller", "Signatures.", False))
        methods = {method["name"]: method for method in ready["methods"]}
        self.assertEqual(
            methods["increment"],
            {
                "name": "increment",
                "doc": "Adds one, or `by`.",
                "kind": "plain",
                "concurrent": False,
                "idempotent": False,
                "params": [{"name": "by", "required": False, "default": 1, "schema": {"type": "integer"}}],
                "whole": False,
                "extra": False,
                "result": {"type": "integer"},
            },
        )
        self.assertTrue(methods["whole"]["whole"])
        self.assertTrue(methods["anything"]["extra"])
        self.assertEqual([p["name"] for p in methods["setProperty"]["params"]], ["name", "value"])
        self.assertLessEqual({"static", "of_class", "getProperty"}, methods.keys())
        self.assertTrue(methods.keys().isdisjoint({"_private", "a_property", "send", "set_stream_func", "on_start"}))

    def failed(self, fixture: Any, **more: Any) -> dict[str, Any]:
        with Spawned(fixture, ready=False, **more) as router:
            failed: dict[str, Any] = router.read()["failed"]
            self.assertEqual(router.read_line(), b"")
            self.assertEqual(router.wait(), 1)
            self.stderr = router.complained.wait()
        return failed

    def test_an_import_that_fails(self) -> None:
        failed = self.failed(FIXTURES / "broken_import.py")
        self.assertEqual((failed["stage"], failed["type"]), ("import", "ModuleNotFoundError"))
        self.assertIn("in helper", failed["traceback"])
        self.assertNotIn("loading.py", failed["traceback"])
        self.assertIn("a_library_that_is_not_installed", self.stderr)

    def test_other_ways_to_fail(self) -> None:
        for source, stage, message in [
            ("import sys\nsys.exit(3)\n", "import", "3"),
            ("x = (\n", "import", "never closed" if sys.version_info >= (3, 10) else "unexpected EOF"),
            ("x = 1\n", "import", "there are no classes"),
            ("class A: pass\nclass B: pass\n", "import", "there are A, B"),
            ("class Controller:\n  x = 1\n", "construct", "no methods"),
            ("class Controller:\n  def __init__(self, a): pass\n", "construct", "__init__"),
        ]:
            failed = self.failed(source)
            self.assertEqual(failed["stage"], stage, failed)
            self.assertIn(message, failed["message"])
        failed = self.failed(FIXTURES / "broken_start.py")
        self.assertEqual((failed["stage"], failed["message"]), ("on_start", "the model is not there"))
        self.assertIn("in on_start", failed["traceback"])
        self.assertIn("There is no file", self.failed("/absent/controller.py")["message"])
        self.assertIn("There is no module", self.failed({"module": "absent_one", "class": "C"})["message"])

    def test_a_controller_of_any_class(self) -> None:
        with Spawned("class Controller:\n  def f(self, x):\n    self.send(x)\n    return x\n") as router:
            self.assertEqual(router.items(router.call("f", {"x": 1}))[0], [1])
            self.assertEqual(router.result("setProperty", {"name": "a", "value": 2}), 2)
        with Spawned("class Controller:\n  __slots__ = ('a',)\n  def f(self):\n    return self.a\n") as router:
            router.result("setProperty", ["a", 3])
            self.assertEqual(router.result("f"), 3)

    def test_environment_and_descriptors(self) -> None:
        with Spawned(FIXTURES / "forks.py") as router:
            listed = router.result("descriptors")
            # 0, 1, 2, the pipe that run() reads, and ls's own: nothing of the wire, the page or the logs.
            self.assertNotIn("memfd", listed)
            numbers = {line.split()[8] for line in listed.splitlines() if "->" in line}
            self.assertLessEqual(numbers, {"0", "1", "2", "3"})

    def test_the_example(self) -> None:
        with Spawned(None, properties={"model": "something"}) as router:
            self.assertEqual(router.result("getModelPath"), {"model": "something"})
            self.assertEqual(router.items(router.call("testStream"))[0][0], {"step": 1, "of": 5})


class TestNames(unittest.TestCase):
    def test_what_is_no_identifier_is_no_method(self) -> None:
        source = (
            "class Controller:\n def f(self): pass\n"
            "for name in ('a\",\"method\":\"f', 'a b', '1', '', 'a\\n', '\\ud800', 'grüße'):\n"
            " setattr(Controller, name, lambda self: 1)\n"
        )
        with Spawned(source) as router:
            names = {method["name"] for method in router.ready["methods"]}
            self.assertEqual(names, {"f", "grüße", "setProperty", "getProperty"})


class TestCalls(unittest.TestCase):
    def test_exact_bytes(self) -> None:
        with Spawned(FIXTURES / "typed.py") as router:
            router.raw(b'{"id":32769,"method":"increment","params":{"by":5}}\n')
            self.assertEqual(router.read_line(), b'{"id":32769,"result":6}')
            router.raw(b'{"id":65538,"method":"nothing"}\n')
            self.assertEqual(router.read_line(), b'{"id":65538,"result":"nothing"}')
            self.assertEqual(list(router.begun[:4]), [0, 32769, 65538, 0])

    def test_signatures(self) -> None:
        with Spawned(FIXTURES / "typed.py") as router:
            expected: list[tuple[str, Any, Any]] = [
                ("search", ["q", 5], ["q", 5, None]),
                ("search", {"query": "q", "exact": True}, ["q", 10, True]),
                ("whole", None, {}),
                ("whole", [1], [1]),
                ("whole_and_more", {"a": 1}, [{"a": 1}, 1]),
                ("many", [1, 2, 3], [1, [2, 3]]),
                ("anything", {"a": 1, "b": 2}, [1, {"b": 2}]),
                ("positional_only", {"a": 1, "c": 5}, [1, 2, 5]),
                ("keyword_only", {"a": 1, "b": 2}, [1, 2, 3]),
                ("scale", {"x": 2}, 4.0),
                ("unresolved", {"x": 1}, [1, 0]),
                ("static", [4], 4),
                ("of_class", {"a": 4}, ["Controller", 4]),
                ("implicit_optional", {"x": None}, None),
            ]
            for method, params, result in expected:
                self.assertEqual(router.result(method, params), result, method)
            misfits: list[tuple[str, Any]] = [("increment", {"bye": 1}), ("nothing", [1]), ("increment", {"by": "1"})]
            for method, bad in misfits:
                self.assertEqual(router.error(method, bad)["code"], -32602)
            for method in ("serch", "_private", "on_start", "send", "a_property", "__init__", ""):
                error = router.error(method)
                self.assertEqual(error["code"], -32601, method)
            self.assertEqual(router.error("serch")["data"], {"nearest": ["search"]})

    def test_errors(self) -> None:
        with Spawned(FIXTURES / "crash.py") as router:
            error = router.error("fail")
            self.assertEqual((error["code"], error["message"]), (-32020, "ValueError: bad input"))
            self.assertEqual((error["data"]["type"], error["data"]["message"]), ("ValueError", "bad input"))
            self.assertTrue(error["data"]["traceback"].startswith("Traceback (most recent call last):\n"))
            self.assertIn("crash.py", error["data"]["traceback"])
            self.assertNotIn("router.py", error["data"]["traceback"])
            self.assertIn("direct cause", router.error("fail_twice")["data"]["traceback"])
            for method, kind in [
                ("exit", "SystemExit"),
                ("type_error", "TypeError"),
                ("memory", "MemoryError"),
                ("recursion", "RecursionError"),
                ("interrupt", "KeyboardInterrupt"),
                ("generator_exit", "GeneratorExit"),
            ]:
                error = router.error(method)
                self.assertEqual((error["code"], error["data"]["type"]), (-32020, kind))
            self.assertIn("Broken", router.error("fail_badly")["message"])
            long = router.error("fail", {"message": "x" * 1_000_000 + "\nmore"})
            self.assertLess(len(json.dumps(long)), 300_000)
            self.assertEqual(router.result("echo", {"still": "there"}), {"still": "there"})

    def test_results_that_are_not_json(self) -> None:
        with Spawned(FIXTURES / "notjson.py") as router:
            names = router.result("names")
            for name in names["good"]:
                router.result("good", [name])
            self.assertEqual(router.result("good", ["int keys"]), {"7": "a", "null": "b", "true": "c", "2.5": "d"})
            self.assertEqual(router.result("good", ["surrogate"]), "\ud800")
            self.assertEqual(router.result("good", ["big int"]), 10**30)
            for name in names["bad"]:
                error = router.error("bad", [name])
                self.assertEqual(error["code"], -32026, name)
                self.assertTrue(error["data"]["path"].startswith("$"))
                error = router.error("sends", [name])
                self.assertEqual(error["code"], -32026, name)
            self.assertEqual(router.error("bad", ["nan"])["data"], {"path": "$.a[3]"})
            self.assertEqual(router.error("bad", ["infinity"])["data"], {"path": "$.scores['the best']"})
            self.assertEqual(router.error("bad", ["itself"])["data"], {"path": "$.a[0]"})
            self.assertIn("x.decode()", router.error("bad", ["bytes"])["message"])
            self.assertIn("can't be sent", router.result("catches"))

    def test_numpy(self) -> None:
        try:
            import numpy  # noqa: F401
        except ImportError:
            self.skipTest("numpy is not installed here")
        with Spawned(FIXTURES / "notjson.py") as router:
            self.assertIn("float(x)", router.error("numpy", ["scalar"])["message"])
            self.assertIn("x.tolist()", router.error("numpy", ["array"])["message"])
            self.assertEqual(router.result("numpy", ["float64"]), {"x": 0.5})

    def test_params_that_python_cant_read(self) -> None:
        with Spawned(FIXTURES / "notjson.py") as router:
            for bad in (b"[" * 200_000 + b"]" * 200_000, b"{broken"):
                ident = router.ident()
                router.raw(b'{"id":%d,"method":"echo","params":%b}\n' % (ident, bad))
                self.assertEqual(router.answer(ident)["error"]["code"], -32602)
            ident = router.ident()
            router.raw(b'{"id":%d,"method":"echo","params":[%b]}\n' % (ident, b"1" * 5000))
            answer = router.answer(ident)
            self.assertTrue("result" in answer or "digits" in answer["error"]["message"])
            router.raw(b"no message at all\n\n{}\n[1]\n7\n")
            ident = router.ident()
            router.raw(b'{"id":%d,"method":"kind","params":{"a":12345678901234567890123,"b":1.0,"c":-0.0}}\n' % ident)
            self.assertEqual(
                router.answer(ident)["result"],
                {"a": ["int", "12345678901234567890123"], "b": ["float", "1.0"], "c": ["float", "-0.0"]},
            )
            router.complained.expect("can't be read")

    def test_big_ones(self) -> None:
        with Spawned(FIXTURES / "big.py") as router:
            text = "é" * (4 << 20)
            ident = router.ident()
            line = json.dumps({"id": ident, "method": "echo", "params": [text]}, ensure_ascii=False).encode() + b"\n"
            writer = threading.Thread(target=router.raw, args=(line,))
            writer.start()
            self.assertEqual(router.answer(ident)["result"], [text])
            writer.join()
            self.assertEqual(len(router.result("make", {"n": 20 << 20})), 20 << 20)

    def test_many_lines_at_once_are_answered_in_order(self) -> None:
        with Spawned(FIXTURES / "crash.py") as router:
            idents = [router.ident() for _ in range(3000)]
            lines = b"".join(b'{"id":%d,"method":"echo","params":[%d]}\n' % (i, i) for i in idents)
            writer = threading.Thread(target=router.raw, args=(lines,))
            writer.start()
            self.assertEqual([router.read() for _ in idents], [{"id": i, "result": [i]} for i in idents])
            writer.join()

    def test_nothing_waits_for_a_slow_call_behind_it(self) -> None:
        with Spawned(FIXTURES / "slow.py") as router:
            for _ in range(3):  # echo is known to be fast now
                router.result("echo")
            first, second = router.ident(), router.ident()
            router.raw(b'{"id":%d,"method":"echo"}\n{"id":%d,"method":"spin"}\n' % (first, second))
            self.assertEqual(router.read()["id"], first)
            router.cancel(second)
            self.assertEqual(router.answer(second)["error"]["code"], -32024)


class TestProperties(unittest.TestCase):
    def test_set_in_order_before_on_start(self) -> None:
        with Spawned(FIXTURES / "state.py", properties={"b": 1, "model": "m", "a": None}) as router:
            self.assertEqual(router.result("in_order"), ["b", "model", "a", "at_start"])
            self.assertEqual(router.result("seen_at_start"), "m")
            self.assertEqual(router.result("setProperty", {"name": "model", "value": "n"}), "n")
            self.assertEqual(router.wait(), 0)
            router.printed.expect("stopped with n")

    def test_refusals(self) -> None:
        with Spawned(FIXTURES / "state.py") as router:
            for name in ("_hidden", "__class__", "seen_at_start", "send", "set_stream_func", "setProperty", "on_start"):
                for method, given in (("setProperty", [name, 1]), ("getProperty", [name])):
                    error = router.error(method, given)
                    self.assertEqual((error["code"], error["data"]), (-32028, {"name": name}))
            misfits: list[Any] = [None, {}, {"name": "x"}, [], ["x"], {"name": 5, "value": 1}, ["x", 1, 2]]
            for params in misfits:
                self.assertEqual(router.error("setProperty", params)["code"], -32602, params)
            error = router.error("getProperty", {"name": "limits"})
            self.assertEqual((error["code"], error["data"]["nearest"]), (-32602, ["limit"]))
            self.assertEqual(router.result("getProperty", ["limit"]), 10)
            self.assertEqual(router.result("getProperty", ["read_only"]), "constant")
            self.assertEqual(router.result("setProperty", ["checked", "good"]), "GOOD")
            self.assertEqual(router.error("setProperty", ["checked", "bad"])["data"]["type"], "ValueError")
            self.assertEqual(router.error("getProperty", ["broken"])["data"]["type"], "AttributeError")
            self.assertEqual(router.error("setProperty", ["read_only", 1])["data"]["type"], "AttributeError")
            self.assertEqual(router.result("setProperty", ["any-name at all", 1]), 1)


class TestPrints(unittest.TestCase):
    def test_nothing_that_is_printed_reaches_the_wire(self) -> None:
        with Spawned(FIXTURES / "prints.py") as router:
            router.printed.expect("prints.py: imported\n")
            for method in ("python", "descriptors", "child", "c"):
                self.assertEqual(router.result(method, [method]), method)
                router.printed.expect(f"out {method}\n")
                if method != "c":
                    router.complained.expect(f"err {method}\n")
            self.assertEqual(router.result("reads"), ["", ""])
            self.assertEqual(router.result("fake"), "true one")
            self.assertTrue(router.result("unicode"))
            router.printed.expect("surrogate \\ud800 and é\n")
            self.assertTrue(router.result("unended"))
            router.printed.expect("no end of line")
            self.assertEqual(router.result("flood"), 100_000)

    def test_in_the_asyncio_loop(self) -> None:
        with Spawned(
            "class Controller:\n async def f(self):\n  print('in the loop')\n  return 1\n def g(self):\n  return 2\n"
        ) as router:
            self.assertEqual([router.result("f"), router.result("g")], [1, 2])
            router.printed.expect("in the loop")


class TestDeath(unittest.TestCase):
    def dies(self, method: str, params: Any = None) -> int:
        with Spawned(FIXTURES / "crash.py") as router:
            ident = router.call(method, params)
            while router.read_line():
                pass
            self.assertEqual(router.begun[ident & 0x7FFF], ident)
            return router.process.wait()

    def test_ways_to_die(self) -> None:
        self.assertEqual(self.dies("leave", {"code": 3}), 3)
        self.assertEqual(self.dies("kill"), -signal.SIGKILL)
        self.assertEqual(self.dies("segfault"), -signal.SIGSEGV)
        self.assertEqual(self.dies("abort"), -signal.SIGABRT)
        self.assertEqual(self.dies("close_everything"), 1)
        self.assertEqual(self.dies("send_then_leave"), 4)

    def test_in_the_middle_of_a_reply(self) -> None:
        with Spawned(FIXTURES / "dies_mid_reply.py") as router:
            router.call("reply")
            self.assertEqual(router.process.wait(), 5)
            self.assertNotEqual(os.read(router._stdout, 65536)[-1:], b"\n")
            router.allow_unread = True

    def test_a_daemon_that_is_gone(self) -> None:
        for source in (
            "class Controller:\n def f(self):\n  while True:\n   yield 1\n",
            "class Controller:\n async def f(self):\n  while True:\n   yield 1\n",
            "import time\nclass Controller:\n def f(self):\n  pass\n def on_stop(self):\n  time.sleep(60)\n",
        ):
            with Spawned(source) as router:
                router.allow_unread = True
                router.call("f", window=[1 << 40, 1 << 50])
                router.read()
                end, router._stdout = router._stdout, os.open(os.devnull, os.O_RDONLY)
                os.close(end)
                self.assertEqual(router.wait(), 1)

    def test_a_terminals_interrupt_is_not_for_it(self) -> None:
        with Spawned(FIXTURES / "crash.py") as router:
            os.kill(router.process.pid, signal.SIGINT)
            self.assertEqual(router.result("echo", [1]), [1])
