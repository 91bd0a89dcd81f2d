"""A Python takes the place of another by itself: of one that dies while another stands by, or of one that is worn."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import Any

from support.connection import Connection
from support.replacing import Replacing


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
