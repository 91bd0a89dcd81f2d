"""`TimedOut`: where a call was when its time was up, and that it has left there. What can't leave costs its process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Optional

from support.case import DaemonTest
from support.connection import Connection, request
from support.daemon import Daemon

TIMED_OUT = -32023
# A patience: without a deadline the calls here take a minute.
LATE_MS = 20_000


class Timed(DaemonTest):
    def assertTimedOut(self, error: dict[str, Any], *where: str) -> None:
        self.assertEqual(error["code"], TIMED_OUT, error)
        self.assertIn(error["data"]["where"], where)

    def assertTimedOutRunning(self, ask: Callable[[], dict[str, Any]]) -> None:
        """Asks again where Python was held up: the time was over before the call had begun."""
        for _ in self.tries():
            error = ask()
            self.assertTimedOut(error, "queued", "running")
            if error["data"]["where"] == "running":
                return

    def stream_error(self, connection: Connection, method: str, params: Any, **options: Any) -> dict[str, Any]:
        """What a stream's call ends with: the request's own error, if it was not accepted."""
        id = connection.request("stream.call", {"method": method, "params": params, **options})
        answer = connection.answer(id)
        if "error" in answer:
            error: dict[str, Any] = answer["error"]
            return error
        while "item" in (event := connection.event(answer["result"])["result"]):
            pass
        self.assertIn("error", connection.event(answer["result"]), "the stream was not closed")
        error = event["error"]
        return error

    def batch_errors(self, connection: Connection, *calls: tuple[str, Any]) -> list[dict[str, Any]]:
        connection.send([request(f"entry {place}", *call) for place, call in enumerate(calls)])
        answers = connection.read_until(lambda message: isinstance(message, list))
        return [answer["error"] for answer in answers]

    def age_ms(self, connection: Connection) -> int:
        """The daemon's own clock."""
        age: int = connection.call("daemon.status")["uptime_ms"]
        return age

    def hold(self, connection: Connection, gate: Path, daemon: Optional[Daemon] = None) -> Any:
        """Keeps Python busy until the gate is there; the call's id."""
        subscription = connection.call("messages.subscribe", ["own"])
        id = connection.request("hold", [gate.name, str(gate)])
        self.assertEqual(connection.event(subscription)["result"]["data"], "begun")
        connection.call("messages.unsubscribe", [subscription])
        return id


class Starting(Timed):
    own_daemon = True

    def test_every_kind_of_call_is_answered_and_none_runs(self) -> None:
        places = self.places()
        gate = places.root / "gate"
        config = '[methods.items]\ntimeout = "100ms"\n'
        daemon = self.start("starts_when.py", env={"GATE": str(gate)}, config=config)
        connection = self.connect(daemon)
        before = self.age_ms(connection)
        call = {"method": "count", "timeout_ms": 100}
        self.assertTimedOut(connection.error("rpc.call", call), "starting")
        self.assertTimedOut(self.stream_error(connection, "count", [], timeout_ms=100), "starting")
        for error in self.batch_errors(connection, ("rpc.call", call), ("rpc.call", call), ("items", [])):
            self.assertTimedOut(error, "starting")
        self.assertTimedOut(connection.error("items"), "starting")
        self.assertTimedOut(self.stream_error(connection, "items", []), "starting")
        self.assertLess(self.age_ms(connection) - before, LATE_MS)
        self.assertEqual(connection.call("daemon.status")["state"], "starting")
        patient = connection.request("rpc.call", {"method": "count", "timeout_ms": 60_000})
        gate.touch()
        self.assertEqual(connection.result(patient), 1)

    def test_a_start_that_takes_too_long_has_a_limit_of_its_own(self) -> None:
        daemon = self.start("never_ready.py", config='startup_timeout = "300ms"\n')
        error = self.connect(daemon).error("echo", [1])
        self.assertError(error, -32022)
        self.assertIn("was not ready after 300ms", error["data"]["reason"])


class Queued(Timed):
    controller = "turns.py"
    config = '[methods.mark]\ntimeout = "100ms"\n'

    def test_every_kind_of_call_is_answered_and_none_runs(self) -> None:
        connection, other = self.connect(), self.connect()
        gate = self.daemon.places.root / "queued"
        held = self.hold(other, gate)
        before = self.age_ms(connection)
        call = {"method": "marks", "params": [2], "timeout_ms": 100}
        self.assertTimedOut(connection.error("rpc.call", call), "queued")
        self.assertTimedOut(self.stream_error(connection, "marks", [2], timeout_ms=100), "queued")
        for error in self.batch_errors(connection, ("rpc.call", call), ("mark", ["batch"])):
            self.assertTimedOut(error, "queued")
        self.assertTimedOut(connection.error("mark", ["default"]), "queued")
        self.assertTimedOut(self.stream_error(connection, "mark", ["stream"]), "queued")
        # At once, and yet it is waited for being answered.
        at_once = {"method": "mark", "params": ["at once"], "timeout_ms": 0}
        self.assertTimedOut(connection.error("rpc.call", at_once), "queued")
        self.assertLess(self.age_ms(connection) - before, LATE_MS)
        gate.touch()
        other.result(held)
        self.assertEqual(connection.call("order"), ["queued"])

    def test_many_deadlines_at_once(self) -> None:
        connection, other = self.connect(), self.connect()
        gate = self.daemon.places.root / "many"
        held = self.hold(other, gate)
        began = other.call("daemon.status")["queued"]
        for number in range(2_000):
            # The last to be sent is the first to be late.
            params = {"method": "order", "timeout_ms": 400 - number // 10}
            connection.request("rpc.call", params, id=number)
        for number in range(2_000):
            self.assertTimedOut(connection.answer(number)["error"], "queued")
        self.assertEqual(other.call("daemon.status")["queued"], began)
        gate.touch()
        other.result(held)


class Running(Timed):
    controller = "lab.py"
    config = '[methods.sleep]\ntimeout = "200ms"\n[methods.endless]\ntimeout = 0.2\n[methods.asleep]\ntimeout = "1h"\n'

    def test_every_kind_of_call_is_answered_at_once_and_leaves(self) -> None:
        connection = self.connect()
        connection.call("pid")  # Python is ready.
        before = self.age_ms(connection)
        self.assertTimedOutRunning(lambda: connection.error("sleep", [60, "default"]))
        long = {"method": "waitFor", "params": ["/no/such/file"], "timeout_ms": 200}
        self.assertTimedOutRunning(lambda: connection.error("rpc.call", long))
        self.assertTimedOutRunning(lambda: self.stream_error(connection, "endless", []))
        self.assertTimedOutRunning(lambda: self.stream_error(connection, "waitFor", ["/no/such/file"], timeout_ms=200))
        second: dict[str, Any] = {}

        def batch() -> dict[str, Any]:
            nonlocal second
            first, second = self.batch_errors(connection, ("sleep", [60, "batch"]), ("rpc.call", long))
            return first

        self.assertTimedOutRunning(batch)
        self.assertTimedOut(second, "queued", "running")
        short = {"method": "asleep", "params": [60], "timeout_ms": 200}
        self.assertTimedOutRunning(lambda: connection.error("rpc.call", short))
        took = self.age_ms(connection) - before
        self.assertGreater(took, 6 * 200 - 10)
        self.assertLess(took, LATE_MS)
        # They have left: what follows is not behind them.
        names = [name for name, how in connection.call("howEnded") if how == "cancelled"]
        self.assertEqual(names[-3:], ["default", "endless", "batch"])

    def test_a_notification_has_the_methods_deadline(self) -> None:
        connection = self.connect()
        connection.call("pid")
        for _ in self.tries():
            connection.notify("sleep", [60, "notified"])
            if ["notified", "cancelled"] in connection.call("howEnded"):  # It had begun in time.
                return

    def test_a_clients_own_deadline_beats_the_methods(self) -> None:
        connection = self.connect()
        longer = {"method": "sleep", "params": [0.5, "longer"], "timeout_ms": 60_000}
        self.assertEqual(connection.call("rpc.call", longer), "slept")
        stream = connection.call("stream.call", longer)
        self.assertEqual(connection.event(stream)["result"], {"item": "begun"})
        self.assertEqual(connection.event(stream)["result"], {"end": "slept"})

    def test_at_once(self) -> None:
        connection = self.connect()
        connection.call("pid")
        at_once = {"method": "sleep", "params": [60, "at once"], "timeout_ms": 0}
        before = self.age_ms(connection)
        self.assertTimedOut(connection.error("rpc.call", at_once), "queued", "running")
        self.assertTimedOut(self.stream_error(connection, "endless", [], timeout_ms=0), "queued", "running")
        self.assertEqual(connection.call("add", [1]), 2)
        self.assertLess(self.age_ms(connection) - before, LATE_MS)


class Stuck(Timed):
    """`kill_grace`: a call that does not end when it is cancelled, and those who wait for it."""

    own_daemon = True

    def serve(self, config: str = 'kill_grace = "200ms"\n') -> Daemon:
        return self.start("turns.py", config=config)

    def cancel_stuck(self, connection: Connection) -> None:
        """A call that is in C code for good, cancelled."""
        subscription = connection.call("messages.subscribe", ["own"])
        id = connection.request("stuck")
        self.assertEqual(connection.event(subscription)["result"]["data"], "begun")
        self.assertIs(connection.call("rpc.cancel", [id]), True)
        self.assertError(connection.answer(id)["error"], -32024, by="client")
        connection.call("messages.unsubscribe", [subscription])

    def test_it_costs_its_process_and_those_who_wait_are_served_by_the_next(self) -> None:
        daemon = self.serve()
        connection, other = self.connect(daemon), self.connect(daemon)
        pid = daemon.python_pid()
        waiting = []
        self.cancel_stuck(connection)
        for number in range(100):  # More than are sent ahead.
            waiting.append(other.request("mark", [number]))
        for id in waiting:
            other.result(id)
        self.assertEqual(other.call("order"), list(range(100)))
        self.assertNotEqual(other.call("pid"), pid)
        status = other.call("daemon.status")
        self.assertEqual((status["restarts"], status["last_exit"]["exit"]), (1, {"signal": 9}))
        daemon.wait_for_log("a cancelled call still runs and others wait: its Python is killed")

    def test_a_late_call_does_the_same(self) -> None:
        daemon = self.serve()
        connection = self.connect(daemon)
        pid = connection.call("pid")
        self.assertTimedOutRunning(lambda: connection.error("rpc.call", {"method": "stuck", "timeout_ms": 100}))
        self.assertNotEqual(connection.call("pid"), pid)

    def test_while_nobody_waits_it_may_run_on(self) -> None:
        daemon = self.serve('kill_grace = "50ms"\n')
        connection = self.connect(daemon)
        pid = connection.call("pid")
        self.cancel_stuck(connection)
        # Ten times its grace by the daemon's clock, in which it only answers for itself.
        until = self.age_ms(connection) + 500
        while self.age_ms(connection) < until:
            pass
        status = connection.call("daemon.status")
        self.assertEqual([worker["pid"] for worker in status["workers"]], [pid])
        self.assertEqual(status["restarts"], 0)
        # Then somebody does.
        self.assertNotEqual(connection.call("pid"), pid)

    def test_what_runs_beside_keeps_nobody_waiting(self) -> None:
        daemon = self.serve('kill_grace = "50ms"\n')
        connection = self.connect(daemon)
        pid = connection.call("pid")
        stream = connection.call("stream.call", {"method": "stuck_beside"})
        connection.event(stream)
        self.assertIs(connection.call("stream.cancel", [stream]), True)
        until = self.age_ms(connection) + 300
        while self.age_ms(connection) < until:
            self.assertEqual(connection.call("pid"), pid)
        daemon.kill_python()  # Or its end would wait for the thread.

    def test_the_breaker_does_not_count_it(self) -> None:
        daemon = self.serve('kill_grace = "50ms"\n')
        connection = self.connect(daemon)
        # More often than processes may die within ten seconds without an answer, and none of these ever gives one.
        for _ in range(7):
            self.cancel_stuck(connection)
        self.assertEqual(connection.call("order"), [])
        status = connection.call("daemon.status")
        self.assertEqual((status["state"], status["restarts"]), ("ready", 7))


class Stalled(Timed):
    """`stall_timeout`: a plain method's `send()` to a reader that does not read."""

    controller = "lab.py"
    config = 'stall_timeout = "300ms"\n'

    def test_it_ends_the_call_and_others_are_served(self) -> None:
        for how in ("own messages", "a stream"):
            connection, other = self.connect(), self.connect()
            before = self.age_ms(other)
            if how == "a stream":
                connection.call("stream.call", {"method": "sent", "params": [10_000, 10_000]})
            else:
                connection.call("messages.subscribe", ["own"])
                id = connection.request("sent", [10_000, 10_000])
            self.assertEqual(other.call("add", [1]), 2)
            took = self.age_ms(other) - before
            self.assertGreater(took, 200, how)
            self.assertLess(took, LATE_MS, how)
            if how == "a stream":
                while "item" in (event := connection.read()["params"]["result"]):
                    pass
                error = event["error"]
            else:
                error = connection.answer(id)["error"]
            self.assertError(error, -32024, by="slow reader")


class SlowReader(Timed):
    # Longer than a busy machine holds up a reader that reads.
    controller = "lab.py"
    config = 'stall_timeout = "3s"\n'

    def test_a_reader_that_reads_slowly_but_reads_is_not_hurt(self) -> None:
        connection, other = self.connect(), self.connect()
        connection.call("messages.subscribe", ["own"])
        id = connection.request("sent", [1_000, 1_000])
        # Far longer than the limit in all, never as long without reading something.
        for i in range(1_000):
            self.assertEqual(connection.read()["params"]["result"]["data"]["i"], i)
            if i % 100 == 0:
                until = self.age_ms(other) + 400
                while self.age_ms(other) < until:
                    pass
        self.assertEqual(connection.result(id), 1_000)
