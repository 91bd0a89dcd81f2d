"""Log lines: which call printed them, those that were there before, `baskd logs`, and the log as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, Optional

from support.case import DaemonTest
from support.connection import Connection
from support.daemon import Daemon, Places, binary

TAG = "\x1b_baskd;"


class LogTest(DaemonTest):
    controller = "says.py"

    def subscribe(self, connection: Connection, lines: Optional[int] = None) -> Any:
        return connection.call("logs.subscribe", None if lines is None else {"lines": lines})

    def kept(self, connection: Connection, subscription: Any) -> list[dict[str, Any]]:
        """What comes before what is new."""
        events: list[dict[str, Any]] = []
        while True:
            event = connection.event(subscription)["result"]
            if event == {"live": True}:
                return events
            events.append(event)

    def line(self, connection: Connection, subscription: Any, text: str) -> dict[str, Any]:
        """The next line of that text."""
        while True:
            event: dict[str, Any] = connection.event(subscription)["result"]
            if event.get("line") == text:
                return event


class TestCalls(LogTest):
    def test_a_line_tells_its_call(self) -> None:
        connection = self.connect()
        logs = self.subscribe(connection)
        messages = connection.call("messages.subscribe", ["all"])
        connection.call("sends_first", ["it"])
        number = connection.event(messages)["result"]["call"]
        for text in ("before it", "after it"):
            line = self.line(connection, logs, text)
            self.assertEqual((line["call"], line["method"], line["stream"]), (number, "sends_first", "stdout"))
            self.assertEqual(set(line), {"time", "level", "stream", "call", "method", "line"})

    def test_what_no_call_has_printed(self) -> None:
        connection = self.connect()
        for line in self.kept(connection, self.subscribe(connection, 1000)):
            if line["line"] in ("says.py: imported", "on_start") or line["stream"] == "daemon":
                self.assertEqual((line["call"], line["method"]), (None, None), line)
        logs = self.subscribe(connection)
        connection.call("in_turns")
        for number in range(5):
            self.assertEqual(self.line(connection, logs, f"print {number}")["method"], "in_turns")
            self.assertIsNone(self.line(connection, logs, f"write {number}")["call"])
        self.assertIsNone(self.line(connection, logs, "a program")["method"])

    def test_what_is_forged_names_others_in_that_line_only(self) -> None:
        connection = self.connect()
        logs = self.subscribe(connection)
        connection.call("forged")
        connection.call("lines", ["honest"])
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["line"] != "honest":
            seen.append(connection.event(logs)["result"])
        honest = seen.pop()
        self.assertEqual((honest["method"], len(seen)), ("lines", 4))
        self.assertEqual([line["method"] for line in seen], ["somebody", "forged", "somebody", "forged"])
        self.assertEqual([line["line"] for line in seen[:3]], ["a forged line", "in the ", "middle"])

    def test_lines_in_pieces_and_bars(self) -> None:
        connection = self.connect()
        logs = self.subscribe(connection)
        connection.call("pieces", ["a", "b"])
        connection.call("pieces", ["c", "d\n"])
        ab, cd = self.line(connection, logs, "ab"), self.line(connection, logs, "cd")
        self.assertLess(ab["call"], cd["call"])
        connection.call("bar")
        self.assertEqual(self.line(connection, logs, "\r  0 %\r 50 %\r100 %")["method"], "bar")

    def test_a_long_line_is_its_calls_to_the_end(self) -> None:
        connection = self.connect()
        logs = self.subscribe(connection)
        connection.call("long", [50_000])
        length = 0
        while length < 50_000:
            line = connection.event(logs)["result"]
            self.assertEqual((line["method"], set(line["line"])), ("long", {"x"}))
            length += len(line["line"])
        self.assertEqual(length, 50_000)

    def test_last_words_have_no_tags(self) -> None:
        error = self.connect().error("dies")
        self.assertEqual(error["data"]["stderr"][-2:], ["last words", "without an end"])
        self.assertNotIn(TAG, json.dumps(error))
        self.assertNotIn(TAG, "\n".join(self.daemon.log))


class TestKept(LogTest):
    def test_the_last_ones_come_first(self) -> None:
        connection = self.connect()
        connection.call("lines", [f"line {number}" for number in range(20)])
        connection.call("lines", ["the end of them"])
        self.daemon.wait_for_log("the end of them")
        lines = self.kept(connection, self.subscribe(connection, 5))
        self.assertEqual([line["line"] for line in lines], [*[f"line {n}" for n in range(16, 20)], "the end of them"])
        self.assertEqual([line["method"] for line in lines], ["lines"] * 5)
        self.assertEqual(self.kept(connection, self.subscribe(connection, 0)), [])
        by_place = connection.call("logs.subscribe", [1])
        self.assertEqual([line["line"] for line in self.kept(connection, by_place)], ["the end of them"])
        connection.call("lines", ["and on it goes"])
        self.assertEqual(self.line(connection, by_place, "and on it goes")["method"], "lines")

    def test_what_is_no_number_of_lines(self) -> None:
        connection = self.connect()
        for wrong in ({"lines": "5"}, {"lines": -1}, {"line": 5}, [5, 6]):
            self.assertEqual(connection.error("logs.subscribe", wrong)["code"], -32602, wrong)
        self.assertIsInstance(connection.call("logs.subscribe", {"lines": None}), int)

    def test_no_gap_and_no_double(self) -> None:
        """Subscribed to in the middle of many lines, it has each once, but for those it says that it has dropped."""
        printing = self.connect()
        for round, lines in enumerate((1, 50, 1000, 100)):
            name = f"round{round}"
            printing.request("beside", [name, 5000])
            self.daemon.wait_for_log(f"python: {name} ")
            connection = self.connect()
            logs = self.subscribe(connection, lines)
            following, dropped, seen = None, 0, 0
            while following != 5000:
                event = connection.event(logs)["result"]
                dropped += event.get("dropped", 0)
                if event.get("line", "").startswith(name):
                    number = int(event["line"].split()[1])
                    if following is not None:
                        self.assertEqual(following + dropped, number)
                    following, dropped = number + 1, 0
                    seen += 1
            self.assertGreater(seen, 0)
            connection.close()

    def test_who_reads_slowly_still_gets_what_was_kept(self) -> None:
        daemon = self.start("says.py", config="log_lines = 100000")
        talking = self.connect(daemon)
        for number in range(100):
            talking.call("lines", [f"{number} {'x' * 5000}"])
        daemon.wait_for_log(r"python: 99 x")
        connection = self.connect(daemon)
        waiting = [self.subscribe(connection, 90) for _ in range(5)]
        self.assertEqual(talking.call("lines", ["unhindered"]), 1)
        for logs in waiting:
            numbers = [int(line["line"].split()[0]) for line in self.kept(connection, logs)]
            self.assertEqual(numbers, list(range(10, 100)))
            self.assertEqual(connection.event(logs)["result"]["line"], "unhindered")

    def test_how_many_are_kept_is_set(self) -> None:
        for most in (0, 3):
            daemon = self.start("says.py", config=f"log_lines = {most}")
            connection = self.connect(daemon)
            connection.call("lines", ["a", "b", "c", "d"])
            daemon.wait_for_log("python: d")
            lines = self.kept(connection, self.subscribe(connection, 10))
            self.assertEqual([line["line"] for line in lines], ["b", "c", "d"][:most])

    def test_in_bytes_they_have_a_limit_too(self) -> None:
        daemon = self.start("says.py", config="log_lines = 1000000")
        connection = self.connect(daemon)
        for _ in range(3):
            connection.call("lines", ["x" * 8000] * 100)
        connection.call("lines", ["the end"])
        daemon.wait_for_log("python: the end")
        lines = self.kept(connection, self.subscribe(connection, 1000000))
        self.assertLess(sum(len(line["line"]) for line in lines), 1 << 20)
        self.assertGreater(len(lines), 100)


class TestJson(LogTest):
    flags = ("--log-format", "json")

    def test_each_line_is_an_object(self) -> None:
        connection = self.connect()
        connection.call("both", ['a "quoted" é'])
        self.daemon.wait_for_log("quoted", 2)
        objects = [json.loads(line) for line in self.daemon.log]
        for each in objects:
            self.assertEqual(set(each), {"time", "level", "stream", "call", "method", "message"})
            self.assertRegex(each["time"], r"^\d{4}-\d\d-\d\dT[0-9:.]+Z$")
        (out,) = [each for each in objects if each["message"] == 'out a "quoted" é']
        self.assertEqual((out["level"], out["stream"], out["method"]), ("info", "stdout", "both"))
        self.assertIsInstance(out["call"], int)
        self.assertEqual((objects[0]["stream"], objects[0]["call"]), ("daemon", None))

    def test_the_variable_does_the_same(self) -> None:
        daemon = self.start(env={"BASKD_LOG_FORMAT": "json"})
        self.assertIn("message", json.loads(daemon.log[0]))


class CommandTest(LogTest):
    def logs(self, *arguments: str, daemon: Optional[Daemon] = None) -> list[str]:
        ran = (daemon or self.daemon).places.run("logs", *arguments)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""), arguments)
        return ran.stdout.splitlines()

    def following(self, *arguments: str, daemon: Optional[Daemon] = None, **options: Any) -> Following:
        following = Following((daemon or self.daemon).places, *arguments, **options)
        self.addCleanup(following.close)
        return following


class Following:
    """`baskd logs -f`, and what it has printed."""

    def __init__(self, places: Places, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [binary(), "logs", "-f", *arguments],
            env=places.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def wait_for(self, pattern: str) -> str:
        def find() -> Optional[str]:
            return next((line for line in self.lines if re.search(pattern, line)), None)

        with self._changed:
            self._changed.wait_for(find, 30)
            found = find()
        assert found is not None, f"{pattern!r} did not come, but {self.lines[-30:]}"
        return found

    def interrupt(self) -> tuple[int, str]:
        """Its status and its stderr after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(30)
        assert self.process.stderr is not None
        return status, self.process.stderr.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class TestCommand(CommandTest):
    def test_lines_and_who_printed_them(self) -> None:
        connection = self.connect()
        connection.call("both", ["one"])
        connection.call("lines", ["two", "three"])
        self.daemon.wait_for_log("python: three")
        time = r"\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
        everything = "\n".join(self.logs())
        self.assertRegex(everything, rf"(?m)^{time} info   listening on ")
        self.assertRegex(everything, rf"(?m)^{time} stdout says.py: imported$")
        self.assertRegex(everything, rf"(?m)^{time} stdout both#\d+: out one$")
        self.assertRegex(everything, rf"(?m)^{time} stderr both#\d+: err one$")
        self.assertEqual(len(self.logs("-n", "2")), 2)
        self.assertEqual(self.logs("-n", "0"), [])

    def test_some_are_chosen(self) -> None:
        connection = self.connect()
        connection.call("both", ["chosen"])
        connection.call("lines", ["another"])
        self.daemon.wait_for_log("python: another")
        (line,) = self.logs("--method", "both", "--stream", "stderr", "-n", "1")
        self.assertTrue(line.endswith(": err chosen"), line)
        (object,) = (json.loads(each) for each in self.logs("--json", "--method", "lines", "-n", "1"))
        self.assertEqual((object["line"], object["stream"]), ("another", "stdout"))
        self.assertEqual([json.loads(each) for each in self.logs("--json", "--call", str(object["call"]))], [object])
        self.assertTrue(all("stdout" not in line for line in self.logs("--stream", "daemon")))
        self.assertEqual(self.logs("--level", "error"), [])
        self.assertEqual(len(self.logs("--level", "info")), len(self.logs()))

    def test_no_daemon(self) -> None:
        places = self.places()
        ran = places.run("logs", "--name", "gone")
        self.assertEqual((ran.returncode, ran.stdout), (3, ""))
        self.assertIn("journalctl --user -u baskd@gone", ran.stderr)
        ran = places.run("logs", "--json")
        self.assertEqual((ran.returncode, json.loads(ran.stderr)["name"]), (3, "NoDaemon"))
        log = places.state / "baskd" / "gone" / "serve.log"
        log.parent.mkdir(parents=True)
        log.write_text("one\ntwo\nthree\n")
        ran = places.run("logs", "--name", "gone", "-n", "2")
        self.assertEqual((ran.returncode, ran.stdout), (0, "two\nthree\n"))
        self.assertIn(str(log), ran.stderr)
        ran = places.run("logs", "--name", "gone", "--method", "search")
        self.assertEqual((ran.returncode, ran.stdout), (3, ""))
        self.assertIn(str(log), ran.stderr)

    def test_a_daemon_that_was_in_the_background(self) -> None:
        places = self.places()
        self.assertEqual(
            places.run("start", str(Path(__file__).parent.parent / "controllers" / "says.py")).returncode, 0
        )
        self.assertTrue(places.run("logs").stdout.endswith("\n"))
        places.run("stop")
        ran = places.run("logs")
        self.assertEqual(ran.returncode, 0)
        self.assertIn("stopped", ran.stdout)

    def test_a_socket_that_has_no_daemon_is_left_alone(self) -> None:
        self.as_systemd()
        """Whoever connects to one that a manager holds has a daemon started."""
        places = self.places()
        path = places.socket("held")
        path.parent.mkdir(mode=0o700)
        (path.parent / "held.sock.lock").touch(0o600)
        with socket.socket(socket.AF_UNIX) as held:
            held.bind(str(path))
            held.listen()
            held.setblocking(False)
            self.assertEqual(places.run("logs", "--name", "held").returncode, 3)
            self.assertRaises(BlockingIOError, held.accept)
            # With the lock taken, somebody is there who only has not answered yet.
            with open(path.parent / "held.sock.lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                asking = subprocess.Popen([binary(), "logs", "--name", "held"], env=places.environment())
                self.addCleanup(asking.wait)
                self.addCleanup(asking.kill)
                held.setblocking(True)
                held.settimeout(20)
                held.accept()[0].close()


class TestFollow(CommandTest):
    def test_what_comes(self) -> None:
        connection = self.connect()
        following = self.following("-n", "0", "--method", "lines")
        self.until(lambda: self.daemon.status()["connections"] >= 3)
        # It may not have subscribed yet: so it is asked for until it is seen.
        sent = 0
        while not following.lines:
            connection.call("lines", [f"number {sent}"])
            sent += 1
        connection.call("both", ["not this"])
        connection.call("lines", ["and this"])
        following.wait_for(r"stdout lines#\d+: and this")
        self.assertNotIn("not this", "\n".join(following.lines))
        self.assertEqual(following.interrupt(), (0, ""))

    def test_it_goes_on_with_the_next_daemon(self) -> None:
        places = self.places()
        daemon = self.start("says.py", places=places)
        self.connect(daemon).call("lines", ["of the first"])
        following = self.following(daemon=daemon)
        following.wait_for("of the first")
        daemon.close()
        following.wait_for("^-- the daemon has gone: waiting for the next --$")
        daemon = self.start("says.py", places=places)
        following.wait_for("^-- connected again --$")
        self.connect(daemon).call("lines", ["of the second"])
        following.wait_for("of the second")
        after = following.lines[following.lines.index("-- connected again --") :]
        self.assertEqual(sum("listening on" in line for line in after), 1)
        self.assertEqual(following.interrupt(), (0, ""))

    def test_it_ends_when_its_reader_does(self) -> None:
        for command in ("logs | head -1", "logs -f | head -1"):
            ran = subprocess.run(
                ["sh", "-c", f'"$0" {command}', binary()],
                env=self.daemon.places.environment(),
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            self.assertEqual((ran.returncode, ran.stderr), (0, ""))
            self.assertEqual(len(ran.stdout.splitlines()), 1)

    def test_what_is_dropped_is_said(self) -> None:
        places = self.places()
        path = places.socket("fake")
        path.parent.mkdir(mode=0o700)
        line = {
            "time": "2026-01-01T00:00:00Z",
            "level": "info",
            "stream": "stdout",
            "call": 5,
            "method": "a",
            "line": "b",
        }
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            asking = subprocess.Popen(
                [binary(), "logs", "--name", "fake"], env=places.environment(), stdout=subprocess.PIPE, text=True
            )
            self.addCleanup(asking.kill)
            listening.settimeout(30)
            daemon = listening.accept()[0]
            with daemon, daemon.makefile("rw") as stream:
                asked = json.loads(stream.readline())
                self.assertEqual(asked["method"], "logs.subscribe")
                stream.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": 1}) + "\n")
                for event in (line, {"dropped": 7}, line, {"live": True}):
                    params = {"subscription": 1, "result": event}
                    stream.write(json.dumps({"jsonrpc": "2.0", "method": "logs.item", "params": params}) + "\n")
                stream.flush()
                said, _ = asking.communicate(timeout=30)
        remark = "-- 7 lines were dropped: they came faster than they were read --"
        self.assertEqual(said.splitlines()[1], remark)
        self.assertEqual((len(said.splitlines()), asking.returncode), (3, 0))


class TestTerminal(CommandTest):
    def on_terminal(self, *arguments: str, command: str = "logs", status: int = 0, **environment: str) -> str:
        main, other = pty.openpty()
        try:
            process = subprocess.Popen(
                [binary(), command, *arguments],
                env=self.daemon.places.environment(TERM="xterm", **{"NO_COLOR": "", **environment}),
                stdin=other,
                stdout=other,
                stderr=other,
            )
            os.close(other)
            said = b""
            while True:
                try:
                    said += os.read(main, 1 << 16)
                except OSError:  # So a terminal ends.
                    break
            self.assertEqual(process.wait(30), status)
            return said.decode()
        finally:
            os.close(main)

    def test_errors_and_docstrings_steer_nothing(self) -> None:
        controller = self.places().root / "steers.py"
        controller.write_text(
            "class Controller:\n"
            "    def f(self):\n"
            "        'A\\x1b]0;title\\x07 \\u202e doc'\n"
            "        raise ValueError('A\\x1b]0;title\\x07 \\u202e error')\n"
        )
        served = self.start(controller)
        socket = ("--socket", str(served.path))
        for command, arguments, status in [("call", ("f",), 1), ("methods", (), 0), ("methods", ("f",), 0)]:
            said = self.on_terminal(*socket, *arguments, command=command, status=status)
            self.assertIn("A^[]0;title^G \\u{202e} ", said)
            for steers in "\x1b\x07\u202e":
                self.assertNotIn(steers, said)

    def test_colours_and_no_control(self) -> None:
        self.connect().call("lines", ["\x1b]0;title\x07 \u202e"])
        self.daemon.wait_for_log("title")
        said = self.on_terminal("--method", "lines", "-n", "1")
        self.assertRegex(said, "\x1b\\[36mlines#\\d+:\x1b\\[0m ")
        self.assertIn("^[]0;title^G \\u{202e}", said)
        said = self.on_terminal("--method", "lines", "-n", "1", NO_COLOR="1")
        self.assertNotIn("\x1b", said)
