"""JSON in and out: as fast as what is installed allows, and the same whatever is installed.

The standard library's json decides what is accepted and what is not. msgspec or orjson do the work where they are
known to agree with it; whatever they reject is tried again with the standard one before it is an error.
"""

from __future__ import annotations

import json
import json.encoder
from typing import Any, Callable, NamedTuple

from .errors import NotJson
from .strict import find_fault, is_plain


class Codec(NamedTuple):
    """`decode` raises ValueError or RecursionError, `encode` raises `NotJson`; both work from any thread."""

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


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
    return Codec("json", json.loads, _encode)


def _msgspec() -> Codec:
    import msgspec

    # NaN, lone surrogates and floats beyond the range are rejected, and so end up with the standard decoder.
    return Codec("msgspec", _or_standard(msgspec.json.Decoder().decode), _if_plain(msgspec.json.Encoder().encode))


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

    return Codec("orjson", _or_standard(decode), _if_plain(orjson.dumps))


def _or_standard(fast: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode(line: bytes) -> Any:
        try:
            return fast(line)
        except Exception:
            return json.loads(line)

    return decode


def _if_plain(fast: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    def encode(value: Any) -> bytes:
        if is_plain(value):
            try:
                return fast(value)
            except Exception:
                pass
        return _encode(value)

    return encode


def _encoder(ensure_ascii: bool) -> Callable[[Any], str]:
    """`json.dumps` without what it does anew for each call: half of its time where values are small."""
    whole = json.JSONEncoder(separators=(",", ":"), ensure_ascii=ensure_ascii, allow_nan=False, check_circular=False)
    try:
        string = json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring
        # Without markers for circular references (shared between threads, they would find some where there are
        # none): a value that contains itself ends in a RecursionError.
        parts = json.encoder.c_make_encoder(None, whole.default, string, None, ":", ",", False, False, False)  # type: ignore[attr-defined]
        if "".join(parts([{"a": 1}], 0)) == '[{"a":1}]':
            return lambda value: "".join(parts(value, 0))
    except (AttributeError, TypeError):
        pass  # Not CPython's, or its inner interface has changed.
    return whole.encode


_to_text = _encoder(ensure_ascii=False)
_to_ascii = _encoder(ensure_ascii=True)


def _encode(value: Any) -> bytes:
    try:
        return _to_text(value).encode()
    except UnicodeEncodeError:
        pass  # A lone surrogate, which has no UTF-8: JSON can escape it.
    except Exception as problem:
        raise _not_json(value, problem) from None
    try:
        return _to_ascii(value).encode()
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
