"""What is kept costs memory in proportion, and what nobody reads costs none: measured from /proc, daemon and Python."""

from __future__ import annotations

import resource
import time
from typing import Any, ClassVar

from support.case import DaemonTest
from support.connection import Connection, request
from support.daemon import CONTROLLERS
from support.memory import Peak, resident
from support.others import Others

KIB = 1 << 10
MIB = 1 << 20


class Unread(DaemonTest):
    """An unread stream pauses where it yields: at constant memory, while every other call is served."""

    controller = "unread.py"
    # What a call may send ahead of its reader, what sockets and pipes hold, and what allocators keep beside it.
    DAEMON, PYTHON = 3 * MIB, 3 * MIB
    methods: ClassVar[tuple[str, ...]] = ("items", "items_beside")

    def test_a_stream_pauses_at_its_yield(self) -> None:
        for method in self.methods:
            with self.subTest(method), self.connect() as connection:
                others = self.connect()
                before = others.call("how_many")
                peaks = [(Peak(self.daemon.pid), self.DAEMON), (Peak(self.daemon.python_pid()), self.PYTHON)]
                stream = connection.call("stream.call", {"method": method})
                connection.event(stream)
                made = self.settled(others)
                # Far more calls than it would have needed to go on.
                self.assertEqual([others.call("add", [n, 0]) for n in range(500)], list(range(500)))
                self.assertEqual(others.call("how_many"), made, "it went on, though nobody read")
                self.assertLess((made - before) * KIB, 2 * MIB)
                for peak, most in peaks:
                    self.assertLess(peak.risen(), most)
                # Read on, it goes on where it was.
                for _ in range(2 * (made - before)):
                    self.assertIn("item", connection.event(stream)["result"])
                self.assertGreater(others.call("how_many"), made)

    def settled(self, connection: Connection) -> int:
        """How many items there are when no more are made from one call to the next, ten times."""
        made, same = connection.call("how_many"), 0
        while same < 10:
            now = connection.call("how_many")
            made, same = now, same + 1 if now == made else 0
        return int(made)

    def test_many_streams_pause_as_one_does(self) -> None:
        count = 100
        others = self.connect()
        peaks = [(Peak(self.daemon.pid), 100 * KIB), (Peak(self.daemon.python_pid()), 200 * KIB)]
        with self.connect() as connection:
            for number in range(count):
                connection.request("stream.call", {"method": "items"}, id=number)
            made = self.settled(others)
            self.assertEqual([others.call("add", [n, 0]) for n in range(100)], list(range(100)))
            self.assertEqual(others.call("how_many"), made)
            for peak, each in peaks:
                self.assertLess(peak.risen(), self.DAEMON + count * each)
        self.until(lambda: others.call("daemon.status")["in_flight"] == 0)

    def test_a_send_in_a_plain_method_waits_and_takes_no_memory(self) -> None:
        # The call that sends has the main thread until it is ended: `stall_timeout`, here long enough to look.
        daemon = self.start(self.controller, config='stall_timeout = "1s"\n')
        others, watcher = self.connect(daemon), self.connect(daemon)
        others.call("how_many")
        peaks = [(Peak(daemon.pid), self.DAEMON), (Peak(daemon.python_pid()), self.PYTHON)]
        connection = self.connect(daemon)
        stream = connection.call("stream.call", {"method": "sends"})
        connection.event(stream)
        waits = others.request("how_many")
        # The daemon's own methods need no Python.
        self.until(lambda: watcher.call("daemon.status")["in_flight"] == 0)
        made = others.result(waits)
        self.assertLess(made * KIB, 2 * MIB)
        for peak, most in peaks:
            self.assertLess(peak.risen(), most)
        while "item" in (event := connection.event(stream)["result"]):
            pass
        self.assertError(event["error"], -32024, by="slow reader")


class UnreadInAnAsyncController(Unread):
    """The same, where the router runs an asyncio loop; and of async generators."""

    controller = f"{CONTROLLERS / 'unread.py'}:Async"
    methods = ("items", "items_beside", "aitems")


class InProportion(DaemonTest):
    controller = "turns.py"
    own_daemon = True

    def test_queued_calls(self) -> None:
        daemon = self.start("turns.py")
        holder, connection = self.connect(daemon), self.connect(daemon, seconds=60)
        python = daemon.python_pid()
        per_call, python_before = [], resident(python)
        for round, count in enumerate((2_000, 10_000)):
            gate = daemon.places.root / f"gate {round}"
            held = holder.request("hold", ["held", str(gate)])
            before = resident(daemon.pid)
            connection.send(*[request(number, "mark", [number]) for number in range(count)])
            status = connection.call("daemon.status")
            self.assertEqual(status["queued"] + status["in_flight"], count + 1)
            per_call.append((resident(daemon.pid) - before) / count)
            # Python has but those that were sent ahead.
            self.assertLess(resident(python) - python_before, 2 * MIB)
            gate.touch()
            for number in range(count):
                self.assertIsNone(connection.result(number))
            holder.result(held)
        self.assertLess(max(per_call), KIB, f"bytes a queued call: {per_call}")

    def test_time_per_call_stays_flat(self) -> None:
        daemon = self.start("turns.py")
        holder, connection = self.connect(daemon), self.connect(daemon, seconds=60)
        holder.call("order")
        each: dict[int, float] = {}
        for round, count in enumerate((1_000, 10_000, 1_000, 10_000)):
            gate = daemon.places.root / f"flat {round}"
            held = holder.request("hold", ["held", str(gate)])
            connection.send(*[request(number, "pid") for number in range(count)])
            connection.call("daemon.status")
            gate.touch()
            holder.result(held)
            began = time.monotonic()
            for number in range(count):
                connection.result(number)
            took = (time.monotonic() - began) / count
            each[count] = min(took, each.get(count, took))
        # Were it not flat, it would be ten times as long. The machine may be busy.
        self.assertLess(each[10_000], 4 * each[1_000], each)

    def test_connections(self) -> None:
        count = 1_000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertGreaterEqual(hard, count + 100, "this test needs more descriptors than may be open here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        daemon = self.start("turns.py")
        python = daemon.python_pid()
        before = resident(daemon.pid), resident(python)
        connections: list[Any] = [self.connect(daemon) for _ in range(count)]
        with Others(daemon, method="pid"):
            # Each has called, and has been answered, and all are there at the same time.
            ids = [connection.request("pid") for connection in connections]
            for connection, id in zip(connections, ids):
                self.assertEqual(connection.result(id), python)
        self.until(lambda: connections[0].call("daemon.status")["connections"] == count)
        each = (resident(daemon.pid) - before[0]) / count
        self.assertLess(each, 16 * KIB, "bytes a connection")
        self.assertLess(resident(python) - before[1], 2 * MIB)
        for connection in connections[1:]:
            connection.close()
        self.until(lambda: connections[0].call("daemon.status")["connections"] == 1)
        self.assertEqual(connections[0].call("pid"), python)
