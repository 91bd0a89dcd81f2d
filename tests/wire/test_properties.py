"""Properties outlive Python, and, but for secrets, the daemon."""

from __future__ import annotations

import json
from pathlib import Path

from support.case import DaemonTest
from support.daemon import Places


class Journal(DaemonTest):
    own_daemon = True

    def journal(self, places: Places) -> str:
        """All that is on disk of an instance's state, its router aside."""
        files = [path for path in (places.state / "baskd" / "default").rglob("*.json*") if path.is_file()]
        return "\n".join(path.read_text() for path in files)

    def test_they_are_there_after_a_kill_of_python(self) -> None:
        daemon = self.start("state.py")
        connection = self.connect(daemon)
        values = {"model": "m", "tokenizer": 123, "deep": {"a": [1, None, "é"]}, "apiKey": "hush"}
        for name, value in values.items():
            self.assertEqual(connection.call("setProperty", {"name": name, "value": value}), value)
        for _ in range(3):
            daemon.kill_python()
            for name, value in values.items():
                self.assertEqual(connection.call("getProperty", [name]), value)
        # They were set before on_start, in the order in which they were first set.
        self.assertEqual(connection.call("seen_at_start"), "m")
        in_order = connection.call("in_order")
        self.assertEqual([name for name in in_order if name in values], list(values))

    def test_they_are_there_after_a_restart_of_the_daemon_but_for_secrets(self) -> None:
        places = self.places()
        with_secrets = {
            "model": "first",
            "apiKey": "hush-1",
            "access_token": "hush-2",
            "dbPassword": "hush-3",
            "tokenizer": 5,
        }
        first = self.start("state.py", places=places)
        connection = self.connect(first)
        for name, value in with_secrets.items():
            connection.call("setProperty", [name, value])
        connection.call("setProperty", ["model", "second"])
        self.assertEqual(set(connection.call("daemon.status")["properties"]), set(with_secrets))
        self.assertNotIn("hush", self.journal(places))
        self.assertIn("second", self.journal(places))
        first.process.kill()
        first.wait()
        second = self.start("state.py", places=places)
        connection = self.connect(second)
        self.assertEqual(connection.call("getProperty", ["model"]), "second")
        self.assertEqual(connection.call("getProperty", ["tokenizer"]), 5)
        for name in ("apiKey", "access_token", "dbPassword"):
            self.assertError(connection.error("getProperty", [name]), -32602)
        self.assertNotIn("hush", "\n".join(first.log + second.log))
        second.close()

    def test_what_was_answered_is_on_disk(self) -> None:
        places = self.places()
        for round in range(5):
            daemon = self.start("state.py", places=places)
            connection = self.connect(daemon)
            if round:
                self.assertEqual(connection.call("getProperty", ["model"]), round - 1)
            connection.call("setProperty", ["model", round])
            daemon.process.kill()
            daemon.wait()

    def test_one_that_is_refused_is_not_kept(self) -> None:
        daemon = self.start("state.py")
        connection = self.connect(daemon)
        self.assertError(connection.error("setProperty", ["checked", "bad"]), -32020)
        self.assertEqual(connection.call("setProperty", ["checked", "good"]), "GOOD")
        self.assertError(connection.error("setProperty", ["_x", 1]), -32028)
        daemon.kill_python()
        self.assertEqual(connection.call("getProperty", ["checked"]), "GOOD")
        self.assertEqual(connection.call("daemon.status")["properties"], ["checked"])

    def test_a_journal_that_can_not_be_read_is_put_aside(self) -> None:
        places = self.places()
        first = self.start("state.py", places=places)
        self.connect(first).call("setProperty", ["model", "m"])
        first.close()
        file = self.the_file(places)
        file.write_text(file.read_text()[:-5])
        second = self.start("state.py", places=places)
        second.wait_for_log("can't be read")
        self.assertEqual(self.connect(second).call("daemon.status")["properties"], [])
        second.close()

    def the_file(self, places: Places) -> Path:
        (file,) = (places.state / "baskd" / "default").glob("properties.json")
        json.loads(file.read_text())
        return file


class Instances(DaemonTest):
    own_daemon = True

    def test_two_instances_share_nothing(self) -> None:
        places = self.places()
        one, two = (self.start("state.py", places=places, name=name) for name in ("one", "two"))
        self.connect(one).call("setProperty", ["model", 1])
        self.connect(two).call("setProperty", ["model", 2])
        self.assertEqual(self.connect(one).call("getProperty", ["model"]), 1)
        self.assertEqual([self.connect(daemon).call("daemon.status")["name"] for daemon in (one, two)], ["one", "two"])
        for daemon in (one, two):
            daemon.close()
