"""What it is all for: one model, loaded once, searches this repository for Node, the command line and socat at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.connection import Connection, request
from support.daemon import REPOSITORY, Daemon

CONTROLLER = REPOSITORY / "python" / "examples" / "semantic_search" / "controller.py"
PYTHON = os.environ.get("SEMANTIC_PYTHON", str(REPOSITORY / ".venv-semantic" / "bin" / "python"))

#: What somebody might ask, and the files one of which must be among the first hits.
QUESTIONS = {
    "how does Python end when the daemon is killed, so that no orphan process is left": (
        "crates/baskd/src/backend/spawn.rs",
        "ARCHITECTURE.md",
        "PROTOCOL.md",
    ),
    "what happens to the input after a JSON parse error": (
        "PROTOCOL.md",
        "crates/baskd/src/net/json_values.rs",
        "crates/baskd-protocol/src/scan.rs",
    ),
    "replacing a stale socket file that was left behind by a dead daemon": ("crates/baskd/src/net/listen.rs",),
}
#: What of this repository is not its documents and source, or not asked about; this file, for one, holds the questions.
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", "node_modules", "target", "__pycache__", "test", "tests", "clients"
)


class SemanticSearch(unittest.TestCase):
    daemon: Daemon
    progress: list[dict[str, Any]]

    @classmethod
    def setUpClass(cls) -> None:
        cls.daemon = Daemon(CONTROLLER, python=PYTHON, cwd=REPOSITORY)
        cls.addClassCleanup(cls.daemon.close)
        cls.corpus = cls.daemon.places.root / "corpus"
        # A copy: what others write meanwhile does not move under the test.
        shutil.copytree(REPOSITORY, cls.corpus, ignore=LEFT_OUT, symlinks=True)
        with cls.daemon.connect(seconds=600) as connection:
            cls.progress, cls.summary = index(connection, str(cls.corpus))

    corpus: Any
    summary: dict[str, Any]

    def hits(self, client: str, query: str) -> list[dict[str, Any]]:
        env = self.daemon.places.environment(BASKD_SOCKET=str(self.daemon.path))
        text = ""
        if client == "node":
            command = [os.environ.get("NODE", "node"), str(REPOSITORY / "tests" / "semantic" / "search.mjs"), query]
        elif client == "command line":
            command = [env["BASKD_BIN"], "call", "search", f"query={json.dumps(query)}", "k=5", "--stream"]
        else:
            text = json.dumps(request(1, "stream.call", {"method": "search", "params": {"query": query, "k": 5}}))
            command = ["socat", "-t", "600", "-", f"UNIX-CONNECT:{self.daemon.path}"]
        ended = subprocess.run(command, input=text, env=env, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(ended.returncode, 0, f"{client}: {ended.stderr}")
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        if client == "node":
            hits: list[dict[str, Any]] = lines[0]
            return hits
        if client == "socat":
            acknowledgement, *events, end, closed = lines
            self.assertEqual(acknowledgement["id"], 1)
            self.assertEqual(end["params"]["result"], {"end": None})
            self.assertIn("error", closed["params"])
            return [event["params"]["result"]["item"] for event in events]
        return lines

    def test_progress_was_streamed(self) -> None:
        dones = [report["done"] for report in self.progress]
        self.assertEqual(dones, sorted(dones))
        self.assertGreater(len(set(dones)), 20)
        self.assertEqual({report["total"] for report in self.progress}, {self.progress[0]["total"]})
        self.assertEqual(dones[-1], self.progress[-1]["total"])
        self.assertGreater(self.summary["passages"], 200)

    def test_three_kinds_of_clients_at_the_same_time(self) -> None:
        started = time.monotonic()
        asked = [(client, query) for query in QUESTIONS for client in ("node", "command line", "socat")]
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = dict(zip(asked, pool.map(lambda ask: self.hits(*ask), asked)))
        for (client, query), hits in answers.items():
            scores = [hit["score"] for hit in hits]
            self.assertEqual(len(hits), 5, client)
            self.assertEqual(scores, sorted(scores, reverse=True))
            found = [hit["file"].removeprefix(f"{self.corpus}/") for hit in hits]
            self.assertTrue(set(found) & set(QUESTIONS[query]), f"{client}: {query}: {found}")
            # All ask the same index, so all are told the same.
            self.assertEqual(hits, answers["node", query], client)
        with self.daemon.connect() as connection:
            status = connection.call("daemon.status")
        self.assertEqual(status["restarts"], 0)
        print(f"{len(asked)} searches by three kinds of clients at once: {time.monotonic() - started:.1f} s")

    def test_what_is_indexed_is_not_read_again(self) -> None:
        with self.daemon.connect(seconds=120) as connection:
            progress, summary = index(connection, str(self.corpus))
        self.assertEqual((progress, summary["embedded"]), ([], 0))
        self.assertEqual(summary["passages"], self.summary["passages"])


def index(connection: Connection, folder: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    stream = connection.call("stream.call", {"method": "index", "params": {"folder": folder}})
    progress = []
    while "item" in (event := connection.event(stream)["result"]):
        progress.append(event["item"])
    if "error" in event:
        raise AssertionError(event["error"])
    return progress, event["end"]
