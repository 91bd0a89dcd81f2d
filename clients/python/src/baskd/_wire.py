"""The protocol without any I/O: what to write, and what the bytes mean that came.

`Session` is one connection's state: the requests that await their answers and the subscriptions that are
open. It neither reads, writes, waits nor locks; `_link.Link` does the first two, and the sync and the async
client build their ways of waiting upon the `wakers` of what they wait for.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections import deque
from typing import Any, Callable, NamedTuple

from ._errors import BaskdError, Disconnected, Lagged, TimedOut, UsageError, from_wire

Params = Any  # dict, list, tuple or None

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decoder: Any = json.JSONDecoder()  # of which the type stubs don't know all
_ID = re.compile(rb'\{"jsonrpc":"2\.0","id":(\d+),')

# How many messages are kept for a consumer that does not keep up.
_KEPT = 65_536


class Message(NamedTuple):
    """A partial result that a call sent: `send(data)`, or a `yield` in a plain call."""

    data: Any
    method: str | None = None
    call: int | None = None
    """The daemon's number of the call."""
    request: Any = None
    """The request's id, in `own` messages."""
    dropped: int = 0
    """If not 0, this is no message, but says that so many were lost here."""


class Waitable:
    """Something that is waited for. Its wakers are called whenever it may have become ready."""

    __slots__ = ("wakers",)

    def __init__(self) -> None:
        self.wakers: list[Callable[[], Any]] = []

    def ready(self) -> bool:
        raise NotImplementedError

    def wake(self) -> None:
        for waker in tuple(self.wakers):
            waker()


class Pending(Waitable):
    """A request that awaits its answer."""

    __slots__ = ("done", "error", "id", "method", "sink", "start", "unsent", "value")

    def __init__(self, id: int, method: str, sink: Sink | None) -> None:
        super().__init__()
        self.id = id
        self.method = method
        self.sink = sink  # what the subscription that this asks for is to feed
        self.start = 0  # where in all that was ever written its first byte stands
        self.done = False
        self.unsent = False  # the connection was lost before anything of it had left
        self.value: Any = None
        self.error: BaskdError | None = None

    def ready(self) -> bool:
        return self.done

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value

    def settle(self, value: Any = None, error: BaskdError | None = None) -> None:
        self.value, self.error, self.done = value, error, True
        self.wake()


class Sink(Waitable):
    """The receiving end of a subscription."""

    __slots__ = ("error", "items", "over", "subscription")

    def __init__(self) -> None:
        super().__init__()
        self.items: deque[Any] = deque()
        self.subscription: Any = None
        self.over = False
        self.error: BaskdError | None = None

    def ready(self) -> bool:
        return self.over or bool(self.items)

    @property
    def ender(self) -> str:
        """The method that ends such a subscription."""
        raise NotImplementedError

    def push(self, result: Any) -> None:
        raise NotImplementedError

    def fail(self, error: BaskdError | None) -> None:
        if not self.over:
            self.error, self.over = error, True
            self.wake()

    def lost(self, error: BaskdError) -> None:
        self.fail(copy.copy(error))


class StreamSink(Sink):
    """One call's partial results. At most `window` of them are ever under way or waiting here."""

    __slots__ = ("_due", "_taken", "ended", "result", "window")

    def __init__(self, window: int) -> None:
        super().__init__()
        if window < 1:
            raise UsageError(f"A stream's window is at least 1, not {window}.")
        self.window = window
        self.ended = False  # by itself, with a result
        self.result: Any = None
        self._taken = 0
        self._due = (window + 1) // 2

    @property
    def ender(self) -> str:
        return "stream.cancel"

    def push(self, result: Any) -> None:
        if "item" in result:
            self.items.append(result["item"])
            self.wake()
        elif "error" in result:
            self.fail(from_wire(result["error"]))
        elif "end" in result:
            self.result, self.ended = result["end"], True
            self.fail(None)

    def grant(self) -> int:
        """To be asked after each item that was taken: how many more to allow now, mostly 0.

        By half windows: one notification for many items, and the sender never runs dry meanwhile.
        """
        self._taken += 1
        if self._taken < self._due or self.over:
            return 0
        granted, self._taken = self._taken, 0
        return granted


class FeedSink(Sink):
    """Messages or log lines. It outlives connections: the next one subscribes to it again."""

    __slots__ = ("_read", "detached", "lossy", "pending", "pushed", "request")

    def __init__(self, method: str, params: dict[str, Any], read: Callable[[Any], Any], lossy: bool) -> None:
        super().__init__()
        self.request = (method, params)
        self.pending: Pending | None = None  # the latest request to subscribe
        self.detached = True  # no connection feeds it
        self.pushed = 0
        self._read = read
        # As the daemon drops the oldest of what it keeps for a slow connection, so here for a slow consumer.
        self.lossy = lossy

    def ready(self) -> bool:
        return self.over or self.detached or bool(self.items)

    @property
    def ender(self) -> str:
        return self.request[0].replace(".subscribe", ".unsubscribe")

    def push(self, result: Any) -> None:
        if not self.lossy and len(self.items) >= _KEPT:
            # Nobody is to believe that he has seen all. What is here already stays to be taken.
            self.fail(
                Lagged(f"More than {_KEPT} messages were not taken, and those after them are lost: take them sooner.")
            )
            return
        dropped = 0
        while len(self.items) >= _KEPT:
            dropped += _lost_with(self.items.popleft())
        if dropped:
            self.items.appendleft(self._read({"dropped": dropped}))
        self.items.append(self._read(result))
        self.pushed += 1
        self.wake()

    def lost(self, error: BaskdError) -> None:
        self.detached = True
        self.wake()


def _lost_with(item: Any) -> int:
    """How many messages are lost with this one: more than it, if it says itself that some were."""
    dropped = item.get("dropped") if isinstance(item, dict) else item.dropped
    return dropped or 1


def message_feed(scope: str, method: str | None) -> FeedSink:
    if scope not in ("own", "all"):
        raise UsageError(f"The scope of messages is 'own' or 'all', not {scope!r}.")
    params = {"scope": scope} if method is None else {"scope": scope, "method": method}
    return FeedSink("messages.subscribe", params, _read_message, lossy=scope == "all")


def log_feed() -> FeedSink:
    return FeedSink("logs.subscribe", {}, lambda line: line, lossy=True)


def _read_message(result: dict[str, Any]) -> Message:
    if "dropped" in result:
        return Message(None, dropped=result["dropped"])
    return Message(result.get("data"), result.get("method"), result.get("call"), result.get("request"))


class Session:
    def __init__(self) -> None:
        self._last_id = 0
        self._pending: dict[Any, Pending] = {}
        self._sinks: dict[Any, Sink] = {}
        self._chunks: list[bytes] = []  # of a line whose end has not come yet
        self.outgoing: list[bytes] = []  # what the bytes that were fed call for, to be written by whoever fed them

    def request(self, method: str, params: Params = None, sink: Sink | None = None) -> tuple[Pending, bytes]:
        """A request, and the line that is to be written for it."""
        line = self._line(self._last_id + 1, method, params)
        self._last_id += 1
        pending = self._pending[self._last_id] = Pending(self._last_id, method, sink)
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
        pending, self._pending = self._pending, {}
        sinks, self._sinks = self._sinks, {}
        for request in pending.values():
            request.unsent = request.start >= sent
            if request.sink is not None:
                request.sink.lost(error)
            # A copy for each, because several threads may raise them.
            request.settle(error=copy.copy(error))
        for sink in sinks.values():
            sink.lost(error)

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
        if error is not None and message.get("id") is None:
            # Nobody can be told whose it was: a refusal of this connection, or of a request beyond reading.
            raise error
        pending = self._pending.pop(message.get("id"), None)
        if pending is None:
            return  # a cancelled one's
        if pending.sink is not None:
            self._subscribed(pending.sink, message.get("result"), error)
        pending.settle(message.get("result"), error)

    def _subscribed(self, sink: Sink, subscription: Any, error: BaskdError | None) -> None:
        if error is not None:
            sink.fail(copy.copy(error))
            return
        # At once, for its first items may be in the very bytes that are being fed.
        self._sinks[subscription] = sink
        sink.subscription = subscription
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
                del self._sinks[params["subscription"]]
        elif sink.over:
            self.outgoing.append(self.unsubscription(sink) or b"")

    def _unreadable(self, line: bytes, error: Exception) -> None:
        """A result nested too deep for this Python, or a number too long, is the matter of one call only."""
        if isinstance(error, RecursionError):
            error = RecursionError("nested too deep")
        found = _ID.match(line)
        pending = self._pending.pop(int(found[1]), None) if found else None
        if pending is None:
            raise Disconnected(f"The daemon sent what can't be read ({error}): {line[:100]!r}")
        pending.settle(error=BaskdError(f"The answer to {pending.method} can't be read here: {error}."))


def _parse(text: str) -> Any:
    """As `json.loads`, without its looking for white space around the value, of which the daemon writes none."""
    try:
        message, end = _decoder.scan_once(text, 0)
    except StopIteration:
        return _decoder.decode(text)
    return message if end == len(text) else _decoder.decode(text)


def with_options(method: str, params: Params, timeout: float | None) -> tuple[str, Params]:
    """The request for a call; one with a timeout goes by `rpc.call`."""
    if timeout is None:
        return method, params
    return "rpc.call", _options(method, params, timeout)


def stream_options(method: str, params: Params, timeout: float | None, window: int) -> dict[str, Any]:
    return {**_options(method, params, timeout), "window": window}


def _options(method: str, params: Params, timeout: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {"method": method}
    if params is not None:
        options["params"] = params
    if timeout is not None:
        if not 0 <= timeout < math.inf:
            raise UsageError(f"A timeout is a number of seconds, not {timeout}.")
        options["timeout_ms"] = max(1, math.ceil(timeout * 1000))
    return options


def arguments(method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Params:
    """A call's arguments as params: positional ones an array, keywords an object."""
    if args and kwargs:
        raise TypeError(
            f"{method}() takes its arguments by position or by name, not both: JSON-RPC has no way to say so"
        )
    return list(args) if args else kwargs or None


def unanswered(method: str, timeout: float | None) -> TimedOut:
    """Where even the daemon's TimedOut does not come: it is stopped, or starved."""
    return TimedOut(f"The daemon itself did not answer {method} within its {timeout} s: see `baskd status`.")
