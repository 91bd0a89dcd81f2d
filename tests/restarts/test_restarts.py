"""A daemon is stopped, and the next one started, again and again: every call ends in its result, and runs once."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

from support.case import DaemonTest
from support.daemon import REPOSITORY, Daemon
from support.lines import whole_lines
from support.manager import Manager

HERE = Path(__file__).resolve().parent
NODE = os.environ.get("NODE", "node")
RESTARTS = 4
#: How many calls there are between two stops, at least.
CALLS = 300
#: How long a client may take to have its last answers, in seconds.
PATIENCE = 60.0

CLIENTS = {
    "node": [NODE, str(HERE / "client.mjs")],
    "threads": [sys.executable, str(HERE / "client.py"), "threads"],
    "tasks": [sys.executable, str(HERE / "client.py"), "tasks"],
    "cli": [sys.executable, str(HERE / "client.py"), "cli"],
    "shell": [sys.executable, str(HERE / "client.py"), "shell"],
}


class Clients:
    """Programs that call until they are told to stop, each with numbers of its own."""

    def __init__(self, environment: dict[str, str], names: list[str]) -> None:
        self.running = {}
        for place, name in enumerate(names, start=1):
            env = environment | {"FIRST": str(place * 1_000_000)}
            self.running[name] = subprocess.Popen(
                CLIENTS[name], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )

    def check(self) -> None:
        for name, process in self.running.items():
            assert process.poll() is None, f"{name} has ended, with {process.returncode}"

    def reports(self) -> dict[str, Any]:
        """What each has to say, once it has all its answers."""
        for process in self.running.values():
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        said = {name: process.communicate(timeout=PATIENCE)[0] for name, process in self.running.items()}
        return {name: json.loads(text) for name, text in said.items()}

    def kill(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


class Restarts(DaemonTest):
    own_daemon = True

    def setUp(self) -> None:
        self.places_ = self.places()
        self.marks = self.places_.root / "marks"
        self.marks.touch()

    def begun(self) -> collections.Counter[int]:
        """How often each call was begun."""
        return collections.Counter(int(line.split()[1]) for line in whole_lines(self.marks))

    def clients(self, *names: str) -> Clients:
        path = f"{REPOSITORY / 'clients' / 'python' / 'src'}"
        socket = str(self.places_.socket())
        env = self.places_.environment(PYTHONPATH=path, BASKD_SOCKET=socket, BASKD_START="0")
        clients = Clients(env, list(names))
        self.addCleanup(clients.kill)
        return clients

    def until_more(self, clients: Clients) -> None:
        """Waits for calls to begin: of each client one, and many in all."""
        before = self.marks.stat().st_size
        lines = self.begun()

        def are_there() -> bool:
            clients.check()
            if self.marks.stat().st_size < before + 8 * CALLS:
                return False
            new = set(self.begun()) - set(lines)
            return len({number // 1_000_000 for number in new}) == len(clients.running)

        self.until(are_there, 60)

    def restart(self, clients: Clients, daemon: Daemon, serve: Callable[[], Daemon]) -> None:
        for turn in range(RESTARTS):
            self.until_more(clients)
            daemon.process.send_signal(signal.SIGTERM)
            if turn % 2:
                self.assertEqual(daemon.wait(), 0)
            following = serve()  # Else it waits for the end of the one before.
            self.assertEqual(daemon.wait(), 0)
            daemon = following
        self.until_more(clients)
        self.check(clients)

    def check(self, clients: Clients) -> None:
        reports = clients.reports()
        begun = self.begun()
        for name, report in reports.items():
            self.assertEqual(report["wrong"][:5], [], f"{name}: {len(report['wrong'])} of its calls")
            times = {number: begun[number] for number in range(report["first"], report["end"])}
            not_once = {number: count for number, count in times.items() if count != 1}
            self.assertEqual(not_once, {}, name)
            self.assertGreater(len(times), RESTARTS, name)

    def test_on_a_socket_that_is_held(self) -> None:
        manager = Manager(self.places_)
        self.addCleanup(manager.close)

        def serve() -> Daemon:
            daemon = manager.start("marks.py", env={"MARKS": str(self.marks)})
            self.addCleanup(daemon.close)
            return daemon

        daemon = serve()
        self.restart(self.clients(*CLIENTS), daemon, serve)

    def test_on_a_socket_of_each_daemons_own(self) -> None:
        def serve() -> Daemon:
            daemon = Daemon("marks.py", places=self.places_, env={"MARKS": str(self.marks)})
            self.addCleanup(daemon.close)
            return daemon

        daemon = serve()
        # Those that are a process for each call find nobody between two daemons.
        self.restart(self.clients("node", "threads", "tasks"), daemon, serve)

    def test_where_nobody_comes_it_is_told_in_time(self) -> None:
        daemon = Daemon("marks.py", places=self.places_, env={"MARKS": str(self.marks)})
        self.addCleanup(daemon.close)
        clients = self.clients("threads", "tasks")
        self.until_more(clients)
        daemon.process.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0)
        begun = self.begun()
        for name, report in clients.reports().items():
            self.assertNotEqual(report["wrong"], [], name)
            for number, said in report["wrong"]:
                # Those that came later find that nobody is there.
                told = said.startswith(("CallCancelled: The daemon stops", "NotRunning: "))
                self.assertTrue(told, f"{name}: {said}")
                self.assertEqual(begun[number], 0, f"{name}: {said}")
