"""Which daemon is meant, and starting it where none answers: by `baskd start`.

`baskd start` makes sure that a daemon runs, and has ended when that is so or can't be. What it says then is the error.
It runs in a thread, so that whoever waits for it can stop waiting; all that wait share one. Two processes that start
the same daemon at once are its matter: one daemon comes of it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Union

from ._errors import NotRunning, StartFailed, WrongController
from ._socket import locate, location

# What `baskd start` says, with status 2, where it was not told what to start.
_NOTHING = "nothing to start"

_FILE = re.compile(r"(.*\.py)(?::(\w+))?", re.DOTALL)

PathLike = Union[str, "os.PathLike[str]"]


class Target:
    """An instance: where it listens, and what is started there."""

    def __init__(
        self,
        controller: PathLike | None = None,
        name: str | None = None,
        socket: PathLike | None = None,
        python: PathLike | None = None,
        start: bool = True,
    ) -> None:
        self.path = locate(name, socket)
        self.controller = None if controller is None else os.fspath(controller)
        self._python = None if python is None else os.fspath(python)
        self._where = location(name, socket)
        self._wanted = start
        # Paths that were given mean the same when the daemon is started, whatever the program does meanwhile.
        self._folder: str | None = None
        with contextlib.suppress(OSError):
            self._folder = os.getcwd()
        self._lock = threading.Lock()
        self._starting: Future[None] | None = None

    def start(self) -> Future[None] | None:
        """Has a daemon started, beside the caller; None where that is not wanted. The result is None, or an error."""
        if not self._wanted or os.environ.get("BASKD_START") == "0":
            return None
        with self._lock:
            starting = self._starting
            if starting is None or starting.done():
                starting = Future()
                starting.set_running_or_notify_cancel()  # so nobody who waits for it can cancel it for the others
                threading.Thread(target=self._run, args=(starting,), name="baskd start", daemon=True).start()
                self._starting = starting  # now, for where no thread could be started it would never be done
            return starting

    def after_fork(self) -> None:
        """In a forked child, to which the thread did not come."""
        self._lock = threading.Lock()
        self._starting = None

    def _run(self, starting: Future[None]) -> None:
        try:
            self._start()
        except BaseException as error:  # whatever it is, who waits must know
            starting.set_exception(error)
        else:
            starting.set_result(None)

    def _start(self) -> None:
        command = [find_binary(self.path), "start", *self.arguments()]
        folder = self._folder if self._folder and os.path.isdir(self._folder) else None
        try:
            # A file, not a pipe: of a pipe the end might be kept open by what was started.
            with tempfile.TemporaryFile() as said:
                status = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    cwd=folder,
                    start_new_session=True,  # Ctrl-C is for whoever waits
                ).returncode
                said.seek(0)
                text = said.read().decode(errors="replace").strip().removeprefix("baskd: ")
        except OSError as error:
            raise StartFailed(f"Can't run {shlex.join(command)}: {error}.", data=_data(command, None, "")) from error
        if status == 0:
            return
        if status == 2 and _NOTHING in text:
            raise NotRunning(f"No baskd daemon answers at {self.path}: {text}")
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise StartFailed(text or f"`{shlex.join(command)}` {how} and said nothing.", data=_data(command, status, text))

    def arguments(self) -> list[str]:
        """What `baskd start` is told."""
        options = [] if self.controller is None else [self.controller]
        options += self._where
        if self._python is not None:
            options += ["--python", self._python]
        return options

    def check(self, status: Any) -> None:
        """Raises WrongController if the daemon with this `daemon.status` serves another one than is meant."""
        served = status.get("controller") if isinstance(status, dict) else None
        if self.controller is None or not isinstance(served, dict) or self._is_meant(self.controller, served):
            return
        raise WrongController(
            f"The daemon at {self.path} serves {served.get('spec')}, not {self.controller}: give another name, or end "
            "that daemon with `baskd stop`."
        )

    def _is_meant(self, controller: str, served: dict[str, Any]) -> bool:
        path = _FILE.fullmatch(controller)
        if path is None:
            spec = controller if ":" in controller else f"{controller}:Controller"
            return spec == served.get("spec")
        file = os.path.realpath(os.path.join(self._folder or "", path[1]))
        return file == os.path.realpath(str(served.get("file"))) and (path[2] or "Controller") == served.get("class")


def find_binary(path: str) -> str:
    """The `baskd` program: $BASKD_BIN, the one on the PATH, or one that was built in the checkout that this is of."""
    named = os.environ.get("BASKD_BIN")
    if named:
        if shutil.which(named) is None:
            raise StartFailed(f"$BASKD_BIN names {named}, which is no program that can be run: correct or unset it.")
        return named
    found = shutil.which("baskd")
    if found is not None:
        return found
    for checkout in list(Path(__file__).resolve().parents)[4:5]:  # above clients/python/src/baskd
        for kind in ("release", "debug"):
            built = checkout / "target" / kind / "baskd"
            if (checkout / "Cargo.toml").is_file() and os.access(built, os.X_OK):
                return str(built)
    raise StartFailed(
        f"No baskd daemon answers at {path}, and the program that would start one is not on the PATH: install it with "
        "`cargo install --path crates/baskd`, name it in $BASKD_BIN, or start a daemon elsewhere with `baskd serve`."
    )


def _data(command: list[str], status: int | None, stderr: str) -> dict[str, Any]:
    return {"command": command, "status": status, "stderr": stderr}
