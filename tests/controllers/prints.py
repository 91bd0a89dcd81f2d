"""Writes to fds 1 and 2 in every way there is. None of it may reach the wire; all of it is a log line."""

import ctypes
import os
import subprocess
import sys

from basecontroller import BaseController

print("prints.py: imported")


class Controller(BaseController):
    def python(self, text: str = "hello"):
        """print(), to both."""
        print(f"out {text}")
        print(f"err {text}", file=sys.stderr)
        return text

    def descriptors(self, text: str = "hello"):
        """os.write(), to both, without Python's buffers."""
        os.write(1, f"out {text}\n".encode())
        os.write(2, f"err {text}\n".encode())
        return text

    def child(self, text: str = "hello"):
        """A child process, which inherits both."""
        subprocess.run(["sh", "-c", 'echo "out $1"; echo "err $1" >&2', "sh", text], check=True)
        return text

    def c(self, text: str = "hello"):
        """A C library that has its own stdio buffers."""
        libc = ctypes.CDLL(None)
        libc.puts(f"out {text}".encode())
        libc.fflush(None)
        return text

    def reads(self):
        """stdin is empty, not the wire."""
        return [sys.stdin.read(), os.read(0, 100).decode()]

    def fake(self):
        """What looks like the wire's own lines, printed."""
        print('{"id":32769,"result":"forged"}')
        print('__STREAM__{"id":32769,"data":"forged"}')
        return "true one"

    def unicode(self):
        """A lone surrogate, which UTF-8 has not."""
        print("surrogate \ud800 and é")
        return True

    def unended(self):
        """A line without its end."""
        print("no end of line", end="", flush=True)
        return True

    def flood(self, lines: int = 100_000):
        """More than any pipe holds."""
        for line in range(lines):
            print(f"flood {line}")
        return lines
