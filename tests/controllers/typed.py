"""Every kind of signature."""

from typing import Literal, Optional, Union

from basecontroller import BaseController


class Controller(BaseController):
    """Signatures."""

    def increment(self, by: int = 1) -> int:
        """Adds one, or `by`."""
        return 1 + by

    def search(self, query: str, limit: int = 10, exact: Optional[bool] = None) -> list:
        return [query, limit, exact]

    def scale(self, x: float, factor: float = 2.0) -> float:
        return x * factor

    def whole(self, params):
        return params

    def whole_and_more(self, params, extra=1):
        return [params, extra]

    def anything(self, a, **rest):
        return [a, rest]

    def many(self, first, *others):
        return [first, list(others)]

    def positional_only(self, a, b=2, /, c=3):
        return [a, b, c]

    def keyword_only(self, a, *, b: int, c=3):
        return [a, b, c]

    def nothing(self):
        return "nothing"

    def implicit_optional(self, x: int = None):
        return x

    def either(self, x: Union[int, str]):
        return x

    def mode(self, mode: Literal["fast", "slow"] = "fast"):
        return mode

    def containers(self, xs: list, d: dict, flag: bool):
        return [xs, d, flag]

    def unresolved(self, x: "ANameThatIsNotThere", y: int = 0):  # noqa: F821
        return [x, y]

    @staticmethod
    def static(a: int = 1):
        return a

    @classmethod
    def of_class(cls, a: int = 1):
        return [cls.__name__, a]

    @property
    def a_property(self):
        return "value"

    def _private(self):
        return "private"
