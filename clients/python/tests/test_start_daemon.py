"""Daemons that clients start, by the real `baskd start`: $BASKD_BIN."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import unittest

import baskd
from tests.fake import WAIT
from tests.started import StartedDaemon, ended

PROGRAM = """
import sys, baskd
sys.stdin.readline()
with baskd.connect(controller=sys.argv[1], socket=sys.argv[2]) as backend:
    print(backend.status()["pid"], backend.add(2))
"""


class Started(StartedDaemon):
    CONTROLLER = """
class Controller:
    def add(self, a: int, b: int = 1):
        return a + b
"""

    def test_a_call_starts_it_and_it_stays(self) -> None:
        with self.client() as backend:
            self.assertEqual(backend.add(2), 3)
            pid = backend.status()["pid"]
        with self.client(start=False) as backend:
            self.assertEqual(backend.status()["pid"], pid)

    def test_one_that_ended_for_want_of_clients_is_started_again(self) -> None:
        os.environ["BASKD_IDLE_EXIT"] = "1s"
        pids = set()
        for _ in range(2):
            backend = self.client()
            self.assertEqual(backend.add(2), 3)
            pid = backend.status()["pid"]
            pids.add(pid)
            with ended(pid):
                backend.close()
        self.assertEqual(len(pids), 2)

    def test_by_name(self) -> None:
        with baskd.connect("mine", controller=self.controller) as backend:
            self.assertEqual(backend.add(2), 3)
            status = backend.status()
            self.path = status["socket"]  # the one to be stopped
            self.assertEqual((status["name"], os.path.basename(status["socket"])), ("mine", "mine.sock"))

    def test_asyncio(self) -> None:
        async def main() -> int:
            async with baskd.connect_async(controller=self.controller, socket=self.path) as backend:
                return sum(await asyncio.gather(*(backend.add(number) for number in range(10))))

        self.assertEqual(asyncio.run(main()), 55)

    def test_processes_that_start_it_at_once_get_one(self) -> None:
        for count in (2, 10):
            with self.subTest(count=count):
                command = [sys.executable, "-c", PROGRAM, self.controller, self.path]
                programs = [
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                    for _ in range(count)
                ]
                for program in programs:
                    assert program.stdin is not None
                    program.stdin.write(b"\n")
                    program.stdin.flush()
                said = [program.communicate(timeout=3 * WAIT)[0].decode() for program in programs]
                self.assertEqual([program.returncode for program in programs], [0] * count, said)
                self.assertEqual(len(set(said)), 1, said)
                self.assertEqual(said[0].split()[1], "3")
                self.end()

    def test_nothing_to_start(self) -> None:
        with self.assertRaisesRegex(baskd.NotRunning, "nothing to start.*baskd start") as failed:
            baskd.connect(socket=self.path)
        self.assertIs(type(failed.exception), baskd.NotRunning)

    def test_a_controller_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(baskd.StartFailed, "no controller at .*nowhere.py"):
            self.client(controller=self.file("nowhere.py")).add(1)

    def test_a_python_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(baskd.StartFailed, "no Python at /nowhere/python"):
            self.client(python="/nowhere/python").add(1)

    def test_a_python_that_does_not_start(self) -> None:
        for controller, wanted in (
            ("raise ValueError('on purpose')", "on purpose"),
            ("this is no Python", "SyntaxError"),
        ):
            with open(self.controller, "w") as file:
                file.write(controller)
            with self.assertRaisesRegex(baskd.BackendUnavailable, wanted), self.client() as backend:
                backend.add(1)
            self.end()

    def test_another_controller_than_the_one_that_runs(self) -> None:
        self.assertEqual(self.client().add(1), 2)
        other = self.file("other.py")
        with open(self.controller) as source, open(other, "w") as file:
            file.write(source.read())
        with self.assertRaisesRegex(baskd.WrongController, r"serves .*controller\.py.*, not .*other\.py"):
            self.client(controller=other).add(1)

    def test_a_new_controller_is_seen(self) -> None:
        backend = self.client()
        self.assertEqual([method["name"] for method in backend.methods()].count("subtract"), 0)
        with open(self.controller, "a") as file:
            file.write("\n    def subtract(self, a: int, b: int = 1):\n        return a - b\n")
        backend.reload()
        self.assertEqual([method["name"] for method in backend.methods()].count("subtract"), 1)
        self.assertEqual(backend.subtract(5), 4)


if __name__ == "__main__":
    unittest.main()
