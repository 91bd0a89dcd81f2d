"""The Python client of this repository: `threads`, which share one connection, or `tasks`; or a process for each call:
`cli`, by `baskd call`, or `shell`, by `baskd.sh`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import baskd

UNDER_WAY = {"threads": 4, "tasks": 8, "cli": 2, "shell": 1}
FIRST = int(os.environ["FIRST"])
SHELL = Path(__file__).resolve().parents[2] / "clients" / "shell" / "baskd.sh"

numbers = itertools.count(FIRST)
called: list[int] = []
wrong: list[Any] = []
stop = threading.Event()


def told_to_stop() -> bool:
    """Whether stdin has ended."""
    return bool(select.select([sys.stdin], [], [], 0.05)[0])


def keep_calling(call: Callable[[int], Any]) -> None:
    while not stop.is_set():
        number = next(numbers)
        called.append(number)
        try:
            result = call(number)
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        if result != number:
            wrong.append([number, result])


def method_of(number: int) -> str:
    return "beside" if number % 5 == 0 else "generator" if number % 7 == 0 else "plain"


def by_threads(call: Callable[[int], Any], count: int) -> None:
    threads = [threading.Thread(target=keep_calling, args=(call,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    while not told_to_stop():
        pass
    stop.set()
    for thread in threads:
        thread.join()


def of_client(client: baskd.Client) -> Callable[[int], Any]:
    def call(number: int) -> Any:
        if method_of(number) != "generator":
            return client.call(method_of(number), [number])
        stream = client.stream("generator", [number])
        items = list(stream)
        return stream.result if items == [number] else f"the items were {items}"

    return call


def of_process(*command: str) -> Callable[[int], Any]:
    def call(number: int) -> Any:
        ended = subprocess.run([*command, "call", "plain", f"number={number}"], capture_output=True, text=True)
        return json.loads(ended.stdout) if ended.returncode == 0 else [ended.returncode, ended.stderr]

    return call


async def by_tasks(count: int) -> None:
    async with baskd.connect_async(start=False) as client:

        async def one(number: int) -> Any:
            if method_of(number) != "generator":
                return await client.call(method_of(number), [number])
            stream = client.stream("generator", [number])
            items = [item async for item in stream]
            return stream.result if items == [number] else f"the items were {items}"

        async def keep() -> None:
            while not stop.is_set():
                number = next(numbers)
                called.append(number)
                try:
                    result = await one(number)
                except Exception as error:
                    result = f"{type(error).__name__}: {error}"
                if result != number:
                    wrong.append([number, result])

        tasks = [asyncio.ensure_future(keep()) for _ in range(count)]
        while not await asyncio.to_thread(told_to_stop):
            pass
        stop.set()
        await asyncio.gather(*tasks)


def main() -> None:
    way = sys.argv[1]
    if way == "tasks":
        asyncio.run(by_tasks(UNDER_WAY[way]))
    elif way == "threads":
        with baskd.connect(start=False) as client:
            by_threads(of_client(client), UNDER_WAY[way])
    elif way == "cli":
        by_threads(of_process(os.environ["BASKD_BIN"]), UNDER_WAY[way])
    else:
        by_threads(of_process("sh", str(SHELL)), UNDER_WAY[way])
    print(json.dumps({"first": FIRST, "end": max(called, default=FIRST - 1) + 1, "wrong": wrong}))


main()
