"""Dies while a large result is being written, so that the wire ends in the middle of a line."""

import os
import threading

from basecontroller import BaseController


class Controller(BaseController):
    def echo(self, params):
        return params

    def reply(self, n: int = 64 << 20, after: float = 0.05):
        """The writing of this result takes longer than `after` seconds, or blocks."""
        threading.Timer(after, os._exit, [5]).start()
        return "x" * n
