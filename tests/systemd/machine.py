"""A machine with a real `systemd --user` on it, made of namespaces and a cgroup, wherever one is root.

systemd needs no D-Bus, no journal and no systemd as process 1 for this: `systemctl --user` talks to it over a socket of
its own, and what services print goes to a file each.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import IO, Optional, Union

from support.connection import Connection
from support.daemon import REPOSITORY, binary

from .init import USER

INIT = Path(__file__).with_name("init.py")
UNITS = REPOSITORY / "systemd"
HOME = Path("/home") / USER
PROGRAM = HOME / ".local" / "bin" / "baskd"
#: How long systemd may take to start; it takes about a second.
START_SECONDS = 30.0
CGROUP_PREFIX = "baskd-test-"

#: What all services of the machine have: a log, since there is no journal.
LOGGED = """[Service]
StandardOutput=append:%h/log/%n.log
StandardError=append:%h/log/%n.log
"""


class Machine:
    """Runs from the constructor to `close`. Raises SkipTest where no machine can be, and says why."""

    def __init__(self) -> None:
        self.uid = unused_uid()
        self.cgroup = fresh_cgroup()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (it lasts as long as the machine)
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._asking = threading.Lock()
        with its:
            # The cgroup that it is in before unshare is the machine's root.
            joined = ["sh", "-c", 'echo $$ > "$1" && shift && exec "$@"', "sh", str(self.cgroup / "cgroup.procs")]
            unshared = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--cgroup", "--ipc"]
            init = [sys.executable, str(INIT), str(its.fileno()), str(self.uid), str(HOME), "info"]
            self._process = subprocess.Popen(
                [*joined, *unshared, *init],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=self.log,
                pass_fds=[its.fileno()],
            )
        try:
            self._wait_for_systemd()
            self._furnish()
        except BaseException:
            self.close()
            raise

    def _wait_for_systemd(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ((init := self._init()) and Path(f"/proc/{init}/root{self.runtime}/systemd/private").exists()):
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                why = f"within {START_SECONDS} s" if ended is None else f"and ended with {ended}"
                raise AssertionError(f"systemd --user did not start {why}:\n{self.log_text()}")
            time.sleep(0.02)
        self.init = init

    def _init(self) -> Optional[int]:
        """Process 1 of the machine, by its number outside."""
        try:
            pid = self._process.pid
            return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        except (OSError, IndexError):
            return None

    def _furnish(self) -> None:
        """What a user has: the program, Python's files, the units where a package would put them."""
        self.write(HOME / ".config/systemd/user/service.d/50-log.conf", LOGGED)
        # Whoever looks for D-Bus finds none, rather than a socket that starts what is not there.
        self.path(HOME / ".config/systemd/user/dbus.socket").symlink_to("/dev/null")
        self.make_folder(HOME / "log")
        self.make_folder(PROGRAM.parent)
        shutil.copyfile(binary(), self.path(PROGRAM))
        self.path(PROGRAM).chmod(0o755)
        client = REPOSITORY / "clients" / "python" / "src"
        shutil.copytree(client, self.path(HOME / "client"), ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copyfile(Path(__file__).with_name("load.py"), self.path(HOME / "load.py"))
        for unit in UNITS.glob("baskd@.*"):
            self.write(self.units / unit.name, unit.read_text().replace("/usr/bin/baskd", str(PROGRAM)))
        self.python = self._python()
        self._own(HOME)
        self.systemctl("daemon-reload")

    def _python(self) -> str:
        """An interpreter that the user can run: root's own may be out of their reach."""
        candidates = [sys.executable, *(f"/usr/bin/python3.{minor}" for minor in range(13, 8, -1)), "/usr/bin/python3"]
        for candidate in candidates:
            if self.run(candidate, "-c", "", check=False).returncode == 0:
                return candidate
        raise AssertionError(f"none of {', '.join(candidates)} can be run by a plain user: install the package python3")

    # Files in it

    @property
    def runtime(self) -> Path:
        return Path(f"/run/user/{self.uid}")

    @property
    def units(self) -> Path:
        """Where a package's units may be, until the machine ends: what the user installs goes before it."""
        return self.runtime / "systemd" / "user"

    def path(self, inside: Union[str, Path]) -> Path:
        """A path inside, from outside."""
        return Path(f"/proc/{self.init}/root{inside}")

    def make_folder(self, inside: Path) -> None:
        folder = self.path(inside)
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir(mode=0o700)
            os.chown(folder, self.uid, self.uid)

    def write(self, inside: Path, text: str) -> None:
        """A file of the user's."""
        self.make_folder(inside.parent)
        self.path(inside).write_text(text)
        os.chown(self.path(inside), self.uid, self.uid)

    def _own(self, inside: Path) -> None:
        for folder, _, files in os.walk(self.path(inside)):
            for name in (".", *files):
                os.chown(os.path.join(folder, name), self.uid, self.uid, follow_symlinks=False)

    # Programs in it

    def run(
        self,
        *command: Union[str, Path],
        check: bool = True,
        seconds: float = 60,
        cwd: Path = HOME,
        env: Optional[dict[str, str]] = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program as the user."""
        done = subprocess.run(
            self.command(*command, cwd=cwd, env=env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            words = " ".join(map(str, command))
            raise AssertionError(f"`{words}` exited with {done.returncode}: {done.stderr or done.stdout}")
        return done

    def command(self, *command: Union[str, Path], cwd: Path = HOME, env: Optional[dict[str, str]] = None) -> list[str]:
        """The command line that runs a program as the user, from outside."""
        environment = {
            "HOME": str(HOME),
            "USER": USER,
            "LOGNAME": USER,
            "LANG": "C.UTF-8",
            "PATH": f"{PROGRAM.parent}:/usr/local/bin:/usr/bin:/bin",
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PYTHONDONTWRITEBYTECODE": "1",
            "SYSTEMD_PAGER": "",
        }
        environment |= {name: value for name, value in os.environ.items() if name == "BASKD_TEST_RUN"}
        environment |= env or {}
        enter = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--ipc", "--cgroup"]
        user = ["setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups", "--pdeathsig", "KILL"]
        pairs = [f"{name}={value}" for name, value in environment.items()]
        return [*enter, *user, "env", "-i", "-C", str(cwd), *pairs, *map(str, command)]

    def systemctl(self, *arguments: str, check: bool = True, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        return self.run("systemctl", "--user", *arguments, check=check, seconds=seconds)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        printed = self.systemctl("show", unit, "--property=" + ",".join(properties)).stdout
        return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)

    def connect(self, path: Path, seconds: float = 30.0) -> Connection:
        """A connection of the user's. Raises OSError as `connect(2)` does."""
        with self._asking:
            self._control.send(str(path).encode())
            answer, descriptors, _, _ = socket.recv_fds(self._control, 4096, 1)
        said = json.loads(answer)
        if "errno" in said:
            raise OSError(said["errno"], f"{os.strerror(said['errno'])}: {path}")
        return Connection(socket.socket(fileno=descriptors[0]), seconds)

    def processes_of(self, control_group: str) -> list[int]:
        """The processes of a unit's cgroup and of those below it, by their numbers outside."""
        inside = f"/proc/{self.init}/root/sys/fs/cgroup{control_group}"
        files = Path(inside).rglob("cgroup.procs")
        return [int(pid) for file in files for pid in file.read_text().split()]

    def log_text(self) -> str:
        """What systemd itself has said."""
        return tail_of(self.log)

    # The end

    def close(self) -> None:
        """Ends it and all that runs in it, and fails if anything of it is left."""
        self._control.close()
        self._process.send_signal(signal.SIGKILL)  # Which has the kernel kill process 1, and with it all others.
        self._process.wait(30)
        remove_cgroup(self.cgroup)
        self.log.close()


def tail_of(file: IO[bytes], size: int = 16384) -> str:
    end = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, max(0, end - size)).decode(errors="replace")


@functools.cache
def shared() -> Machine:
    """The one machine of all tests of a run."""
    skip_where_impossible()
    machine = Machine()
    atexit.register(machine.close)
    return machine


# Where it can be


@functools.cache
def skip_where_impossible() -> None:
    if os.geteuid() != 0:
        raise unittest.SkipTest("a machine with systemd on it is made by root only: run this as root")
    for program in ("unshare", "nsenter", "setpriv", "mount", "systemctl", "systemd-analyze"):
        if not shutil.which(program):
            raise unittest.SkipTest(f"{program} is missing: install the Debian packages systemd and util-linux")
    if not Path("/lib/systemd/systemd").exists():
        raise unittest.SkipTest("/lib/systemd/systemd is missing: install the Debian package systemd")
    flags = ["--pid", "--fork", "--mount", "--mount-proc", "--cgroup", "--ipc"]
    tried = subprocess.run(["unshare", *flags, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise unittest.SkipTest(f"namespaces can't be made here: {tried.stderr.strip()}")
    cgroup = fresh_cgroup()
    remove_cgroup(cgroup)


def fresh_cgroup() -> Path:
    """One of this process's own, below the cgroup2 mount; those that killed runs have left are removed."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            root = Path(place)
            break
    else:
        raise unittest.SkipTest("cgroup2 is mounted nowhere here: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    for left in root.glob(f"{CGROUP_PREFIX}*"):
        if not Path(f"/proc/{left.name[len(CGROUP_PREFIX) :].split('-')[0]}").exists():
            remove_cgroup(left)
    cgroup = root / f"{CGROUP_PREFIX}{os.getpid()}-{time.monotonic_ns()}"
    try:
        cgroup.mkdir()
        # As the one who moves a process there will.
        (cgroup / "cgroup.procs").open("w").close()
    except OSError as error:
        raise unittest.SkipTest(f"no cgroup can be made in {root}: {error.strerror}") from None
    return cgroup


def remove_cgroup(cgroup: Path, seconds: float = 10.0) -> None:
    """Removes it with all below, as soon as the last process in it is gone."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            for folder, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(folder)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                left = [file.read_text().split() for file in cgroup.rglob("cgroup.procs")]
                raise AssertionError(f"{cgroup} can't be removed: {error}; processes in it: {left}") from error
            time.sleep(0.01)


def unused_uid() -> int:
    """Of a user whom nobody is, and who has no processes."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            taken.add(process.stat().st_uid)
        except OSError:
            continue  # It has ended meanwhile.
    return next(uid for uid in range(61900, 61000, -1) if uid not in taken)
