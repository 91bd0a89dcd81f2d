"""Clients that others wrote, unmodified, on one daemon's socket: each alone, and all at the same time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jsonrpcclient import Error, Ok, notification_json, parse_json, request_json
from prometheus_client.parser import text_string_to_metric_families

from support.case import DaemonTest
from support.framings import HttpConnection

HERE = Path(__file__).resolve().parent
CALLED = 50


class Clients(DaemonTest):
    def script(self, name: str) -> list[dict[str, Any]]:
        """Runs one, and gives the objects that it prints."""
        env = self.daemon.places.environment(BASKD_SOCKET=str(self.daemon.path))
        command = [os.environ.get("NODE", "node"), str(HERE / f"{name}.mjs")]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(ended.returncode, 0, f"{name}: {ended.stdout}{ended.stderr}")
        return [json.loads(line) for line in ended.stdout.splitlines()]

    def check(self, said: dict[str, Any]) -> None:
        self.assertEqual(said["model"], {"model": "something"})
        self.assertEqual(said["incremented"], {"counter": 5})
        self.assertEqual(said["counters"], list(range(6, 6 + CALLED)))
        self.assertEqual(said["property"], "something")
        self.assertEqual(said["unknown"], -32601)
        self.assertEqual(said["after"], {"counter": 5 + CALLED})

    def test_jayson(self) -> None:
        said, batch = self.script("jayson")
        self.check(said)
        self.assertEqual(batch, {"batch": [{"counter": 6 + CALLED}, {"counter": 9 + CALLED}]})

    def test_viem(self) -> None:
        (said,) = self.script("viem")
        self.check(said)

    def test_ethers(self) -> None:
        (said,) = self.script("ethers")
        self.check(said)

    def test_web3(self) -> None:
        (said,) = self.script("web3")
        self.check(said)

    def test_ws(self) -> None:
        said, more = self.script("ws")
        self.check(said)
        self.assertTrue(more["items"] and all("item" in event for event in more["items"][:-1]))
        self.assertIn("end", more["items"][-1])
        self.assertEqual((more["pong"], more["code"]), ("are you there", 1000))

    def test_vscode_jsonrpc(self) -> None:
        said, more = self.script("vscode_jsonrpc")
        self.check(said)
        self.assertTrue(more["items"] and all("item" in event for event in more["items"][:-1]))
        self.assertIn("end", more["items"][-1])

    def test_prometheus(self) -> None:
        """What its own library reads is what its server would."""
        connection = HttpConnection(self.daemon.path)
        self.addCleanup(connection.close)
        connection.post({"jsonrpc": "2.0", "id": 1, "method": "increment", "params": {"by": 0}})
        connection.post({"jsonrpc": "2.0", "id": 1, "method": "increment", "params": {"by": "x"}})
        status, body = connection.ask("GET", "/metrics")
        self.assertEqual(status, 200)
        families = {family.name: family for family in text_string_to_metric_families(body.decode())}
        for name, kind in {
            "baskd_calls": "counter",
            "baskd_errors": "counter",
            "baskd_connections": "counter",
            "baskd_connections_open": "gauge",
            "baskd_call_duration_seconds": "histogram",
            "baskd_build_info": "gauge",
            "baskd_uptime_seconds": "gauge",
            "baskd_restarts": "counter",
            "baskd_worker_resident_memory_bytes": "gauge",
            "process_start_time_seconds": "gauge",
        }.items():
            self.assertEqual(families[name].type, kind, name)
            self.assertTrue(families[name].documentation, name)
        for family in families.values():
            self.assertRegex(family.name, r"^(baskd|process)_[a-z_]+$")
            self.assertTrue(family.samples, family.name)
        samples = families["baskd_call_duration_seconds"].samples
        buckets = [s.value for s in samples if s.name.endswith("_bucket") and s.labels["method"] == "increment"]
        self.assertEqual(buckets, sorted(buckets))
        (count,) = [s.value for s in samples if s.name.endswith("_count") and s.labels["method"] == "increment"]
        self.assertEqual(count, buckets[-1])

    def test_jsonrpcclient(self) -> None:
        """Makes and reads messages; the transport is its user's, here a plain socket, without newlines."""
        with socket.socket(socket.AF_UNIX) as plain, plain.makefile("rw") as file:
            plain.connect(str(self.daemon.path))

            def ask(method: str, params: Any = None) -> Any:
                file.write(request_json(method, params))
                file.flush()
                return parse_json(file.readline())

            self.assertEqual(ask("reset").result, {"counter": 0})
            file.write(notification_json("increment", {"by": 4}))
            answer = ask("increment")
            self.assertIsInstance(answer, Ok)
            self.assertEqual(answer.result, {"counter": 5})
            error = ask("incremnt")
            self.assertIsInstance(error, Error)
            self.assertEqual((error.code, error.data["nearest"]), (-32601, ["increment"]))
            file.write("[" + request_json("increment") + "," + request_json("reset") + "]")
            file.flush()
            self.assertEqual(
                [answer.result for answer in parse_json(file.readline())], [{"counter": 6}, {"counter": 0}]
            )

    def test_all_at_once(self) -> None:
        names = ("jayson", "viem", "ethers", "web3", "ws", "vscode_jsonrpc")
        with ThreadPoolExecutor(len(names)) as pool:
            for said in pool.map(self.script, names):
                # The counter is shared, so only what each alone decides is as before.
                self.assertEqual(said[0]["model"], {"model": "something"})
                self.assertEqual(len(said[0]["counters"]), CALLED)
                self.assertEqual(said[0]["unknown"], -32601)
