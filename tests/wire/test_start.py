"""`baskd start`, and the commands that start a daemon by themselves."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support.case import DaemonTest
from support.connection import Connection
from support.daemon import CONTROLLERS, binary
from support.processes import wait_all_gone

KEEPS = CONTROLLERS / "keeps.py"


class Start(DaemonTest):
    own_daemon = True

    def setUp(self) -> None:
        self.at = self.places()
        # Whatever was started is asked to stop, and leaves nothing behind.
        self.addCleanup(wait_all_gone, self.at.mark)
        self.addCleanup(self.at.run, "stop")

    def ask(self, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.at.run("start", *arguments, **options)

    def refused(self, status: int, *arguments: Any, **options: Any) -> str:
        done = self.ask(*arguments, **options)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        return done.stderr

    def started(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        done = self.ask("--json", *arguments, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def test_a_daemon_runs_in_a_session_of_its_own_and_is_there_for_the_next(self) -> None:
        done = self.ask(KEEPS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, f"{self.at.socket()}\n")
        told = self.started(KEEPS)
        self.assertEqual((told["socket"], told["started"]), (str(self.at.socket()), False))
        self.assertEqual(os.getsid(told["pid"]), told["pid"])
        self.assertEqual(self.at.run("call", "increment", "by=5").stdout, "5\n")
        log = self.at.state / "baskd" / "default" / "serve.log"
        self.assertIn("listening on", log.read_text())
        self.assertEqual(log.stat().st_mode & 0o777, 0o600)
        # It has nothing of whoever started it.
        for descriptor in Path(f"/proc/{told['pid']}/fd").iterdir():
            self.assertNotIn("baskd-start-test", os.readlink(descriptor))

    def test_it_keeps_nothing_open_of_whoever_started_it(self) -> None:
        # Ends only when nobody has the pipe any more; the 9 is one that a shell has given along.
        script = f'("$0" start "{KEEPS}" 9>&1) | cat'
        done = subprocess.run(
            ["sh", "-c", script, binary()],
            env=self.at.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (0, f"{self.at.socket()}\n"))

    def test_what_keeps_it_from_starting_is_told_at_once(self) -> None:
        self.assertIn("there is no controller at nowhere.py", self.refused(2, "nowhere.py"))
        self.assertIn("names no controller", self.ask("not a controller").stderr)
        said = self.refused(2, KEEPS, "--python", "/nowhere/python")
        self.assertIn("/nowhere/python", said)
        config = self.at.config()
        config.parent.mkdir(parents=True)
        config.write_text("workers = many\n")
        self.assertIn(f"{config}, line 1", self.refused(2, KEEPS))
        config.write_text("max_queu = 5\n")
        self.assertIn("did you mean `max_queue`", self.refused(2, KEEPS))
        config.unlink()
        state = self.at.state / "baskd" / "default"
        (state / "lock").unlink(missing_ok=True)
        (state / "lock").mkdir(parents=True)
        self.assertIn(str(state), self.refused(3, KEEPS))
        error = json.loads(self.ask("--json", KEEPS).stderr)
        self.assertEqual(error["name"], "StartFailed")
        (state / "lock").rmdir()

    def test_one_that_does_not_listen_in_time_is_ended_and_reported(self) -> None:
        # It waits for the one before it, which never ends.
        path = self.at.socket()
        path.parent.mkdir(parents=True, mode=0o700)
        with Path(f"{path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write("pid 7, gone.py\nstopping\n")
            lock.flush()
            said = self.refused(3, KEEPS, "--timeout", "300ms")
        self.assertIn("did not listen within 300ms, and was ended", said)
        wait_all_gone(self.at.mark)
        self.assertTrue(self.started(KEEPS)["started"])

    def test_one_that_does_not_answer_is_told(self) -> None:
        told = self.started(KEEPS)
        os.kill(told["pid"], signal.SIGSTOP)
        try:
            self.assertIn("did not answer within", self.refused(3, KEEPS, "--timeout", "300ms"))
            # Also once there is no room for another who waits; those who have gone count, too.
            with contextlib.suppress(BlockingIOError):
                while True:
                    with socket.socket(socket.AF_UNIX) as one:
                        one.setblocking(False)
                        one.connect(str(self.at.socket()))
            self.assertIn("did not answer within", self.refused(3, KEEPS, "--timeout", "300ms"))
        finally:
            os.kill(told["pid"], signal.SIGCONT)

    def test_what_another_says_in_the_same_log_is_not_its_error(self) -> None:
        # The last one's reason is the same file's last line.
        self.refused(2, "elsewhere.py")
        said = self.refused(2, "nowhere.py")
        self.assertIn("there is no controller at nowhere.py", said)
        log = self.at.state / "baskd" / "default" / "serve.log"
        self.assertRegex(log.read_text(), r"(?m)^baskd\[\d+\]: there is no controller at elsewhere.py")

    def test_nothing_to_start(self) -> None:
        said = self.refused(2)
        self.assertIn("nothing to start: name a controller", said)
        self.assertIn(str(self.at.config()), said)
        (self.at.root / "other.toml").write_text("max_queue = 5\n")
        self.assertIn("other.toml", self.refused(2, "--config", self.at.root / "other.toml"))
        done = self.at.run("call", "increment")
        self.assertEqual(done.returncode, 3)
        self.assertIn("no daemon answers at", done.stderr)

    def test_a_path_need_not_be_text(self) -> None:
        path = os.fsencode(self.at.runtime) + b"/\xff.sock"

        def run(*arguments: Any) -> subprocess.CompletedProcess[bytes]:
            command = [binary(), *arguments, "--socket", path]
            return subprocess.run(command, env=self.at.environment(), capture_output=True, timeout=30, check=False)

        self.addCleanup(run, "stop")
        done = run("start", KEEPS, "--json", "--name", "odd")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn("\N{REPLACEMENT CHARACTER}.sock", json.loads(done.stdout)["socket"])

    def test_another_controller_is_served(self) -> None:
        self.started(KEEPS)
        said = self.refused(2, CONTROLLERS / "slow.py")
        self.assertIn(f"serves {KEEPS}:Controller, not {CONTROLLERS / 'slow.py'}:Controller", said)

    def test_one_that_stops_is_not_the_one_that_is_wanted(self) -> None:
        """Whoever has connected before it shut its door is still told of its state."""
        told = self.started(KEEPS)
        with Connection(self.at.socket()) as connection:
            status = connection.call("daemon.status")
            connection.call("daemon.shutdown")
        wait_all_gone(self.at.mark)
        self.assertNotEqual(status["state"], "stopping")
        answer = {"jsonrpc": "2.0", "id": 1, "result": status | {"state": "stopping"}}
        asked: list[str] = []
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.at.socket()))
            listener.listen()

            def stand_in() -> None:
                while not asked:
                    stream, _ = listener.accept()
                    with stream, stream.makefile("rb") as lines:
                        for line in lines:
                            request = json.loads(line)
                            asked.append(request["method"])
                            self.at.socket().unlink()
                            stream.sendall(json.dumps(answer | {"id": request["id"]}).encode() + b"\n")

            with ThreadPoolExecutor(1) as pool:
                standing = pool.submit(stand_in)
                after = self.started(KEEPS)
                standing.result()
        self.assertEqual(asked, ["daemon.status"])
        self.assertTrue(after["started"])
        self.assertNotEqual(after["pid"], told["pid"])

    def test_ten_at_once_get_one_daemon_also_while_another_ends(self) -> None:
        for _ in range(2):
            with ThreadPoolExecutor(10) as pool:
                told = list(pool.map(lambda _: self.started(KEEPS), range(10)))
            self.assertEqual(len(told), 10)
            self.assertEqual(len({one["pid"] for one in told}), 1)
            self.assertEqual(sum(one["started"] for one in told), 1)
            # The next ten come while this one is on its way out.
            with Connection(self.at.socket()) as connection:
                connection.call("daemon.shutdown")

    def test_commands_start_what_the_config_names(self) -> None:
        config = self.at.config()
        config.parent.mkdir(parents=True)
        config.write_text(f'controller = "{KEEPS}"\n')
        opted_out: dict[str, str] = {"BASKD_START": "0"}
        for flags, environment in ((["--no-start"], {}), ([], opted_out)):
            done = self.at.run("call", "counted", *flags, env=self.at.environment(**environment))
            self.assertEqual(done.returncode, 3, done.stderr)
        for command in ("status", "reload", "restart", "stop"):
            self.assertEqual(self.at.run(command).returncode, 3, command)
        self.assertEqual(self.at.run("call", "increment", "by=2").stdout, "2\n")
        self.assertEqual(self.at.run("stop").returncode, 0)
        # Its state is there again, in the one that is started now.
        self.assertEqual(self.at.run("call", "counted").stdout, "2\n")
        config.write_text(f'controller = "{KEEPS}"\npython = "/nowhere/python"\n')
        self.assertEqual(self.at.run("stop").returncode, 0)
        done = self.at.run("call", "counted")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nowhere/python", done.stderr)

    def test_a_python_that_does_not_start_is_the_calls_error(self) -> None:
        self.started(CONTROLLERS / "broken_import.py")
        done = self.at.run("call", "anything")
        self.assertEqual(done.returncode, 4)
        self.assertIn("can't be imported", done.stderr)

    def test_the_log_does_not_grow_for_ever(self) -> None:
        log = self.at.state / "baskd" / "default" / "serve.log"
        log.parent.mkdir(parents=True, mode=0o700)
        log.write_text("a long line\n" * 100_000 + "the last line\n")
        self.started(KEEPS)
        text = log.read_text()
        self.assertLess(len(text), 600_000)
        self.assertIn("\nthe last line\n", text)
        self.assertIn("listening on", text)


class Reload(DaemonTest):
    own_daemon = True

    def test_reload_on_the_command_line(self) -> None:
        places = self.places()
        file = places.root / "keeps.py"
        file.write_text(KEEPS.read_text())
        daemon = self.start(file, places=places)
        done = places.run("reload")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^default: the new Python \(process \d+\) was ready in ")
        self.assertEqual(places.run("reload", "--json").stdout, "true\n")
        file.write_text("import no_such_module_at_all")
        done = places.run("reload")
        self.assertEqual((done.returncode, done.stdout), (4, ""))
        self.assertRegex(done.stderr, "The new version can't serve, and the old one serves on: .*no_such_module_at_all")
        self.assertEqual(places.run("call", "version").stdout, "1\n")
        self.assertEqual(daemon.status()["reloads"], 2)
