"""A `baskd` that starts nothing: it says what it was told, and ends when and how a test says."""

from __future__ import annotations

import os
import tempfile
import unittest
import unittest.mock

_SCRIPT = """#!/bin/sh
echo begun >> "{folder}/begun"
printf '%s\\n' "$@" > "{folder}/told"
cat "{folder}/says" >&2
exit "$(cat "{folder}/status")"
"""


class FakeBaskd:
    def __init__(self, test: unittest.TestCase) -> None:
        folder = tempfile.TemporaryDirectory(prefix="baskd-")
        test.addCleanup(folder.cleanup)
        self._folder = folder.name
        self.path = os.path.join(self._folder, "baskd")
        with open(self.path, "w") as file:
            file.write(_SCRIPT.format(folder=self._folder))
        os.chmod(self.path, 0o700)
        for name in ("told", "says"):
            os.mkfifo(self._file(name))
        patched = unittest.mock.patch.dict(os.environ, {"BASKD_BIN": self.path})
        patched.start()
        test.addCleanup(patched.stop)
        del os.environ["BASKD_START"]

    def told(self) -> list[str]:
        """What it was told; waits until it is run."""
        with open(self._file("told")) as file:
            return file.read().splitlines()

    def ends(self, status: int, says: str = "") -> None:
        with open(self._file("status"), "w") as file:
            file.write(str(status))
        with open(self._file("says"), "w") as file:
            file.write(says)

    @property
    def runs(self) -> int:
        try:
            with open(self._file("begun")) as file:
                return len(file.readlines())
        except FileNotFoundError:
            return 0

    def _file(self, name: str) -> str:
        return os.path.join(self._folder, name)
