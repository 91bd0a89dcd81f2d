"""LSP's framing: headers in every spelling, sizes, ends, and all that works on the plain framing."""

from __future__ import annotations

import json
import time
from typing import Any, Callable

from support.case import DaemonTest
from support.connection import request
from support.floods import flood
from support.framings import ContentLengthConnection
from support.processes import resident_bytes

MAX_REQUEST = 32 << 20
GIBIBYTE = 1 << 30


class Lsp(DaemonTest):
    controller = "lab.py"

    def open(self, seconds: float = 30.0) -> ContentLengthConnection:
        connection = ContentLengthConnection(self.daemon.path, seconds)
        self.addCleanup(connection.close)
        return connection

    def wait_until(self, holds: Callable[[], Any], seconds: float = 10.0) -> None:
        """For what only the daemon can be asked for."""
        deadline = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it did not come to that")


class Headers(Lsp):
    def test_they_are_read_in_every_spelling(self) -> None:
        connection = self.open()
        text = json.dumps(request(1, "echo", ["é"])).encode()
        for header in (
            "Content-Length: {}\r\n\r\n",
            "content-length:{}\r\n\r\n",
            "CONTENT-LENGTH:   {} \n\n",
            "Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            "Content-Length: {}\r\nContent-Type: text/plain\r\n\r\n",
            "\r\n\r\nContent-Length: {}\r\nX-Other: 1\r\n\r\n",
        ):
            connection.write(header.format(len(text)).encode() + text)
            self.assertEqual(connection.result(1), ["é"], header)

    def test_the_first_may_be_any_of_them(self) -> None:
        text = json.dumps(request(1, "add", [1])).encode()
        for header in ("content-type: x\nContent-Length: {}\n\n", "  \n cONTENT-lENGTH: {}\r\n\r\n"):
            connection = self.open()
            connection.write(header.format(len(text)).encode() + text)
            self.assertEqual(connection.result(1), 2)

    def test_one_that_can_not_be_read_is_a_parse_error_and_the_end(self) -> None:
        for header in (
            b"Content-Length: five\r\n\r\n",
            b"Content-Length: -1\r\n\r\n",
            b"Content-Length: 99999999999999999999\r\n\r\n",
            b"Content-Type: x\r\n\r\n",
            b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n",
            b"Content-Length: 2\r\nnonsense\r\n\r\n",
            b"Content-Length: " + b"9" * 5000,
            b"Content-\xff\xff\n",
        ):
            connection = self.open()
            connection.write(header)
            answer = connection.read()
            self.assertIsNone(answer["id"])
            self.assertError(answer["error"], -32700)
            with self.assertRaises((EOFError, ConnectionResetError)):
                connection.read_line()

    def test_one_that_is_wrong_later_ends_the_connection_once_all_is_answered(self) -> None:
        connection = self.open()
        connection.write(connection.enclose(json.dumps(request(1, "sleep", [0.2]))) + b'{"jsonrpc":"2.0"}\r\n\r\n')
        self.assertError(connection.read()["error"], -32700)
        self.assertEqual(connection.result(1), "slept")
        with self.assertRaises((EOFError, ConnectionResetError)):
            connection.read_line()


class Messages(Lsp):
    def test_what_is_wrong_with_one_says_nothing_of_the_next(self) -> None:
        connection = self.open()
        for wrong, code in (
            ("", -32700),
            ("hello", -32700),
            ("{", -32700),
            ('{"jsonrpc":"2.0"}{"jsonrpc":"2.0"}', -32700),
            ('{"jsonrpc":"2.0","id":1,"method":"pid"} x', -32700),
            (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["\xff"]}', -32700),
            ('{"jsonrpc":"2.0","id":1,"method":"pid"', -32700),
            ("[" * 100_000, -32600),
            ("{}", -32600),
            ("[]", -32600),
        ):
            connection.write(connection.enclose(wrong))
            answer = connection.read()
            self.assertIsNone(answer["id"], wrong[:50])
            self.assertError(answer["error"], code)
        connection.write(connection.enclose(f"\n\t {json.dumps(request(9, 'add', [1]))} \r\n"))
        self.assertEqual(connection.result(9), 2)

    def test_batches_and_notifications(self) -> None:
        connection = self.open()
        before = connection.call("count")
        connection.notify("count")
        connection.send([request(1, "count"), {"jsonrpc": "2.0", "method": "count"}, request("a", "nope")])
        first, second = connection.read()
        self.assertEqual((first["id"], first["result"]), (1, before + 2))
        self.assertError(second["error"], -32601)
        self.assertEqual(connection.call("count"), before + 4)

    def test_byte_by_byte(self) -> None:
        connection = self.open()
        for byte in connection.enclose(json.dumps(request(1, "echo", ["\r\n\r\nContent-Length: 5"]))):
            connection.write(bytes([byte]))
        self.assertEqual(connection.result(1), ["\r\n\r\nContent-Length: 5"])

    def test_many_in_one_write_are_answered_each(self) -> None:
        connection = self.open()
        connection.send(*(request(number, "add", [number]) for number in range(1000)))
        answers = {answer["id"]: answer["result"] for answer in connection.rest()}
        self.assertEqual(answers, {number: number + 1 for number in range(1000)})

    def test_a_large_one_comes_back_as_it_was(self) -> None:
        connection = self.open(seconds=60)
        text = "é" * (4 << 20)
        self.assertTrue(connection.call("echo", [text]) == [text])


class Subscriptions(Lsp):
    def test_every_event_is_a_message(self) -> None:
        connection = self.open()
        subscription = connection.call("stream.call", {"method": "items", "params": [3]})
        results = [connection.event(subscription).get("result") for _ in range(5)]
        self.assertEqual(results, [{"item": 0}, {"item": 1}, {"item": 2}, {"end": 3}, None])

    def test_messages_are_told_apart_from_answers(self) -> None:
        connection = self.open()
        subscription = connection.call("messages.subscribe", ["own"])
        self.assertEqual(connection.call("sent", [2]), 2)
        self.assertEqual([connection.event(subscription)["result"]["data"] for _ in range(2)], [0, 1])

    def test_cancel_in_each_way(self) -> None:
        connection = self.open()
        subscription = connection.call("messages.subscribe", ["own"])
        for method in ("rpc.cancel", "$/cancelRequest"):
            id = connection.request("sleep", [60])
            connection.event(subscription)
            if method == "rpc.cancel":
                self.assertIs(connection.call(method, [id]), True)
            else:
                connection.notify(method, {"id": id})
            self.assertError(connection.answer(id)["error"], -32024, by="client")


class Ends(Lsp):
    def test_a_half_closed_connection_gets_its_stream_to_the_end(self) -> None:
        connection = self.open()
        connection.request("stream.call", {"method": "items", "params": [1000]})
        self.assertEqual(len(connection.rest()), 1003)

    def test_an_unfinished_message_is_a_parse_error_at_the_end(self) -> None:
        for text in (b"Cont", b"Content-Length: 5", b"Content-Length: 5\r\n\r\n{", b"Content-Length: 5\r\n\r\n"):
            connection = self.open()
            connection.write(text)
            connection.half_close()
            # What was never told to be this framing is answered as on the plain one.
            answer = json.loads(self.last(connection, text))
            self.assertError(answer["error"], -32700)

    def last(self, connection: ContentLengthConnection, text: bytes) -> bytes:
        if text.startswith(b"Content-"):
            return connection.read_line()
        line = b""
        while not line.endswith(b"\n"):
            line += connection.receive(1)
        return line

    def test_the_calls_of_one_that_vanishes_are_cancelled(self) -> None:
        connection, other = self.open(), self.open()
        connection.call("messages.subscribe", ["own"])
        connection.request("sleep", [60, "vanished"])
        connection.read()
        connection.close()
        self.assertIn(["vanished", "cancelled"], other.call("howEnded"))


class Sizes(Lsp):
    def test_a_gibibyte_is_refused_before_it_comes(self) -> None:
        before = resident_bytes(self.daemon.pid)
        connections = [self.open() for _ in range(50)]
        for connection in connections:
            connection.write(b"Content-Length: %d\r\n\r\n" % GIBIBYTE)
            answer = connection.read()
            self.assertIsNone(answer["id"])
            self.assertError(answer["error"], -32007, limit=MAX_REQUEST)
        self.assertLess(resident_bytes(self.daemon.pid) - before, 20 << 20)

    def test_what_was_refused_is_skipped_and_not_kept(self) -> None:
        connection = self.open(seconds=60)
        size = MAX_REQUEST + (100 << 20)
        connection.write(b"Content-Length: %d\r\n\r\n" % size)
        self.assertError(connection.read()["error"], -32007)
        connection.write(b"x" * (1 << 20))
        before = resident_bytes(self.daemon.pid)
        chunk = b"x" * (1 << 20)
        for _ in range((size >> 20) - 1):
            connection.write(chunk)
        self.assertLess(resident_bytes(self.daemon.pid) - before, 20 << 20)
        self.assertEqual(connection.call("add", [1]), 2)

    def test_one_just_small_enough_is_served(self) -> None:
        connection = self.open(seconds=60)
        empty = json.dumps(request(1, "echo", {"text": ""}))
        text = "x" * (MAX_REQUEST - len(empty))
        connection.send(request(1, "echo", {"text": text}))
        self.assertTrue(connection.result(1)["text"] == text)

    def test_one_that_never_comes_is_no_more_than_was_sent(self) -> None:
        before = resident_bytes(self.daemon.pid)
        for _ in range(50):
            self.open().write(b"Content-Length: %d\r\n\r\n[" % MAX_REQUEST)
        self.assertEqual(self.open().call("add", [1]), 2)
        self.assertLess(resident_bytes(self.daemon.pid) - before, 20 << 20)


class SlowReaders(Lsp):
    def test_a_stream_that_is_not_read_pauses_and_others_are_served(self) -> None:
        slow, other = self.open(), self.open(seconds=60)
        slow.call("stream.call", {"method": "endless"})
        for _ in range(200):
            self.assertEqual(other.call("add", [1]), 2)
        self.assertLess(resident_bytes(self.daemon.pid), 200 << 20)
        slow.close()
        self.wait_until(lambda: ["endless", "cancelled"] in other.call("howEnded"))

    def test_who_never_reads_is_not_read_from(self) -> None:
        slow, other = self.open(), self.open()
        flood(self, slow, slow.enclose(json.dumps(request(1, "echo", ["x" * 10_000]))), other)
