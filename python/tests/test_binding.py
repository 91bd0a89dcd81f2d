"""From params to arguments."""

from __future__ import annotations

import inspect
import unittest
from typing import Any, Callable, Dict, List, Optional, Union

from baskd import binding
from baskd.errors import BadParams
from baskd.schema import fitting, hints_of, schema_of


def call(function: Callable[..., Any], params: Any) -> Any:
    signature = inspect.signature(function)
    bind = (
        binding.whole
        if binding.takes_whole(signature)
        else binding.build(signature, hints_of(function), "self" if inspect.ismethod(function) else None)
    )
    arguments, named = bind(params)
    return function(*arguments, **named)


class TestBinding(unittest.TestCase):
    def refused(self, function: Callable[..., Any], params: Any) -> tuple[str, dict[str, Any]]:
        with self.assertRaises(BadParams) as caught:
            call(function, params)
        error = caught.exception.error
        self.assertEqual(error["code"], -32602)
        self.assertLessEqual({"parameter", "wanted", "got"}, error["data"].keys())
        return error["message"], error["data"]

    def test_params_gets_all(self) -> None:
        def f(params: Any) -> Any:
            return params

        for given, got in [(None, {}), ({}, {}), ({"a": 1}, {"a": 1}), ([1, 2], [1, 2])]:
            self.assertEqual(call(f, given), got)

    def test_by_name_and_in_order(self) -> None:
        def f(a: Any, b: Any = 2, *, c: Any = 3) -> Any:
            return [a, b, c]

        self.assertEqual(call(f, {"a": 1}), [1, 2, 3])
        self.assertEqual(call(f, {"c": 5, "a": 1}), [1, 2, 5])
        self.assertEqual(call(f, [1, 4]), [1, 4, 3])
        self.assertEqual(self.refused(f, None)[1]["parameter"], "a")
        self.assertEqual(self.refused(f, [])[1]["parameter"], "a")
        self.assertEqual(self.refused(f, [1, 2, 3])[1], {"parameter": None, "wanted": 2, "got": 3})
        self.assertEqual(self.refused(f, "text")[1]["parameter"], "params")

    def test_a_slip_is_answered_with_the_nearest_name(self) -> None:
        def f(query: str, limit: int = 0) -> None: ...

        message, data = self.refused(f, {"limits": 5})
        self.assertEqual(message, 'There is no parameter "limits"; did you mean "limit"?')
        self.assertEqual(data["nearest"], ["limit"])
        message, data = self.refused(f, {"qurey": 5})
        self.assertEqual(data["parameter"], "qurey")
        self.assertIn('did you mean "query"', message)
        self.assertIn("there are query, limit", self.refused(f, {"zzz": 5})[0])

        def nothing() -> None: ...

        self.assertIn("takes none", self.refused(nothing, {"a": 1})[0])

    def test_variadic(self) -> None:
        class C:
            def f(self, a: Any, *more: Any, **rest: Any) -> Any:
                return [a, more, rest]

            def odd(this, self: Any = 0, **rest: Any) -> Any:
                return [self, rest]

        f = C().f
        self.assertEqual(call(f, [1, 2, 3]), [1, (2, 3), {}])
        self.assertEqual(call(f, {"a": 1, "b": 2}), [1, (), {"b": 2}])
        self.assertEqual(self.refused(f, {"a": 1, "self": 2})[1]["parameter"], "self")
        self.assertEqual(binding.build(inspect.signature(C().odd), {}, "this")({"self": 1})[1], {"self": 1})

    def test_positional_only(self) -> None:
        def f(a: Any, b: Any = 2, /, c: Any = 3) -> Any:
            return [a, b, c]

        self.assertEqual(call(f, {"a": 1}), [1, 2, 3])
        self.assertEqual(call(f, {"a": 1, "b": 5, "c": 6}), [1, 5, 6])
        self.assertEqual(call(f, [7]), [7, 2, 3])

        def g(a: Any = 1, b: Any = 2, /, **rest: Any) -> Any:
            return [a, b, rest]

        self.assertEqual(call(g, {"b": 5, "x": 6}), [1, 5, {"x": 6}])

    def test_keyword_only(self) -> None:
        def f(a: Any, *, b: Any) -> Any:
            return [a, b]

        self.assertEqual(call(f, {"a": 1, "b": 2}), [1, 2])
        self.assertEqual(self.refused(f, [1])[1]["parameter"], "b")

    def test_hints_are_contradicted_only_plainly(self) -> None:
        def f(
            i: int = 0,
            x: float = 0,
            s: Optional[str] = None,
            u: Union[int, str] = 0,
            xs: List[int] = [],  # noqa: B006, UP006
            d: Dict[str, int] = {},  # noqa: B006, UP006
            n: int = None,  # type: ignore[assignment] # noqa: RUF013
            t: tuple[int, ...] = (),
            any_: Any = None,
        ) -> Any:
            return True

        good = [
            {"i": 1},
            {"x": 1},
            {"x": 1.5},
            {"s": None},
            {"u": "a"},
            {"xs": ["not looked at"]},
            {"d": {}},
            {"n": None},
            {"t": [1]},
            {"any_": {}},
        ]
        for params in good:
            self.assertTrue(call(f, params), params)
        bad = [
            ({"i": 1.0}, "integer", "number"),
            ({"i": True}, "integer", "boolean"),
            ({"i": None}, "integer", "null"),
            ({"x": "1"}, "number", "string"),
            ({"x": True}, "number", "boolean"),
            ({"s": 1}, ["null", "string"], "integer"),
            ({"u": 1.5}, ["integer", "string"], "number"),
            ({"xs": {}}, "array", "object"),
            ({"d": []}, "object", "array"),
        ]
        for params, wanted, got in bad:
            data = self.refused(f, params)[1]
            self.assertEqual((data["wanted"], data["got"]), (wanted, got), params)
        self.assertEqual(self.refused(f, [1, "x"])[1]["parameter"], "x")
        self.assertEqual(self.refused(f, {"i": "5"})[0], 'The parameter "i" must be an integer, not a string.')

    def test_a_type_error_inside_is_the_methods_own(self) -> None:
        def f(a: Any) -> int:
            return len(a)

        with self.assertRaises(TypeError):
            call(f, {"a": 5})


class TestSchema(unittest.TestCase):
    def test_hints(self) -> None:
        for hint, schema in [
            (int, {"type": "integer"}),
            (Optional[str], {"anyOf": [{"type": "string"}, {"type": "null"}]}),
            (list[int], {"type": "array", "items": {"type": "integer"}}),
            (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
            (
                tuple[int, str],
                {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
            ),
            (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
            (None, {"type": "null"}),
            (Any, {}),
            (object(), {}),
            ("text", {}),
        ]:
            self.assertEqual(schema_of(hint), schema, hint)

    def test_a_hint_that_cant_be_resolved_spoils_no_other(self) -> None:
        def f(a: ANameThatIsNotThere, b: int) -> None: ...  # type: ignore[name-defined] # noqa: F821

        self.assertEqual(hints_of(f), {"b": int, "return": None})
        self.assertIsNone(fitting("anything"))
