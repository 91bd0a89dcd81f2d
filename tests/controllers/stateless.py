"""For several workers: who runs what, and what each of them knows."""

import os
import time

from basecontroller import BaseController


class Controller(BaseController):
    stateless = True

    def __init__(self):
        self.level = None

    def pid(self):
        return os.getpid()

    def work(self, seconds: float):
        """Pure Python for so long."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
        return os.getpid()

    def wait(self, seconds: float = 60):
        time.sleep(seconds)
        return os.getpid()

    def meet(self, folder: str, others: int, seconds: float = 30):
        """Returns once so many calls are here at once."""
        with open(os.path.join(folder, str(os.getpid())), "w"):
            pass
        until = time.monotonic() + seconds
        while len(os.listdir(folder)) < others:
            if time.monotonic() > until:
                raise TimeoutError("nobody came")
            time.sleep(0.001)
        return os.getpid()

    def getLevel(self):
        return [os.getpid(), self.level]

    def count(self, upto: int):
        for number in range(upto):
            yield [os.getpid(), number]

    def die(self):
        os._exit(7)


class Stateful(BaseController):
    def pid(self):
        return os.getpid()
