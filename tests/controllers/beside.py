"""Methods that run in threads, beside the others. (A file named concurrent.py would hide the standard package.)"""

import threading
import time

import baskd
from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.gate = threading.Event()
        self.main = threading.get_ident()

    def echo(self, params):
        return params

    def open(self):
        self.gate.set()
        return True

    def block(self, seconds: float = 0.2):
        time.sleep(seconds)
        return seconds

    @baskd.concurrent
    def wait(self):
        """Until `open` is called, which it can be, since this is not on the main thread."""
        self.gate.wait()
        return threading.get_ident() != self.main

    @baskd.concurrent
    def sleep(self, seconds: float = 0.2):
        time.sleep(seconds)
        return seconds

    @baskd.concurrent
    def until_cancelled(self):
        self.send("started")
        while not baskd.cancelled():
            time.sleep(0.001)
        raise baskd.Cancelled

    @baskd.concurrent
    def count(self, n: int = 10):
        for i in range(n):
            yield i
        return n

    @baskd.concurrent
    def sends(self, n: int = 10):
        for i in range(n):
            self.send(i)
        return n

    @baskd.concurrent
    def fails(self):
        raise ValueError("in a thread")

    @baskd.concurrent
    def not_json(self):
        return object()

    @baskd.idempotent
    def again(self):
        return True

    def sends_from_a_thread(self, n: int = 3):
        """A library's thread calls back while the method waits."""
        thread = threading.Thread(target=lambda: [self.send(i) for i in range(n)])
        thread.start()
        thread.join()
        return n

    def leaves_a_thread(self):
        """A thread that is no daemon, and never ends."""
        threading.Thread(target=threading.Event().wait).start()
        return True
