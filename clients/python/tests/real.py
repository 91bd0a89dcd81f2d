"""The real daemon, $BASKD_BIN, with a controller for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import unittest

import baskd
from tests.fake import WAIT

BINARY = os.environ.get("BASKD_BIN")

CONTROLLER = '''
import os, time
import baskd

class Controller(baskd.BaseController):
    def __init__(self):
        self.ended = []

    def echo(self, params):
        return params

    def add(self, a: int, b: int = 1):
        return a + b

    def fail(self):
        raise ValueError("no")

    def nan(self):
        return {"a": [float("nan")]}

    def talk(self, params):
        for data in params["data"]:
            self.send(data)
        return len(params["data"])

    def count(self, n):
        for i in range(n):
            yield i
        return "end"

    def endless(self):
        i = 0
        try:
            while True:
                yield i
                i += 1
        except baskd.Cancelled:
            self.ended.append("endless")
            raise

    def rows(self, count, size=200):
        """Many items of some size, of which it is known how many were asked for."""
        self.yielded = 0
        try:
            for n in range(count):
                self.yielded += 1
                yield [n, "x" * size]
            return "all"
        finally:
            self.ended.append("rows")

    def asked_for(self):
        return self.yielded

    def sleep(self):
        try:
            self.send("begun")
            time.sleep(60)
        except baskd.Cancelled:
            self.ended.append("sleep")
            raise

    def how_ended(self):
        return self.ended

    def die(self):
        os._exit(3)

    def ask(self, path, value):
        """A client inside the daemon's Python: the installed distribution behind the router's package."""
        import baskd.client
        with baskd.client.connect(socket=path) as other:
            names = [baskd.TimedOut.__name__, baskd.connect_async.__name__]
            return [names, baskd.client.__file__, value]
'''


@unittest.skipUnless(BINARY, "BASKD_BIN is not set")
class RealDaemon(unittest.TestCase):
    backend: baskd.Client
    path: str
    controller: str
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="baskd-")
        cls.addClassCleanup(folder.cleanup)
        source = os.path.dirname(os.path.dirname(baskd.__file__))
        cls.path = os.path.join(folder.name, "real.sock")
        cls.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("BASKD_")},
            "XDG_RUNTIME_DIR": folder.name,
            "XDG_STATE_HOME": os.path.join(folder.name, "state"),
            "XDG_CONFIG_HOME": os.path.join(folder.name, "config"),
            "PYTHONPATH": source,
        }
        cls.controller = os.path.join(folder.name, "controller.py")
        with open(cls.controller, "w") as file:
            file.write(CONTROLLER)
        cls.process = cls.serve(cls.path)

    @classmethod
    def serve(cls, path: str) -> subprocess.Popen[bytes]:
        command = [str(BINARY), "serve", "--socket", path, "--python", sys.executable, cls.controller]
        process = subprocess.Popen(command, env=cls.environment, stderr=subprocess.PIPE)
        cls.addClassCleanup(cls.end, process)
        assert process.stderr is not None
        for line in process.stderr:  # the event that it listens
            if b"listening" in line:
                # Somebody has to go on reading, or its log fills the pipe.
                threading.Thread(target=process.stderr.read, daemon=True).start()
                return process
        raise AssertionError("the daemon did not start")

    @staticmethod
    def end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(WAIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        if process.stderr is not None:
            process.stderr.close()

    def setUp(self) -> None:
        self.backend = baskd.connect(socket=self.path)
        self.addCleanup(self.backend.close)
