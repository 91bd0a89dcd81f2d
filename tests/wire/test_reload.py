"""Reloads: the new version takes over when it can, and nothing is lost; also by itself, when a file changes."""

from __future__ import annotations

import os
import select
import shutil
import signal
from pathlib import Path

from support.case import DaemonTest
from support.connection import request
from support.daemon import CONTROLLERS, Daemon, Places
from support.replacing import Replacing


class Reload(Replacing):
    def gated(self) -> tuple[Daemon, Path]:
        """One whose Pythons start while that file is there."""
        places = self.places()
        gate = places.root / "starts"
        gate.touch()
        return self.serve(env={"KEEPS_GATE": str(gate)}), gate

    def test_the_new_version_serves_with_the_old_ones_state(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        connection.call("increment", {"by": 5})
        old = connection.call("pid")
        self.change("VERSION = 1", "VERSION = 2")
        self.change("def counted(self)", "def tally(self)")
        self.assertIs(connection.call("daemon.reload"), True)
        self.assertEqual(connection.call("version"), 2)
        self.assertEqual(connection.call("tally"), 5)
        self.assertEqual(connection.call("starts"), ["on_start", "on_restore"])
        self.assertNotEqual(connection.call("pid"), old)
        names = [method["name"] for method in connection.call("rpc.discover")["methods"]]
        self.assertTrue("tally" in names and "counted" not in names)
        self.assertError(connection.error("counted"), -32601)
        self.assertNotIn("on_snapshot", names)
        self.assertError(connection.error("on_snapshot"), -32601)
        self.wait_gone(old)
        self.assertEqual(connection.call("daemon.status")["reloads"], 1)
        daemon.wait_for_log(r"is ready after .*; new: tally; gone: counted")

    def test_no_call_is_lost_nor_run_twice_while_it_is_reloaded_again_and_again(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        other = self.open(daemon)
        counted = 0
        for _ in range(5):
            reload = other.request("daemon.reload")
            # Calls without a pause, many of them under way, until it is done.
            while not select.select([other.socket], [], [], 0)[0]:
                ids = [connection.request("increment") for _ in range(100)]
                self.assertEqual([connection.result(id) for id in ids], list(range(counted + 1, counted + 101)))
                counted += 100
            self.assertIs(other.result(reload), True)
        self.assertEqual(connection.call("counted"), counted)
        self.assertGreater(counted, 500)

    def test_a_version_that_does_not_start_leaves_the_old_one_serving_and_says_why(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        connection.call("increment")
        old = connection.call("pid")
        self.change("VERSION = 1", "import no_such_module_at_all")
        error = connection.error("daemon.reload")
        self.assertError(error, -32022)
        self.assertIn("no_such_module_at_all", error["data"]["reason"])
        self.assertEqual((connection.call("counted"), connection.call("pid")), (1, old))
        self.assertEqual(connection.call("daemon.status")["beside"], [])
        self.assertEqual(connection.call("daemon.status")["state"], "ready")
        self.change("import no_such_module_at_all", "VERSION = 3")
        self.assertIs(connection.call("daemon.reload"), True)
        self.assertEqual((connection.call("version"), connection.call("counted")), (3, 1))

    def test_a_failing_hook_leaves_the_old_one_serving(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        connection.call("increment")
        old = connection.call("pid")
        for hook, said in (
            ("on_snapshot", "no snapshot today"),
            ("on_restore", "what is this?"),
            ("death in on_restore", "exited with code 7 in on_restore"),
        ):
            connection.call("setProperty", {"name": "fails_in", "value": hook})
            error = connection.error("daemon.reload")
            self.assertError(error, -32022)
            self.assertIn(said, error["data"]["reason"])
            self.assertEqual((connection.call("increment") > 1, connection.call("pid")), (True, old), hook)
        connection.call("setProperty", {"name": "fails_in", "value": ""})
        self.assertIs(connection.call("daemon.reload"), True)
        self.assertEqual(connection.call("counted"), 4)

    def test_streams_in_progress_end_on_the_old_process_and_nobody_waits_for_them(self) -> None:
        daemon = self.serve()
        # Without state to carry over, there is nothing that new calls would have to wait for.
        self.change("def on_snapshot(self)", "def _on_snapshot(self)")
        connection = self.open(daemon)
        self.assertIs(connection.call("daemon.reload"), True)
        gate = daemon.places.root / "gate"
        stream = self.stream(connection, "gated", {"gate": str(gate)})
        old = connection.event(stream)["result"]["item"]
        other = self.open(daemon)
        self.assertIs(other.call("daemon.reload"), True)
        new = other.call("pid")
        self.assertNotEqual(new, old)
        status = other.call("daemon.status")
        self.assertEqual([(p["pid"], p["state"]) for p in status["beside"]], [(old, "leaving")])
        self.assertEqual([call["method"] for call in status["beside"][0]["running"]], ["gated"])
        gate.touch()
        while "item" in (event := connection.event(stream)["result"]):
            self.assertEqual(event["item"], old)
        self.assertEqual(event, {"end": old})
        self.wait_gone(old)

    def test_a_plain_call_ends_on_the_old_process_before_the_next_begins(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        gate = daemon.places.root / "gate"
        slow = connection.request("until", {"gate": str(gate)})
        other = self.open(daemon)
        self.wait_until(other, "workers", lambda workers: workers[0]["running"])
        reload = other.request("daemon.reload")
        after = connection.request("increment")
        self.wait_until(self.open(daemon), "beside", bool)
        gate.touch()
        self.assertIs(other.result(reload), True)
        first = connection.read()
        self.assertEqual(first["id"], slow)
        self.assertNotEqual(first["result"], connection.call("pid"))
        self.assertEqual(connection.result(after), 1)

    def test_what_does_not_end_is_cancelled_when_the_drain_is_over(self) -> None:
        daemon = self.serve(config='drain_timeout = "300ms"')
        connection = self.open(daemon)
        stream = self.stream(connection, "gated", {"gate": "/nowhere"})
        connection.event(stream)
        self.assertIs(self.open(daemon).call("daemon.reload"), True)
        while "item" in (event := connection.event(stream)["result"]):
            pass
        self.assertError(event["error"], -32024, by="shutdown")

    def test_replace_mode_and_restart_carry_the_state_too(self) -> None:
        daemon = self.serve(config='reload_mode = "replace"')
        connection = self.open(daemon)
        for count, method in enumerate(("daemon.reload", "daemon.restart"), 1):
            connection.call("increment")
            old = connection.call("pid")
            self.assertIs(connection.call(method), True)
            self.assertEqual((connection.call("counted"), connection.call("pid") == old), (count, False))

    def test_properties_set_meanwhile_are_there(self) -> None:
        daemon = self.serve(env={"KEEPS_SLOW_START": "0.3"})
        connection = self.open(daemon)
        connection.call("pid")
        reload = connection.request("daemon.reload")
        for value in range(50):
            connection.call("setProperty", {"name": "model", "value": value})
        self.assertIs(connection.result(reload), True)
        # The snapshot says otherwise, and is older.
        self.assertEqual(connection.call("getProperty", {"name": "model"}), 49)

    def test_the_old_one_dies_while_the_new_one_starts(self) -> None:
        daemon, gate = self.gated()
        connection = self.open(daemon)
        old = connection.call("pid")
        gate.unlink()
        reload = connection.request("daemon.reload")
        status = self.wait_until(self.open(daemon), "beside", bool)
        os.kill(old, signal.SIGKILL)
        gate.touch()
        self.assertIs(connection.result(reload), True)
        self.assertEqual(connection.call("pid"), status["beside"][0]["pid"])
        self.assertEqual(len(daemon.wait_for_log("is ready after", count=2)), 2)

    def test_many_who_ask_are_all_told_and_two_reloads_are_enough(self) -> None:
        daemon = self.serve(env={"KEEPS_SLOW_START": "0.2"})
        connection = self.open(daemon)
        connection.call("pid")
        ids = list(range(100, 200))
        connection.send(*[request(id, "daemon.reload") for id in ids])  # In one write.
        self.assertEqual({connection.result(id) for id in ids}, {True})
        self.assertLessEqual(connection.call("daemon.status")["reloads"], 3)

    def test_reload_of_what_could_not_start_is_a_start(self) -> None:
        places = Places()
        self.addCleanup(places.remove)
        self.file = places.root / "keeps.py"
        self.file.write_text("import no_such_module_at_all\n")
        daemon = self.again(places)
        connection = self.open(daemon)
        self.assertError(connection.error("pid"), -32022)
        error = connection.error("daemon.reload")
        self.assertIn("no_such_module_at_all", error["data"]["reason"])
        shutil.copy(CONTROLLERS / "keeps.py", self.file)
        self.assertIs(connection.call("daemon.reload"), True)
        self.assertEqual(connection.call("version"), 1)

    def test_why_it_does_not_start_is_told_with_its_last_lines(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        self.change("VERSION = 1", "import sys; print('WHY IT DIED', file=sys.stderr); raise SystemExit(4)")
        for method in ("daemon.reload", "daemon.restart"):
            error = connection.error(method)
            self.assertError(error, -32022)
            self.assertIn("WHY IT DIED", "".join(error["data"]["stderr"]), method)

    def test_a_restart_is_done_though_python_dies_as_it_drains(self) -> None:
        daemon = self.serve()
        self.change("def on_snapshot(self)", "def _on_snapshot(self)")
        connection = self.open(daemon)
        self.assertIs(connection.call("daemon.reload"), True)
        for _ in range(4):
            self.assertError(connection.error("die"), -32021)
        gate = daemon.places.root / "gate"
        dying = connection.request("until", {"gate": str(gate), "dies": True})
        other = self.open(daemon)
        self.wait_until(other, "workers", lambda workers: workers and workers[0]["running"])
        restart = other.request("daemon.restart")
        daemon.wait_for_log("restart: running calls are ended first")
        gate.touch()
        self.assertIs(other.result(restart), True)
        self.assertError(connection.answer(dying)["error"], -32021)
        self.assertEqual(other.call("version"), 1)

    def test_who_asks_for_a_reload_during_a_stop_is_told(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        gate = daemon.places.root / "gate"
        slow = connection.request("until", {"gate": str(gate)})
        other = self.open(daemon)
        self.wait_until(other, "workers", lambda workers: workers[0]["running"])
        other.call("daemon.shutdown")
        ids = [other.request(method) for method in ("daemon.reload", "daemon.reload", "daemon.restart") * 2]
        other.call("daemon.status")  # They have been read.
        gate.touch()
        for id in ids:
            self.assertError(other.answer(id)["error"], -32022)
        connection.result(slow)
        self.assertEqual(daemon.wait(), 0)

    def test_restarts_do_not_keep_a_slow_start_from_its_end(self) -> None:
        daemon = self.serve(env={"KEEPS_SLOW_START": "1.6"})
        connection = self.open(daemon)
        connection.call("pid")
        ids = [connection.request("daemon.restart")]
        call = connection.request("pid")
        ready = 1
        while not connection.kept and ready < 2:
            # The next restart comes before the start can end.
            self.wait_until(self.open(daemon), "workers", lambda w: w and w[0]["uptime_ms"] > 1100)
            ids.append(connection.request("daemon.restart"))
            ready += 1
        self.assertIsInstance(connection.result(call), int)
        self.assertEqual({connection.result(id) for id in ids}, {True})

    def test_a_stop_in_the_middle_of_a_reload_ends_all(self) -> None:
        daemon, gate = self.gated()
        connection = self.open(daemon)
        old = connection.call("pid")
        gate.unlink()
        reload = connection.request("daemon.reload")
        status = self.wait_until(self.open(daemon), "beside", bool)
        daemon.terminate()
        self.assertError(connection.answer(reload)["error"], -32022)
        self.assertEqual(daemon.wait(), 0)
        self.wait_gone(old, status["beside"][0]["pid"])


class ReloadOfSeveral(DaemonTest):
    controller = "stateless.py"
    flags = ("--workers", "3")

    def test_all_switch(self) -> None:
        self.daemon.wait_for_log(r"\(worker \d of 3\) is ready", count=3)
        connection = self.connect()
        pids = {worker["pid"] for worker in connection.call("daemon.status")["workers"]}
        self.assertIs(connection.call("daemon.reload"), True)
        new = {worker["pid"] for worker in connection.call("daemon.status")["workers"]}
        self.assertEqual((len(new), new & pids), (3, set()))
        self.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


class Watch(Replacing):
    def test_a_change_reloads_and_a_broken_one_does_no_harm(self) -> None:
        daemon = self.serve("--watch")
        connection = self.open(daemon)
        connection.call("increment")
        self.change("VERSION = 1", "VERSION = 2")
        daemon.wait_for_log(r"keeps\.py has changed: reload")
        daemon.wait_for_log("is ready after", count=2)
        self.assertEqual((connection.call("version"), connection.call("counted")), (2, 1))
        self.change("VERSION = 2", "VERSION = = 3")
        daemon.wait_for_log("the old one serves on: the controller can't be imported: SyntaxError")
        self.assertEqual(connection.call("version"), 2)
        self.change("VERSION = = 3", "import helper\n\nVERSION = helper.VERSION")
        daemon.wait_for_log("serves on: the controller can't be imported: ModuleNotFoundError")
        # The controller itself is not touched any more: what it missed comes, and changes.
        helper = self.file.with_name("helper.py")
        helper.write_text("VERSION = 10\n")
        daemon.wait_for_log("is ready after", count=3)
        helper.write_text("VERSION = 11\n")
        daemon.wait_for_log("is ready after", count=4)
        self.assertEqual((connection.call("version"), connection.call("counted")), (11, 1))

    def test_a_touch_is_no_change(self) -> None:
        daemon = self.serve("--watch")
        connection = self.open(daemon)
        connection.call("pid")
        os.utime(self.file, (1, 1))
        self.change("VERSION = 1", "VERSION = 2")
        daemon.wait_for_log("is ready after", count=2)
        self.assertEqual(len(daemon.wait_for_log("has changed: reload")), 1)
