"""Where the socket is, and whether it may be trusted: "Connecting" in PROTOCOL.md."""

from __future__ import annotations

import os
import re
import socket
import stat
import struct

from ._errors import Disconnected, NotRunning, UnsafeSocket, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_LONGEST_PATH = 107  # sun_path holds 108 bytes, one of them the closing NUL
CONNECT_SECONDS = 5.0


def locate(name: str | None = None, path: str | os.PathLike[str] | None = None) -> str:
    """The absolute path of the instance's socket. What is given explicitly beats the environment."""
    if path is not None and name is not None:
        raise UsageError("Give the socket's path or the instance's name, not both.")
    if path is None and name is None:
        path = os.environ.get("BASKD_SOCKET") or None
    if path is None:
        name = name if name is not None else os.environ.get("BASKD_NAME") or "default"
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} can't be an instance's name: it has to match {_NAME.pattern}.")
        path = os.path.join(_folder(), f"{name}.sock")
    # Normalised, so that what is checked below is what is connected to, whatever "/." or "//" it came with.
    path = os.path.abspath(os.fspath(path))
    length = len(os.fsencode(path))
    if length > _LONGEST_PATH:
        raise UsageError(f"{path} has {length} bytes; a Unix socket's path has at most {_LONGEST_PATH}.")
    return path


def location(name: str | None = None, path: str | os.PathLike[str] | None = None) -> list[str]:
    """The options that have `baskd` find the same instance, whatever becomes of the environment."""
    if path is not None or (name is None and os.environ.get("BASKD_SOCKET")):
        return ["--socket", locate(name, path)]
    return ["--name", name if name is not None else os.environ.get("BASKD_NAME") or "default"]


def _folder() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):  # the XDG specification has relative ones ignored
        return os.path.join(runtime, "baskd")
    user = os.getuid()
    if os.path.isdir(f"/run/user/{user}"):
        return f"/run/user/{user}/baskd"
    return f"/tmp/baskd-{user}"


def open_socket(path: str, patience: float = CONNECT_SECONDS) -> socket.socket:
    """A socket that is connected to the daemon at `path`, which may take so many seconds; with 0 BlockingIOError is
    raised where it would have to wait."""
    _check_folder(path)
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:  # there is no descriptor left
        raise cannot_connect(path, error) from error
    try:
        # A connect to a daemon that is stopped waits for a place in its backlog. `settimeout` would not wait
        # there at all: it makes the socket non-blocking, and such a connect fails at once with EAGAIN.
        if patience > 0:
            seconds, rest = divmod(patience, 1)
            limit = struct.pack("ll", int(seconds), max(1, int(rest * 1e6)))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        else:
            sock.setblocking(False)
        sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        raise _not_running(path) from None
    except OSError as error:
        sock.close()
        if patience <= 0 and isinstance(error, BlockingIOError):
            raise
        raise cannot_connect(path, error) from error
    return sock


def cannot_connect(path: str, error: OSError) -> Disconnected:
    return Disconnected(f"Can't connect to the daemon at {path}: {error.strerror}.")


def _not_running(path: str) -> NotRunning:
    return NotRunning(f"No baskd daemon answers at {path}: start one with `baskd serve`.")


def _check_folder(path: str) -> None:
    """In a folder that others may write to, anyone could have put a socket in the daemon's place."""
    folder = os.path.dirname(path)
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        raise _not_running(path) from None
    except OSError as error:
        raise UnsafeSocket(f"Can't look at the socket's folder {folder}: {error.strerror}.") from error
    user = os.geteuid()
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeSocket(f"{folder} has to be a folder and no link: remove it, then start the daemon.")
    if user not in (0, found.st_uid):
        raise UnsafeSocket(f"{folder} belongs to user {found.st_uid}, not to you ({user}): use a folder of yours.")
    mode = stat.S_IMODE(found.st_mode) & 0o777
    if mode != 0o700:
        raise UnsafeSocket(f"{folder} has mode {mode:04o}, not 0700: chmod 700 {folder}")
