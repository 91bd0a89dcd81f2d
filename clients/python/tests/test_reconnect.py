"""A connection that is lost, for threads."""

from __future__ import annotations

import errno
import os
import queue
import socket
import time
import unittest
import unittest.mock
import warnings
from typing import Any, Callable

import baskd
from baskd._retry import BackOff, says_idempotent
from baskd._socket import open_socket
from baskd._threads import ThreadLink
from tests.fake import WAIT, Peer
from tests.moments import eventually
from tests.test_client import ClientTest


class Rules(unittest.TestCase):
    def test_the_back_off(self) -> None:
        back_off = BackOff()
        waits = [back_off.next() for _ in range(20)]
        self.assertTrue(0.05 <= waits[0] <= 0.1)
        self.assertTrue(all(1 <= wait <= 2 for wait in waits[6:]))
        self.assertEqual(len(set(waits)), len(waits))

    def test_who_is_idempotent(self) -> None:
        document = {"methods": [{"name": "a", "x-idempotent": True}, {"name": "b"}]}
        self.assertTrue(says_idempotent(document, "a"))
        self.assertFalse(says_idempotent(document, "b"))
        for other in (None, {}, {"methods": None}, {"methods": [5]}, {"methods": [{"x-idempotent": True}]}):
            self.assertFalse(says_idempotent(other, "a"))


class Reconnecting(ClientTest):
    def test_a_daemon_that_came_back(self) -> None:
        self.backend.echo(1)
        self.daemon.stop()
        with self.assertRaises(baskd.NotRunning):
            self.backend.echo(2)
        self.daemon.start()
        self.assertEqual(self.backend.echo(3), [3])

    def test_a_request_that_never_left_is_sent_again(self) -> None:
        self.backend.echo(1)
        self.daemon.stop()
        self.daemon.start()
        # Nobody has read the end of the old connection; the write finds it.
        self.assertIsNone(self.backend._connection.link.lost)
        self.assertEqual(self.backend.echo(2), [2])
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(list(self.backend.stream("count")), [0, 1, 2])

    def test_a_call_under_way_fails_and_is_not_sent_again(self) -> None:
        self.daemon.special["die"] = lambda peer, message: peer.hang_up()
        with self.assertRaisesRegex(baskd.Disconnected, "die was under way, and may have run") as lost:
            self.backend.die()
        self.assertEqual(lost.exception.data, {"method": "die"})
        self.daemon.expect("die")
        self.assertEqual(self.backend.echo(1), [1])
        self.assertEqual([message["method"] for message in self.daemon.so_far()], ["rpc.discover", "echo"])

    def test_every_thread_is_told(self) -> None:
        told: list[BaseException] = []

        def wait(run: Any) -> None:
            try:
                run()
            except baskd.Disconnected as error:
                told.append(error)

        stream = self.backend.stream("count", {"n": 100}, window=1)
        next(stream)
        next(stream)
        threads = [self.thread(wait, self.backend.hang) for _ in range(3)]
        for _ in threads:
            self.daemon.expect("hang")
        self.daemon.stop()
        for thread in threads:
            thread.join(WAIT)
        wait(lambda: list(stream))
        self.assertEqual(len({id(error) for error in told}), 4)

    def test_the_end_comes_together_with_a_nudge(self) -> None:
        """Reading the end closes the descriptors that the nudge has come by."""
        ours, daemons = socket.socketpair()
        link = ThreadLink(ours)
        os.write(link._nudge_end, b"!")
        daemons.close()
        self.assertTrue(link.wait_lost(time.monotonic() + WAIT))

    def test_why_the_daemon_hung_up_is_told(self) -> None:
        def forbid(peer: Peer, message: Any) -> None:
            peer.refuse(None, -32027, "You are not who I serve.", {"uid": 7})
            peer.hang_up()

        self.daemon.special["echo"] = forbid
        with self.assertRaises(baskd.Forbidden):
            self.backend.echo(1)

    def test_no_descriptor_is_left_for_a_while(self) -> None:
        """Of what is had before that is so, nothing is left over."""
        self.backend.echo(1)
        descriptors = len(os.listdir("/proc/self/fd"))
        for where in ("baskd._socket.socket.socket", "baskd._threads.os.pipe"):
            self.daemon.all_peers[-1].hang_up()
            self.backend._connection.link.wait_lost()
            none = unittest.mock.patch(where, side_effect=OSError(errno.EMFILE, "Too many open files"))
            with none, self.assertRaisesRegex(baskd.Disconnected, "Can't connect .*: Too many open files"):
                self.backend.echo(1)
            self.assertEqual(self.backend.echo(1), [1])
            eventually(lambda: len(os.listdir("/proc/self/fd")) == descriptors)

    def test_a_closed_client_says_so(self) -> None:
        self.backend.close()
        self.backend.close()
        with self.assertRaisesRegex(baskd.Disconnected, "closed"):
            self.backend.echo(1)

    def test_close_wakes_who_waits(self) -> None:
        told: list[str] = []

        def wait() -> None:
            try:
                self.backend.hang()
            except baskd.Disconnected as error:
                told.append(str(error))

        threads = [self.thread(wait) for _ in range(2)]
        self.daemon.expect("hang")
        self.daemon.expect("hang")
        self.backend.close()
        for thread in threads:
            thread.join(WAIT)
        self.assertEqual(told, ["This client was closed."] * 2)

    def test_a_forked_child_connects_for_itself(self) -> None:
        self.assertEqual(self.backend.echo(1), [1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fake is a thread; 3.12 warns of what a child can't have of it
            child = os.fork()
        if child == 0:
            os._exit(0 if self.backend.echo("child") == ["child"] else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(self.backend.echo("parent"), ["parent"])
        self.assertEqual(len(self.daemon.all_peers), 2)


class Idempotent(ClientTest):
    """`twice` is a method under which the daemon dies when it is called first."""

    def setUp(self) -> None:
        super().setUp()
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

    def test_as_the_caller_says(self) -> None:
        self.assertEqual(self.backend.call("twice", [5], idempotent=True), [5])
        self.assertEqual(self.asked(), ["twice", "twice"])

    def test_as_the_controller_says(self) -> None:
        self.daemon.idempotent = {"twice"}
        self.assertEqual(self.backend.twice(5), [5])
        self.assertEqual(self.asked(), ["twice", "rpc.discover", "twice"])

    def test_the_controller_is_asked_anew_each_time(self) -> None:
        self.daemon.idempotent = {"twice"}
        self.assertEqual(self.backend.twice(5), [5])
        self.daemon.idempotent = set()
        self.deaths = 1
        with self.assertRaises(baskd.Disconnected):
            self.backend.twice(5)

    def test_who_says_that_it_is_not_is_told_at_once(self) -> None:
        self.daemon.idempotent = {"twice"}
        with self.assertRaises(baskd.Disconnected):
            self.backend.call("twice", idempotent=False)
        self.assertEqual(self.asked(), ["twice"])

    def test_once_and_not_a_third_time(self) -> None:
        self.deaths = 2
        with self.assertRaises(baskd.Disconnected):
            self.backend.call("twice", idempotent=True)
        self.assertEqual(self.asked(), ["twice", "twice"])
        self.assertEqual(self.backend.twice(1), [1])

    def test_a_controller_that_does_not_say_in_time(self) -> None:
        self.daemon.special["rpc.discover"] = lambda peer, message: None
        with unittest.mock.patch("baskd._calls.ASK_SECONDS", 0.05), self.assertRaises(baskd.Disconnected):
            self.backend.twice()

    def test_a_daemon_that_can_not_say(self) -> None:
        for refusal in (
            lambda peer, message: peer.hang_up(),
            lambda peer, message: peer.refuse(message["id"], -32022, ""),
        ):
            self.deaths = 1
            self.daemon.special["rpc.discover"] = refusal
            with self.assertRaises(baskd.Disconnected) as lost:
                self.backend.twice()
            self.assertEqual(lost.exception.data, {"method": "twice"})

    def test_no_daemon_any_more(self) -> None:
        for idempotent in (None, True):
            handle = self.backend.submit("hang", idempotent=idempotent)
            self.daemon.expect("hang")
            self.daemon.stop()
            with self.assertRaisesRegex(baskd.Disconnected, "hang was under way") as lost:
                handle.result()
            self.assertIsInstance(lost.exception.__cause__, baskd.NotRunning)
            self.daemon.start()

    def test_the_time_that_is_left_is_what_it_has(self) -> None:
        self.daemon.special["rpc.call"] = self.twice
        result = self.backend.call("twice", {"a": 1}, timeout=30, idempotent=True)
        first, second = self.daemon.expect("rpc.call")["params"], self.daemon.expect("rpc.call")["params"]
        self.assertEqual((result["method"], first["timeout_ms"] >= second["timeout_ms"] > 1_000), ("twice", True))

    def test_a_handle(self) -> None:
        handle = self.backend.submit("twice", [1], idempotent=True)
        self.assertFalse(handle.done())
        self.assertEqual(handle.result(), [1])
        self.assertTrue(handle.done())
        self.assertEqual(handle.result(), [1])
        self.assertEqual(self.asked(), ["twice", "twice"])

    def test_many_threads_wait_for_one_handle(self) -> None:
        self.daemon.idempotent = {"twice"}
        handle = self.backend.submit("twice", [1])
        results: list[Any] = []
        for thread in [self.thread(lambda: results.append(handle.result())) for _ in range(8)]:
            thread.join(WAIT)
        self.assertEqual(results, [[1]] * 8)
        self.assertEqual(self.asked(), ["twice", "rpc.discover", "twice"])

    def test_a_handle_whose_wait_times_out_while_the_controller_is_asked(self) -> None:
        held: queue.Queue[Callable[[], None]] = queue.Queue()
        self.daemon.special["rpc.discover"] = lambda peer, message: held.put(
            lambda: peer.answer(message["id"], {"methods": [{"name": "twice", "x-idempotent": True}]})
        )
        handle = self.backend.submit("twice", [1])
        while held.empty():
            with self.assertRaises(TimeoutError):
                handle.result(timeout=0.05)
        self.assertFalse(handle.done())
        held.get(timeout=WAIT)()
        self.assertEqual(handle.result(), [1])
        self.assertEqual(self.asked(), ["twice", "rpc.discover", "twice"])

    def test_a_handle_that_was_cancelled_is_not_sent_again(self) -> None:
        handle = self.backend.submit("twice", idempotent=True)
        self.backend._connection.link.wait(handle._call.pending)
        self.assertFalse(handle.cancel())
        with self.assertRaises(baskd.Disconnected):
            handle.result()
        self.assertEqual(self.asked(), ["twice"])

    def test_a_stream_is_never_sent_again(self) -> None:
        self.daemon.idempotent = {"count"}
        stream = self.backend.stream("count", {"n": 10}, window=1)
        self.assertEqual(next(stream), 0)
        self.daemon.stop()
        self.daemon.start()
        rest: list[Any] = []
        with self.assertRaises(baskd.Disconnected) as lost:
            rest.extend(iter(stream.__next__, None))
        self.assertEqual(lost.exception.data, {"method": "count"})
        self.assertEqual(self.backend.echo(1), [1])
        self.assertEqual([method for method in self.asked() if method.startswith("stream.call")], ["stream.call"])

    def test_threads_of_which_each_gets_its_own_answer(self) -> None:
        """64 calls under way from 8 threads, half of them idempotent, when the daemon dies."""
        handles = [self.backend.submit("hang", [n], idempotent=n % 2 == 0) for n in range(64)]
        for _ in handles:
            self.daemon.expect("hang")
        self.daemon.special["hang"] = lambda peer, message: peer.answer(message["id"], message["params"])
        got: dict[int, Any] = {}

        def wait(first: int) -> None:
            for n in range(first, 64, 8):
                try:
                    got[n] = handles[n].result()
                except baskd.Disconnected as error:
                    got[n] = error.data

        threads = [self.thread(wait, first) for first in range(8)]
        self.daemon.stop(then_start=True)
        for thread in threads:
            thread.join(WAIT)
        self.assertEqual(got, {n: {"method": "hang"} if n % 2 else [n] for n in range(64)})
        self.assertEqual(self.asked(), ["hang"] * 32)


class Subscriptions(ClientTest):
    def test_they_are_set_up_again_and_told_of_the_gap(self) -> None:
        got: list[Any] = []
        self.backend.on_message(got.append, on_gap=got.append)
        messages = self.backend.messages(scope="all")
        self.daemon.stop()
        self.daemon.start()
        self.backend.talk("a")
        self.assertEqual(got, [baskd.Message(None, restarted=True), "a"])
        self.assertEqual(next(messages), baskd.Message(None, restarted=True))
        self.assertEqual(next(messages).data, "a")

    def test_what_was_dropped_is_told(self) -> None:
        got: queue.Queue[Any] = queue.Queue()
        self.backend.on_message(lambda data: None, on_gap=got.put)
        messages = self.backend.messages()
        peer = self.daemon.all_peers[0]
        for number in peer.subscriptions:
            peer.notify("messages.item", number, {"dropped": 7})
        self.assertEqual((got.get(timeout=WAIT), next(messages)), (baskd.Message(None, dropped=7),) * 2)

    def test_without_a_callback_for_gaps_they_are_logged(self) -> None:
        self.backend.on_message(lambda data: None)
        with self.assertLogs("baskd", "WARNING"):
            self.daemon.stop()
            self.daemon.start()
            self.backend.talk("a")

    def test_log_lines(self) -> None:
        number = 7
        self.daemon.special["logs.subscribe"] = lambda peer, message: peer.answer(message["id"], number)
        logs = self.backend.logs()
        self.daemon.all_peers[0].notify("logs.item", number, {"line": "a"})
        self.assertEqual(next(logs), {"line": "a"})
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(next(logs), {"restarted": True})

    def test_who_waits_for_them_connects_again_by_himself(self) -> None:
        """A listener's thread, and a thread that reads; no call is made meanwhile."""
        gaps: queue.Queue[Any] = queue.Queue()
        self.backend.on_message(lambda data: None, on_gap=gaps.put)
        messages = self.backend.messages()
        reader = self.thread(lambda: gaps.put(next(messages)))
        for _ in range(2):
            self.daemon.expect("messages.subscribe")
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual([gaps.get(timeout=WAIT).restarted for _ in range(2)], [True, True])
        reader.join(WAIT)
        self.assertEqual([message["method"] for message in self.daemon.so_far()], ["messages.subscribe"] * 2)
        self.assertEqual(len(self.daemon.all_peers), 2)

    def test_a_daemon_that_is_away_for_a_while(self) -> None:
        messages = self.backend.messages()
        got: list[Any] = []
        reader = self.thread(lambda: got.append(next(messages)))
        tried = queue.Queue[str]()
        dial = open_socket

        def counting(path: str, *args: Any) -> Any:
            tried.put(path)
            return dial(path, *args)

        with unittest.mock.patch("baskd._connection.open_socket", counting):
            self.daemon.stop()
            for _ in range(3):
                tried.get(timeout=WAIT)
            with self.assertRaises(baskd.NotRunning):  # a call does not wait for it
                self.backend.echo(1)
            self.daemon.start()
            reader.join(WAIT)
        self.assertEqual(got, [baskd.Message(None, restarted=True)])

    def test_a_gap_is_told_once_though_the_daemon_dies_twice(self) -> None:
        messages = self.backend.messages()
        self.daemon.special["messages.subscribe"] = lambda peer, message: peer.hang_up()
        got: list[Any] = []
        reader = self.thread(lambda: got.append(next(messages)))
        self.daemon.stop(then_start=True)
        for _ in range(3):
            self.daemon.expect("messages.subscribe")
        del self.daemon.special["messages.subscribe"]
        reader.join(WAIT)
        self.backend.talk("a")
        self.assertEqual((got[0].restarted, next(messages).data), (True, "a"))

    def test_one_that_is_refused_then_ends_with_that_error(self) -> None:
        messages = self.backend.messages()
        self.daemon.special["messages.subscribe"] = lambda peer, message: peer.refuse(
            message["id"], -32006, "Too many."
        )
        self.daemon.stop()
        self.daemon.start()
        with self.assertRaises(baskd.TooManySubscriptions):
            next(messages)
        self.assertEqual(self.backend.echo(1), [1])

    def test_one_whose_connection_is_refused_too(self) -> None:
        def forbid(peer: Peer, message: Any) -> None:
            peer.refuse(None, -32027, "You are not who I serve.", {"uid": 7})
            peer.hang_up()

        messages = self.backend.messages()
        self.daemon.special["messages.subscribe"] = forbid
        self.daemon.stop()
        self.daemon.start()
        with self.assertRaises(baskd.Forbidden):
            next(messages)

    def test_after_close_nothing_connects_again(self) -> None:
        got: list[Any] = []
        self.backend.on_message(lambda data: None, on_gap=got.append)
        messages = self.backend.messages()
        ended = self.thread(list, messages)
        self.daemon.stop()
        self.backend.close()
        ended.join(WAIT)
        self.assertFalse(ended.is_alive())
        with unittest.mock.patch("baskd._connection.open_socket", side_effect=AssertionError):
            self.daemon.start()
            self.assertEqual(list(messages), [])
            with self.assertRaisesRegex(baskd.Disconnected, "closed"):
                self.backend.echo(1)
        self.assertEqual((got, len(self.daemon.all_peers)), ([], 1))

    def test_closing_one_ends_its_wait_for_a_daemon(self) -> None:
        messages = self.backend.messages()
        ended = self.thread(list, messages)
        self.daemon.stop()
        messages.close()
        ended.join(WAIT)
        self.assertFalse(ended.is_alive())


class View(ClientTest):
    def test_the_methods_are_those_of_now(self) -> None:
        self.assertEqual([method["name"] for method in self.backend.methods()], ["echo"])
        self.daemon.idempotent = {"new"}
        self.assertEqual([method["name"] for method in self.backend.methods()], ["echo", "new"])


if __name__ == "__main__":
    unittest.main()
