"""`baskd list`: real daemons in every state that there is, and none that it would start."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
from fcntl import ioctl
from pathlib import Path
from typing import Any

from support.case import DaemonTest
from support.daemon import CONTROLLERS, Daemon, binary
from support.systemctl import Systemctl

KEEPS = CONTROLLERS / "keeps.py"


class List(DaemonTest):
    own_daemon = True

    def setUp(self) -> None:
        self.at = self.places()
        self.systemctl = Systemctl(self.at.root)
        self.env = self.at.environment(PATH=self.systemctl.path())

    def rows(self) -> dict[str, dict[str, Any]]:
        done = self.at.run("list", "--json", env=self.env)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        rows = json.loads(done.stdout)
        # Those of whoever runs the tests, in /run/user and /tmp, are not of this test.
        ours = [row for row in rows if str(self.at.root) in json.dumps(row)]
        self.assertEqual(sorted(row["name"] for row in ours), [row["name"] for row in ours])
        self.assertEqual(len({row["name"] for row in ours}), len(ours), ours)
        return {row["name"]: row for row in ours}

    def row(self, name: str, state: str) -> dict[str, Any]:
        """That instance's, once it is in that state: a daemon or a manager that is held up does not answer in time."""
        rows: dict[str, dict[str, Any]] = {}

        def is_so() -> bool:
            rows.update(self.rows())
            return name in rows and rows[name]["state"] == state

        self.until(is_so)
        return rows[name]

    def serve(self, name: str, *flags: str, **options: Any) -> Daemon:
        daemon = self.start(options.pop("controller", KEEPS), *flags, places=self.at, name=name, **options)
        daemon.wait_for_log("is ready after")
        return daemon

    def bound(self, name: str) -> socket.socket:
        """A socket at that instance's path, as systemd would have it."""
        path = self.at.socket(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        one = socket.socket(socket.AF_UNIX)
        self.addCleanup(one.close)
        one.bind(str(path))
        return one

    def test_what_runs(self) -> None:
        daemon = self.serve("chat")
        with daemon.connect() as connection:
            connection.call("counted")
        row = self.row("chat", "ready")
        self.assertEqual((row["pid"], row["socket"]), (daemon.pid, str(daemon.path)))
        self.assertEqual(row["controller"], f"{KEEPS}:Controller")
        self.assertGreater(row["uptime_ms"], 0)
        python = daemon.status()["workers"][0]["rss_bytes"]
        self.assertGreater(row["memory_bytes"], python)
        self.assertEqual(row["state_folder"], str(self.at.state / "baskd" / "chat"))
        self.assertEqual((row["unit"], row["config"]), (None, None))
        self.start("broken_import.py", places=self.at, name="broken")
        self.until(lambda: self.rows()["broken"]["state"] in ("backing off", "unavailable"))

    def test_a_socket_of_its_own_and_a_name_that_is_not_the_sockets(self) -> None:
        elsewhere = self.at.runtime / "else where.sock"
        first = self.serve("first", "--socket", str(elsewhere))
        other = self.at.runtime / "baskd" / "stem.sock"
        other.parent.mkdir(mode=0o700, exist_ok=True)
        self.serve("second", "--socket", str(other))
        rows = self.rows()
        self.assertEqual(sorted(rows), ["first", "second"])
        self.assertEqual((rows["first"]["state"], rows["first"]["socket"]), ("ready", str(elsewhere)))
        self.assertEqual(rows["first"]["pid"], first.pid)
        self.assertEqual((rows["second"]["state"], rows["second"]["socket"]), ("ready", str(other)))

    def test_one_that_hangs_hangs_nobody(self) -> None:
        self.serve("well")
        stuck = [self.serve(name) for name in ("stuck", "stuck2", "stuck3")]
        for daemon in stuck:
            os.kill(daemon.pid, signal.SIGSTOP)
        try:
            rows = self.rows()
        finally:
            for daemon in stuck:
                os.kill(daemon.pid, signal.SIGCONT)
        self.assertEqual(rows["well"]["state"], "ready")
        for name in ("stuck", "stuck2", "stuck3"):
            self.assertEqual(rows[name]["state"], "does not answer")
            self.assertIsNone(rows[name]["uptime_ms"])
        # Asked one after the other, they would take three times as long.
        self.assertEqual(rows["stuck"]["pid"], stuck[0].pid)

    def test_what_does_not_run(self) -> None:
        killed = self.serve("killed")
        killed.process.kill()
        killed.process.wait()
        stopped = self.serve("stopped")
        stopped.close()
        config = self.at.config("planned")
        config.parent.mkdir(parents=True)
        config.write_text("controller = 'app.py:App'\n")
        self.at.config("slip").write_text("workers = many\n")
        rows = self.rows()
        self.assertEqual(rows["killed"]["state"], "stale socket")
        self.assertEqual(rows["stopped"]["state"], "stopped")
        self.assertEqual(rows["planned"]["state"], "stopped")
        self.assertEqual(rows["planned"]["controller"], f"{config.parent}/app.py:App")
        self.assertEqual(rows["planned"]["config"], str(config))
        self.assertEqual(rows["planned"]["socket"], str(self.at.socket("planned")))
        self.assertIn("slip", rows["slip"]["controller"])

    def test_a_socket_that_systemd_holds_is_not_connected_to(self) -> None:
        listener = self.bound("held")
        listener.listen()
        listener.setblocking(False)
        self.assertEqual(self.rows()["held"]["state"], "listening")
        with self.assertRaises(BlockingIOError):
            listener.accept()
        # Also without a manager that could be asked.
        self.systemctl.set(unreachable="Failed to connect to bus: No medium found")
        self.assertEqual(self.rows()["held"]["state"], "listening")
        listener.close()
        self.assertEqual(self.rows()["held"]["state"], "stale socket")

    def test_units(self) -> None:
        done = self.at.run("install", KEEPS, "--name", "chat", env=self.env)
        self.assertEqual(done.returncode, 0, done.stderr)
        row = self.row("chat", "listening")
        self.assertEqual(row["unit"], "baskd@chat.socket")
        self.assertEqual(row["controller"], f"{KEEPS}:Controller")
        self.systemctl.set(active={"baskd@chat.socket": "active", "baskd@chat.service": "failed"})
        self.until(lambda: self.rows()["chat"]["reason"] == "baskd@chat.service failed: exit-code")
        self.systemctl.set(active={"baskd@chat.socket": "failed"})
        self.row("chat", "failed")
        self.systemctl.set(active={})
        self.assertEqual(self.rows()["chat"]["state"], "installed, not listening")
        self.systemctl.set(unreachable="Failed to connect to bus: No medium found")
        self.assertEqual(self.rows()["chat"]["state"], "installed, not listening")
        # One that the manager alone knows of.
        self.systemctl.set(unreachable="", active={"baskd@started.socket": "active"})
        self.row("started", "listening")

    def test_a_manager_that_hangs_hangs_nobody(self) -> None:
        program = self.systemctl.bin / "systemctl"
        program.write_text("#!/bin/sh\nexec sleep 600\n")
        self.serve("chat")
        self.row("chat", "ready")
        self.assertEqual(_children(program), [])

    def test_a_pipe_gets_whole_paths_and_a_terminal_what_fits(self) -> None:
        name = "a-name-as-long-as-names-may-be-x"
        self.assertEqual(len(name), 32)
        deep = self.at.root / ("folder-" * 20) / "controller.py"
        deep.parent.mkdir()
        deep.write_text(KEEPS.read_text())
        self.serve(name, controller=deep)
        piped = self.at.run("list", env=self.env).stdout
        self.assertIn(f"  {self.at.socket(name)}  {deep}:Controller\n", piped)
        self.assertRegex(piped, r"(?m)^NAME +STATE +UPTIME +MEMORY +SOCKET +CONTROLLER$")
        for columns in (30, 80, 120):
            shown = self.on_terminal(columns)
            self.assertTrue(all(len(line) <= columns for line in shown), shown)
            self.assertTrue(any(line.startswith(name[:20]) for line in shown), shown)
        self.assertTrue(any(line.endswith("controller.py:Controller") for line in self.on_terminal(120)))

    def on_terminal(self, columns: int) -> list[str]:
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [binary(), "list"], env=self.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 4096):
                text += chunk
        except OSError:
            pass  # Its end of the terminal is closed.
        os.close(ours)
        self.assertEqual(process.wait(20), 0)
        return text.decode().replace("\r\n", "\n").splitlines()

    def test_nothing_at_all(self) -> None:
        done = self.at.run("list", env=self.env)
        self.assertEqual(done.returncode, 0)
        self.assertNotIn(str(self.at.root), done.stdout)


def _children(program: Path) -> list[int]:
    """Processes that still run that program."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(program).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found
