"""The socket comes first: who connects has the daemon started, and is answered."""

from __future__ import annotations

import errno
import stat

from .instance import SystemdTest


class Activation(SystemdTest):
    def test_the_first_who_connects_has_it_started_and_is_answered(self) -> None:
        instance = self.start()
        self.assertEqual(instance.property("ActiveState"), "inactive")
        folder, socket = (self.machine.path(path).lstat() for path in (instance.path.parent, instance.path))
        self.assertEqual((folder.st_uid, stat.S_IMODE(folder.st_mode)), (self.machine.uid, 0o700))
        self.assertEqual((socket.st_uid, stat.filemode(socket.st_mode)), (self.machine.uid, "srw-------"))
        with instance.connect() as first:
            self.assertEqual(first.call("add", [1, 2]), 3)
            status = first.call("daemon.status")
        self.assertEqual((status["name"], status["listening"]), (instance.name, "systemd"))
        shown = instance.until(lambda shown: shown["ActiveState"] == "active", "ActiveState", "SubState", "NRestarts")
        self.assertEqual((shown["SubState"], shown["NRestarts"]), ("running", "0"))

    def test_many_who_come_first_get_one_daemon(self) -> None:
        instance = self.start()
        connections = [instance.connect() for _ in range(50)]
        ids = [connection.request("add", [number, 0]) for number, connection in enumerate(connections)]
        answers = [connection.result(id) for connection, id in zip(connections, ids)]
        self.assertEqual(answers, list(range(50)))
        for connection in connections:
            connection.close()
        self.assertEqual(instance.log().count("listening on"), 1)

    def test_it_is_starting_until_python_is_ready_and_says_so(self) -> None:
        gate = self.file("gate")
        instance = self.start(service=f"Environment=SERVICE_GATE={gate}")
        with instance.connect() as first:
            id = first.request("add", [1, 2])
            shown = instance.until(lambda shown: shown["StatusText"], "StatusText", "ActiveState")
            self.assertEqual(shown["ActiveState"], "activating")
            self.assertRegex(shown["StatusText"], r"^starting .*controller\.py:Controller$")
            # It is there for whoever asks, meanwhile.
            self.assertEqual(instance.status()["state"], "starting")
            self.make(gate)
            self.assertEqual(first.result(id), 3)
        shown = instance.until(lambda shown: shown["ActiveState"] == "active", "StatusText", "ActiveState")
        self.assertRegex(shown["StatusText"], r"^ready: \d+ methods, 1 worker, \d+ calls?, 0 restarts$")

    def test_a_controller_that_does_not_start_is_told_of(self) -> None:
        instance = self.start(controller="broken_start.py")
        instance.systemctl("start")
        shown = instance.until(lambda shown: shown["StatusText"], "StatusText", "ActiveState", "NRestarts")
        self.assertEqual((shown["ActiveState"], shown["NRestarts"]), ("active", "0"))
        self.assertRegex(shown["StatusText"], r"^(unavailable|backing off): ")
        with instance.connect() as connection:
            self.assertEqual(connection.error("add", [1, 2])["code"], -32022)

    def test_what_systemd_tells_the_daemon_does_not_reach_python(self) -> None:
        instance = self.start()
        environment = instance.call("environment")
        told = [name for name in environment if name.startswith(("NOTIFY_", "LISTEN_", "WATCHDOG_"))]
        self.assertEqual(told, [])
        self.assertIn("INVOCATION_ID", environment)

    def test_two_instances_know_nothing_of_each_other(self) -> None:
        one, other = self.start(), self.start()
        one.call("remember", ["one"])
        other.call("remember", ["other"])
        one.call("setProperty", {"name": "colour", "value": "red"})
        self.assertEqual((one.call("remembered"), other.call("remembered")), (["one"], ["other"]))
        self.assertNotEqual(one.pid(), other.pid())
        one.systemctl("stop")
        self.assertEqual(other.call("remembered"), ["other"])
        with other.connect() as connection:
            self.assertEqual(connection.error("getProperty", {"name": "colour"})["code"], -32602)
        self.assertEqual(one.call("getProperty", {"name": "colour"}), "red")

    def test_after_the_sockets_stop_nobody_listens_and_no_path_is_left(self) -> None:
        instance = self.start()
        instance.call("add", [1, 2])
        self.machine.systemctl("stop", instance.socket)
        self.assertEqual(instance.property("ActiveState"), "inactive")
        with self.assertRaises(OSError) as caught:
            instance.connect()
        self.assertEqual(caught.exception.errno, errno.ENOENT)

    def test_one_that_is_idle_ends_and_is_there_again_when_it_is_wanted(self) -> None:
        instance = self.start(config='idle_exit = "200ms"')
        with instance.connect() as connection:
            connection.call("remember", ["before"])
            first = connection.call("daemon.status")["pid"]
        shown = instance.until(lambda shown: shown["ActiveState"] == "inactive", "ActiveState", "Result")
        self.assertEqual(shown["Result"], "success")
        with instance.connect() as connection:
            self.assertEqual(connection.call("remembered"), ["before"])
            self.assertNotEqual(connection.call("daemon.status")["pid"], first)
