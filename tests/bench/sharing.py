"""What sharing one warm Python saves: one process per call against one daemon.

    python3 tests/bench/sharing.py --python .venv

The controller is `python/examples/semantic_search`; `--python` has its requirements. Each round
asks every way once, so that a slow moment of the machine meets them all; the tables have medians.
Everything that is written goes to a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

ROOT = Path(__file__).resolve().parents[2]
CONTROLLER = ROOT / "python" / "examples" / "semantic_search" / "controller.py"
ROUTER = ROOT / "python" / "index.py"
NODE_CLIENT = ROOT / "clients" / "node"

PATIENCE = 120.0

SIMILARITY = {"a": "A daemon keeps Python warm.", "b": "The interpreter stays loaded."}
SEARCH = {"query": "where is the index written", "k": 3}
CALLS: dict[str, dict[str, Any]] = {"similarity": SIMILARITY, "search": SEARCH}


class Answer(NamedTuple):
    seconds: float
    items: list[Any]
    result: Any


class Way(Protocol):
    """One way to call a method; what it says of its time includes all that a caller waits for."""

    name: str

    def call(self, method: str, params: dict[str, Any]) -> Answer: ...


class ProcessPerCall:
    """`python3 python/index.py CONTROLLER`, as router.js runs it, without Node."""

    name = "a process per call: `python3 index.py`"

    def __init__(self, python: str) -> None:
        self._command = [python, str(ROUTER), str(CONTROLLER)]
        self.peaks: list[int] = []

    def call(self, method: str, params: dict[str, Any]) -> Answer:
        started = time.perf_counter()
        process = self.start()
        assert process.stdin and process.stdout
        # Not `communicate`: the rusage of this one child is wanted, and only wait4 has it.
        process.stdin.write(json.dumps({"method": method, "params": params}) + "\n")
        process.stdin.close()
        answer = read_answer(process.stdout)
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.peaks.append(usage.ru_maxrss * 1024)
        return answer._replace(seconds=time.perf_counter() - started)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )


def read_answer(lines: IO[str]) -> Answer:
    """The partial results and the result that a router by itself prints."""
    items = []
    for line in lines:
        if line.startswith("__STREAM__"):
            items.append(json.loads(line[len("__STREAM__") :]))
        else:
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"the controller answered {answer['error']}")
            return Answer(0, items, answer["result"])
    raise RuntimeError("the process ended without an answer; what it said is above")


class Socket:
    """A connection of one's own to the daemon, kept open: the least that a client can be."""

    name = "the daemon, over its socket (Python)"

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._id = 0

    def request(self, method: str, params: Any) -> Any:
        self._id += 1
        request = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while (message := self._read()).get("id") != self._id:
            pass
        return message["result"]

    def call(self, method: str, params: dict[str, Any]) -> Answer:
        started = time.perf_counter()
        stream = self.request("stream.call", {"method": method, "params": params})
        items = []
        while True:
            event = self._read().get("params", {})
            if event.get("subscription") != stream or "result" not in event:
                continue
            if "item" in event["result"]:
                items.append(event["result"]["item"])
            elif "end" in event["result"]:
                return Answer(time.perf_counter() - started, items, event["result"]["end"])
            else:
                raise RuntimeError(f"the daemon answered {event['result']}")

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise RuntimeError("the daemon closed the connection")
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise RuntimeError(f"the daemon answered {message['error']}")
        return message

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class CommandLine:
    """`baskd call`: a process per call too, but a small one."""

    name = "the daemon, by `baskd call`"

    def __init__(self, binary: str, path: Path) -> None:
        self._binary, self._socket = binary, path
        self.peaks: list[int] = []

    def call(self, method: str, params: dict[str, Any]) -> Answer:
        command = [self._binary, "call", method, json.dumps(params), "--stream"]
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--socket", str(self._socket)],
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        assert process.stdout
        values = [json.loads(line) for line in process.stdout]
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}")
        self.peaks.append(usage.ru_maxrss * 1024)
        # The last line is the return value, unless it is null, as that of a search is.
        result = values.pop() if method == "similarity" else None
        return Answer(seconds, values, result)


class Node:
    """A program in Node that runs already, and calls in either of its library's two ways."""

    # One process for both: they are measured inside, so that Node's own start is in neither.
    PROGRAM = """
    import { createInterface } from "node:readline";
    const [folder, controller, python, router] = process.argv.slice(-4);
    const { callOnce } = await import(`${folder}/router.js`);
    const { default: Bindings } = await import(`${folder}/python_bindings.js`);
    let bindings, items;
    for await (const line of createInterface({ input: process.stdin })) {
      const { way, method, params } = JSON.parse(line);
      items = [];
      const onMessage = (item) => items.push(item);
      let answer;
      try {
        if (way === "bindings" && !bindings) {
          bindings = new Bindings({}, {});
          bindings.onMessage((item) => items.push(item));
          await bindings.callMethod("stats");
        }
        const started = performance.now();
        const result = way === "bindings"
          ? await bindings.callMethod(method, params)
          : await callOnce(method, params, { controller, python, router, onMessage });
        answer = { seconds: (performance.now() - started) / 1000, items, result: result ?? null };
      } catch (error) {
        answer = { failed: String(error) };
      }
      console.log(JSON.stringify(answer));
    }
    await bindings?.end();
    """

    def __init__(self, python: str) -> None:
        places = [str(NODE_CLIENT), str(CONTROLLER), python, str(ROUTER)]
        self._process = subprocess.Popen(
            ["node", "--input-type=module", "-e", self.PROGRAM, "--", *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def way(self, way: str, name: str) -> Way:
        return NodeWay(self, way, name)

    def call(self, way: str, method: str, params: dict[str, Any]) -> Answer:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"way": way, "method": method, "params": params}))
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"failed": "Node ended; what it said is above"}
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return Answer(**answer)

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        finish(self._process)
        self._process.stdout.close()


class NodeWay:
    def __init__(self, node: Node, way: str, name: str) -> None:
        self._node, self._way, self.name = node, way, name

    def call(self, method: str, params: dict[str, Any]) -> Answer:
        return self._node.call(self._way, method, params)


def serve(binary: str, python: str, path: Path, log: Path) -> subprocess.Popen[bytes]:
    """A daemon that listens; its Python may still be starting."""
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [binary, "serve", str(CONTROLLER), "--python", python, "--socket", str(path)],
            stdout=output,
            stderr=output,
        )
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            Socket(path).close()
            return daemon
        except OSError:
            if daemon.poll() is not None or time.monotonic() > deadline:
                finish(daemon, signal.SIGTERM)
                raise RuntimeError(f"the daemon did not start: {log.read_text()}") from None
            time.sleep(0.002)


def finish(process: subprocess.Popen[Any], first: int | None = None) -> None:
    """Waits for the process, after that signal, and kills it if it does not end."""
    if first is not None and process.poll() is None:
        process.send_signal(first)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def peak(pid: int) -> int:
    """The most memory that the process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/status has no VmHWM")


def together(pids: list[int]) -> int:
    """The memory of these processes, in bytes, a file's pages that they share counted once.

    Not the sum of their Pss: that is less while somebody else has the same files mapped.
    """
    own = 0
    files: dict[tuple[str, ...], int] = {}
    for pid in pids:
        place: tuple[str, ...] = ()
        resident = 0
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            name, *values = line.split()
            if not name.endswith(":"):
                place = tuple(values[1:4])  # offset, device, inode
            elif name == "Rss:":
                resident = int(values[0]) * 1024
            elif name == "Anonymous:":
                anonymous = int(values[0]) * 1024
                own += anonymous
                files[place] = max(files.get(place, 0), resident - anonymous)
    return own + sum(files.values())


def processes_together(way: ProcessPerCall, count: int) -> int:
    """The memory of so many processes that have each answered one call and not yet ended."""
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(count):
            process = way.start()
            stack.callback(finish, process)
            assert process.stdin and process.stdout
            stack.callback(process.stdout.close)
            stack.callback(process.stdin.close)
            process.stdin.write(json.dumps({"method": "search", "params": SEARCH}) + "\n")
            process.stdin.flush()
            processes.append(process)
        for process in processes:
            assert process.stdout
            read_answer(process.stdout)
        return together([process.pid for process in processes])


def clients_together(path: Path, pids: list[int], count: int) -> int:
    """The memory of the daemon and its Python while so many clients are connected and call."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(Socket(path))) for _ in range(count)]
        for client in clients:
            client.call("search", SEARCH)
        return together(pids)


def check(answers: dict[str, dict[str, Answer]]) -> None:
    """All ways must have done the same work."""
    scores = {name: answer["similarity"].result for name, answer in answers.items()}
    if max(scores.values()) - min(scores.values()) > 1e-5:
        raise RuntimeError(f"the ways disagree on a similarity: {scores}")
    found = {name: answer["search"].items for name, answer in answers.items()}
    files = {json.dumps([(hit["file"], hit["line"]) for hit in hits]) for hits in found.values()}
    if len(files) > 1:
        raise RuntimeError(f"the ways disagree on what a search finds: {found}")


def measure(options: argparse.Namespace, base: Path) -> Iterator[str]:
    """The report's lines."""
    path = base / "run" / "baskd" / "bench.sock"
    path.parent.mkdir(mode=0o700, parents=True)
    os.environ.update(
        BASKD_SOCKET=str(path),
        XDG_RUNTIME_DIR=str(base / "run"),
        XDG_CACHE_HOME=str(base / "cache"),
        XDG_STATE_HOME=str(base / "state"),
        XDG_CONFIG_HOME=str(base / "config"),
    )
    os.chmod(base / "run", 0o700)
    alone = ProcessPerCall(options.python)
    # In a process of its own, so that no way's memory has the work of indexing in it.
    indexed = alone.call("index", {"folder": str(options.folder)}).result
    alone.peaks.clear()
    with contextlib.ExitStack() as stack:
        started = time.perf_counter()
        daemon = serve(options.bin, options.python, path, base / "daemon.log")
        stack.callback(finish, daemon, signal.SIGTERM)
        connection = stack.enter_context(contextlib.closing(Socket(path)))
        connection.call("similarity", SIMILARITY)
        until_answer = time.perf_counter() - started
        worker = connection.request("daemon.status", [])["workers"][0]["pid"]

        command_line = CommandLine(options.bin, path)
        ways: list[Way] = [alone, connection, command_line]
        if shutil.which("node") and (NODE_CLIENT / "router.js").exists():
            node = stack.enter_context(contextlib.closing(Node(options.python)))
            ways.insert(0, node.way("router", "a process per call: `router.js`"))
            ways.insert(3, node.way("bindings", "the daemon, from Node (`Bindings`)"))
        seconds: dict[str, dict[str, list[float]]] = {way.name: {method: [] for method in CALLS} for way in ways}
        for number in range(options.rounds + 1):
            answers: dict[str, dict[str, Answer]] = {}
            for way in ways:
                answers[way.name] = {m: way.call(m, params) for m, params in CALLS.items()}
                # The first round only brings files into the page cache, for all alike.
                for method, answer in answers[way.name].items() if number else ():
                    seconds[way.name][method].append(answer.seconds)
            check(answers)

        kept = peak(daemon.pid) + peak(worker)
        memory = {alone.name: mib(max(alone.peaks)), connection.name: mib(kept)}
        first = ways[0].name
        memory.setdefault(first, memory[alone.name])
        callers = sorted({1, options.callers, 2 * options.callers})
        shared = [clients_together(path, [daemon.pid, worker], count) for count in callers]
    separate = [processes_together(alone, count) for count in callers]

    yield f"Machine: {machine()}; Python {version(options.python)}."
    yield (
        f"Medians of {options.rounds} rounds, files in the page cache; the index has {indexed['passages']} passages."
    )
    yield ""
    yield "| a call by | `similarity`, ms | `search`, ms | peak memory, MiB |"
    yield "| --- | ---: | ---: | ---: |"
    for way in ways:
        similar, search = (f"{statistics.median(seconds[way.name][method]) * 1000:,.1f}" for method in CALLS)
        yield f"| {way.name} | {similar} | {search} | {memory.get(way.name, 'the same')} |"
    yield ""
    yield (
        "Peak memory is that of the one process, which is made anew for every call; and that of "
        "the daemon and its Python, which stay. "
        f"`baskd call` itself takes {mib(max(command_line.peaks))} MiB."
    )
    one, warm = (statistics.median(seconds[w.name]["search"]) for w in (ways[0], connection))
    yield (
        f"The daemon answers {until_answer:.2f} s after it is started: it has paid for itself with "
        f"the {ordinal(until_answer, one - warm)} call. "
        f"A hundred searches take {100 * one:.1f} s one by one, "
        f"{until_answer + 100 * warm:.1f} s with it."
    )
    yield ""
    yield "| callers at the same time | a process each, MiB | one daemon, MiB |"
    yield "| ---: | ---: | ---: |"
    for number, count in enumerate(callers):
        yield f"| {count} | {mib(separate[number])} | {mib(shared[number])} |"
    yield ""
    yield "Memory of all of them together, each having answered; pages that they share count once."


def ordinal(start: float, saved: float) -> str:
    """With which call a start of so many seconds is paid for, at so many saved by each."""
    if saved <= 0:
        return "(never)"
    number = int(start // saved) + 1
    return {1: "1st", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")


def mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def machine() -> str:
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    busy = os.getloadavg()[0]
    return f"{cores} cores of {names[0] if names else platform.machine()}, Linux {platform.release()}, load {busy:.1f}"


def version(python: str) -> str:
    command = [python, "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("BASKD_BIN") or ROOT / "target" / "release" / "baskd"
    parser.add_argument("--bin", default=str(default), help="the daemon's binary")
    parser.add_argument("--python", default=".venv", help="an interpreter or a venv")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is asked")
    parser.add_argument("--callers", type=int, default=3, help="how many at the same time")
    parser.add_argument("--folder", type=Path, default=CONTROLLER.parent, help="what is indexed and searched")
    options = parser.parse_args()
    venv = Path(options.python, "bin", "python")
    # Not resolved: a venv's python is a link, and knows its venv by the link's place.
    options.python = os.path.abspath(venv if venv.exists() else options.python)
    options.bin = os.path.abspath(options.bin)
    options.folder = options.folder.resolve()
    if options.rounds < 1 or options.callers < 1:
        parser.error("--rounds and --callers are at least 1")
    for needed, remedy in (
        (options.bin, "run `cargo build --release`, or give --bin"),
        (
            options.python,
            f"make a venv with {CONTROLLER.parent}/requirements.txt, or give --python",
        ),
    ):
        if not os.access(needed, os.X_OK):
            parser.error(f"there is no program {needed}: {remedy}")
    return options


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="baskd-sharing.") as base:
        for line in measure(options, Path(base)):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
