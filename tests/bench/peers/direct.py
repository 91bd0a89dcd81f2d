"""The direct limit: the Controller in the tightest reasonable Python loop, with nothing between it and its client.

    direct.py CODEC once SOCKET     one connection at a time, blocking
    direct.py CODEC epoll SOCKET    many connections
    direct.py CODEC pipe            stdin and stdout, for a relay

It checks nothing, forgives nothing and cancels nothing. The standard library's json is used as baskd's router uses it;
msgspec by itself, without the checks by which the router makes it agree with the standard library.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

PYTHON = Path(__file__).resolve().parents[3] / "python"
sys.path.append(str(PYTHON))  # Last: there is a controller.py there, too.

from controller import Controller  # noqa: E402  # the one beside this file

#: A larger one would be mapped and unmapped by the kernel at each read; the rest of a long line is worth that.
CHUNK = 1 << 16
BIG_CHUNK = 1 << 20
#: So many items of a stream leave in one write.
TOGETHER = 64

Write = Callable[[bytes], Any]


def codec(name: str) -> tuple[Callable[[bytes], Any], Callable[[Any], bytes]]:
    if name == "msgspec":
        import msgspec

        return msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    from baskd import codec as codecs

    standard = codecs.standard()
    return standard.decode, standard.encode


class Direct:
    def __init__(self, codec_name: str) -> None:
        self.decode, self.encode = codec(codec_name)
        controller = Controller()
        self.methods = {name: getattr(controller, name) for name in ("increment", "echo", "compute", "items")}

    def answer(self, lines: list[bytes], write: Write) -> None:
        """Answers lines that came together, together."""
        decode, encode, methods = self.decode, self.encode, self.methods
        out = []
        for line in lines:
            message = decode(line)
            method = methods.get(message["method"])
            if method is None:
                self.stream(message, write)
            else:
                out.append(
                    b'{"jsonrpc":"2.0","id":%d,"result":%b}\n' % (message["id"], encode(method(message["params"])))
                )
        if out:
            write(out[0] if len(out) == 1 else b"".join(out))

    def stream(self, message: dict[str, Any], write: Write) -> None:
        encode, params = self.encode, message["params"]
        out = [b'{"jsonrpc":"2.0","id":%d,"result":1}\n' % message["id"]]
        items: Iterator[Any] = self.methods[params["method"]](params["params"])
        for item in items:
            out.append(
                b'{"jsonrpc":"2.0","method":"stream.item","params":{"subscription":1,"result":{"item":%b}}}\n'
                % encode(item)
            )
            if len(out) == TOGETHER:
                write(b"".join(out))
                out.clear()
        event = b'{"jsonrpc":"2.0","method":"stream.item","params":{"subscription":1,%b}}\n'
        out += [event % b'"result":{"end":null}', event % b'"error":{"code":0,"message":"closed"}']
        write(b"".join(out))

    def serve(self, read: Callable[[int], bytes], write: Write) -> None:
        """One connection, to its end."""
        parts: list[bytes] = []
        while data := read(BIG_CHUNK if parts else CHUNK):
            if b"\n" not in data:
                parts.append(data)
                continue
            if parts:
                data = b"".join([*parts, data])
                parts.clear()
            lines = data.split(b"\n")
            if rest := lines.pop():
                parts.append(rest)
            self.answer(lines, write)

    def serve_once(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(ConnectionError):
                self.serve(connection.recv, connection.sendall)

    def serve_many(self, listener: socket.socket) -> None:
        """Each connection's calls are small enough to come whole."""
        poll = select.epoll()
        poll.register(listener, select.EPOLLIN)
        connections: dict[int, tuple[Callable[[int], bytes], Write, socket.socket]] = {}
        listening = listener.fileno()
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == listening:
                    connection, _ = listener.accept()
                    connections[connection.fileno()] = connection.recv, connection.sendall, connection
                    poll.register(connection, select.EPOLLIN)
                    continue
                read, write, connection = connections[descriptor]
                if data := read(CHUNK):
                    self.answer(data.splitlines(), write)
                else:
                    del connections[descriptor]
                    connection.close()


def write_all(data: bytes) -> None:
    written = os.write(1, data)
    while written < len(data):
        data = data[written:]
        written = os.write(1, data)


def main() -> None:
    codec_name, way, *place = sys.argv[1:]
    direct = Direct(codec_name)
    if way == "pipe":
        direct.serve(lambda size: os.read(0, size), write_all)
        return
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place[0])
    listener.listen(64)
    (direct.serve_once if way == "once" else direct.serve_many)(listener)


if __name__ == "__main__":
    main()
