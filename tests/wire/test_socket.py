"""The socket is its user's alone, and no living daemon loses it."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import unittest
from pathlib import Path

from support.case import DaemonTest
from support.daemon import Daemon

NOBODY = 65534


class Paths(DaemonTest):
    own_daemon = True

    def refused(self, daemon_socket: Path, status: int) -> str:
        """What a daemon that is started on this socket says when it refuses to."""
        ended = self.places().run("serve", "--socket", daemon_socket, seconds=20)
        self.assertEqual(ended.returncode, status, ended.stderr)
        self.assertEqual(len(ended.stderr.strip().splitlines()), 1, ended.stderr)
        return ended.stderr

    def test_modes(self) -> None:
        daemon = self.start()
        self.assertEqual(stat.S_IMODE(daemon.path.parent.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(daemon.path.stat().st_mode), 0o600)
        self.assertEqual(sorted(os.listdir(daemon.path.parent)), ["default.sock", "default.sock.lock"])
        state = daemon.places.state / "baskd" / "default"
        self.connect(daemon).call("setProperty", ["model", 1])
        self.assertEqual(stat.S_IMODE(state.stat().st_mode), 0o700)
        for folder, _, files in os.walk(state):
            for file in files:
                mode = stat.S_IMODE(os.stat(os.path.join(folder, file)).st_mode)
                self.assertEqual(mode & 0o077, 0, f"{file} has the mode {mode:o}")

    def test_a_second_daemon_is_refused_and_says_who_runs(self) -> None:
        daemon = self.start("lab.py")
        said = self.refused(daemon.path, 1)
        self.assertIn(str(daemon.pid), said)
        self.assertIn("lab.py", said)
        self.assertEqual(self.connect(daemon).call("add", [1]), 2)

    def test_of_many_that_start_at_once_one_runs(self) -> None:
        places = self.places()
        started: list[Daemon] = []
        refused: list[str] = []

        def start() -> None:
            try:
                started.append(Daemon(places=places))
            except AssertionError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for daemon in started:
            self.addCleanup(daemon.close)
        self.assertEqual((len(started), len(refused)), (1, 7), refused)
        for said in refused:
            self.assertIn("a daemon runs on", said)
        self.assertEqual(self.connect(started[0]).call("reset"), {"counter": 0})

    def test_a_stale_socket_is_replaced(self) -> None:
        places = self.places()
        path = places.socket()
        path.parent.mkdir(mode=0o700)
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()
        daemon = self.start(places=places)
        self.assertEqual(self.connect(daemon).call("reset"), {"counter": 0})

    def test_another_programs_socket_is_left_alone(self) -> None:
        path = self.places().root / "other.sock"
        path.parent.chmod(0o700)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            self.assertIn("some other program", self.refused(path, 1))
            self.assertTrue(path.is_socket())

    def test_what_is_no_socket_is_left_alone(self) -> None:
        path = self.places().root / "precious"
        path.write_text("precious")
        self.assertIn("is no socket", self.refused(path, 2))
        self.assertEqual(path.read_text(), "precious")

    def test_107_bytes_are_a_path_and_108_are_not(self) -> None:
        places = self.places()
        room = 107 - len(str(places.root)) - 1
        daemon = self.start(None, "--socket", str(places.root / ("n" * room)))
        daemon.path = places.root / ("n" * room)
        self.assertEqual(self.connect(daemon).call("reset"), {"counter": 0})
        called = places.run("call", "reset", "--socket", daemon.path)
        self.assertEqual(json.loads(called.stdout), {"counter": 0}, called.stderr)
        self.assertIn("108", self.refused(places.root / ("n" * (room + 1)), 2))

    def test_an_open_folder_is_refused_by_daemon_and_client(self) -> None:
        places = self.places()
        folder = places.root / "open"
        folder.mkdir()
        for mode in (0o755, 0o750, 0o701, 0o770):
            folder.chmod(mode)
            self.assertIn(f"{mode:04o}", self.refused(folder / "a.sock", 1))
            called = places.run("call", "reset", "--socket", folder / "a.sock")
            self.assertEqual(called.returncode, 3, called.stderr)
            self.assertIn(f"{mode:04o}", called.stderr)
        self.assertEqual(os.listdir(folder), [])

    def test_a_linked_folder_is_refused(self) -> None:
        places = self.places()
        (places.root / "real").mkdir(mode=0o700)
        (places.root / "link").symlink_to("real")
        self.assertIn("link", self.refused(places.root / "link" / "a.sock", 1))
        self.assertEqual(places.run("status", "--socket", places.root / "link" / "a.sock").returncode, 3)

    def test_names_are_checked(self) -> None:
        for name in ("../x", "", "-x", "a" * 33, "ä"):
            ended = self.places().run("serve", f"--name={name}", seconds=20)
            self.assertEqual(ended.returncode, 2, f"{name!r}: {ended.stderr}")


@unittest.skipUnless(os.geteuid() == 0, "only root can be another user")
class OtherUsers(DaemonTest):
    own_daemon = True
    CLIENT = """
import os, socket, sys
os.setgid({user}); os.setuid({user})
peer = socket.socket(socket.AF_UNIX)
try:
    peer.connect(sys.argv[1])
except PermissionError:
    sys.exit(13)
try:
    peer.sendall(b'{{"jsonrpc":"2.0","id":1,"method":"increment"}}\\n')
    while chunk := peer.recv(4096):
        sys.stdout.buffer.write(chunk)
except ConnectionError:
    pass  # It is closed without having been read.
"""

    def as_nobody(self, path: Path) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-c", self.CLIENT.format(user=NOBODY), str(path)]
        return subprocess.run(command, capture_output=True, timeout=30, check=False)

    def test_the_folder_keeps_them_out(self) -> None:
        daemon = self.start()
        daemon.places.root.chmod(0o755)
        daemon.places.runtime.chmod(0o755)
        self.assertEqual(self.as_nobody(daemon.path).returncode, 13)

    def test_who_gets_in_all_the_same_is_forbidden(self) -> None:
        daemon = self.start()
        # What the daemon never does itself: let anybody connect.
        for path, mode in ((daemon.places.root, 0o755), (daemon.places.runtime, 0o755), (daemon.path.parent, 0o755)):
            path.chmod(mode)
        daemon.path.chmod(0o666)
        ended = self.as_nobody(daemon.path)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        (line,) = ended.stdout.splitlines()
        self.assertError(json.loads(line)["error"], -32027, uid=NOBODY)
        self.assertEqual(self.connect(daemon).call("increment"), {"counter": 1}, "the call was run for another user")


class Connections(DaemonTest):
    controller = "lab.py"

    def test_one_connection_too_many_is_answered_so_and_closed(self) -> None:
        limit = 1024
        open_now = self.connect().call("daemon.status")["connections"]
        for _ in range(limit - open_now):
            self.connect()
        extra = self.connect()
        answer = extra.answer(extra.request("count", id="extra"))
        self.assertError(answer["error"], -32009, limit=limit)
        self.assertRaises((EOFError, ConnectionResetError), extra.read_line)
