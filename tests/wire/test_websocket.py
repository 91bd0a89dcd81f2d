"""WebSocket: the upgrade, frames in every shape, ends, limits, and all that works on the plain framing."""

from __future__ import annotations

import json
import struct
import time
from typing import Any, Callable

from support.case import DaemonTest
from support.connection import request
from support.floods import flood
from support.framings import BINARY, CLOSE, PING, PONG, TEXT, WebSocketConnection, frame
from support.processes import resident_bytes

MAX_REQUEST = 32 << 20


class WebSockets(DaemonTest):
    controller = "lab.py"

    def open(self, seconds: float = 30.0, upgrade: bool = True) -> WebSocketConnection:
        connection = WebSocketConnection(self.daemon.path, seconds, upgrade)
        self.addCleanup(connection.close)
        return connection

    def wait_until(self, holds: Callable[[], Any], seconds: float = 10.0) -> None:
        """For what only the daemon can be asked for."""
        deadline = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it did not come to that")


class Upgrades(WebSockets):
    def test_any_path_will_do(self) -> None:
        for path in ("/", "/rpc?x=1", "/metrics"):
            connection = self.open(upgrade=False)
            self.assertEqual(connection.upgrade(path)[0], 101)
            self.assertEqual(connection.call("add", [1]), 2)

    def test_one_that_is_none_is_refused_and_told_the_version(self) -> None:
        for wrong in (
            {"Sec_WebSocket_Version": "8"},
            {"Sec_WebSocket_Version": ""},
            {"Sec_WebSocket_Key": "short"},
            {"Sec_WebSocket_Key": ""},
            {"Connection": "close"},
        ):
            status, headers = self.open(upgrade=False).upgrade(**wrong)
            self.assertEqual((status, headers["sec-websocket-version"]), (400, "13"), wrong)

    def test_a_page_of_another_origin_is_refused(self) -> None:
        for origin, status in (
            ("https://evil.example", 403),
            ("null", 403),
            ("http://baskd", 101),
            ("https://BASKD", 101),
        ):
            self.assertEqual(self.open(upgrade=False).upgrade(Origin=origin)[0], status, origin)

    def test_messages_may_come_with_the_upgrade(self) -> None:
        connection = self.open(upgrade=False)
        early = frame(json.dumps(request("early", "add", [1])))
        plain, connection.write = connection.write, lambda data: plain(data.encode() + early)  # type: ignore
        connection.upgrade()
        connection.write = plain  # type: ignore[method-assign]
        self.assertEqual(connection.result("early"), 2)
        self.assertEqual(connection.call("add", [2]), 3)

    def test_after_a_request_of_http(self) -> None:
        connection = self.open(upgrade=False)
        connection.write("GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while b"by POST" not in answer:
            answer += connection.receive(1)
        connection.receive(len(", to any path.\n"))
        self.assertEqual(connection.upgrade()[0], 101)
        self.assertEqual(connection.call("add", [1]), 2)


class Messages(WebSockets):
    def test_text_and_binary_whole_and_in_pieces(self) -> None:
        connection = self.open()
        text = json.dumps(request(1, "echo", ["é" * 100])).encode()
        pieces = [text[place : place + 7] for place in range(0, len(text), 7)]
        for opcode in (TEXT, BINARY):
            connection.write(frame(text, opcode))
            self.assertEqual(connection.result(1), ["é" * 100])
            for place, piece in enumerate(pieces):
                is_last = place == len(pieces) - 1
                connection.write(frame(piece, opcode if place == 0 else 0, is_last))
                if not is_last:
                    connection.write(frame(str(place), PING))
            self.assertEqual(connection.result(1), ["é" * 100])
            self.assertEqual(connection.pongs, [str(place).encode() for place in range(len(pieces) - 1)])
            connection.pongs.clear()

    def test_byte_by_byte(self) -> None:
        connection = self.open()
        for byte in frame(json.dumps(request(1, "add", [1]))) + frame("ping", PING):
            connection.write(bytes([byte]))
        self.assertEqual(connection.result(1), 2)

    def test_many_in_one_write_are_answered_each(self) -> None:
        connection = self.open()
        connection.send(*(request(number, "add", [number]) for number in range(1000)))
        answers = {(answer := connection.read())["id"]: answer["result"] for _ in range(1000)}
        self.assertEqual(answers, {number: number + 1 for number in range(1000)})

    def test_answers_of_every_length(self) -> None:
        connection = self.open(seconds=60)
        for length in (0, 80, 125, 126, 200, 65_000, 70_000, 5 << 20):
            self.assertTrue(connection.call("echo", ["x" * length]) == ["x" * length], length)

    def test_what_is_wrong_with_one_says_nothing_of_the_next(self) -> None:
        connection = self.open()
        for wrong, code in (
            ("", -32700),
            ("hello", -32700),
            ("{", -32700),
            ('{"jsonrpc":"2.0"}\n{"jsonrpc":"2.0"}', -32700),
            ("[" * 100_000, -32600),
            ("[]", -32600),
        ):
            connection.write(frame(wrong))
            answer = connection.read()
            self.assertIsNone(answer["id"])
            self.assertError(answer["error"], code)
        connection.write(frame(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["\xff"]}', BINARY))
        self.assertError(connection.read()["error"], -32700)
        self.assertEqual(connection.call("add", [1]), 2)

    def test_batches_and_notifications(self) -> None:
        connection = self.open()
        before = connection.call("count")
        connection.notify("count")
        connection.send([request(1, "count"), {"jsonrpc": "2.0", "method": "count"}, request("a", "nope")])
        first, second = connection.read()
        self.assertEqual((first["id"], first["result"]), (1, before + 2))
        self.assertError(second["error"], -32601)


class Subscriptions(WebSockets):
    def test_every_event_is_a_message(self) -> None:
        connection = self.open()
        subscription = connection.call("stream.call", {"method": "items", "params": [3]})
        results = [connection.event(subscription).get("result") for _ in range(5)]
        self.assertEqual(results, [{"item": 0}, {"item": 1}, {"item": 2}, {"end": 3}, None])

    def test_a_call_is_cancelled(self) -> None:
        connection = self.open()
        subscription = connection.call("messages.subscribe", ["own"])
        id = connection.request("sleep", [60])
        connection.event(subscription)
        self.assertIs(connection.call("rpc.cancel", [id]), True)
        self.assertError(connection.answer(id)["error"], -32024, by="client")


class Ends(WebSockets):
    def test_a_close_is_answered_and_cancels(self) -> None:
        connection, other = self.open(), self.open()
        connection.call("messages.subscribe", ["own"])
        connection.request("sleep", [60, "closed"])
        connection.read()
        connection.write(frame(struct.pack(">H", 1000) + b"bye", CLOSE))
        self.assertEqual(connection.read_frame(), (CLOSE, struct.pack(">H", 1000) + b"bye"))
        self.assertIn(["closed", "cancelled"], other.call("howEnded"))
        with self.assertRaises(EOFError):
            connection.receive(1)

    def test_a_close_without_a_code(self) -> None:
        connection = self.open()
        connection.write(frame("", CLOSE))
        self.assertEqual(connection.read_frame(), (CLOSE, b""))

    def test_a_half_closed_connection_gets_its_answers_and_a_close(self) -> None:
        connection = self.open()
        connection.request("stream.call", {"method": "items", "params": [100]})
        connection.half_close()
        self.assertEqual(connection.close_code(), 1000)
        self.assertEqual(len(connection.kept), 103)

    def test_the_calls_of_one_that_vanishes_are_cancelled(self) -> None:
        connection, other = self.open(), self.open()
        connection.call("messages.subscribe", ["own"])
        connection.request("sleep", [60, "vanished"])
        connection.read()
        connection.close()
        self.assertIn(["vanished", "cancelled"], other.call("howEnded"))

    def test_frames_that_are_none_end_it(self) -> None:
        for wrong, code in (
            (frame("{}", is_masked=False), 1002),
            (frame("x", 3), 1002),
            (frame("x", 0), 1002),
            (frame("x" * 126, PING), 1002),
            (frame("x", PING, is_final=False), 1002),
            (frame("x", is_final=False) + frame("x"), 1002),
            (b"\xc1\x80\0\0\0\0", 1002),
            (frame(b"x", CLOSE), 1002),
            (frame(b"\xff\xfe"), 1007),
            (b"{}" * 100, 1002),
        ):
            connection = self.open()
            connection.write(wrong)
            self.assertEqual(connection.close_code(), code, wrong)

    def test_what_was_asked_before_is_answered_first(self) -> None:
        connection = self.open()
        id = connection.request("sleep", [0.2])
        connection.write(frame("x", 3))
        self.assertEqual(connection.close_code(), 1002)
        self.assertEqual(connection.result(id), "slept")

    def test_a_daemon_that_stops_says_so(self) -> None:
        daemon = self.start("lab.py")
        connection = WebSocketConnection(daemon.path)
        self.addCleanup(connection.close)
        connection.call("logs.subscribe")
        daemon.terminate()
        self.assertEqual(connection.close_code(), 1001)
        self.assertEqual(daemon.wait(), 0)


class Sizes(WebSockets):
    def test_one_too_large_is_answered_and_is_the_last(self) -> None:
        before = resident_bytes(self.daemon.pid)
        for _ in range(20):
            connection = self.open()
            id = connection.request("sleep", [0.01])
            connection.write(b"\x81\xff" + struct.pack(">Q", 1 << 30) + b"mask" + b"x" * 1000)
            self.assertEqual(connection.close_code(), 1009)
            refused, slept = sorted(connection.kept, key=lambda answer: "result" in answer)
            self.assertIsNone(refused["id"])
            self.assertError(refused["error"], -32007, limit=MAX_REQUEST)
            self.assertEqual(slept["id"], id)
        self.assertLess(resident_bytes(self.daemon.pid) - before, 20 << 20)

    def test_one_too_large_in_pieces(self) -> None:
        connection = self.open(seconds=60)
        piece = "x" * (4 << 20)
        connection.write(frame(piece, TEXT, False))
        for _ in range(8):
            connection.write(frame(piece, 0, False))
        self.assertEqual(connection.close_code(), 1009)
        self.assertError(connection.kept[0]["error"], -32007, limit=MAX_REQUEST)

    def test_one_just_small_enough_is_served(self) -> None:
        connection = self.open(seconds=60)
        empty = json.dumps(request(1, "echo", {"text": ""}))
        text = "x" * (MAX_REQUEST - len(empty))
        connection.send(request(1, "echo", {"text": text}))
        self.assertTrue(connection.result(1)["text"] == text)

    def test_one_that_never_comes_is_no_more_than_was_sent(self) -> None:
        before = resident_bytes(self.daemon.pid)
        for _ in range(50):
            self.open().write(b"\x81\xff" + struct.pack(">Q", MAX_REQUEST) + b"mask" + b"x")
        self.assertEqual(self.open().call("add", [1]), 2)
        self.assertLess(resident_bytes(self.daemon.pid) - before, 20 << 20)


class SlowReaders(WebSockets):
    def test_a_stream_that_is_not_read_pauses_and_others_are_served(self) -> None:
        slow, other = self.open(), self.open(seconds=60)
        slow.call("stream.call", {"method": "endless"})
        for _ in range(200):
            self.assertEqual(other.call("add", [1]), 2)
        slow.close()
        self.wait_until(lambda: ["endless", "cancelled"] in other.call("howEnded"))

    def test_who_never_reads_is_not_read_from(self) -> None:
        flood(self, self.open(), frame(json.dumps(request(1, "echo", ["x" * 10_000]))), self.open())

    def test_nor_who_pings_and_never_reads(self) -> None:
        flood(self, self.open(), frame("x" * 125, PING) * 100, self.open())

    def test_pongs_that_nobody_asked_for_are_nothing(self) -> None:
        connection = self.open()
        before = resident_bytes(self.daemon.pid)
        for _ in range(100):
            connection.write(frame("x" * 125, PONG) * 1000)
        self.assertEqual(connection.call("add", [1]), 2)
        self.assertLess(resident_bytes(self.daemon.pid) - before, 20 << 20)
