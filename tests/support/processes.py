"""Processes, waited for by events: a pidfd becomes readable when its process ends."""

from __future__ import annotations

import ctypes
import os
import select
import time
from pathlib import Path

_PIDFD_OPEN = 434  # os.pidfd_open, which CPython has from 3.9 on where it was built for a kernel that has it


def open_process(pid: int) -> int:
    """A pidfd. Raises ProcessLookupError if there is no such process any more."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(_PIDFD_OPEN, pid, 0)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def wait_gone(pid: int, seconds: float = 10.0) -> None:
    """Returns when that process has ended, be it a zombie or reaped. Raises TimeoutError."""
    try:
        fd = open_process(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise TimeoutError(f"process {pid} still lives after {seconds} s: {command_of(pid)}")
    finally:
        os.close(fd)


def is_alive(pid: int) -> bool:
    try:
        return _state(pid) not in "ZX"
    except OSError:
        return False


def marked(mark: str) -> list[int]:
    """The living processes whose environment holds `mark`, which every descendant of a marked one inherits."""
    wanted = mark.encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0") and is_alive(int(folder.name)):
                found.append(int(folder.name))
        except OSError:
            continue  # It has ended meanwhile, or is another user's.
    return found


def wait_all_gone(mark: str, seconds: float = 10.0) -> None:
    """Returns when no process with that mark is left. Raises TimeoutError, and names those that are."""
    deadline = time.monotonic() + seconds
    while left := marked(mark):
        for pid in left:
            wait_gone(pid, max(0.01, deadline - time.monotonic()))


def resident_bytes(pid: int) -> int:
    """What it has in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(gone)"


def _state(pid: int) -> str:
    # The name in parentheses may hold anything, so what follows is found from behind.
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
