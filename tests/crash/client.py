"""The Python client of this repository: from three threads over one connection, calls and streams."""

from __future__ import annotations

import threading
import time

import baskd

from crash.tally import Tally, told_to_stop

lock = threading.Lock()
tally = Tally("python")
stop = threading.Event()


def call(client: baskd.Client, method: str) -> None:
    while not stop.is_set():
        with lock:
            name = tally.new_call()
        started = time.monotonic()
        try:
            if method == "items":
                stream = client.stream(method, {"n": name})
                items = list(stream)
                result = stream.result
                if items != list(range(20)):
                    result = f"the items were {items}"
            else:
                result = client.call(method, {"n": name})
        except baskd.BaskdError as error:
            with lock:
                tally.error(name, {"code": error.code, "message": str(error), "data": error.data}, started)
        else:
            with lock:
                tally.result(name, result, started)


with baskd.connect() as client:
    threads = [threading.Thread(target=call, args=(client, method)) for method in ("echo", "work", "items")]
    for thread in threads:
        thread.start()
    while not told_to_stop():
        stop.wait(0.05)
    stop.set()
    for thread in threads:
        thread.join()
tally.print()
