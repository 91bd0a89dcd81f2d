"""An instance of baskd on the machine, and the base of the tests that have some."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
import unittest
from pathlib import Path
from typing import Any, Callable, ClassVar, Optional

from support.connection import Connection
from support.daemon import CONTROLLERS
from support.processes import wait_gone

from .machine import HOME, Machine, shared

_numbers = itertools.count(1)


class Instance:
    """`baskd@NAME.socket` and `.service`, with a config and drop-ins of its own. It listens from the start on."""

    def __init__(
        self,
        machine: Machine,
        name: str,
        controller: str = "service.py",
        config: str = "",
        service: Optional[str] = None,
        drop_ins: Optional[dict[str, str]] = None,
    ) -> None:
        """`config`: what its config says besides; `service`: a drop-in's [Service]; `drop_ins`: whole ones."""
        self.machine = machine
        self.name = name
        self.service = f"baskd@{name}.service"
        self.socket = f"baskd@{name}.socket"
        self.path = machine.runtime / "baskd" / f"{name}.sock"
        self.config = HOME / ".config" / "baskd" / f"{name}.toml"
        #: A copy of its own, to be changed.
        self.controller = HOME / "served" / name / "controller.py"
        self.configure(controller, config)
        texts = dict(drop_ins or {})
        if service is not None:
            texts["60-test.conf"] = f"[Service]\n{service}\n"
        for file, text in texts.items():
            machine.write(machine.units / f"{self.service}.d" / file, text)
        if texts:
            machine.systemctl("daemon-reload")
        machine.systemctl("start", self.socket)

    def configure(self, controller: str, config: str = "") -> None:
        self.machine.write(self.controller, (CONTROLLERS / controller).read_text())
        text = (
            f"controller = {json.dumps(str(self.controller))}\npython = {json.dumps(self.machine.python)}\n{config}\n"
        )
        self.machine.write(self.config, text)

    def connect(self, seconds: float = 30.0) -> Connection:
        return self.machine.connect(self.path, seconds)

    def call(self, method: str, params: Any = None) -> Any:
        with self.connect() as connection:
            return connection.call(method, params)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.call("daemon.status")
        return status

    def systemctl(self, verb: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.machine.systemctl(*options, verb, self.service, check=check)

    def signal(self, name: str) -> None:
        """Sends the daemon a signal, and nobody else."""
        self.systemctl("kill", f"--signal={name}", "--kill-who=main")

    def show(self, *properties: str) -> dict[str, str]:
        return self.machine.show(self.service, *properties)

    def property(self, name: str) -> str:
        return self.show(name)[name]

    def pid(self) -> int:
        """The daemon's, by its number inside."""
        return int(self.property("MainPID"))

    def until(self, wanted: Callable[[dict[str, str]], Any], *properties: str, seconds: float = 30.0) -> dict[str, str]:
        """The properties, once they are as wanted: systemd tells of no event but over D-Bus."""
        deadline = time.monotonic() + seconds
        while not wanted(shown := self.show(*properties)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.service} was not as wanted within {seconds} s: {shown}\n{self.log()}")
            time.sleep(0.02)
        return shown

    def log(self) -> str:
        file = self.machine.path(HOME / "log" / f"{self.service}.log")
        return file.read_text(errors="replace")[-8000:] if file.exists() else "(no log)"

    def processes(self) -> list[int]:
        """All of its cgroup, by their numbers outside."""
        group = self.property("ControlGroup")
        return self.machine.processes_of(group) if group else []

    def close(self) -> None:
        """Stops it, and fails if any process of its outlives it, or its socket."""
        processes = self.processes()
        self.machine.systemctl("stop", self.socket, self.service)
        self.machine.systemctl("reset-failed", self.socket, self.service, check=False)
        for pid in processes:
            wait_gone(pid)
        left = self.processes()
        assert not left, f"{self.service} has left {left} in its cgroup"
        assert not self.machine.path(self.path).exists(), f"{self.path} is still there"


class SystemdTest(unittest.TestCase):
    """Tests on the one machine of the run; each starts instances of its own."""

    machine: ClassVar[Machine]
    maxDiff = 4000

    @classmethod
    def setUpClass(cls) -> None:
        cls.machine = shared()

    def start(self, name: Optional[str] = None, **options: Any) -> Instance:
        instance = Instance(self.machine, name or f"test-{next(_numbers)}", **options)
        self.addCleanup(self._close, instance)
        return instance

    def _close(self, instance: Instance) -> None:
        if not getattr(getattr(self, "_outcome", None), "success", True):
            print(f"the log of {instance.service}:\n{instance.log()}")
        instance.close()

    def client(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """A program of the user's that has the Python client."""
        path = {"PYTHONPATH": str(HOME / "client")}
        command = self.machine.command(self.machine.python, "-c", script, *arguments, env=path)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def end() -> None:
            process.kill()
            process.communicate()

        self.addCleanup(end)
        return process

    def file(self, name: str) -> Path:
        """A path of this test's own, inside."""
        folder = HOME / "files" / self.id()
        self.machine.make_folder(folder)
        return folder / name

    def make(self, file: Path) -> None:
        """Lets those go on that wait for it."""
        self.machine.write(file, "")

    def until(self, comes_true: Callable[[], Any], seconds: float = 30.0) -> None:
        """Asks again and again, of what tells of no event, until it is so."""
        deadline = time.monotonic() + seconds
        while not comes_true():
            self.assertLess(time.monotonic(), deadline, f"it has not come true within {seconds} s")
            time.sleep(0.01)
