"""A router in a process of its own, with a test in the daemon's place."""

from __future__ import annotations

import json
import mmap
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, Optional

PYTHON = Path(__file__).resolve().parent.parent
INDEX = PYTHON / "index.py"
FIXTURES = PYTHON.parent / "tests" / "controllers"
SLOTS = 32768
PAGE = 16 * SLOTS + 4096
PATIENCE = 20.0
TAG = re.compile("\x1b_baskd;([0-9]{1,20});([^\x1b;]{1,256})\x1b\\\\")


class Spawned:
    """A router that has been told hello. Use it with `with`: at its end, nothing may be left unread."""

    def __init__(
        self,
        controller: Any = None,
        *,
        window: Optional[list[int]] = None,
        properties: Optional[dict[str, Any]] = None,
        ready: bool = True,
        cls: str = "Controller",
        cwd: Optional[str] = None,
        environment: Optional[dict[str, str]] = None,
    ) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="baskd-test-")
        self.allow_unread = False
        self._page_fd = os.memfd_create("page")
        os.ftruncate(self._page_fd, PAGE)
        self._map = mmap.mmap(self._page_fd, PAGE)
        words = memoryview(self._map).cast("Q")
        self.begun, self._cancelled, self._marks = words[:SLOTS], words[SLOTS : 2 * SLOTS], words[2 * SLOTS :]
        stdin_read, self._stdin = os.pipe()
        self._stdout, stdout_write = os.pipe()
        log_read, log_write = os.pipe()
        err_read, err_write = os.pipe()
        given = [stdin_read, stdout_write, self._page_fd]
        self.process = subprocess.Popen(
            [sys.executable, str(INDEX)],
            stdin=subprocess.DEVNULL,
            stdout=log_write,
            stderr=err_write,
            pass_fds=given,
            env={**os.environ, "BASKD_FDS": ",".join(map(str, given)), **(environment or {})},
            start_new_session=True,
            cwd=cwd,
        )
        for descriptor in (stdin_read, stdout_write, log_write, err_write):
            os.close(descriptor)
        self.printed, self.complained = _Log(log_read), _Log(err_read)
        self._number = 0
        self._chunks: list[bytes] = []
        self._lines: list[bytes] = []
        if isinstance(controller, str) and "\n" in controller:
            controller = self.write("controller.py", controller)
        described = controller
        if isinstance(controller, (str, Path)):
            described = {"file": str(controller), "class": cls}
        self.line(
            {
                "hello": {
                    "protocol": 1,
                    "version": "0.1.0",
                    "controller": described,
                    "properties": properties or {},
                    "window": window or [1000, 1 << 20],
                }
            }
        )
        if ready:
            first = self.read()
            if "ready" not in first:
                self.close()
                raise AssertionError(f"not ready: {first}")
            self.ready = first["ready"]

    def write(self, name: str, text: str) -> str:
        """A file in the router's own folder, which goes when it ends."""
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(text))
        return path

    # To the router

    def raw(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._stdin, view) :]

    def line(self, message: Any) -> None:
        self.raw(json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")

    def call(
        self,
        method: str,
        params: Any = None,
        window: Optional[list[int]] = None,
        trace: Optional[list[str]] = None,
    ) -> int:
        """Sends a call; gives its id."""
        ident = self.ident()
        message: dict[str, Any] = {"id": ident, "method": method}
        if params is not None:
            message["params"] = params
        if window is not None:
            message["window"] = window
        if trace is not None:
            message["trace"] = trace
        self.line(message)
        return ident

    def ident(self) -> int:
        self._number += 1
        return self._number << 15 | (self._number & 0x7FFF)

    def cancel(self, ident: int, by_signal: bool = True) -> None:
        self._cancelled[ident & 0x7FFF] = ident
        self._marks[0] += 1
        self.line({"cancel": ident})
        if by_signal:
            os.kill(self.process.pid, signal.SIGURG)

    def more(self, ident: int, items: int, size: int = 1 << 20) -> None:
        self.line({"more": [ident, items, size]})

    def end_input(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    # From the router

    def read_line(self, patience: float = PATIENCE) -> bytes:
        """The next line; b"" at the end."""
        until = time.monotonic() + patience
        while not self._lines:
            if not select.select([self._stdout], [], [], max(0, until - time.monotonic()))[0]:
                raise AssertionError(f"nothing came in {patience} s; stderr: {self.complained.text!r}")
            data = os.read(self._stdout, 1 << 20)
            if not data:
                return b""
            self._chunks.append(data)
            if b"\n" in data:  # else a long line would be copied again with each of its pieces
                *lines, rest = b"".join(self._chunks).split(b"\n")
                self._lines += lines
                self._chunks = [rest]
        return self._lines.pop(0)

    def read(self, patience: float = PATIENCE) -> dict[str, Any]:
        """The next message; a partial result has a member "data"."""
        line = self.read_line(patience)
        if not line:
            raise AssertionError(f"the router ended; stderr: {self.complained.wait()!r}")
        message: dict[str, Any] = json.loads(line[len(b"__STREAM__") :] if line.startswith(b"__STREAM__") else line)
        return message

    def answer(self, ident: int) -> dict[str, Any]:
        """The answer of that call, which is the next message but for `begun`."""
        message = self.read()
        while "begun" in message:
            message = self.read()
        assert message["id"] == ident and "data" not in message, message
        return message

    def result(self, method: str, params: Any = None) -> Any:
        """Calls and waits for the result; items of other calls must not come before it."""
        message = self.answer(self.call(method, params))
        assert "result" in message, message
        return message["result"]

    def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """Calls and waits for the error object."""
        message = self.answer(self.call(method, params))
        assert "error" in message, message
        error: dict[str, Any] = message["error"]
        return error

    def items(self, ident: int) -> tuple[list[Any], dict[str, Any]]:
        """The items of a call, and its answer."""
        items: list[Any] = []
        while True:
            message = self.read()
            if "begun" in message:
                continue
            assert message["id"] == ident, message
            if "data" not in message:
                return items, message
            items.append(message["data"])

    def items_within(self, ident: int, count: int) -> list[Any]:
        """The next `count` items of a call that goes on."""
        items: list[Any] = []
        while len(items) < count:
            message = self.read()
            if "begun" not in message:
                assert message["id"] == ident and "data" in message, message
                items.append(message["data"])
        return items

    def result_among(self, method: str, idents: list[int], result: Any) -> None:
        """Calls a method, after which those calls end, too, in any order, all with that result."""
        waited = {self.call(method), *idents}
        while waited:
            message = self.read()
            if "begun" not in message:
                assert message.get("result") == result, message
                waited.remove(message["id"])

    def has_more(self) -> bool:
        """Whether something has come."""
        return bool(self._lines or select.select([self._stdout], [], [], 0)[0])

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing comes for so long. For what must not come; never to give something time."""
        return not self._lines and not select.select([self._stdout], [], [], seconds)[0]

    # Its end

    def wait(self) -> int:
        """Its exit status, after its input has ended."""
        self.end_input()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.end_input()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"the router did not end; stderr: {self.complained.text!r}") from None
        finally:
            os.set_blocking(self._stdout, False)
            try:
                rest = os.read(self._stdout, 1 << 20)
            except BlockingIOError:
                rest = b""
            os.close(self._stdout)
            os.close(self._page_fd)
            self.printed.close()
            self.complained.close()
            self.folder.cleanup()
        unread = b"".join(self._lines) + b"".join(self._chunks) + rest
        if unread and not self.allow_unread:
            raise AssertionError(f"unread: {unread[:1000]!r}")

    def __enter__(self) -> Spawned:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            self.allow_unread = True
        self.close()


class _Log:
    """What comes out of a pipe, read as it comes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._data = b""
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:
                data = b""
            with self._changed:
                self._data += data
                self._ended = not data
                self._changed.notify_all()
            if not data:
                return

    @property
    def text(self) -> str:
        return self._data.decode(errors="replace")

    @property
    def untagged(self) -> str:
        """Without what tells which call has printed it."""
        return TAG.sub("", self.text)

    def expect(self, text: str) -> None:
        """Waits until `text` has come, with its tags or without them."""

        def has_come() -> bool:
            return text in self.text or text in self.untagged

        with self._changed:
            self._changed.wait_for(lambda: has_come() or self._ended, PATIENCE)
        assert has_come(), f"{text!r} did not come, but {self.text!r}"

    def wait(self) -> str:
        """All of it, when it has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, PATIENCE)
        return self.text

    def close(self) -> None:
        self._thread.join(1)
        if not self._thread.is_alive():
            os.close(self._descriptor)


def alone(lines: str, *arguments: str, cwd: Optional[str] = None) -> subprocess.CompletedProcess[str]:
    """Runs the router by itself, as a person would, with `lines` on its stdin."""
    return subprocess.run(
        [sys.executable, str(INDEX), *arguments],
        input=lines,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=cwd,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("BASKD_")},
    )


def begun(router: Spawned, ident: int) -> None:
    """Waits until the call's user code has begun, as the shared page says."""
    until = time.monotonic() + 10
    while router.begun[ident & 0x7FFF] != ident:
        assert time.monotonic() < until, "it never began"
        time.sleep(0.001)
