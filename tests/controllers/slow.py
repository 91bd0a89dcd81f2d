"""Takes its time, in every way there is."""

import os
import time

import baskd
from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.cleaned = []
        self.finished = 0

    def echo(self, params):
        return params

    def sleep(self, seconds: float = 60):
        """Waits in a system call."""
        try:
            time.sleep(seconds)
        except baskd.Cancelled:
            self.cleaned.append("sleep")
            raise
        self.finished += 1
        return seconds

    def until(self, path: str):
        """Waits for that file."""
        while not os.path.exists(path):
            time.sleep(0.001)

    def spin(self, seconds: float = 60):
        """Waits in Python code."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        return seconds

    def ignores(self, seconds: float = 0.2):
        """Takes no notice of being cancelled."""
        try:
            time.sleep(60)
        except baskd.Cancelled:
            time.sleep(seconds)
        return "ignored"

    def swallows_exceptions(self):
        """`except Exception` does not catch Cancelled."""
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass

    def cleaned_up(self):
        return self.cleaned
