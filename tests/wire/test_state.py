"""What a controller remembers: on_snapshot, on_restore, and what becomes of it at a crash, a reload and a stop."""

from __future__ import annotations

import os
import signal
from functools import partial

from support.replacing import Replacing


class State(Replacing):
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

    def test_an_on_snapshot_that_hangs_holds_nobody_up_for_ever(self) -> None:
        daemon = self.serve(config='snapshot_every = "50ms"\ndrain_timeout = "10s"')
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
        daemon = self.serve(config='snapshot_every = "50ms"', env={"KEEPS_SLOW_RESTORE": "60"})
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
