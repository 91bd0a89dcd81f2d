"""The log of a daemon whose stderr is the journal's, told by a journald that is the test's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import unittest
from pathlib import Path
from typing import Any, Optional

from support.case import DaemonTest
from support.connection import Connection
from support.daemon import CONTROLLERS, binary

HELPER = Path(__file__).resolve().parent.parent / "support" / "journal.py"


def namespace() -> list[str]:
    """What runs a command in a mount namespace of its own, or nothing if nobody may here."""
    for command in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        try:
            probe = subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False)
        except FileNotFoundError:
            return []
        if probe.returncode == 0:
            return command
    return []


class Journald:
    """The helper, and the daemon that it has started."""

    def __init__(self, case: DaemonTest, *flags: str, name: str = "default", has_journal: bool = True) -> None:
        self.places = case.places()
        self.path = self.places.socket(name)
        command = [binary(), "serve", str(CONTROLLERS / "says.py"), "--name", name, "--python", sys.executable, *flags]
        none = [] if has_journal else ["--none"]
        self.process = subprocess.Popen(
            [*namespace(), sys.executable, str(HELPER), *none, *command],
            env=self.places.environment(),
            cwd=self.places.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.entries: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        case.addCleanup(self.close)
        case.until(self._answers)

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the helper has ended: {self.entries}")
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self) -> Connection:
        return Connection(self.path)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.entries.append(json.loads(line))
                self._changed.notify_all()

    def read(self) -> None:
        """Has it read what it was sent, from now on."""
        assert self.process.stdin is not None
        self.process.stdin.write("read\n")
        self.process.stdin.flush()

    def entry(self, message: str) -> dict[str, Any]:
        """The entry of that message, once it has come."""

        def find() -> Optional[dict[str, Any]]:
            return next((entry for entry in self.entries if message in entry.get("MESSAGE", "")), None)

        with self._changed:
            if not self._changed.wait_for(find, 30):
                raise AssertionError(f"no entry {message!r}, but {self.entries[-20:]}")
            found = find()
        assert found is not None
        return found

    def end(self) -> dict[str, Any]:
        """Stops the daemon; gives its stderr and how it ended."""
        self.close()
        return self.entries[-1]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
        self._thread.join(30)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Journal(DaemonTest):
    own_daemon = True

    @classmethod
    def setUpClass(cls) -> None:
        if not namespace():
            raise unittest.SkipTest("no mount namespaces here: run as root, or let users have their own")
        super().setUpClass()

    def test_what_is_told_in_fields(self) -> None:
        journald = Journald(self, name="chat")
        journald.read()
        with journald.connect() as connection:
            connection.call("lines", ["first of it"])
            connection.call("both", ["é"])
            connection.call("daemon.restart")
        listening = journald.entry("listening on ")
        self.assertEqual(listening["PRIORITY"], "6")
        self.assertEqual(listening["SYSLOG_IDENTIFIER"], "baskd@chat")
        self.assertEqual((listening["INSTANCE"], listening["STREAM"]), ("chat", "daemon"))
        self.assertFalse({"CALL", "METHOD", "F_CALL"} & set(listening), listening)
        line = journald.entry("first of it")
        wanted = {"MESSAGE": "first of it", "CALL": "1", "METHOD": "lines", "STREAM": "stdout", "PRIORITY": "6"}
        self.assertEqual({name: line.get(name) for name in wanted}, wanted)
        self.assertEqual(journald.entry("err é")["STREAM"], "stderr")
        ended = journald.end()
        self.assertEqual((ended["stderr"], ended["status"]), ("", 0))
        self.assertTrue([entry for entry in journald.entries if entry.get("MESSAGE") == "stopped"])

    def test_warnings_are_warnings(self) -> None:
        journald = Journald(self)
        journald.read()
        with journald.connect() as connection:
            connection.error("dies")
        death = journald.entry("last words")
        self.assertEqual(death["METHOD"], "dies")
        warning = next(iter(self.warnings(journald)))
        self.assertEqual((warning["SYSLOG_IDENTIFIER"], warning["STREAM"]), ("baskd", "daemon"))

    def warnings(self, journald: Journald) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [entry for entry in journald.entries if entry.get("PRIORITY") == "4"]
            return bool(found)

        self.until(look)
        return found

    def test_a_journald_that_does_not_read_holds_up_nobody(self) -> None:
        journald = Journald(self)
        with journald.connect() as connection:
            for number in range(30):
                self.assertEqual(connection.call("lines", [f"{number} {'x' * 100}"] * 100), 100)
            connection.call("lines", ["last of all"])
        journald.read()
        self.assertEqual(journald.entry("last of all")["CALL"], "31")
        journald.end()
        texts = [entry for entry in journald.entries if entry.get("METHOD") == "lines"]
        self.assertEqual(len(texts), 3001)

    def test_one_that_never_reads_does_not_keep_it_from_stopping(self) -> None:
        journald = Journald(self)
        with journald.connect() as connection:
            for number in range(10):
                connection.call("lines", [f"{number} {'x' * 100}"] * 100)
        self.assertEqual(journald.end()["status"], 0)

    def test_without_a_journal_it_is_text_without_the_time(self) -> None:
        stderr = Journald(self, has_journal=False).end()["stderr"]
        self.assertRegex(stderr, r"(?m)^ WARN baskd: the journal can't be reached \(.*\): the log goes to stderr$")
        self.assertRegex(stderr, r"(?m)^ INFO baskd: listening on ")

    def test_what_is_asked_for_comes_before_what_is_found(self) -> None:
        journald = Journald(self, "--log-format", "pretty")
        journald.read()
        stderr = journald.end()["stderr"]
        self.assertRegex(stderr, r"(?m)^ INFO baskd: listening on ")
        self.assertEqual([entry for entry in journald.entries if "MESSAGE" in entry], [])


class NoJournal(DaemonTest):
    own_daemon = True

    def test_a_variable_that_somebody_else_has_left_means_nothing(self) -> None:
        named = os.stat("/dev/null")
        daemon = self.start("says.py", env={"JOURNAL_STREAM": f"{named.st_dev}:{named.st_ino}"})
        self.assertRegex(daemon.wait_for_log("listening on ")[0], r"^\d{4}-\d\d-\d\dT")
