"""JSON in and out, which must not depend on what is installed."""

from __future__ import annotations

import importlib.util
import json
import math
import unittest
from typing import Any, Callable

from baskd import codec as codecs
from baskd.errors import NotJson
from baskd.strict import find_fault, is_plain

BUILDERS: dict[str, Callable[[], codecs.Codec]] = {
    "json": codecs.standard,
    "msgspec": codecs._msgspec,
    "orjson": codecs._orjson,
}

TEXTS = [
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890",
    '{"a":[1,{"b":12345678901234567890123}]}',
    "1e400",
    "-0",
    "-0.0",
    "1E5",
    "0.1e-400",
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '{"a":1,"a":2}',
    "1.7976931348623157e308",
    "9007199254740993.0",
    "0.30000000000000004",
    "12345678901234567890123456789e-10",
    '"\\u0000\\/"',
    "1" * 4000,
    "[" * 500 + "]" * 500,
    "null",
    '"é\u2028"',
]
BROKEN = ["[1,]", '"\t"', "01", "", "{", "nul", "[" * 300_000, "1" * 5000]

PLAIN: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    2**64,
    10**40,
    -(10**40),
    0.5,
    -0.0,
    1e300,
    "",
    "é\u2028\0\U0001f600",
    "\ud800",
    {"\ud800": ["\udfff"]},
    [],
    (),
    {},
    [[], {}, ()],
    (1, (2.5, "x")),
    {"a": {"b": [1, 2, {"c": None}]}},
    list(range(100)),
    [0.5] * 100,
    {str(n): [n] for n in range(100)},
    [{"n": n, "f": n / 7} for n in range(50)],
]


def codec(name: str) -> codecs.Codec:
    if name != "json" and importlib.util.find_spec(name) is None:
        raise unittest.SkipTest(f"{name} is not installed here")
    try:
        return BUILDERS[name]()
    except ImportError as refused:
        raise unittest.SkipTest(f"the {name} that is installed here is not used: {refused}") from None


class Same:
    """What every codec does alike."""

    name = ""

    def setUp(self) -> None:
        self.codec = codec(self.name)

    def test_decodes_as_the_standard_one_does(self) -> None:
        for text in TEXTS:
            try:
                wanted: Any = json.loads(text)
            except ValueError as problem:
                wanted = type(problem)
            try:
                got: Any = self.codec.decode(text.encode())
            except ValueError as problem:
                got = type(problem)
            assert repr(got) == repr(wanted), (text, got, wanted)

    def test_decodes_many_lines_as_it_does_each(self) -> None:
        texts = [text.encode() for text in TEXTS if "digits" not in text]
        each = [self.codec.decode(text) for text in texts if self.can_be_read(text)]
        lines = b"".join(text + b"\n" for text in texts if self.can_be_read(text))
        try:
            got = self.codec.decode_lines(lines)
        except Exception:
            return  # It may always leave it to `decode`.
        assert repr(got) == repr(each)

    def test_gives_no_values_for_lines_of_which_one_is_broken(self) -> None:
        for text in BROKEN[:6]:
            lines = b'{"a":1}\n' + text.encode() + b'\n{"b":2}\n'
            if text.strip():
                try:
                    got = self.codec.decode_lines(lines)
                except Exception:
                    continue
                raise AssertionError(f"{text} was read as {got}")

    def can_be_read(self, text: bytes) -> bool:
        try:
            self.codec.decode(text)
        except (ValueError, RecursionError):
            return False
        return True

    def test_a_result_line_is_as_exact_as_the_daemon_reads_it(self) -> None:
        for value in PLAIN:
            line = self.codec.result(98304, value)
            assert line == b'{"id":98304,"result":' + self.codec.encode(value) + b"}", line
        refused: list[Any] = [math.nan, {"a": b""}, [set()], {"a": math.inf}, (1, object())]
        for bad in refused:
            try:
                self.codec.result(1, bad)
            except NotJson:
                continue
            raise AssertionError(f"{bad} was encoded")

    def test_rejects_with_an_error_that_is_foreseen(self) -> None:
        for text in BROKEN:
            try:
                self.codec.decode(text.encode())
            except (ValueError, RecursionError):
                continue
            assert text == "1" * 5000, text  # which older versions of Python take

    def test_encodes_what_decodes_to_the_same(self) -> None:
        for value in PLAIN:
            encoded = self.codec.encode(value)
            assert b"\n" not in encoded
            encoded.decode()
            assert json.loads(encoded) == json.loads(json.dumps(value)), value

    def test_takes_what_the_standard_one_takes(self) -> None:
        class Text(str):
            __slots__ = ()

        assert json.loads(self.codec.encode({7: Text("x"), None: 2, True: 3, 2.5: 4})) == {
            "7": "x",
            "null": 2,
            "true": 3,
            "2.5": 4,
        }

    def test_refuses_what_json_has_not(self) -> None:
        itself: list[Any] = []
        itself.append({"a": itself})
        deep: list[Any] = []
        for _ in range(300_000):
            deep = [deep]
        for value, path in [
            (math.nan, "$"),
            ({"a": [1, 2, 3, math.inf]}, "$.a[3]"),
            ([0.5] * 100 + [math.nan], "$[100]"),
            ({"a b": {"c": b""}}, "$['a b'].c"),
            ([object()], "$[0]"),
            ({"a": {(1, 2): 3}}, "$.a"),
            ({str(n): n for n in range(50)} | {"x": set()} if hasattr(dict, "__or__") else {"x": set()}, "$.x"),
            (itself, "$[0].a"),
            (deep, "$"),
        ]:
            try:
                self.codec.encode(value)
            except NotJson as refused:
                assert refused.error["data"]["path"] == path, (refused.error, path)
            else:
                raise AssertionError(f"{path} was encoded")
        while deep:
            deep = deep.pop()  # One by one: freeing it all at once would overflow an older Python's stack.


class TestStandard(Same, unittest.TestCase):
    name = "json"


class TestMsgspec(Same, unittest.TestCase):
    name = "msgspec"


class TestOrjson(Same, unittest.TestCase):
    name = "orjson"


class TestStrict(unittest.TestCase):
    def test_plain_values_are_plain(self) -> None:
        for value in PLAIN:
            self.assertTrue(is_plain(value), value)

    def test_others_are_not(self) -> None:
        class Dict(dict):  # type: ignore[type-arg]
            pass

        for bad in (b"", Dict(), math.nan, {1: 2}, {1, 2}, object()):
            for wrap in (
                lambda x: x,
                lambda x: [x],
                lambda x: {"a": x},
                lambda x: (1, [x]),
                lambda x: [x] * 50,
                lambda x: {str(n): x for n in range(50)},
                lambda x: [[1]] * 50 + [[x]],
            ):
                self.assertFalse(is_plain(wrap(bad)), wrap(bad))

    def test_a_fault_names_its_remedy(self) -> None:
        class Number:
            def tolist(self) -> float:
                return 1.0

        for value, remedy in [
            (b"", "decode"),
            ({1}, "list(x)"),
            (Number(), "float(x)"),
            (object(), "return a dict"),
            (math.nan, "None"),
        ]:
            fault = find_fault([value])
            assert fault is not None
            self.assertIn(remedy, fault.reason)
            self.assertEqual(fault.path, "$[0]")
        self.assertIsNone(find_fault([1, {"a": "b"}]))
