"""How messages look: the daemon's, and the seed's, for a router that runs by itself.

A dialect's `decode` gives a message with an integer `id`, or raises `Unreadable`, and `messages` those of a block of
lines; the others make the lines that answer it, without their newlines.
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Optional

from .codec import Codec
from .errors import INVALID_REQUEST, PARSE_ERROR, BadParams, Error

# A block of more bytes is decoded line by line: joining its lines first would copy much to save little.
_LARGE = 1 << 16

_ID = re.compile(rb'\{"id":(\d+)[,}]')


class Unreadable(Exception):
    """A line that is no message. `ident` is its call's id and `error` the answer; None if there is none to give."""

    def __init__(self, line: bytes, ident: Optional[int], error: Optional[Error]) -> None:
        super().__init__(error)
        self.line = line
        self.ident = ident
        self.error = error


class DaemonDialect:
    """Calls have ids, which are theirs in the shared page too."""

    has_credit = True

    def __init__(self, codec: Codec) -> None:
        self._decode = codec.decode
        self._decode_lines = codec.decode_lines
        self._encode = codec.encode
        self.result = codec.result

    def messages(self, block: bytes) -> list[Any]:
        """The messages of a block, in order; for one that can't be read, what `decode` raises."""
        if len(block) <= _LARGE:
            try:
                return self._decode_lines(block)
            except Exception:
                pass  # Something is wrong with a line, which only costs itself.
        return _one_by_one(self.decode, block)

    def decode(self, line: bytes) -> Any:
        try:
            return self._decode(line)
        except Exception as problem:
            found = _ID.match(line)
            raise Unreadable(line, int(found[1]) if found else None, _cant_be_read(problem).error) from None

    def item_frame(self, ident: int) -> tuple[bytes, bytes]:
        """What stands before and behind the items of a call."""
        return b'__STREAM__{"id":%d,"data":' % ident, b"}"

    def error(self, ident: int, error: Error) -> bytes:
        return b'{"id":%d,"error":%b}' % (ident, self._encode(error))

    def begun(self, ident: int) -> bytes:
        return b'{"begun":%d}' % ident


class SeedDialect:
    """Messages need no id, and one that has none is answered without; calls are numbered as they come."""

    has_credit = False

    def __init__(self, codec: Codec) -> None:
        self._decode = codec.decode
        self._encode = codec.encode
        self._count = 0
        #: By number, what the id of a call's answers is, encoded; no entry if it has none.
        self._ids: dict[int, bytes] = {}

    def messages(self, block: bytes) -> list[Any]:
        """As the daemon's dialect has it."""
        return _one_by_one(self.decode, block)

    def decode(self, line: bytes) -> Any:
        if not line.strip():
            raise Unreadable(line, None, None)
        self._count += 1
        ident = self._count
        try:
            message = self._decode(line)
        except Exception as problem:
            raise Unreadable(line, ident, {"code": PARSE_ERROR, "message": f"Parse error: {problem}."}) from None
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            error = {"code": INVALID_REQUEST, "message": 'A message is an object with a "method", which is a string.'}
            raise Unreadable(line, ident, error)
        if "id" in message:
            self._ids[ident] = json.dumps(message["id"]).encode()
        message["id"] = ident
        return message

    def result(self, ident: int, value: Any) -> bytes:
        encoded = self._encode(value)  # If that fails, the id is still needed.
        return b'{%b"result":%b}' % (self._head(self._ids.pop(ident, None)), encoded)

    def error(self, ident: int, error: Error) -> bytes:
        return b'{%b"error":%b}' % (self._head(self._ids.pop(ident, None)), self._encode(error))

    def item_frame(self, ident: int) -> tuple[bytes, bytes]:
        """As the daemon's dialect has it."""
        if ident not in self._ids:
            return b"__STREAM__", b""
        return b'__STREAM__{%b"data":' % self._head(self._ids[ident]), b"}"

    def begun(self, ident: int) -> bytes:
        raise AssertionError("nobody asks")

    def _head(self, ident: Optional[bytes]) -> bytes:
        return b"" if ident is None else b'"id":%b,' % ident


def _one_by_one(decode: Callable[[bytes], Any], block: bytes) -> list[Any]:
    is_one = block.find(b"\n") in (-1, len(block) - 1)
    messages = []
    for line in (block,) if is_one else block.removesuffix(b"\n").split(b"\n"):
        try:
            messages.append(decode(line))
        except Unreadable as unreadable:
            messages.append(unreadable)
    return messages


def _cant_be_read(problem: Exception) -> BadParams:
    if isinstance(problem, RecursionError):
        why = "they are nested too deeply for Python"
    elif "digits" in str(problem):
        why = "they hold an integer of too many digits for Python; send it as a string"
    else:
        why = str(problem)
    return BadParams(f"The params can't be read: {why}.", None, None, None)
