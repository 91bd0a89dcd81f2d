"""Messages with mistakes in them, thousands of them: each is answered as what it is, and the connection lives on."""

from __future__ import annotations

import json
import random
from typing import Any

from support.case import DaemonTest
from support.connection import Connection, request
from support.framings import BINARY, ContentLengthConnection, HttpConnection, WebSocketConnection, frame

SEED = 4
LINES = 4_000
FRAMED = 1_000
GARBLED = 300
BITS = [
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\t",
    "0",
    "-",
    ".",
    "e",
    "null",
    "\\u12",
    "é",
    "\x00",
    "\x7f",
    "'",
]
MESSAGES = [
    '{"jsonrpc":"2.0","id":1,"method":"sum","params":[1,-2.5e+3]}',
    '{"jsonrpc":"2.0","id":"a\\u00e9\\n","method":"echo","params":{"a":{"b":[true,false,null]},"c":"\\\\\\""}}',
    '[{"jsonrpc":"2.0","id":2,"method":"sum"},{"jsonrpc":"2.0","method":"update","params":[]},3]',
    '{ "jsonrpc" : "2.0" , "method" : "update" , "params" : { } }',
]


def mutated(chance: random.Random) -> bytes:
    text = chance.choice(MESSAGES)
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        at = chance.randrange(len(text) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            text = text[:at] + text[at + chance.randrange(1, 4) :]
        elif kind == 1:
            text = text[:at] + chance.choice(BITS) + text[at:]
        elif kind == 2:
            text = text[:at] + chance.choice(BITS) + text[at + 1 :]
        else:
            text = text[:at] + text[chance.randrange(len(text) + 1) :]
    data = text.encode()
    if chance.random() < 0.05:
        at = chance.randrange(len(data) + 1)
        data = data[:at] + bytes([chance.randrange(0x80, 0x100)]) + data[at:]
    return data


def refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


DECODER = json.JSONDecoder(parse_constant=refuse)


def is_json(line: bytes) -> bool:
    """Whether a line holds nothing but JSON objects and arrays, as another parser sees it."""
    try:
        rest = line.decode().lstrip(" \t\r\n")
        while rest:
            if rest[0] not in "{[":
                return False
            _, end = DECODER.raw_decode(rest)
            rest = rest[end:].lstrip(" \t\r\n")
    except ValueError:
        return False
    return True


class Mutations(DaemonTest):
    controller = "spec.py"

    def replies(self, connection: Connection, line: bytes, number: int) -> list[Any]:
        """What a line is answered with, up to the answer of a good message behind it.

        A line that leaves a bracket open takes the next one into it, and the one after that is where the mistake shows,
        so it is the third that must be served.
        """
        marks = [json.dumps(request(f"{number}/{n}", "get_data")).encode() for n in range(3)]
        connection.write(b"\n".join([line, *marks, b""]))
        replies: list[Any] = []
        while True:
            reply = json.loads(connection.read_line())
            if isinstance(reply, dict) and reply["id"] == f"{number}/2":
                self.assertEqual(reply["result"], ["hello", 5])
                return replies
            replies.append(reply)

    def test_each_is_answered_as_what_it_is(self) -> None:
        chance = random.Random(SEED)
        connection = self.connect()
        connection.call("get_data")
        good = 0
        for number in range(LINES):
            line = mutated(chance)
            replies = self.replies(connection, line, number)
            flat = [one for reply in replies for one in (reply if isinstance(reply, list) else [reply])]
            codes = {one["error"]["code"] for one in flat if "error" in one}
            expected = is_json(line)
            good += expected
            self.assertEqual(-32700 not in codes, expected, f"{line!r}: {replies}")
            self.assertLessEqual(codes, {-32700, -32600, -32601, -32602, -32020}, f"{line!r}: {replies}")
            for one in flat:
                self.assertEqual(one["jsonrpc"], "2.0")
                self.assertEqual(len({"result", "error"} & one.keys()), 1, one)
        # Both kinds must have been among them.
        self.assertGreater(good, LINES // 10)
        self.assertLess(good, LINES * 9 // 10)
        self.assertEqual(connection.call("daemon.status")["restarts"], 0)


def is_one_json(message: bytes) -> bool:
    """Whether a message is one JSON object or array."""
    text = message.strip(b" \t\r\n")
    if not is_json(text) or not text:
        return False
    return DECODER.raw_decode(text.decode())[1] == len(text.decode())


class InOtherFramings(DaemonTest):
    """There a mistake ends with its message."""

    controller = "spec.py"

    def judge(self, message: bytes, replies: list[Any]) -> None:
        flat = [one for reply in replies for one in (reply if isinstance(reply, list) else [reply])]
        codes = {one["error"]["code"] for one in flat if "error" in one}
        self.assertLessEqual(len(replies), 1, message)
        self.assertEqual(-32700 not in codes, is_one_json(message), f"{message!r}: {replies}")
        self.assertLessEqual(codes, {-32700, -32600, -32601, -32602, -32020}, f"{message!r}: {replies}")

    def test_each_has_at_most_one_answer_and_the_next_is_served(self) -> None:
        for framing in (ContentLengthConnection, WebSocketConnection):
            chance = random.Random(SEED)
            with framing(self.daemon.path) as connection:
                for number in range(FRAMED):
                    message = mutated(chance)
                    enclosed = frame(message, BINARY) if framing is WebSocketConnection else connection.enclose(message)
                    connection.write(enclosed + connection.enclose(json.dumps(request(f"#{number}", "get_data"))))
                    replies: list[Any] = []
                    while not isinstance(reply := connection.read(), dict) or reply["id"] != f"#{number}":
                        replies.append(reply)
                    self.judge(message, replies)

    def test_each_post_too(self) -> None:
        chance = random.Random(SEED)
        connection = HttpConnection(self.daemon.path)
        self.addCleanup(connection.close)
        for _ in range(FRAMED):
            message = mutated(chance)
            status, body = connection.ask("POST", "/", message)
            self.assertEqual(status, 200 if body else 204)
            self.judge(message, [json.loads(body)] if body else [])


class Garbled(DaemonTest):
    """Envelopes that are broken: whatever comes of the connection, it ends, and the daemon goes on."""

    controller = "spec.py"

    def conversations(self) -> list[bytes]:
        message = json.dumps(request(1, "get_data")).encode()
        lsp = b"".join(b"Content-Length: %d\r\n\r\n" % len(message) + message for _ in range(3))
        post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(message) + message
        chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
            len(message),
            message,
        )
        upgrade = (
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        return [lsp, post + post, chunked + post, upgrade + frame(message) * 3 + frame(b"", 8)]

    def test_they_harm_nobody(self) -> None:
        chance = random.Random(SEED)
        other = self.connect()
        other.call("get_data")
        for conversation in self.conversations():
            for _ in range(GARBLED):
                garbled = bytearray(conversation)
                for _ in range(chance.choice([1, 1, 2, 5])):
                    at = chance.randrange(len(garbled))
                    piece = bytes(chance.randrange(256) for _ in range(chance.randrange(3)))
                    garbled[at : at + chance.randrange(3)] = piece
                with self.connect() as connection:
                    connection.write(bytes(garbled))
                    connection.half_close()
                    while connection.socket.recv(1 << 16):
                        pass
            self.assertEqual(other.call("get_data"), ["hello", 5])
        self.assertEqual(other.call("daemon.status")["restarts"], 0)
