"""JSON in and out: as fast as what is installed allows, and the same whatever is installed.

The standard library's json decides what is accepted and what is not. msgspec or orjson do the work where they are
known to agree with it; whatever they reject is tried again with the standard one before it is an error.
"""

from __future__ import annotations

import json
import json.encoder
from typing import Any, Callable, Iterable, NamedTuple

from .errors import NotJson
from .strict import ATOMS, find_fault, is_plain

Encode = Callable[[Any], bytes]


class Codec(NamedTuple):
    """`decode` raises ValueError or RecursionError, `encode` raises `NotJson`; all work from any thread."""

    name: str
    decode: Callable[[bytes], Any]
    encode: Encode
    #: The values of several lines at once. It may raise anything, and then says nothing about any of them.
    decode_lines: Callable[[bytes], list[Any]]
    #: The line that answers a call, without its newline: `{"id":ID,"result":VALUE}`, the id encoded.
    result: Callable[[int, Any], bytes]


def choose() -> Codec:
    """The fastest codec that can be imported."""
    for build in (_msgspec, _orjson):
        try:
            return build()
        except Exception:
            continue
    return standard()


def standard() -> Codec:
    """The standard library's, which needs nothing."""
    return Codec("json", json.loads, _encode, _decode_lines, _result)


def _msgspec() -> Codec:
    import msgspec

    # NaN, lone surrogates and floats beyond the range are rejected, and so end up with the standard decoder.
    decoder, fast = msgspec.json.Decoder(), msgspec.json.Encoder().encode
    encode = _if_plain(fast)
    return Codec("msgspec", _or_standard(decoder.decode), encode, decoder.decode_lines, _result_if_plain(fast, encode))


# Older ones have no bound to their recursion (CVE-2024-27454).
_ORJSON_OLDEST = (3, 9, 15)

_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_19_DIGITS = b"0" * 19


def _orjson() -> Codec:
    import orjson

    if tuple(map(int, orjson.__version__.split(".")[:3])) < _ORJSON_OLDEST:
        raise ImportError("it crashes on deeply nested input")
    loads = orjson.loads

    def decode(line: bytes) -> Any:
        # orjson makes floats of integers beyond 64 bits, silently; those have 19 digits and more.
        if _19_DIGITS in line.translate(_TO_ZERO):
            return json.loads(line)
        return loads(line)

    def decode_lines(lines: bytes) -> list[Any]:
        values: list[Any] = decode(b"[%b]" % lines.strip(b"\n").replace(b"\n", b","))
        return values

    encode = _if_plain(orjson.dumps)
    return Codec("orjson", _or_standard(decode), encode, decode_lines, _result_if_plain(orjson.dumps, encode))


def _or_standard(fast: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode(line: bytes) -> Any:
        try:
            return fast(line)
        except Exception:
            return json.loads(line)

    return decode


def _decode_lines(lines: bytes) -> list[Any]:
    # A newline that separates two values is where one within an array has its comma; within a value there is none.
    values: list[Any] = json.loads(f"[{lines.decode().strip(_NEWLINE).replace(_NEWLINE, ',')}]")
    return values


_NEWLINE = "\n"


# Dicts up to this size are looked at in place.
_FEW = 6


def _if_plain(fast: Encode) -> Encode:
    def encode(value: Any) -> bytes:
        kind = type(value)
        if kind is dict and len(value) <= _FEW:  # `is_plain`, for what most values are, without a call.
            for key, item in value.items():
                if type(item) not in ATOMS or type(key) is not str:
                    plain = is_plain(value)
                    break
            else:
                plain = True
        else:
            plain = kind in ATOMS or is_plain(value)
        if plain:
            try:
                return fast(value)
            except Exception:
                pass
        return _encode(value)

    return encode


def _result_if_plain(fast: Encode, encode: Encode) -> Callable[[int, Any], bytes]:
    # The same once more: here, each microsecond is a good part of what a call costs.
    def result(ident: int, value: Any) -> bytes:
        kind = type(value)
        if kind is dict and len(value) <= _FEW:
            for key, item in value.items():
                if type(item) not in ATOMS or type(key) is not str:
                    plain = is_plain(value)
                    break
            else:
                plain = True
        else:
            plain = kind in ATOMS or is_plain(value)
        if plain:
            try:
                return fast({"id": ident, "result": value})
            except Exception:
                pass
        return b'{"id":%d,"result":%b}' % (ident, encode(value))

    return result


def _encoder(ensure_ascii: bool) -> Callable[[Any, int], Iterable[str]]:
    """`json.dumps` without what it does anew for each call: half of its time where values are small."""
    whole = json.JSONEncoder(separators=(",", ":"), ensure_ascii=ensure_ascii, allow_nan=False, check_circular=False)
    try:
        string = json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring
        # Without markers for circular references (shared between threads, they would find some where there are
        # none): a value that contains itself ends in a RecursionError.
        make = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        parts: Callable[[Any, int], Iterable[str]]
        parts = make(None, whole.default, string, None, ":", ",", False, False, False)
        if "".join(parts([{"a": 1}], 0)) == '[{"a":1}]':
            return parts
    except (AttributeError, TypeError):
        pass  # Not CPython's, or its inner interface has changed.
    return lambda value, _: (whole.encode(value),)


# They give the parts of the text. (The 0 is a level of indentation, without which it does not go.)
_in_text = _encoder(ensure_ascii=False)
_in_ascii = _encoder(ensure_ascii=True)


def _result(ident: int, value: Any) -> bytes:
    try:
        return b'{"id":%d,"result":%b}' % (ident, "".join(_in_text(value, 0)).encode())
    except Exception:
        return b'{"id":%d,"result":%b}' % (ident, _encode(value))


def _encode(value: Any) -> bytes:
    try:
        return "".join(_in_text(value, 0)).encode()
    except UnicodeEncodeError:
        pass  # A lone surrogate, which has no UTF-8: JSON can escape it.
    except Exception as problem:
        raise _not_json(value, problem) from None
    try:
        return "".join(_in_ascii(value, 0)).encode()
    except Exception as problem:
        raise _not_json(value, problem) from None


def _not_json(value: Any, problem: Exception) -> NotJson:
    try:
        fault = find_fault(value)
    except Exception:
        fault = None  # A dict of the user's own that raises when it is walked.
    if fault is not None:
        return NotJson(fault.path, fault.reason)
    if isinstance(problem, RecursionError):
        return NotJson("$", "it is nested too deeply")
    return NotJson("$", f"{type(problem).__name__}: {problem}")
