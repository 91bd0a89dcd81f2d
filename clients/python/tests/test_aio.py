from __future__ import annotations

import asyncio
import gc
import unittest
import unittest.mock
from typing import Any

import baskd
from tests.fake import WAIT, FakeDaemon, Peer


class AsyncTest(unittest.IsolatedAsyncioTestCase):
    daemon: FakeDaemon
    backend: baskd.AsyncClient

    async def asyncSetUp(self) -> None:
        self.daemon = FakeDaemon()
        self.addCleanup(self.daemon.__exit__)
        self.backend = await baskd.connect_async(socket=self.daemon.path)
        self.addAsyncCleanup(self.backend.close)

    async def expect(self, method: str) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, self.daemon.expect, method)


class Calls(AsyncTest):
    async def test_by_name_by_position_and_by_attribute(self) -> None:
        self.assertEqual(await self.backend.call("echo", {"by": 5}), {"by": 5})
        self.assertEqual(await self.backend.echo(by=5), {"by": 5})
        self.assertEqual(await self.backend.echo(1, "é"), [1, "é"])
        self.assertFalse(hasattr(self.backend, "__anext__"))

    async def test_many_at_once(self) -> None:
        results = await asyncio.gather(*(self.backend.echo(number) for number in range(2000)))
        self.assertEqual(results, [[number] for number in range(2000)])

    async def test_much_each_way_at_once(self) -> None:
        text = "x" * 100_000
        results = await asyncio.gather(*(self.backend.echo(number, text) for number in range(100)))
        self.assertEqual(results, [[number, text] for number in range(100)])

    async def test_errors(self) -> None:
        with self.assertRaises(baskd.MethodError):
            await self.backend.boom()
        with self.assertRaises(baskd.TimedOut) as late:
            await self.backend.call("hang", timeout=0.5)
        self.assertEqual(late.exception.where, "running")

    async def test_a_daemon_that_lets_a_timeout_pass_is_given_up(self) -> None:
        self.daemon.special["rpc.call"] = lambda peer, message: None
        with unittest.mock.patch("baskd._options.GRACE_SECONDS", 0.01), self.assertRaises(baskd.TimedOut):
            await self.backend.call("hang", timeout=0.01)
        await self.expect("$/cancelRequest")

    async def test_cancelling_the_task_cancels_the_call(self) -> None:
        task = asyncio.ensure_future(self.backend.hang())
        id = (await self.expect("hang"))["id"]
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual((await self.expect("$/cancelRequest"))["params"], {"id": id})
        self.assertEqual(await self.backend.echo(1), [1])

    async def test_no_daemon(self) -> None:
        self.daemon.stop()
        with self.assertRaisesRegex(baskd.NotRunning, "baskd serve"):
            async with baskd.connect_async(socket=self.daemon.path):
                pass


class Streams(AsyncTest):
    async def test_items_then_the_result(self) -> None:
        for window in (1, 2, 256):
            stream = self.backend.stream("count", {"n": 1000}, window=window)
            self.assertEqual([item async for item in stream], list(range(1000)))
            self.assertEqual(stream.result, sum(range(1000)))
            self.assertEqual([item async for item in stream], [])

    async def test_errors(self) -> None:
        stream = self.backend.stream("fail")
        self.assertEqual(await stream.__anext__(), "first")
        with self.assertRaises(baskd.MethodError):
            await stream.__anext__()
        with self.assertRaises(baskd.MethodError):
            _ = stream.result
        with self.assertRaises(baskd.MethodNotFound):
            await self.backend.nope.stream().__anext__()

    async def test_break_cancels(self) -> None:
        async for item in self.backend.stream("count", {"n": 1000}, window=4):
            if item == 2:
                break
        gc.collect()
        await self.expect("stream.cancel")

    async def test_with_cancels(self) -> None:
        async with self.backend.stream("count", {"n": 1000}, window=4) as stream:
            await stream.__anext__()
        await self.expect("stream.cancel")
        with self.assertRaises(RuntimeError):
            _ = stream.result

    async def test_cancelling_the_task_cancels_it(self) -> None:
        self.daemon.special["stream.call"] = lambda peer, message: peer.answer(message["id"], 5)

        async def read() -> None:
            async for _ in self.backend.stream("silent"):
                pass

        task = asyncio.ensure_future(read())
        await self.expect("stream.call")
        await self.backend.echo(1)  # its acknowledgement has come
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual((await self.expect("stream.cancel"))["params"], [5])

    async def test_cancelling_before_its_acknowledgement_cancels_it_too(self) -> None:
        held: list[Peer] = []
        self.daemon.special["stream.call"] = lambda peer, message: held.append(peer)
        task = asyncio.ensure_future(self.backend.stream("silent").__anext__())
        id = (await self.expect("stream.call"))["id"]
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        held[0].answer(id, 5)
        self.assertEqual((await self.expect("stream.cancel"))["params"], [5])

    async def test_of_two_tasks_one_asks(self) -> None:
        stream = self.unproven().stream("count", {"n": 4})
        items = await asyncio.wait_for(asyncio.gather(stream.__anext__(), stream.__anext__()), WAIT)
        self.assertEqual(sorted(items), [0, 1])
        self.assertEqual([message["method"] for message in self.daemon.so_far()].count("stream.call"), 1)

    async def test_of_two_tasks_neither_asks_after_the_other_could_not(self) -> None:
        stream = self.unproven().stream("count", {"n": 4})
        asked: list[Any] = []

        async def fail(request: Any) -> None:
            asked.append(request)
            await asyncio.sleep(0)  # the other comes to the lock
            raise baskd.NotRunning("none is there")

        with unittest.mock.patch.object(stream._connection, "send", fail):
            reading = asyncio.gather(stream.__anext__(), stream.__anext__(), return_exceptions=True)
            told = await asyncio.wait_for(reading, WAIT)
        self.assertEqual(([type(error) for error in told], len(asked)), ([baskd.NotRunning, StopAsyncIteration], 1))

    async def test_closing_it_while_it_is_asked_for(self) -> None:
        stream = self.unproven().stream("count", {"n": 1000}, window=1)
        reading = asyncio.ensure_future(stream.__anext__())
        await asyncio.sleep(0)
        await stream.aclose()
        with self.assertRaises(StopAsyncIteration):
            await asyncio.wait_for(reading, WAIT)
        await self.expect("stream.cancel")

    def unproven(self) -> baskd.AsyncClient:
        """A client that asks its daemon what it is before it asks it for anything else."""
        client = baskd.AsyncClient("any.py", socket=self.daemon.path)
        self.addAsyncCleanup(client.close)
        patched = unittest.mock.patch.object(client._connection.target, "check")
        patched.start()
        self.addCleanup(patched.stop)
        return client

    async def test_an_unread_stream_holds_up_nobody(self) -> None:
        stream = self.backend.stream("count", {"n": 10_000}, window=16)
        await stream.__anext__()
        for number in range(50):
            self.assertEqual(await self.backend.echo(number), [number])
        self.assertLessEqual(len(stream._sink.items), 16)


class Messages(AsyncTest):
    async def test_a_callback_is_done_before_the_call_returns(self) -> None:
        got: list[Any] = []
        feed = await self.backend.on_message(got.append)
        for turn in range(20):
            self.assertEqual(await self.backend.talk(turn, "b"), 2)
            self.assertEqual(got[-2:], [turn, "b"])
        await feed.aclose()
        await self.backend.talk("c")
        self.assertEqual(len(got), 40)

    async def test_a_callback_may_be_a_coroutine(self) -> None:
        got: asyncio.Queue[Any] = asyncio.Queue()

        async def callback(data: Any) -> None:
            got.put_nowait(await self.backend.echo(data))

        await self.backend.on_message(callback)
        await self.backend.talk("a", "b")
        self.assertEqual([await asyncio.wait_for(got.get(), WAIT) for _ in range(2)], [["a"], ["b"]])

    async def test_as_an_iterator_that_misses_nothing(self) -> None:
        messages = self.backend.messages()
        await self.backend.talk("a", "b")
        self.assertEqual([(await messages.__anext__()).data for _ in range(2)], ["a", "b"])
        await messages.aclose()
        await self.expect("messages.unsubscribe")

    async def test_one_that_is_dropped_before_there_is_a_connection(self) -> None:
        client = baskd.AsyncClient(socket=self.daemon.path)
        self.addAsyncCleanup(client.close)
        self.daemon.stop()
        client.messages()
        gc.collect()
        self.daemon.start()
        await client.echo(1)
        self.assertNotIn("messages.subscribe", [message["method"] for message in self.daemon.so_far()])

    async def test_what_is_refused_raises(self) -> None:
        with self.assertRaises(baskd.TooManySubscriptions):
            await self.backend.messages(method="refused").__anext__()
        with self.assertRaises(baskd.TooManySubscriptions):
            await self.backend.on_message(print, method="refused")


class Loops(unittest.TestCase):
    def test_a_client_may_be_used_in_one_loop_after_another(self) -> None:
        with FakeDaemon() as daemon:
            backend = baskd.connect_async(socket=daemon.path)

            async def main() -> Any:
                return await backend.echo(1)

            self.assertEqual(asyncio.run(main()), [1])
            self.assertEqual(asyncio.run(main()), [1])
            asyncio.run(backend.close())


if __name__ == "__main__":
    unittest.main()
