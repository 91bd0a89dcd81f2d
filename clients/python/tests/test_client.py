from __future__ import annotations

import copy
import gc
import os
import signal
import threading
import time
import unittest
import unittest.mock
import weakref
from typing import Any

import baskd
from baskd.client import Client
from tests.fake import WAIT, FakeDaemon


class ClientTest(unittest.TestCase):
    def setUp(self) -> None:
        self.daemon = self.enterContextManager(FakeDaemon())
        self.backend = self.enterContextManager(baskd.connect(socket=self.daemon.path))

    def enterContextManager(self, manager: Any) -> Any:  # enterContext() came with 3.11
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def thread(self, function: Any, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, daemon=True)
        thread.start()
        self.addCleanup(thread.join, WAIT)
        return thread


class Calls(ClientTest):
    def test_by_name_by_position_and_by_attribute(self) -> None:
        self.assertEqual(self.backend.call("echo", {"by": 5}), {"by": 5})
        self.assertEqual(self.backend.echo(by=5), {"by": 5})
        self.assertEqual(self.backend.echo(1, "é"), [1, "é"])
        self.assertIsNone(self.backend.echo())

    def test_private_names_are_never_routed(self) -> None:
        for name in ("_x", "__len__", "__deepcopy__", "_repr_html_"):
            self.assertFalse(hasattr(self.backend, name))
        with self.assertRaises(TypeError):
            copy.deepcopy(self.backend)  # it holds a lock; what matters: nothing was asked of the daemon
        self.assertTrue(self.daemon.seen.empty())

    def test_errors_are_classes(self) -> None:
        with self.assertRaises(baskd.MethodError) as raised:
            self.backend.boom()
        self.assertEqual((raised.exception.type, raised.exception.code), ("ValueError", -32020))
        with self.assertRaises(baskd.MethodNotFound) as missing:
            self.backend.ecko()
        self.assertEqual(missing.exception.nearest, ["echo"])

    def test_a_late_call(self) -> None:
        with self.assertRaises(baskd.TimedOut) as late:
            self.backend.call("hang", timeout=0.5)
        self.assertIsInstance(late.exception, TimeoutError)
        self.assertEqual(late.exception.where, "running")

    def test_a_daemon_that_lets_a_timeout_pass_is_given_up(self) -> None:
        self.daemon.special["rpc.call"] = lambda peer, message: None
        with unittest.mock.patch("baskd._options.GRACE_SECONDS", 0.01), self.assertRaises(baskd.TimedOut) as late:
            self.backend.call("hang", timeout=0.01)
        self.assertIsNone(late.exception.where)
        self.daemon.expect("$/cancelRequest")

    def test_a_timeout_beyond_what_poll_takes(self) -> None:
        self.daemon.special["rpc.call"] = lambda peer, message: peer.answer(message["id"], "in time")
        told: list[Any] = []
        self.thread(lambda: told.append(self.backend.call("echo", timeout=1e9))).join(WAIT)
        self.assertEqual(told, ["in time"])

    def test_many_threads_share_the_connection(self) -> None:
        wrong: list[Any] = []

        def work(number: int) -> None:
            for turn in range(200):
                if self.backend.echo(number, turn) != [number, turn]:
                    wrong.append((number, turn))

        threads = [self.thread(work, number) for number in range(8)]
        for thread in threads:
            thread.join(WAIT)
            self.assertFalse(thread.is_alive())
        self.assertEqual((wrong, len(self.daemon.all_peers)), ([], 1))

    def test_a_slow_call_does_not_hold_up_another(self) -> None:
        slow = self.backend.submit("hang")
        result: list[Any] = []
        waiting = self.thread(lambda: result.append(slow.result()))
        self.daemon.expect("hang")
        for number in range(100):
            self.assertEqual(self.backend.echo(number), [number])
        self.backend.release()
        waiting.join(WAIT)
        self.assertEqual(result, ["released"])

    def test_a_follower_takes_the_lead_when_the_leader_leaves(self) -> None:
        """The first to wait reads for all, is answered and goes; the others must not be left to sleep."""
        done: list[Any] = []
        handles = [self.backend.submit("hang") for _ in range(4)]
        threads = [self.thread(lambda handle=handle: done.append(handle.result())) for handle in handles]
        peer = self.daemon.peers.get(timeout=WAIT)
        for _ in handles:
            self.daemon.expect("hang")
        for number, (thread, handle) in enumerate(zip(threads, handles), 1):
            del peer.running[handle.id]
            peer.answer(handle.id, number)
            thread.join(WAIT)
            self.assertEqual(done, list(range(1, number + 1)))

    def test_a_call_larger_than_all_buffers_both_ways(self) -> None:
        text = "x" * 5_000_000
        self.assertEqual(self.backend.echo(text), [text])

    def test_writing_much_before_reading_does_not_deadlock(self) -> None:
        """The fake answers each before it reads the next, as the daemon does once its buffers are full."""
        text = "x" * 10_000
        handles = [self.backend.submit("echo", [number, text]) for number in range(500)]
        self.assertEqual([handle.result()[0] for handle in handles], list(range(500)))

    def test_a_nudged_leader_writes_for_others(self) -> None:
        """One thread leads, in its poll; another writes more than the socket takes."""
        slow = self.backend.submit("hang")
        leader = self.thread(slow.result)
        self.daemon.expect("hang")
        text = "x" * 3_000_000
        self.assertEqual(self.backend.echo(text), [text])
        self.backend.release()
        leader.join(WAIT)


class Cancelling(ClientTest):
    def test_from_another_thread(self) -> None:
        handle = self.backend.submit("hang")
        errors: list[Any] = []

        def wait() -> None:
            try:
                handle.result()
            except baskd.CallCancelled as error:
                errors.append(error.by)

        waiting = self.thread(wait)
        self.daemon.expect("hang")
        self.assertTrue(handle.cancel())
        waiting.join(WAIT)
        self.assertEqual(errors, ["client"])
        self.assertFalse(handle.cancel())

    def test_waiting_for_a_handle_may_time_out_and_the_call_goes_on(self) -> None:
        handle = self.backend.submit("hang")
        with self.assertRaises(TimeoutError):
            handle.result(timeout=0.01)
        self.assertFalse(handle.done())
        self.backend.release()
        self.assertEqual(handle.result(), "released")

    def test_ctrl_c_cancels_the_call(self) -> None:
        def interrupt() -> None:
            self.daemon.expect("hang")
            os.kill(os.getpid(), signal.SIGINT)

        self.assertIs(threading.current_thread(), threading.main_thread())
        self.thread(interrupt)
        with self.assertRaises(KeyboardInterrupt):
            self.backend.hang()
        # Cancelled, or, where the interrupt fell between a write or a read and its bookkeeping, hung up on.
        link = self.backend._connection.link
        if link.lost is None:
            self.assertEqual(self.daemon.expect("$/cancelRequest")["params"], {"id": 1})
        self.assertEqual(self.backend.echo(1), [1])
        self.assertIs(self.backend._connection.link is link, link.lost is None)

    def test_ctrl_c_of_a_follower(self) -> None:
        leading = self.backend.submit("hang")
        self.thread(leading.result)
        self.daemon.expect("hang")

        def interrupt() -> None:
            self.daemon.expect("hang")
            os.kill(os.getpid(), signal.SIGINT)

        self.thread(interrupt)
        link = self.backend._connection.link
        with self.assertRaises(KeyboardInterrupt):
            self.backend.hang()
        if link.lost is None:  # see above
            self.daemon.expect("$/cancelRequest")
            self.backend.release()
            self.assertEqual(leading.result(), "released")

    def test_ctrl_c_at_any_moment_leaves_a_client_that_works(self) -> None:
        for turn in range(300):

            def interrupt(delay: float = turn * 2e-6) -> None:
                until = time.perf_counter() + delay
                while time.perf_counter() < until:
                    pass
                os.kill(os.getpid(), signal.SIGINT)

            try:
                thread = threading.Thread(target=interrupt)
                thread.start()
                try:
                    self.backend.hang()
                finally:
                    thread.join()
            except KeyboardInterrupt:
                pass
            self.assertEqual(self.backend.echo(turn), [turn])
        self.assertEqual([peer.running for peer in self.daemon.all_peers if not peer.gone.is_set()], [{}])


class Streams(ClientTest):
    def test_items_then_the_result(self) -> None:
        stream = self.backend.stream("count", {"n": 5})
        with self.assertRaises(RuntimeError):
            _ = stream.result
        self.assertEqual(list(stream), [0, 1, 2, 3, 4])
        self.assertEqual(stream.result, 10)
        self.assertEqual(list(stream), [])
        self.assertEqual(list(self.backend.count.stream(n=0)), [])

    def test_far_more_items_than_the_window(self) -> None:
        for window in (1, 2, 7, 256):
            self.assertEqual(list(self.backend.stream("count", {"n": 1000}, window=window)), list(range(1000)))

    def test_an_unknown_method_is_refused_at_once(self) -> None:
        with self.assertRaises(baskd.MethodNotFound):
            self.backend.stream("nope")

    def test_items_before_an_error_are_not_lost(self) -> None:
        stream = self.backend.stream("fail")
        self.assertEqual(next(stream), "first")
        with self.assertRaises(baskd.MethodError):
            next(stream)
        with self.assertRaises(baskd.MethodError):
            _ = stream.result

    def test_break_cancels(self) -> None:
        for item in self.backend.stream("count", {"n": 1000}, window=4):
            if item == 2:
                break
        gc.collect()
        self.daemon.expect("stream.cancel")
        self.assertEqual(self.backend.echo(1), [1])

    def test_with_and_close_cancel_and_end_the_loop(self) -> None:
        with self.backend.stream("count", {"n": 1000}, window=4) as stream:
            next(stream)
        self.daemon.expect("stream.cancel")
        stream.close()
        self.assertLess(len(list(stream)), 4)
        with self.assertRaises(RuntimeError):
            _ = stream.result

    def test_close_from_another_thread_wakes_the_loop(self) -> None:
        self.daemon.special["stream.call"] = lambda peer, message: peer.answer(message["id"], 5)
        stream = self.backend.stream("silent")
        items: list[Any] = []
        loop = self.thread(lambda: items.extend(stream))
        stream.close()
        loop.join(WAIT)
        self.assertEqual(items, [])

    def test_an_unread_stream_holds_up_nobody(self) -> None:
        stream = self.backend.stream("count", {"n": 100_000}, window=16)
        for number in range(50):
            self.assertEqual(self.backend.echo(number), [number])
        self.assertLessEqual(len(stream._sink.items), 16)
        self.assertEqual(sum(stream), sum(range(100_000)))

    def test_ctrl_c_cancels_it(self) -> None:
        self.daemon.special["stream.call"] = lambda peer, message: peer.answer(message["id"], 5)
        stream = self.backend.stream("silent")

        def interrupt() -> None:
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(0.05, interrupt)
        timer.start()
        with self.assertRaises(KeyboardInterrupt):
            next(stream)
        self.assertEqual(self.daemon.expect("stream.cancel")["params"], [5])


class Messages(ClientTest):
    def test_a_callback_is_done_before_the_call_returns(self) -> None:
        got: list[Any] = []
        listener = self.backend.on_message(got.append)
        for turn in range(20):
            self.assertEqual(self.backend.talk(turn, "b"), 2)
            self.assertEqual(got[-2:], [turn, "b"])
        listener.close()
        self.backend.talk("c")
        self.assertEqual(len(got), 40)

    def test_a_callback_may_call_and_may_fail(self) -> None:
        got: list[Any] = []

        def callback(data: Any) -> None:
            got.append(self.backend.echo(data))
            raise ValueError("on purpose")

        self.backend.on_message(callback)
        with self.assertLogs("baskd", "ERROR"):
            self.backend.talk("a", "b")
        self.assertEqual(got, [["a"], ["b"]])

    def test_as_an_iterator(self) -> None:
        with self.backend.messages(scope="all", method="talk") as messages:
            self.assertEqual(self.daemon.expect("messages.subscribe")["params"], {"scope": "all", "method": "talk"})
            self.backend.talk("a", "b")
            first, second = next(messages), next(messages)
        self.assertEqual((first.data, first.method, first.call, second.data), ("a", "talk", 7, "b"))
        self.daemon.expect("messages.unsubscribe")
        self.assertEqual(list(messages), [])

    def test_what_is_refused_raises(self) -> None:
        with self.assertRaises(baskd.TooManySubscriptions):
            self.backend.messages(method="refused")
        with self.assertRaises(baskd.UsageError):
            self.backend.messages(scope="some")
        self.assertEqual(self.backend._connection.feeds, [])

    def test_a_dropped_iterator_unsubscribes(self) -> None:
        messages = self.backend.messages()
        del messages
        gc.collect()
        self.daemon.expect("messages.unsubscribe")
        self.assertEqual(self.backend._connection.feeds, [])

    def test_close_hands_over_what_has_come_and_ends_iterators(self) -> None:
        got: list[Any] = []
        self.backend.on_message(got.append)
        messages = self.backend.messages()
        ended = self.thread(list, messages)
        self.backend.talk(*range(100))
        self.backend.close()
        ended.join(WAIT)
        self.assertEqual((got, ended.is_alive()), (list(range(100)), False))


class Descriptors(ClientTest):
    def test_none_are_left_over(self) -> None:
        self.backend.echo(1)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with baskd.connect(socket=self.daemon.path) as client:
                client.echo(1)
        for peer in self.daemon.all_peers[1:]:
            peer.gone.wait(WAIT)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_a_client_nobody_holds_is_forgotten(self) -> None:
        client = Client(socket=self.daemon.path)
        client.echo(1)
        gone = weakref.ref(client)
        client.close()
        del client
        gc.collect()
        self.assertIsNone(gone())


if __name__ == "__main__":
    unittest.main()
