"""A storm of cancels over many short calls, each of which is checked: `python -m tests.storm [CALLS [SEED]]`.

The controller keeps a mark for each call that begins, and one for each that comes to its end. Afterwards:

- a call that nobody cancelled was answered with its own result, and ran to its end, once;
- so did one that was cancelled too late, and was answered with its result;
- any other that was cancelled was answered so, and began once at most.

Nothing may have been printed to stderr. The seed is printed: with it, the same calls are made, and the same are
cancelled; when exactly that strikes is up to the machine.
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any, NamedTuple

from tests.support import FIXTURES, Spawned

CANCELLED = -32024
#: So many calls are under way.
DEPTH = 24


class Figures(NamedTuple):
    calls: int
    cancels: int
    struck: int
    never_begun: int
    too_late: int


def storm(cls: str, calls: int, seed: int) -> Figures:
    """Runs it; raises an AssertionError that says what went wrong."""
    chance = random.Random(seed)
    methods = ["plain"] * 10 + ["compute"] * 3 + ["generate"] * 2 + ["sleep"]
    if cls == "Async":
        methods += ["later"] * 4 + ["sleep_later"]
    keys: dict[int, int] = {}
    victims: set[int] = set()
    outcome = bytearray(calls)  # 1: its result, 2: cancelled
    cancelled = bytearray(calls)
    with Spawned(FIXTURES / "storm.py", cls=cls, window=[1 << 20, 1 << 30]) as router:
        router.result("prepare", [calls])

        def take(message: dict[str, Any]) -> None:
            if "begun" in message:
                return
            key = keys[message["id"]]
            if "data" in message:
                assert message["data"] == key, f"an item of another call: {message}"
                return
            del keys[message["id"]]
            victims.discard(message["id"])
            if "result" in message:
                assert message["result"] == key * 3, f"the result of another call: {message}"
                outcome[key] = 1
            else:
                assert message["error"]["code"] == CANCELLED, f"another error: {message}"
                assert cancelled[key], f"cancelled, and nobody asked for it: {message}"
                outcome[key] = 2

        sent = 0
        while sent < calls or keys:
            lines = []
            for _ in range(min(chance.randint(1, 8), calls - sent, DEPTH - len(keys))):
                ident, method = router.ident(), chance.choice(methods)
                params = b"%d" % sent if method == "plain" else b"%d,%d" % (sent, chance.choice([1, 30, 300, 2000]))
                lines.append(b'{"id":%d,"method":"%b","params":[%b]}\n' % (ident, method.encode(), params))
                keys[ident] = sent
                sent += 1
            if lines:
                router.raw(b"".join(lines))
            until = time.perf_counter() + chance.random() * 2e-4
            while time.perf_counter() < until:
                pass
            for _ in range(chance.choice([0, 0, 1, 2])):
                others = [ident for ident in keys if ident not in victims]
                if others:
                    # Mostly one that runs, or is about to.
                    victim = others[0] if chance.random() < 0.7 else chance.choice(others)
                    victims.add(victim)
                    cancelled[keys[victim]] = 1
                    router.cancel(victim)
            while keys and (len(keys) >= DEPTH or sent == calls or router.has_more()):
                take(router.read())
        path = os.path.join(router.folder.name, "report")
        router.result("report", [path])
        with open(path, "rb") as file:
            report = file.read()
        router.end_input()
        stderr = router.complained.wait()
    assert not stderr, f"on stderr: {stderr[:5000]}"

    never_begun = 0
    for key, (began, ended) in enumerate(zip(report[:calls], report[calls:])):
        if outcome[key] == 1:
            assert began == ended == 1, f"call {key}: its result came, it began {began} times and ended {ended} times"
        else:
            assert began <= 1 and ended <= began, f"call {key}: cancelled, it began {began} times, ended {ended} times"
            never_begun += not began
    struck = outcome.count(2)
    return Figures(calls, cancelled.count(1), struck, never_begun, cancelled.count(1) - struck)


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    for name, cls in (("in the plain loop", "Controller"), ("in the asyncio loop", "Async")):
        print(f"{name}, seed {seed}: ", end="", flush=True)
        began = time.monotonic()
        figures = storm(cls, calls // 2, seed)
        print(
            f"{figures.calls:,} calls in {time.monotonic() - began:.0f} s, {figures.cancels:,} cancels: "
            f"{figures.struck - figures.never_begun:,} calls were struck, {figures.never_begun:,} never began, "
            f"{figures.too_late:,} cancels came too late; no other call was hurt",
            flush=True,
        )


if __name__ == "__main__":
    main()
