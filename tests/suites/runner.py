"""Runs suites one after another, and says how each went."""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Optional, Union

REPOSITORY = Path(__file__).resolve().parents[2]
LOGS = REPOSITORY / "target" / "tests"
#: A command of a suite's that takes longer than this hangs.
LONGEST_SECONDS = 20 * 60
#: How much of a failed suite's output is shown, in lines.
SHOWN = 400

Argument = Union[str, Path]


class Failed(Exception):
    """A suite failed; the message says why where its output does not."""


@dataclass(frozen=True)
class Suite:
    name: str
    about: str
    run: Callable[[Shell], None]


class Shell:
    """Runs the commands of one suite: their output goes to its log, their environment is nobody's in particular."""

    def __init__(self, suite: str, logs: Path) -> None:
        self.path = logs / f"{suite}.log"
        self.log = self.path.open("wb")
        self.mark = f"BASKD_TEST_RUN={uuid.uuid4()}"
        #: What stands in for the user's own folders, so that no test meets a daemon of theirs.
        self.home = Path(tempfile.mkdtemp(prefix="baskd-suite-"))
        self.notes: list[str] = []
        self.failures: list[str] = []

    def run(self, *command: Argument, cwd: Argument = REPOSITORY, env: Optional[Mapping[str, Argument]] = None) -> str:
        """Runs a command to its end and gives its output. Raises `Failed` if it does not exit with 0."""
        _announce(command, cwd, self.log)
        start = self.log.tell()
        try:
            self._execute(command, cwd, self._environment(self.home, env or {}), self.log)
        finally:
            self.log.seek(0, os.SEEK_END)
        return self.path.read_bytes()[start:].decode(errors="replace")

    def check(
        self, *command: Argument, cwd: Argument = REPOSITORY, env: Optional[Mapping[str, Argument]] = None
    ) -> None:
        """As `run`, but the suite goes on after a failure, to show all there are."""
        try:
            self.run(*command, cwd=cwd, env=env)
        except Failed as failure:
            self.failures.append(str(failure))

    def check_beside(
        self,
        commands: Iterable[Sequence[Argument]],
        cwd: Argument = REPOSITORY,
        env: Optional[Mapping[str, Argument]] = None,
    ) -> None:
        """As `check` of each, as many at a time as there are processors.

        Each has folders of its own, and its output goes to the suite's log in one piece, when it has ended.
        """

        def run(command: Sequence[Argument]) -> None:
            home = Path(tempfile.mkdtemp(dir=self.home))
            with tempfile.TemporaryFile() as log:
                _announce(command, cwd, log)
                try:
                    self._execute(command, cwd, self._environment(home, env or {}), log)
                except Failed as failure:
                    self.failures.append(str(failure))
                log.seek(0)
                with one_at_a_time:
                    self.log.write(log.read())
                    self.log.flush()

        one_at_a_time = threading.Lock()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(run, commands))

    def _execute(self, command: Sequence[Argument], cwd: Argument, env: dict[str, str], log: IO[bytes]) -> None:
        words = list(map(str, command))
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"{words[0]} can't be run: {error.strerror}") from None
        try:
            status = process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{words[0]} did not end within {LONGEST_SECONDS // 60} minutes") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status:
            raise Failed(f"`{' '.join(words)}` exited with {status}")

    def note(self, text: str) -> None:
        """Something for the suite's one line."""
        self.notes.append(text)

    def text(self) -> str:
        return self.path.read_bytes().decode(errors="replace")

    def close(self) -> None:
        """Ends what the suite has left running, which is a failure of its own."""
        try:
            left = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_marked(pid)]
            names = [f"{pid} ({_command(pid)})" for pid in left]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            if left:
                raise Failed("it left processes behind: " + ", ".join(names))
        finally:
            self.log.close()
            shutil.rmtree(self.home, ignore_errors=True)

    def _is_marked(self, pid: int) -> bool:
        try:
            return self.mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False  # It has ended, or is another user's.

    def _environment(self, home: Path, more: Mapping[str, Argument]) -> dict[str, str]:
        kept = ("BASKD_BIN", "BASKD_PYTHONS")
        env = {
            k: v
            for k, v in os.environ.items()
            if k in kept or not k.startswith(("BASKD_", "VIRTUAL_ENV", "PYTHONPATH"))
        }
        for name in ("RUNTIME_DIR", "STATE_HOME", "CONFIG_HOME"):
            folder = home / name.lower()
            folder.mkdir(mode=0o700, exist_ok=True)
            env[f"XDG_{name}"] = str(folder)
        name, _, value = self.mark.partition("=")
        env |= {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", name: value}
        return env | {key: str(value) for key, value in more.items()}


def _announce(command: Sequence[Argument], cwd: Argument, log: IO[bytes]) -> None:
    place = os.path.relpath(cwd, REPOSITORY)
    log.write(f"$ {'' if place == '.' else f'cd {place} && '}{' '.join(map(str, command))}\n".encode())
    log.flush()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


# How many tests a runner says it has run.
_COUNTS = (
    re.compile(r"^Ran (\d+) tests?", re.M),  # unittest
    re.compile(r"^(?:ℹ|#) tests (\d+)$", re.M),  # node
    re.compile(r"^ +Summary .*?(\d+) tests? run", re.M),  # nextest
    re.compile(r"^test result: ok\. (\d+) passed", re.M),  # cargo test
)


def count_tests(output: str) -> int:
    return sum(int(number) for pattern in _COUNTS for number in pattern.findall(output))


def main(suites: Sequence[Suite], about: Optional[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="tests/run",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="suites:\n" + _listed(suites),
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="by default all of them")
    parser.add_argument("--list", action="store_true", help="list the suites, and run none")
    options = parser.parse_args()
    if options.list:
        print(_listed(suites))
        return 0
    unknown = [name for name in options.suites if name not in {suite.name for suite in suites}]
    if unknown:
        print(f"tests/run: there is no suite {', '.join(unknown)}; there are:\n{_listed(suites)}", file=sys.stderr)
        return 2
    # So that what is running is ended, too, and what it has made is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logs = _own_logs()
    chosen = [suite for suite in suites if not options.suites or suite.name in options.suites]
    failed = [suite.name for suite in chosen if not _run(suite, logs)]
    if not failed and logs != LOGS:
        shutil.rmtree(logs)
    if failed:
        print(f"\nfailed: {', '.join(failed)} (their output: {os.path.relpath(logs)})")
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


def _own_logs() -> Path:
    """The folder for logs: `LOGS`, or, while another run writes there, one in it."""
    LOGS.mkdir(parents=True, exist_ok=True)
    # It stays open, and so locked, until this process ends.
    lock = os.open(LOGS / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return LOGS
    except BlockingIOError:
        own = LOGS / f"run-{os.getpid()}"
        own.mkdir(exist_ok=True)
        return own


def _listed(suites: Sequence[Suite]) -> str:
    return "\n".join(f"  {suite.name:<15} {suite.about}" for suite in suites)


def _run(suite: Suite, logs: Path) -> bool:
    started = time.monotonic()
    shell = Shell(suite.name, logs)
    why = None
    try:
        try:
            suite.run(shell)
        finally:
            shell.close()
        if shell.failures:
            raise Failed("; ".join(shell.failures))
    except Failed as failure:
        why = str(failure)
    output = shell.text()
    tests = count_tests(output)
    notes = [f"{tests} tests"] if tests else []
    seconds = time.monotonic() - started
    print(
        f"{suite.name:<15} {'FAILED' if why else 'ok':<7}{seconds:6.1f} s  {', '.join(notes + shell.notes)}".rstrip(),
        flush=True,
    )
    if why:
        lines = output.splitlines()
        if len(lines) > SHOWN:
            print(f"    … {len(lines) - SHOWN} lines before these are in {os.path.relpath(shell.path)}")
        for line in lines[-SHOWN:]:
            print("    " + line)
        print(f"  {suite.name}: {why}", flush=True)
    return why is None
