"""What the tests under systemd call: calls that are counted, kept state, a busy Python, and a look at its own sandbox."""

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import baskd
from basecontroller import BaseController

# By number, since libc has no function for some of them; the same on x86-64 and in the common table where both are given.
CALLS = {"x86_64": {"ptrace": 101, "mount": 165, "bpf": 321, "perf_event_open": 298, "add_key": 248}}
CALLS["aarch64"] = {"ptrace": 117, "mount": 40, "bpf": 280, "perf_event_open": 241, "add_key": 217}
PTRACE_SEIZE = 0x4206
CLONE_NEWUSER = 0x10000000


class Controller(BaseController):
    def __init__(self):
        self.words = []

    def on_start(self):
        gate = os.environ.get("SERVICE_GATE")
        while gate and not os.path.exists(gate):
            time.sleep(0.005)

    def on_snapshot(self):
        return self.words

    def on_restore(self, state):
        self.words = state

    def on_stop(self):
        print("on_stop was called")

    def remember(self, word: str):
        self.words.append(word)
        return self.words

    def remembered(self):
        return self.words

    def echo(self, params):
        return params

    def add(self, a: int, b: int = 1):
        return a + b

    def mark(self, file: str, text: str):
        """One line in a file, in one write: it is there, or it is not."""
        with open(file, "ab", buffering=0) as marks:
            marks.write(f"{text}\n".encode())
        return text

    def wait_for(self, file: str, begun: str = ""):
        """Until that file is there. Says that it has begun, and makes the file `begun`."""
        self.send("begun")
        if begun:
            Path(begun).touch()
        while not os.path.exists(file):
            time.sleep(0.005)
        return "found"

    @baskd.concurrent
    def environment(self):
        return dict(os.environ)

    def limits(self):
        import resource

        return {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in ("NOFILE", "CORE")}

    def hold_the_gil(self, seconds: int):
        """In C, where no other thread runs and no signal is handled."""
        self.send("begun")
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ctypes.PyDLL(None).usleep(min(999_999, int(left * 1e6) + 1))
        return "done"

    def sleep(self, seconds: float):
        self.send("begun")
        time.sleep(seconds)
        return "done"

    def leave_children(self):
        """Two processes that would stay: one of the session's own, and one that has left it, and ignores SIGTERM."""
        sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        for new_session in (False, True):
            subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=new_session)

    def probe(self, files: list):
        """What may be done here; for what is refused, by which error."""
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
        return {
            "no_new_privs": status["NoNewPrivs"].strip(),
            "seccomp": status["Seccomp"].strip(),
            "uid_map": Path("/proc/self/uid_map").read_text().split(),
            "umask": status["Umask"].strip(),
            "devices": sorted(os.listdir("/dev")),
            "shared": sorted(os.listdir("/tmp")),
            "write": {file: tried(write, Path(file)) for file in files},
            "read_own_key": tried((Path.home() / ".ssh" / "id").read_bytes),
            "write_cgroup": tried(own_cgroup),
            "executable_memory": tried(executable_memory),
            "write_then_execute": tried(write_then_execute),
            "jit": tried(callback),
            "unshare": in_child(lambda: in_libc("unshare", CLONE_NEWUSER)),
            "mount": tried(system_call, "mount", b"none", b"/mnt", b"tmpfs", 0, 0),
            "ptrace": tried(trace_child),
            "perf_event_open": tried(system_call, "perf_event_open", 0, 0, -1, -1, 0),
            "bpf": tried(system_call, "bpf", 0, 0, 0),
            "add_key": tried(system_call, "add_key", b"user", b"baskd", b"x", 1, -2),
            "personality": tried(in_libc, "personality", 0x0040000),
            "set_group_bit": tried(set_group_bit),
            "setuid_program": setuid_program(),
            "sockets": {name: tried(open_socket, name) for name in ("AF_UNIX", "AF_INET", "AF_NETLINK", "AF_VSOCK")},
            "processes": processes(),
            "threads": tried(lambda: threading.Thread(target=int).start()),
        }


def tried(function, *arguments):
    try:
        function(*arguments)
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def in_libc(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def system_call(name, *arguments):
    in_libc("syscall", CALLS[os.uname().machine][name], *arguments)


def in_child(function):
    """In a process of its own, as what it does can't be undone."""
    pid = os.fork()
    if pid == 0:
        said = tried(function)
        os._exit(0 if said == "ok" else getattr(errno, said, 255))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "ok" if status == 0 else errno.errorcode.get(status, str(status))


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    path.unlink()


def own_cgroup():
    group = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    below = Path(f"/sys/fs/cgroup{group}/below")
    below.mkdir()
    below.rmdir()


def executable_memory():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def write_then_execute():
    """What a JIT that is careful does."""
    memory = mmap.mmap(-1, 4096)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    in_libc("mprotect", ctypes.c_void_p(start), 4096, mmap.PROT_READ | mmap.PROT_EXEC)


def callback():
    """A function that libffi makes at run time, called by C."""
    compared = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    numbers = (ctypes.c_int * 3)(3, 1, 2)
    ctypes.CDLL(None).qsort(numbers, 3, ctypes.sizeof(ctypes.c_int), compared(lambda a, b: a[0] - b[0]))
    assert list(numbers) == [1, 2, 3]


def trace_child():
    child = subprocess.Popen(["sleep", "60"])
    try:
        system_call("ptrace", PTRACE_SEIZE, child.pid, 0, 0)
    finally:
        child.kill()
        child.wait()


def set_group_bit():
    path = Path("/tmp/set-group-bit")
    path.touch()
    try:
        path.chmod(0o2755)
    finally:
        path.unlink()


def setuid_program():
    """The user that a setuid copy of `id` runs as, if there is one for this test."""
    program = Path("/run/setuid-id")
    return subprocess.run([program, "-u"], capture_output=True, text=True, check=True).stdout.strip()


def open_socket(name):
    socket.socket(getattr(socket, name), socket.SOCK_RAW if name == "AF_NETLINK" else socket.SOCK_STREAM).close()


def processes():
    """Two of multiprocessing's, which want semaphores in /dev/shm."""
    code = "import multiprocessing as m; print(m.get_context('spawn').Pool(2).map(abs, [-1, 2]))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.strip()
