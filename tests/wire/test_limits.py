"""Every limit of PROTOCOL.md, set low: meeting it is an answer that names it, and whoever met it is served on."""

from __future__ import annotations

import fcntl
import struct
from typing import Any

from support.case import DaemonTest
from support.connection import Connection, request

TOO_MANY_SUBSCRIPTIONS = -32006
OVERLOADED = -32025


class Limited(DaemonTest):
    controller = "lab.py"

    def assertServed(self, connection: Connection) -> None:
        """That the connection that met a limit is as good as before."""
        self.assertEqual(connection.call("add", [1]), 2)

    def hold(self, connection: Connection, name: str) -> tuple[Any, Any]:
        """Keeps Python busy until the file that is given is made; and the id of the call."""
        gate = self.daemon.places.root / name
        subscription = connection.call("messages.subscribe", ["own"])
        id = connection.request("waitFor", [str(gate)])
        self.assertEqual(connection.event(subscription)["result"]["data"], "begun")
        connection.call("messages.unsubscribe", [subscription])
        return gate, id


class Messages(Limited):
    config = """
        max_request = "64KiB"
        max_response = "128KiB"
        max_id = 16
        max_nesting = 16
        max_batch = 4
        max_batch_response = "100KiB"
    """

    def test_a_request(self) -> None:
        connection = self.connect()
        self.assertError(connection.error("echo", ["x" * (64 << 10)]), -32007, limit=64 << 10)
        self.assertServed(connection)

    def test_a_batch_is_a_request(self) -> None:
        connection = self.connect()
        connection.send([request(number, "echo", ["x" * (32 << 10)]) for number in range(3)])
        answer = connection.read()
        self.assertIsNone(answer["id"])
        self.assertError(answer["error"], -32007, limit=64 << 10)
        self.assertServed(connection)

    def test_a_result(self) -> None:
        connection = self.connect()
        pid = connection.call("pid")
        self.assertEqual(len(connection.call("big", [100 << 10])), 100 << 10)
        for size in ((128 << 10) + 1, 1 << 20):
            self.assertError(connection.error("big", [size]), -32008, limit=128 << 10)
        self.assertEqual(connection.call("pid"), pid)

    def test_an_item_and_a_streams_end(self) -> None:
        connection = self.connect()
        for size in ((128 << 10) + 1, 200 << 10, 1 << 20):  # In one read or several of the daemon's.
            for method, params in (
                ("items", {"n": 3, "size": size}),
                ("sent", {"n": 3, "size": size}),
                ("big", [size]),
            ):
                stream = connection.call("stream.call", {"method": method, "params": params})
                self.assertError(connection.event(stream)["result"]["error"], -32008, limit=128 << 10)
                self.assertIn("error", connection.event(stream))
        self.assertServed(connection)
        stream = connection.call("stream.call", {"method": "big", "params": [100 << 10]})
        self.assertEqual(len(connection.event(stream)["result"]["end"]), 100 << 10)

    def test_an_id(self) -> None:
        connection = self.connect()
        self.assertEqual(connection.result(connection.request("add", [1], id="x" * 14)), 2)
        for id in ("x" * 15, 10**16):
            connection.request("add", [1], id=id)
            answer = connection.read()
            self.assertIsNone(answer["id"])
            self.assertError(answer["error"], -32600)
        self.assertServed(connection)

    def test_nesting(self) -> None:
        connection = self.connect()
        for depth, is_well in ((16, True), (17, False)):
            brackets = "[" * (depth - 1) + "]" * (depth - 1)
            connection.write('{"jsonrpc":"2.0","id":1,"method":"echo","params":' + brackets + "}\n")
            self.assertEqual("result" in connection.read(), is_well, depth)
        self.assertServed(connection)

    def test_a_batch(self) -> None:
        connection = self.connect()
        connection.send([request(number, "add", [number, 0]) for number in range(5)])
        self.assertError(connection.read()["error"], -32010, limit=4)
        connection.send([request(number, "add", [number, 0]) for number in range(4)])
        self.assertEqual([answer["result"] for answer in connection.read()], list(range(4)))

    def test_the_answers_to_a_batch(self) -> None:
        connection = self.connect()
        connection.send([request(number, "big", [40 << 10]) for number in range(3)])
        answer = connection.read()
        self.assertIsNone(answer["id"])
        self.assertError(answer["error"], -32011, limit=100 << 10)
        self.assertServed(connection)


class Calls(Limited):
    config = """
        max_queue = 40
        max_in_flight = 30
    """

    def test_those_of_one_connection_and_those_of_all(self) -> None:
        holder, first, second, third = (self.connect() for _ in range(4))
        gate, held = self.hold(holder, "calls")
        taken = [first.request("add", [number, 0]) for number in range(30)]
        self.assertError(first.error("add", [0]), OVERLOADED, limit=30)
        self.assertError(first.error("rpc.call", {"method": "add", "params": [0]}), OVERLOADED, limit=30)
        self.assertError(first.error("stream.call", {"method": "items", "params": [1]}), OVERLOADED, limit=30)
        # Those of a batch are counted one by one, and a notification is, too, though nobody is told.
        first.send([request("in a batch", "add", [1])])
        self.assertError(first.read()[0]["error"], OVERLOADED, limit=30)
        first.notify("count")
        self.assertEqual(self.in_table(first), 31)
        # Nine more, and the table is full; but each connection may have sixteen however full it is.
        more = [second.request("add", [number, 0]) for number in range(16)]
        self.assertError(second.error("add", [0]), OVERLOADED, limit=40)
        few = [third.request("add", [number, 0]) for number in range(16)]
        self.assertError(third.error("add", [0]), OVERLOADED, limit=40)
        self.assertEqual(self.in_table(first), 31 + 16 + 16)
        # One that is answered leaves room in its connection; in the table it does when Python is done with it, too.
        self.assertIs(first.call("rpc.cancel", [taken.pop()]), True)
        self.assertError(first.error("add", [0]), OVERLOADED, limit=40)
        gate.touch()
        self.assertEqual(holder.result(held), "found")
        for connection, ids in ((first, taken), (second, more), (third, few)):
            self.assertEqual([connection.result(id) for id in ids], list(range(len(ids))))
        self.assertEqual(third.call("count"), 1, "a call that was refused has run")

    def in_table(self, connection: Connection) -> int:
        status = connection.call("daemon.status")
        return int(status["queued"] + status["in_flight"])

    def test_streams_leave_room_when_they_end(self) -> None:
        connection = self.connect()
        for _ in range(3):
            streams = [connection.call("stream.call", {"method": "endless", "window": 1}) for _ in range(30)]
            self.assertError(connection.error("add", [1]), OVERLOADED, limit=30)
            for stream in streams:
                self.assertIs(connection.call("stream.cancel", [stream]), True)
            self.assertServed(connection)

    def test_a_connection_that_is_gone_leaves_room(self) -> None:
        connection = self.connect()
        for _ in range(3):
            with self.connect() as gone:
                for _ in range(30):
                    gone.call("stream.call", {"method": "endless", "window": 1})
            self.until(lambda: connection.call("daemon.status")["in_flight"] == 0)
            # Python ends what was cancelled before it answers this: until then it counts.
            self.assertServed(connection)


class Pending(Limited):
    """Bytes of params, of half messages, of half-answered batches, of all connections together."""

    config = """
        max_request = "1MiB"
        max_pending = "1MiB"
        max_unread = "2MiB"
    """

    def test_params_of_calls_that_wait(self) -> None:
        holder, connection, other = (self.connect() for _ in range(3))
        gate, held = self.hold(holder, "params")
        large = {"text": "x" * (600 << 10)}
        first = connection.request("echo", large)
        self.assertError(other.error("echo", large), OVERLOADED, limit=1 << 20)
        small = other.request("add", [1])
        gate.touch()
        self.assertEqual(holder.result(held), "found")
        self.assertEqual(other.result(small), 2)
        self.assertEqual(connection.result(first), large)
        # What was taken is given back.
        self.assertEqual(other.call("echo", large), large)

    def test_answers_that_nobody_reads(self) -> None:
        never, other = self.connect(), self.connect()
        for _ in range(20):  # So that little is expected of this method.
            never.call("big", [1])
        ids = [never.request("big", [512 << 10]) for _ in range(64)]
        # It is not run for any more, or refused what it does not take.
        self.until(lambda: self.daemon.status()["in_flight"] == 0)
        self.assertError(other.error("big", [1500 << 10]), OVERLOADED, limit=2 << 20)
        self.assertEqual(len(other.call("big", [60 << 10])), 60 << 10)
        for id in ids:
            answer = never.answer(id)
            if "error" in answer:
                self.assertError(answer["error"], OVERLOADED, limit=2 << 20)
            else:
                self.assertEqual(len(answer["result"]), 512 << 10)
        # It has read them: there is room again.
        self.assertEqual(len(other.call("big", [1500 << 10])), 1500 << 10)

    def test_messages_that_came_in_half(self) -> None:
        connection, other = self.connect(), self.connect()
        half, rest = '{"jsonrpc":"2.0","id":"half","method":"echo","params":["' + "x" * (600 << 10), '"]}\n'
        for _ in range(3):
            connection.write(half)
            self.assertRead(connection)
            other.write(half)
            answer = other.read()
            self.assertEqual(answer["id"], "half")
            self.assertError(answer["error"], OVERLOADED, limit=1 << 20)
            connection.write(rest)
            self.assertEqual(connection.read()["result"], ["x" * (600 << 10)])
            # The rest of what was refused is skipped, and then there is room again.
            other.write(rest + half + rest)
            self.assertEqual(other.read()["result"], ["x" * (600 << 10)])

    def assertRead(self, connection: Connection) -> None:
        """That what was written has been read: as long as it is not, it is nobody's memory but the socket's."""
        self.until(lambda: _unread(connection) == 0)

    def test_those_who_die_in_the_middle_leave_nothing(self) -> None:
        half = '{"jsonrpc":"2.0","id":"half","method":"echo","params":["' + "x" * (600 << 10)
        for _ in range(10):
            with self.connect() as connection:
                connection.write(half)
                self.assertRead(connection)
        other = self.connect()
        self.until(lambda: other.call("daemon.status")["connections"] == 1)
        other.write(half + '"]}')
        self.assertIn("result", other.read())

    def running(self, connection: Connection) -> list[str]:
        return [call["method"] for call in connection.call("daemon.status")["workers"][0]["running"]]

    def test_batches_that_are_answered_in_part(self) -> None:
        holder, other = self.connect(), self.connect()
        big = request("big", "big", [600 << 10])
        # `big` is answered, and kept until the other entry has ended.
        holder.send([big, request("last", "asleep", [60])])
        self.until(lambda: self.running(other) == ["asleep"])
        other.send([big, request("last", "add", [1])])
        answer = other.read()
        self.assertIsNone(answer["id"])
        self.assertError(answer["error"], -32011)
        holder.notify("$/cancelRequest", ["last"])
        first, second = holder.read()
        self.assertEqual(len(first["result"]), 600 << 10)
        self.assertError(second["error"], -32024, by="client")
        other.send([big])
        self.assertEqual(len(other.read()[0]["result"]), 600 << 10)


class Kept(Limited):
    config = """
        max_subscriptions = 4
        max_own = 2
        max_lossy = 3
        max_properties = 3
        max_properties_bytes = 1024
        max_connections = 6
    """

    def test_subscriptions(self) -> None:
        connection = self.connect()
        own = [connection.call("messages.subscribe", ["own"]) for _ in range(2)]
        self.assertError(connection.error("messages.subscribe", ["own"]), TOO_MANY_SUBSCRIPTIONS, limit=2)
        connection.call("logs.subscribe")
        stream = connection.call("stream.call", {"method": "endless", "window": 1})
        for method, params in (
            ("stream.call", {"method": "endless"}),
            ("logs.subscribe", None),
            ("messages.subscribe", ["all"]),
        ):
            self.assertError(connection.error(method, params), TOO_MANY_SUBSCRIPTIONS, limit=4)
        self.assertIs(connection.call("messages.unsubscribe", [own[0]]), True)
        connection.call("messages.subscribe", ["all"])
        self.assertIs(connection.call("stream.cancel", [stream]), True)
        connection.call("messages.subscribe", ["all"])
        # They are each connection's own.
        self.connect().call("messages.subscribe", ["own"])

    def test_those_that_may_lose_events(self) -> None:
        connection = self.connect()
        for _ in range(3):
            connection.call("logs.subscribe")
        for method in ("logs.subscribe", "messages.subscribe"):
            params = ["all"] if method.startswith("messages") else None
            self.assertError(connection.error(method, params), TOO_MANY_SUBSCRIPTIONS, limit=3)

    def test_properties(self) -> None:
        connection = self.connect()
        self.assertError(connection.error("setProperty", ["large", "x" * 1100]), OVERLOADED, limit=1024)
        for number in range(3):
            connection.call("setProperty", [f"p{number}", number])
        self.assertError(connection.error("setProperty", ["p3", 3]), OVERLOADED, limit=3)
        self.assertEqual(connection.call("setProperty", ["p0", 5]), 5)
        self.assertEqual(connection.call("daemon.status")["properties"], ["p0", "p1", "p2"])

    def test_connections(self) -> None:
        connections = [self.connect() for _ in range(6)]
        for connection in connections:
            self.assertServed(connection)
        for _ in range(20):
            refused = self.connect()
            self.assertError(refused.error("add", [1]), -32009, limit=6)
            with self.assertRaises(EOFError):
                refused.read_line()
        self.assertServed(connections[0])
        connections.pop().close()
        self.until(lambda: connections[0].call("daemon.status")["connections"] == 5)
        self.assertServed(self.connect())


class Restarts(Limited):
    config = 'drain_timeout = "200ms"\n'

    def test_a_drain(self) -> None:
        connection, other = self.connect(), self.connect()
        connection.call("messages.subscribe", ["own"])
        id = connection.request("sleep", [60])
        connection.read()
        # More than are sent ahead: whatever has not begun is kept, in the old process or for the new one.
        waiting = [other.request("add", [number, 0]) for number in range(100)]
        self.assertIs(other.call("daemon.restart"), True)
        self.assertError(connection.answer(id)["error"], -32024, by="shutdown")
        self.assertEqual([other.result(id) for id in waiting], list(range(100)))


def _unread(connection: Connection) -> int:
    """How many bytes the other side has not read yet (SIOCOUTQ)."""
    (unread,) = struct.unpack("i", fcntl.ioctl(connection.socket, 0x5411, b"\0" * 4))
    return int(unread)
