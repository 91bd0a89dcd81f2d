"""What a daemon that stops has not begun is asked of the next one."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import unittest
import unittest.mock
from typing import Any, Callable

import baskd
from tests.fake import WAIT, FakeDaemon, Peer
from tests.test_aio import AsyncTest
from tests.test_client import ClientTest

NEVER_BEGAN = {"by": "shutdown", "ran": "no"}
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Stopping:
    """Gives a fake daemon methods that are refused so often, each time by the last word of a connection."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.refusals = 1
        #: Whether the stream is taken first.
        self.takes = False
        #: Items before that.
        self.items: list[Any] = []
        #: What comes before the connection's end.
        self.before_the_end: Callable[[Peer], None] = lambda peer: None
        #: Whether another daemon comes.
        self.for_good = False
        daemon.special["f"] = self.plain
        daemon.special["rpc.call"] = self.plain
        daemon.special["stream.call"] = self.stream

    def plain(self, peer: Peer, message: Any) -> None:
        if not self.refusals:
            peer.answer(message["id"], message.get("params"))
            return
        self.refusals -= 1
        peer.refuse(message["id"], -32024, "The daemon stops.", NEVER_BEGAN)
        self.end(peer)

    def stream(self, peer: Peer, message: Any) -> None:
        if not self.refusals:
            del self.daemon.special["stream.call"]
            self.daemon.handle(peer, message)
        elif not self.takes:
            self.plain(peer, message)
        else:
            self.refusals -= 1
            peer.answer(message["id"], 7)
            for item in self.items:
                peer.notify("stream.item", 7, {"item": item})
            error = {"code": -32024, "message": "The daemon stops.", "data": NEVER_BEGAN}
            peer.notify("stream.item", 7, {"error": error})
            self.end(peer)

    def takes_no_more(self) -> tuple[threading.Event, threading.Event]:
        """Gives it a method that has it take nothing more, and answers when it is told to."""
        shut, answers = threading.Event(), threading.Event()

        def slow(peer: Peer, message: Any) -> None:
            peer.sock.shutdown(socket.SHUT_RD)
            shut.set()
            answers.wait(WAIT)
            peer.answer(message["id"], "released")
            peer.hang_up()

        self.daemon.special["slow"] = slow
        return shut, answers

    def end(self, peer: Peer) -> None:
        if self.for_good:
            threading.Thread(target=self.daemon.stop).start()
        else:
            self.before_the_end(peer)
            peer.hang_up()


class Threads(ClientTest):
    def setUp(self) -> None:
        super().setUp()
        self.stopping = Stopping(self.daemon)

    def test_a_call_is_sent_to_the_next(self) -> None:
        # Whatever the caller says: it never began.
        self.assertEqual(self.backend.call("f", [1], idempotent=False), [1])
        self.assertEqual(self.backend.f(2), [2])

    def test_what_had_begun_is_answered_where_it_was_asked(self) -> None:
        running = self.backend.submit("hang")
        self.daemon.expect("hang")
        self.stopping.before_the_end = lambda peer: self.daemon.do_release(peer, None, None)
        self.assertEqual(self.backend.f(1), [1])
        self.assertEqual(running.result(), "released")

    def test_daemons_that_all_stop_are_not_asked_for_ever(self) -> None:
        self.stopping.refusals = 99
        with self.assertRaises(baskd.CallCancelled) as refused:
            self.backend.f()
        self.assertTrue(refused.exception.never_began)
        self.assertEqual(self.stopping.refusals, 99 - 4)

    def test_where_nobody_comes_it_is_told_that_it_never_began(self) -> None:
        self.stopping.for_good = True
        with unittest.mock.patch("baskd._link.NEXT_SECONDS", 0.1), self.assertRaises(baskd.CallCancelled) as refused:
            self.backend.f()
        self.assertTrue(refused.exception.never_began)
        self.assertIsInstance(refused.exception.__cause__, baskd.NotRunning)

    def test_the_next_is_waited_for_if_it_is_a_little_late(self) -> None:
        self.stopping.for_good = True
        told: list[Any] = []
        thread = self.thread(lambda: told.append(self.backend.f(1)))
        self.daemon.expect("f")
        self.daemon._thread.join(WAIT)
        for peer in self.daemon.all_peers:
            peer.gone.wait(WAIT)
        self.daemon.start()
        thread.join(WAIT)
        self.assertEqual(told, [[1]])

    def test_its_time_is_not_longer_for_that(self) -> None:
        # It does not end.
        self.stopping.end = lambda peer: None  # type: ignore[method-assign]
        start = time.monotonic()
        with self.assertRaises(baskd.TimedOut):
            self.backend.call("f", timeout=0.3)
        self.assertLess(time.monotonic() - start, 3)

    def test_what_had_begun_is_not_made_again(self) -> None:
        for data in ({"by": "shutdown", "ran": "yes"}, {"by": "shutdown"}, {"by": "client", "ran": "no"}):
            self.daemon.special["g"] = lambda peer, message, data=data: peer.refuse(message["id"], -32024, "no", data)
            with self.assertRaises(baskd.CallCancelled) as cancelled:
                self.backend.g()
            self.assertFalse(cancelled.exception.never_began)
        self.assertEqual([message["method"] for message in self.daemon.so_far()], ["g"] * 3)

    def test_what_may_have_run_before_is_not_said_to_have_never_begun(self) -> None:
        def die(peer: Peer, message: Any) -> None:
            self.daemon.special["g"] = self.stopping.plain
            self.stopping.refusals = 99
            peer.hang_up()

        self.daemon.special["g"] = die
        with self.assertRaises(baskd.Disconnected):
            self.backend.call("g", idempotent=True)

    def test_a_client_that_is_closed_meanwhile_has_the_error(self) -> None:
        self.stopping.before_the_end = lambda peer: self.backend.close()
        with self.assertRaises(baskd.BaskdError):
            self.backend.f()
        self.assertEqual([message["method"] for message in self.daemon.so_far()], ["f"])

    def test_a_handle_is_sent_again_when_it_is_waited_for(self) -> None:
        handle = self.backend.submit("f", [1])
        self.assertEqual(handle.result(WAIT), [1])
        self.assertTrue(handle.done())

    def test_a_stream_without_an_item_is_made_again(self) -> None:
        for takes in (False, True):
            self.stopping = Stopping(self.daemon)
            self.stopping.takes = takes
            with self.backend.stream("count") as stream:
                self.assertEqual(list(stream), [0, 1, 2])
                self.assertEqual(stream.result, 3)

    def test_a_stream_of_which_items_came_is_not(self) -> None:
        self.stopping.takes, self.stopping.items = True, ["first"]
        stream = self.backend.stream("count")
        self.assertEqual(next(stream), "first")
        with self.assertRaises(baskd.CallCancelled):
            next(stream)

    def test_a_stream_that_nobody_takes_is_told_so(self) -> None:
        for takes in (False, True):
            self.stopping = Stopping(self.daemon)
            self.stopping.takes, self.stopping.refusals = takes, 99
            with self.assertRaises(baskd.CallCancelled) as refused:
                list(self.backend.stream("count"))
            self.assertTrue(refused.exception.never_began)
            self.daemon.all_peers[-1].gone.wait(WAIT)

    def test_answers_are_read_also_where_no_more_is_taken(self) -> None:
        """A daemon that stops takes nothing more before it gives its last answers."""
        shut, answers = self.stopping.takes_no_more()
        running = self.backend.submit("slow")
        self.assertTrue(shut.wait(WAIT))
        link = self.backend._connection.link

        def answer() -> None:
            while not link.hung_up:
                time.sleep(0.001)
            answers.set()

        self.thread(answer)
        self.stopping.refusals = 0
        self.assertEqual(self.backend.call("f", [1], idempotent=False), [1])
        self.assertEqual(running.result(), "released")

    def test_a_trace_goes_with_a_call_and_with_a_stream(self) -> None:
        self.stopping.refusals = 0
        params = self.backend.call("f", [1], traceparent=PARENT, tracestate="a=1")
        self.assertEqual(params, {"method": "f", "params": [1], "traceparent": PARENT, "tracestate": "a=1"})
        self.assertEqual(self.backend.submit("f", traceparent=PARENT).result()["traceparent"], PARENT)
        list(self.backend.stream("count", traceparent=PARENT))
        self.assertEqual(self.daemon.expect("stream.call")["params"]["traceparent"], PARENT)


class Tasks(AsyncTest):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.stopping = Stopping(self.daemon)

    async def test_a_call_is_sent_to_the_next(self) -> None:
        self.assertEqual(await self.backend.call("f", [1], idempotent=False), [1])
        self.assertEqual(await self.backend.f(2), [2])

    async def test_what_had_begun_is_answered_where_it_was_asked(self) -> None:
        running = asyncio.ensure_future(self.backend.hang())
        await self.expect("hang")
        self.stopping.before_the_end = lambda peer: self.daemon.do_release(peer, None, None)
        self.assertEqual(await self.backend.f(1), [1])
        self.assertEqual(await running, "released")

    async def test_daemons_that_all_stop_are_not_asked_for_ever(self) -> None:
        self.stopping.refusals = 99
        with self.assertRaises(baskd.CallCancelled) as refused:
            await self.backend.f()
        self.assertTrue(refused.exception.never_began)
        self.assertEqual(self.stopping.refusals, 99 - 4)

    async def test_where_nobody_comes_it_is_told_that_it_never_began(self) -> None:
        for is_stream in (False, True):
            self.stopping.for_good, self.stopping.refusals = True, 1
            with (
                unittest.mock.patch("baskd._link.NEXT_SECONDS", 0.1),
                self.assertRaises(baskd.CallCancelled) as refused,
            ):
                await (self.backend.stream("count").__anext__() if is_stream else self.backend.f())
            self.assertTrue(refused.exception.never_began)
            await asyncio.to_thread(self.daemon._thread.join)
            self.daemon.start()

    async def test_its_time_is_not_longer_for_that(self) -> None:
        self.stopping.end = lambda peer: None  # type: ignore[method-assign]
        start = time.monotonic()
        with self.assertRaises(baskd.TimedOut):
            await self.backend.call("f", timeout=0.3)
        self.assertLess(time.monotonic() - start, 3)

    async def test_what_may_have_run_before_is_not_said_to_have_never_begun(self) -> None:
        def die(peer: Peer, message: Any) -> None:
            self.daemon.special["g"] = self.stopping.plain
            self.stopping.refusals = 99
            peer.hang_up()

        self.daemon.special["g"] = die
        with self.assertRaises(baskd.Disconnected):
            await self.backend.call("g", idempotent=True)

    async def test_a_stream_without_an_item_is_made_again(self) -> None:
        for takes in (False, True):
            self.stopping = Stopping(self.daemon)
            self.stopping.takes = takes
            async with self.backend.stream("count") as stream:
                self.assertEqual([item async for item in stream], [0, 1, 2])
                self.assertEqual(stream.result, 3)

    async def test_a_stream_of_which_items_came_is_not(self) -> None:
        self.stopping.takes, self.stopping.items = True, ["first"]
        stream = self.backend.stream("count")
        self.assertEqual(await stream.__anext__(), "first")
        with self.assertRaises(baskd.CallCancelled):
            await stream.__anext__()

    async def test_answers_are_read_also_where_no_more_is_taken(self) -> None:
        shut, answers = self.stopping.takes_no_more()
        running = asyncio.ensure_future(self.backend.slow())
        self.assertTrue(await asyncio.to_thread(shut.wait, WAIT))
        self.stopping.refusals = 0
        call = asyncio.ensure_future(self.backend.call("f", [1], idempotent=False))
        link = self.backend._connection.link
        assert link is not None
        while not link.hung_up:
            await asyncio.sleep(0)
        answers.set()
        self.assertEqual(await call, [1])
        self.assertEqual(await running, "released")

    async def test_a_trace_goes_with_a_call_and_with_a_stream(self) -> None:
        self.stopping.refusals = 0
        params = await self.backend.call("f", [1], traceparent=PARENT, tracestate="a=1")
        self.assertEqual(params, {"method": "f", "params": [1], "traceparent": PARENT, "tracestate": "a=1"})
        _ = [item async for item in self.backend.stream("count", traceparent=PARENT)]
        self.assertEqual((await self.expect("stream.call"))["params"]["traceparent"], PARENT)


if __name__ == "__main__":
    unittest.main()
