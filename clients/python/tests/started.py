"""Daemons of $BASKD_BIN that clients start, in a place of their own."""

from __future__ import annotations

import contextlib
import os
import select
import tempfile
import threading
import unittest
import unittest.mock
from typing import Any

import baskd
from tests.fake import WAIT
from tests.real import BINARY


@unittest.skipUnless(BINARY, "BASKD_BIN is not set")
class StartedDaemon(unittest.TestCase):
    CONTROLLER: str

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="baskd-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = self.file("started.sock")
        self.controller = self.file("controller.py")
        with open(self.controller, "w") as file:
            file.write(self.CONTROLLER)
        places = {f"XDG_{name}": self.file(name.lower()) for name in ("RUNTIME_DIR", "STATE_HOME", "CONFIG_HOME")}
        os.mkdir(places["XDG_RUNTIME_DIR"], 0o700)
        patched = unittest.mock.patch.dict(os.environ, {**places, "FOLDER": self.folder})
        patched.start()
        self.addCleanup(patched.stop)
        for name in [name for name in os.environ if name.startswith("BASKD_") and name != "BASKD_BIN"]:
            del os.environ[name]
        self.addCleanup(self.end)

    def file(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def client(self, **options: Any) -> baskd.Client:
        client = baskd.Client(**{"controller": self.controller, "socket": self.path, **options})
        self.addCleanup(client.close)
        return client

    def end(self) -> None:
        """Stops the daemon, if one runs, and waits until it has ended."""
        try:
            backend = baskd.connect(socket=self.path, start=False)
        except baskd.NotRunning:
            return
        with backend, ended(backend.status()["pid"]):
            backend.shutdown()

    def thread(self, function: Any, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, daemon=True)
        thread.start()
        self.addCleanup(thread.join, WAIT)
        return thread


@contextlib.contextmanager
def ended(pid: int) -> Any:
    """Leaves its block when that process has ended."""
    process = os.pidfd_open(pid)
    try:
        yield
        if not select.select([process], [], [], WAIT)[0]:
            raise AssertionError(f"process {pid} has not ended")
    finally:
        os.close(process)
