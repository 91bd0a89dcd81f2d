"""Every transcript of tests/transcripts, against a real daemon, in each way in which its bytes may be split."""

from __future__ import annotations

import json
import unittest
from typing import Any, Callable

from support.connection import Connection
from support.daemon import REPOSITORY, Daemon
from support.framings import ContentLengthConnection, Framed, HttpConnection, WebSocketConnection

from . import transcript
from .transcript import Transcript

TRANSCRIPTS = sorted((REPOSITORY / "tests" / "transcripts").glob("*.jsonl"))


def step_by_step(played: Transcript, connection: Connection) -> None:
    """Each step is answered before the next is sent."""
    for step in played.steps:
        connection.write(step.text)
        got = [read(connection) for _ in step.expected]
        complain(f"{played.path.name}:{step.line}", transcript.difference(step.expected, got, step.any_order))
    complain(f"{played.path.name}: at the end", transcript.difference([], rest(connection), False))


def in_one_write(played: Transcript, connection: Connection) -> None:
    connection.write("".join(step.text for step in played.steps))
    complain(played.path.name, transcript.difference(played.expected, rest(connection), True))


def byte_by_byte(played: Transcript, connection: Connection) -> None:
    for byte in "".join(step.text for step in played.steps).encode():
        connection.write(bytes([byte]))
    complain(played.path.name, transcript.difference(played.expected, rest(connection), True))


def without_newlines(played: Transcript, connection: Connection) -> None:
    connection.write("".join("".join(step.sent) for step in played.steps))
    complain(played.path.name, transcript.difference(played.expected, rest(connection), True))


WAYS: tuple[Callable[[Transcript, Connection], None], ...] = (
    step_by_step,
    in_one_write,
    byte_by_byte,
    without_newlines,
)


class Transcripts(unittest.TestCase):
    """Its tests are made below: one a transcript and way."""


def read(connection: Connection) -> Any:
    line = connection.read_line().decode()
    assert line.strip() == line, f"a reply is one line and nothing else: {line!r}"
    (value,) = transcript.values(line)
    return value


def rest(connection: Connection) -> list[Any]:
    connection.half_close()
    got = []
    while True:
        try:
            got.append(read(connection))
        except EOFError:
            return got


def complain(where: str, difference: Any) -> None:
    if difference:
        raise AssertionError(f"{where}\n{difference}")


def _add(played: Transcript, way: Callable[[Transcript, Connection], None]) -> None:
    def test(self: Transcripts) -> None:
        with Daemon(played.controller) as daemon, daemon.connect() as connection:
            way(played, connection)

    setattr(Transcripts, f"test_{played.path.stem.replace('-', '_')}_{way.__name__}", test)


for _path in TRANSCRIPTS:
    _transcript = transcript.read(_path)
    for _way in WAYS:
        if _way is not without_newlines or not _transcript.needs_newlines:
            _add(_transcript, _way)


def messages(played: Transcript) -> list[str]:
    """What is sent, message by message: a step is one if it is no JSON."""
    found = []
    for step in played.steps:
        rest = step.text.strip()
        while rest:
            end = _end_of_value(rest)
            found.append(rest[:end])
            rest = rest[end:].lstrip()
    return found


def _end_of_value(text: str) -> int:
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except ValueError:
        return len(text)


def framed_step_by_step(played: Transcript, connection: Framed) -> None:
    """Each message is answered before the next is sent, but for notifications."""
    for step in played.steps:
        for message in messages(Transcript(played.path, [step], None, False)):
            connection.write(connection.enclose(message))
        got = [read(connection) for _ in step.expected]
        complain(f"{played.path.name}:{step.line}", transcript.difference(step.expected, got, step.any_order))
    complain(f"{played.path.name}: at the end", transcript.difference([], rest(connection), False))


def framed_in_one_write(played: Transcript, connection: Framed) -> None:
    connection.write(b"".join(map(connection.enclose, messages(played))))
    complain(played.path.name, transcript.difference(played.expected, rest(connection), True))


def framed_byte_by_byte(played: Transcript, connection: Framed) -> None:
    for byte in b"".join(map(connection.enclose, messages(played))):
        connection.write(bytes([byte]))
    complain(played.path.name, transcript.difference(played.expected, rest(connection), True))


def by_post(played: Transcript, connection: HttpConnection) -> None:
    """Each message is a request of HTTP: answers come in the order of their messages. It takes no subscriptions."""
    for step in played.steps:
        if "stream.call" in step.text:
            continue
        got = []
        for message in messages(Transcript(played.path, [step], None, False)):
            status, body = connection.ask("POST", "/", message)
            assert status == (200 if body else 204), (status, body)
            got += transcript.values(body.decode())
        complain(f"{played.path.name}:{step.line}", transcript.difference(step.expected, got, step.any_order))


class Framings(unittest.TestCase):
    """The same transcripts in the other framings; its tests are made below."""


FRAMED = (framed_step_by_step, framed_in_one_write, framed_byte_by_byte)


def _add_framed(played: Transcript) -> None:
    def add(name: str, test: Callable[[Daemon], None]) -> None:
        def run(self: Framings) -> None:
            with Daemon(played.controller) as daemon:
                test(daemon)

        setattr(Framings, f"test_{played.path.stem.replace('-', '_')}_{name}", run)

    def add_way(framing: type[Framed], way: Callable[[Transcript, Framed], None]) -> None:
        def test(daemon: Daemon) -> None:
            connection = framing(daemon.path)
            try:
                way(played, connection)
            finally:
                connection.close()

        add(f"{way.__name__}_{framing.__name__}", test)

    def post(daemon: Daemon) -> None:
        connection = HttpConnection(daemon.path)
        try:
            by_post(played, connection)
        finally:
            connection.close()

    for framing in (ContentLengthConnection, WebSocketConnection):
        for way in FRAMED:
            add_way(framing, way)
    add("by_post", post)


for _path in TRANSCRIPTS:
    # How parse errors end is for each framing to say.
    if _path.stem != "parse-errors":
        _add_framed(transcript.read(_path))


class Matching(unittest.TestCase):
    """The replayer itself: that it tells what differs."""

    def test_what_differs_is_told(self) -> None:
        for expected, got in [
            ("[1]", "[2]"),
            ("[1]", "[1.0]"),
            ('{"a":1}', '{"a":1,"b":2}'),
            ('{"a":1}', "{}"),
            ('{"a":"*"}', "{}"),
            ("[1] [2]", "[1]"),
            ("[1]", "[1] [2]"),
            ('{"a":null}', '{"a":false}'),
            ("[true]", "[1]"),
        ]:
            for any_order in (False, True):
                difference = transcript.difference(transcript.values(expected), transcript.values(got), any_order)
                self.assertIsNotNone(difference, (expected, got))

    def test_what_matches_is_not(self) -> None:
        for expected, got in [
            ('{"a":"*"}', '{"a":[1]}'),
            ('{"...":"*","b":1}', '{"b":1,"c":2}'),
            ("[1e5]", "[1e5]"),
            ('["é"]', '["\\u00e9"]'),
        ]:
            self.assertIsNone(transcript.difference(transcript.values(expected), transcript.values(got), False))
        self.assertIsNone(transcript.difference(transcript.values("[1] [2]"), transcript.values("[2] [1]"), True))
        self.assertIsNotNone(transcript.difference(transcript.values("[1] [2]"), transcript.values("[2] [1]"), False))
