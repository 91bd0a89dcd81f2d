"""Clients of an instance, as a user's programs are.

It is run inside a machine, until a file is there; then it says what became of each call, as JSON.

    load.py NAME SOCKET MARKS ENOUGH
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from typing import Any

import baskd

CLIENTS = 3
#: Of a client that has no library, and connects for each call.
FRESH = 2
#: No call may take longer, however it ends.
PATIENCE = 60


def main() -> None:
    name, path, marks, enough = sys.argv[1:]
    calls: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=with_client, args=(number, name, marks, enough, calls)) for number in range(CLIENTS)
    ]
    threads += [threading.Thread(target=without, args=(number, path, marks, enough, calls)) for number in range(FRESH)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(calls, sys.stdout)


def with_client(number: int, name: str, marks: str, enough: str, calls: list[dict[str, Any]]) -> None:
    """One client, which connects again by itself."""
    turn = 0
    with baskd.connect(name, start=False) as backend:
        while not os.path.exists(enough):
            text, turn = f"client-{number}-{turn}", turn + 1
            began = time.monotonic()
            call: dict[str, Any] = {"text": text, "kind": "client"}
            try:
                call["result"] = backend.call("mark", {"file": marks, "text": text}, timeout=PATIENCE)
            except baskd.BaskdError as error:
                call |= {"error": type(error).__name__, "data": error.data, "message": str(error)}
            calls.append(call | {"seconds": time.monotonic() - began})


def without(number: int, path: str, marks: str, enough: str, calls: list[dict[str, Any]]) -> None:
    """A connection for each call."""
    turn = 0
    while not os.path.exists(enough):
        text, turn = f"fresh-{number}-{turn}", turn + 1
        began = time.monotonic()
        request = {"jsonrpc": "2.0", "id": 1, "method": "mark", "params": {"file": marks, "text": text}}
        call: dict[str, Any] = {"text": text, "kind": "fresh"}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.connect(path)
            except OSError as error:
                call["refused"] = str(error)
            else:
                call |= answer_of(connection, request)
        calls.append(call | {"seconds": time.monotonic() - began})


def answer_of(connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    try:
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as reader:
            line = reader.readline()
    except (ConnectionError, socket.timeout) as error:
        return {"error": "Disconnected", "data": None, "message": repr(error)}
    if not line:
        return {"error": "Disconnected", "data": None, "message": "no answer"}
    answer = json.loads(line)
    if "error" in answer:
        told = answer["error"]
        return {"error": told["code"], "data": told.get("data"), "message": told["message"]}
    return {"result": answer["result"]}


if __name__ == "__main__":
    main()
