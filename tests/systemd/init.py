"""Process 1 of a machine: makes it what systemd needs, starts `systemd --user` as a plain user, and ends with it.

A program of its own, run by `machine.py` through `unshare` as root, in namespaces of its own. Nothing that it mounts is
seen outside, and everything dies with it.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

USER = "baskd-test"


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    uid, home, log_level = int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    mount_all(uid, home)
    connector = os.fork()
    if connector == 0:
        become(uid)
        connect_for_others(control)
        os._exit(0)
    control.close()
    systemd = start_systemd(uid, home, log_level)
    while True:
        ended, status = os.wait()  # Orphans, too: that is what a process 1 does.
        if ended in (systemd, connector):  # The latter where whoever made this machine is gone.
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def mount_all(uid: int, home: Path) -> None:
    for place in ("/run", "/tmp", str(home.parent)):
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", place)
    Path("/tmp").chmod(0o1777)
    mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    # What logind and systemd as process 1 would have made.
    Path("/run/systemd/system").mkdir(parents=True)
    Path("/run/systemd/unit-root").mkdir(mode=0o700)
    runtime = Path(f"/run/user/{uid}")
    runtime.mkdir(mode=0o700, parents=True)
    home.mkdir(mode=0o700)
    slice = Path("/sys/fs/cgroup/user.slice")
    slice.mkdir()
    for path in (runtime, home, slice, *slice.glob("cgroup.*")):
        if path.name in ("cgroup.controllers", "cgroup.events", "cgroup.stat"):
            continue  # The kernel's.
        os.chown(path, uid, uid)
    # A user who has a name: ssh, git and Python's pwd ask for it.
    with_user("/etc/passwd", f"{USER}:x:{uid}:{uid}::{home}:/bin/sh")
    with_user("/etc/group", f"{USER}:x:{uid}:")


def with_user(file: str, line: str) -> None:
    copy = Path("/run") / Path(file).name
    copy.write_text(Path(file).read_text().rstrip("\n") + f"\n{line}\n")
    mount("--bind", str(copy), file)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def start_systemd(uid: int, home: Path, log_level: str) -> int:
    pid = os.fork()
    if pid == 0:
        Path("/sys/fs/cgroup/user.slice/cgroup.procs").write_text(str(os.getpid()))
        become(uid)
        os.chdir(home)
        environment = {
            "HOME": str(home),
            "USER": USER,
            "LOGNAME": USER,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": f"/run/user/{uid}",
            "SYSTEMD_LOG_TARGET": "console",
            "SYSTEMD_LOG_LEVEL": log_level,
        }
        # By which a run of the suites finds what it has left behind.
        environment |= {name: value for name, value in os.environ.items() if name == "BASKD_TEST_RUN"}
        os.execve("/lib/systemd/systemd", ["systemd", "--user"], environment)
    return pid


def become(uid: int) -> None:
    """A plain user, as after `setpriv --reuid --regid --clear-groups`."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def connect_for_others(control: socket.socket) -> None:
    """Makes connections for whoever is outside: who has connected to a socket is who asked the kernel for it, so root
    outside would be root, or nobody, to the daemon."""
    while path := control.recv(4096):
        connection = socket.socket(socket.AF_UNIX)
        # A full backlog is a refusal, not a wait.
        connection.setblocking(False)
        try:
            connection.connect(path.decode())
        except OSError as error:
            control.send(json.dumps({"errno": error.errno, "path": path.decode()}).encode())
        else:
            connection.setblocking(True)
            socket.send_fds(control, [b"{}"], [connection.fileno()])
        connection.close()


if __name__ == "__main__":
    assert USER not in [entry.pw_name for entry in pwd.getpwall()]
    main()
