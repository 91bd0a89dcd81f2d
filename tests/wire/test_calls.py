"""Time limits, cancelling, disconnecting: what ends a call before its method does."""

from __future__ import annotations

from typing import Any

from support.case import DaemonTest
from support.connection import Connection, request


class Timeouts(DaemonTest):
    controller = "lab.py"

    def late(self, connection: Connection, method: str, params: Any = None, timeout_ms: int = 100) -> dict[str, Any]:
        return connection.error("rpc.call", {"method": method, "params": params or {}, "timeout_ms": timeout_ms})

    def test_a_running_call_times_out_at_once_and_leaves(self) -> None:
        connection = self.connect()
        connection.call("add", [1])  # Python is ready.
        # Where Python is held up, the time is over before it has begun.
        for _ in self.tries():
            error = self.late(connection, "sleep", [60, "late"])
            if error["data"]["where"] != "queued":
                break
        self.assertError(error, -32023, where="running")
        # It has left the method, or the next call would wait for a minute.
        self.assertIn(["late", "cancelled"], connection.call("howEnded"))

    def test_a_queued_call_never_runs(self) -> None:
        connection, other = self.connect(), self.connect()
        other.call("messages.subscribe", ["own"])
        gate = self.daemon.places.root / "queued"
        running = other.request("waitFor", [str(gate)])
        self.assertEqual(other.read()["params"]["result"]["data"], "begun")
        before = connection.call("daemon.status")["workers"][0]["calls"]
        self.assertError(self.late(connection, "count"), -32023, where="queued")
        gate.touch()
        self.assertEqual(other.result(running), "found")
        self.assertEqual(connection.call("count"), 1, "the call that timed out in the queue has run")
        self.assertGreater(connection.call("daemon.status")["workers"][0]["calls"], before)

    def test_while_python_starts(self) -> None:
        daemon = self.start("never_ready.py")
        connection = self.connect(daemon)
        self.assertError(self.late(connection, "echo"), -32023, where="starting")
        self.assertEqual(connection.call("daemon.status")["state"], "starting")

    def test_a_stream_times_out_with_its_last_event(self) -> None:
        connection = self.connect()
        connection.call("add", [1])
        for _ in self.tries():  # Where Python is held up, the time is over before it has begun.
            subscription = connection.call("stream.call", {"method": "endless", "timeout_ms": 200, "window": 1})
            first = connection.event(subscription)["result"]
            if "item" in first:
                break
        self.assertEqual(first, {"item": 0})
        self.assertError(connection.event(subscription)["result"]["error"], -32023, where="running")
        self.assertIn("error", connection.event(subscription))

    def test_in_time_is_in_time(self) -> None:
        connection = self.connect()
        self.assertEqual(connection.call("rpc.call", {"method": "add", "params": [1], "timeout_ms": 60_000}), 2)
        self.assertEqual(connection.call("rpc.call", ["add", [1, 4], 60_000]), 5)
        self.assertError(connection.error("rpc.call", ["add", [1], -1]), -32602, parameter="timeout_ms", got=-1)
        self.assertError(connection.error("rpc.call", ["add", [1], "5s"]), -32602, parameter="timeout_ms", got="5s")


class Cancelling(DaemonTest):
    controller = "lab.py"

    def begin(self, connection: Connection, method: str, params: Any, id: Any = None) -> Any:
        """Sends a call that says when it has begun, and waits for that."""
        subscription = connection.call("messages.subscribe", ["own"])
        id = connection.request(method, params, id)
        self.assertEqual(connection.event(subscription)["result"]["data"], "begun")
        self.assertIs(connection.call("messages.unsubscribe", [subscription]), True)
        return id

    def test_a_running_sleeper_is_cancelled_at_once_and_the_next_call_is_unaffected(self) -> None:
        connection = self.connect()
        for number, id in enumerate(["text", 17, 12345678901234567890]):
            name = f"sleeper {number}"
            self.begin(connection, "sleep", [60, name], id)
            self.assertIs(connection.call("rpc.cancel", {"id": id}), True)
            self.assertError(connection.answer(id)["error"], -32024, by="client")
            self.assertEqual(connection.call("add", [1, 1]), 2)
            self.assertEqual(connection.call("howEnded")[-1], [name, "cancelled"])
            self.assertIs(connection.call("rpc.cancel", {"id": id}), False)

    def test_an_awaiting_coroutine_is_cancelled(self) -> None:
        connection = self.connect()
        id = self.begin(connection, "asleep", [60])
        connection.notify("$/cancelRequest", {"id": id})
        self.assertError(connection.answer(id)["error"], -32024, by="client")
        self.assertEqual(connection.call("add", [1, 1]), 2)

    def test_the_notification_does_the_same_and_is_not_answered(self) -> None:
        connection = self.connect()
        id = self.begin(connection, "sleep", [60])
        connection.notify("$/cancelRequest", {"id": id})
        connection.notify("$/cancelRequest", {"id": "nobody"})
        self.assertError(connection.answer(id)["error"], -32024, by="client")
        self.assertEqual(connection.rest(), [])

    def test_a_queued_call_is_cancelled_and_never_runs(self) -> None:
        connection = self.connect()
        gate = self.daemon.places.root / "gate"
        before = connection.call("count")
        running = self.begin(connection, "waitFor", [str(gate)])
        connection.request("count", id="queued")
        self.assertIs(connection.call("rpc.cancel", ["queued"]), True)
        self.assertError(connection.answer("queued")["error"], -32024, by="client")
        gate.touch()
        self.assertEqual(connection.result(running), "found")
        self.assertEqual(connection.call("count"), before + 1)

    def test_nobody_can_cancel_anothers_call(self) -> None:
        connection, other = self.connect(), self.connect()
        gate = self.daemon.places.root / "others"
        id = self.begin(connection, "waitFor", [str(gate)], "shared name")
        self.assertIs(other.call("rpc.cancel", [id]), False)
        other.notify("$/cancelRequest", [id])
        running = other.call("daemon.status")["workers"][0]["running"]
        self.assertEqual([call["method"] for call in running], ["waitFor"])
        gate.touch()
        self.assertEqual(connection.result(id), "found")

    def test_a_cancelled_batch_entry_is_answered_in_its_batch(self) -> None:
        connection = self.connect()
        connection.call("messages.subscribe", ["own"])
        connection.send([request("a", "sleep", [60]), request("b", "add", [1])])
        self.assertEqual(connection.read()["params"]["result"]["request"], "a")
        connection.notify("$/cancelRequest", {"id": "a"})
        first, second = connection.read()
        self.assertError(first["error"], -32024, by="client")
        self.assertEqual((second["id"], second["result"]), ("b", 2))

    def test_a_stubborn_call_is_answered_at_once_and_delays_only_what_follows(self) -> None:
        connection = self.connect()
        gate = self.daemon.places.root / "stubborn"
        id = self.begin(connection, "stubborn", [str(gate)])
        self.assertIs(connection.call("rpc.cancel", [id]), True)
        self.assertError(connection.answer(id)["error"], -32024, by="client")
        next_id = connection.request("add", [2, 2])
        status = connection.call("daemon.status")
        self.assertEqual(status["in_flight"] + status["queued"], 1)
        gate.touch()
        self.assertEqual(connection.result(next_id), 4)

    def test_many_cancels_never_strike_another_call(self) -> None:
        connection = self.connect(seconds=60)
        connection.call("add", [1])
        rounds = 300
        for number in range(rounds):
            # Of each pair the first is cancelled wherever it may be just then; the second must not notice.
            connection.send(
                request(f"a{number}", "echo", ["x" * (number % 50) * 100]),
                {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": f"a{number}"}},
                request(f"b{number}", "add", [number, 0]),
            )
        for number in range(rounds):
            self.assertEqual(connection.result(f"b{number}"), number)
            answer = connection.answer(f"a{number}")
            if "error" in answer:
                self.assertError(answer["error"], -32024, by="client")


class Disconnects(DaemonTest):
    controller = "lab.py"

    def test_a_connection_that_is_gone_cancels_its_calls(self) -> None:
        watcher = self.connect()
        watcher.call("messages.subscribe", ["all"])
        gone = self.connect()
        gone.request("sleep", [60, "left behind"])
        self.assertEqual(watcher.read()["params"]["result"]["data"], "begun")
        gone.request("count", id="queued")
        gone.close()
        # A call of another's is served next, so the sleeper has ended.
        self.assertEqual(watcher.call("howEnded")[-1], ["left behind", "cancelled"])
        self.assertEqual(watcher.call("count"), 1, "the queued call of the connection that is gone has run")

    def test_it_cancels_its_streams(self) -> None:
        gone, other = self.connect(), self.connect()
        stream = gone.call("stream.call", {"method": "endless"})
        gone.event(stream)
        gone.close()
        while other.call("daemon.status")["workers"][0]["running"]:
            pass
        self.assertEqual(other.call("howEnded")[-1], ["endless", "cancelled"])

    def test_it_never_cancels_its_notifications(self) -> None:
        watcher = self.connect()
        watcher.call("messages.subscribe", ["all"])
        gate = self.daemon.places.root / "notified"
        gone = self.connect()
        gone.notify("waitFor", [str(gate)])
        self.assertEqual(watcher.read()["params"]["result"]["data"], "begun")
        gone.notify("sleep", [0, "notified"])
        gone.close()
        gate.touch()
        self.assertEqual(watcher.read()["params"]["result"]["method"], "sleep")
        self.assertEqual(watcher.call("howEnded")[-1], ["notified", "slept"])


class Fairness(DaemonTest):
    controller = "lab.py"

    def test_a_flood_of_one_does_not_starve_another(self) -> None:
        flood, other = self.connect(seconds=60), self.connect()
        count = 5_000
        flood.send(*[request(number, "add", [number, 0]) for number in range(count)])
        self.assertEqual(other.call("add", [1, 1]), 2)
        # The other's answer came while most of the flood was still waiting.
        self.assertEqual([flood.result(number) for number in range(count)], list(range(count)))

    def test_plain_calls_of_one_connection_run_in_their_order(self) -> None:
        connection = self.connect()
        first = connection.call("count")
        ids = [connection.request("count") for _ in range(200)]
        self.assertEqual([connection.result(id) for id in ids], list(range(first + 1, first + 201)))

    def test_a_full_table_is_an_answer(self) -> None:
        limit = 16_384
        blocker, flood, other = self.connect(), self.connect(seconds=60), self.connect()
        gate = self.daemon.places.root / "full"
        blocker.call("messages.subscribe", ["own"])
        running = blocker.request("waitFor", [str(gate)])
        blocker.read()
        flood.send(*[request(number, "add", [number, 0]) for number in range(limit)])
        # The one too many is the last of them, answered while all others wait.
        answer = flood.read()
        self.assertEqual(answer["id"], limit - 1)
        self.assertError(answer["error"], -32025, limit=limit)
        # Others did not fill it, and are not the ones to suffer.
        id = other.request("add", [1])
        self.assertEqual(other.call("daemon.status")["queued"] + other.call("daemon.status")["in_flight"], limit + 1)
        gate.touch()
        self.assertEqual(blocker.result(running), "found")
        self.assertEqual(other.result(id), 2)
        self.assertEqual([flood.result(number) for number in range(limit - 1)], list(range(limit - 1)))
