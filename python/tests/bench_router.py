"""A bench, not a test: what a call costs one router, against the tightest loop that Python could run in its place.

    cd python && python -m tests.bench_router [PYTHON ...]

The driver writes calls into a pipe and reads answers from another, on the other core; so does it with `direct`, which
is the same controller in a loop that decodes, calls and encodes, and does nothing else. Rounds are interleaved. What is
printed is the median of the rounds, and for each the router's share of the direct loop's rate; `CPU` is the process's
own time for each call or item, which tells more than the rate where the driver is the slower one of the two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from typing import Any, Callable, NamedTuple

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests import support

ROUNDS = 5
CALLS = 100_000
ITEMS = 200_000
ONE_BY_ONE = 10_000
BIG = 200
DEPTH = 64

CONTROLLER = """
class Controller:
    def __init__(self):
        self.n = 0
    def increment(self, params):
        self.n += params.get("by", 1)
        return {"counter": self.n}
    def add(self, by: int = 1):
        self.n += by
        return {"counter": self.n}
    def echo(self, params):
        return params
    def count(self, params):
        for i in range(params["n"]):
            yield {"token": i}
"""
ASYNC = (
    CONTROLLER
    + """
    async def later(self, by: int = 1):
        return {"counter": by}
"""
)

DIRECT = (
    CONTROLLER
    + """
import os, sys
from types import GeneratorType
try:
    import msgspec
    loads, dumps = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
except ImportError:
    sys.path.append(sys.argv[3])
    from baskd import codec
    loads, dumps = codec.standard().decode, codec.standard().encode
reading, writing = map(int, sys.argv[1:3])
controller, parts, FULL = Controller(), [], 64
methods = {name: getattr(controller, name) for name in ("increment", "echo", "count")}
def write(answers):
    data = answers[0] if len(answers) == 1 else b"".join(answers)
    written = os.write(writing, data)
    while written < len(data):
        data = data[written:]
        written = os.write(writing, data)
while True:
    data = os.read(reading, 1 << 16)
    if not data:
        break
    if b"\\n" not in data:
        parts.append(data)
        continue
    if parts:
        data = b"".join([*parts, data])
        parts.clear()
    lines = data.split(b"\\n")
    rest = lines.pop()
    if rest:
        parts.append(rest)
    answers = []
    for line in lines:
        call = loads(line)
        result = methods[call["method"]](call["params"])
        if type(result) is GeneratorType:
            item_line = b'{"jsonrpc":"2.0","method":"stream.item","params":{"subscription":1,"result":{"item":%b}}}\\n'
            for item in result:
                answers.append(item_line % dumps(item))
                if len(answers) == FULL:
                    write(answers)
                    answers.clear()
            result = None
        answers.append(b'{"jsonrpc":"2.0","id":%d,"result":%b}\\n' % (call["id"], dumps(result)))
    if answers:
        write(answers)
"""
)


class Side(NamedTuple):
    """One of the two that are compared: its pipes, its process, and how it is called."""

    name: str
    writing: int
    reading: int
    pid: int
    envelope: bytes

    def line(self, ident: int, method: str, params: bytes) -> bytes:
        return self.envelope % (ident, method.encode(), params)

    def cpu(self) -> float:
        """The time it has computed, in seconds."""
        return time.clock_gettime(~self.pid << 3 | 2)


class Measured(NamedTuple):
    rate: float
    cpu: float


def in_flight(side: Side, method: str, n: int, params: bytes = b'{"by":5}') -> None:
    """Calls with DEPTH of them under way."""
    lines = [side.line(1 << 15 | slot, method, params) for slot in range(DEPTH)]
    length = len(lines[0])
    block = memoryview(b"".join(lines) * 2)
    sent = seen = 0
    while seen < n:
        some = min(DEPTH - (sent - seen), n - sent)
        if some:
            start = sent % DEPTH * length
            os.write(side.writing, block[start : start + some * length])
            sent += some
        seen += os.read(side.reading, 1 << 18).count(b"\n")


def one_by_one(side: Side, n: int) -> None:
    line = side.line(1 << 15, "increment", b'{"by":5}')
    for _ in range(n):
        os.write(side.writing, line)
        os.read(side.reading, 65536)


def items(side: Side, n: int) -> None:
    line = side.line(1 << 15, "count", b'{"n":%d}' % n)
    if side.name == "router":
        line = line[:-2] + b',"window":[%d,%d]}\n' % (1 << 40, 1 << 50)
    os.write(side.writing, line)
    seen = 0
    while seen <= n:
        seen += os.read(side.reading, 1 << 18).count(b"\n")


def echo_big(side: Side, n: int) -> None:
    """One MiB there and back."""
    line = side.line(1 << 15, "echo", b'{"text":"' + b"x" * (1 << 20) + b'"}')
    os.set_blocking(side.writing, False)
    os.set_blocking(side.reading, False)
    try:
        for _ in range(n):
            left = memoryview(line)
            last = b""
            while last != b"\n":
                try:
                    left = left[os.write(side.writing, left) :] if left else left
                except BlockingIOError:
                    pass
                try:
                    last = os.read(side.reading, 1 << 20)[-1:]
                except BlockingIOError:
                    pass
    finally:
        os.set_blocking(side.writing, True)
        os.set_blocking(side.reading, True)


def measure(side: Side, work: Callable[..., None], n: int, *arguments: Any) -> Measured:
    cpu, began = side.cpu(), time.perf_counter()
    work(side, *arguments, n)
    return Measured(n / (time.perf_counter() - began), (side.cpu() - cpu) / n * 1e6)


def compare(label: str, sides: list[Side], work: Callable[..., None], n: int, *arguments: Any) -> None:
    rounds: list[list[Measured]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, measured in zip(sides, rounds):
            measured.append(measure(side, work, n, *arguments))
    ratios = sorted(a.rate / b.rate for a, b in zip(rounds[0], rounds[-1]))
    told = "; ".join(
        f"{side.name} {median(m.rate for m in measured):9,.0f}/s, CPU {median(m.cpu for m in measured):6.2f} us"
        for side, measured in zip(sides, rounds)
    )
    print(f"{label:28} {told}; ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


def direct(python: str) -> tuple[Side, subprocess.Popen[bytes]]:
    reading, its_writing = os.pipe()
    its_reading, writing = os.pipe()
    arguments = [python, "-c", DIRECT, str(its_reading), str(its_writing), str(support.PYTHON)]
    process = subprocess.Popen(arguments, pass_fds=(its_reading, its_writing))
    os.close(its_reading)
    os.close(its_writing)
    envelope = b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}\n'
    return Side("direct", writing, reading, process.pid, envelope), process


def run(python: str, source: str, wanted: list[str]) -> None:
    sys.executable = python
    with support.Spawned(source) as router:
        name = f"{router.ready['python']} {router.ready['codec']}"
        envelope = b'{"id":%d,"method":"%b","params":%b}\n'
        side = Side("router", router._stdin, router._stdout, router.process.pid, envelope)
        other, process = direct(python)
        every: dict[str, tuple[Any, ...]] = {
            "increment": (in_flight, CALLS, "increment"),
            "one by one": (one_by_one, ONE_BY_ONE),
            "items": (items, ITEMS),
            "1 MiB": (echo_big, BIG),
        }
        for what, (work, n, *arguments) in every.items():
            if not wanted or what in wanted:
                compare(f"{name} {what}", [side, other], work, n, *arguments)
        if not wanted:
            compare(f"{name} add(by: int)", [side], in_flight, CALLS, "add")
            if "later" in source:
                compare(f"{name} async def", [side], in_flight, CALLS // 4, "later")
        os.close(other.writing)
        process.wait()


if __name__ == "__main__":
    only = [name for name in ("increment", "one by one", "items", "1 MiB") if f"--{name.replace(' ', '-')}" in sys.argv]
    for each in [path for path in sys.argv[1:] if not path.startswith("--")] or [sys.executable]:
        for text in (CONTROLLER, ASYNC):
            print("in the plain loop" if text is CONTROLLER else "in the asyncio loop")
            run(each, text, only)
