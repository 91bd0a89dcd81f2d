"""The pages for GET: is the daemon there, does Python answer, what has been done. And the answer when all are full."""

from __future__ import annotations

import json
import os
from typing import Any, Optional

from support.case import DaemonTest
from support.connection import Connection, request
from support.daemon import Daemon
from support.framings import ContentLengthConnection, HttpConnection, WebSocketConnection


class Pages(DaemonTest):
    controller = "lab.py"

    def open(self, daemon: Optional[Daemon] = None) -> HttpConnection:
        connection = HttpConnection((daemon or self.daemon).path)
        self.addCleanup(connection.close)
        return connection

    def get(self, path: str, daemon: Optional[Daemon] = None) -> tuple[int, Any]:
        status, body = self.open(daemon).ask("GET", path)
        return status, json.loads(body)

    def ready(self, daemon: Optional[Daemon] = None) -> Any:
        """What it says once it is: a Python that is held up for a while is not."""
        told: list[tuple[int, Any]] = []

        def is_so() -> bool:
            told.append(self.get("/ready", daemon))
            return told[-1][0] == 200

        self.until(is_so)
        return told[-1][1]


class Health(Pages):
    def test_health_and_ready(self) -> None:
        self.open().post(request(1, "pid"))
        status, told = self.get("/health")
        self.assertEqual((status, told["status"], told["state"]), (200, "ok", "ready"))
        self.assertEqual(self.ready(), {"ready": True, "state": "ready", "reason": None})

    def test_while_python_starts(self) -> None:
        daemon = self.start("never_ready.py")
        status, told = self.get("/ready", daemon)
        self.assertEqual((status, told["ready"], told["reason"]), (503, False, "Python is starting"))
        status, told = self.get("/health", daemon)
        self.assertEqual((status, told["status"], told["state"]), (200, "ok", "starting"))

    def test_when_python_can_not_be_had(self) -> None:
        daemon = self.start("broken_import.py")
        daemon.wait_for_log("not started again until")  # Before, it may be starting once more.
        status, told = self.get("/ready", daemon)
        self.assertEqual(status, 503)
        self.assertEqual(told["state"], "unavailable")
        self.assertIn("a_library_that_is_not_installed", told["reason"])
        self.assertEqual(self.get("/health", daemon)[0], 200)

    def test_a_python_that_is_there_and_does_not_answer_is_not_ready(self) -> None:
        daemon = self.start("lab.py")
        release = daemon.places.root / "release"
        connection = self.connect(daemon)
        connection.call("messages.subscribe", ["own"])
        call = connection.request("waitFor", [str(release)])
        connection.read()
        status, told = self.get("/ready", daemon)
        self.assertEqual((status, told["state"]), (503, "ready"))
        self.assertRegex(told["reason"], r"not answered a call within 2s: `waitFor` has been running for \d+ ms")
        self.assertEqual(self.get("/health", daemon)[0], 200)
        release.touch()
        self.assertEqual(connection.result(call), "found")
        self.ready(daemon)

    def test_a_call_that_dies_is_not_an_answer(self) -> None:
        daemon = self.start("lab.py")
        pid = daemon.python_pid()
        os.kill(pid, 9)
        status, told = self.get("/ready", daemon)
        self.assertTrue((status == 503) != told["ready"], told)
        self.ready(daemon)
        self.assertEqual(self.get("/health", daemon)[1]["state"], "ready")


class Metrics(Pages):
    own_daemon = True

    def scrape(self, daemon: Daemon) -> dict[str, float]:
        """The samples, by name and labels as they are written."""
        connection = self.open(daemon)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        self.assertEqual(response.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
        lines = response.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def test_calls_are_counted_by_how_they_ended(self) -> None:
        daemon = self.start("lab.py")
        connection = self.connect(daemon)
        for _ in range(5):
            connection.call("add", [1])
        connection.notify("add", [1])
        connection.error("fail")
        connection.error("add", [1, 2, 3])
        connection.error("nope")
        connection.error("rpc.call", {"method": "sleep", "params": [60], "timeout_ms": 50})
        subscription = connection.call("messages.subscribe", ["own"])
        id = connection.request("sleep", [60])
        connection.event(subscription)
        connection.call("rpc.cancel", [id])
        connection.error("exit")
        stream = connection.call("stream.call", {"method": "items", "params": [3]})
        while "error" not in connection.event(stream):
            pass
        samples = self.scrape(daemon)
        for name, count in {
            'calls_total{method="add",outcome="result"}': 6,
            'calls_total{method="add",outcome="error"}': 1,
            'calls_total{method="fail",outcome="error"}': 1,
            'calls_total{method="sleep",outcome="timed_out"}': 1,
            'calls_total{method="sleep",outcome="cancelled"}': 1,
            'calls_total{method="exit",outcome="crashed"}': 1,
            'calls_total{method="items",outcome="result"}': 1,
            'errors_total{code="-32601",name="MethodNotFound"}': 1,
            'errors_total{code="-32602",name="InvalidParams"}': 1,
            'errors_total{code="-32020",name="MethodError"}': 1,
            'errors_total{code="-32021",name="BackendCrashed"}': 1,
            'errors_total{code="-32023",name="TimedOut"}': 1,
            'errors_total{code="-32024",name="Cancelled"}': 1,
            'errors_total{code="-32700",name="ParseError"}': 0,
            'call_duration_seconds_count{method="add"}': 7,
            'call_duration_seconds_bucket{method="add",le="+Inf"}': 7,
            'connections_total{framing="json"}': 1,
            'connections_total{framing="http"}': 1,
            "connections_open": 2,
            'restarts_total{reason="crash"}': 1,
            "calls_in_flight": 0,
            "calls_queued": 0,
        }.items():
            self.assertEqual(samples[f"baskd_{name}"], count, name)
        self.assertFalse([name for name in samples if "nope" in name], "a client's own words are no label")
        self.assertGreater(samples['baskd_worker_resident_memory_bytes{worker="1"}'], 1 << 20)

    def test_a_call_is_in_its_bucket(self) -> None:
        daemon = self.start("lab.py")
        self.connect(daemon).call("sleep", [0.3])
        samples = self.scrape(daemon)
        buckets = {
            bound: samples[f'baskd_call_duration_seconds_bucket{{method="sleep",le="{bound}"}}']
            for bound in ("0.25", "+Inf")
        }
        self.assertEqual(buckets, {"0.25": 0, "+Inf": 1})
        self.assertGreater(samples['baskd_call_duration_seconds_sum{method="sleep"}'], 0.3)

    def test_each_worker_has_its_own(self) -> None:
        daemon = self.start("stateless.py", "--workers", "2")
        daemon.wait_for_log(r"is ready after", count=2)
        samples = self.scrape(daemon)
        for number in (1, 2):
            self.assertGreater(samples[f'baskd_worker_resident_memory_bytes{{worker="{number}"}}'], 1 << 20)
        self.ready(daemon)

    def test_what_is_under_way(self) -> None:
        daemon = self.start("lab.py")
        release = daemon.places.root / "release"
        connection = self.connect(daemon)
        connection.call("messages.subscribe", ["own"])
        calls = [connection.request("waitFor", [str(release)]) for _ in range(100)]
        connection.read()
        connection.call("daemon.status")  # All have been read.
        samples = self.scrape(daemon)
        self.assertEqual(samples["baskd_calls_in_flight"] + samples["baskd_calls_queued"], 100)
        self.assertGreater(samples["baskd_calls_queued"], 0)
        release.touch()
        for call in calls:
            connection.result(call)


class TooManyConnections(Pages):
    def test_it_is_told_on_every_framing(self) -> None:
        daemon = self.start("lab.py")
        crowd: list[Connection] = []
        for _ in range(1024):
            crowd.append(self.connect(daemon))
        for connection in crowd:
            connection.request("add", [1])
        for connection in crowd:
            self.assertEqual(connection.read()["result"], 2)
        status, body = self.open(daemon).ask("POST", "/", json.dumps(request(1, "add", [1])))
        self.assertEqual(status, 503)
        self.assertError(json.loads(body)["error"], -32009, limit=1024)
        lsp = ContentLengthConnection(daemon.path)
        self.addCleanup(lsp.close)
        self.assertError(lsp.error("add", [1]), -32009, limit=1024)
        with self.assertRaises((EOFError, ConnectionResetError)):
            lsp.read_line()
        websocket = WebSocketConnection(daemon.path, upgrade=False)
        self.addCleanup(websocket.close)
        self.assertEqual(websocket.upgrade()[0], 503)
        # How the daemon is can be asked for nevertheless.
        self.assertEqual(self.get("/health", daemon)[0], 200)
