"""The other framings of the socket, written out by hand: the same client as `Connection`, in other envelopes."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import socket
import struct
import time
from pathlib import Path
from typing import Optional, Union

from .connection import Connection, Message, connect_to

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Framed(Connection):
    """Messages in envelopes, both ways. `read_line` gives what one of them holds."""

    def send(self, *messages: Message) -> None:
        self.write(b"".join(self.enclose(json.dumps(message)) for message in messages))

    def enclose(self, message: Union[bytes, str]) -> bytes:
        raise NotImplementedError

    def receive(self, count: int) -> bytes:
        """The next `count` bytes. Raises EOFError at the end, and TimeoutError."""
        deadline = time.monotonic() + self.seconds
        while len(self._received) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{count} bytes did not come; received so far: {bytes(self._received[:200])!r}")
            self.socket.settimeout(left)
            chunk = self.socket.recv(1 << 18)
            if not chunk:
                assert not self._received, f"the connection ended inside a frame: {bytes(self._received)!r}"
                raise EOFError("the daemon closed the connection")
            self._received += chunk
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken


class ContentLengthConnection(Framed):
    """LSP's headers. What comes is held to the letter."""

    def enclose(self, message: Union[bytes, str]) -> bytes:
        data = message.encode() if isinstance(message, str) else message
        return b"Content-Length: %d\r\n\r\n" % len(data) + data

    def read_line(self) -> bytes:
        header = b""
        while not header.endswith(b"\r\n\r\n"):
            header += self.receive(1)
            assert len(header) < 100, header
        length = re.fullmatch(rb"Content-Length: (\d+)\r\n\r\n", header)
        assert length, header
        return self.receive(int(length[1]))


class WebSocketConnection(Framed):
    """A client that has been upgraded, unless `upgrade=False`."""

    def __init__(self, path: Union[str, Path], seconds: float = 30.0, upgrade: bool = True) -> None:
        super().__init__(path, seconds)
        #: What came beside messages: pongs, and the close's code and reason.
        self.pongs: list[bytes] = []
        self.closed: Optional[tuple[int, str]] = None
        if upgrade:
            status, headers = self.upgrade()
            assert status == 101, (status, headers)

    def upgrade(self, path: str = "/", **headers: str) -> tuple[int, dict[str, str]]:
        """Asks for it, and gives the answer's status and headers. `headers`: others, or "" for none."""
        key = base64.b64encode(os.urandom(16)).decode()
        given = {
            "Host": "baskd",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
        }
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value), "", ""]
        self.write("\r\n".join(lines))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.receive(1)
        first, *rest = answer.decode().strip().split("\r\n")
        got = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
        status = int(first.split()[1])
        if status == 101:
            accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            assert got["sec-websocket-accept"] == base64.b64encode(accept).decode(), got
            assert "sec-websocket-extensions" not in got, got
        return status, got

    def enclose(self, message: Union[bytes, str]) -> bytes:
        return frame(message)

    def read_frame(self) -> tuple[int, bytes]:
        """The opcode and payload of the next frame, which must be whole and not masked."""
        first, second = self.receive(2)
        assert first & 0xF0 == 0x80 and second < 0x80, (first, second)
        length = second
        if length == 126:
            (length,) = struct.unpack(">H", self.receive(2))
            assert length >= 126
        elif length == 127:
            (length,) = struct.unpack(">Q", self.receive(8))
            assert length > 0xFFFF
        return first & 0x0F, self.receive(length)

    def read_line(self) -> bytes:
        while True:
            opcode, payload = self.read_frame()
            if opcode == TEXT:
                return payload
            if opcode == PONG:
                self.pongs.append(payload)
            else:
                assert opcode == CLOSE, opcode
                self.closed = (struct.unpack(">H", payload[:2])[0], payload[2:].decode()) if payload else (1005, "")
                raise EOFError("the daemon closed the connection")

    def close_code(self) -> int:
        """Reads to the end, and gives the code of the daemon's close."""
        try:
            while True:
                self.kept.append(json.loads(self.read_line()))
        except EOFError:
            assert self.closed, "the connection ended without a close"
            return self.closed[0]


def frame(payload: Union[bytes, str], opcode: int = TEXT, is_final: bool = True, is_masked: bool = True) -> bytes:
    """A frame as a client sends it."""
    data = payload.encode() if isinstance(payload, str) else payload
    head = bytes([opcode | (0x80 if is_final else 0)])
    masked = 0x80 if is_masked else 0
    if len(data) < 126:
        head += bytes([masked | len(data)])
    elif len(data) <= 0xFFFF:
        head += bytes([masked | 126]) + struct.pack(">H", len(data))
    else:
        head += bytes([masked | 127]) + struct.pack(">Q", len(data))
    if not is_masked:
        return head + data
    mask = os.urandom(4)
    stream = (mask * (len(data) // 4 + 1))[: len(data)]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
    return head + mask + mixed.to_bytes(len(data), "big")


class HttpConnection(http.client.HTTPConnection):
    """The standard library's client, on a Unix socket."""

    def __init__(self, path: Union[str, Path], seconds: float = 30.0) -> None:
        super().__init__("baskd", timeout=seconds)
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        connect_to(self.sock, self.path)

    def ask(
        self, method: str, path: str = "/", body: Union[bytes, str, None] = None, **headers: str
    ) -> tuple[int, bytes]:
        """The status and body of an answer."""
        body = body.encode() if isinstance(body, str) else body
        self.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = self.getresponse()
        return response.status, response.read()

    def post(self, message: Message, **headers: str) -> Message:
        """The answer to a message; None for a notification."""
        status, body = self.ask("POST", "/", json.dumps(message), **headers)
        assert (status == 200) == bool(body) and status in (200, 204), (status, body)
        return json.loads(body) if body else None
