"""HTTP: POST in every way in which clients send it, limits, ends, and the pages for GET."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import unittest
from typing import Any, Optional

from support.case import DaemonTest
from support.connection import request
from support.daemon import Daemon
from support.floods import flood
from support.framings import HttpConnection
from support.processes import resident_bytes

MAX_REQUEST = 32 << 20


class Http(DaemonTest):
    controller = "lab.py"

    def open(self, daemon: Optional[Daemon] = None, seconds: float = 30.0) -> HttpConnection:
        connection = HttpConnection((daemon or self.daemon).path, seconds)
        self.addCleanup(connection.close)
        return connection

    def raw(self, text: str) -> list[tuple[int, bytes]]:
        """What a whole conversation is answered with, half-closed after it."""
        connection = self.connect()
        connection.write(text)
        connection.half_close()
        return read_answers(connection.socket)


def read_answers(sock: socket.socket) -> list[tuple[int, bytes]]:
    """The answers up to the end, each with its status and body."""
    with sock.makefile("rb") as file:
        answers = []
        while first := file.readline():
            assert first.startswith(b"HTTP/1.1 "), first
            length = 0
            while header := file.readline().strip():
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            answers.append((int(first.split()[1]), file.read(length)))
        return answers


def post(message: Any, *headers: str, path: str = "/") -> str:
    body = message if isinstance(message, str) else json.dumps(message)
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body.encode())}", *headers, "", body]
    return "\r\n".join(lines)


class Posts(Http):
    def test_a_request_a_batch_and_notifications(self) -> None:
        connection = self.open()
        before = connection.post(request(1, "count"))["result"]
        self.assertIsNone(connection.post({"jsonrpc": "2.0", "method": "count"}))
        self.assertIsNone(connection.post([{"jsonrpc": "2.0", "method": "count"}] * 3))
        first, second = connection.post([request(1, "count"), request("x", "nope")])
        self.assertEqual((first["id"], first["result"]), (1, before + 5))
        self.assertError(second["error"], -32601)

    def test_any_path_and_any_content_type(self) -> None:
        connection = self.open()
        for path, kind in (("/", "application/json"), ("/a/b?c", "text/plain"), ("/metrics", "x"), ("/", "")):
            status, body = connection.ask("POST", path, json.dumps(request(1, "add", [1])), Content_Type=kind)
            self.assertEqual((status, json.loads(body)["result"]), (200, 2))

    def test_errors_are_answers(self) -> None:
        connection = self.open()
        for body, code in (
            ("", -32700),
            ("hello", -32700),
            ("{", -32700),
            ('{"jsonrpc":"2.0","id":1,"method":"pid"} x', -32700),
            (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["\xff"]}', -32700),
            ("{}", -32600),
            ("[]", -32600),
            ("[" * 100_000, -32600),
            (json.dumps(request(1, "nope")), -32601),
            (json.dumps(request(1, "fail")), -32020),
        ):
            status, answer = connection.ask("POST", "/", body)
            self.assertEqual(status, 200)
            self.assertError(json.loads(answer)["error"], code)

    def test_what_needs_more_than_one_answer_is_refused(self) -> None:
        connection = self.open()
        for method, params in (
            ("stream.call", {"method": "items", "params": [3]}),
            ("messages.subscribe", ["own"]),
            ("messages.subscribe", ["all"]),
            ("logs.subscribe", None),
        ):
            self.assertError(connection.post(request(1, method, params))["error"], -32600)
        self.assertIs(connection.post(request(1, "rpc.cancel", [1]))["result"], False)
        # Its items have nowhere to go.
        self.assertEqual(connection.post(request(1, "items", [100, 10_000]))["result"], 100)

    def test_built_in_methods(self) -> None:
        connection = self.open()
        self.assertEqual(connection.post(request(1, "daemon.status"))["result"]["state"], "ready")
        self.assertEqual(connection.post(request(1, "rpc.discover"))["result"]["openrpc"][:2], "1.")
        self.assertEqual(connection.post(request(1, "rpc.call", {"method": "add", "params": [1]}))["result"], 2)

    def test_one_connection_serves_many_requests(self) -> None:
        connection = self.open()
        connection.connect()
        first = connection.sock
        for number in range(200):
            self.assertEqual(connection.post(request(number, "add", [number]))["result"], number + 1)
        self.assertIs(connection.sock, first)

    def test_a_body_in_chunks(self) -> None:
        connection = self.open()
        text = json.dumps(request(1, "echo", ["x" * 1000])).encode()
        pieces = (text[place : place + 7] for place in range(0, len(text), 7))
        connection.request("POST", "/", pieces, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        self.assertEqual(json.loads(connection.getresponse().read())["result"], ["x" * 1000])

    def test_byte_by_byte(self) -> None:
        connection = self.connect()
        for byte in post(request(1, "add", [1])).encode():
            connection.write(bytes([byte]))
        connection.half_close()
        ((status, body),) = read_answers(connection.socket)
        self.assertEqual((status, json.loads(body)["result"]), (200, 2))

    def test_pipelined_requests_are_answered_in_their_order(self) -> None:
        texts = [post(request(number, "sleep", [0.001])) for number in range(50)]
        answers = self.raw("\r\n".join(texts))
        self.assertEqual([json.loads(body)["id"] for _, body in answers], list(range(50)))

    def test_the_first_may_follow_white_space(self) -> None:
        ((status, _),) = self.raw("\r\n \n" + post(request(1, "pid")))
        self.assertEqual(status, 200)

    def test_http_1_0(self) -> None:
        text = post(request(1, "add", [1])).replace("HTTP/1.1", "HTTP/1.0")
        with self.connect().socket as sock:
            sock.sendall(text.encode())
            head, body = b"".join(iter(lambda: sock.recv(65536), b"")).split(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertEqual(json.loads(body)["result"], 2)

    def test_a_page_of_another_origin_is_refused(self) -> None:
        connection = self.open()
        before = connection.post(request(1, "count"))["result"]
        status, _ = connection.ask("POST", "/", json.dumps(request(1, "count")), Origin="https://evil.example")
        self.assertEqual(status, 403)
        self.assertEqual(connection.post(request(1, "count"), Origin="http://baskd")["result"], before + 1)


class Methods(Http):
    def test_others_are_told_which_there_are(self) -> None:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "WHATEVER"):
            connection = self.open()
            connection.request(method, "/health")
            response = connection.getresponse()
            response.read()
            self.assertEqual((response.status, response.headers["Allow"]), (405, "GET, HEAD, POST"))

    def test_head_is_get_without_the_body(self) -> None:
        connection = self.open()
        connection.post(request(1, "pid"))
        for path, status in (("/health", 200), ("/metrics", 200), ("/nope", 404)):
            self.assertEqual(connection.ask("HEAD", path), (status, b""))
        # A Python that is held up is not ready for a while.
        self.until(lambda: connection.ask("HEAD", "/ready") == (200, b""))

    def test_what_is_no_http_is_answered_as_http(self) -> None:
        for text in (
            "HELLO\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ):
            ((status, _),) = self.raw(text)
            self.assertIn(status, (400, 505), text)

    def test_what_has_a_body_that_nobody_reads_ends_its_connection(self) -> None:
        connection = self.open()
        for _ in range(20):
            # The body comes in a write of its own, and may be late.
            for method, path, status in (("PUT", "/", 405), ("GET", "/health", 200), ("GET", "/nope", 404)):
                self.assertEqual(connection.ask(method, path, b"x" * 100_000)[0], status)

    def test_connect_is_not_mistaken_for_content_length(self) -> None:
        ((status, _),) = self.raw("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(status, 405)


class Sizes(Http):
    def too_large(self, status: int, body: bytes) -> None:
        self.assertEqual(status, 413)
        answer = json.loads(body)
        self.assertIsNone(answer["id"])
        self.assertError(answer["error"], -32007, limit=MAX_REQUEST)

    def test_a_body_too_large_is_refused_though_it_is_still_sent(self) -> None:
        self.too_large(*self.open().ask("POST", "/", b"x" * (MAX_REQUEST + 1)))

    def test_a_gibibyte_is_refused_before_it_comes(self) -> None:
        before = resident_bytes(self.daemon.pid)
        for _ in range(50):
            connection = self.connect()
            connection.write(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\n\r\n")
            ((status, body),) = read_answers(connection.socket)
            self.too_large(status, body)
        self.assertLess(resident_bytes(self.daemon.pid) - before, 20 << 20)

    def test_chunks_too_many(self) -> None:
        connection = self.open(seconds=60)
        chunks = (b"x" * (1 << 20) for _ in range((MAX_REQUEST >> 20) + 1))
        connection.request("POST", "/", chunks, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
        response = connection.getresponse()
        self.too_large(response.status, response.read())

    def test_one_just_small_enough_is_served(self) -> None:
        empty = json.dumps(request(1, "echo", {"text": ""}))
        text = "x" * (MAX_REQUEST - len(empty))
        self.assertTrue(self.open(seconds=60).post(request(1, "echo", {"text": text}))["result"]["text"] == text)

    def test_headers_too_large(self) -> None:
        for headers in (["X: " + "y" * (1 << 20)], [f"X-{number}: y" for number in range(1000)]):
            connection = self.connect()
            connection.write("\r\n".join(["GET /health HTTP/1.1", *headers, "", ""]))
            self.assertEqual(read_answers(connection.socket)[0][0], 431)

    def test_one_that_never_comes_is_no_more_than_was_sent(self) -> None:
        before = resident_bytes(self.daemon.pid)
        for _ in range(50):
            self.connect().write(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_REQUEST}\r\n\r\n[")
        self.assertEqual(self.open().post(request(1, "add", [1]))["result"], 2)
        self.assertLess(resident_bytes(self.daemon.pid) - before, 20 << 20)


class Ends(Http):
    def test_a_half_closed_connection_gets_its_answer(self) -> None:
        ((status, body),) = self.raw(post(request(1, "sleep", [0.3])))
        self.assertEqual((status, json.loads(body)["result"]), (200, "slept"))

    def test_the_call_of_one_that_vanishes_is_cancelled(self) -> None:
        witness = self.connect()
        witness.call("messages.subscribe", ["all"])
        for name, half_closed in (("vanished", False), ("half", True)):
            connection = self.connect()
            connection.write(post(request(1, "sleep", [60, name])))
            if half_closed:
                connection.half_close()
            witness.read_until(lambda message: message.get("method") == "messages.item")
            connection.close()
            self.assertIn([name, "cancelled"], witness.call("howEnded"))

    def test_a_notification_outlives_its_connection(self) -> None:
        before = self.open().post(request(1, "count"))["result"]
        for _ in range(20):
            connection = self.connect()
            connection.write(post({"jsonrpc": "2.0", "method": "count"}))
            connection.close()
        witness = self.connect()
        deadline = time.monotonic() + 10
        while (now := witness.call("count")) < before + 20:
            self.assertLess(time.monotonic(), deadline, now)

    def test_who_never_reads_is_not_read_from(self) -> None:
        flood(self, self.connect(), post(request(1, "echo", ["x" * 10_000])).encode(), self.connect())

    def test_a_daemon_that_stops_answers_first(self) -> None:
        daemon = self.start("lab.py", "--grace", "100ms")
        idle, busy = self.open(daemon), self.connect(daemon)
        self.assertEqual(idle.post(request(1, "add", [1]))["result"], 2)
        witness = self.connect(daemon)
        witness.call("messages.subscribe", ["all"])
        busy.write(post(request(1, "sleep", [60])))
        witness.read()
        daemon.terminate()
        ((status, body),) = read_answers(busy.socket)
        self.assertEqual(status, 200)
        self.assertError(json.loads(body)["error"], -32024, by="shutdown")
        self.assertEqual(daemon.wait(), 0)


@unittest.skipUnless(shutil.which("curl"), "there is no curl")
class Curl(Http):
    def curl(self, *arguments: str, body: Optional[bytes] = None) -> tuple[int, bytes]:
        command = ["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}", "--unix-socket", str(self.daemon.path)]
        done = subprocess.run([*command, *arguments], input=body, capture_output=True, timeout=90, check=True)
        answer, _, status = done.stdout.rpartition(b"\n")
        return int(status), answer

    def test_as_the_readme_has_it(self) -> None:
        body = '{"jsonrpc":"2.0","id":1,"method":"add","params":[5]}'
        self.assertEqual(self.curl("-d", body, "http://baskd"), (200, b'{"jsonrpc":"2.0","id":1,"result":6}\n'))
        self.until(lambda: self.curl("http://baskd/ready")[0] == 200)
        self.assertEqual(self.curl("-I", "http://baskd/health")[0], 200)

    def test_a_large_body_that_waits_to_be_asked_for(self) -> None:
        text = "x" * (8 << 20)
        body = json.dumps(request(1, "echo", [text])).encode()
        for more in (["-H", "Expect: 100-continue"], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"]):
            status, answer = self.curl("--data-binary", "@-", *more, "http://baskd", body=body)
            self.assertEqual(status, 200)
            self.assertTrue(json.loads(answer)["result"] == [text])

    def test_one_too_large(self) -> None:
        body = b" " * (MAX_REQUEST + 1)
        for more in (["-H", "Expect: 100-continue"], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"]):
            status, answer = self.curl("--data-binary", "@-", *more, "http://baskd", body=body)
            self.assertEqual(status, 413)
            self.assertError(json.loads(answer)["error"], -32007, limit=MAX_REQUEST)
