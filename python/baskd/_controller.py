"""What a controller uses: `BaseController`, `concurrent`, `idempotent`, `Cancelled`, `cancelled()`, `traceparent()`.

This file stands alone. The PyPI client ships the same one, so that a controller imports, and can be tested, where no
router is: there `send()` says that nobody listens, `cancelled()` is False, and there is no trace.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

INVALID_PARAMS = -32602
PROPERTY_REFUSED = -32028

HOOKS = frozenset({"on_start", "on_snapshot", "on_restore", "on_stop"})


class Cancelled(BaseException):
    """Raised inside a method whose call was cancelled: by its client, by a time limit, or by a reader that is too slow.

    A BaseException, so that `except Exception` lets it through. Clean up in `finally`, then let it pass. Inside an
    `async def` it is an `asyncio.CancelledError` as well, so that asyncio's own tools clean up after themselves.
    """


class Refused(Exception):
    """A call that `setProperty` or `getProperty` refuses; `error` is the JSON-RPC error object to answer with."""

    def __init__(self, code: int, message: str, data: dict[str, Any]) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": data}


class Host:
    """The router's side of this file. The router replaces the one instance's functions when it starts."""

    def __init__(self) -> None:
        self.cancelled: Callable[[], bool] = lambda: False
        #: The `traceparent` of the call that is running here, and its `tracestate` if it has one; else nothing.
        self.trace: Callable[[], Sequence[str]] = tuple


host = Host()


def cancelled() -> bool:
    """Whether the call that is running here was cancelled. False outside of a call.

    Made for `@concurrent` methods, which run in threads, where `Cancelled` can't be raised from outside.
    """
    return host.cancelled()


def traceparent() -> Optional[str]:
    """The W3C `traceparent` that the caller gave with the call that is running here; None if it gave none.

    It is the call's own in each of a generator's steps, in an `async def` and the tasks that it starts, and in
    `@concurrent` methods. None outside of a call, and in a thread that a method has started itself: hand it over.

    To continue a trace of OpenTelemetry's, of which baskd itself needs nothing:

        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        def search(self, query: str):
            carrier = {"traceparent": baskd.traceparent() or "", "tracestate": baskd.tracestate() or ""}
            caller = TraceContextTextMapPropagator().extract(carrier)
            with trace.get_tracer("search").start_as_current_span("search", context=caller):
                ...
    """
    given = host.trace()
    return given[0] if given else None


def tracestate() -> Optional[str]:
    """The W3C `tracestate` that came with `traceparent()`; None if there was none."""
    given = host.trace()
    return given[1] if len(given) > 1 else None


def concurrent(function: Function) -> Function:
    """Marks a method that runs beside others, in a thread of its own. It asks `cancelled()` now and then.

    The main thread starts it, so one that comes while a plain method runs there waits for its end.
    """
    function.__baskd_concurrent__ = True  # type: ignore[attr-defined]
    return function


def idempotent(function: Function) -> Function:
    """Marks a method that may run again, once, if Python died while it ran and before it had sent anything."""
    function.__baskd_idempotent__ = True  # type: ignore[attr-defined]
    return function


class BaseController:
    """Base of a `Controller`: properties that clients set and get, and `send()` for partial results.

    A subclass need not call `super().__init__()`. It may have these hooks, each `def` or `async def`, which no client
    can call:

    - `on_start()` runs before the first call, after the properties that were set before are set again.
    - `on_snapshot()` returns, as JSON, what the next process is to know; `on_restore(state)` takes it there, before the
      first call; the properties are then set again, for they may be newer.
    - `on_stop()` runs after the last call.

    A snapshot is taken between two plain methods, on the main thread, now and then while others are under way: a
    generator may be paused at a yield, a coroutine at an await, and `@concurrent` methods run on in their threads.
    What these change in several steps, it has to guard itself, for one with a lock that `on_snapshot` takes, too.
    """

    _stream_func: Optional[Callable[[Any], None]] = None

    def setProperty(self, params: Any) -> Any:
        """Sets the property `name` to `value`, and gives the value."""
        return set_property(self, params)

    def getProperty(self, params: Any) -> Any:
        """Gives the value of the property `name`."""
        return get_property(self, params)

    def set_stream_func(self, stream_func: Callable[[Any], None]) -> None:
        """Sets the function that `send` hands its data to. The router does so; a test may."""
        self._stream_func = stream_func

    def send(self, data: Any) -> None:
        """Sends `data`, any JSON value, to the caller as a partial result of the call that is running.

        Waits while the caller is slow, except in an `async def`, where it can't: use `yield` in an async generator
        where much is sent. Raises a TypeError if `data` is not JSON.
        """
        if self._stream_func is None:
            raise RuntimeError("nobody listens to send() here; set_stream_func(print) makes it visible in a test")
        self._stream_func(data)


#: What a property can't be called, beside the names of methods: it would break the controller.
OWN_NAMES = frozenset(name for name in vars(BaseController) if not name.startswith("_")) | HOOKS


def set_property(controller: object, params: Any) -> Any:
    """Sets `controller.NAME`; params is `{"name": NAME, "value": VALUE}` or `[NAME, VALUE]`. Raises `Refused`."""
    name, value = _arguments(params, ("name", "value"))
    _check_name(controller, name)
    setattr(controller, name, value)
    return getattr(controller, name)


def get_property(controller: object, params: Any) -> Any:
    """The value of `controller.NAME`; params is `{"name": NAME}` or `[NAME]`. Raises `Refused`."""
    (name,) = _arguments(params, ("name",))
    _check_name(controller, name)
    try:
        return getattr(controller, name)
    except AttributeError:
        if class_attribute(controller, name) is not None:
            raise  # A property's getter failed: that is the controller's own error.
    names = sorted(
        other
        for other in {*dir(controller), *getattr(controller, "__dict__", ())}
        if not other.startswith("_") and other not in OWN_NAMES and not is_function(class_attribute(controller, other))
    )
    near = nearest(name, names)
    raise Refused(
        INVALID_PARAMS,
        f'There is no property "{name}"' + (f'; did you mean "{near[0]}"?' if near else "; set it with setProperty."),
        {"parameter": "name", "wanted": names, "got": name, "nearest": near},
    )


def nearest(name: str, names: list[str]) -> list[str]:
    """Those of `names` that `name` may be a slip of, nearest first."""
    import difflib  # only a mistake pays for it

    by_lower = {other.lower(): other for other in names}
    return [by_lower[lower] for lower in difflib.get_close_matches(name.lower()[:200], list(by_lower), 3, 0.5)]


def class_attribute(controller: object, name: str) -> Any:
    """What the controller's class holds under `name`, descriptors unresolved; None if there is nothing."""
    for cls in type(controller).__mro__:
        if name in vars(cls):
            return vars(cls)[name]
    return None


def is_function(attribute: Any) -> bool:
    """Whether a class attribute is a method: a function, a wrapped or a compiled one, a static or a class method."""
    if isinstance(attribute, (staticmethod, classmethod)):
        return True
    return callable(attribute) and hasattr(type(attribute), "__get__") and not isinstance(attribute, type)


def _arguments(params: Any, names: tuple[str, ...]) -> list[Any]:
    if isinstance(params, dict):
        given = params
    elif isinstance(params, (list, tuple)):
        if len(params) > len(names):
            raise Refused(
                INVALID_PARAMS,
                f"Too many parameters: {len(params)} were given, {len(names)} are wanted.",
                {"parameter": None, "wanted": len(names), "got": len(params)},
            )
        given = dict(zip(names, params))
    else:
        given = {}
    for name in names:
        if name not in given:
            raise Refused(
                INVALID_PARAMS,
                f'The parameter "{name}" is missing.',
                {"parameter": name, "wanted": list(names), "got": sorted(map(str, given))},
            )
    return [given[name] for name in names]


def _check_name(controller: object, name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise Refused(
            INVALID_PARAMS,
            "A property's name is a string that is not empty.",
            {"parameter": "name", "wanted": "string", "got": name},
        )
    if name.startswith("_"):
        why = "is private to the controller"
    elif name in OWN_NAMES:
        why = "is a name of BaseController's own"
    elif is_function(class_attribute(controller, name)):
        why = "is the name of a method"
    else:
        return
    raise Refused(PROPERTY_REFUSED, f'The property "{name}" is refused: it {why}.', {"name": name})
