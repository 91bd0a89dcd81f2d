"""Connections take turns: who floods delays itself. Told by the order in which calls began, which Python records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.case import DaemonTest
from support.connection import Connection, request

# PROTOCOL.md, Limits: so many calls may be with Python that have not begun, whoever they are of.
AHEAD = 64


class Fairness(DaemonTest):
    controller = "turns.py"
    own_daemon = True

    def setUp(self) -> None:
        self.daemon = self.start("turns.py")  # type: ignore[misc]

    def gate(self, name: str) -> Path:
        return self.daemon.places.root / name

    def hold(self, connection: Connection, name: str) -> Any:
        """Asks to keep Python busy until the gate of that name is there; the call's id."""
        return connection.request("hold", [name, str(self.gate(name))])

    def wait_until_it_runs(self, connection: Connection, name: str) -> None:
        """`hold` says so by a message, to whoever subscribed."""
        self.assertEqual(connection.event(self.subscription)["result"]["data"], "begun", name)

    def wait_for_table(self, connection: Connection, in_flight: int) -> None:
        """Until no call is queued, and no more than so many are with Python."""

        def is_so() -> bool:
            status = connection.call("daemon.status")
            return bool(status["queued"] == 0 and status["in_flight"] <= in_flight)

        self.until(is_so)

    def flood(self, name: str, count: int) -> Connection:
        """A connection with so many calls queued."""
        connection = self.connect(seconds=60)
        connection.send(*[request(f"{name} {number}", "mark", [name]) for number in range(count)])
        # The answer comes when all that was sent before it has been read.
        connection.call("daemon.status")
        return connection

    def test_who_calls_one_at_a_time_waits_for_what_was_sent_ahead_and_no_longer(self) -> None:
        single = self.connect()
        self.subscription = single.call("messages.subscribe", ["own"])
        held = self.hold(single, "single 0")
        self.wait_until_it_runs(single, "single 0")
        count, rounds = 3_000, 10
        flood = self.flood("flood", count)
        # Each call is there, for certain, before the one ahead of it may end.
        for number in range(1, rounds + 1):
            following = self.hold(single, f"single {number}")
            single.call("daemon.status")
            self.gate(f"single {number - 1}").touch()
            single.result(held)
            self.wait_until_it_runs(single, f"single {number}")
            held = following
        self.gate(f"single {rounds}").touch()
        single.result(held)
        order = single.call("order")
        places = [order.index(f"single {number}") for number in range(rounds + 1)]
        waited = [then - before - 1 for before, then in zip(places, places[1:])]
        self.assertLessEqual(max(waited), AHEAD + 1, waited)
        # Nor was the flood starved by it.
        self.assertGreaterEqual(min(waited), 1, waited)
        for number in range(count):
            flood.result(f"flood {number}")

    def test_floods_share_equally(self) -> None:
        for floods in (2, 3):
            holder = self.connect()
            self.subscription = holder.call("messages.subscribe", ["own"])
            held = self.hold(holder, f"{floods} floods")
            self.wait_until_it_runs(holder, f"{floods} floods")
            count = 1_000
            names = [f"{floods}.{number}" for number in range(floods)]
            connections = [self.flood(name, count) for name in names]
            self.gate(f"{floods} floods").touch()
            holder.result(held)
            for name, connection in zip(names, connections):
                for number in range(count):
                    connection.result(f"{name} {number}")
            order = holder.call("order")
            order = order[order.index(f"{floods} floods") + 1 :]
            self.assertEqual({name: order.count(name) for name in names}, dict.fromkeys(names, count))
            # What was sent ahead is the first one's, since it came first. From there on they take turns.
            shared = order[AHEAD : AHEAD + floods * (count - AHEAD)]
            for end in range(floods, len(shared), floods):
                counts = [shared[:end].count(name) for name in names]
                self.assertLessEqual(max(counts) - min(counts), 2, f"after {end} calls")

    def test_notifications_and_batches_take_turns_too(self) -> None:
        holder = self.connect()
        self.subscription = holder.call("messages.subscribe", ["own"])
        held = self.hold(holder, "first")
        self.wait_until_it_runs(holder, "first")
        flood, other = self.connect(), self.connect()
        call = request(None, "mark", ["flood"])
        del call["id"]
        flood.send(*[[call] * 100 for _ in range(10)], *[call] * 1_000)
        flood.call("daemon.status")
        ids = [other.request("mark", ["other"]) for _ in range(10)]
        other.call("daemon.status")
        self.gate("first").touch()
        holder.result(held)
        for id in ids:
            other.result(id)
        order = other.call("order")
        last = len(order) - 1 - order[::-1].index("other")
        self.assertLessEqual(order[:last].count("flood"), AHEAD + 10 + 1)
        self.until(lambda: other.call("daemon.status")["queued"] == 0)
        self.assertEqual(other.call("order").count("flood"), 2_000)

    def test_a_flood_that_is_cancelled_or_gone_is_in_nobodys_way(self) -> None:
        for how in ("gone", "cancelled"):
            holder, other = self.connect(), self.connect()
            self.subscription = holder.call("messages.subscribe", ["own"])
            held = self.hold(holder, how)
            self.wait_until_it_runs(holder, how)
            before = other.call("daemon.status")["in_flight"]
            flood = self.flood(how + " flood", 2_000)
            if how == "gone":
                flood.close()
            else:
                for number in range(2_000):
                    flood.notify("$/cancelRequest", [f"{how} flood {number}"])
                flood.call("daemon.status")
            self.wait_for_table(other, before)
            id = other.request("order")
            self.gate(how).touch()
            self.assertNotIn(how + " flood", other.result(id))
            holder.result(held)
