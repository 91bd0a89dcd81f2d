"""What is waited for: requests that await their answers, and the receiving ends of subscriptions. No I/O."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, NamedTuple

from ._errors import BaskdError, Disconnected, Lagged, UsageError, from_wire, to_one_caller

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
    restarted: bool = False
    """If true, this is no message, but says that the connection was lost and set up again here: what was sent
    in between, if anything, is not known."""


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


class Never(Waitable):
    """What is never ready: who waits for it waits for the end of a connection."""

    def ready(self) -> bool:
        return False


class Pending(Waitable):
    """A request that awaits its answer."""

    __slots__ = ("about", "done", "error", "id", "sink", "start", "unsent", "value")

    def __init__(self, id: int, about: str, sink: Sink | None) -> None:
        super().__init__()
        self.id = id
        self.about = about  # the method that is called, also where that goes by `rpc.call` or `stream.call`
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

    def lost(self, error: BaskdError, sent: int) -> None:
        """The connection is gone, when `sent` bytes of all that was ever written had left."""
        if self.done:
            return
        self.unsent = self.start >= sent
        self.settle(error=to_one_caller(error, self.about, begun=not self.unsent))

    def settle(self, value: Any = None, error: BaskdError | None = None) -> None:
        self.value, self.error, self.done = value, error, True
        self.wake()


class Sink(Waitable):
    """The receiving end of a subscription."""

    __slots__ = ("about", "error", "items", "over", "subscription")

    def __init__(self) -> None:
        super().__init__()
        self.about = ""  # what it was asked for with
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

    def acknowledged(self) -> None:
        """The daemon has taken the subscription."""

    def lost(self, error: BaskdError) -> None:
        self.fail(to_one_caller(error, self.about))


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

    __slots__ = ("_read", "detached", "fed", "lossy", "pending", "pushed", "request")

    def __init__(self, method: str, params: dict[str, Any], read: Callable[[Any], Any], lossy: bool) -> None:
        super().__init__()
        self.request = (method, params)
        self.pending: Pending | None = None  # the latest request to subscribe
        self.detached = True  # no connection feeds it
        self.fed = False  # one does or did
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
        if len(self.items) >= _KEPT:
            self.items.appendleft(self._read(_told_of([self.items.popleft(), self.items.popleft()])))
        self.items.append(self._read(result))
        self.pushed += 1
        self.wake()

    def acknowledged(self) -> None:
        if self.fed:
            self.push({"restarted": True})
        self.fed = True

    def lost(self, error: BaskdError) -> None:
        if not isinstance(error, Disconnected):  # the daemon said why it hung up: it would again
            self.fail(to_one_caller(error, self.about))
            return
        self.detached = True
        self.wake()


def _told_of(lost: list[Any]) -> dict[str, Any]:
    """The event that stands for those that are lost, which may be such events themselves."""
    events = [item if isinstance(item, dict) else item._asdict() for item in lost]
    told: dict[str, Any] = {"dropped": sum(event.get("dropped") or not event.get("restarted") for event in events)}
    if any(event.get("restarted") for event in events):
        told["restarted"] = True
    return told


def message_feed(scope: str, method: str | None) -> FeedSink:
    if scope not in ("own", "all"):
        raise UsageError(f"The scope of messages is 'own' or 'all', not {scope!r}.")
    params = {"scope": scope} if method is None else {"scope": scope, "method": method}
    return FeedSink("messages.subscribe", params, _read_message, lossy=scope == "all")


def log_feed(lines: int | None) -> FeedSink:
    params = {} if lines is None else {"lines": lines}
    return FeedSink("logs.subscribe", params, lambda line: line, lossy=True)


def _read_message(result: dict[str, Any]) -> Message:
    if "dropped" in result or "restarted" in result:
        return Message(None, dropped=result.get("dropped", 0), restarted=bool(result.get("restarted")))
    return Message(result.get("data"), result.get("method"), result.get("call"), result.get("request"))
