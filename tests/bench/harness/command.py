"""The command line of tests/bench/run."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from suites.runner import REPOSITORY
from suites.runner import Failed as NotInstalled

from . import about, plot, report, rounds
from .contenders import ALL, CONTENDERS, Bench, Scale
from .install import BENCH, LOG_FOLDER, Installed, install
from .processes import places
from .rows import NAMES
from .solo import SOLOS

ABOUT = """\
Measures baskd against the direct limit (its Controller in the tightest Python loop on a socket), the ways it replaces,
and web servers, one after another in each of some rounds, and writes RESULTS.md, results.svg and results.json.

A whole run takes about {minutes} minutes, wants a machine that does nothing else, and writes into tests/bench. What a
run of a part finds, or of fewer than 5 rounds, goes to target/bench. $BASKD_BIN names a binary to measure, in place of
a release build of this tree.
"""
WORKLOADS = {
    "sequential": "one small call after another",
    "ticks": "a stream that yields once a millisecond: an item's way",
    "inflight": "64 small calls in flight on one connection",
    "clients": "8 connections, one small call in flight each",
    "stream": "a stream of 100,000 small items",
    "echo": "a string of 1 MiB there and back",
}
MINUTES = 8
QUICK_AGAINST = ("direct", "relay", "baskd")


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.render:
        write(json.loads(options.render.read_text()), options.out or options.render.resolve().parent)
        return 0
    if options.measurements == ["criterion"]:
        return criterion()
    try:
        return measure(options)
    except NotInstalled as failure:
        print(
            f"tests/bench/run: {failure}; what was run is in {LOG_FOLDER.parent / 'bench-install.log'}", file=sys.stderr
        )
        return 1


def measure(options: argparse.Namespace) -> int:
    load = about.load()  # Before what is built here adds to it.
    plan = rounds.Plan(
        workloads=tuple(name for name in WORKLOADS if name in options.measurements),
        solos=tuple(solo for solo in SOLOS if solo.name in options.measurements),
        contenders=tuple(it for it in CONTENDERS if it.name in options.against),
        codecs=tuple(options.codec),
    )
    installed = install(
        # A contender that has a codec of its own is measured once, under that name.
        sorted({*options.codec, *(codec for it in plan.contenders if len(it.codecs) == 1 for codec in it.codecs)}),
        with_node=any(it.needs_node for it in plan.contenders),
        with_peers=any(it.needs_peers for it in plan.contenders),
    )
    scale = Scale(options.seconds, min(0.15, options.seconds / 4), options.items, options.ticks)
    begun = time.monotonic()
    if load > 0.5:
        print(f"  the machine is busy (load {load:.1f}): this will show", flush=True)
    results = rounds.run(plan, options.rounds, lambda: prepared(installed, scale))
    saved = {
        "about": {
            "command": " ".join(["tests/bench/run", *map(shlex.quote, sys.argv[1:])]),
            "date": datetime.date.today().isoformat(),
            "machine": f"{about.machine()}, load {load:.1f} before",
            "versions": about.versions(installed),
            "seconds": round(time.monotonic() - begun),
        },
        "whole": options.whole,
        "codecs": options.codec,
        "rounds": results.rounds,
        "failures": results.failures,
    }
    is_kept = options.whole and options.rounds >= report.ENOUGH
    write(saved, options.out or (BENCH if is_kept else REPOSITORY / "target" / "bench"))
    status = 1 if results.failures else 0
    if "criterion" in options.measurements:
        status = criterion() or status
    return status


@contextlib.contextmanager
def prepared(installed: Installed, scale: Scale) -> Iterator[Bench]:
    with places() as folder:
        yield Bench(installed, scale, folder)


def write(saved: report.Saved, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = report.markdown(saved)
    (folder / "RESULTS.md").write_text(text)
    (folder / "results.svg").write_text(plot.svg(saved))
    (folder / "results.json").write_text(_by_lines(saved))
    print(text)
    print(f"Written: RESULTS.md, results.svg and results.json in {folder}")


def _by_lines(saved: report.Saved) -> str:
    """JSON with a line for each measurement of each round, so that a person can find and a diff can show them."""
    rest = json.dumps({name: value for name, value in saved.items() if name != "rounds"}, indent=1)
    rounds_of_lines = [
        "{\n" + ",\n".join(f"  {json.dumps(name)}: {json.dumps(cells)}" for name, cells in one.items()) + "\n }"
        for one in saved["rounds"]
    ]
    return rest.removesuffix("\n}") + ',\n "rounds": [' + ", ".join(rounds_of_lines) + "]\n}\n"


def criterion() -> int:
    """The scanner and the envelope by themselves."""
    return subprocess.run(
        ["cargo", "bench", "--locked", "-p", "baskd-protocol"], cwd=REPOSITORY, check=False
    ).returncode


def arguments() -> argparse.Namespace:
    measurements = {**WORKLOADS, **{solo.name: solo.about for solo in SOLOS}}
    extra = {"criterion": "the scanner and the envelope by themselves, with criterion; not part of a whole run"}
    against = {it.name: it.about for it in CONTENDERS}
    parser = argparse.ArgumentParser(
        prog="tests/bench/run",
        description=ABOUT.format(minutes=MINUTES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                "measurements:",
                *_listed({**measurements, **extra}),
                "",
                "contenders:",
                *_listed(against),
                "",
                "examples:",
                "  tests/bench/run                      the whole table",
                "  tests/bench/run --quick              whether it works at all, in half a minute",
                "  tests/bench/run sequential stream --codec json --against direct baskd --rounds 3",
                "  tests/bench/run --render tests/bench/results.json",
            ]
        ),
    )
    parser.add_argument("measurements", nargs="*", metavar="MEASUREMENT", help="by default all of them")
    parser.add_argument(
        "--against", nargs="+", metavar="CONTENDER", choices=list(against), help="by default all of them"
    )
    parser.add_argument("--codec", nargs="+", choices=list(NAMES), help="by default both")
    parser.add_argument("--rounds", type=int, help="how often everything is measured; 5")
    parser.add_argument("--seconds", type=float, help="how long each thing is measured; 1")
    parser.add_argument("--quick", action="store_true", help="one short round of what needs no network: a smoke check")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the results go")
    parser.add_argument("--render", type=Path, metavar="FILE", help="write the report of an earlier results.json again")
    options = parser.parse_args()
    unknown = [name for name in options.measurements if name not in {**measurements, **extra}]
    if unknown:
        parser.error(f"there is no measurement {', '.join(unknown)}; there are {', '.join({**measurements, **extra})}")
    options.whole = not (options.measurements or options.against or options.codec or options.quick)
    if options.quick:
        options.against = options.against or list(QUICK_AGAINST)
        options.codec = options.codec or ["json"]
    options.items, options.ticks = (10_000, 100) if options.quick else (100_000, 400)
    options.seconds = options.seconds or (0.1 if options.quick else 1.0)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.measurements = options.measurements or list(measurements)
    options.against = options.against or list(against)
    options.codec = options.codec or list(NAMES)
    if "sequential" in options.measurements and "hops" not in options.measurements:
        options.measurements.append("hops")
    if options.rounds < 1 or not 0.02 <= options.seconds <= 60:
        parser.error("--rounds is at least 1, --seconds from 0.02 to 60")
    return options


def _listed(named: dict[str, str]) -> list[str]:
    width = max(map(len, named))
    return [f"  {name:<{width}}  {text}" for name, text in named.items()]


assert set(WORKLOADS) == set(ALL)
