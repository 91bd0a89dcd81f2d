"""What the four clients call: short calls, longer ones, streams.

Each gives the property that must be there, and records in a file that outlives Python that it has begun.
"""

import os
import time

from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self._record = os.open(os.environ["CRASH_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _begun(self, n):
        os.write(self._record, f"{n}\n".encode())

    def echo(self, n):
        self._begun(n)
        return [n, self.kept]

    def work(self, n, ms=2):
        self._begun(n)
        time.sleep(ms / 1000)
        return [n, self.kept]

    def items(self, n):
        self._begun(n)
        for i in range(20):
            yield i
        return [n, self.kept]

    def pid(self):
        return os.getpid()
