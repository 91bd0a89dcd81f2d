"""Kills Python again and again while four clients of four kinds call it; `python -m crash.run [KILLS] [SEED]`.

Every request must get exactly one answer, within two minutes: its result, or `BackendCrashed`. None may hang, and the
property that was set once must be there in each process. The calls record in a file that they have begun: none may
begin twice, and those that are said not to have begun (they had been sent to two processes that were killed before it
was their turn) must not be in it. Only the process that the daemon names as its Python is killed.

Each client is a program of its own, which prints one JSON object when it is told to stop (its stdin ends): how many
calls it made, their outcomes, and the longest time that one took.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from support.daemon import REPOSITORY, Daemon, Places
from support.processes import open_process, wait_all_gone

HERE = Path(__file__).resolve().parent
KILLS = 100
SEED = 20_261_123
PROPERTY = {"model": "kept", "layers": [1, 2, {"deep": True}]}
#: How long a client may take to have its last answers, in seconds: a call that hangs is one that has none by then.
PATIENCE = 120.0


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else SEED
    node = os.environ.get("NODE", "node")
    clients = {
        "node": [node, str(HERE / "client.mjs")],
        "python": [sys.executable, "-m", "crash.client"],
        "rust": [sys.executable, "-m", "crash.cli_client"],
        "raw": [sys.executable, "-m", "crash.raw_client"],
    }
    places = Places()
    record = places.root / "begun"
    with Daemon("recorded.py", places=places, env={"CRASH_RECORD": str(record)}) as daemon:
        with daemon.connect() as connection:
            connection.call("setProperty", {"name": "kept", "value": PROPERTY})
        started = time.monotonic()
        running = {name: start(daemon, command) for name, command in clients.items()}
        try:
            deaths = kill_again_and_again(daemon, running, kills, random.Random(seed))
            reports = {name: report(name, process) for name, process in running.items()}
        finally:
            for process in running.values():
                process.kill()
                process.wait()
        with daemon.connect() as connection:
            restarts = connection.call("daemon.status")["restarts"]
    wait_all_gone(places.mark)
    wrong = show(reports) + misrun(reports, record.read_text().split())
    unbegun = sum(len(said["unbegun"]) for said in reports.values())
    if unbegun > kills // 10:
        wrong.append(f"{unbegun} calls did not begin: a death is to cost the call that was next, not all behind it")
    if (deaths, restarts) != (kills, kills):
        wrong.append(f"{kills} kills were meant, {deaths} processes died, and {restarts} were started again")
    places.remove()
    for text in wrong:
        print(text)
    summarize(reports, deaths, seed, time.monotonic() - started)
    return 1 if wrong else 0


def start(daemon: Daemon, command: list[str]) -> subprocess.Popen[str]:
    env = daemon.places.environment(
        PYTHONPATH=f"{REPOSITORY / 'tests'}:{REPOSITORY / 'clients' / 'python' / 'src'}",
        BASKD_SOCKET=str(daemon.path),
        CRASH_PROPERTY=json.dumps(PROPERTY),
    )
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def kill_again_and_again(
    daemon: Daemon, running: dict[str, subprocess.Popen[str]], kills: int, chance: random.Random
) -> int:
    """Waits until a new Python has answered, and a moment of chance, then kills it. Gives the number of deaths."""
    deaths = 0
    with daemon.connect(seconds=PATIENCE) as connection:
        for _ in range(kills):
            pid = connection.call("pid", may_fail=True)
            while pid is None:
                pid = connection.call("pid", may_fail=True)
            # Not to be safe, but for chance: the kill may hit any moment of a call, a start, or a write.
            time.sleep(chance.choice([0.0, 0.001, 0.01, 0.03, 0.1]) * chance.random())
            for name, process in running.items():
                if process.poll() is not None:
                    raise SystemExit(f"the {name} client ended by itself with {process.returncode}")
            gone = open_process(pid)
            if connection.call("daemon.status")["workers"][0]["pid"] == pid:
                os.kill(pid, 9)
            # Its pidfd becomes readable: nothing else needs to be waited for.
            select.select([gone], [], [], PATIENCE)
            os.close(gone)
            deaths += 1
    return deaths


def report(name: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Tells a client to stop, and gives what it says."""
    try:
        output, _ = process.communicate("", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise SystemExit(f"the {name} client still waits for an answer after {PATIENCE} s") from None
    if process.returncode:
        raise SystemExit(f"the {name} client ended with {process.returncode}: {output}")
    said: dict[str, Any] = json.loads(output)
    return said


def show(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Prints a line a client, and gives what is wrong with its answers."""
    wrong = []
    print(f"{'client':<8}{'calls':>8}{'results':>9}{'ran':>8}{'did not':>9}{'longest':>11}")
    for name, said in reports.items():
        results, crashed, unbegun = said["results"], said["crashed"], len(said["unbegun"])
        print(f"{name:<8}{said['calls']:>8}{results:>9}{crashed:>8}{unbegun:>9}{said['longest_ms']:>8.0f} ms")
        if said["calls"] != results + crashed + unbegun:
            wrong.append(f"{name}: {said['calls']} calls had {results + crashed + unbegun} answers")
        if said["other"]:
            wrong.append(f"{name}: {len(said['other'])} answers are none of these, such as {said['other'][:3]}")
        if not results:
            wrong.append(f"{name}: not one call had a result")
    if not any(said["crashed"] for said in reports.values()):
        wrong.append("no call was hit by a kill: this has tested nothing")
    return wrong


def misrun(reports: dict[str, dict[str, Any]], begun: list[str]) -> list[str]:
    """What was run more often than it may have been."""
    wrong = []
    twice = [name for name, times in Counter(begun).items() if times > 1]
    if twice:
        wrong.append(f"{len(twice)} calls were run more than once, such as {twice[:3]}")
    lied = {name for said in reports.values() for name in said["unbegun"]} & set(begun)
    if lied:
        wrong.append(f'{len(lied)} calls were run though `ran` was "no", such as {sorted(lied)[:3]}')
    answered = sum(said["results"] for said in reports.values())
    if len(begun) < answered:
        wrong.append(f"{answered} calls had results, and only {len(begun)} were begun")
    return wrong


def summarize(reports: dict[str, dict[str, Any]], deaths: int, seed: int, seconds: float) -> None:
    calls, results, crashed = (sum(said[of] for said in reports.values()) for of in ("calls", "results", "crashed"))
    longest = max(said["longest_ms"] for said in reports.values())
    print(
        f"{deaths} kills, {calls} calls: {results} results, {crashed} crashed, {calls - results - crashed} did not "
        f"begin; longest {longest:.0f} ms, in {seconds:.1f} s, seed {seed}"
    )


if __name__ == "__main__":
    sys.exit(main())
