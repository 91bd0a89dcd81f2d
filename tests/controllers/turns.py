"""Tells in which order calls began, and has ways to keep Python busy until a test says so."""

import os
import time

import baskd
from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.began = []

    def mark(self, name):
        """Begins, and ends."""
        self.began.append(name)

    def hold(self, name, path):
        """Begins, and runs until that file is there."""
        self.began.append(name)
        self.send("begun")
        while not os.path.exists(path):
            time.sleep(0.001)

    def marks(self, n: int):
        """Begins with each item."""
        for i in range(n):
            self.began.append(f"marks {i}")
            yield i

    def order(self):
        return self.began

    def stuck(self):
        """A C library's endless loop: no signal handler runs in it, and one that runs before it changes nothing."""
        try:
            self.send("begun")
            sum(range(10**15))
        except baskd.Cancelled:
            sum(range(10**15))

    @baskd.concurrent
    def stuck_beside(self):
        """The same, where it keeps nobody waiting."""
        self.send("begun")
        while True:
            time.sleep(0.001)

    def pid(self):
        return os.getpid()
