"""A daemon in a thread, as PROTOCOL.md has it, with just enough methods to see what a client does."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import tempfile
import threading
from typing import Any, Callable

WAIT = 20  # seconds after which a test that waits for an event has failed


class Peer:
    """One connection, as the daemon sees it."""

    def __init__(self, daemon: FakeDaemon, sock: socket.socket) -> None:
        self.daemon = daemon
        self.sock = sock
        self.running: dict[Any, str] = {}  # calls that wait for `release` or a cancel, by request id
        self.streams: dict[int, Counting] = {}
        self.subscriptions: list[int] = []
        self.gone = threading.Event()

    def send(self, *messages: Any) -> None:
        self.raw(b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages))

    def raw(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def answer(self, id: Any, result: Any) -> None:
        self.send({"id": id, "result": result})

    def refuse(self, id: Any, code: int, message: str, data: Any = None) -> None:
        self.send({"id": id, "error": {"code": code, "message": message, "data": data}})

    def notify(self, method: str, subscription: int, result: Any) -> None:
        self.send({"method": method, "params": {"subscription": subscription, "result": result}})

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        # A connection that was reset ends like one that was closed.
        with contextlib.suppress(OSError), self.sock, self.sock.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                self.daemon.seen.put(message)
                self.daemon.handle(self, message)
        self.gone.set()


class Counting:
    """A stream that counts to `n`, as far as its window allows, and returns the sum."""

    def __init__(self, peer: Peer, number: int, n: int, window: int) -> None:
        self.peer, self.number, self.n, self.credit, self.next = peer, number, n, window, 0

    def more(self, granted: int) -> None:
        self.credit += granted
        while self.credit and self.next < self.n:
            self.peer.notify("stream.item", self.number, {"item": self.next})
            self.next += 1
            self.credit -= 1
        if self.next == self.n:
            self.end({"end": sum(range(self.n))})

    def end(self, event: Any) -> None:
        self.peer.streams.pop(self.number)
        self.peer.notify("stream.item", self.number, event)
        closed = {"subscription": self.number, "error": {"code": 0, "message": "closed"}}
        self.peer.send({"method": "stream.item", "params": closed})


class FakeDaemon:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="baskd-")  # mode 0700
        self.path = os.path.join(self._folder.name, "fake.sock")
        self.seen: queue.Queue[Any] = queue.Queue()
        self.peers: queue.Queue[Peer] = queue.Queue()
        self.all_peers: list[Peer] = []
        self.special: dict[str, Callable[[Peer, Any], None]] = {}  # a test's own methods
        self.idempotent: set[str] = set()
        self._numbers = iter(range(100, 1 << 30))
        self.start()

    def start(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._thread.start()

    def stop(self, then_start: bool = False) -> None:
        """As if it had crashed: every connection ends, nobody listens, unless another daemon does at once."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT)
        self._listener.close()
        os.unlink(self.path)
        peers = list(self.all_peers)
        if then_start:
            self.start()
        for peer in peers:
            peer.hang_up()
            peer.gone.wait(WAIT)

    def __enter__(self) -> FakeDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.stop()
        self._folder.cleanup()

    def so_far(self) -> list[Any]:
        """What has come and was not expected, but for the question by which a new connection is tried."""
        messages = []
        with contextlib.suppress(queue.Empty):
            while True:
                messages.append(self.seen.get_nowait())
        return [message for message in messages if message["method"] != "daemon.status"]

    def expect(self, method: str) -> Any:
        """The next message of that method that comes, or came."""
        while True:
            message = self.seen.get(timeout=WAIT)
            if message.get("method") == method:
                return message

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            peer = Peer(self, sock)
            self.all_peers.append(peer)
            self.peers.put(peer)
            threading.Thread(target=peer.serve, daemon=True).start()

    # --- methods ----------------------------------------------------------------------------------------------

    def handle(self, peer: Peer, message: Any) -> None:
        method, params, id = message["method"], message.get("params"), message.get("id")
        if method in self.special:
            self.special[method](peer, message)
            return
        if method == "rpc.call":
            if params["method"] == "hang" and params["timeout_ms"] <= 1000:
                peer.refuse(id, -32023, "late", {"where": "running"})
                return
            method, params = params["method"], params.get("params")
        name = "do_" + method.replace(".", "_").replace("$/", "")
        if hasattr(self, name):
            getattr(self, name)(peer, id, params)
        else:
            peer.refuse(id, -32601, f"There is no method {method}.", {"nearest": ["echo"]})

    def do_echo(self, peer: Peer, id: Any, params: Any) -> None:
        peer.answer(id, params)

    def do_boom(self, peer: Peer, id: Any, params: Any) -> None:
        data = {"type": "ValueError", "message": "no", "traceback": "Traceback: here\nValueError: no\n"}
        peer.refuse(id, -32020, "ValueError: no", data)

    def do_rpc_discover(self, peer: Peer, id: Any, params: Any) -> None:
        methods = [{"name": "echo"}, *({"name": name, "x-idempotent": True} for name in sorted(self.idempotent))]
        peer.answer(id, {"openrpc": "1.3.2", "methods": methods})

    def do_daemon_status(self, peer: Peer, id: Any, params: Any) -> None:
        peer.answer(id, {})

    def do_hang(self, peer: Peer, id: Any, params: Any) -> None:
        peer.running[id] = "hang"

    def do_release(self, peer: Peer, id: Any, params: Any) -> None:
        for held in list(peer.running):
            del peer.running[held]
            peer.answer(held, "released")
        peer.answer(id, True)

    def do_cancelRequest(self, peer: Peer, id: Any, params: Any) -> None:
        self._cancel(peer, params["id"])

    def do_rpc_cancel(self, peer: Peer, id: Any, params: Any) -> None:
        peer.answer(id, self._cancel(peer, params["id"]))

    def _cancel(self, peer: Peer, id: Any) -> bool:
        if peer.running.pop(id, None) is None:
            return False
        peer.refuse(id, -32024, "cancelled", {"by": "client"})
        return True

    def do_stream_call(self, peer: Peer, id: Any, params: Any) -> None:
        if params["method"] not in ("count", "fail"):
            peer.refuse(id, -32601, "There is no such method.", {"nearest": ["count"]})
            return
        number = next(self._numbers)
        n = params.get("params", {}).get("n", 3)
        stream = peer.streams[number] = Counting(peer, number, n, params["window"])
        peer.answer(id, number)
        if params["method"] == "fail":
            peer.notify("stream.item", number, {"item": "first"})
            stream.end({"error": {"code": -32020, "message": "failed", "data": {}}})
        else:
            stream.more(0)

    def do_stream_more(self, peer: Peer, id: Any, params: Any) -> None:
        number, granted = params
        if number in peer.streams:
            peer.streams[number].more(granted)

    def do_stream_cancel(self, peer: Peer, id: Any, params: Any) -> None:
        stream = peer.streams.get(params[0])
        peer.answer(id, stream is not None)
        if stream is not None:
            stream.end({"error": {"code": -32024, "message": "cancelled", "data": {"by": "client"}}})

    def do_messages_subscribe(self, peer: Peer, id: Any, params: Any) -> None:
        if params.get("method") == "refused":
            peer.refuse(id, -32006, "Too many.", {"limit": 1})
            return
        number = next(self._numbers)
        peer.subscriptions.append(number)
        peer.answer(id, number)

    def do_messages_unsubscribe(self, peer: Peer, id: Any, params: Any) -> None:
        peer.answer(id, params[0] in peer.subscriptions)
        peer.subscriptions.remove(params[0])

    def do_talk(self, peer: Peer, id: Any, params: Any) -> None:
        """Sends what it got as messages, then answers how many there were."""
        for data in params:
            for number in peer.subscriptions:
                message = {"call": 7, "request": id, "method": "talk", "data": data}
                peer.notify("messages.item", number, message)
        peer.answer(id, len(params))
