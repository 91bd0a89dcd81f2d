"""Measurements that need the machine, or a daemon, for themselves."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .contenders import CONTROLLER, Bench, Metrics, ask_once, baskd_command, output_of, serving
from .processes import Failed, connect, pss, running

#: What a call of `compute` is to take.
COMPUTE_SECONDS = 200e-6
#: How long a daemon that is to be idle is left alone.
REST = 0.5


def hops(bench: Bench, codec: str) -> dict[str, Metrics]:
    return {"kernel": bench.drive("hops", "--seconds", str(bench.scale.seconds))}


def start(bench: Bench, codec: str) -> dict[str, Metrics]:
    """From exec to the first answer, of the daemon and of the same router and controller without it; its idle memory.

    Each is started once before, so that its files are in the page cache and Python's are compiled.
    """
    path = bench.folder / "run" / f"start-{codec}.sock"
    command = baskd_command(bench, codec, path)
    daemon, alone = [], []
    memory = 0
    for number in range(4):
        begun = time.perf_counter()
        with running("start", command, bench.env()) as process:
            with connect(f"unix:{path}", "start", process) as connection:
                ask_once(connection, "start")
                taken = time.perf_counter() - begun
            if number == 3:
                time.sleep(REST)
                memory = pss(process.pid)
        router = next(iter(sorted((bench.folder / "state").rglob("router-*/index.py"))), None)
        if router is None:
            raise Failed("the daemon has laid no router in its state folder")
        bare = start_python(bench, codec, router)
        if number:
            daemon.append(taken)
            alone.append(bare)
    return {
        f"baskd/{codec}": {"seconds": statistics.median(daemon), "pss": memory},
        f"python/{codec}": {"seconds": statistics.median(alone)},
    }


def start_python(bench: Bench, codec: str, router: Path) -> float:
    command = [bench.installed.pythons[codec], router, CONTROLLER]
    begun = time.perf_counter()
    with running("start-python", command, bench.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b'{"method":"increment","params":{"by":1}}\n')
        process.stdin.flush()
        answer = process.stdout.readline()
        taken = time.perf_counter() - begun
        if b"counter" not in answer:
            raise Failed(f"the router by itself answered {answer.decode(errors='replace')!r}")
    return taken


def workers(bench: Bench, codec: str) -> dict[str, Metrics]:
    """A method of 200 µs pure Python, 64 calls in flight: one worker, and two."""
    params = json.dumps({"rounds": compute_rounds(bench.installed.pythons[codec])}, separators=(",", ":"))
    measured = {}
    with contextlib.ExitStack() as stack:
        to = {
            count: stack.enter_context(serving(bench, codec, f"workers-{count}", "--workers", str(count)))[0]
            for count in (1, 2)
        }
        for count, place in to.items():
            measured[f"workers-{count}/{codec}"] = bench.load(
                "inflight", place, "--method", "compute", "--params", params
            )
    return measured


@functools.cache
def compute_rounds(python: Path) -> int:
    """How many rounds of `compute` take 200 µs: once a run, for a fixed amount of work scales as work does."""
    code = f"""
import json, sys, time
sys.path[:0] = {[str(CONTROLLER.parent), str(CONTROLLER.parents[3] / "python")]!r}
from controller import Controller
compute, rounds = Controller().compute, 20000
def once():
    before = time.perf_counter()
    compute({{"rounds": rounds}})
    return time.perf_counter() - before
print(json.dumps({{"seconds": min(once() for _ in range(100)) / rounds}}))
"""
    seconds = output_of([python, "-c", code], dict(os.environ))["seconds"]
    return int(COMPUTE_SECONDS / float(seconds))


def fairness(bench: Bench, codec: str) -> dict[str, Metrics]:
    with serving(bench, codec, "fairness") as (to, _):
        seconds, warm_up = str(bench.scale.seconds), str(bench.scale.warm_up)
        return {f"baskd/{codec}": bench.drive("fairness", "--to", to, "--seconds", seconds, "--warm-up", warm_up)}


def scale(bench: Bench, codec: str) -> dict[str, Metrics]:
    with serving(bench, codec, "scale") as (to, process):
        time.sleep(REST)
        words = ["--pid", str(process.pid), "--seconds", str(bench.scale.seconds / 2)]
        return {f"baskd/{codec}": bench.drive("scale", "--to", to, *words)}


@dataclass(frozen=True)
class Solo:
    name: str
    about: str
    run: Callable[[Bench, str], dict[str, Metrics]]
    #: The workload that it is compared with, just before which it is measured; else it comes before all.
    beside: Optional[str] = None


SOLOS = (
    Solo("hops", "kernel ping-pong, one hop and two: the unit of the first row", hops, beside="sequential"),
    Solo("start", "cold start, and the daemon's idle memory", start),
    Solo("workers", "two workers against one, on 200 µs of pure Python", workers),
    Solo("fairness", "a flood beside sequential calls, and two floods", fairness),
    Solo("scale", "1,000 connections, 10,000 calls: time and memory", scale),
)
