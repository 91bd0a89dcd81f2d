"""What systemd does when the daemon is not well, and what it does not do when only Python is busy."""

from __future__ import annotations

import time

from support.connection import Connection

from .instance import SystemdTest

#: So short that a test can wait for it, and longer than a busy machine stops a process for; the unit has 30 s.
QUICK = "WatchdogSec=5s"


def begin(connection: Connection, method: str, params: list[object]) -> int:
    """Calls a method that says when it has begun, and gives the call's id then."""
    own = connection.call("messages.subscribe", ["own"])
    id: int = connection.request(method, params)
    connection.event(own)
    return id


class Watchdog(SystemdTest):
    def test_a_daemon_that_hangs_is_killed_and_comes_back(self) -> None:
        instance = self.start(service=f"{QUICK}\nRestartSec=3s")
        instance.call("setProperty", {"name": "colour", "value": "red"})
        self.assertEqual(instance.property("ActiveState"), "active")
        first = instance.pid()
        instance.signal("SIGSTOP")
        shown = instance.until(
            lambda shown: shown["SubState"] == "auto-restart", "SubState", "Result", "ExecMainCode", "ExecMainStatus"
        )
        # By SIGKILL (code 2: killed): nothing is dumped.
        self.assertEqual((shown["Result"], shown["ExecMainCode"], shown["ExecMainStatus"]), ("watchdog", "2", "9"))
        # Who comes now waits at systemd's socket.
        self.assertEqual(instance.call("getProperty", {"name": "colour"}), "red")
        shown = instance.show("NRestarts", "MainPID")
        self.assertEqual(shown["NRestarts"], "1")
        self.assertNotEqual(int(shown["MainPID"]), first)

    def test_a_busy_controller_is_not_a_dead_daemon(self) -> None:
        # Each is busy for longer than the watchdog's time.
        for method in ("hold_the_gil", "sleep"):
            with self.subTest(method):
                instance = self.start(service=QUICK)
                with instance.connect() as connection:
                    id = begin(connection, method, [8])
                    before = instance.pid()
                    began = time.monotonic()
                    self.assertEqual(connection.result(id), "done")
                    self.assertGreater(time.monotonic() - began, 6)
                shown = instance.show("NRestarts", "MainPID", "ActiveState", "Result")
                self.assertEqual(
                    shown, {"NRestarts": "0", "MainPID": str(before), "ActiveState": "active", "Result": "success"}
                )

    def test_a_python_that_is_stopped_is_not_a_dead_daemon(self) -> None:
        instance = self.start(service=QUICK)
        with instance.connect() as connection:
            connection.call("add", [1, 2])
            python = connection.call("daemon.status")["workers"][0]["pid"]
            self.machine.run("kill", "-STOP", str(python))
            id = connection.request("add", [1, 2])
            self.until(lambda: instance.status()["in_flight"] == 1)
            began = time.monotonic()
            self.until(lambda: time.monotonic() - began > 7)
            self.assertEqual(instance.property("NRestarts"), "0")
            self.machine.run("kill", "-CONT", str(python))
            self.assertEqual(connection.result(id), 3)

    def test_a_long_start_is_given_its_time(self) -> None:
        gate = self.file("gate")
        # The daemon asks for more, as long as `startup_timeout` allows.
        instance = self.start(service=f"{QUICK}\nTimeoutStartSec=5s\nEnvironment=SERVICE_GATE={gate}")
        with instance.connect() as connection:
            id = connection.request("add", [1, 2])
            began = time.monotonic()
            self.until(lambda: time.monotonic() - began > 7)
            self.assertEqual(instance.show("ActiveState", "NRestarts"), {"ActiveState": "activating", "NRestarts": "0"})
            self.make(gate)
            self.assertEqual(connection.result(id), 3)
