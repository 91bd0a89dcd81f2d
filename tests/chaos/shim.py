"""The suite's end of shim.c, which is compiled when it is needed."""

from __future__ import annotations

import functools
import mmap
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from support.daemon import Places

SOURCE = Path(__file__).with_suffix(".c")
BEFORE, AFTER, HALF, FAIL = 1, 2, 3, 4
HOWS = {BEFORE: "before", AFTER: "after", HALF: "half way through", FAIL: "failing from"}
_NAMES, _NAME = 1024, 64
_SIZE = 16 + _NAMES * _NAME


class Missing(Exception):
    """There is no C compiler here, so nothing can be preloaded."""


@functools.cache
def library() -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("there is no `cc`, which building baskd needs as well: install gcc or clang")
    built = Path(tempfile.mkdtemp(prefix="baskd-chaos-")) / "shim.so"
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(built),
        str(SOURCE),
        "-ldl",
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"{SOURCE.name} can't be compiled:\n{made.stderr}")
    return built


def remove() -> None:
    """What was compiled, at the end of the run."""
    if library.cache_info().currsize:
        shutil.rmtree(library().parent, ignore_errors=True)
        library.cache_clear()


class Shim:
    """Counts a daemon's steps on its state, and chooses one at which something happens.

    `word` says which files count: "properties", "snapshot", or "*" for all, and for processes as well.
    """

    def __init__(self, places: Places, word: str, name: str = "default") -> None:
        self.path = places.root / f"shim-{word.strip('*') or 'all'}"
        self.path.write_bytes(bytes(_SIZE))
        with self.path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), _SIZE)
        self.env = {
            "LD_PRELOAD": str(library()),
            "CHAOS_SHIM": str(self.path),
            "CHAOS_SHIM_FOLDER": f"/baskd/{name}",
            "CHAOS_SHIM_WORD": word,
        }

    @property
    def count(self) -> int:
        return int(struct.unpack_from("<I", self._page, 0)[0])

    def arm(self, steps: int, how: int, error: int = 0) -> None:
        """At the step which comes after `steps - 1` others."""
        struct.pack_into("<II", self._page, 8, how, error)
        struct.pack_into("<I", self._page, 4, self.count + steps)

    def disarm(self) -> None:
        struct.pack_into("<I", self._page, 4, 0)

    def steps(self, since: int) -> list[str]:
        """What was done since there were so many."""
        return [self._name(number) for number in range(since + 1, self.count + 1)]

    def _name(self, number: int) -> str:
        at = 16 + number % _NAMES * _NAME
        return self._page[at : at + _NAME].split(b"\0", 1)[0].decode()

    def close(self) -> None:
        self._page.close()
