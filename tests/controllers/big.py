"""Large params and large results."""

from basecontroller import BaseController


class Controller(BaseController):
    def echo(self, params):
        return params

    def make(self, n: int = 1 << 20):
        """A text of n bytes."""
        return "x" * n

    def size(self, text: str):
        return len(text)

    def stream(self, n: int = 1 << 20, items: int = 10):
        """Items of n bytes."""
        for _ in range(items):
            yield "x" * n
        return items
