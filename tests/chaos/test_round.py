"""What a round looks for at its end, it finds: each is left there once, beside a real daemon."""

from __future__ import annotations

import subprocess
import unittest

from . import rules_of_state  # noqa: F401 - its rules are part of the model
from .client import Client
from .round import Round


class AtTheEnd(unittest.TestCase):
    def setUp(self) -> None:
        self.round = Round("test", 1)
        self.round.patience = 0.3
        self.addCleanup(self.round.close)
        self.round.start()
        self.round.ready()

    def found(self) -> str:
        return "\n".join(f"{violation.rule}: {violation.what}" for violation in self.round.finish())

    def talk(self) -> Client:
        client = self.round.talk("client")
        client.call(client.new("work"))
        return client

    def test_nothing_is_found_where_nothing_is_wrong(self) -> None:
        client = self.talk()
        client.call(client.new("setProperty", {"name": "clientSeen", "value": 1}))
        client.call(client.new("items", {"n": 3}, "stream"))
        client.send_batch(client.new("work"), client.new("again"), client.new("later"))
        client.settle()
        self.assertEqual(self.found(), "")
        self.assertEqual(len(self.round.history.requests), 6)

    def test_a_connection_that_was_not_closed(self) -> None:
        client = Client(self.round.history, self.round.live.path, "client", (), False)
        client.connect()
        self.addCleanup(client.drop)
        self.assertIn("'connections': 2", self.found())

    def test_a_process_that_is_left(self) -> None:
        name, _, value = self.round.places.mark.partition("=")
        left = subprocess.Popen(["sleep", "60"], env={**self.round.places.environment(), name: value})
        self.addCleanup(left.wait)
        self.addCleanup(left.kill)
        self.assertIn("still lives", self.found())

    def test_a_file_that_is_left(self) -> None:
        (self.round.places.state / "baskd" / "default" / "properties.json.new").write_text("{")
        self.assertIn("in the state folder are ['properties.json.new']", self.found())

    def test_a_daemon_that_has_died(self) -> None:
        self.round.live.process.kill()
        self.round.live.wait()
        self.assertIn("the daemon is dead", self.found())

    def test_a_call_that_was_forgotten(self) -> None:
        self.talk()
        self.round.ledger.write_text(self.round.ledger.read_text().replace("e client-1", "e client-0"))
        self.assertIn("what_has_a_result_has_ended: client-1", self.found())


if __name__ == "__main__":
    unittest.main()
