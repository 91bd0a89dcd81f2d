"""The protocol without any I/O: what to write, and what the bytes mean that came.

`Session` is one connection's state: the requests that await their answers and the subscriptions that are
open. It neither reads, writes, waits nor locks; `_link.Link` does the first two, and the sync and the async
client build their ways of waiting upon the `wakers` of what they wait for.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ._errors import BaskdError, Disconnected, from_wire, to_one_caller
from ._retry import never_began
from ._sinks import Pending, Sink, StreamSink

Params = Any  # dict, list, tuple or None

_CARRIERS = ("rpc.call", "stream.call")  # whose `method` is the one that is called

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decoder: Any = json.JSONDecoder()  # of which the type stubs don't know all
_ID = re.compile(rb'\{"jsonrpc":"2\.0","id":(\d+),')


class Session:
    def __init__(self) -> None:
        self._last_id = 0
        self._pending: dict[Any, Pending] = {}
        self._sinks: dict[Any, Sink] = {}
        self._chunks: list[bytes] = []  # of a line whose end has not come yet
        self.stops = False  # the daemon has not begun something, since it stops
        self.outgoing: list[bytes] = []  # what the bytes that were fed call for, to be written by whoever fed them

    def request(self, method: str, params: Params = None, sink: Sink | None = None) -> tuple[Pending, bytes]:
        """A request, and the line that is to be written for it."""
        line = self._line(self._last_id + 1, method, params)
        self._last_id += 1
        about = method
        if method in _CARRIERS and isinstance(params, dict):
            about = str(params.get("method"))
        if sink is not None:
            sink.about = about
        pending = self._pending[self._last_id] = Pending(self._last_id, about, sink)
        return pending, line

    def notification(self, method: str, params: Params = None) -> bytes:
        return self._line(None, method, params)

    def cancellation(self, pending: Pending) -> bytes | None:
        """What to write so that nobody has to wait for this request any more; its answer, if one still comes,
        is ignored."""
        if pending.sink is not None and not pending.done:
            pending.sink.fail(None)  # it has no number yet that could be cancelled: see `_answer`
            return None
        if self._pending.pop(pending.id, None) is None:
            return None
        return self.notification("$/cancelRequest", {"id": pending.id})

    def unsubscription(self, sink: Sink) -> bytes | None:
        """What to write to end a subscription. The answer to it is for nobody."""
        if self._sinks.get(sink.subscription) is not sink:  # it has ended, or was another connection's
            return None
        del self._sinks[sink.subscription]
        self._last_id += 1
        return self._line(self._last_id, sink.ender, [sink.subscription])

    def feed(self, data: bytes) -> None:
        """Takes what was read. Raises what ends the connection."""
        end = data.rfind(b"\n")
        if end < 0:
            self._chunks.append(data)
            return
        self._chunks.append(data[:end])
        lines = b"".join(self._chunks).split(b"\n")
        self._chunks = [data[end + 1 :]] if end + 1 < len(data) else []
        for line in lines:
            self._take(line)

    @property
    def awaited(self) -> int:
        """How many requests have no answer yet."""
        return len(self._pending)

    @property
    def amid_line(self) -> bool:
        return bool(self._chunks)

    def lose(self, error: BaskdError, sent: int) -> None:
        """The connection is gone, when `sent` bytes of all that was ever written had left."""
        for request in tuple(self._pending.values()):
            if request.sink is not None:
                request.sink.lost(error)
            request.lost(error, sent)
        for sink in tuple(self._sinks.values()):
            sink.lost(error)
        # Last, for this may be begun anew after an interrupt.
        self._pending, self._sinks = {}, {}

    @staticmethod
    def _line(id: int | None, method: str, params: Params) -> bytes:
        message: dict[str, Any] = {"jsonrpc": "2.0"}
        if id is not None:
            message["id"] = id
        message["method"] = method
        if params is not None:
            message["params"] = params
        text = _encode(message)
        try:
            return text.encode() + b"\n"
        except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8, but does have an escape
            return _encode_ascii(message).encode() + b"\n"

    def _take(self, line: bytes) -> None:
        try:
            message = _parse(line.decode())
        except (ValueError, RecursionError) as error:
            self._unreadable(line, error)
            return
        if not isinstance(message, dict):
            raise Disconnected(f"The daemon sent what is no JSON-RPC: {line[:100]!r}")
        if "method" in message:
            self._notified(message.get("params"))
        else:
            self._answer(message)

    def _answer(self, message: dict[str, Any]) -> None:
        error = from_wire(message["error"]) if "error" in message else None
        self.stops |= never_began(error)
        if error is not None and message.get("id") is None:
            # Nobody can be told whose it was: a refusal of this connection, or of a request beyond reading.
            raise error
        id = message.get("id")
        pending = self._pending.get(id)
        if pending is None:
            return  # a cancelled one's
        if pending.sink is not None:
            self._subscribed(pending.sink, message.get("result"), error)
        pending.settle(message.get("result"), error)
        # Last: who is interrupted before has it told that the connection is lost.
        self._pending.pop(id, None)

    def _subscribed(self, sink: Sink, subscription: Any, error: BaskdError | None) -> None:
        if error is not None:
            sink.fail(to_one_caller(error))
            return
        # At once, for its first items may be in the very bytes that are being fed.
        self._sinks[subscription] = sink
        sink.subscription = subscription
        if not sink.over:
            sink.acknowledged()
        if sink.over:  # given up while its acknowledgement was under way
            self.outgoing.append(self.unsubscription(sink) or b"")

    def _notified(self, params: Any) -> None:
        if not isinstance(params, dict) or "result" not in params:
            return  # the closing notification, or one of a later version
        sink = self._sinks.get(params.get("subscription"))
        if sink is None:
            return  # of a subscription that was ended meanwhile
        sink.push(params["result"])
        if isinstance(sink, StreamSink):
            if sink.over:
                self.stops |= never_began(sink.error)
                del self._sinks[params["subscription"]]
        elif sink.over:
            self.outgoing.append(self.unsubscription(sink) or b"")

    def _unreadable(self, line: bytes, error: Exception) -> None:
        """A result nested too deep for this Python, or a number too long, is the matter of one call only."""
        if isinstance(error, RecursionError):
            error = RecursionError("nested too deep")
        found = _ID.match(line)
        pending = self._pending.get(int(found[1])) if found else None
        if pending is None:
            raise Disconnected(f"The daemon sent what can't be read ({error}): {line[:100]!r}")
        pending.settle(error=BaskdError(f"The answer to {pending.about} can't be read here: {error}."))
        self._pending.pop(pending.id, None)


def _parse(text: str) -> Any:
    """As `json.loads`, without its looking for white space around the value, of which the daemon writes none."""
    try:
        message, end = _decoder.scan_once(text, 0)
    except StopIteration:
        return _decoder.decode(text)
    return message if end == len(text) else _decoder.decode(text)
