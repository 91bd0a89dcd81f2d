"""A connection that is lost, for asyncio."""

from __future__ import annotations

import asyncio
import queue
import unittest
import unittest.mock
from typing import Any

import baskd
from baskd._socket import open_socket
from tests.fake import WAIT, Peer
from tests.test_aio import AsyncTest


class Reconnecting(AsyncTest):
    async def test_a_request_that_never_left_is_sent_again(self) -> None:
        await self.backend.echo(1)
        self.daemon.stop()
        self.daemon.start()
        # The loop has not run since: the write finds the connection gone.
        self.assertEqual(await self.backend.echo(2), [2])

    async def test_calls_under_way_fail(self) -> None:
        calls = [asyncio.ensure_future(self.backend.hang()) for _ in range(3)]
        for _ in calls:
            await self.expect("hang")
        self.daemon.stop()
        results = await asyncio.gather(*calls, return_exceptions=True)
        self.assertEqual([type(result) for result in results], [baskd.Disconnected] * 3)

    async def test_close_wakes_who_waits(self) -> None:
        call = asyncio.ensure_future(self.backend.hang())
        messages = asyncio.ensure_future(self.backend.messages().__anext__())
        await self.expect("hang")
        await self.backend.close()
        with self.assertRaisesRegex(baskd.Disconnected, "closed"):
            await call
        with self.assertRaises(StopAsyncIteration):
            await messages


class Idempotent(AsyncTest):
    """`twice` is a method under which the daemon dies when it is called first."""

    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.deaths = 1
        self.daemon.special["twice"] = self.twice

    def twice(self, peer: Peer, message: Any) -> None:
        if self.deaths:
            self.deaths -= 1
            peer.hang_up()
        else:
            peer.answer(message["id"], message.get("params"))

    def asked(self) -> list[str]:
        return [message["method"] for message in self.daemon.so_far()]

    async def test_as_the_caller_says(self) -> None:
        self.assertEqual(await self.backend.call("twice", [5], idempotent=True), [5])
        self.assertEqual(self.asked(), ["twice", "twice"])

    async def test_as_the_controller_says(self) -> None:
        self.daemon.idempotent = {"twice"}
        self.assertEqual(await self.backend.twice(5), [5])
        self.assertEqual(self.asked(), ["twice", "rpc.discover", "twice"])
        self.daemon.idempotent = set()
        self.deaths = 1
        with self.assertRaises(baskd.Disconnected):
            await self.backend.twice(5)

    async def test_who_says_that_it_is_not_is_told_at_once(self) -> None:
        with self.assertRaisesRegex(baskd.Disconnected, "twice was under way, and may have run") as lost:
            await self.backend.call("twice", idempotent=False)
        self.assertEqual((self.asked(), lost.exception.data), (["twice"], {"method": "twice"}))

    async def test_once_and_not_a_third_time(self) -> None:
        self.deaths = 2
        with self.assertRaises(baskd.Disconnected):
            await self.backend.call("twice", idempotent=True)
        self.assertEqual(self.asked(), ["twice", "twice"])

    async def test_a_controller_that_does_not_say_in_time(self) -> None:
        self.daemon.special["rpc.discover"] = lambda peer, message: None
        with unittest.mock.patch("baskd.aio.ASK_SECONDS", 0.05), self.assertRaises(baskd.Disconnected):
            await self.backend.twice()

    async def test_no_daemon_any_more(self) -> None:
        for idempotent in (None, True):
            call = asyncio.ensure_future(self.backend.call("hang", idempotent=idempotent))
            await self.expect("hang")
            self.daemon.stop()
            with self.assertRaisesRegex(baskd.Disconnected, "hang was under way") as lost:
                await call
            self.assertIsInstance(lost.exception.__cause__, baskd.NotRunning)
            self.daemon.start()

    async def test_a_stream_is_never_sent_again(self) -> None:
        self.daemon.idempotent = {"count"}
        stream = self.backend.stream("count", {"n": 10}, window=1)
        self.assertEqual(await stream.__anext__(), 0)
        self.daemon.stop(then_start=True)
        with self.assertRaises(baskd.Disconnected) as lost:
            async for _ in stream:
                pass
        self.assertEqual(lost.exception.data, {"method": "count"})
        self.assertEqual(self.asked().count("stream.call"), 1)

    async def test_64_under_way_half_of_them_idempotent(self) -> None:
        calls = [asyncio.ensure_future(self.backend.call("hang", [n], idempotent=n % 2 == 0)) for n in range(64)]
        for _ in calls:
            await self.expect("hang")
        self.daemon.special["hang"] = lambda peer, message: peer.answer(message["id"], message["params"])
        self.daemon.stop(then_start=True)
        results = await asyncio.gather(*calls, return_exceptions=True)
        told = [result.data if isinstance(result, baskd.Disconnected) else result for result in results]
        self.assertEqual(told, [{"method": "hang"} if n % 2 else [n] for n in range(64)])
        self.assertEqual(self.asked(), ["hang"] * 32)


class Subscriptions(AsyncTest):
    async def test_they_are_set_up_again_in_the_background(self) -> None:
        """Nobody calls anything, and nobody reads the second one."""
        got: asyncio.Queue[Any] = asyncio.Queue()
        await self.backend.on_message(got.put, on_gap=got.put)
        messages = self.backend.messages(scope="all")
        await self.expect("messages.subscribe")
        await self.expect("messages.subscribe")
        await self.backend.echo(1)  # its acknowledgement has come
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(await asyncio.wait_for(got.get(), WAIT), baskd.Message(None, restarted=True))
        await self.backend.talk("a")
        self.assertEqual(await asyncio.wait_for(got.get(), WAIT), "a")
        self.assertEqual(await messages.__anext__(), baskd.Message(None, restarted=True))
        self.assertEqual((await messages.__anext__()).data, "a")
        self.assertEqual(len(self.daemon.all_peers), 2)

    async def test_the_next_call_does_not_wait_for_that(self) -> None:
        got: list[Any] = []
        await self.backend.on_message(got.append, on_gap=got.append)
        self.daemon.stop()
        with self.assertRaises(baskd.NotRunning):
            await self.backend.echo(2)
        self.daemon.start()
        await self.backend.talk("a")
        self.assertEqual(got, [baskd.Message(None, restarted=True), "a"])

    async def test_without_subscriptions_nothing_is_made_in_the_background(self) -> None:
        async with self.backend.messages() as messages:
            await self.backend.talk("a")
            await messages.__anext__()
        self.daemon.stop()
        with self.assertRaises(baskd.NotRunning):
            await self.backend.echo(1)
        self.assertIsNone(self.backend._connection._keeper)

    async def test_a_daemon_that_is_away_for_a_while(self) -> None:
        messages = self.backend.messages()
        waiting = asyncio.ensure_future(messages.__anext__())
        await self.expect("messages.subscribe")
        await self.backend.echo(1)
        tried: queue.Queue[str] = queue.Queue()

        def counting(path: str, *args: Any) -> Any:
            tried.put(path)
            return open_socket(path, *args)

        with unittest.mock.patch("baskd._loop.open_socket", counting):
            self.daemon.stop()
            for _ in range(3):
                await asyncio.get_running_loop().run_in_executor(None, tried.get)
            self.daemon.start()
            self.assertEqual(await asyncio.wait_for(waiting, WAIT), baskd.Message(None, restarted=True))

    async def test_one_that_is_refused_then_ends_with_that_error(self) -> None:
        messages = self.backend.messages()
        await self.backend.echo(1)
        self.daemon.special["messages.subscribe"] = lambda peer, message: peer.refuse(
            message["id"], -32006, "Too many."
        )
        self.daemon.stop(then_start=True)
        with self.assertRaises(baskd.TooManySubscriptions):
            await asyncio.wait_for(messages.__anext__(), WAIT)

    async def test_after_close_nothing_connects_again(self) -> None:
        messages = self.backend.messages()
        waiting = asyncio.ensure_future(messages.__anext__())
        await self.backend.echo(1)
        self.daemon.stop()
        with self.assertRaises(baskd.NotRunning):
            await self.backend.echo(1)  # by now it knows, and tries
        self.assertIsNotNone(self.backend._connection._keeper)
        await self.backend.close()
        self.daemon.start()
        with self.assertRaises(StopAsyncIteration):
            await waiting
        with self.assertRaisesRegex(baskd.Disconnected, "closed"):
            await self.backend.echo(1)
        self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})
        self.assertEqual(len(self.daemon.all_peers), 1)


if __name__ == "__main__":
    unittest.main()
