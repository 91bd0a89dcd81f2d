"""The command line against a real daemon: what it prints, and how it exits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Union

from support.case import DaemonTest
from support.daemon import binary


class CommandLine(DaemonTest):
    controller = "lab.py"

    def cli(self, *arguments: Union[str, Path], status: int = 0) -> subprocess.CompletedProcess[str]:
        ended = self.daemon.places.run(*arguments)
        self.assertEqual(ended.returncode, status, f"{arguments}: {ended.stdout}{ended.stderr}")
        if status:
            self.assertTrue(ended.stderr.strip(), f"{arguments} fails without a word")
        return ended

    def test_call(self) -> None:
        file = self.daemon.places.root / "file"
        file.write_text('{"from": "a file"}')
        for arguments, result in [
            (["add", "a=1"], 2),
            (["add", "[1, 4]"], 5),
            (["add", '{"a": 1, "b": -1}'], 0),
            (["echo", "n=5", "t=true", "z=null"], {"n": 5, "t": True, "z": None}),
            (["echo", "s=text", 'q="5"', "e="], {"s": "text", "q": "5", "e": ""}),
            (["echo", 'deep:={"a":[1]}', f"text=@{file}"], {"deep": {"a": [1]}, "text": file.read_text()}),
            (["echo", f"json:=@{file}"], {"json": {"from": "a file"}}),
        ]:
            self.assertEqual(json.loads(self.cli("call", *arguments).stdout), result, arguments)

    def test_stdin(self) -> None:
        command = [binary(), "call", "echo", "-"]
        env = self.daemon.places.environment()
        ended = subprocess.run(
            command, input='{"a": [1, 2]}', env=env, capture_output=True, text=True, timeout=30, check=True
        )
        self.assertEqual(json.loads(ended.stdout), {"a": [1, 2]})

    def test_stream(self) -> None:
        self.assertEqual(self.cli("call", "items", "n=3", "--stream").stdout.splitlines(), ["0", "1", "2", "3"])
        ended = self.cli("call", "failing", "after=1", "--stream", status=1)
        self.assertEqual(ended.stdout.splitlines(), ["0"])
        self.assertIn("that was enough", ended.stderr)

    def test_a_reader_that_has_enough(self) -> None:
        text = f"{binary()} call endless --stream | head -n 3"
        env = self.daemon.places.environment()
        ended = subprocess.run(["bash", "-c", text], env=env, capture_output=True, text=True, timeout=30, check=True)
        self.assertEqual((ended.stdout, ended.stderr), ("0\n1\n2\n", ""))
        with self.daemon.connect() as connection:
            self.assertEqual(connection.call("howEnded")[-1], ["endless", "cancelled"])

    def test_exit_statuses(self) -> None:
        self.assertIn("ValueError", self.cli("call", "fail", status=1).stderr)
        self.assertIn("sleep", self.cli("call", "slep", status=2).stderr)
        self.assertIn("seconds", self.cli("call", "sleep", "second=1", status=2).stderr)
        self.cli("call", status=2)
        self.cli("call", "add", "a=1", "--name", "nobody", status=3)
        self.cli("status", "--socket", self.daemon.places.root / "nothing.sock", status=3)
        self.assertIn("last words", self.cli("call", "exit", status=4).stderr)
        self.cli("call", "sleep", "seconds=60", "--timeout", "100ms", status=5)

    def test_errors_as_json(self) -> None:
        error = json.loads(self.cli("call", "fail", "--json", status=1).stderr)
        self.assertError(error, -32020, type="ValueError")
        error = json.loads(self.cli("call", "exit", "code=9", "--json", status=4).stderr)
        self.assertError(error, -32021, ran="yes", exit={"code": 9})

    def test_ctrl_c_cancels_the_call(self) -> None:
        command = [binary(), "call", "sleep", "seconds=60", "name=interrupted", "--stream"]
        env = self.daemon.places.environment()
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), '"begun"\n')
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1)
        self.assertIn("cancelled", said)
        with self.daemon.connect() as connection:
            self.assertEqual(connection.call("howEnded")[-1], ["interrupted", "cancelled"])

    def test_properties(self) -> None:
        self.cli("set", "model", "something")
        self.assertEqual(json.loads(self.cli("get", "model").stdout), "something")
        self.cli("set", "layers:=[1,2]")
        self.assertEqual(json.loads(self.cli("get", "layers").stdout), [1, 2])
        self.assertIn("model", self.cli("get", "modle", status=2).stderr)
        self.cli("set", "_private", "1", status=2)

    def test_status_and_methods(self) -> None:
        status = json.loads(self.cli("status", "--json").stdout)
        self.assertEqual((status["pid"], status["state"]), (self.daemon.pid, "ready"))
        self.assertIn(str(self.daemon.path), self.cli("status").stdout)
        self.assertIn("Adds b to a", self.cli("methods", "add").stdout)
        self.assertIn("howEnded", self.cli("methods").stdout)

    def test_socket(self) -> None:
        self.assertEqual(self.cli("socket").stdout, f"{self.daemon.path}\n")
        self.assertEqual(self.cli("socket", "--name", "other").stdout, f"{self.daemon.places.socket('other')}\n")


class Control(DaemonTest):
    own_daemon = True

    def test_restart_and_stop(self) -> None:
        daemon = self.start("lab.py")
        pid = daemon.python_pid()
        restarted = daemon.places.run("restart")
        self.assertEqual(restarted.returncode, 0, restarted.stderr)
        self.assertNotEqual(daemon.python_pid(), pid)
        stopped = daemon.places.run("stop")
        self.assertEqual(stopped.returncode, 0, stopped.stderr)
        # It has waited until the daemon was gone.
        self.assertEqual(daemon.wait(1), 0)
        self.assertEqual(daemon.places.run("stop").returncode, 3)

    def test_what_can_not_be_served(self) -> None:
        places = self.places()
        for arguments in (["nowhere.py"], ["not a spec"], ["--python", "/nowhere/python"], ["--no-such-flag"]):
            ended = places.run("serve", *arguments, seconds=20)
            self.assertEqual(ended.returncode, 2, f"{arguments}: {ended.stderr}")

    def test_a_module_a_class_and_a_venv_like_folder(self) -> None:
        places = self.places()
        (places.root / "package").mkdir()
        (places.root / "package" / "__init__.py").touch()
        (places.root / "package" / "models.py").write_text(
            "class Llama:\n    def name(self):\n        return 'llama'\n"
        )
        (places.root / "bin").mkdir()
        (places.root / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
        daemon = self.start("package.models:Llama", places=places, python=str(places.root), cwd=places.root)
        connection = self.connect(daemon)
        self.assertEqual(connection.call("name"), "llama")
        status = connection.call("daemon.status")
        self.assertEqual((status["controller"]["class"], status["controller"]["file"]), ("Llama", None))
        self.assertEqual(status["python"]["executable"], str(places.root / "bin" / "python"))


class Lost(DaemonTest):
    own_daemon = True

    def test_a_stream_that_loses_what_it_comes_from_says_so(self) -> None:
        for lost, status, word in (
            ("daemon", 3, "the daemon closed the connection before it answered `endless`"),
            ("Python", 4, "was killed by SIGKILL"),
        ):
            daemon = self.start("lab.py")
            with subprocess.Popen(
                [binary(), "call", "endless", "--stream"],
                env=daemon.places.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as call:
                assert call.stdout
                assert call.stderr
                first = call.stdout.readline()
                os.kill(daemon.pid if lost == "daemon" else daemon.python_pid(), signal.SIGKILL)
                lines = [first.strip(), *call.stdout.read().splitlines()]
                said = call.stderr.read()
            # What came before is whole, and nothing is missing from it.
            self.assertEqual(lines, [str(number) for number in range(len(lines))], lost)
            self.assertEqual(call.returncode, status, said)
            self.assertIn(word, said)
