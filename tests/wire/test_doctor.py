"""`baskd doctor`: what is wrong is found, told with its remedy, and nothing else is touched."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from support.case import DaemonTest
from support.daemon import CONTROLLERS

KEEPS = CONTROLLERS / "keeps.py"

UNIT = """\
Id=baskd@chat.{kind}
LoadState=loaded
ActiveState={active}
Result={result}
UnitFileState={enabled}
NeedDaemonReload=no
"""


class Doctor(DaemonTest):
    own_daemon = True

    def setUp(self) -> None:
        self.at = self.places()
        self.bin = self.at.root / "bin"
        self.bin.mkdir()

    def units(self, told: str, status: int = 0) -> None:
        """A `systemctl` that says so of the units of `chat`, which is installed."""
        drop_in = self.at.root / "config" / "systemd" / "user" / "baskd@chat.service.d" / "10-baskd.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.touch()
        (self.bin / "told").write_text(told)
        script = self.bin / "systemctl"
        script.write_text(f'#!/bin/sh\ncat "{self.bin}/told" >&{2 if status else 1}\nexit {status}\n')
        script.chmod(0o755)

    def ask(
        self, *arguments: Any, python: Any = sys.executable, **env: str
    ) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        environment = self.at.environment(PATH=f"{self.bin}:{os.environ['PATH']}", **env)
        done = self.at.run("doctor", "--json", "--python", python, *arguments, env=environment)
        self.assertEqual(done.stderr, "")
        found: dict[str, list[dict[str, Any]]] = {}
        for finding in json.loads(done.stdout):
            self.assertEqual(sorted(finding), ["check", "level", "remedy", "what"])
            # What is wrong has a remedy, or says it itself.
            if finding["level"] != "ok" and finding["check"] not in ("runtime folder", "environment", "python"):
                self.assertTrue(finding["remedy"], finding)
            found.setdefault(finding["check"], []).append(finding)
        return done.returncode, found

    def the_one(self, findings: list[dict[str, Any]], level: str) -> dict[str, Any]:
        matching = [finding for finding in findings if finding["level"] == level]
        self.assertEqual(len(matching), 1, findings)
        return matching[0]

    def test_a_healthy_place_has_no_problem_and_is_left_as_it_was(self) -> None:
        before = sorted(self.at.root.rglob("*"))
        status, found = self.ask(KEEPS)
        self.assertEqual(status, 0, found)
        levels = {finding["level"] for findings in found.values() for finding in findings}
        self.assertLessEqual(levels, {"ok", "note", "warning"})
        self.assertIn("is free", found["socket"][0]["what"])
        self.assertIn("not installed", self.the_one(found["units"], "note")["what"])
        self.assertEqual(sorted(self.at.root.rglob("*")), before)
        done = self.at.run("doctor", KEEPS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?m)^ok +python +3\.")
        self.assertRegex(done.stdout, r"no problems, \d+ warnings?\n$|no problems, no warnings\n$")
        self.assertNotIn("\x1b", done.stdout)

    def test_what_the_controller_imports_and_is_not_there_is_named_with_its_line(self) -> None:
        marker = self.at.root / "was_run"
        (self.at.root / "beside.py").write_text("import no_such_module_b\n")
        controller = self.at.root / "controller.py"
        controller.write_text(
            f"open({str(marker)!r}, 'w')\nimport json, no_such_module_a\nimport beside\nimport baskd\n"
            "from basecontroller import BaseController\n"
            "try:\n    import no_such_module_c\nexcept ImportError:\n    pass\n"
            "class Controller(BaseController):\n    def method(self):\n        import no_such_module_d\n"
        )
        status, found = self.ask(controller)
        self.assertEqual(status, 1)
        problems = [finding["what"] for finding in found["packages"] if finding["level"] == "problem"]
        self.assertEqual(len(problems), 2, problems)
        self.assertIn(f"`no_such_module_a` is imported by {controller}, line 2", problems[0])
        self.assertIn("`no_such_module_b` is imported by", problems[1])
        self.assertFalse(marker.exists(), "the controller was run")
        controller.write_text("def broken(:\n")
        status, found = self.ask(controller)
        self.assertIn(f"{controller}, line 1:", self.the_one(found["packages"], "problem")["what"])
        status, found = self.ask(self.at.root / "nowhere.py")
        self.assertIn("there is no ", self.the_one(found["controller"], "problem")["what"])

    def test_nothing_that_lies_about_is_executed(self) -> None:
        """Neither in the working folder nor beside the controller, whatever it is called."""
        app, here = self.at.root / "app", self.at.root / "here"
        ran = self.at.root / "ran"
        for folder in (app, here):
            folder.mkdir()
            for name in ("ast", "json", "os", "importlib", "tokenize", "linecache", "helper"):
                (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write(__file__)\n")
        (app / "controller.py").write_text("import json\nimport helper\nx = '\\d'\nclass Controller:\n    pass\n")
        environment = self.at.environment()
        arguments = ("doctor", "--json", "--python", sys.executable, app / "controller.py")
        done = self.at.run(*arguments, env=environment, cwd=here)
        packages = [finding for finding in json.loads(done.stdout) if finding["check"] == "packages"]
        self.assertEqual(packages[0]["what"], "all that the controller imports is there")
        self.assertFalse(ran.exists(), ran.exists() and ran.read_text())

    def test_a_venv_that_moved_is_told(self) -> None:
        made, moved = self.at.root / "made", self.at.root / "moved"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
        _, found = self.ask(KEEPS, python=made)
        self.assertEqual([finding["level"] for finding in found["python"]], ["ok"])
        made.rename(moved)
        status, found = self.ask(KEEPS, python=moved)
        self.assertEqual(status, 0)
        told = self.the_one(found["python"], "warning")
        self.assertIn(f"was made at {made} and moved", told["what"])
        self.assertIn(f"python3 -m venv --clear {moved}", told["remedy"])
        config = moved / "pyvenv.cfg"
        config.write_text(config.read_text().replace("home = ", "home = /nowhere"))
        status, found = self.ask(KEEPS, python=moved)
        # Whether a Python runs at all then is its own affair; either way it is a problem.
        self.assertEqual(status, 1)
        self.the_one(found["python"], "problem")

    def test_an_interpreter_that_does_not_run_is_told(self) -> None:
        broken = self.at.root / "python"
        broken.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 1\n")
        broken.chmod(0o755)
        status, found = self.ask(KEEPS, python=broken)
        self.assertEqual(status, 1)
        self.assertIn("no such library", self.the_one(found["python"], "problem")["what"])

    def test_slips_in_config_and_environment_are_told(self) -> None:
        self.at.config().parent.mkdir(parents=True)
        self.at.config().write_text("workers = 1\nworkres = 2\n")
        status, found = self.ask(KEEPS, BASKD_MAX_QUEU="7")
        self.assertEqual(status, 1)
        self.assertIn("line 2", self.the_one(found["config"], "problem")["what"])
        self.assertIn("did you mean $BASKD_MAX_QUEUE?", self.the_one(found["environment"], "warning")["what"])

    def test_folders_that_others_can_reach_are_told(self) -> None:
        state = self.at.state / "baskd" / "default"
        state.mkdir(parents=True, mode=0o755)
        (state / "snapshot.json.refused").write_text("{}")
        self.at.socket().parent.mkdir(mode=0o755)
        status, found = self.ask(KEEPS)
        self.assertEqual(status, 1)
        self.assertEqual(self.the_one(found["state folder"], "problem")["remedy"], f"chmod 700 {state}")
        self.assertIn("snapshot.json.refused", self.the_one(found["state folder"], "note")["what"])
        self.assertIn("chmod 700", self.the_one(found["runtime folder"], "problem")["what"])

    def test_a_stale_socket_and_one_that_is_held_are_told_apart_and_not_connected_to(self) -> None:
        self.at.socket().parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.at.socket()))
            listener.listen()
            _, found = self.ask(KEEPS)
            self.assertIn("some program that is no daemon", self.the_one(found["socket"], "warning")["what"])
            listener.setblocking(False)
            self.assertRaises(BlockingIOError, listener.accept)
        status, found = self.ask(KEEPS)
        self.assertEqual(status, 0)
        self.assertIn("was left behind", self.the_one(found["socket"], "note")["what"])

    def test_a_daemon_that_runs_is_asked_how_it_is(self) -> None:
        daemon = self.start(KEEPS, places=self.at)
        daemon.python_pid()
        _, found = self.ask(KEEPS)
        self.assertIn(f"a daemon runs (pid {daemon.pid}), and is ready", found["socket"][0]["what"])
        daemon.close()
        broken = self.at.root / "controller.py"
        broken.write_text("import sys\nprint('last words', file=sys.stderr)\nraise RuntimeError('no')\n")
        daemon = self.start(broken, places=self.at)
        daemon.wait_for_log("not started again until")  # Before, it may be starting once more.
        status, found = self.ask(broken)
        self.assertEqual(status, 1)
        told = self.the_one(found["socket"], "problem")
        self.assertIn("its Python does not serve", told["what"])
        self.assertIn("baskd restart", told["remedy"])

    def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(self) -> None:
        daemon = self.start(KEEPS, places=self.at)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            status, found = self.ask(KEEPS)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        self.assertEqual(status, 1)
        self.assertIn("did not answer", self.the_one(found["socket"], "problem")["what"])

    def test_units_are_judged(self) -> None:
        self.units(
            UNIT.format(kind="socket", active="active", result="success", enabled="enabled")
            + "\n"
            + UNIT.format(kind="service", active="failed", result="watchdog", enabled="static")
            + "ExecStart={ path=/nowhere/baskd ; argv[]=/nowhere/baskd serve ; ignore_errors=no }\n"
        )
        status, found = self.ask(KEEPS, "--name", "chat")
        self.assertEqual(status, 1)
        problems = [finding["what"] for finding in found["units"] if finding["level"] == "problem"]
        self.assertEqual(len(problems), 2, problems)
        self.assertIn("/nowhere/baskd, which is gone", problems[0])
        self.assertIn("baskd@chat.service has failed: watchdog", problems[1])
        # Another instance has the same templates, and is not installed.
        status, found = self.ask(KEEPS, "--name", "other")
        self.assertEqual(status, 0)
        self.assertIn("not installed", self.the_one(found["units"], "note")["what"])

    def test_an_installed_instance_without_its_manager_is_a_problem(self) -> None:
        self.units("Failed to connect to bus: No medium found\n", status=1)
        status, found = self.ask(KEEPS, "--name", "chat")
        self.assertEqual(status, 1)
        self.assertIn("Failed to connect to bus", self.the_one(found["units"], "problem")["what"])
