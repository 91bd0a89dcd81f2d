"""Bytes in, lines out: what the transcripts can't say, since it is about pieces, sizes and ends."""

from __future__ import annotations

import json
import subprocess
import unittest

from support.case import DaemonTest
from support.connection import request

MAX_REQUEST = 32 << 20
MAX_RESPONSE = 64 << 20
MAX_NESTING = 128
MAX_BATCH = 1024
MAX_BATCH_RESPONSE = 64 << 20


class Ends(DaemonTest):
    controller = "lab.py"

    def test_a_half_closed_connection_gets_every_answer(self) -> None:
        connection = self.connect()
        for number in range(100):
            connection.request("add", [number])
        answers = {answer["id"]: answer["result"] for answer in connection.rest()}
        self.assertEqual(answers, {number + 1: number + 1 for number in range(100)})

    def test_a_half_closed_connection_gets_its_stream_to_the_end(self) -> None:
        connection = self.connect()
        id = connection.request("stream.call", {"method": "items", "params": [1000]})
        acknowledgement, *events = connection.rest()
        self.assertEqual(acknowledgement["id"], id)
        results = [event["params"].get("result") for event in events]
        self.assertEqual(results, [{"item": i} for i in range(1000)] + [{"end": 1000}, None])

    def test_printf_into_socat(self) -> None:
        text = json.dumps(request(1, "add", [1])) + json.dumps(request(2, "sleep", [0.3]))
        for ending in ("", "\n"):
            command = ["socat", "-t", "600", "-", f"UNIX-CONNECT:{self.daemon.path}"]
            socat = subprocess.run(command, input=text + ending, capture_output=True, text=True, timeout=60, check=True)
            lines = socat.stdout.splitlines()
            self.assertEqual({json.loads(line)["id"]: json.loads(line)["result"] for line in lines}, {1: 2, 2: "slept"})

    def test_an_unfinished_value_is_a_parse_error_at_the_end(self) -> None:
        for text in ('{"jsonrpc":"2.0","id":1', "[", '{"a":"', '[{"jsonrpc":"2.0","id":1,"method":"pid"}'):
            connection = self.connect()
            connection.write(text)
            (answer,) = connection.rest()
            self.assertIsNone(answer["id"], text)
            self.assertError(answer["error"], -32700)

    def test_nothing_is_answered_with_nothing(self) -> None:
        for text in ("", " ", "\n\r\n\t \n"):
            connection = self.connect()
            connection.write(text)
            self.assertEqual(connection.rest(), [])

    def test_a_first_byte_that_begins_no_framing_is_answered_and_closed(self) -> None:
        for text in (b"hello\n", b"5\n", b"\x00\x01\x02", b"\xff", b"-", b'"', b"}", b"  \n x"):
            connection = self.connect()
            connection.write(text)
            answer = connection.read()
            self.assertIsNone(answer["id"], text)
            self.assertError(answer["error"], -32700)
            with self.assertRaises((EOFError, ConnectionResetError)):
                connection.read_line()

    def test_text_that_is_no_utf8_is_a_parse_error_and_life_goes_on(self) -> None:
        connection = self.connect()
        connection.write(b'{"jsonrpc":"2.0","id":1,"method":"echo","params":["\xff\xfe"]}\n')
        self.assertError(connection.read()["error"], -32700)
        connection.write(b'{"jsonrpc":"2.0","id":2,"method":"echo","params":["\xc3')
        connection.write(b'\xa9"]}')
        self.assertEqual(connection.result(2), ["é"])

    def test_every_reply_is_one_line(self) -> None:
        connection = self.connect()
        for params in (["a\nb\r\n\u2028"], {"\n": "\n"}):
            connection.request("echo", params)
            line = connection.read_line()
            self.assertNotIn(b"\r", line)
            self.assertEqual(json.loads(line)["result"], params)

    def test_a_peer_that_vanishes_harms_nobody(self) -> None:
        for text in ("", "[", json.dumps(request(1, "add", [1])), '{"jsonrpc":"2.0","id":1,"method":"items"'):
            connection = self.connect()
            connection.write(text)
            connection.close()
        self.assertEqual(self.connect().call("add", [1]), 2)


class Limits(DaemonTest):
    controller = "lab.py"

    def test_a_request_too_large_is_answered_with_its_id_and_skipped(self) -> None:
        connection = self.connect()
        connection.write('{"jsonrpc":"2.0","id":"big","method":"echo","params":["')
        chunk = b"x" * (1 << 20)
        for _ in range((MAX_REQUEST >> 20) + 2):
            connection.write(chunk)
        answer = connection.read()
        self.assertEqual(answer["id"], "big")
        self.assertError(answer["error"], -32007, limit=MAX_REQUEST)
        # Its rest, and then the next message, on the same line.
        connection.write(b'yyy"]}' + json.dumps(request(2, "add", [1])).encode())
        self.assertEqual(connection.result(2), 2)

    def test_a_request_just_small_enough_is_served(self) -> None:
        connection = self.connect(seconds=60)
        empty = json.dumps(request(1, "echo", {"text": ""}))
        text = "x" * (MAX_REQUEST - len(empty))
        connection.write(json.dumps(request(1, "echo", {"text": text})))
        self.assertTrue(connection.result(1)["text"] == text)

    def test_a_result_too_large_is_an_answer_and_python_lives_on(self) -> None:
        connection = self.connect(seconds=60)
        pid = connection.call("pid")
        self.assertError(connection.error("big", [MAX_RESPONSE + 1]), -32008, limit=MAX_RESPONSE)
        self.assertEqual(connection.call("pid"), pid)

    def test_nesting(self) -> None:
        def nested(depth: int) -> str:
            # The request and its params are two of the levels.
            inner = "[" * (depth - 2) + "]" * (depth - 2)
            return '{"jsonrpc":"2.0","id":1,"method":"echo","params":[' + inner + "]}\n"

        connection = self.connect()
        connection.write(nested(MAX_NESTING))
        self.assertIn("result", connection.read())
        for depth in (MAX_NESTING + 1, 100_000):
            connection.write(nested(depth))
            self.assertError(connection.read()["error"], -32600)
            self.assertEqual(connection.call("add", [1]), 2)

    def test_a_batch_too_large_is_refused_whole(self) -> None:
        connection = self.connect()
        before = connection.call("count")
        connection.send([request(number, "count") for number in range(MAX_BATCH + 1)])
        answer = connection.read()
        self.assertIsNone(answer["id"])
        self.assertError(answer["error"], -32010, limit=MAX_BATCH)
        self.assertEqual(connection.call("count"), before + 1)

    def test_the_largest_batch_is_answered_in_its_order(self) -> None:
        connection = self.connect()
        connection.send([request(number, "add", [number, 0]) for number in range(MAX_BATCH)])
        answers = connection.read()
        self.assertEqual([(answer["id"], answer["result"]) for answer in answers], [(n, n) for n in range(MAX_BATCH)])

    def test_a_batch_whose_answers_are_too_large(self) -> None:
        connection = self.connect(seconds=60)
        connection.send([request(number, "big", [MAX_BATCH_RESPONSE // 4]) for number in range(5)])
        answer = connection.read()
        self.assertIsNone(answer["id"])
        self.assertError(answer["error"], -32011, limit=MAX_BATCH_RESPONSE)
        self.assertEqual(connection.call("add", [1]), 2)


if __name__ == "__main__":
    unittest.main()
