"""A raw socket that pipelines: a hundred requests under way at all times, in single messages and in batches."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from crash.tally import Tally, told_to_stop
from support.connection import Connection, request

UNDER_WAY = 100

tally = Tally("raw")
started: dict[str, float] = {}
stopping = False


def new_request() -> dict[str, Any]:
    name = tally.new_call()
    started[name] = time.monotonic()
    return request(name, "work" if tally.calls % 10 == 0 else "echo", {"n": name})


def take(answer: dict[str, Any]) -> None:
    """Counts an answer; one to a call that has had its own, or to none, is told as such."""
    began = started.pop(answer["id"], None)
    if began is None:
        tally.other.append({"a second answer": answer})
    elif "error" in answer:
        tally.error(answer["id"], answer["error"], began)
    else:
        tally.result(answer["id"], answer["result"], began)


# Every Python dies young: with a hundred of its calls before it, one may have to wait for many of them.
with Connection(os.environ["BASKD_SOCKET"], 120.0) as connection:
    while started or not stopping:
        if not stopping and len(started) <= UNDER_WAY - 10:
            messages = [new_request() for _ in range(10)]
            connection.send(*(messages if tally.calls % 20 else [messages]))
            stopping = told_to_stop()
            continue
        line = json.loads(connection.read_line())
        for answer in line if isinstance(line, list) else [line]:
            take(answer)
    # Whatever else came would be an answer too many.
    tally.other += [{"a message too many": message} for message in connection.rest()]
tally.print()
