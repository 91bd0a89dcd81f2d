"""Messages with mistakes in them, thousands of them: each is answered as what it is, and the connection lives on."""

from __future__ import annotations

import json
import random
from typing import Any

from support.case import DaemonTest
from support.connection import Connection, request

SEED = 4
LINES = 4_000
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
