"""Dies, or seems to, in every way there is."""

import ctypes
import os
import signal
import sys

from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.calls = 0

    def echo(self, params):
        self.calls += 1
        return params

    def pid(self):
        return os.getpid()

    def leave(self, code: int = 3):
        """Ends without a word."""
        print("leaving", file=sys.stderr)
        os._exit(code)

    def kill(self, number: int = int(signal.SIGKILL)):
        """Ends by a signal."""
        os.kill(os.getpid(), number)
        signal.pause()

    def segfault(self):
        """A C library's mistake."""
        ctypes.string_at(0)

    def abort(self):
        os.abort()

    def exit(self, code=3):
        """Only an exception, here: the process lives."""
        sys.exit(code)

    def fail(self, message: str = "bad input"):
        raise ValueError(message)

    def fail_twice(self):
        """An exception while another is handled."""
        try:
            self.fail("first")
        except ValueError as first:
            raise KeyError("second") from first

    def fail_badly(self):
        """An exception that can't be read."""

        class Broken(Exception):
            def __str__(self):
                raise RuntimeError("unreadable")

        raise Broken

    def type_error(self):
        """A TypeError of the method's own, which is not about its params."""
        return len(5)

    def memory(self):
        raise MemoryError

    def recursion(self):
        return self.recursion()

    def interrupt(self):
        raise KeyboardInterrupt

    def generator_exit(self):
        raise GeneratorExit

    def close_everything(self):
        """Closes every descriptor there is, the wire's among them."""
        os.closerange(3, 1024)
        return "nobody hears this"

    def send_then_leave(self):
        """Has begun, and has sent."""
        self.send("before")
        os._exit(4)
