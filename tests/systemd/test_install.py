"""`baskd install` and `uninstall`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

from support.daemon import CONTROLLERS

from .instance import SystemdTest
from .machine import HOME

PROJECT = HOME / "project of mine"
CONFIG = HOME / ".config"


class Install(SystemdTest):
    def setUp(self) -> None:
        self.machine.write(PROJECT / "controller.py", (CONTROLLERS / "service.py").read_text())
        self.before = self.files()
        self.addCleanup(self.baskd, "uninstall", "--name", "chat", check=False)

    def baskd(self, *arguments: str, check: bool = True) -> str:
        done = self.machine.run("baskd", *arguments, check=check, cwd=PROJECT)
        return done.stdout + done.stderr

    def install(self, *more: str) -> str:
        return self.baskd("install", "controller.py", "--name", "chat", "--python", self.machine.python, *more)

    def files(self) -> dict[str, str]:
        """All that is in the user's folder for configs."""
        root = self.machine.path(CONFIG)
        found = {}
        for path in root.rglob("*"):
            if path.is_symlink():
                found[str(path.relative_to(root))] = str(path.readlink())
            elif path.is_file():
                found[str(path.relative_to(root))] = path.read_text()
        return found

    def test_from_nothing_to_a_service_and_back(self) -> None:
        self.install()
        written = sorted(set(self.files()) - set(self.before))
        self.assertIn("baskd/chat.toml", written)
        self.assertIn("systemd/user/baskd@.service", written)
        self.assertIn("systemd/user/baskd@.socket", written)
        self.assertIn("systemd/user/sockets.target.wants/baskd@chat.socket", written)
        socket = self.machine.show("baskd@chat.socket", "ActiveState", "UnitFileState")
        self.assertEqual(socket, {"ActiveState": "active", "UnitFileState": "enabled"})
        self.assertEqual(self.machine.show("baskd@chat.service", "ActiveState")["ActiveState"], "inactive")
        # The first call has it started, in the folder where install was run.
        self.assertEqual(self.baskd("call", "add", "a=1", "b=2", "--name", "chat"), "3\n")
        status = json.loads(self.baskd("status", "--json", "--name", "chat"))
        self.assertEqual((status["name"], status["listening"]), ("chat", "systemd"))
        pid = self.machine.show("baskd@chat.service", "MainPID")["MainPID"]
        self.assertEqual(self.machine.run("readlink", f"/proc/{pid}/cwd").stdout, f"{PROJECT}\n")
        # Installed again, nothing changes, and what runs goes on.
        before = self.files()
        self.install()
        self.assertEqual(self.files(), before)
        self.assertEqual(self.machine.show("baskd@chat.service", "MainPID")["MainPID"], pid)
        self.baskd("uninstall", "--name", "chat")
        self.assertEqual(self.files(), self.before)
        shown = self.machine.show("baskd@chat.service", "ActiveState", "MainPID")
        self.assertEqual(shown, {"ActiveState": "inactive", "MainPID": "0"})
        self.assertFalse(self.machine.path(Path(f"/proc/{pid}")).exists())
        self.assertFalse(self.machine.path(self.machine.runtime / "baskd" / "chat.sock").exists())

    def test_a_dry_run_changes_nothing(self) -> None:
        said = self.install("--dry-run")
        self.assertIn("chat.toml", said)
        self.assertIn("baskd@.socket", said)
        self.assertEqual(self.files(), self.before)
        self.assertEqual(self.machine.show("baskd@chat.socket", "ActiveState")["ActiveState"], "inactive")

    def test_it_comes_again_with_the_next_login(self) -> None:
        self.install()
        self.machine.systemctl("stop", "baskd@chat.socket", "baskd@chat.service")
        self.machine.systemctl("stop", "sockets.target")
        self.machine.systemctl("start", "sockets.target")
        self.assertEqual(self.machine.show("baskd@chat.socket", "ActiveState")["ActiveState"], "active")
        self.assertEqual(self.baskd("call", "add", "a=1", "--name", "chat"), "2\n")
