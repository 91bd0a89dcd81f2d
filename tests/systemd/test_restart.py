"""The daemon goes and comes back while clients call: nobody is refused, nothing is run twice, what is kept is there."""

from __future__ import annotations

from typing import Callable

from support.processes import command_of, wait_gone

from .instance import SystemdTest
from .test_watchdog import begin
from .under_load import Load


class Restart(SystemdTest):
    def test_restarts_under_load_refuse_nobody_and_lose_nothing(self) -> None:
        instance = self.start()
        instance.call("setProperty", {"name": "colour", "value": "red"})
        instance.call("remember", ["before"])
        pids = [instance.pid()]
        with Load(self, instance) as load:
            for turn in range(3):
                instance.systemctl("restart")
                pids.append(instance.pid())
                self.assertEqual(instance.call("remember", [f"restart {turn}"])[-1], f"restart {turn}")
                load.wait_for(20)
        self.assertEqual(len(set(pids)), 4)
        load.check()
        # What a daemon did not begin, the client sends to the next by itself.
        self.assertEqual(load.count("CallCancelled"), 0)
        self.assertLess(load.slowest(), 15)
        # The journal and the snapshot have carried it over.
        self.assertEqual(instance.call("getProperty", {"name": "colour"}), "red")
        self.assertEqual(instance.call("remembered"), ["before", "restart 0", "restart 1", "restart 2"])
        self.assertEqual(instance.show("Result", "ActiveState"), {"Result": "success", "ActiveState": "active"})

    def test_reloads_under_load_answer_every_call(self) -> None:
        instance = self.start()
        instance.call("setProperty", {"name": "colour", "value": "red"})
        instance.call("remember", ["before"])
        daemon = instance.pid()
        with Load(self, instance) as load:
            for _ in range(3):
                python = instance.status()["workers"][0]["pid"]
                instance.systemctl("reload")
                self.assertNotEqual(instance.status()["workers"][0]["pid"], python)
                load.wait_for(20)
        load.check()
        self.assertEqual(load.count("CallCancelled", -32024), 0)
        self.assertEqual(instance.call("getProperty", {"name": "colour"}), "red")
        self.assertEqual(instance.call("remembered"), ["before"])
        self.assertEqual(instance.pid(), daemon)
        self.assertEqual(instance.property("NRestarts"), "0")

    def test_systemd_sees_a_reload_and_one_that_fails(self) -> None:
        instance = self.start()
        instance.call("add", [1, 2])
        gate = self.file("gate")
        self.machine.write(
            self.file("slow.py"), f"import os, time\nwhile not os.path.exists({str(gate)!r}):\n    time.sleep(0.005)\n"
        )
        controller = self.machine.path(instance.controller)
        served = controller.read_text()
        controller.write_text(f"exec(open({str(self.file('slow.py'))!r}).read())\n{served}")
        self.machine.systemctl("--no-block", "reload", instance.service)
        shown = instance.until(
            lambda shown: shown["StatusText"] == "reloading", "StatusText", "ActiveState", "SubState"
        )
        self.assertEqual((shown["ActiveState"], shown["SubState"]), ("reloading", "reload"))
        self.assertEqual(instance.call("add", [1, 2]), 3)
        self.make(gate)
        instance.until(lambda shown: shown["StatusText"].startswith("ready: "), "StatusText")
        instance.until(lambda shown: shown["ActiveState"] == "active", "ActiveState")
        # And what does not start leaves the old one in its place.
        controller.write_text("raise ValueError('not today')")
        failed = instance.systemctl("reload", check=False)
        self.assertNotEqual(failed.returncode, 0)
        shown = instance.until(lambda shown: "reload failed" in shown["StatusText"], "StatusText", "ActiveState")
        self.assertEqual(shown["ActiveState"], "active")
        self.assertEqual(instance.call("add", [1, 2]), 3)

    def test_a_hangup_is_a_reload(self) -> None:
        instance = self.start()
        python = instance.status()["workers"][0]["pid"]
        instance.signal("SIGHUP")
        self.until(lambda: instance.status()["workers"][0]["pid"] not in (None, python))
        instance.until(lambda shown: shown["ActiveState"] == "active", "ActiveState")

    def test_a_restart_lets_running_calls_end_and_the_next_daemon_serves_who_waits(self) -> None:
        instance = self.start()
        gate = self.file("gate")
        with instance.connect() as connection:
            id = begin(connection, "wait_for", [str(gate)])
            self.machine.systemctl("--no-block", "restart", instance.service)
            instance.until(lambda shown: shown["StatusText"] == "stopping", "StatusText")
            with instance.connect() as late:
                waits = late.request("add", [1, 2])
                self.make(gate)
                self.assertEqual(connection.result(id), "found")
                self.assertEqual(late.result(waits), 3)

    def test_a_stop_drains_and_ends_python_in_order(self) -> None:
        instance = self.start()
        gate = self.file("gate")
        with instance.connect() as connection:
            id = begin(connection, "wait_for", [str(gate)])
            self.machine.systemctl("--no-block", "stop", instance.service, instance.socket)
            instance.until(lambda shown: shown["StatusText"] == "stopping", "StatusText")
            self.make(gate)
            self.assertEqual(connection.result(id), "found")
            self.assertEqual(connection.rest(), [])
        shown = instance.until(
            lambda shown: shown["ActiveState"] == "inactive", "ActiveState", "Result", "ExecMainStatus"
        )
        self.assertEqual((shown["Result"], shown["ExecMainStatus"]), ("success", "0"))
        self.assertIn("on_stop was called", instance.log())

    def test_no_process_outlives_a_stop(self) -> None:
        instance = self.start()
        instance.call("leave_children")
        processes = instance.processes()
        # The daemon, Python with its guard, and what it has started.
        self.assertEqual(len(processes), 5, [command_of(pid) for pid in processes])
        instance.systemctl("stop")
        self.assertEqual(instance.processes(), [])
        for pid in processes:
            wait_gone(pid)


def is_another(daemon: int) -> Callable[[dict[str, str]], bool]:
    return lambda shown: shown["MainPID"] not in ("0", str(daemon))


class Killed(SystemdTest):
    def test_kills_under_load_are_told_truly_and_nothing_is_run_twice(self) -> None:
        instance = self.start()
        instance.call("setProperty", {"name": "colour", "value": "red"})
        with Load(self, instance) as load:
            for turn in range(3):
                before = instance.pid()
                instance.signal("SIGKILL")
                self.assertEqual(instance.call("getProperty", {"name": "colour"}), "red")
                shown = instance.until(is_another(before), "MainPID", "NRestarts")
                self.assertEqual(shown["NRestarts"], str(turn + 1))
                load.wait_for(20)
        load.check(may_be_cut=True)
        self.assertGreater(load.count("Disconnected"), 0)

    def test_what_was_under_way_fails_with_disconnected(self) -> None:
        instance = self.start()
        script = (
            "import baskd, sys\n"
            "backend = baskd.connect(sys.argv[1], start=False)\n"
            "try:\n"
            "    backend.wait_for(sys.argv[2], sys.argv[3])\n"
            "except baskd.Disconnected as error:\n"
            "    print('Disconnected', error.data['method'], flush=True)\n"
            "print(backend.add(1, 2))\n"
        )
        begun = self.file("begun")
        client = self.client(script, instance.name, str(self.file("gate")), str(begun))
        self.until(self.machine.path(begun).exists)
        python = instance.status()["workers"][0]["pid"]
        instance.signal("SIGKILL")
        out, errors = client.communicate(timeout=30)
        self.assertEqual((out, errors, client.returncode), ("Disconnected wait_for\n3\n", "", 0))
        self.assertEqual(instance.property("NRestarts"), "1")
        # Nor has its Python gone on without it.
        self.until(lambda: not self.machine.path(f"/proc/{python}").exists())


class Broken(SystemdTest):
    def test_a_broken_config_is_not_tried_for_ever(self) -> None:
        instance = self.start(config="workres = 2")
        # Started by hand it fails once, by the status that says that another try is of no use.
        self.assertNotEqual(instance.systemctl("start", check=False).returncode, 0)
        shown = instance.until(
            lambda shown: shown["ActiveState"] == "failed", "ActiveState", "ExecMainStatus", "NRestarts"
        )
        self.assertEqual((shown["ExecMainStatus"], shown["NRestarts"]), ("2", "0"))
        self.assertIn("workers", instance.log())
        # By its socket it is started while somebody waits there, until systemd has had enough: then they are told.
        with instance.connect() as connection, self.assertRaises((EOFError, ConnectionError)):
            connection.call("add", [1, 2])
        self.assertIn(
            self.machine.show(instance.socket, "Result")["Result"], ("service-start-limit-hit", "trigger-limit-hit")
        )
        # Each start names the key, and shows its line.
        self.assertLessEqual(instance.log().count("`workres` is no setting"), 12)
        # Mended, and said so, it is there again.
        instance.configure("service.py")
        self.machine.systemctl("reset-failed", instance.service, instance.socket)
        self.machine.systemctl("start", instance.socket)
        self.assertEqual(instance.call("add", [1, 2]), 3)

    def test_a_daemon_that_crashes_again_and_again_is_given_up(self) -> None:
        instance = self.start(service="ExecStart=\nExecStart=/bin/false")
        self.machine.systemctl("--no-block", "start", instance.service)
        shown = instance.until(lambda shown: shown["ActiveState"] == "failed", "ActiveState", "NRestarts", "Result")
        self.assertLessEqual(int(shown["NRestarts"]), 10)
