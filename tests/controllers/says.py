"""Prints in every way that Python has, so that it can be told which call printed each line."""

import asyncio
import contextvars
import faulthandler
import io
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from contextlib import redirect_stdout

import baskd
from basecontroller import BaseController

print("says.py: imported")
log = logging.getLogger("says")
log.addHandler(logging.StreamHandler())


class Prints:
    """Something that prints when it goes."""

    def __init__(self, text):
        self.text = text
        self.itself = self  # Only the garbage collector finds it.

    def __del__(self):
        sys.stdout.write(self.text)


def out(text):
    print(text)


class Controller(BaseController):
    def on_start(self):
        print("on_start")
        print("on_start, err", file=sys.stderr)

    # By plain methods

    def lines(self, *lines: str):
        for line in lines:
            print(line)
        return len(lines)

    def both(self, text: str):
        print("out", text)
        print("err", text, file=sys.stderr)

    def as_python_does(self):
        log.warning("by logging")
        warnings.warn("by warnings", stacklevel=1)
        try:
            raise ValueError("by traceback")
        except ValueError:
            traceback.print_exc()

    def written(self):
        """What the ways to write give, and what the streams say of themselves."""
        given = [
            sys.stdout.write("text\n"),
            sys.stdout.write("é\n"),
            sys.stdout.buffer.write(b"bytes\n"),
            sys.stdout.buffer.write(memoryview(b"view\n")),
            sys.stdout.buffer.write(bytearray()),
        ]
        sys.stdout.buffer.writelines([b"one\n", b"two\n"])
        sys.stdout.flush()
        return given

    def about(self):
        out, err = sys.stdout, sys.stderr
        return {
            "fileno": [out.fileno(), err.fileno(), out.buffer.fileno()],
            "isatty": out.isatty(),
            "encoding": [out.encoding, err.encoding],
            "errors": [out.errors, err.errors],
            "name": [out.name, err.name],
            "mode": out.mode,
            "line_buffering": [out.line_buffering, err.line_buffering],
            "writable": [out.writable(), out.readable(), out.seekable(), out.closed],
            "is_text": isinstance(out, io.TextIOWrapper),
            "is_buffer": isinstance(out.buffer, io.BufferedWriter),
            "is_raw": isinstance(out.buffer.raw, io.FileIO),
            "is_the_first": out is sys.__stdout__ and err is sys.__stderr__,
        }

    def reconfigured(self):
        sys.stdout.reconfigure(encoding="latin-1", errors="replace")
        print("caf\xe9 \u20ac")
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        print("caf\xe9 \u20ac")

    def wrapped_anew(self):
        """As old programs do to have UTF-8."""
        buffer = sys.stdout.detach()
        sys.stdout = io.TextIOWrapper(buffer, encoding="utf-8", line_buffering=True)
        print("wrapped anew")

    def several(self):
        print("first\nsecond\n\nfourth")

    def pieces(self, *pieces: str):
        for piece in pieces:
            print(piece, end="", flush=True)

    def bar(self):
        for percent in range(0, 101, 50):
            print(f"\r{percent:3} %", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)

    def long(self, size: int):
        print("x" * size)
        return size

    def sends_first(self, text: str):
        print("before", text)
        self.send(1)
        print("after", text)

    def forged(self):
        print("\x1b_baskd;9;somebody\x1b\\a forged line")
        print("in the \x1b_baskd;9;somebody\x1b\\middle")
        print("\x1b_baskd;no number;x\x1b\\ \x1b_baskd;5 \x1b_baskd;;\x1b\\ \x1b_")

    # Beside, and in turns

    def counts(self, name: str, n: int = 3):
        for number in range(n):
            print(name, number)
            yield number

    async def later(self, name: str, n: int = 3):
        async def inner():
            print(name, "in a task of its own")

        for number in range(n):
            print(name, number)
            await asyncio.sleep(0)
        await asyncio.create_task(inner())
        await asyncio.to_thread(print, name, "in a thread with its context")

    async def streams(self, name: str):
        for number in range(3):
            print(name, number)
            yield number
            await asyncio.sleep(0)

    @baskd.concurrent
    def beside(self, name: str, n: int = 3):
        for number in range(n):
            print(name, number)

    def threads(self):
        own = threading.Thread(target=out, args=["a thread of nobody's"])
        copied = threading.Thread(target=contextvars.copy_context().run, args=[out, "a thread with a plain call's"])
        for thread in (own, copied):
            thread.start()
            thread.join()

    @baskd.concurrent
    def threads_beside(self):
        own = threading.Thread(target=out, args=["a thread of nobody's"])
        copied = threading.Thread(target=contextvars.copy_context().run, args=[out, "a thread with the call's context"])
        for thread in (own, copied):
            thread.start()
            thread.join()

    # What is not Python's, or not this process's

    def forks(self):
        child = os.fork()
        if not child:
            print("in the child")
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print("in the parent")

    def processes(self):
        for method in ("fork", "spawn"):
            child = multiprocessing.get_context(method).Process(target=out, args=[f"a child by {method}"])
            child.start()
            child.join()

    def in_turns(self):
        """The order of what Python prints and what others do is that of the lines."""
        for number in range(5):
            print("print", number)
            os.write(1, f"write {number}\n".encode())
        subprocess.run(["echo", "a program"], stdout=sys.stdout, check=True)
        print("last")

    def faults(self):
        faulthandler.enable()
        faulthandler.dump_traceback(all_threads=False)
        faulthandler.disable()

    def redirected(self):
        with redirect_stdout(io.StringIO()) as text:
            print("for itself")
        print("for all")
        return text.getvalue()

    # In the middle of a print()

    def alarms(self, n: int):
        """A signal's handler that prints, at any moment."""
        heard = []

        def handler(*_):
            try:
                sys.stdout.write("alarm\n")  # print() writes its pieces one by one.
                heard.append(None)
            except RuntimeError:
                pass  # As ever in Python, where it comes just while the pipe is full.

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
        try:
            for number in range(n):
                sys.stdout.write(f"line {number}\n")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return len(heard)

    def garbage(self, n: int):
        for number in range(n):
            Prints("collected\n")
            sys.stdout.write(f"line {number}\n")

    def floods(self):
        """Until it is cancelled."""
        number = 0
        while True:
            print("flood", number)
            number += 1

    def dies(self):
        print("last words", file=sys.stderr)
        print("without an end", end="", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
