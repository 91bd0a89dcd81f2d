"""Results that JSON has, and results that it has not."""

import collections
import datetime
import decimal
import enum

from basecontroller import BaseController


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


class Thing:
    pass


def itself():
    value = {"a": []}
    value["a"].append(value)
    return value


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


GOOD = {
    "tuple": lambda: (1, (2, 3)),
    "big int": lambda: 10**30,
    "int keys": lambda: {7: "a", None: "b", True: "c", 2.5: "d"},
    "surrogate": lambda: "\ud800",
    "emoji": lambda: "\U0001f600 é",
    "subclass": lambda: [Text("x"), Colour.RED, collections.OrderedDict(a=1)],
    "floats": lambda: [0.1, 1e22, -0.0, 5e-324, 2.0],
    "line separators": lambda: "\u2028\n\r\0",
    "shared": lambda: [[1]] * 3,
    "deep": lambda: nested(100),
    "long": lambda: list(range(100)),
}
BAD = {
    "nan": lambda: {"a": [1, 2, 3, float("nan")]},
    "infinity": lambda: {"scores": {"the best": float("-inf")}},
    "many floats": lambda: [0.5] * 100 + [float("inf")],
    "bytes": lambda: {"a": b"x"},
    "object": lambda: [Thing()],
    "itself": itself,
    "deep": lambda: nested(200_000),
    "set": lambda: {1, 2},
    "tuple keys": lambda: {"a": {(1, 2): 3}},
    "nan key": lambda: {float("nan"): 1},
    "date": lambda: [datetime.date(2020, 1, 1)],
    "decimal": lambda: decimal.Decimal("1.5"),
    "complex": lambda: 1j,
    "function": lambda: print,
    "class": lambda: Thing,
    "exception": lambda: ValueError("x"),
}


class Controller(BaseController):
    def good(self, name: str):
        return GOOD[name]()

    def bad(self, name: str):
        return BAD[name]()

    def names(self):
        return {"good": list(GOOD), "bad": list(BAD)}

    def echo(self, params):
        return params

    def kind(self, params):
        """What a value has become in Python."""
        return {name: [type(value).__name__, repr(value)[:60]] for name, value in params.items()}

    def sends(self, name: str):
        """Not JSON, sent."""
        self.send(BAD[name]())

    def catches(self):
        try:
            self.send(b"x")
        except TypeError as problem:
            return str(problem)

    def numpy(self, what: str):
        import numpy

        return {"x": {"scalar": numpy.float32(1), "array": numpy.zeros(3), "float64": numpy.float64(0.5)}[what]}
