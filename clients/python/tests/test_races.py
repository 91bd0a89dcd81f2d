"""Two threads whose steps come in the worst order, which each of these tests forces."""

from __future__ import annotations

import threading
import unittest
import unittest.mock
from typing import Any

import baskd
from baskd._calls import Call
from baskd._sinks import Pending
from baskd._threads import ThreadLink
from tests.fake import WAIT, Peer
from tests.moments import eventually
from tests.test_client import ClientTest

STOPS = {"code": -32024, "message": "The daemon stops.", "data": {"by": "shutdown", "ran": "no"}}


class RaceTest(ClientTest):
    @property
    def link(self) -> ThreadLink:
        link: ThreadLink = self.backend._connection.link
        return link

    def outcomes(self, handle: baskd.CallHandle, told: list[Any]) -> Any:
        """What a thread does that waits for a call."""

        def wait() -> None:
            try:
                told.append(handle.result())
            except BaseException as error:
                told.append(type(error))

        return wait

    def lead(self) -> None:
        """Has a thread wait, and so read for all."""
        self.thread(self.outcomes(self.backend.submit("hang"), []))
        self.daemon.expect("hang")
        self.addCleanup(self.backend.close)
        eventually(lambda: self.link._leader is not None)


class Calls(RaceTest):
    def test_the_end_is_read_by_another_between_two_looks(self) -> None:
        """It is not answered; the leader reads the end, tells everyone and notes it; the connection is lost."""
        self.lead()
        link, me, ready = self.link, threading.current_thread(), Pending.ready

        def late(pending: Pending) -> bool:
            was = ready(pending)
            if threading.current_thread() is me and not was and link.lost is None and pending.about == "hang":
                self.daemon.expect("hang")
                self.daemon.all_peers[0].hang_up()
                eventually(lambda: link.lost is not None)
            return was

        with unittest.mock.patch.object(Pending, "ready", late), self.assertRaises(baskd.Disconnected):
            self.backend.call("hang", idempotent=False)

    def test_one_that_was_lost_twice_is_not_sent_a_third_time(self) -> None:
        """One thread has sent it again and not yet noted that; the other sees the second loss."""
        self.daemon.special["die"] = lambda peer, message: peer.hang_up()
        handle = self.backend.submit("die", idempotent=True)
        lock = handle._call._lock = CountingLock()
        told: list[Any] = []
        send = Call.send

        others: list[threading.Thread] = []

        def slow(call: Call) -> None:
            send(call)
            call.link.wait(call.pending)
            if not others:
                others.append(self.thread(self.outcomes(handle, told)))
                self.assertTrue(lock.waited_for.wait(WAIT))

        with unittest.mock.patch.object(Call, "send", slow):
            self.outcomes(handle, told)()
            others[0].join(WAIT)
        self.assertEqual([message["method"] for message in self.daemon.so_far()], ["die", "die"])
        self.assertEqual(told, [baskd.Disconnected] * 2)

    def test_why_it_was_sent_again_is_known_before_the_next_answer(self) -> None:
        """It may have run, though the next daemon says that it never began."""
        runs: list[Any] = []

        def stop(peer: Peer, message: Any) -> None:
            runs.append(message)
            if len(runs) == 1:
                peer.hang_up()
            else:
                peer.send({"id": message["id"], "error": STOPS})

        self.daemon.special["stop"] = stop
        handle = self.backend.submit("stop", idempotent=True)
        handle._call.request.refusals = 99  # no third daemon is asked
        told: list[Any] = []
        send = Call.send

        def slow(call: Call) -> None:
            send(call)
            call.link.wait(call.pending)
            self.thread(self.outcomes(handle, told)).join(WAIT)

        with unittest.mock.patch.object(Call, "send", slow):
            self.outcomes(handle, told)()
        self.assertEqual(told, [baskd.Disconnected] * 2)

    def test_one_that_was_cancelled_is_not_sent_again(self) -> None:
        """The connection is lost under the cancel."""
        self.daemon.special["silent"] = lambda peer, message: None
        self.daemon.special["rpc.cancel"] = lambda peer, message: peer.hang_up()
        handle = self.backend.submit("silent", idempotent=True)
        told: list[Any] = []
        waiting = self.thread(self.outcomes(handle, told))
        self.daemon.expect("silent")
        self.assertFalse(handle.cancel())
        waiting.join(WAIT)
        self.assertEqual(told, [baskd.Disconnected])
        self.assertNotIn("silent", [message["method"] for message in self.daemon.so_far()])

    def test_one_that_is_cancelled_as_it_is_sent_again(self) -> None:
        """Who cancels has seen the one that was lost; the next one is cancelled by who has sent it."""
        self.daemon.special["silent"] = lambda peer, message: peer.running.update({message["id"]: "silent"})
        handle = self.backend.submit("silent", idempotent=True)
        self.daemon.expect("silent")
        told: list[Any] = []
        send = Call.send

        def late(call: Call) -> None:
            self.assertFalse(handle.cancel())
            send(call)

        with unittest.mock.patch.object(Call, "send", late):
            self.daemon.all_peers[0].hang_up()
            self.outcomes(handle, told)()
        self.assertEqual(told, [baskd.CallCancelled])


class Streams(RaceTest):
    def refuse_one(self, stops: threading.Event) -> list[Any]:
        """Has the first stream that is asked for refused, once that is set. Gives what is asked for."""
        asked: list[Any] = []

        def stream(peer: Peer, message: Any) -> None:
            asked.append(message)
            if len(asked) > 1:
                self.daemon.do_stream_call(peer, message["id"], message["params"])
                return
            peer.answer(message["id"], 7)
            stops.wait(WAIT)
            peer.notify("stream.item", 7, {"error": STOPS})
            peer.hang_up()

        self.daemon.special["stream.call"] = stream
        return asked

    def test_one_that_is_dropped_while_the_lock_is_held(self) -> None:
        """The collector comes upon it in the very thread that takes the lead, and then waits without an end."""
        streams = [self.backend.stream("count", {"n": 1000}, window=4)]
        next(streams[0])
        self.backend.echo(0)  # all has come that its window allows
        handle = self.backend.submit("hang")
        self.daemon.expect("hang")
        link, ready = self.link, Pending.ready

        def dropped(pending: Pending) -> bool:
            if link._lock.locked():
                streams.clear()
            return ready(pending)

        with unittest.mock.patch.object(Pending, "ready", dropped):
            reader = self.thread(self.outcomes(handle, []))
            self.daemon.expect("stream.cancel")
        self.backend.release()
        reader.join(WAIT)

    def test_of_two_readers_one_asks_the_next_daemon(self) -> None:
        stops = threading.Event()
        asked = self.refuse_one(stops)
        items = self.backend.stream("count", {"n": 10})
        got: list[Any] = []
        readers = [self.thread(lambda: got.extend(items)) for _ in range(2)]
        eventually(lambda: len(self.link._followers) == 1)
        stops.set()
        for reader in readers:
            reader.join(WAIT)
        self.assertEqual((len(asked), sorted(got)), (2, list(range(10))))

    def test_of_two_readers_neither_asks_after_the_other_could_not(self) -> None:
        stops = threading.Event()
        self.refuse_one(stops)
        items = self.backend.stream("count", {"n": 10})
        lock = items._lock = CountingLock()
        told: list[Any] = []

        def read() -> None:
            try:
                told.append(list(items))
            except baskd.BaskdError as error:
                told.append(type(error))

        asked: list[Any] = []

        def fail(*_: Any) -> None:
            asked.append(threading.get_ident())
            self.assertTrue(lock.waited_for.wait(WAIT))  # by the other
            raise baskd.NotRunning("none is there")

        with unittest.mock.patch("baskd._calls.make_again", fail):
            readers = [self.thread(read) for _ in range(2)]
            eventually(lambda: len(self.link._followers) == 1)
            stops.set()
            for reader in readers:
                reader.join(WAIT)
        self.assertEqual((told, len(asked)), ([baskd.NotRunning] * 2, 1))


class Listeners(RaceTest):
    def test_two_callbacks_that_call(self) -> None:
        """Neither call waits for the other's callback."""
        both = threading.Barrier(2)
        got: list[Any] = []

        def callback(data: Any) -> None:
            both.wait(WAIT)
            got.append(self.backend.echo(data))

        listeners = [self.backend.on_message(callback) for _ in range(2)]
        talk = self.thread(self.backend.talk, "a")
        talk.join(WAIT)
        waited = talk.is_alive()
        for listener in listeners:  # Who still waits is let go, or this test would not end.
            with listener._progress:
                listener._ended = True
                listener._progress.notify_all()
        self.assertEqual((waited, got), (False, [["a"], ["a"]]))

    def test_a_callback_that_ends_its_thread(self) -> None:
        """Whoever waits for what it would have been handed, waits no more."""
        goes = threading.Event()

        def callback(data: Any) -> None:
            goes.wait(WAIT)
            raise SystemExit

        listener = self.backend.on_message(callback)
        waiters = listener._progress._waiters
        talk = self.thread(self.backend.talk, "a", "b")
        eventually(lambda: waiters)
        # It lives until the other has looked at what it said last.
        lives = unittest.mock.patch(
            "threading.excepthook", lambda why: eventually(lambda: waiters or not talk.is_alive())
        )
        with lives:
            goes.set()
            listener._thread.join(WAIT)
            talk.join(WAIT)
        self.assertFalse(talk.is_alive())

    def test_a_message_and_the_end_between_two_looks(self) -> None:
        got: list[Any] = []
        listener = self.backend.on_message(got.append)
        looked, goes = threading.Event(), threading.Event()

        class Items:
            """Those of the sink, of which the listener learns late."""

            def __init__(self, items: Any) -> None:
                self.items = items

            def __bool__(self) -> bool:
                was = bool(self.items)
                if threading.current_thread() is listener._thread and not was and not goes.is_set():
                    looked.set()
                    goes.wait(WAIT)
                return was

            def __len__(self) -> int:
                return len(self.items)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.items, name)

        sink = listener._sink
        sink.items = Items(sink.items)
        self.backend.talk("a")
        self.assertTrue(looked.wait(WAIT))
        talk = self.thread(self.backend.talk, "b")
        eventually(lambda: sink.pushed == 2)
        closing = self.thread(listener.close)
        eventually(lambda: sink.over)
        goes.set()
        for thread in (closing, talk):
            thread.join(WAIT)
        self.assertEqual((got, talk.is_alive()), (["a", "b"], False))


class CountingLock:
    """Says when somebody comes to it who finds it taken."""

    def __init__(self) -> None:
        self._lock: Any = threading.RLock()
        self.waited_for = threading.Event()

    def acquire(self, timeout: float = -1) -> bool:
        if not self._lock.acquire(blocking=False):
            self.waited_for.set()
            return bool(self._lock.acquire(timeout=timeout))
        return True

    def release(self) -> None:
        self._lock.release()

    def _is_owned(self) -> bool:
        return bool(self._lock._is_owned())

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


if __name__ == "__main__":
    unittest.main()
