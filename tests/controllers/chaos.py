"""What the chaos suite calls: every kind of method, each of which writes down that it began and that it ended; and every
way to die, or to seem to.

What is written goes to a file that is nobody's but the suite's, in one write a line, so that what truly ran is known
whatever the daemon says. How a process starts is read from another file, which the suite changes.
"""

import asyncio
import ctypes
import json
import os
import random
import resource
import signal
import sys
import time

import baskd
from basecontroller import BaseController

LEDGER = os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
BOOT = os.environ["CHAOS_BOOT"]


def note(*words):
    os.write(LEDGER, (" ".join(map(str, words)) + f" {os.getpid()} {time.monotonic_ns()}\n").encode())


def boot():
    """What the suite wants of the next starts: one word a line, the last of which stays."""
    try:
        with open(BOOT) as file:
            lines = file.read().split("\n")
    except OSError:
        return ["ok"]
    if len(lines) > 1:
        with open(BOOT + ".new", "w") as file:
            file.write("\n".join(lines[1:]))
        os.replace(BOOT + ".new", BOOT)
    return lines[0].split() or ["ok"]


def die(how):
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "abort":
        os.abort()
    elif how == "exit":
        os._exit(3)
    elif how == "out of memory":
        # As glibc's abort after an allocation that failed: first there is none left, then it gives up.
        resource.setrlimit(resource.RLIMIT_AS, (64 << 20, resource.RLIM_INFINITY))
        try:
            bytearray(1 << 30)
        except MemoryError:
            os.abort()
    elif how == "with a child":
        # The child holds every pipe; it is of the same process group.
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        os._exit(4)
    elif how == "close everything":
        os.closerange(3, 1024)
    time.sleep(60)


WARM = float(os.environ.get("CHAOS_WARM", "0"))


class Calls(BaseController):
    version = 1

    def __init__(self):
        self._count = 0
        self._caught = 0
        self._hoard = []

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if not name.startswith("_"):
            note("p", name, json.dumps(value))

    # The life of a process

    def on_start(self):
        how = self._how = boot()
        note("u", self.version)
        if how[0] == "slow":
            time.sleep(float(how[1]))
        elif how[0] == "fail":
            raise RuntimeError("the suite wants no start")
        elif how[0] == "die":
            die(how[1])
        elif how[0] == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            time.sleep(600)
        time.sleep(WARM)

    # Calls

    def work(self, token, ms=0):
        note("b", token)
        if ms:
            time.sleep(ms / 1000)
        note("e", token)
        return token

    @baskd.idempotent
    def again(self, token, ms=0):
        note("b", token)
        if ms:
            time.sleep(ms / 1000)
        note("e", token)
        return token

    @baskd.concurrent
    def beside(self, token, ms=0):
        note("b", token)
        until = time.monotonic() + ms / 1000
        while time.monotonic() < until:
            if baskd.cancelled():
                return None
            time.sleep(0.001)
        note("e", token)
        return token

    async def later(self, token, ms=0):
        note("b", token)
        await asyncio.sleep(ms / 1000)
        note("e", token)
        return token

    def items(self, token, n=3, size=0):
        note("b", token)
        for i in range(n):
            yield [i, "x" * size] if size else i
        note("e", token)
        return token

    async def items_later(self, token, n=3):
        note("b", token)
        for i in range(n):
            await asyncio.sleep(0)
            yield i
        note("e", token)

    def sent(self, token, n=3, size=0):
        note("b", token)
        for i in range(n):
            self.send([i, "x" * size] if size else i)
        note("e", token)
        return token

    def count(self, token):
        """What a process remembers."""
        note("b", token)
        self._count += 1
        note("k", token, self._count)
        note("e", token)
        return [token, self._count]

    def hoard(self, token, mib):
        """Never gives it back."""
        note("b", token)
        self._hoard.append(bytearray(b"x") * (mib << 20))
        note("e", token)
        return token

    def large(self, token, size):
        note("b", token)
        note("e", token)
        return [token, "x" * size]

    def fail(self, token, what="value"):
        note("b", token)
        if what == "memory":
            raise MemoryError
        if what == "exit":
            sys.exit(3)
        raise ValueError("the suite wants an error")

    # Ends

    def die(self, token, how):
        note("b", token)
        die(how)

    @baskd.idempotent
    def die_once(self, token, how):
        """Dies when it is run first, and not when it is run again."""
        note("b", token)
        if token not in _first_runs():
            note("f", token)
            die(how)
        note("e", token)
        return token

    @baskd.idempotent
    def die_always(self, token, how):
        note("b", token)
        die(how)

    def stubborn(self, token):
        """Can't be cancelled, and never ends."""
        note("b", token)
        while True:
            try:
                time.sleep(60)
            except baskd.Cancelled:
                self._caught += 1

    def spin(self, token, seconds=60):
        """Computes until it is cancelled."""
        note("b", token)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sum(range(1000))
        note("e", token)
        return token

    # Garbage

    def scribble(self, token, where, seed, size, newline=True):
        """Writes garbage where only the router should: `where` is wire, in, page, stdout or stderr."""
        note("b", token)
        chance = random.Random(seed)
        garbage = chance.randbytes(size) if hasattr(chance, "randbytes") else os.urandom(size)
        if chance.random() < 0.5:
            garbage = chance.choice(FORGERIES) + garbage
        ends = _wire()
        if where == "page":
            _scribble_page(chance, size)
        elif where == "in":
            # What was sent to the router is eaten: it will never see those calls.
            os.set_blocking(ends[0], False)
            try:
                os.read(ends[0], size)
            except BlockingIOError:
                pass
            os.set_blocking(ends[0], True)
        elif where == "wire":
            os.write(ends[1], garbage + (b"\n" if newline else b""))
        else:
            os.write({"stdout": 1, "stderr": 2}[where], garbage)
        note("e", token)
        return token

    def close(self, token, which):
        """Closes one of the descriptors that it was given: 0, 1, 2, or one of the wire's ends."""
        note("b", token)
        os.close({"in": _wire()[0], "wire": _wire()[1]}[which] if isinstance(which, str) else which)
        note("e", token)
        return token


class Controller(Calls):
    """Remembers something: a counter, which a snapshot keeps."""

    def on_snapshot(self):
        note("s", self._count)
        return {"count": self._count}

    def on_restore(self, state):
        if self._how == ["refuse"]:
            note("x", state["count"])
            raise ValueError("the suite wants no restore")
        self._count = state["count"]
        note("r", self._count)


class Stateless(Calls):
    """For several workers."""

    stateless = True


FORGERIES = [
    b'{"id":18446744073709551615,"result":1}\n',
    b'{"id":0,"result":null}\n',
    b'{"ready":{"protocol":1}}\n',
    b'{"failed":{"stage":"import"}}\n',
    b'{"begun":1}\n',
    b'__STREAM__{"id":1,"data":1}\n',
    b'{"id":-1,"error":{}}\n',
    b'{"id":' + b"9" * 40 + b',"result":1}\n',
    b'{"id":1,"result":' + b"[" * 2000 + b"\n",
    b"{" * 5000 + b"\n",
    b"\xff\xfe\x00\n\n\n",
]


def _first_runs():
    with open(os.environ["CHAOS_LEDGER"]) as file:
        return {line.split()[1] for line in file if line.startswith("f ")}


def _wire():
    """The wire's two ends: the reader's and the outbox's descriptors, found as anybody could find them."""
    ends = {}
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            is_pipe = os.readlink(f"/proc/self/fd/{name}").startswith("pipe:")
            with open(f"/proc/self/fdinfo/{name}") as file:
                flags = int(file.read().split("flags:")[1].split()[0], 8)
        except OSError:
            continue
        if number > 2 and is_pipe:
            ends.setdefault(flags & os.O_ACCMODE, number)
    return ends[os.O_RDONLY], ends[os.O_WRONLY]


def _scribble_page(chance, size):
    """Writes into the memory that the daemon looks at."""
    with open("/proc/self/maps") as file:
        spans = [line.split()[0].split("-") for line in file if "memfd:" in line]
    for low, high in spans:
        start, length = int(low, 16), int(high, 16) - int(low, 16)
        for _ in range(size):
            at = chance.randrange(length // 8) * 8
            value = chance.choice([0, 1, (1 << 64) - 1, chance.getrandbits(64)])
            ctypes.c_uint64.from_address(start + at).value = value
