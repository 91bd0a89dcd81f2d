"""What a crash of Python costs its clients, with a standby and without: from the death to the next call's answer.

    cd tests; python3 -m bench.crash [--rounds 30] [--start 0.3]

The rounds of both daemons are interleaved. `--start`: how long the controller's `on_start` takes, in seconds,
as a model that is loaded does.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time

from support.connection import Connection
from support.daemon import Daemon


def measure(daemon: Daemon, has_standby: bool) -> float:
    """Seconds from kill -9 to the answer of the next call."""
    with daemon.connect() as connection:
        connection.call("counted")
        if has_standby:
            wait_for_standby(connection)
        pid = connection.call("daemon.status")["workers"][0]["pid"]
        before = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        while connection.call("pid") == pid:
            before = time.perf_counter()  # It was answered before the signal came.
        return time.perf_counter() - before


def wait_for_standby(connection: Connection) -> None:
    deadline = time.monotonic() + 60
    while not any(process["ready_ms"] is not None for process in connection.call("daemon.status")["beside"]):
        assert time.monotonic() < deadline, "no standby became ready"
        time.sleep(0.01)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=30)
    arguments.add_argument("--start", type=float, default=0.3)
    given = arguments.parse_args()
    env = {"KEEPS_SLOW_START": str(given.start)}
    costs: dict[bool, list[float]] = {False: [], True: []}
    with (
        Daemon("keeps.py", config="snapshot_every = 0", env=env) as without,
        Daemon("keeps.py", config="snapshot_every = 0\nstandby = true", env=env) as with_standby,
    ):
        for _ in range(given.rounds):
            costs[False].append(measure(without, False))
            costs[True].append(measure(with_standby, True))
    for has_standby, seconds in costs.items():
        named = "with standby" if has_standby else "without"
        ordered = sorted(seconds)
        median, worst = statistics.median(ordered), ordered[-1]
        print(f"{named:13} median {1e3 * median:7.1f} ms   worst {1e3 * worst:7.1f} ms   of {len(ordered)}")
    ratio = statistics.median(costs[False]) / statistics.median(costs[True])
    print(f"a standby makes a crash {ratio:.0f} times cheaper")


if __name__ == "__main__":
    main()
