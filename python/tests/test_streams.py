"""Partial results: generators and send(), credit, and that nothing waits for company."""

from __future__ import annotations

import threading
import unittest

from tests.support import FIXTURES, Spawned, begun


class Streams:
    """The same in both loops."""

    cls = "Controller"

    def spawn(self, **more: object) -> Spawned:
        return Spawned(FIXTURES / "generators.py", cls=self.cls, **more)  # type: ignore[arg-type]

    def test_items_then_the_return_value(self) -> None:
        with self.spawn() as router:
            ident = router.call("count", {"n": 3})
            self.assertEqual(  # type: ignore[attr-defined]
                [router.read_line() for _ in range(4)],
                [b'__STREAM__{"id":%d,"data":%d}' % (ident, n) for n in range(3)] + [b'{"id":%d,"result":3}' % ident],
            )
            assert router.begun[ident & 0x7FFF] == ident
            assert router.items(router.call("nothing")) == (
                [],
                {"id": router.ident() - (1 << 15) - 1, "result": "done"},
            )
            items, answer = router.items(router.call("fails"))
            assert items == [0, 1] and answer["error"]["data"]["type"] == "ValueError"
            items, answer = router.items(router.call("sends"))
            assert items == [0, 1, 2] and answer["result"] == 3
            items, answer = router.items(router.call("sends_in_a_generator"))
            assert items == ["sent", "yielded"] and answer["result"] == "returned"

    def test_a_plain_method_that_gives_a_generator(self) -> None:
        with self.spawn(window=[2, 1 << 20]) as router:
            ident = router.call("gives_a_generator")
            assert router.items_within(ident, 2) == [0, 1]
            router.more(ident, 5)
            assert router.items(ident) == ([2], {"id": ident, "result": None})
            ident = router.call("gives_a_generator", None, [0, 0])
            assert router.read() == {"begun": ident}
            router.cancel(ident)
            assert router.answer(ident)["error"]["code"] == -32024

    def test_an_item_that_is_not_json(self) -> None:
        with self.spawn() as router:
            items, answer = router.items(router.call("not_json"))
            assert items == [1] and answer["error"]["code"] == -32026
            assert router.result("what_happened") == ["not_json closed"]

    def test_credit_in_items(self) -> None:
        with self.spawn(window=[2, 1 << 20]) as router:
            ident = router.call("endless")
            assert [router.read()["data"] for _ in range(2)] == [0, 1]
            assert router.result("how_many") <= 2  # It is parked at its yield; others are served.
            router.more(ident, 3)
            assert [router.read()["data"] for _ in range(3)] == [2, 3, 4]
            router.cancel(ident)
            assert router.answer(ident)["error"]["data"] == {"by": "client"}
            assert router.result("what_happened") == ["endless cancelled", "endless closed"]

    def test_credit_in_bytes(self) -> None:
        with self.spawn() as router:
            line = b'__STREAM__{"id":32769,"data":0}\n'
            ident = router.call("endless", window=[1000, 2 * len(line)])
            assert [router.read()["data"] for _ in range(2)] == [0, 1]
            assert router.result("how_many") <= 2
            router.more(ident, 0, 1)  # One byte will do: the count may go below 0.
            assert router.items_within(ident, 1) == [2]
            assert router.result("how_many") <= 3
            router.cancel(ident)
            router.answer(ident)

    def test_an_end_needs_no_credit(self) -> None:
        with self.spawn() as router:
            assert router.items(router.call("count", {"n": 2}, [2, 1000]))[1]["result"] == 2
            assert router.items(router.call("nothing", None, [0, 0]))[1]["result"] == "done"

    def test_send_waits_for_credit(self) -> None:
        with self.spawn() as router:
            ident = router.call("sends", {"n": 5}, [2, 1 << 20])
            assert [router.read()["data"] for _ in range(2)] == [0, 1]
            behind = router.call("echo", ["behind it"])
            router.more(ident, 1)
            assert router.items_within(ident, 1) == [2]
            router.more(ident, 9)
            assert router.items(ident) == ([3, 4], {"id": ident, "result": 5})
            assert router.answer(behind)["result"] == ["behind it"]

    def test_a_waiting_send_is_cancelled(self) -> None:
        for by_signal in (True, False):
            with self.spawn() as router:
                ident = router.call("sends", {"n": 5}, [2, 1 << 20])
                assert [router.read()["data"] for _ in range(2)] == [0, 1]
                behind = router.call("how_many")
                router.cancel(ident, by_signal)
                assert router.answer(ident)["error"]["code"] == -32024
                assert router.answer(behind)["result"] in (1, 2)  # struck in the third send, or just before

    def test_credit_that_comes_before_the_call_begins(self) -> None:
        with self.spawn() as router:
            first = router.call("sends", {"n": 2}, [1, 1 << 20])
            assert router.read()["data"] == 0
            second = router.call("sends", {"n": 2}, [1, 1 << 20])
            router.more(second, 1)
            router.more(first, 1)
            assert router.items(first)[1]["result"] == 2
            assert router.items(second) == ([0, 1], {"id": second, "result": 2})

    def test_many_at_once_take_turns(self) -> None:
        with self.spawn() as router:
            window = [1 << 40, 1 << 50]
            idents = [router.call("endless", window=window) for _ in range(4)]
            seen: set[int] = set()
            while seen != set(idents):
                message = router.read()
                seen.add(message.get("id", 0)) if "data" in message else None
            echo = router.call("echo", ["among them"])
            while (message := router.read()).get("id") != echo:
                pass
            assert message["result"] == ["among them"]
            for ident in idents:
                router.cancel(ident)
            answered = 0
            while answered < 4:
                message = router.read()
                answered += "error" in message

    def test_no_item_waits_for_a_slow_step(self) -> None:
        with self.spawn() as router:
            ident = router.call("stalls")
            assert [router.read()["data"] for _ in range(20)] == list(range(20))
            router.cancel(ident)
            assert router.answer(ident)["error"]["code"] == -32024
            ident = router.call("stalls_after_a_slow_one")
            assert router.read()["data"] == "slow"
            router.cancel(ident)
            assert router.answer(ident)["error"]["code"] == -32024

    def test_fast_items_leave_together(self) -> None:
        import os

        with self.spawn() as router:
            ident = router.call("count", {"n": 20_000}, [1 << 40, 1 << 50])
            reads, data = 0, bytearray()
            last = b'{"id":%d,"result":20000}\n' % ident
            while not data.endswith(last):
                data += os.read(router._stdout, 1 << 16)
                reads += 1
            assert data.count(b"__STREAM__") == 20_000
            assert reads < 10_000, reads

    def test_the_end_of_input_ends_what_waits_for_credit(self) -> None:
        for method in ("endless", "sends"):
            with self.spawn(window=[1, 100]) as router:
                ident = router.call(method)
                router.read()
                router.end_input()
                assert router.answer(ident)["error"]
                assert router.wait() == 0


class TestPlain(Streams, unittest.TestCase):
    pass


class TestAsync(Streams, unittest.TestCase):
    cls = "Async"

    def test_async_generators(self) -> None:
        with self.spawn() as router:
            assert router.items(router.call("acount"))[0] == [0, 1, 2]
            items, answer = router.items(router.call("afails"))
            assert items == [1] and answer["error"]["message"] == "ValueError: no more"
            ident = router.call("aendless", window=[2, 1 << 20])
            assert [router.read()["data"] for _ in range(2)] == [0, 1]
            assert router.result("how_many") <= 2
            router.more(ident, 1)
            assert router.items_within(ident, 1) == [2]
            router.cancel(ident)
            assert router.answer(ident)["error"]["code"] == -32024
            assert router.result("what_happened") == ["aendless cancelled", "aendless closed"]

    def test_an_async_generator_does_not_starve_others(self) -> None:
        with self.spawn(window=[1 << 40, 1 << 50]) as router:
            ident = router.call("aendless")
            router.read()
            echo = router.call("echo", ["among them"])
            while router.read().get("id") != echo:
                pass
            router.cancel(ident)
            while "error" not in router.read():
                pass

    def test_one_that_awaits_is_cancelled(self) -> None:
        with self.spawn() as router:
            ident = router.call("awaits")
            assert router.read()["data"] == "first"
            router.cancel(ident)
            assert router.answer(ident)["error"]["code"] == -32024
            assert router.result("what_happened") == ["awaits True"]

    def test_the_end_of_input_ends_async_generators(self) -> None:
        with self.spawn(window=[1, 100]) as router:
            ident = router.call("aendless")
            router.read()
            router.end_input()
            assert router.answer(ident)["error"]
            assert router.wait() == 0


class TestBegun(unittest.TestCase):
    def test_said_only_when_nothing_else_says_it(self) -> None:
        source = """
            import asyncio
            class Controller:
                def parked(self):
                    yield 1
                async def sleeps(self):
                    await asyncio.Event().wait()
                def echo(self, params):
                    return params
        """
        import textwrap

        with Spawned(textwrap.dedent(source)) as router:
            ident = router.call("sleeps")
            assert router.read() == {"begun": ident}
            parked = router.call("parked", window=[0, 0])
            assert router.read() == {"begun": parked}
            echo = router.call("echo")
            assert router.read() == {"id": echo, "result": {}}
            one = router.call("parked", window=[1, 1000])
            assert router.read() == {"id": one, "data": 1}
            assert "result" in router.read()
            assert router.is_quiet(0.05)
            for each in (ident, parked):
                router.cancel(each)
                assert router.answer(each)["error"]["code"] == -32024


class TestThreads(unittest.TestCase):
    def test_beside_others(self) -> None:
        with Spawned(FIXTURES / "beside.py") as router:
            idents = [router.call("wait") for _ in range(32)]
            assert router.result("echo", [1]) == [1]
            for ident in idents:
                begun(router, ident)
            router.result_among("open", idents, True)
            methods = {m["name"]: m for m in router.ready["methods"]}
            assert methods["wait"]["concurrent"] and methods["again"]["idempotent"]
            assert not methods["echo"]["concurrent"] and not methods["wait"]["idempotent"]

    def test_errors_and_items(self) -> None:
        with Spawned(FIXTURES / "beside.py") as router:
            error = router.error("fails")
            assert error["message"] == "ValueError: in a thread" and "threads.py" not in error["data"]["traceback"]
            assert router.error("not_json")["code"] == -32026
            for method in ("count", "sends", "sends_from_a_thread"):
                items, answer = router.items(router.call(method, {"n": 50}))
                assert items == list(range(50)) and answer["result"] == 50, (method, answer)

    def test_credit(self) -> None:
        for method in ("count", "sends", "sends_from_a_thread"):
            with Spawned(FIXTURES / "beside.py", window=[2, 1 << 20]) as router:
                ident = router.call(method, {"n": 5})
                assert router.items_within(ident, 2) == [0, 1]
                router.more(ident, 1)
                assert router.items_within(ident, 1) == [2]
                router.more(ident, 9)
                assert router.items(ident) == ([3, 4], {"id": ident, "result": 5})

    def test_credit_while_the_main_thread_is_busy(self) -> None:
        with Spawned(FIXTURES / "beside.py", window=[2, 1 << 20]) as router:
            ident = router.call("sends", {"n": 6})
            assert router.items_within(ident, 2) == [0, 1]
            block = router.call("block", {"seconds": 60})
            behind = router.call("echo", ["behind it"])
            router.more(ident, 9)
            assert router.items(ident) == ([2, 3, 4, 5], {"id": ident, "result": 6})
            router.cancel(block)
            assert router.answer(block)["error"]["code"] == -32024
            assert router.answer(behind)["result"] == ["behind it"]

    def test_cancelled(self) -> None:
        with Spawned(FIXTURES / "beside.py") as router:
            ident = router.call("until_cancelled")
            assert router.read()["data"] == "started"
            router.cancel(ident)
            assert router.answer(ident)["error"]["code"] == -32024
            for method in ("count", "sends"):
                ident = router.call(method, {"n": 5}, [1, 1000])
                assert router.items_within(ident, 1) == [0]
                router.cancel(ident)
                assert router.answer(ident)["error"]["code"] == -32024

    def test_the_end_waits_for_them(self) -> None:
        with Spawned(FIXTURES / "beside.py") as router:
            ident = router.call("sleep", {"seconds": 0.2})
            router.end_input()
            assert router.answer(ident)["result"] == 0.2
            assert router.wait() == 0

    def test_a_thread_left_behind_does_not_keep_it(self) -> None:
        with Spawned(FIXTURES / "beside.py") as router:
            assert router.result("leaves_a_thread")
            assert router.wait() == 0
            assert threading.active_count()
