"""Ctrl-C between any two steps: who is interrupted leaves nothing behind that keeps others waiting."""

from __future__ import annotations

import contextlib
import dis
import os
import select
import sys
import threading
import types
import unittest
import unittest.mock
import warnings
from functools import cache
from typing import Any, Callable

import baskd
from baskd._sinks import Pending
from baskd._threads import ThreadLink
from tests.fake import WAIT, FakeDaemon
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
        """CPython looks for signals at the end of `acquire`, before anything can be done about that."""
        connection = self.backend._connection

        class Lock:
            def __init__(self, lock: Any) -> None:
                self._lock, self.release, self._is_owned = lock, lock.release, lock._is_owned

            def acquire(self, *args: Any, **options: Any) -> bool:
                self._lock.acquire(*args, **options)
                raise KeyboardInterrupt

        for timeout in (None, WAIT):
            self.backend.echo(0)
            self.daemon.all_peers[-1].hang_up()
            self.assertTrue(self.link.wait_lost())
            lock = connection._lock
            with unittest.mock.patch.object(connection, "_lock", Lock(lock)), self.assertRaises(KeyboardInterrupt):
                self.backend.call("echo", [1], timeout=timeout)
            told: list[Any] = []
            self.thread(lambda told=told: told.append(self.backend.echo(2))).join(WAIT)
            self.assertEqual(told, [[2]])

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


@unittest.skipUnless(
    sys.version_info[:2] == (3, 11), "each CPython looks for signals at places of its own; one will do"
)
class EveryPlace(unittest.TestCase):
    """The main thread is interrupted at the first place, in the next round at the second, and so on to the last."""

    def setUp(self) -> None:
        warned = warnings.catch_warnings()
        warned.__enter__()
        self.addCleanup(warned.__exit__, None, None, None)
        # Of a socket that was not yet anybody's when the interrupt came.
        warnings.simplefilter("ignore", ResourceWarning)

    def each(self, ask: Callable[[baskd.Client, baskd.CallHandle], object], leads: bool, least: int) -> None:
        """The main thread asks, while two others wait on the same connection; then the daemon hangs up."""
        for number in range(1, 1000):
            with FakeDaemon() as daemon, baskd.connect(socket=daemon.path) as backend:
                interrupt = Interrupt(number)
                self.round(daemon, backend, interrupt, ask, leads)
                if not interrupt.has_come:
                    self.assertGreater(number, least)
                    return

    def round(
        self,
        daemon: FakeDaemon,
        backend: baskd.Client,
        interrupt: Interrupt,
        ask: Callable[[baskd.Client, baskd.CallHandle], object],
        leads: bool,
    ) -> None:
        mine, *handles = [backend.submit("hang", idempotent=False) for _ in range(3)]
        for _ in range(3):
            daemon.expect("hang")
        told: list[Any] = []

        def wait(handle: baskd.CallHandle) -> None:
            try:
                told.append(handle.result())
            except BaseException as error:
                told.append(type(error))

        others = [threading.Thread(target=wait, args=[handle], daemon=True) for handle in handles]
        link: Any = backend._connection.link

        def lose() -> None:
            if leads:
                eventually(lambda: link._leader is not None or interrupt.has_come)
                for other in others:
                    other.start()
            eventually(lambda: len(link._followers) == 2 or interrupt.has_come)
            daemon.all_peers[0].hang_up()

        losing = threading.Thread(target=lose, daemon=True)
        if not leads:
            for other in others:
                other.start()
            eventually(lambda: len(link._followers) == 1)
        losing.start()
        with contextlib.suppress(baskd.Disconnected, KeyboardInterrupt), interrupt:
            ask(backend, mine)
        for thread in (losing, *others):
            thread.join(WAIT)
        self.assertEqual(told, [baskd.Disconnected] * 2, interrupt.where)
        answers: list[Any] = []
        after = threading.Thread(target=lambda: answers.append(backend.echo(1)), daemon=True)
        after.start()
        after.join(WAIT)
        self.assertEqual(answers, [[1]], interrupt.where)

    def test_of_a_leader(self) -> None:
        self.each(lambda backend, mine: mine.result(), True, 30)

    def test_of_a_follower(self) -> None:
        self.each(lambda backend, mine: mine.result(), False, 20)

    def test_of_a_call_with_a_timeout_on_a_new_connection(self) -> None:
        def ask(backend: baskd.Client, mine: baskd.CallHandle) -> None:
            with contextlib.suppress(baskd.Disconnected):
                mine.result()
            backend.call("echo", [0], timeout=WAIT)

        self.each(ask, True, 100)


class Interrupt:
    """A KeyboardInterrupt at the n-th place where CPython looks for signals in this package's own code: after a call,
    at a function's beginning, at the end of a loop's turn."""

    _PACKAGE = os.path.dirname(baskd.__file__)
    _AFTER = frozenset(dis.opmap.get(name) for name in ("CALL", "CALL_FUNCTION_EX"))
    _AT = frozenset(dis.opmap.get(name) for name in ("RESUME", "JUMP_BACKWARD"))

    def __init__(self, number: int) -> None:
        self._left = number
        self._last: dict[Any, int] = {}  # the offset in each frame's code of what it has done last
        self.has_come = False
        self.where = "nowhere"

    def __enter__(self) -> None:
        sys.settrace(self._call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        self._last.clear()

    def _call(self, frame: Any, event: str, argument: Any) -> Any:
        if os.path.dirname(frame.f_code.co_filename) != self._PACKAGE:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._step

    def _step(self, frame: Any, event: str, argument: Any) -> Any:
        if event != "opcode" or self.has_come:
            return self._step
        code, here = frame.f_code, frame.f_lasti
        before, self._last[frame] = self._last.get(frame), here
        # What a call raises is handled where the call stands, not where it goes on.
        has_called = before is not None and code.co_code[before] in self._AFTER
        if code.co_code[here] in self._AT or (has_called and _handler(code, before) == _handler(code, here)):
            self._left -= 1
            if self._left == 0:
                self.has_come = True
                self.where = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}"
                raise KeyboardInterrupt
        return self._step


@cache
def _handler(code: types.CodeType, offset: int) -> int | None:
    """Where that code goes on after an exception at this place."""
    entries: Any = dis.Bytecode(code).exception_entries  # type: ignore[attr-defined]
    return next((entry.target for entry in entries if entry.start <= offset < entry.end), None)


if __name__ == "__main__":
    unittest.main()
