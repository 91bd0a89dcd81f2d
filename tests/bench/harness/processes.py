"""Servers that are started, waited for, and ended: each by its own pid, and with what it has started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .install import LOG_FOLDER

PATIENCE = 60.0


class Failed(Exception):
    """Something could not be measured; the message says why."""


@contextlib.contextmanager
def places() -> Iterator[Path]:
    """A folder that stands for a user's own, short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="baskd-bench-"))
    (folder / "run").mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's environment, without what would lead to another daemon, a venv or folders of the user's."""
    unwanted = ("BASKD_", "PYTHON", "VIRTUAL_ENV", "XDG_", "RUST_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env |= {
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    return env | more


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str | Path], env: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended when the block is left, and whose group is with it. Its output is in target/tests."""
    path = LOG_FOLDER / f"{name}.log"
    options.setdefault("stdin", subprocess.DEVNULL)
    with path.open("wb") as log:
        options.setdefault("stdout", log)
        process = subprocess.Popen(
            list(map(str, command)), env=dict(env), stderr=log, start_new_session=True, **options
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            with contextlib.suppress(OSError):
                stream.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # What it has left behind.


def connect(to: str, name: str, process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to `unix:PATH` or `tcp:HOST:PORT`, as soon as somebody listens there."""
    kind, _, place = to.partition(":")
    host, _, port = place.rpartition(":")
    deadline = time.monotonic() + PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
        try:
            connection.connect(place if kind == "unix" else (host, int(port)))
            return connection
        except OSError:
            connection.close()
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{name} did not start: {last_words(name)}")
        time.sleep(0.0002)


def last_words(name: str) -> str:
    lines = (LOG_FOLDER / f"{name}.log").read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "it said nothing"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pss(pid: int) -> int:
    """A process's share of the memory it uses, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"/proc/{pid}/smaps_rollup has no Pss")
