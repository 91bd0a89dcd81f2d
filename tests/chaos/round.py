"""One round of a scenario: a daemon with places of its own, clients, what is broken, and what is checked at the end."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

from support.connection import Connection
from support.daemon import CONTROLLERS, Daemon, Places
from support.processes import open_process, resident_bytes, wait_all_gone

from .client import Client, Step
from .history import Entry, Fault, History, read_ledger
from .rules import Violation, check

Plan = Callable[[random.Random], Iterator[Step]]

#: So long may a process take to be ready here, however busy the machine is.
READY = 30.0
#: So long a snapshot may take to be on disk, in nanoseconds.
WRITTEN = 2_000_000_000
#: What a daemon's memory may have grown by, once all is done: what the allocator keeps, and counters of methods.
GROWN = 24 << 20


class Round:
    """Everything that a scenario needs. Its plan comes from `chance` alone."""

    #: So long what has to go may take to be gone, in seconds.
    patience = 10.0

    def __init__(self, scenario: str, seed: int, is_long: bool = False) -> None:
        self.scenario = scenario
        self.seed = seed
        #: Whether there is time for everything, rather than for a sample.
        self.is_long = is_long
        self.chance = random.Random(f"{scenario} {seed}")
        self.history = History()
        self.places = Places()
        self.ledger = self.places.root / "ledger"
        self.boot = self.places.root / "boot"
        self.clients: list[Client] = []
        self.talking: list[Client] = []
        self.daemon: Optional[Daemon] = None
        self.controller = "chaos.py"
        self.config: Optional[str] = None
        self.env: dict[str, str] = {}
        self.witnesses: list[str] = []
        #: As what the times from a death to the first answer after it count; None: they are not told.
        self.recovery: Optional[str] = None
        self.logs: list[str] = []
        #: What is to be done at the end, whatever happens.
        self.cleanups: list[Callable[[], object]] = []
        self._base: Optional[tuple[int, int]] = None

    # The daemon

    def start(self, controller: str = "chaos.py", config: str = "", env: Optional[dict[str, str]] = None) -> Daemon:
        self.controller, self.config, self.env = controller, config, env or {}
        return self.start_again()

    def start_again(self, **env: str) -> Daemon:
        """On the same places, with the same settings."""
        places = {"CHAOS_LEDGER": str(self.ledger), "CHAOS_BOOT": str(self.boot)}
        self.daemon = Daemon(self.controller, places=self.places, config=self.config, env={**places, **self.env, **env})
        return self.daemon

    @property
    def live(self) -> Daemon:
        assert self.daemon is not None, "the scenario has started no daemon"
        return self.daemon

    def ready(self) -> None:
        """Waits until Python has answered, and notes what the daemon takes when it does nothing."""
        with self.ask() as connection:
            connection.call("getProperty", {"name": "name_of_no_property"}, may_fail=True)
        self._base = self._takes()

    def ask(self) -> Connection:
        """A connection of the suite's own."""
        return self.live.connect(seconds=READY)

    def status(self) -> dict[str, Any]:
        with self.ask() as connection:
            status: dict[str, Any] = connection.call("daemon.status")
            return status

    def python(self) -> int:
        """The Python that serves now; waits for one."""
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline:
            with self.ask() as connection:
                connection.call("getProperty", {"name": "name_of_no_property"}, may_fail=True)
                workers = connection.call("daemon.status")["workers"]
                if ready := [worker["pid"] for worker in workers if worker["state"] == "ready"]:
                    return int(self.chance.choice(ready) if len(ready) > 1 else ready[0])
        raise TimeoutError(f"no Python has answered within {READY} s")

    def until_begun(self, client: str, but: set[int]) -> int:
        """Waits until a call of that client has begun in a process other than those, and gives that."""
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline:
            for entry in read_ledger(self.ledger):
                if entry.kind == "b" and entry.token.startswith(f"{client}-") and entry.pid not in but:
                    return entry.pid
        raise TimeoutError(f"no call of {client} has begun within {READY} s")

    # Faults

    def fault(self, kind: str, pid: Optional[int] = None) -> int:
        """Notes what is broken now."""
        at = time.monotonic_ns()
        self.history.faults.append(Fault(kind, at, pid))
        return at

    def signal_python(self, number: int, pid: Optional[int] = None) -> int:
        """By a pidfd, so that it reaches the process that is meant, or nobody. Gives its pid."""
        pid = pid or self.python()
        self.kill_process(pid, f"Python {signal.Signals(number).name}", number)
        return pid

    def kill_process(self, pid: int, kind: str, number: int = signal.SIGKILL) -> None:
        """Ends one of the daemon's processes, and waits until it is dead."""
        try:
            held = open_process(pid)
        except ProcessLookupError:
            return  # It has died of something else meanwhile.
        try:
            status = self.status()
            if any(process["pid"] == pid for process in [*status["workers"], *status["beside"]]):
                self.fault(kind, pid)
                signal.pidfd_send_signal(held, number)
                select.select([held], [], [], READY)
        except ProcessLookupError:
            pass
        finally:
            os.close(held)

    def kill_daemon(self, kind: str = "daemon SIGKILL") -> None:
        """kill -9. What it had started must be gone soon, and its clients are told by the end of their connections."""
        daemon = self.live
        self.fault(kind)
        daemon.process.kill()
        self.buried(kind)

    def buried(self, kind: str) -> None:
        """Once the daemon is dead: nothing that it had started may live on."""
        daemon = self.live
        daemon.wait()
        daemon._reader.join(10)
        self.logs += daemon.log
        try:
            wait_all_gone(self.places.mark, self.patience)
        except TimeoutError as left:
            self.history.found.append(f"after {kind}: {left}")
        self._note_what_is_on_disk()
        self._base = None

    def _note_what_is_on_disk(self) -> None:
        """The snapshot that the next daemon will find: not one from before those that there was time to write."""
        try:
            text = (self.places.state / "baskd" / "default" / "snapshot.json").read_text()
            count = json.loads(text)["state"]["count"]
        except (OSError, ValueError, KeyError, TypeError):
            count = None
        *before, killed = (fault.at for fault in self.history.faults if fault.kind.startswith("daemon "))
        # What an earlier daemon was killed with, and what was put aside, is not to be had.
        since = max([0, *before[-1:], *(entry.at for entry in self.entries() if entry.kind == "x")])
        old = [entry for entry in self.entries() if entry.kind == "s" and since < entry.at < killed - WRITTEN]
        if old and (count is None or count < int(old[-1].words[0])):
            self.history.found.append(f"on disk is a snapshot of {count}, and one of {old[-1].words[0]} is long taken")
        if count is not None:
            self.history.kept.append((time.monotonic_ns(), count))

    def note_kept(self, why: str) -> None:
        """The daemon is known to keep the last snapshot that was taken: it has told so, by `why`."""
        taken = [entry for entry in read_ledger(self.ledger) if entry.kind == "s"]
        if taken:
            self.history.kept.append((time.monotonic_ns(), int(taken[-1].words[0])))
        else:
            self.history.found.append(f"{why}, and no snapshot was taken")

    def write_controller(self, version: int, spoil: str = "") -> Path:
        """A controller of the round's own, which can be changed: its `version` tells which it is."""
        path = self.places.root / "controller.py"
        text = (CONTROLLERS / "chaos.py").read_text().replace("version = 1\n", f"version = {version}\n")
        beside = path.with_suffix(".new")
        beside.write_text(text + spoil)
        beside.replace(path)
        return path

    def entries(self) -> list[Entry]:
        """What has been written down so far."""
        return read_ledger(self.ledger)

    def pids(self) -> set[int]:
        """Of all Pythons that have been up so far."""
        return {entry.pid for entry in read_ledger(self.ledger) if entry.kind == "u"}

    # Clients

    def client(self, name: str, plan: Plan, survives: bool = False) -> Client:
        """`plan` makes its steps, from a chance that is this client's alone."""
        chance = random.Random(f"{self.scenario} {self.seed} {name}")
        client = Client(self.history, self.live.path, name, plan(chance), survives)
        self.clients.append(client)
        return client

    def witness(self, survives: bool = False, method: str = "work", most: int = 1_000_000) -> Client:
        """A healthy client that calls, waits for the answer, and calls again: how long it waits at most is a figure."""
        name = f"witness{len(self.witnesses)}"
        self.witnesses.append(name)
        may = {"BackendCrashed"}

        def plan(_: random.Random) -> Iterator[Step]:
            for _call in range(most):
                yield lambda client: _call_once(client, method, may)

        return self.client(name, plan, survives)

    def talk(self, name: str) -> Client:
        """A client without a thread, which the scenario itself drives."""
        client = Client(self.history, self.live.path, name, (), True)
        client.connect()
        self.talking.append(client)
        return client

    def join(self, seconds: float = 60.0) -> None:
        """Waits until all clients have come to the end of their plans; then witnesses are told to stop."""
        deadline = time.monotonic() + seconds
        for client in sorted(self.clients, key=lambda client: client.name in self.witnesses):
            if client.name in self.witnesses:
                client.stop.set()
            client.join(max(0.1, deadline - time.monotonic()))
            if client.is_alive():
                self.history.found.append(f"the client {client.name} has not come to its end after {seconds:.0f} s")
                client.stop.set()
                client.join(5)
            if client.failure is not None:
                self.history.found.append(f"the client {client.name} failed: {client.failure!r}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """All clients run while what is inside breaks things; then they come to their ends."""
        for client in self.clients:
            client.start()
        try:
            yield
        finally:
            self.join()

    # The end

    def finish(self) -> list[Violation]:
        """Stops the daemon, looks at what is left, and gives all that is wrong."""
        history = self.history
        for client in self.talking:
            client.drop()
        try:
            if self.daemon is not None and self.daemon.process.poll() is None:
                self._check_rest()
                self.daemon.close()
            elif self.daemon is not None:
                history.found.append("the daemon is dead:\n" + "\n".join(self.daemon.log[-20:]))
            wait_all_gone(self.places.mark, self.patience)
            self._check_files()
        except (AssertionError, TimeoutError, OSError) as problem:
            history.found.append(f"at the end: {problem}")
        if self.daemon is not None:
            self.logs += self.daemon.log
        history.found += [f"the daemon said: {line}" for line in self.logs if "panicked" in line]
        history.ledger = read_ledger(self.ledger)
        return check(history)

    def close(self) -> None:
        for client in self.clients:
            client.stop.set()
        if self.daemon is not None:
            if self.daemon.process.poll() is None:
                self.daemon.process.kill()
                self.daemon.process.wait()
            self.daemon._reader.join(5)
            if self.daemon.process.stderr is not None:
                self.daemon.process.stderr.close()
        for cleanup in reversed(self.cleanups):
            cleanup()
        self.places.remove()

    def recoveries(self) -> list[float]:
        """From each death of Python, or of the daemon, to the first answer of another process, in milliseconds."""
        pids = {entry.token: entry.pid for entry in self.history.ledger if entry.kind == "e"}
        answered = sorted(
            (request.final[0].at, pids[request.token])
            for request in self.history.requests.values()
            if request.outcome == "result" and request.token in pids
        )
        found = []
        for fault in self.history.faults:
            if fault.pid is not None and not fault.kind.startswith("Python SIGSTOP"):
                after = [at for at, pid in answered if at > fault.at and pid != fault.pid]
                found += [(after[0] - fault.at) / 1e6] if after else []
        return found

    def longest_stall(self) -> float:
        """How long a healthy client waited at most, in milliseconds."""
        waits = [
            (request.final[0].at - request.sent) / 1e6
            for request in self.history.requests.values()
            if request.client in self.witnesses and request.final
        ]
        return max(waits, default=0.0)

    def _check_rest(self) -> None:
        """That the daemon is healthy, and holds no more than it did before."""
        found = self.history.found
        pid = self.live.pid
        deadline = time.monotonic() + self.patience
        rest: dict[str, Any] = {}
        wanted = {"queued": 0, "in_flight": 0, "connections": 1}
        # The last connections' ends may be under way, and so may a start of Python.
        while time.monotonic() < deadline:
            status = self.status()
            rest = {name: status[name] for name in wanted}
            # One that had much memory is a zombie for as long as its other threads take to give that back.
            if rest == wanted and not _zombies(pid) and (self._base is None or self._takes()[0] <= self._base[0]):
                break
            time.sleep(0.02)
        if rest != wanted:
            found.append(f"at rest, the daemon says {rest}: {status}")
        if zombies := _zombies(pid):
            found.append(f"zombies are left: {zombies}")
        if self._base is not None:
            descriptors, memory = self._takes()
            if descriptors > self._base[0]:
                found.append(f"{descriptors} descriptors are open, and were {self._base[0]}: {_descriptors(pid)}")
            if memory > self._base[1] + GROWN:
                found.append(f"its memory was {self._base[1] >> 20} MiB, and is {memory >> 20} MiB")

    def _check_files(self) -> None:
        if self.daemon is None:
            return
        if self.live.path.exists():
            self.history.found.append("its socket is left, though it was stopped")
        left = [path.name for path in (self.places.state / "baskd" / "default").glob("*")]
        strange = [name for name in left if not _is_known(name)]
        if strange:
            self.history.found.append(f"in the state folder are {strange}")
        new = [path.name for path in self.live.path.parent.glob("*") if path.name != self.live.path.name + ".lock"]
        if new:
            self.history.found.append(f"beside the socket are {new}")

    def _takes(self) -> tuple[int, int]:
        pid = self.live.pid
        return len(os.listdir(f"/proc/{pid}/fd")), resident_bytes(pid)


def _call_once(client: Client, method: str, may: Iterable[str]) -> None:
    client.call(client.new(method, may=may))
    # It is to see how long it waits, and not to be a load of its own.
    client.read(0.001)


def _is_known(name: str) -> bool:
    return name in ("lock", "properties.json", "snapshot.json", "snapshot.json.refused") or name.startswith("router-0")


def _zombies(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, its_parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(its_parent) == parent:
            found.append(int(folder.name))
    return found


def _descriptors(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(path))
        except OSError:
            continue
    return sorted(found)
