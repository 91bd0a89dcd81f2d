"""The daemon's own methods: what it says of itself and of the controller, and slow readers' calls."""

from __future__ import annotations

import time

from support.case import DaemonTest

STALL_SECONDS = 2


class Status(DaemonTest):
    controller = "lab.py"

    def test_it_is_as_protocol_md_has_it(self) -> None:
        connection = self.connect()
        pid = connection.call("pid")
        status = connection.call("daemon.status")
        self.assertEqual(
            (status["name"], status["pid"], status["socket"]), ("default", self.daemon.pid, str(self.daemon.path))
        )
        self.assertTrue(status["controller"]["file"].endswith("tests/controllers/lab.py"))
        self.assertIs(status["controller"]["embedded"], False)
        self.assertRegex(status["python"]["version"], r"^3\.\d+\.\d+")
        (worker,) = status["workers"]
        self.assertEqual((worker["pid"], worker["running"]), (pid, []))
        self.assertGreater(worker["rss_bytes"], 1 << 20)
        for name in ("uptime_ms", "queued", "in_flight", "connections", "calls", "restarts"):
            self.assertIsInstance(status[name], int, name)

    def test_what_runs_is_told(self) -> None:
        connection, other = self.connect(), self.connect()
        gate = self.daemon.places.root / "status"
        connection.call("messages.subscribe", ["own"])
        id = connection.request("waitFor", [str(gate)])
        call = connection.read()["params"]["result"]["call"]
        (running,) = other.call("daemon.status")["workers"][0]["running"]
        self.assertEqual((running["call"], running["method"]), (call, "waitFor"))
        gate.touch()
        self.assertEqual(connection.result(id), "found")


class Discover(DaemonTest):
    controller = "lab.py"

    def test_the_methods_and_their_parameters(self) -> None:
        document = self.connect().call("rpc.discover")
        self.assertRegex(document["openrpc"], r"^1\.3\.")
        methods = {method["name"]: method for method in document["methods"]}
        self.assertLessEqual({"add", "echo", "items", "setProperty", "getProperty"}, methods.keys())
        self.assertEqual([name for name in methods if name.startswith("_") or name in ("send", "on_start")], [])
        add = methods["add"]
        self.assertEqual(add["summary"], "Adds b to a.")
        self.assertEqual([(param["name"], param["required"]) for param in add["params"]], [("a", True), ("b", False)])
        self.assertEqual([param["schema"]["type"] for param in add["params"]], ["integer", "integer"])


class SlowReaders(DaemonTest):
    controller = "lab.py"
    config = f"stall_timeout = {STALL_SECONDS}\n"

    def test_a_send_waits_only_so_long_for_its_reader(self) -> None:
        connection, other = self.connect(seconds=60), self.connect(seconds=60)
        connection.call("messages.subscribe", ["own"])
        began = time.monotonic()
        id = connection.request("sent", {"n": 10_000, "size": 10_000})
        # Plain methods run one at a time, so the other is served once the slow reader's call was ended.
        self.assertEqual(other.call("add", [1]), 2)
        self.assertGreater(time.monotonic() - began, STALL_SECONDS - 1)
        self.assertLess(time.monotonic() - began, STALL_SECONDS + 10)
        answer = connection.answer(id)
        self.assertError(answer["error"], -32024, by="slow reader")
        # What it was sent before is all there, in order.
        items = [message["params"]["result"]["data"]["i"] for message in connection.kept]
        self.assertEqual(items, list(range(len(items))))
        self.assertGreater(len(items), 0)
