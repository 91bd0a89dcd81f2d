"""What a forked child finds of its parent's: it is told that it is not its own, and the parent goes on."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import unittest
import unittest.mock
import warnings
from typing import Any, Callable

import baskd
from baskd._calls import Call
from tests.fake import WAIT
from tests.test_aio import AsyncTest
from tests.test_races import RaceTest


def in_child(run: Callable[[], object]) -> str:
    """What that comes to in a forked child."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that forking beside threads is dangerous, which is the matter here
        child = os.fork()
    if child == 0:
        try:
            said = str(run())
        except BaseException as error:
            said = type(error).__name__
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    try:
        if not select.select([read], [], [], WAIT)[0]:
            os.kill(child, signal.SIGKILL)
            return "it hangs"
        return os.read(read, 4096).decode()
    finally:
        os.close(read)
        os.waitpid(child, 0)


class Threads(RaceTest):
    def test_a_call_under_way(self) -> None:
        handle = self.backend.submit("hang")
        self.daemon.expect("hang")
        self.assertEqual(in_child(handle.result), "Disconnected")
        self.backend.release()
        self.assertEqual(handle.result(), "released")

    def test_an_idempotent_call_is_not_the_childs_to_send_again(self) -> None:
        handle = self.backend.submit("hang", idempotent=True)
        self.daemon.expect("hang")
        self.assertEqual(in_child(handle.result), "Disconnected")
        self.assertEqual(self.daemon.so_far(), [])

    def test_a_call_that_a_thread_is_about_to_send_again(self) -> None:
        """That thread has the decision's lock, and is not in the child."""
        handle = self.backend.submit("hang", idempotent=True)
        self.daemon.expect("hang")
        deciding, goes = threading.Event(), threading.Event()
        told: list[Any] = []

        def slow(call: Call, until: Any) -> bool:
            deciding.set()
            goes.wait(2 * WAIT)
            return False

        with unittest.mock.patch.object(Call, "_send_again", slow):
            waiting = self.thread(self.outcomes(handle, told))
            self.daemon.all_peers[0].hang_up()
            self.assertTrue(deciding.wait(WAIT))
            try:
                self.assertEqual(in_child(handle.result), "Disconnected")
            finally:
                goes.set()
            waiting.join(WAIT)

    def test_a_stream_while_a_thread_reads(self) -> None:
        self.daemon.special["stream.call"] = lambda peer, message: peer.answer(message["id"], 5)
        stream = self.backend.stream("silent")
        self.lead()
        self.assertEqual(in_child(lambda: next(stream)), "Disconnected")
        self.daemon.all_peers[0].notify("stream.item", 5, {"item": "the parent's"})
        self.assertEqual(next(stream), "the parent's")

    def test_a_subscription(self) -> None:
        messages = self.backend.messages()
        self.assertEqual(in_child(lambda: next(messages)), "Disconnected")
        self.backend.talk("a")
        self.assertEqual(next(messages).data, "a")

    def test_a_stream_while_a_thread_has_the_lock(self) -> None:
        stream = self.backend.stream("count", {"n": 1000}, window=1)
        next(stream)
        link = self.link
        held, goes = threading.Event(), threading.Event()

        def hold() -> None:
            with link._lock:
                held.set()
                goes.wait(2 * WAIT)

        self.thread(hold)
        self.assertTrue(held.wait(WAIT))
        try:
            self.assertEqual(in_child(stream.close), "None")
        finally:
            goes.set()


class Loops(AsyncTest):
    async def test_a_loop_of_the_childs_own(self) -> None:
        """It leaves what the parent's loop polls as it is: by epoll that is the same for both."""
        self.assertEqual(await self.backend.echo(1), [1])

        def run() -> Any:
            asyncio._set_running_loop(None)
            return asyncio.run(self.echo("child"))

        self.assertEqual(in_child(run), "['child']")
        self.assertEqual(await asyncio.wait_for(self.echo("parent"), WAIT), ["parent"])

    async def echo(self, text: str) -> Any:
        backend: baskd.AsyncClient = self.backend
        return await backend.echo(text)


if __name__ == "__main__":
    unittest.main()
