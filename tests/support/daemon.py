"""A real daemon, on a socket and a state folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

from .connection import Connection
from .processes import wait_all_gone

REPOSITORY = Path(__file__).resolve().parents[2]
CONTROLLERS = REPOSITORY / "tests" / "controllers"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def binary() -> str:
    """The daemon to test: `$BASKD_BIN`, as tests/run sets it, else the one that was built last."""
    if given := os.environ.get("BASKD_BIN"):
        return given
    built = [path for kind in ("release", "debug") if (path := REPOSITORY / "target" / kind / "baskd").is_file()]
    if not built:
        raise FileNotFoundError("there is no baskd to test: run `cargo build --release`, or set BASKD_BIN")
    return str(max(built, key=lambda path: path.stat().st_mtime))


class Places:
    """A temporary folder that stands for a user's: runtime folder, state, config. Removed by `remove`."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="baskd-test-"))
        self.mark = f"BASKD_TEST_MARK={uuid.uuid4()}"
        self.runtime = self.root / "run"
        self.state = self.root / "state"
        self.runtime.mkdir(mode=0o700)

    def socket(self, name: str = "default") -> Path:
        return self.runtime / "baskd" / f"{name}.sock"

    def config(self, name: str = "default") -> Path:
        return self.root / "config" / "baskd" / f"{name}.toml"

    def environment(self, **more: str) -> dict[str, str]:
        """This process's environment, without what would lead to another daemon, a venv, or a cache of the user's."""
        unwanted = ("BASKD_", "PYTHON", "VIRTUAL_ENV", "XDG_")
        env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        name, _, value = self.mark.partition("=")
        env |= {
            "HOME": str(self.root),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_STATE_HOME": str(self.state),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "BASKD_BIN": binary(),
            "PYTHONDONTWRITEBYTECODE": "1",
            name: value,
        }
        return env | more

    def run(
        self, *arguments: Union[str, Path], seconds: float = 60, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command line, as a user of these places."""
        command = [binary(), *map(str, arguments)]
        env = options.pop("env", None) or self.environment()
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=seconds, check=False, **options)

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


class Daemon:
    """`baskd serve`, its log, its end. `controller`: a path, or a file in tests/controllers; None: the example."""

    def __init__(
        self,
        controller: Union[str, Path, None] = None,
        *flags: str,
        places: Optional[Places] = None,
        name: str = "default",
        python: str = sys.executable,
        env: Optional[dict[str, str]] = None,
        cwd: Optional[Path] = None,
        config: Optional[str] = None,
        through: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """`through`: the command that becomes the daemon. `pass_fds`: what it inherits beyond the usual."""
        self.places = places or Places()
        self.owns_places = places is None
        if config is not None:
            self.places.config(name).parent.mkdir(parents=True, exist_ok=True)
            self.places.config(name).write_text(config)
        self.path = self.places.socket(name)
        if controller is not None and ":" not in str(controller):
            controller = CONTROLLERS / controller  # An absolute path stays what it is.
        command = [binary(), "serve", *([str(controller)] if controller else []), "--name", name, "--python", python]
        self.log: list[str] = []
        self._log_changed = threading.Condition()
        self._log_ended = False
        self.process = subprocess.Popen(
            [*through, *command, *flags],
            env=self.places.environment(**(env or {})),
            cwd=cwd or self.places.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self.wait_for_log(r"listening on ")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self, **options: Any) -> Connection:
        return Connection(self.path, **options)

    def status(self) -> dict[str, Any]:
        with self.connect() as connection:
            status: dict[str, Any] = connection.call("daemon.status")
            return status

    def python_pid(self) -> int:
        """The Python that serves now; waits for one, since a call does."""
        with self.connect() as connection:
            connection.call("getProperty", {"name": "name_of_no_property"}, may_fail=True)
            pid: int = connection.call("daemon.status")["workers"][0]["pid"]
            return pid

    def kill_python(self) -> int:
        pid = self.python_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    # The log

    def wait_for_log(self, pattern: str, count: int = 1, seconds: float = 20.0) -> list[str]:
        """Returns the lines that match, once there are `count` of them."""
        deadline = time.monotonic() + seconds
        with self._log_changed:
            while len(found := [line for line in self.log if re.search(pattern, line)]) < count:
                left = deadline - time.monotonic()
                if self._log_ended or left <= 0 or not self._log_changed.wait(left):
                    why = "the daemon ended" if self._log_ended else f"{seconds} s passed"
                    raise AssertionError(
                        f"{why} without {count} log lines like {pattern!r}:\n" + "\n".join(self.log[-60:])
                    )
            return found

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._log_changed:
                self.log.append(COLOURS.sub("", line.decode(errors="replace")).rstrip("\n"))
                self._log_changed.notify_all()
        with self._log_changed:
            self._log_ended = True
            self._log_changed.notify_all()

    # The end

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 20.0) -> int:
        return self.process.wait(seconds)

    def close(self) -> None:
        """Stops it, and fails if it does not stop, or if any process of its own outlives it."""
        try:
            if self.process.poll() is None:
                self.terminate()
                try:
                    self.wait()
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
                    raise AssertionError(
                        "the daemon did not end 20 s after SIGTERM:\n" + "\n".join(self.log[-40:])
                    ) from None
            if self.owns_places:
                wait_all_gone(self.places.mark)
        finally:
            self._reader.join(5)
            if self.process.stderr is not None and not self._reader.is_alive():
                self.process.stderr.close()
            if self.owns_places:
                self.places.remove()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
