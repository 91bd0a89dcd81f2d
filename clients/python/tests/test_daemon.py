"""Against the real daemon: $BASKD_BIN."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import unittest
from typing import Any

import baskd
from tests.fake import WAIT
from tests.real import RealDaemon


class Daemon(RealDaemon):
    def test_calls_and_errors(self) -> None:
        self.assertEqual(self.backend.echo(a=1, b="é\ud800"), {"a": 1, "b": "é\ud800"})
        self.assertEqual(self.backend.add(2, 3), 5)
        self.assertEqual(self.backend.add(a=2), 3)
        with self.assertRaises(baskd.MethodError) as failed:
            self.backend.fail()
        self.assertEqual(failed.exception.type, "ValueError")
        self.assertIn("in fail", failed.exception.traceback or "")
        with self.assertRaises(baskd.ResultNotJson) as nan:
            self.backend.nan()
        self.assertEqual(nan.exception.path, "$.a[0]")
        with self.assertRaises(baskd.InvalidParams) as params:
            self.backend.add(nope=1)
        self.assertEqual(params.exception.code, -32602)
        with self.assertRaises(baskd.MethodNotFound) as missing:
            self.backend.ecko()
        self.assertIn("echo", missing.exception.nearest)
        with self.assertRaises(baskd.PropertyRefused) as refused:
            self.backend.set("_x", 1)
        self.assertEqual(refused.exception.name, "_x")

    def test_properties_outlive_python(self) -> None:
        self.assertEqual(self.backend.set("model", {"a": [1]}), {"a": [1]})
        with self.assertRaises(baskd.BackendCrashed) as crashed:
            self.backend.die()
        self.assertTrue(crashed.exception.ran)
        self.assertEqual(crashed.exception.exit, {"code": 3})
        self.assertEqual(self.backend.get("model"), {"a": [1]})
        self.backend.restart()
        self.assertEqual(self.backend.get("model"), {"a": [1]})

    def test_streams(self) -> None:
        for window in (1, 7, 256):
            stream = self.backend.stream("count", {"n": 2000}, window=window)
            self.assertEqual(list(stream), list(range(2000)))
            self.assertEqual(stream.result, "end")

    def test_a_stream_left_is_cancelled_and_an_unread_one_holds_up_nobody(self) -> None:
        unread = self.backend.endless.stream()
        self.assertEqual(self.backend.echo(1), [1])
        unread.close()
        before = self.backend.how_ended().count("endless")
        for item in self.backend.stream("endless", window=4):
            if item == 20:
                break
        self.assertEqual(self.backend.how_ended().count("endless"), before + 1)

    def test_timeout_and_cancel(self) -> None:
        with self.assertRaises(baskd.TimedOut) as late:
            self.backend.call("sleep", timeout=1)
        self.assertEqual(late.exception.where, "running")
        messages = self.backend.messages(method="sleep")
        handle = self.backend.submit("sleep")
        self.assertEqual(next(messages).request, handle.id)
        self.assertTrue(handle.cancel())
        with self.assertRaises(baskd.CallCancelled) as cancelled:
            handle.result()
        self.assertEqual(cancelled.exception.by, "client")
        self.assertFalse(handle.cancel())
        self.assertIn("sleep", self.backend.how_ended())

    def test_ctrl_c_cancels(self) -> None:
        before = self.backend.how_ended().count("sleep")
        self.backend.on_message(lambda data: os.kill(os.getpid(), signal.SIGINT))
        with self.assertRaises(KeyboardInterrupt):
            self.backend.sleep()
        self.assertEqual(self.backend.how_ended().count("sleep"), before + 1)

    def test_messages(self) -> None:
        got: list[Any] = []
        self.backend.on_message(got.append)
        with self.backend.messages(scope="all", method="talk") as everyones:
            self.assertEqual(self.backend.talk(data=["a", {"b": 1}]), 2)
            self.assertEqual(got, ["a", {"b": 1}])
            first = next(everyones)
            self.assertEqual((first.method, first.data), ("talk", "a"))

    def test_threads(self) -> None:
        wrong: list[Any] = []

        def work(number: int) -> None:
            for turn in range(100):
                if self.backend.echo(number, turn) != [number, turn]:
                    wrong.append((number, turn))

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
            self.assertFalse(thread.is_alive())
        self.assertEqual(wrong, [])

    def test_much_at_once(self) -> None:
        text = "x" * 20_000
        handles = [self.backend.submit("echo", [number, text]) for number in range(200)]
        self.assertEqual([handle.result()[0] for handle in handles], list(range(200)))

    def test_the_daemon(self) -> None:
        status = self.backend.status()
        self.assertEqual((status["state"], status["socket"]), ("ready", self.path))
        self.assertIn("count", {method["name"] for method in self.backend.methods()})

    def test_another_daemon_comes_and_goes(self) -> None:
        path = os.path.join(os.path.dirname(self.path), "second.sock")
        first = self.serve(path)
        with baskd.connect(socket=path) as backend:
            got: list[Any] = []
            backend.on_message(got.append, on_gap=got.append)
            backend.talk(data=["a"])
            handle = backend.submit("sleep")
            first.kill()
            with self.assertRaises(baskd.Disconnected):
                handle.result()
            first.wait()
            with self.assertRaisesRegex(baskd.NotRunning, "baskd serve"):
                backend.echo(1)
            self.serve(path)
            backend.talk(data=["b"])
            self.assertEqual((got[0], got[-1]), ("a", "b"))
            backend.shutdown()

    def test_asyncio(self) -> None:
        async def main() -> None:
            async with baskd.connect_async(socket=self.path) as backend:
                got: list[Any] = []
                await backend.on_message(got.append, method="talk")
                self.assertEqual(await backend.talk(data=["a", "b"]), 2)
                self.assertEqual(got, ["a", "b"])
                results = await asyncio.gather(*(backend.add(number) for number in range(100)))
                self.assertEqual(results, list(range(1, 101)))
                stream = backend.stream("count", {"n": 2000}, window=7)
                self.assertEqual([item async for item in stream], list(range(2000)))
                self.assertEqual(stream.result, "end")

                before = (await backend.how_ended()).count("sleep")
                messages = backend.messages(method="sleep")
                task = asyncio.ensure_future(backend.sleep())
                await messages.__anext__()
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertEqual((await backend.how_ended()).count("sleep"), before + 1)

        asyncio.run(main())

    def test_a_controller_may_be_a_client(self) -> None:
        path = self.path + ".3"
        self.serve(path)
        names, file, value = self.backend.ask(path, 5)
        self.assertEqual(names, ["TimedOut", "connect_async"])
        self.assertEqual((file, value), (sys.modules["baskd.client"].__file__, 5))


if __name__ == "__main__":
    unittest.main()
