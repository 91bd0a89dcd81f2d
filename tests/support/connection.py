"""A client that hides nothing: bytes out, lines in."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar, Union

Self = TypeVar("Self", bound="Connection")
Message = Any  # What a line held: an object, or a batch's array.


class RpcError(Exception):
    """An error that was answered."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']} {json.dumps(error.get('data'))[:2000]}")
        self.error = error
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: Any = error.get("data")


class Connection:
    """One connection. Every read is bounded by `seconds`, so that an answer that never comes is a failure."""

    def __init__(self, to: Union[str, Path, socket.socket], seconds: float = 30.0) -> None:
        """`to`: a socket's path, or one that somebody has connected."""
        self.seconds = seconds
        self.socket = to if isinstance(to, socket.socket) else socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        if not isinstance(to, socket.socket):
            try:
                connect_to(self.socket, str(to))
            except OSError:
                self.socket.close()
                raise
        self._received = bytearray()
        self._searched = 0
        self._next_id = 1
        #: What was read while something else was waited for.
        self.kept: list[Message] = []

    # Out

    def write(self, data: Union[bytes, str]) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def send(self, *messages: Message) -> None:
        """Messages, a line each, in one write."""
        self.write("".join(json.dumps(message) + "\n" for message in messages))

    def request(self, method: str, params: Any = None, id: Any = None) -> Any:
        """Sends a request, and gives its id."""
        if id is None:
            id, self._next_id = self._next_id, self._next_id + 1
        self.send(request(id, method, params))
        return id

    def notify(self, method: str, params: Any = None) -> None:
        message = request(None, method, params)
        del message["id"]
        self.send(message)

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    # In

    def read_line(self) -> bytes:
        """The next line, without its newline. Raises EOFError, and TimeoutError."""
        deadline = time.monotonic() + self.seconds
        while (end := self._received.find(b"\n", self._searched)) < 0:
            self._searched = len(self._received)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no line within {self.seconds} s; received so far: {bytes(self._received[:200])!r}")
            self.socket.settimeout(left)
            chunk = self.socket.recv(1 << 18)
            if not chunk:
                assert not self._received, f"the connection ended inside a line: {bytes(self._received)!r}"
                raise EOFError("the daemon closed the connection")
            self._received += chunk
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._searched = 0
        return line

    def read(self) -> Message:
        """The next message, in the order in which they came."""
        return self.kept.pop(0) if self.kept else json.loads(self.read_line())

    def read_until(self, wanted: Callable[[Message], bool]) -> Message:
        """The first message that is wanted; those before it are kept for later."""
        for place, message in enumerate(self.kept):
            if wanted(message):
                return self.kept.pop(place)
        while True:
            message = json.loads(self.read_line())
            if wanted(message):
                return message
            self.kept.append(message)

    def answer(self, id: Any) -> Message:
        """The whole answer to the request of that id."""
        return self.read_until(
            lambda message: isinstance(message, dict) and "method" not in message and message["id"] == id
        )

    def result(self, id: Any, may_fail: bool = False) -> Any:
        answer = self.answer(id)
        if "error" in answer and not may_fail:
            raise RpcError(answer["error"])
        return answer.get("result")

    def call(self, method: str, params: Any = None, may_fail: bool = False) -> Any:
        return self.result(self.request(method, params), may_fail)

    def error(self, method: str, params: Any = None) -> dict[str, Any]:
        """The error object that a request is answered with."""
        answer = self.answer(self.request(method, params))
        assert "error" in answer, f"{method} should have failed: {answer}"
        error: dict[str, Any] = answer["error"]
        return error

    def event(self, subscription: Any) -> dict[str, Any]:
        """The params of the next notification of a subscription."""

        def is_its(message: Message) -> bool:
            return "method" in message and message["params"]["subscription"] == subscription

        params: dict[str, Any] = self.read_until(is_its)["params"]
        return params

    def rest(self) -> list[Message]:
        """Says that nothing more will be sent, and gives all that still comes, to the end."""
        self.half_close()
        messages, self.kept = self.kept, []
        while True:
            try:
                messages.append(json.loads(self.read_line()))
            except EOFError:
                return messages

    def close(self) -> None:
        self.socket.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(id: Any, method: str, params: Optional[Any] = None) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    if params is None:
        del message["params"]
    return message


def connect_to(connecting: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) <= 107:
        connecting.connect(path)
        return
    # A temporary folder may be deep; by its descriptor it is not.
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    try:
        connecting.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)
