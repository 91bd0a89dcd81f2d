"""What the wire tests call: each method does one thing that a test wants to see from outside."""

import math
import os
import signal
import subprocess
import sys
import time

import baskd
from basecontroller import BaseController


class Controller(BaseController):
    def __init__(self):
        self.counted = 0
        self.ended = []

    def echo(self, params):
        return params

    def add(self, a: int, b: int = 1):
        """Adds b to a."""
        return a + b

    def pid(self):
        return os.getpid()

    def count(self):
        self.counted += 1
        return self.counted

    def howEnded(self):
        return self.ended

    # Calls that take long

    def sleep(self, seconds, name="sleep"):
        """Says that it has begun, then sleeps; how it ended is remembered."""
        try:
            self.send("begun")
            time.sleep(seconds)
        except baskd.Cancelled:
            self.ended.append([name, "cancelled"])
            raise
        self.ended.append([name, "slept"])
        return "slept"

    def waitFor(self, path, seconds=60):
        """Runs until that file is there."""
        self.send("begun")
        deadline = time.monotonic() + seconds
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                raise TimeoutError(path)
            time.sleep(0.005)
        return "found"

    def stubborn(self, path):
        """Does not let itself be cancelled until that file is there."""
        said = False
        while True:
            try:
                if not said:
                    said = True
                    self.send("begun")
                while not os.path.exists(path):
                    time.sleep(0.005)
                return "done"
            except baskd.Cancelled:
                pass

    async def asleep(self, seconds):
        import asyncio

        self.send("begun")
        await asyncio.sleep(seconds)
        return "slept"

    # Partial results

    def items(self, n, size=0):
        """A generator."""
        for i in range(n):
            yield {"i": i, "pad": "x" * size} if size else i
        return n

    def sent(self, n, size=0):
        """A plain method."""
        for i in range(n):
            self.send({"i": i, "pad": "x" * size} if size else i)
        return n

    def endless(self):
        try:
            i = 0
            while True:
                yield i
                i += 1
        except baskd.Cancelled:
            self.ended.append(["endless", "cancelled"])
            raise

    def failing(self, after=2):
        yield from range(after)
        raise ValueError("that was enough")

    # Answers that are none

    def fail(self, message="no"):
        raise ValueError(message)

    def nan(self):
        return {"a": [1, math.nan]}

    def bytes(self):
        return {"deep": {"b": b"\x00"}}

    def big(self, size):
        return "x" * size

    # Ends

    def exit(self, code=3):
        print("last words", file=sys.stderr, flush=True)
        os._exit(code)

    def signalled(self, number=int(signal.SIGSEGV)):
        os.kill(os.getpid(), number)
        time.sleep(60)

    def grandchild(self, seconds=60):
        """Starts a process that leaves the group and the session and holds the pipes; gives its pid."""
        child = subprocess.Popen(
            [sys.executable, "-c", f"import time; time.sleep({seconds})"],
            stdout=1,
            stderr=2,
            start_new_session=True,
        )
        return child.pid

    def child(self, seconds=60):
        """Starts a process of this one's own group."""
        return subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"]).pid

    # Output

    def speak(self, text="hello"):
        """Prints in every way there is, on both descriptors."""
        print(f"{text} print stdout", flush=True)
        print(f"{text} print stderr", file=sys.stderr, flush=True)
        os.write(1, f"{text} write stdout\n".encode())
        os.write(2, f"{text} write stderr\n".encode())
        for number in (1, 2):
            subprocess.run(["sh", "-c", f"echo {text} child {number} >&{number}"], check=True)
        return text
