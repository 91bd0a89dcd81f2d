"""The base of the tests in which one Python takes the place of another."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Optional

from .case import DaemonTest
from .connection import Connection
from .daemon import CONTROLLERS, Daemon, Places


class Replacing(DaemonTest):
    """Each test has a daemon of its own, of a copy of the controller that it may change."""

    def serve(self, *flags: str, config: str = "", env: Optional[dict[str, str]] = None) -> Daemon:
        places = Places()
        self.addCleanup(places.remove)
        self.file = places.root / "keeps.py"
        shutil.copy(CONTROLLERS / "keeps.py", self.file)
        return self.again(places, *flags, config=config, env=env)

    def again(self, places: Places, *flags: str, config: str = "", env: Optional[dict[str, str]] = None) -> Daemon:
        daemon = Daemon(self.file, *flags, places=places, config=config, env=env)
        self.addCleanup(daemon.close)
        return daemon

    def change(self, was: str, now: str) -> None:
        text = self.file.read_text()
        self.assertIn(was, text)
        new = self.file.with_suffix(".new")
        new.write_text(text.replace(was, now))
        new.rename(self.file)

    def open(self, daemon: Daemon) -> Connection:
        connection = daemon.connect()
        self.addCleanup(connection.close)
        return connection

    def wait_gone(self, *pids: int) -> None:
        """Until these processes have ended and were reaped."""
        self.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))

    def stream(self, connection: Connection, method: str, params: Any) -> Any:
        return connection.call("stream.call", {"method": method, "params": params})

    def wait_until(self, connection: Connection, name: str, wanted: Any) -> dict[str, Any]:
        """The status, once what it says of `name` is as wanted."""
        deadline = time.monotonic() + 20
        status: dict[str, Any]
        while not wanted((status := connection.call("daemon.status"))[name]):
            self.assertLess(time.monotonic(), deadline, f"{name} is {status[name]}")
            time.sleep(0.01)
        return status

    def state(self, daemon: Daemon) -> Path:
        return daemon.places.state / "baskd" / "default"

    def has_kept(self, daemon: Daemon, count: int) -> bool:
        """Whether the snapshot on disk has this count."""
        file = self.state(daemon) / "snapshot.json"
        return file.exists() and f'"count":{count},' in file.read_text()
