"""Ctrl-C between any two steps: who is interrupted leaves nothing behind that keeps others waiting."""

from __future__ import annotations

import os
import select
import threading
import unittest
import unittest.mock
from typing import Any

import baskd
from baskd._sinks import Pending
from baskd._threads import ThreadLink
from tests.fake import WAIT
from tests.moments import eventually
from tests.test_races import RaceTest


class Interrupts(RaceTest):
    def hanging(self, number: int) -> list[baskd.CallHandle]:
        handles = [self.backend.submit("hang", idempotent=False) for _ in range(number)]
        for _ in handles:
            self.daemon.expect("hang")
        return handles

    def answer(self, handle: baskd.CallHandle, result: Any) -> None:
        self.daemon.all_peers[0].answer(handle.id, result)

    def test_as_a_follower_lies_down(self) -> None:
        first, second, third = self.hanging(3)
        told: list[Any] = []
        leader = self.thread(self.outcomes(first, told))
        eventually(lambda: self.link._leader is not None)

        class Wakers(list[Any]):
            def append(self, waker: Any) -> None:
                super().append(waker)
                raise KeyboardInterrupt

        third._call.pending.wakers = Wakers()
        with self.assertRaises(KeyboardInterrupt):
            third.result()
        follower = self.thread(self.outcomes(second, told))
        eventually(lambda: second._call.pending.wakers)
        self.answer(first, 1)
        leader.join(WAIT)
        self.answer(second, 2)
        follower.join(WAIT)
        self.assertEqual(told, [1, 2])

    def test_as_the_leader_leaves(self) -> None:
        first, second = self.hanging(2)
        told: list[Any] = []
        followers: list[threading.Thread] = []
        me, hand_over = threading.current_thread(), ThreadLink._hand_over
        interrupts = [KeyboardInterrupt]

        def interrupted(link: ThreadLink) -> None:
            if threading.current_thread() is me and interrupts:
                raise interrupts.pop()
            hand_over(link)

        def follow() -> None:
            eventually(lambda: self.link._leader is not None)
            followers.append(self.thread(self.outcomes(second, told)))
            eventually(lambda: self.link._followers)
            self.answer(first, 1)

        self.thread(follow)
        with unittest.mock.patch.object(ThreadLink, "_hand_over", interrupted), self.assertRaises(KeyboardInterrupt):
            first.result()
        self.answer(second, 2)
        followers[0].join(WAIT)
        self.assertEqual(told, [2])

    def test_before_the_leader_polls_while_the_client_is_closed(self) -> None:
        link = self.link

        def interrupted(link: ThreadLink, left: Any) -> None:
            link.close()
            raise KeyboardInterrupt

        with unittest.mock.patch.object(ThreadLink, "_lead", interrupted), self.assertRaises(KeyboardInterrupt):
            link.wait_lost()
        self.assertEqual(link.sock.fileno(), -1)

    def test_amid_the_answer_to_anothers_call(self) -> None:
        """It is told as lost, for what was read of the connection is not known any more."""
        (handle,) = self.hanging(1)
        told: list[Any] = []
        waiting = self.thread(self.outcomes(handle, told))
        link, me, settle = self.link, threading.current_thread(), Pending.settle
        eventually(lambda: link._leader is not None)
        interrupts = [KeyboardInterrupt]

        def interrupted(pending: Pending, *args: Any, **options: Any) -> None:
            if threading.current_thread() is me and interrupts:
                raise interrupts.pop()
            settle(pending, *args, **options)

        with unittest.mock.patch.object(Pending, "settle", interrupted), link._lock:
            self.answer(handle, 1)
            select.select([link.sock], [], [], WAIT)
            with self.assertRaises(KeyboardInterrupt):
                link.receive()
        waiting.join(WAIT)
        self.assertEqual(told, [baskd.Disconnected])

    def test_as_the_connections_lock_is_taken(self) -> None:
        connection = self.backend._connection

        class Lock:
            """CPython looks for signals at the end of `acquire`, before a `try` that comes next; amid `with`, not."""

            def __init__(self, lock: Any) -> None:
                self._lock = lock

            def acquire(self, *args: Any, **options: Any) -> bool:
                self._lock.acquire(*args, **options)
                raise KeyboardInterrupt

            def release(self) -> None:
                self._lock.release()

            def __enter__(self) -> Any:
                return self._lock.__enter__()

            def __exit__(self, *error: Any) -> None:
                self._lock.__exit__(*error)

        self.backend.echo(0)
        self.daemon.all_peers[0].hang_up()
        self.assertTrue(self.link.wait_lost())
        lock = connection._lock
        connection._lock = Lock(lock)
        try:
            self.assertEqual(self.backend.echo(1), [1])
        except KeyboardInterrupt:
            lock.release()  # for those who end this test
            raise
        finally:
            connection._lock = lock

    def test_as_a_subscription_is_set_up_again(self) -> None:
        """The next connection asks for it, and nothing is left of the one that nobody had seen."""
        got: list[Any] = []
        self.backend.on_message(got.append, on_gap=lambda gap: None)
        self.backend.echo(0)
        descriptors = len(os.listdir("/proc/self/fd"))
        me, request = threading.current_thread(), ThreadLink.request
        interrupts = [KeyboardInterrupt]

        def interrupted(link: ThreadLink, method: str, *args: Any, **options: Any) -> Any:
            if threading.current_thread() is me and method == "messages.subscribe" and interrupts:
                raise interrupts.pop()
            return request(link, method, *args, **options)

        # The listener's thread does not connect by itself.
        with unittest.mock.patch("baskd._retry.BackOff.next", return_value=WAIT):
            link = self.link
            self.daemon.stop(then_start=True)
            eventually(lambda: link.lost is not None)
            with unittest.mock.patch.object(ThreadLink, "request", interrupted):
                with self.assertRaises(KeyboardInterrupt):
                    self.backend.echo(1)
                self.assertEqual(self.backend.echo(1), [1])
        self.backend.talk("a")
        self.assertEqual(got, ["a"])
        eventually(lambda: len(os.listdir("/proc/self/fd")) == descriptors)


if __name__ == "__main__":
    unittest.main()
