"""`baskd top` in a real terminal, tmux's: against a real daemon, with real keys."""

from __future__ import annotations

import os
import select
import shlex
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from support.case import DaemonTest
from support.daemon import Daemon, binary
from support.terminal import Terminal

CONTROLLER = """
import time

class Controller:
    def work(self, seconds: float):
        print("working \\x1b[31mhard\\x1b[0m \\x1b]2;stolen\\x07on it")
        time.sleep(seconds)

    def fail(self):
        raise ValueError("no such luck")
"""


class Top(DaemonTest):
    own_daemon = True

    def setUp(self) -> None:
        self.at = self.places()
        self.served = self.at.root / "controller.py"
        self.served.write_text(CONTROLLER)

    def serve(self) -> Daemon:
        return self.start(self.served, places=self.at)

    def terminal(self, width: int = 80, height: int = 24, **environment: str) -> Terminal:
        terminal = Terminal(self.at.root, self.at.environment(PS1="$ ", **environment), width, height)
        self.addCleanup(terminal.close)
        return terminal

    def open(self, *flags: str, **options: Any) -> Terminal:
        """Notes how the terminal is, and has `baskd top` take it."""
        terminal = self.terminal(**options)
        terminal.type(f"stty -a > before; clear; {shlex.quote(binary())} top {' '.join(flags)}; echo status=$?")
        self.at_work(terminal)
        return terminal

    def at_work(self, terminal: Terminal) -> None:
        terminal.wait_for("● ready", "RESTARTS, ERRORS", "q quit")
        self.assertEqual((terminal.tell("alternate_on"), terminal.tell("cursor_flag")), ("1", "0"))

    def assert_given_back(self, terminal: Terminal, status: str = "status=0") -> None:
        screen = terminal.wait_for(status)
        self.assertEqual((terminal.tell("alternate_on"), terminal.tell("cursor_flag")), ("0", "1"), screen)
        self.assertNotIn("q quit", screen)
        terminal.type("stty -a > after; cmp before after && echo as it was")
        terminal.wait_for("as it was\n")

    def top(self, terminal: Terminal) -> int:
        """The process that draws there."""
        shell = terminal.tell("pane_pid")
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(children[0])


class Watching(Top):
    def test_a_call_is_seen_and_cancelled(self) -> None:
        daemon = self.serve()
        terminal = self.open()
        client = self.connect(daemon)
        request = client.request("work", {"seconds": 60})
        screen = terminal.wait_for("running", "work", "working hard on it")
        self.assertIn("no Python has died", screen)
        # What it printed has set no title and no colour.
        self.assertNotIn("stolen", screen)
        terminal.press("c")
        terminal.wait_for("select a call first")
        terminal.press("Down")
        terminal.wait_for("▶")
        terminal.press("c")
        self.assertError(client.answer(request)["error"], -32024, by="client")
        terminal.wait_for("cancelled call ", "no call is under way")
        self.assertIn("ValueError", client.error("fail")["message"])
        terminal.wait_for("last error: MethodError in fail: ValueError: no such luck")
        terminal.press("q")
        self.assert_given_back(terminal)

    def test_reload_and_restart_are_confirmed_and_their_outcome_is_told(self) -> None:
        daemon = self.serve()
        first = daemon.python_pid()
        terminal = self.open("--interval", "100ms")
        terminal.press("r")
        terminal.wait_for("Load default's controller anew?")
        terminal.press("n")
        terminal.wait_for("no reload")
        self.assertEqual(daemon.python_pid(), first)
        terminal.press("r")
        terminal.press("y")
        terminal.wait_for("reloaded: the new version serves", "1 reloaded")
        second = daemon.python_pid()
        self.assertNotEqual(second, first)
        terminal.press("R")
        terminal.wait_for("Replace default's Python by a new one?")
        terminal.press("y")
        terminal.wait_for("restarted: the new Python is ready", "1 asked for")
        terminal.wait_for(str(daemon.python_pid()))
        self.assertNotEqual(daemon.python_pid(), second)
        self.served.write_text("this is no Python")
        terminal.press("r")
        terminal.press("y")
        terminal.wait_for("reload failed: ")
        self.assertEqual(daemon.status()["state"], "ready")
        daemon.kill_python()
        terminal.wait_for("was killed by SIGKILL", "1 crashed")

    def test_the_log_is_filtered_and_stands_still(self) -> None:
        daemon = self.serve()
        terminal = self.open()
        client = self.connect(daemon)
        client.call("work", {"seconds": 0})
        terminal.wait_for("working hard on it")
        terminal.press("/")
        terminal.type("nothing like it")
        terminal.wait_for("only with “nothing like it”", "no line has that")
        terminal.press("Escape")
        terminal.wait_for("working hard on it", without="only with")
        terminal.press("f")
        terminal.wait_for("standing still")
        client.call("work", {"seconds": 0})
        terminal.wait_for("1 newer line below")
        terminal.press("f")
        terminal.wait_for("following")
        terminal.press("Space")
        terminal.wait_for("frozen")
        terminal.press("?")
        terminal.wait_for("cancel the selected call", without="RATES a")
        terminal.press("?")
        terminal.wait_for("RATES a second")

    def test_a_daemon_that_goes_is_waited_for_and_none_is_started(self) -> None:
        self.at.config().parent.mkdir(parents=True)
        self.at.config().write_text(f'controller = "{self.served}"\n')
        daemon = self.serve()
        terminal = self.open("--interval", "100ms")
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.wait()
        screen = terminal.wait_for("no daemon", "Gone for ", "no daemon answers at")
        self.assertRegex(screen, r"Gone for \d")
        self.assertEqual(self.at.run("status").returncode, 3)
        terminal.press("r")
        terminal.wait_for("there is no daemon to ask")
        # As systemd does where it has the socket: a connection would start a daemon.
        self.as_systemd()
        with socket.socket(socket.AF_UNIX) as held:
            self.at.socket().unlink()
            held.bind(str(self.at.socket()))
            held.listen()
            held.setblocking(False)
            terminal.wait_for("no daemon runs; systemd holds its socket")
            self.assertRaises(BlockingIOError, held.accept)
        self.at.socket().unlink()
        daemon = self.serve()
        terminal.wait_for("ready", "connected again, to another daemon", f"process {daemon.pid}", without="no daemon")
        # The log is its own, too.
        self.connect(daemon).call("work", {"seconds": 0})
        terminal.wait_for("the connection was lost here", "working hard on it")
        os.kill(daemon.pid, signal.SIGSTOP)
        terminal.wait_for("no answer", "has not answered for")
        os.kill(daemon.pid, signal.SIGCONT)
        terminal.wait_for("ready", without="no answer")
        self.assertEqual(self.at.run("stop").returncode, 0)
        terminal.wait_for("no daemon")
        terminal.press("q")
        self.assert_given_back(terminal)


class Drawing(Top):
    def test_every_size_is_drawn_at_once(self) -> None:
        self.serve().python_pid()
        # Nothing but the change of size has it drawn anew.
        terminal = self.open("--interval", "1h", width=140, height=40)
        terminal.wait_for("p99     max")
        terminal.resize(80, 24)
        screen = terminal.wait_for("q quit", "LOG", without="p99     max")
        self.assertEqual(len([line for line in screen.splitlines() if "RATES a second" in line]), 1)
        terminal.resize(60, 10)
        terminal.wait_for("baskd top needs 80×24: this is 60×10", without="RATES")
        terminal.resize(1, 1)
        terminal.resize(160, 50)
        terminal.wait_for("p99     max", "q quit", "f follow")
        terminal.press("q")
        self.assert_given_back(terminal)

    def test_without_colour(self) -> None:
        self.serve()
        terminal = self.open()
        self.assertRegex(terminal.screen(escapes=True), r"\x1b\[[0-9;]*38;5;2m")
        terminal.press("q")
        terminal.wait_for("status=0")
        terminal.type(f"clear; NO_COLOR=1 {shlex.quote(binary())} top")
        self.at_work(terminal)
        self.assertNotRegex(terminal.screen(escapes=True), r"\x1b\[([0-9;]*;)?([34][0-8]|9[0-7]|10[0-7])[;m]")

    def test_what_is_no_terminal_is_told(self) -> None:
        self.serve()
        done = self.at.run("top", stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("`baskd status`", done.stderr)
        terminal = self.terminal()
        self.as_systemd()
        with socket.socket(socket.AF_UNIX) as held:
            held.bind(str(self.at.socket("held")))
            held.listen()
            held.setblocking(False)
            terminal.type(f"clear; {shlex.quote(binary())} top --name held; echo status=$?")
            terminal.wait_for("status=3", "no daemon runs at", "systemd h")
            self.assertRaises(BlockingIOError, held.accept)
        for command, status in (("top < /dev/null", 2), ("top > file", 2), ("top --name nobody", 3)):
            terminal.type(f"clear; {shlex.quote(binary())} {command}; echo status=$?")
            terminal.wait_for(f"status={status}", "baskd: ")
        terminal.type(f"clear; TERM=dumb {shlex.quote(binary())} top; echo status=$?")
        terminal.wait_for("status=2", "dumb")


class GivingBack(Top):
    """Whatever ends it, the terminal is what it was."""

    def test_keys(self) -> None:
        self.serve()
        terminal = self.open()
        terminal.press("C-c")
        self.assert_given_back(terminal)

    def test_signals(self) -> None:
        self.serve()
        terminal = self.open()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            os.kill(self.top(terminal), number)
            self.assert_given_back(terminal)
            terminal.type(f"clear; {shlex.quote(binary())} top; echo status=$?")
            self.at_work(terminal)

    def test_to_the_shell_and_back(self) -> None:
        self.serve()
        terminal = self.open()
        process = self.top(terminal)
        for _ in range(2):
            terminal.press("C-z")
            self.assert_given_back(terminal, "Stopped")
            terminal.type("clear; fg")
            self.at_work(terminal)
        # Stopped and continued behind its back, with a terminal that is another by then.
        os.kill(process, signal.SIGSTOP)
        terminal.wait_for("Stopped")
        # The Enter key is no newline there, where nobody made the terminal what a shell wants.
        terminal.type("stty sane; clear; fg", enter="C-j")
        self.at_work(terminal)
        terminal.press("q")
        self.until(lambda: terminal.tell("alternate_on") == "0")
        terminal.type("echo status=$?")
        self.assert_given_back(terminal)

    def test_a_terminal_that_goes_takes_it_along(self) -> None:
        self.serve()
        terminal = self.open()
        process = os.pidfd_open(self.top(terminal))
        self.addCleanup(os.close, process)
        terminal.close()
        self.assertTrue(select.select([process], [], [], 20)[0])
