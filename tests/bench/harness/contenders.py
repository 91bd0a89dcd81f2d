"""Those that are measured: how each is started, and how each is asked to do a workload."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from suites.runner import REPOSITORY

from .install import NODE_PEERS, PEERS, Installed
from .processes import PATIENCE, Failed, connect, environment, free_port, running

Metrics = dict[str, Any]
Command = list[Union[str, Path]]
#: Does a workload of that name, and gives what the driver measured.
Measure = Callable[[str], Metrics]

CALLS = ("sequential", "inflight", "clients")
ALL = (*CALLS, "stream", "echo", "ticks")
CONTROLLER = PEERS / "controller.py"
#: A driver that takes longer than this hangs.
LONGEST = 120


@dataclass(frozen=True)
class Scale:
    """How long, and how much."""

    seconds: float
    warm_up: float
    items: int
    ticks: int


@dataclass
class Bench:
    """What a contender is given."""

    installed: Installed
    scale: Scale
    folder: Path

    def env(self, **more: str) -> dict[str, str]:
        return environment(self.folder, **more)

    def drive(self, *words: str | Path) -> Metrics:
        """Runs the load driver."""
        return output_of([self.installed.driver, *words], self.env())

    def load(self, workload: str, to: str, *more: str) -> Metrics:
        scale = self.scale
        words = [workload, "--to", to, "--seconds", str(scale.seconds), "--warm-up", str(scale.warm_up)]
        size = {"stream": scale.items, "ticks": scale.ticks}.get(workload)
        if size is not None:
            words += ["--size", str(size)]
        return self.drive("load", *words, *more)


def output_of(command: Sequence[str | Path], env: dict[str, str]) -> Metrics:
    words = list(map(str, command))
    try:
        done = subprocess.run(
            words, env=env, capture_output=True, text=True, timeout=LONGEST, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{Path(words[0]).name} did not end within {LONGEST} s") from None
    if done.returncode:
        raise Failed(" / ".join(done.stderr.strip().splitlines()[:6]) or f"exit status {done.returncode}")
    metrics: Metrics = json.loads(done.stdout.strip().splitlines()[-1])
    return metrics


@dataclass(frozen=True)
class Contender:
    name: str
    about: str
    codecs: tuple[str, ...]
    workloads: tuple[str, ...]
    start: Callable[[Bench, str], contextlib.AbstractContextManager[Measure]]
    needs_node: bool = False
    needs_peers: bool = False


@contextlib.contextmanager
def direct(bench: Bench, codec: str) -> Iterator[Measure]:
    python = bench.installed.pythons[codec]
    to: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for way in ("once", "epoll"):
            name = f"direct-{codec}-{way}"
            path = bench.folder / f"{name}.sock"
            process = stack.enter_context(running(name, [python, PEERS / "direct.py", codec, way, path], bench.env()))
            to[way] = f"unix:{path}"
            connect(to[way], name, process).close()
        yield lambda workload: bench.load(workload, to["epoll" if workload == "clients" else "once"])


@contextlib.contextmanager
def relay(bench: Bench, codec: str) -> Iterator[Measure]:
    python = bench.installed.pythons[codec]
    name = f"relay-{codec}"
    path = bench.folder / f"{name}.sock"
    command: Command = [
        bench.installed.driver,
        "relay",
        "--listen",
        path,
        "--",
        python,
        PEERS / "direct.py",
        codec,
        "pipe",
    ]
    with running(name, command, bench.env()) as process:
        connect(f"unix:{path}", name, process).close()
        yield lambda workload: bench.load(workload, f"unix:{path}")


@contextlib.contextmanager
def serving(bench: Bench, codec: str, name: str, *flags: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A daemon that has answered; where it listens."""
    path = bench.folder / "run" / f"{name}.sock"
    with running(name, baskd_command(bench, codec, path, *flags), bench.env()) as process:
        with connect(f"unix:{path}", name, process) as connection:
            ask_once(connection, name)
        yield f"unix:{path}", process


def baskd_command(bench: Bench, codec: str, path: Path, *flags: str) -> Command:
    python = bench.installed.pythons[codec]
    return [bench.installed.baskd, "serve", CONTROLLER, "--python", python, "--socket", path, *flags]


def ask_once(connection: Any, name: str) -> None:
    connection.settimeout(60)
    connection.sendall(b'{"jsonrpc":"2.0","id":1,"method":"increment","params":{"by":1}}\n')
    answer = connection.recv(65536)
    if b'"result":' not in answer:
        raise Failed(f"{name} answered {answer.decode(errors='replace')}")


@contextlib.contextmanager
def baskd(bench: Bench, codec: str) -> Iterator[Measure]:
    with serving(bench, codec, f"baskd-{codec}") as (to, _):
        yield lambda workload: bench.load(workload, to)


@contextlib.contextmanager
def node(bench: Bench, codec: str) -> Iterator[Measure]:
    with serving(bench, codec, f"node-{codec}") as (to, _):
        yield lambda workload: drive_node(bench, codec, "baskd", workload, socket=to.removeprefix("unix:"))


@contextlib.contextmanager
def python_shell(bench: Bench, codec: str) -> Iterator[Measure]:
    yield lambda workload: drive_node(bench, codec, "python-shell", workload)


@contextlib.contextmanager
def pythonia(bench: Bench, codec: str) -> Iterator[Measure]:
    yield lambda workload: drive_node(bench, codec, "pythonia", workload)


def drive_node(bench: Bench, codec: str, way: str, workload: str, **more: str) -> Metrics:
    scale = bench.scale
    python = bench.installed.pythons[codec]
    wanted = {
        "way": way,
        "workload": workload,
        "seconds": scale.seconds,
        # V8 takes its time to compile what is used often.
        "warmUp": max(scale.warm_up, 0.3),
        # pythonia takes a call for each item, and would be at it for minutes.
        "items": scale.items // 50 if way == "pythonia" else scale.items,
        "python": str(python),
        "peers": str(PEERS),
        **more,
    }
    assert bench.installed.node
    env = bench.env(PYTHONPATH=f"{PEERS}:{REPOSITORY / 'python'}", PYTHON_BIN=str(python))
    return output_of([bench.installed.node, NODE_PEERS / "driver.mjs", json.dumps(wanted)], env)


@contextlib.contextmanager
def fastapi(bench: Bench, codec: str) -> Iterator[Measure]:
    to = f"unix:{bench.folder / 'fastapi.sock'}"
    assert bench.installed.peers
    command: Command = [bench.installed.peers, PEERS / "fastapi_server.py", to.removeprefix("unix:")]
    with running("fastapi", command, peers_env(bench)) as process:
        ask_http(to, "fastapi", process, "/increment")
        yield lambda workload: http_load(
            bench, workload, to, {"pipelined": ("inflight", "/increment"), "64 connections": ("clients", "/increment")}
        )


@contextlib.contextmanager
def mosec(bench: Bench, codec: str) -> Iterator[Measure]:
    port = free_port()
    to = f"tcp:127.0.0.1:{port}"
    assert bench.installed.peers
    command: Command = [bench.installed.peers, PEERS / "mosec_server.py", "--address", "127.0.0.1", "--port", str(port)]
    command += ["--log-level", "error", "--path", bench.folder / "mosec"]
    with running("mosec", command, peers_env(bench)) as process:
        for path in ("/increment", "/batched"):
            ask_http(to, "mosec", process, path)
        yield lambda workload: http_load(
            bench, workload, to, {"64 connections": ("clients", "/increment"), "batched": ("clients", "/batched")}
        )


def ask_http(to: str, name: str, process: subprocess.Popen[bytes], path: str) -> None:
    """Waits for its first good answer."""
    call = f"POST {path} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
    deadline = time.monotonic() + PATIENCE
    while True:
        with connect(to, name, process) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(call.encode() + b'{"by":1}')
            answer = connection.recv(65536)
        if answer.startswith(b"HTTP/1.1 200") and b'"counter":' in answer:
            return
        if time.monotonic() > deadline:
            raise Failed(f"{name} answered {answer.decode(errors='replace')[:200]}")
        time.sleep(0.05)


def http_load(bench: Bench, workload: str, to: str, ways: dict[str, tuple[str, str]]) -> Metrics:
    """With 64 calls in flight, the best of the ways in which that server may be asked."""
    if workload != "inflight":
        return bench.load(workload, to, "--dialect", "http", "--method", "/increment")
    tried = {
        way: bench.load(kind, to, "--size", "64", "--dialect", "http", "--method", path)
        for way, (kind, path) in ways.items()
    }
    best = max(tried, key=lambda way: float(tried[way]["per_second"]))
    return {**tried[best], "way": best}


@contextlib.contextmanager
def grpcio(bench: Bench, codec: str, way: str) -> Iterator[Measure]:
    name = f"grpcio-{way}"
    path = bench.folder / f"{name}.sock"
    assert bench.installed.peers
    with running(name, [bench.installed.peers, PEERS / "grpc_server.py", way, path], peers_env(bench)) as process:
        connect(f"unix:{path}", name, process).close()
        yield lambda workload: bench.load(workload, f"unix:{path}", "--dialect", "grpc")


@contextlib.contextmanager
def grpcio_async(bench: Bench, codec: str) -> Iterator[Measure]:
    with grpcio(bench, codec, "async") as measure:
        yield measure


@contextlib.contextmanager
def grpcio_threads(bench: Bench, codec: str) -> Iterator[Measure]:
    with grpcio(bench, codec, "threads") as measure:
        yield measure


def peers_env(bench: Bench) -> dict[str, str]:
    return bench.env(PYTHONPATH=f"{PEERS}:{REPOSITORY / 'python'}")


BOTH = ("json", "msgspec")
FROM_NODE = ("sequential", "inflight", "stream")

CONTENDERS = (
    Contender(
        "direct", "the Controller in the tightest Python loop on a socket", BOTH, (*CALLS, "stream", "echo"), direct
    ),
    Contender("relay", "the same behind a process that only carries lines", BOTH, (*CALLS, "stream", "echo"), relay),
    Contender("baskd", "the daemon", BOTH, ALL, baskd),
    Contender("node", "the daemon, from its Node client", BOTH, FROM_NODE, node, needs_node=True),
    Contender("python-shell", "the seed's way, from Node", ("json",), FROM_NODE, python_shell, needs_node=True),
    Contender("pythonia", "pythonia, from Node", ("json",), FROM_NODE, pythonia, needs_node=True),
    Contender(
        "fastapi", "FastAPI, uvicorn, uvloop, httptools; Unix socket", ("json",), CALLS, fastapi, needs_peers=True
    ),
    Contender("grpcio-async", "grpc.aio; Unix socket", ("json",), CALLS, grpcio_async, needs_peers=True),
    Contender(
        "grpcio-threads", "grpc's threaded server; Unix socket", ("json",), CALLS, grpcio_threads, needs_peers=True
    ),
    Contender("mosec", "mosec; loopback TCP", ("json",), CALLS, mosec, needs_peers=True),
)
