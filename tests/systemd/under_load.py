"""Load on an instance, and what must hold of each call whatever was done to the daemon meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from typing import Any

from support.lines import whole_lines

from .instance import Instance, SystemdTest
from .machine import HOME


class Load:
    """The clients of `load.py`, from `with` to its end; then `calls` is what they were told, `marks` what has run."""

    def __init__(self, test: SystemdTest, instance: Instance) -> None:
        self.test = test
        self.instance = instance
        self.file = test.file("marks")
        self.enough = test.file("enough")
        self.calls: list[dict[str, Any]] = []
        self.marks: Counter[str] = Counter()

    def ran(self) -> Counter[str]:
        return Counter(whole_lines(self.test.machine.path(self.file)))

    def wait_for(self, calls: int) -> None:
        """Until so many more have run."""
        until = self.ran().total() + calls
        self.test.until(lambda: self.ran().total() >= until or self._process.poll() is not None)

    def __enter__(self) -> Load:
        machine = self.test.machine
        arguments = [self.instance.name, str(self.instance.path), str(self.file), str(self.enough)]
        command = machine.command(
            machine.python, str(HOME / "load.py"), *arguments, env={"PYTHONPATH": str(HOME / "client")}
        )
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.wait_for(50)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.wait_for(50)
        self.test.make(self.enough)
        out, errors = self._process.communicate(timeout=60)
        if kind is None:
            self.test.assertEqual((self._process.returncode, errors), (0, ""))
            self.calls, self.marks = json.loads(out), self.ran()

    def check(self, may_be_cut: bool = False) -> None:
        """What holds always: one answer a call, nothing run twice, nobody refused, and each told what is true.

        `may_be_cut`: calls under way may be lost with the daemon, and are told so.
        """
        test = self.test
        test.assertEqual({text: count for text, count in self.marks.items() if count > 1}, {}, "these have run twice")
        for call in self.calls:
            ran, error, data = self.marks[call["text"]], call.get("error"), call.get("data") or {}
            test.assertNotIn("refused", call)
            if "result" in call:
                test.assertEqual((call["result"], ran), (call["text"], 1))
            elif error in ("CallCancelled", -32024):
                # A daemon that stops says of what it did not begin that it did not run.
                test.assertEqual((data.get("by"), data.get("ran"), ran), ("shutdown", "no", 0), call)
            elif error == "Disconnected" and may_be_cut:
                test.assertLessEqual(ran, 1)
            else:
                test.fail(f"this should not have happened: {call}")
        texts = Counter(call["text"] for call in self.calls)
        test.assertEqual(set(texts.values()), {1})
        test.assertEqual(set(self.marks) - set(texts), set(), "these have run, and nobody was told of them")

    def slowest(self) -> float:
        """How long the call took that took longest, be it to wait for a daemon."""
        return max(float(call["seconds"]) for call in self.calls)

    def count(self, *errors: object) -> int:
        return sum(call.get("error") in errors for call in self.calls)
