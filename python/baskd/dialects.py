"""How messages look: the daemon's, and the seed's, for a router that runs by itself.

A dialect's `decode` gives a message with an integer `id`, or raises `Unreadable`; the others make the lines that
answer it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Optional

from .codec import Codec
from .errors import INVALID_REQUEST, PARSE_ERROR, BadParams, Error

_ID = re.compile(rb'\{"id":(\d+)[,}]')


class Unreadable(Exception):
    """A line that is no message. `ident` is its call's id and `error` the answer; None if there is none to give."""

    def __init__(self, ident: Optional[int], error: Optional[Error]) -> None:
        super().__init__(error)
        self.ident = ident
        self.error = error


class DaemonDialect:
    """Calls have ids, which are theirs in the shared page too."""

    has_credit = True

    def __init__(self, codec: Codec) -> None:
        self.decode_json = codec.decode
        self._encode = codec.encode

    def decode(self, line: bytes) -> Any:
        try:
            return self.decode_json(line)
        except Exception as problem:
            found = _ID.match(line)
            raise Unreadable(int(found[1]) if found else None, _cant_be_read(problem).error) from None

    def result(self, ident: int, encoded: bytes) -> bytes:
        return b'{"id":%d,"result":%b}\n' % (ident, encoded)

    def item(self, ident: int, encoded: bytes) -> bytes:
        return b'__STREAM__{"id":%d,"data":%b}\n' % (ident, encoded)

    def error(self, ident: int, error: Error) -> bytes:
        return b'{"id":%d,"error":%b}\n' % (ident, self._encode(error))

    def begun(self, ident: int) -> bytes:
        return b'{"begun":%d}\n' % ident


class SeedDialect:
    """Messages need no id, and one that has none is answered without; calls are numbered as they come."""

    has_credit = False

    def __init__(self, codec: Codec) -> None:
        self._decode = codec.decode
        self._encode = codec.encode
        self._count = 0
        #: By number, what the id of a call's answers is, encoded; no entry if it has none.
        self._ids: dict[int, bytes] = {}

    def decode(self, line: bytes) -> Any:
        if not line.strip():
            raise Unreadable(None, None)
        self._count += 1
        ident = self._count
        try:
            message = self._decode(line)
        except Exception as problem:
            raise Unreadable(ident, {"code": PARSE_ERROR, "message": f"Parse error: {problem}."}) from None
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            error = {"code": INVALID_REQUEST, "message": 'A message is an object with a "method", which is a string.'}
            raise Unreadable(ident, error)
        if "id" in message:
            self._ids[ident] = json.dumps(message["id"]).encode()
        message["id"] = ident
        return message

    def result(self, ident: int, encoded: bytes) -> bytes:
        return b"{%b%b}\n" % (self._head(self._ids.pop(ident, None)), b'"result":' + encoded)

    def error(self, ident: int, error: Error) -> bytes:
        return b"{%b%b}\n" % (self._head(self._ids.pop(ident, None)), b'"error":' + self._encode(error))

    def item(self, ident: int, encoded: bytes) -> bytes:
        if ident not in self._ids:
            return b"__STREAM__%b\n" % encoded
        return b'__STREAM__{%b"data":%b}\n' % (self._head(self._ids[ident]), encoded)

    def begun(self, ident: int) -> bytes:
        return b""  # Nobody asks.

    def _head(self, ident: Optional[bytes]) -> bytes:
        return b"" if ident is None else b'"id":%b,' % ident


def _cant_be_read(problem: Exception) -> BadParams:
    if isinstance(problem, RecursionError):
        why = "they are nested too deeply for Python"
    elif "digits" in str(problem):
        why = "they hold an integer of too many digits for Python; send it as a string"
    else:
        why = str(problem)
    return BadParams(f"The params can't be read: {why}.", None, None, None)
