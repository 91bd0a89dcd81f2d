"""A client: a thread with one connection at a time, which does what its plan says and writes down what it is told."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable, Optional

from support.connection import connect_to, request

from .history import Answer, History, Request

#: How long an answer may take, whatever is broken meanwhile: after that, it counts as lost.
PATIENCE = 30.0
CHUNK = 1 << 18

Step = Callable[["Client"], object]


class Told(Exception):
    """It was told to stop while it had no connection."""


class Client(threading.Thread):
    """`steps` are its plan. One that `survives` connects again when the daemon is gone; others fail then."""

    def __init__(self, history: History, path: Path, name: str, steps: Iterable[Step], survives: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.history = history
        self.path = path
        self.steps = steps
        self.survives = survives
        #: Whether it is answered errors that name no request, as it deserves.
        self.sends_garbage = False
        self.connection = 0
        self.place = 0
        self.made = 0
        self.failure: Optional[BaseException] = None
        self.stop = threading.Event()
        #: What it waits for on this connection, by token; and its streams, by subscription.
        self.open: dict[str, Request] = {}
        self.streams: dict[Any, Request] = {}
        self._batches: list[list[str]] = []
        self._socket: Optional[socket.socket] = None
        self._received = bytearray()

    def run(self) -> None:
        try:
            self.connect()
            for step in self.steps:
                if self.stop.is_set():
                    break
                try:
                    step(self)
                except (ConnectionError, EOFError) as gone:
                    self._lose(gone)
            self._finish()
        except Told:
            pass
        except BaseException as problem:
            self.failure = problem
        finally:
            self.drop()

    # The connection

    def connect(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            connecting = socket.socket(socket.AF_UNIX)
            try:
                connect_to(connecting, str(self.path))
                break
            except OSError:
                connecting.close()
                if not self.survives or time.monotonic() > deadline:
                    raise
                if self.stop.wait(0.005):
                    # The round is over, and it has nothing under way.
                    raise Told from None
        connecting.setblocking(False)
        self._socket = connecting
        self._received.clear()
        self.connection += 1
        self.place = 0

    def drop(self, why: str = "vanished") -> None:
        """Closes it, whatever is under way on it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for waiting in self.open.values():
            waiting.lost = waiting.lost or why
        self.open.clear()
        self.streams.clear()
        self._batches.clear()

    def _lose(self, gone: BaseException) -> None:
        if not self.survives:
            raise gone
        self.drop("daemon")
        self.connect()

    # Out

    def new(self, method: str, params: Optional[dict[str, Any]] = None, way: str = "call", **more: Any) -> Request:
        """One more request, that is yet to be sent."""
        self.made += 1
        token = f"{self.name}-{self.made}"
        params = dict(params or {})
        may = frozenset(more.pop("may", ()))
        made = Request(token, self.name, self.connection, 0, method, params, way, 0, may)
        made.params.update(more)
        return made

    def send(self, *requests: Request, timeout_ms: Optional[int] = None) -> None:
        """Pipelines them: one write for all."""
        self._enlist(requests)
        self.write(b"".join(_line(self._message(each, timeout_ms)) for each in requests))

    def send_batch(self, *requests: Request) -> None:
        self._enlist(requests)
        answered = [each.token for each in requests if each.way != "notification"]
        for each in requests:
            each.batch = len(answered)
        if answered:
            self._batches.append(answered)
        self.write(_line([self._message(each, None) for each in requests]))

    def cancel(self, which: Request) -> None:
        """Asks for a call's end; a stream's needs its subscription."""
        which.cancelled = time.monotonic_ns()
        which.may |= {"Cancelled"}
        if which.way != "stream":
            self.write(_line({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": which.token}}))
            return
        for subscription, stream in self.streams.items():
            if stream is which:
                self.write(_line(request(f"{which.token}.end", "stream.cancel", [subscription])))

    def write(self, data: bytes) -> None:
        """Sends it all, and takes what comes meanwhile: who only writes can block himself."""
        left = memoryview(data)
        deadline = time.monotonic() + PATIENCE
        while left:
            assert self._socket is not None
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                self._wait(writing=True, seconds=0.1)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{self.name} could not send for {PATIENCE} s") from None

    def write_blindly(self, data: bytes, seconds: float) -> None:
        """Sends, and reads nothing, as long as the daemon takes it: what a client does that floods, or stalls."""
        assert self._socket is not None
        left = memoryview(data)
        until = time.monotonic() + seconds
        while left and time.monotonic() < until:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                select.select([], [self._socket], [], max(0.0, until - time.monotonic()))

    def half_close(self) -> None:
        assert self._socket is not None
        self._socket.shutdown(socket.SHUT_WR)

    def _enlist(self, requests: Iterable[Request]) -> None:
        for each in requests:
            self.place += 1
            each.place, each.connection, each.sent = self.place, self.connection, time.monotonic_ns()
            self.history.requests[each.token] = each
            if each.way != "notification":
                self.open[each.token] = each

    def _message(self, each: Request, timeout_ms: Optional[int]) -> dict[str, Any]:
        params: Any = each.params
        if each.method not in ("setProperty", "getProperty"):
            params = {"token": each.token, **params}
        message = request(each.token, each.method, params)
        if each.way == "stream":
            message.update(method="stream.call", params={"method": each.method, "params": params})
        elif each.way == "rpc" or timeout_ms is not None:
            message.update(method="rpc.call", params={"method": each.method, "params": params})
            if timeout_ms is not None:
                message["params"]["timeout_ms"] = timeout_ms
        elif each.way == "notification":
            del message["id"]
        return message

    # In

    def read(self, seconds: float) -> None:
        """Takes what comes, for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._wait(writing=False, seconds=left)

    def settle(self, most: int = 0, seconds: float = PATIENCE) -> None:
        """Reads until at most so many requests are open."""
        deadline = time.monotonic() + seconds
        while len(self.open) > most and time.monotonic() < deadline and not self.stop.is_set():
            self._wait(writing=False, seconds=0.2)

    def call(self, each: Request, timeout_ms: Optional[int] = None, seconds: float = PATIENCE) -> Request:
        """One request, and its answer."""
        self.send(each, timeout_ms=timeout_ms)
        deadline = time.monotonic() + seconds
        while each.token in self.open and time.monotonic() < deadline:
            self._wait(writing=False, seconds=0.2)
        return each

    def _finish(self) -> None:
        """Waits for the answers that are owed; then says that nothing more will be sent, and reads to the end."""
        while self._socket is not None:
            try:
                self.settle()
                if self.open:
                    return self._abandon()
                self.half_close()
                self.read(PATIENCE)
                raise TimeoutError(f"the daemon has not closed the connection of {self.name}, which it was asked to")
            except (ConnectionError, EOFError) as gone:
                if not self.open:
                    return
                self._lose(gone)

    def _abandon(self) -> None:
        """What is open now was lost: it keeps no reason why it could not be answered, which the model refuses."""
        self.open.clear()

    def _wait(self, writing: bool, seconds: float) -> None:
        assert self._socket is not None
        readable, _, _ = select.select([self._socket], [self._socket] if writing else [], [], seconds)
        if not readable:
            return
        chunk = self._socket.recv(CHUNK)
        if not chunk:
            raise EOFError("the daemon closed the connection")
        self._received += chunk
        if b"\n" not in chunk:
            return
        *lines, rest = self._received.split(b"\n")
        self._received = bytearray(rest)
        at = time.monotonic_ns()
        for line in lines:
            self._take(json.loads(line), at)

    def _take(self, message: Any, at: int) -> None:
        if isinstance(message, list):
            ids = [entry.get("id") for entry in message]
            if ids in self._batches:
                self._batches.remove(ids)
            elif self.sends_garbage and not any(ids):
                return
            else:
                self.history.strays.append(f"a batch's answers are those of no batch: {ids}")
            for entry in message:
                self._take_answer(entry, at)
        elif "method" in message:
            self._take_event(message, at)
        else:
            if any(message.get("id") in batch for batch in self._batches):
                self.history.strays.append(f"an entry of a batch was answered by itself: {json.dumps(message)[:200]}")
            self._take_answer(message, at)

    def _take_answer(self, message: dict[str, Any], at: int) -> None:
        token = message.get("id")
        known = self.history.requests.get(token) if isinstance(token, str) else None
        if known is None:
            if not (isinstance(token, str) and token.endswith(".end")) and not self._expects(message):
                self.history.strays.append(f"to {self.name}: {json.dumps(message)[:300]}")
            return
        known.answers.append(Answer(at, message))
        if known.way == "stream" and "result" in message:
            self.streams[message["result"]] = known
            if known.cancelled is not None:
                self.cancel(known)
        else:
            self.open.pop(known.token, None)

    def _expects(self, message: dict[str, Any]) -> bool:
        return self.sends_garbage and message.get("id") is None and "error" in message

    def _take_event(self, message: dict[str, Any], at: int) -> None:
        params = message["params"]
        stream = self.streams.get(params["subscription"])
        if stream is None:
            self.history.strays.append(f"to {self.name}: {json.dumps(message)[:300]}")
            return
        if "error" in params:
            stream.closings += 1
            self.open.pop(stream.token, None)
            return
        event = params["result"]
        if stream.ends or stream.closings:
            self.history.strays.append(f"an event after the end of {stream.token}: {json.dumps(event)[:200]}")
        elif "item" in event:
            stream.items.append(event["item"])
        else:
            stream.ends.append(Answer(at, {"result": event["end"]} if "end" in event else event))


def _line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"
