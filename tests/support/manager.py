"""What systemd does for a daemon, done by a test: it holds the socket, passes it on, and hears what it is told."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import threading
import time
from typing import Any, Callable, Optional

from .connection import connect_to
from .daemon import Daemon, Places

# Becomes the daemon, with the socket as descriptor 3: $LISTEN_PID is the number of the process that is started.
_BECOME = """
import fcntl, os, sys
passed = [int(fd) for fd in sys.argv[1].split(",")]
spare = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in passed]
for place, fd in enumerate(spare):
    os.dup2(fd, 3 + place)
os.environ["LISTEN_FDS"] = str(len(spare))
os.environ["LISTEN_FDNAMES"] = "baskd"
os.environ["LISTEN_PID"] = str(os.getpid())
for fd in {*passed, *spare} - set(range(3, 3 + len(spare))):
    os.close(fd)
os.execv(sys.argv[2], sys.argv[2:])
"""

#: The same number on x86-64 and on AArch64.
_SO_TIMESTAMP = 29

#: What a service of a manager is told, and nothing that it starts.
VARIABLES = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID")


def passing(*descriptors: int) -> dict[str, Any]:
    """What a `Daemon` is started with to find these passed to it."""
    numbers = ",".join(map(str, descriptors))
    return {"through": (sys.executable, "-S", "-c", _BECOME, numbers), "pass_fds": descriptors}


class Manager:
    """Holds the socket of one instance, and starts daemons on it."""

    def __init__(self, places: Places, name: str = "default") -> None:
        self.places = places
        self.name = name
        self.path = places.socket(name)
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.path.chmod(0o600)
        self.socket.listen(1024)
        self.inode = self.path.stat().st_ino
        #: What was told: when, and by which message.
        self.told: list[tuple[float, dict[str, str]]] = []
        self._changed = threading.Condition()
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # When it was sent, however late it is read.
        self._notified.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)
        self._notify_path = str(places.root / "notify")
        self._notified.bind(self._notify_path)
        threading.Thread(target=self._listen, daemon=True).start()

    def start(
        self, controller: Any = None, *flags: str, env: Optional[dict[str, str]] = None, **options: Any
    ) -> Daemon:
        """A daemon on the socket; returns when it says that it listens."""
        told = {"NOTIFY_SOCKET": self._notify_path} | (env or {})
        options = passing(self.socket.fileno()) | {"places": self.places, "name": self.name} | options
        return Daemon(controller, *flags, env=told, **options)

    def until_wanted(self, is_over: threading.Event) -> bool:
        """Waits for a client, as systemd does before it starts a service. False if it is over before."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        while not is_over.is_set():
            if poll.poll(20):
                return True
        return False

    def connect_only(self) -> socket.socket:
        """A connection that waits to be accepted."""
        connecting = socket.socket(socket.AF_UNIX)
        connect_to(connecting, str(self.path))
        return connecting

    # What it is told

    def _listen(self) -> None:
        while True:
            try:
                message, told, _, _ = self._notified.recvmsg(1 << 16, 64)
            except OSError:
                return
            at = next((data for _, kind, data in told if kind == _SO_TIMESTAMP), None)
            if at is None:
                return  # Its end.
            seconds, micros = struct.unpack("ll", at)
            lines = (line.partition("=") for line in message.decode().splitlines())
            with self._changed:
                self.told.append((seconds + micros / 1e6, {name: value for name, _, value in lines}))
                self._changed.notify_all()

    def tell(self, **members: str) -> None:
        """A message of the test's own, behind what was sent before."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto("\n".join(f"{name}={value}" for name, value in members.items()).encode(), self._notify_path)

    def mark(self) -> int:
        """How much was told so far, to be given to `wait`."""
        with self._changed:
            return len(self.told)

    def wait(self, wanted: Callable[[dict[str, str]], Any], since: int = 0, seconds: float = 20.0) -> dict[str, str]:
        """The first message that is wanted, of those that came after that mark."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for _, message in self.told[since:]:
                    if wanted(message):
                        return message
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    raise AssertionError(f"not told within {seconds} s; it was told {self.told[since:]}")

    def wait_for(self, since: int = 0, **members: str) -> dict[str, str]:
        """The first message with these members."""
        return self.wait(lambda message: members.items() <= message.items(), since)

    def wait_for_status(self, start: str, since: int = 0) -> dict[str, str]:
        return self.wait(lambda message: message.get("STATUS", "").startswith(start), since)

    def all(self, member: str, since: int = 0) -> list[str]:
        """Each value that was told for this."""
        with self._changed:
            return [message[member] for _, message in self.told[since:] if member in message]

    def close(self) -> None:
        self.socket.close()
        # A reader that is blocked keeps its socket: it ends by what it reads.
        self._notified.shutdown(socket.SHUT_RDWR)
        self._notified.close()


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = (entry.partition(b"=") for entry in file.read().split(b"\0") if entry)
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
