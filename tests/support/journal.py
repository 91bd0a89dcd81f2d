"""A journald of one's own, for a daemon that logs to one: `python journal.py [--none] COMMAND…`, in a mount namespace.

It puts an empty /run over the real one, listens where journald would, and runs the command with a stderr that
`$JOURNAL_STREAM` names. What it is sent it prints, an object a line, once it has read `read` on stdin; at stdin's end it
stops the command and prints what is left, last `{"stderr": …}`.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading

PATH = "/run/systemd/journal/socket"


def fields(entry: bytes) -> dict[str, str]:
    """One entry, as journald's native protocol has it."""
    found: dict[str, str] = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", entry[:8])
            value, entry = entry[8 : 8 + length], entry[8 + length + 1 :]
        found[name.decode()] = value.decode()
    return found


def main() -> None:
    arguments = sys.argv[1:]
    has_journal = arguments[0] != "--none"
    command = arguments if has_journal else arguments[1:]
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if has_journal:
        os.makedirs(os.path.dirname(PATH))
        journal.bind(PATH)
    reading, writing = os.pipe()
    named = os.fstat(writing)
    environment = {**os.environ, "JOURNAL_STREAM": f"{named.st_dev}:{named.st_ino}"}
    daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stderr=writing)
    os.close(writing)
    said: list[bytes] = []

    def listen() -> None:
        while chunk := os.read(reading, 1 << 16):
            said.append(chunk)

    def read() -> None:
        while True:
            entry = journal.recv(1 << 20)
            if entry == b"end":
                return
            if entry:  # An empty one is a knock.
                print(json.dumps(fields(entry)), flush=True)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    reader = threading.Thread(target=read, daemon=True)
    for line in sys.stdin:
        if line.strip() == "read":
            reader.start()
    daemon.terminate()
    status = daemon.wait()
    if has_journal:
        if not reader.ident:
            reader.start()
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"end", PATH)
        reader.join()
    listener.join()
    print(json.dumps({"stderr": b"".join(said).decode(), "status": status}), flush=True)


if __name__ == "__main__":
    main()
