"""Clients that do wrong, by intent or not: each is answered where it can be, takes little memory, and harms nobody.

In each test another client goes on calling all the time, and the memory of the daemon and of Python is bounded by what
the kernel saw at most.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.case import DaemonTest
from support.connection import Connection, request
from support.memory import Peak
from support.others import Others

MIB = 1 << 20
MAX_REQUEST = 4 * MIB


class BadInput(DaemonTest):
    controller = "unread.py"
    config = "max_request = '4MiB'\nmax_unread = '24MiB'\n"

    @contextmanager
    def harmless(self, daemon: int = 8 * MIB, python: int = 8 * MIB) -> Iterator[Others]:
        """That others are served meanwhile, and that no more memory than this is taken at any time."""
        peaks = [(Peak(self.daemon.pid), daemon), (Peak(self.daemon.python_pid()), python)]
        with Others(self.daemon) as others:
            yield others
        for who, (peak, most) in zip(("the daemon", "Python"), peaks):
            self.assertLess(peak.risen(), most, f"{who} has taken too much")
        # And it leaves nothing: but for this test's own, all connections go.
        with self.connect() as connection:
            self.assertEqual(connection.call("add", [1]), 2)

    def in_table(self) -> int:
        status = self.daemon.status()
        return int(status["queued"] + status["in_flight"])

    def write_all_it_takes(self, connection: Connection, data: bytes, others: Others, most: int) -> int:
        """Writes until the daemon does not read any more, though others are served; how many bytes that were."""
        connection.socket.setblocking(False)
        written, refused = 0, 0
        while refused < 3:
            try:
                written += connection.socket.send(data)
                refused = 0
            except BlockingIOError:
                refused += 1
                others.wait_for(10)
            self.assertLess(written, most, "the daemon reads on and on from a client that reads nothing")
        return written


class Floods(BadInput):
    def test_of_calls(self) -> None:
        flood = self.connect(seconds=60)
        count = 20_000
        # Not all of them at once, but always thousands: what is answered is read, as a client does.
        text = "".join(json.dumps(request(number, "add", [number, 0])) + "\n" for number in range(count))
        with self.harmless(daemon=32 * MIB) as others:
            writer = threading.Thread(target=flood.write, args=(text,))
            writer.start()
            for _ in range(count):
                answer = flood.read()
                if "error" in answer:
                    self.assertError(answer["error"], -32025, limit=16_384)
                else:
                    self.assertEqual(answer["result"], answer["id"])
            writer.join()
            self.assertGreater(others.count, 10)

    def test_of_calls_whose_answers_nobody_reads(self) -> None:
        flood = self.connect()
        text = json.dumps(request(1, "echo", ["x" * 1000])).encode() + b"\n"
        with self.harmless(daemon=24 * MIB) as others:
            self.write_all_it_takes(flood, text * 64, others, 24 * MIB)
            flood.close()
            others.wait_for(100)

    def test_of_nonsense_whose_answers_nobody_reads(self) -> None:
        flood = self.connect()
        with self.harmless() as others:
            self.write_all_it_takes(flood, b"{nonsense\n" * 1000, others, 4 * MIB)

    def test_of_connections_that_say_nothing(self) -> None:
        with self.harmless(daemon=16 * MIB) as others:
            for _ in range(3):
                silent = [self.connect() for _ in range(300)]
                others.wait_for(10)
                for connection in silent:
                    connection.close()

    def test_of_notifications(self) -> None:
        flood = self.connect()
        call = request(None, "add", [1])
        del call["id"]
        # More than the table holds; the others get their calls into it all the same.
        with self.harmless(daemon=32 * MIB) as others:
            for _ in range(20):
                flood.send(*[call] * 2000)
                others.wait_for(5)


class Unread(BadInput):
    def test_answers_read_slowly(self) -> None:
        slow = self.connect(seconds=60)
        with self.harmless(daemon=32 * MIB, python=32 * MIB) as others:
            for number in range(40):
                slow.request("big", [MIB], id=number)
            for number in range(40):
                others.wait_for(5)
                self.assertEqual(len(slow.result(number)), MIB)

    def test_answers_never_read(self) -> None:
        never = self.connect()
        with self.harmless(daemon=48 * MIB, python=16 * MIB) as others:
            for _ in range(20):  # So that no large results are expected of it.
                never.call("big", [1])
            never.send(*[request(number, "big", [MIB]) for number in range(400)])
            others.wait_for(200)
            self.assertGreater(self.in_table(), 300)
            never.close()
            self.until(lambda: self.in_table() <= 1)

    def test_a_batch_never_read(self) -> None:
        never = self.connect()
        with self.harmless(daemon=48 * MIB, python=16 * MIB) as others:
            # In one write: once it has much to read, it is not read from any more.
            never.send(
                *[[request(first + number, "big", [MIB // 8]) for number in range(8)] for first in range(0, 400, 8)]
            )
            others.wait_for(200)

    def test_messages_of_all(self) -> None:
        for count in (1, 16):
            never = self.connect()
            with self.harmless() as others:
                for _ in range(count):
                    never.call("messages.subscribe", ["all"])
                sending = self.connect(seconds=60)
                # In pieces: as long as one of them runs, the others wait for their turn.
                for _ in range(100):
                    self.assertEqual(sending.call("sends", [100]), 100)
                others.wait_for(100)

    def test_logs(self) -> None:
        never = self.connect()
        with self.harmless(daemon=32 * MIB) as others:
            for _ in range(16):
                never.call("logs.subscribe")
            talking = self.connect(seconds=60)
            for _ in range(100):
                self.assertEqual(talking.call("talks", [100]), 100)
            others.wait_for(100)


class Halves(BadInput):
    def test_a_client_that_dies_in_the_middle(self) -> None:
        with self.harmless() as others:
            for what in (
                '{"jsonrpc":"2.0","id":1,"method":"echo","params":["' + "x" * MIB,
                "[" + ",".join([json.dumps(request(1, "add", [1]))] * 100),
                '{"jsonrpc":"2.0","id":1,"method":"add","params":[' + "[" * 50,
                '{"jsonrpc":"2.0","id":"',
                "{nonsense",
            ):
                for _ in range(20):
                    with self.connect() as connection:
                        connection.write(what)
                others.wait_for(5)
            self.until(lambda: self.daemon.status()["connections"] == 2)

    def test_a_client_that_dies_in_the_middle_of_what_it_is_sent(self) -> None:
        with self.harmless(daemon=24 * MIB, python=16 * MIB) as others:
            for method, params in (("big", [4 * MIB]), ("echo", ["x" * MIB])):
                for _ in range(10):
                    with self.connect() as connection:
                        connection.request(method, params)
                        connection.socket.recv(1000)
                others.wait_for(5)
            for _ in range(10):
                with self.connect() as connection:
                    connection.event(connection.call("stream.call", {"method": "items"}))
            self.until(lambda: self.daemon.status()["connections"] == 2 and self.in_table() <= 1)

    def test_a_string_that_never_ends(self) -> None:
        connection = self.connect(seconds=60)
        chunk = b"x" * MIB
        with self.harmless(daemon=3 * MAX_REQUEST):
            connection.write('{"jsonrpc":"2.0","id":"endless","method":"echo","params":["')
            for number in range(128):
                connection.write(chunk)
                if number == MAX_REQUEST // MIB:
                    answer = connection.read()
                    self.assertEqual(answer["id"], "endless")
                    self.assertError(answer["error"], -32007, limit=MAX_REQUEST)
            # It does end, and then the client is one as any other.
            connection.write('"]}' + json.dumps(request(2, "add", [1])))
            self.assertEqual(connection.result(2), 2)

    def test_an_id_and_a_name_and_a_number_that_never_end(self) -> None:
        for start, byte in (('{"jsonrpc":"2.0","id":"', b"x"), ('{"', b"x"), ('{"id":', b"1"), ('{"a":"b"', b" ")):
            connection = self.connect(seconds=60)
            with self.harmless(daemon=3 * MAX_REQUEST):
                connection.write(start)
                for _ in range(16):
                    connection.write(byte * MIB)
                answer = connection.read()
                self.assertIsNone(answer["id"])
                self.assertError(answer["error"], -32007, limit=MAX_REQUEST)

    def test_brackets_that_are_never_closed(self) -> None:
        for bracket in ("[", '{"a":', '{"jsonrpc":"2.0","id":7,"method":"echo","params":[', "[[{}],"):
            connection = self.connect()
            with self.harmless():
                connection.write(bracket * 100_000)
                answer = connection.read()
                self.assertIn(answer["id"], (None, 7))
                self.assertError(answer["error"], -32600)
                # What follows is not looked at, up to the next line.
                for _ in range(8):
                    connection.write(b"[" * MIB)
                connection.write("\n" + json.dumps(request(2, "add", [1])))
                self.assertEqual(connection.result(2), 2)
                self.assertEqual(connection.kept, [])

    def test_a_message_in_one_byte_writes(self) -> None:
        connection = self.connect()
        message = json.dumps(request(1, "echo", {"text": "é\\u00e9\n" * 1000})).encode()
        with self.harmless() as others:
            for place in range(len(message)):
                connection.write(message[place : place + 1])
            self.assertEqual(connection.result(1), json.loads(message)["params"])
            self.assertGreater(others.count, 10)

    def test_many_messages_of_which_each_is_half(self) -> None:
        connections = [self.connect() for _ in range(50)]
        whole = json.dumps(request(1, "echo", ["x" * (64 << 10)]))
        middle = len(whole) // 2
        with self.harmless(daemon=16 * MIB, python=16 * MIB) as others:
            for connection in connections:
                connection.write(whole[:middle])
            others.wait_for(20)
            for connection in connections:
                connection.write(whole[middle:])
            for connection in connections:
                self.assertEqual(connection.result(1), ["x" * (64 << 10)])
