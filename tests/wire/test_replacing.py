"""A Python takes the place of another: at a reload, when one is worn, when one dies and another stands by."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any, Optional

from support.case import DaemonTest
from support.connection import Connection
from support.daemon import CONTROLLERS, Daemon, Places


class Replacing(DaemonTest):
    """Each test has a daemon of its own, of a copy of the controller that it may change."""

    def serve(self, *flags: str, config: str = "", env: Optional[dict[str, str]] = None) -> Daemon:
        places = Places()
        self.addCleanup(places.remove)
        self.file = places.root / "keeps.py"
        shutil.copy(CONTROLLERS / "keeps.py", self.file)
        return self.again(places, *flags, config=config, env=env)

    def again(self, places: Places, *flags: str, config: str = "", env: Optional[dict[str, str]] = None) -> Daemon:
        daemon = Daemon(self.file, *flags, places=places, config=config, env=env)
        self.addCleanup(daemon.close)
        return daemon

    def change(self, was: str, now: str) -> None:
        text = self.file.read_text()
        self.assertIn(was, text)
        new = self.file.with_suffix(".new")
        new.write_text(text.replace(was, now))
        new.rename(self.file)

    def open(self, daemon: Daemon) -> Connection:
        connection = daemon.connect()
        self.addCleanup(connection.close)
        return connection

    def wait_gone(self, *pids: int) -> None:
        """Until these processes have ended and were reaped."""
        self.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))

    def stream(self, connection: Connection, method: str, params: Any) -> Any:
        return connection.call("stream.call", {"method": method, "params": params})

    def wait_until(self, connection: Connection, name: str, wanted: Any) -> dict[str, Any]:
        """The status, once what it says of `name` is as wanted."""
        deadline = time.monotonic() + 20
        status: dict[str, Any]
        while not wanted((status := connection.call("daemon.status"))[name]):
            self.assertLess(time.monotonic(), deadline, f"{name} is {status[name]}")
            time.sleep(0.01)
        return status


class Reload(Replacing):
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
        slow = connection.request("sleep", {"seconds": 0.5})
        other = self.open(daemon)
        self.wait_until(other, "workers", lambda workers: workers[0]["running"])
        reload = other.request("daemon.reload")
        after = connection.request("increment")
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
        daemon = self.serve(env={"KEEPS_SLOW_START": "0.5"})
        connection = self.open(daemon)
        old = connection.call("pid")
        reload = connection.request("daemon.reload")
        status = self.wait_until(self.open(daemon), "beside", bool)
        os.kill(old, signal.SIGKILL)
        self.assertIs(connection.result(reload), True)
        self.assertEqual(connection.call("pid"), status["beside"][0]["pid"])
        self.assertEqual(len(daemon.wait_for_log("is ready after", count=2)), 2)

    def test_many_who_ask_are_all_told_and_two_reloads_are_enough(self) -> None:
        daemon = self.serve(env={"KEEPS_SLOW_START": "0.2"})
        connection = self.open(daemon)
        connection.call("pid")
        ids = [connection.request("daemon.reload") for _ in range(100)]
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
        dying = connection.request("die_in", {"seconds": 0.3})
        other = self.open(daemon)
        self.wait_until(other, "workers", lambda workers: workers and workers[0]["running"])
        self.assertIs(other.call("daemon.restart"), True)
        self.assertError(connection.answer(dying)["error"], -32021)
        self.assertEqual(other.call("version"), 1)

    def test_who_asks_for_a_reload_during_a_stop_is_told(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        slow = connection.request("sleep", {"seconds": 0.5})
        other = self.open(daemon)
        self.wait_until(other, "workers", lambda workers: workers[0]["running"])
        other.call("daemon.shutdown")
        ids = [other.request(method) for method in ("daemon.reload", "daemon.reload", "daemon.restart") * 2]
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
            self.wait_until(self.open(daemon), "workers", lambda w: w and 1100 < w[0]["uptime_ms"] < 1500)
            ids.append(connection.request("daemon.restart"))
            ready += 1
        self.assertIsInstance(connection.result(call), int)
        self.assertEqual({connection.result(id) for id in ids}, {True})

    def test_a_stop_in_the_middle_of_a_reload_ends_all(self) -> None:
        daemon = self.serve(env={"KEEPS_SLOW_START": "0.7"})
        connection = self.open(daemon)
        old = connection.call("pid")
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


class Standby(Replacing):
    def test_the_one_that_stands_by_takes_over_with_the_state(self) -> None:
        daemon = self.serve(config='standby = true\nsnapshot_every = "50ms"')
        connection = self.open(daemon)
        connection.call("setProperty", {"name": "label", "value": "x"})
        for round in range(1, 4):
            waiting = self.standby(connection)
            connection.call("increment")
            self.until(partial(self.has_kept, daemon, round))
            connection.call("setProperty", {"name": "label", "value": round})
            self.assertError(connection.error("die"), -32021, ran="yes")
            self.assertEqual(connection.call("pid"), waiting)
            self.assertEqual(connection.call("counted"), round)
            self.assertEqual(connection.call("getProperty", {"name": "label"}), round)

    def has_kept(self, daemon: Daemon, count: int) -> bool:
        """Whether the snapshot on disk has this count."""
        file = daemon.places.state / "baskd" / "default" / "snapshot.json"
        return file.exists() and f'"count":{count},' in file.read_text()

    def standby(self, connection: Connection) -> int:
        """The pid of the process that stands by, once it is ready."""

        def is_ready(beside: list[dict[str, Any]]) -> bool:
            return any(process["state"] == "standby" and process["ready_ms"] is not None for process in beside)

        beside = self.wait_until(connection, "beside", is_ready)["beside"]
        pid: int = next(process["pid"] for process in beside if process["state"] == "standby")
        return pid

    def test_a_standby_of_an_old_version_is_not_taken(self) -> None:
        daemon = self.serve(config="standby = true")
        connection = self.open(daemon)
        old = self.standby(connection)
        self.change("VERSION = 1", "VERSION = 2")
        self.assertError(connection.error("die"), -32021)
        self.assertEqual(connection.call("version"), 2)
        self.wait_gone(old)
        # And a reload brings a new one.
        old = self.standby(connection)
        self.assertIs(connection.call("daemon.reload"), True)
        self.wait_gone(old)
        self.assertNotEqual(self.standby(connection), old)

    def test_a_standby_that_dies_is_replaced(self) -> None:
        daemon = self.serve(config="standby = true")
        connection = self.open(daemon)
        old = self.standby(connection)
        os.kill(old, signal.SIGKILL)
        daemon.wait_for_log("the standby is gone")
        self.assertNotEqual(self.standby(connection), old)
        self.assertEqual(connection.call("daemon.status")["restarts"], 0)


class Recycling(Replacing):
    def test_after_so_many_calls_another_takes_its_place_and_no_call_is_lost(self) -> None:
        for standby in ("false", "true"):
            daemon = self.serve(config=f"max_calls = 100\nstandby = {standby}")
            connection = self.open(daemon)
            counted = 0
            while connection.call("daemon.status")["recycled"] < 3:
                ids = [connection.request("increment") for _ in range(20)]
                for id in ids:
                    counted += 1
                    self.assertEqual(connection.result(id), counted)
            self.assertEqual(connection.call("daemon.status")["restarts"], 0)

    def test_a_stream_is_not_cancelled_for_it(self) -> None:
        for hooks in (True, False):
            daemon = self.serve(config='max_calls = 5\ndrain_timeout = "200ms"')
            if not hooks:
                self.change("def on_snapshot(self)", "def _on_snapshot(self)")
                self.open(daemon).call("daemon.reload")
            connection = self.open(daemon)
            gate = daemon.places.root / "gate"
            stream = self.stream(connection, "gated", {"gate": str(gate)})
            old = connection.event(stream)["result"]["item"]
            other = self.open(daemon)
            for _ in range(20):
                other.call("increment")
            if hooks:
                daemon.wait_for_log("calls run that take long, and it is not needed at once")
            else:
                self.wait_until(other, "recycled", bool)
            other.call("increment")
            gate.touch()
            while "item" in (event := connection.event(stream)["result"]):
                pass
            self.assertEqual(event, {"end": old})

    def test_a_stop_does_not_wait_for_what_is_left_of_it(self) -> None:
        for kill_grace in ("30s", "300ms"):
            daemon = self.serve(config=f'max_calls = 3\ngrace = "100ms"\nkill_grace = "{kill_grace}"')
            self.change("def on_snapshot(self)", "def _on_snapshot(self)")
            self.open(daemon).call("daemon.reload")
            connection = self.open(daemon)
            stuck = connection.request("for_ever")
            other = self.open(daemon)
            while not other.call("daemon.status")["recycled"]:
                other.call("increment")
            self.assertTrue(connection.call("rpc.cancel", {"id": stuck}))
            if kill_grace == "300ms":
                # Nobody waits for it, and its time is over.
                daemon.wait_for_log("the old Python still runs what was cancelled")
                self.wait_until(other, "beside", lambda beside: not beside)
            daemon.terminate()
            self.assertEqual(daemon.wait(), 0)

    def test_a_limit_that_a_fresh_one_exceeds_is_told(self) -> None:
        daemon = self.serve(config='max_rss = "1MiB"')
        connection = self.open(daemon)
        while not any("is that less than it needs" in line for line in daemon.log):
            connection.call("increment")
        self.assertEqual(connection.call("daemon.status")["recycled"], 0)

    def test_one_that_has_grown_too_large_is_replaced(self) -> None:
        daemon = self.serve(config='max_rss = "100MiB"')
        connection = self.open(daemon)
        connection.call("increment")
        old = connection.call("pid")
        self.wait_until(connection, "workers", lambda workers: workers[0]["uptime_ms"] > 5_000)
        connection.call("grow", {"mebibytes": 120})
        deadline = time.monotonic() + 20
        while connection.call("pid") == old:
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(connection.call("counted"), 1)
        daemon.wait_for_log(r"has become 1\d\d MiB large")
        self.assertLess(connection.call("daemon.status")["workers"][0]["rss_bytes"], 100 << 20)

    def test_replace_mode_ends_the_old_one_first(self) -> None:
        daemon = self.serve(config='max_calls = 5\nreload_mode = "replace"')
        connection = self.open(daemon)
        ids = [connection.request("increment") for _ in range(40)]
        self.assertEqual([connection.result(id) for id in ids], list(range(1, 41)))


class State(Replacing):
    def state(self, daemon: Daemon) -> Path:
        return daemon.places.state / "baskd" / "default"

    def test_it_is_there_again_in_the_next_daemon_but_for_what_is_volatile(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        connection.call("increment", {"by": 7})
        connection.call("setProperty", {"name": "apiKey", "value": "s3cret-s3cret"})
        # It is in the state, too, and a restart keeps it: that is in memory.
        connection.call("daemon.restart")
        self.assertEqual(connection.call("getProperty", {"name": "apiKey"}), "s3cret-s3cret")
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)
        for file in self.state(daemon).rglob("*"):
            if file.is_file():
                self.assertNotIn(b"s3cret", file.read_bytes(), file)
        daemon = self.again(daemon.places)
        connection = self.open(daemon)
        self.assertEqual((connection.call("counted"), connection.call("starts")), (7, ["on_start", "on_restore"]))
        self.assertEqual(connection.call("getProperty", {"name": "apiKey"}), "")
        daemon.wait_for_log(r"the state was restored from a snapshot that is .* old")

    def test_after_a_crash_the_last_snapshot_is_restored_and_its_age_is_told(self) -> None:
        daemon = self.serve(config='snapshot_every = "100ms"')
        connection = self.open(daemon)
        connection.call("increment", {"by": 3})
        self.wait_until(connection, "snapshot", bool)
        error = connection.error("die")
        self.assertError(error, -32021, ran="yes")
        self.assertLess(error["data"]["snapshot_age_ms"], 30_000)
        self.assertIn("Its state goes back to a snapshot that is", error["message"])
        self.assertEqual(connection.call("counted"), 3)
        daemon.wait_for_log(r"exited with code 3; its state goes back to a snapshot that is .* old")

    def test_without_a_snapshot_a_crash_says_nothing_of_one(self) -> None:
        daemon = self.serve(config="snapshot_every = 0")
        connection = self.open(daemon)
        connection.call("increment")
        self.assertNotIn("snapshot_age_ms", connection.error("die")["data"])
        self.assertEqual(connection.call("counted"), 0)

    def test_a_failing_on_restore_is_told_and_does_not_loop(self) -> None:
        for how in ("on_restore", "death in on_restore"):
            daemon = self.serve(config='snapshot_every = "50ms"')
            connection = self.open(daemon)
            connection.call("increment")
            self.wait_until(connection, "snapshot", bool)
            connection.call("setProperty", {"name": "fails_in", "value": how})
            self.assertError(connection.error("die"), -32021)
            self.assertEqual((connection.call("counted"), connection.call("starts")), (0, ["on_start"]), how)
            daemon.wait_for_log("on_restore failed with a snapshot that is .* old; Python is started anew without it")
            self.assertTrue((self.state(daemon) / "snapshot.json.refused").exists())
            self.assertEqual(len(daemon.wait_for_log("is ready after", count=2)), 2)

    def test_what_was_set_by_a_notification_just_before_a_stop_is_on_disk(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        connection.call("pid")
        for value in range(100):
            connection.notify("setProperty", {"name": "label", "value": value})
        connection.call("daemon.shutdown")
        self.assertEqual(daemon.wait(), 0)
        self.assertIn('["label",99]', (self.state(daemon) / "properties.json").read_text())

    def test_a_kill_from_outside_costs_no_state(self) -> None:
        daemon = self.serve(config='snapshot_every = "50ms"\nstandby = true')
        connection = self.open(daemon)
        for count in range(1, 4):
            connection.call("increment")
            self.until(partial(self.has_kept, daemon, count))
            status = self.wait_until(
                connection, "beside", lambda beside: any(p["ready_ms"] is not None for p in beside)
            )
            # Both at once: the one that stands by is dead when it is needed.
            for process in [*status["beside"], *status["workers"]]:
                os.kill(process["pid"], signal.SIGKILL)
            self.assertEqual(connection.call("counted"), count)
        self.assertFalse((self.state(daemon) / "snapshot.json.refused").exists())

    def has_kept(self, daemon: Daemon, count: int) -> bool:
        file = self.state(daemon) / "snapshot.json"
        return file.exists() and f'"count":{count},' in file.read_text()

    def test_an_on_snapshot_that_hangs_holds_nobody_up_for_ever(self) -> None:
        daemon = self.serve(config='snapshot_every = "50ms"\ndrain_timeout = "10s"\nkill_grace = "100ms"')
        connection = self.open(daemon)
        connection.call("setProperty", {"name": "fails_in", "value": "long on_snapshot"})
        connection.call("increment")
        # Its time runs out, and then it is a cancelled call as any other.
        self.assertEqual(connection.call("counted"), 1)
        daemon.wait_for_log("on_snapshot failed, and the last snapshot stays")

    def test_a_version_that_gains_the_hooks_has_its_state_kept(self) -> None:
        daemon = self.serve(config='snapshot_every = "50ms"')
        self.change("def on_snapshot(self)", "def _on_snapshot(self)")
        connection = self.open(daemon)
        self.assertIs(connection.call("daemon.reload"), True)
        self.change("def _on_snapshot(self)", "def on_snapshot(self)")
        self.assertIs(connection.call("daemon.reload"), True)
        connection.call("increment", {"by": 4})
        self.until(partial(self.has_kept, daemon, 4))
        self.assertError(connection.error("die"), -32021)
        self.assertEqual(connection.call("counted"), 4)

    def test_secrets_in_a_state_stay_in_memory(self) -> None:
        daemon = self.serve(config='volatile = ["label"]')
        self.change('return {"count": self.count,', 'return {"deep": [{"my_label": "s3cret"}], "count": self.count,')
        connection = self.open(daemon)
        self.assertIs(connection.call("daemon.reload"), True)
        connection.call("increment")
        self.assertIs(connection.call("daemon.reload"), True)
        self.until(partial(self.has_kept, daemon, 1))
        self.assertNotIn("s3cret", (self.state(daemon) / "snapshot.json").read_text())
        daemon.wait_for_log("snapshots on disk are without 1 members")

    def test_a_state_that_python_could_not_read_back_is_not_kept(self) -> None:
        daemon = self.serve(config='snapshot_every = "50ms"')
        connection = self.open(daemon)
        connection.call("increment")
        self.until(partial(self.has_kept, daemon, 1))
        connection.call("setProperty", {"name": "fails_in", "value": "deep on_snapshot"})
        self.assertIn("128 deep", connection.error("daemon.reload")["data"]["reason"])
        daemon.wait_for_log("nested more than 128 deep")
        self.assertError(connection.error("die"), -32021)
        self.assertEqual(connection.call("counted"), 1)

    def test_what_has_become_volatile_goes_from_the_disk(self) -> None:
        daemon = self.serve()
        connection = self.open(daemon)
        connection.call("increment")
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)
        file = self.state(daemon) / "snapshot.json"
        self.assertIn("as it was", file.read_text())
        self.again(daemon.places, config='volatile = ["model"]')
        self.until(lambda: "as it was" not in file.read_text())

    def test_a_restart_is_answered_though_the_breaker_opens_in_on_restore(self) -> None:
        daemon = self.serve(config='snapshot_every = "50ms"', env={"KEEPS_SLOW_RESTORE": "0.5"})
        connection = self.open(daemon)
        connection.call("increment")
        self.until(partial(self.has_kept, daemon, 1))
        pids: set[int] = set()

        def kill_the_next() -> None:
            workers = connection.call("daemon.status")["workers"]
            if workers and workers[0]["pid"] not in pids:
                pids.add(workers[0]["pid"])
                os.kill(workers[0]["pid"], signal.SIGKILL)

        restart = None
        while connection.call("daemon.status")["state"] != "unavailable":
            kill_the_next()
            if restart is None and len(pids) == 3:
                restart = connection.request("daemon.restart")
        self.assertError(connection.answer(restart)["error"], -32022)

    def test_a_torn_snapshot_is_put_aside(self) -> None:
        daemon = self.serve()
        self.open(daemon).call("increment")
        daemon.terminate()
        self.assertEqual(daemon.wait(), 0)
        file = self.state(daemon) / "snapshot.json"
        file.write_bytes(file.read_bytes()[:-5])
        daemon = self.again(daemon.places)
        self.assertEqual(self.open(daemon).call("counted"), 0)
        self.assertTrue((self.state(daemon) / "snapshot.json.unreadable").exists())
