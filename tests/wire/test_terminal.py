"""The command line in a real terminal: tmux's."""

from __future__ import annotations

import json
import shlex

from support.case import DaemonTest
from support.daemon import binary
from support.terminal import Terminal

WORK = """
import os, time

class Controller:
    def work(self, gate: str):
        for done in range(1, 4):
            yield {"done": done, "total": 4}
        while not os.path.exists(gate):
            time.sleep(0.02)
        yield {"done": 4, "total": 4}
        return "finished"
"""


class Progress(DaemonTest):
    own_daemon = True

    def setUp(self) -> None:
        self.folder = self.places().root
        controller = self.folder / "controller.py"
        controller.write_text(WORK)
        self.served = self.start(controller)
        self.terminal = Terminal(self.folder, self.served.places.environment(PS1="$ "))
        self.addCleanup(self.terminal.close)
        self.gate = self.folder / "gate"
        self.call = f"{shlex.quote(binary())} call work gate={shlex.quote(str(self.gate))} --stream"

    def test_it_is_shown_while_it_lasts_and_never_among_the_results(self) -> None:
        results = self.folder / "results"
        self.terminal.type(f"clear; {self.call} > {shlex.quote(str(results))}; echo status=$?")
        self.terminal.wait_for("75%")
        self.gate.touch()
        screen = self.terminal.wait_for("status=0")
        self.assertNotIn("%", screen)
        lines = [json.loads(line) for line in results.read_text().splitlines()]
        self.assertEqual(lines, [*({"done": done, "total": 4} for done in range(1, 5)), "finished"])

    def test_results_on_the_same_screen_are_whole_lines(self) -> None:
        self.terminal.type(f"clear; {self.call}; echo status=$?")
        self.terminal.wait_for('{"done":3,"total":4}', "75%")
        self.gate.touch()
        screen = self.terminal.wait_for("status=0").splitlines()
        wanted = [*(f'{{"done":{done},"total":4}}' for done in range(1, 5)), '"finished"', "status=0"]
        self.assertEqual([line.rstrip() for line in screen if line.strip()][: len(wanted)], wanted)

    def test_ctrl_c_cancels_and_says_so(self) -> None:
        self.terminal.type(f"clear; {self.call} > /dev/null; echo status=$?")
        self.terminal.wait_for("75%")
        self.terminal.press("C-c")
        screen = self.terminal.wait_for("status=1")
        self.assertIn("cancelled", screen)
        status = self.connect(self.served).call("daemon.status")
        self.assertEqual(status["in_flight"], 0)


SLOW = """
import os, time

class Controller:
    def on_start(self):
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.02)

    def nothing(self):
        pass
"""


class Start(DaemonTest):
    own_daemon = True

    def setUp(self) -> None:
        self.at = self.places()
        self.gate = self.at.root / "gate"
        controller = self.at.root / "controller.py"
        controller.write_text(SLOW)
        environment = self.at.environment(PS1="$ ", GATE=str(self.gate))
        self.terminal = Terminal(self.at.root, environment)
        self.addCleanup(self.at.run, "stop")
        self.start_it = f"{shlex.quote(binary())} start {shlex.quote(str(controller))}"

    def test_what_was_started_outlives_its_terminal(self) -> None:
        self.terminal.type(f"clear; {self.start_it}; echo status=$?")
        self.terminal.wait_for("status=0")
        # What is typed there is not for it, and the terminal's end is not its own.
        self.terminal.press("C-c")
        self.terminal.close()
        self.gate.touch()
        done = self.at.run("methods")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_reload_says_that_it_lasts(self) -> None:
        self.gate.touch()
        self.terminal.type(f"clear; {self.start_it}; {shlex.quote(binary())} methods; rm $GATE; echo status=$?")
        self.terminal.wait_for("status=0")
        self.terminal.type(f"clear; {shlex.quote(binary())} reload; echo status=$?")
        self.terminal.wait_for("reloading, ")
        self.gate.touch()
        screen = self.terminal.wait_for("status=0")
        self.assertIn("default: the new Python (process ", screen)
        self.assertNotIn("reloading", screen)
        self.terminal.close()
