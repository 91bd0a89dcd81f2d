from __future__ import annotations

import os
import socket
import tempfile
import unittest
from unittest import mock

import baskd
from baskd._socket import locate, open_socket


class Locating(unittest.TestCase):
    def locate(self, *args: str | None, **variables: str) -> str:
        with mock.patch.dict(os.environ, variables, clear=True):
            return locate(*args)

    def test_the_order(self) -> None:
        both = {"BASKD_SOCKET": "/s/x.sock", "XDG_RUNTIME_DIR": "/run/me", "BASKD_NAME": "other"}
        self.assertEqual(self.locate(None, "/given", **both), "/given")
        self.assertEqual(self.locate("mine", **both), "/run/me/baskd/mine.sock")
        self.assertEqual(self.locate(**both), "/s/x.sock")
        self.assertEqual(self.locate(XDG_RUNTIME_DIR="/run/me", BASKD_NAME="other"), "/run/me/baskd/other.sock")
        self.assertEqual(self.locate(XDG_RUNTIME_DIR="/run/me", BASKD_NAME=""), "/run/me/baskd/default.sock")

    def test_without_a_runtime_folder(self) -> None:
        user = os.getuid()
        for variables in ({}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "relative"}):
            with mock.patch("os.path.isdir", return_value=True):
                self.assertEqual(self.locate(**variables), f"/run/user/{user}/baskd/default.sock")
            with mock.patch("os.path.isdir", return_value=False):
                self.assertEqual(self.locate(**variables), f"/tmp/baskd-{user}/default.sock")

    def test_names_and_paths_that_can_not_be(self) -> None:
        for name in ("", ".x", "a/b", "a" * 33, "a\n", "é"):
            with self.assertRaises(baskd.UsageError, msg=name):
                self.locate(name)
        self.locate("a" * 32)
        self.locate(None, "/" + "a" * 106)
        with self.assertRaises(baskd.UsageError):
            self.locate(None, "/" + "a" * 107)
        with self.assertRaises(baskd.UsageError):
            self.locate("a", "/b")


class Opening(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="baskd-")
        self.addCleanup(lambda: __import__("shutil").rmtree(self.folder))
        self.path = os.path.join(self.folder, "x.sock")

    def listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path)
        listener.listen()

    def test_no_daemon_names_the_command(self) -> None:
        for path in (self.path, os.path.join(self.folder, "none", "x.sock")):
            with self.assertRaisesRegex(baskd.NotRunning, "baskd serve"):
                open_socket(path)

    def test_a_socket_nobody_listens_to(self) -> None:
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(self.path)
        dead.close()
        with self.assertRaises(baskd.NotRunning):
            open_socket(self.path)

    def test_a_folder_others_may_use_is_refused(self) -> None:
        self.listen()
        open_socket(self.path).close()
        os.chmod(self.folder, 0o750)
        with self.assertRaisesRegex(baskd.UnsafeSocket, "chmod 700"):
            open_socket(self.path)

    def test_a_link_is_refused_however_it_is_written(self) -> None:
        self.listen()
        link = self.folder + "-link"
        os.symlink(self.folder, link)
        self.addCleanup(os.unlink, link)
        for path in (f"{link}/x.sock", f"{link}/./x.sock", f"{link}//x.sock"):
            with self.assertRaisesRegex(baskd.UnsafeSocket, "no link"):
                open_socket(locate(None, path))

    def test_another_users_folder_is_refused_but_for_root(self) -> None:
        self.listen()
        owner = os.stat(self.folder).st_uid
        with mock.patch("os.geteuid", return_value=owner + 1), self.assertRaisesRegex(baskd.UnsafeSocket, "belongs"):
            open_socket(self.path)
        with mock.patch("os.geteuid", return_value=0):
            open_socket(self.path).close()


if __name__ == "__main__":
    unittest.main()
