"""Is ready when a file is there."""

import os
import time

from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.counted = 0

    def on_start(self):
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.005)

    def count(self):
        self.counted += 1
        return self.counted

    def items(self, n: int = 3):
        self.counted += 1
        yield from range(n)
