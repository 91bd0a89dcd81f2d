"""`on_snapshot()` and `on_restore(state)`, as the hidden methods by which the daemon calls them over the wire.

They run as any call does: in order, on the main thread, cancellable, `async def` or not. What is restored is followed
by the properties, for a snapshot is older than what was set since.
"""

from __future__ import annotations

import inspect
import sys
from types import GeneratorType
from typing import Any, Callable, Optional

from . import binding
from ._controller import class_attribute
from .methods import ASYNC, PLAIN, Method

ON_SNAPSHOT, ON_RESTORE = "on_snapshot", "on_restore"

#: The properties that could not be set, and why.
Refusals = list[tuple[str, Any, Exception]]


class BadHook(TypeError):
    """A hook that the router could not call; the message says how to write it."""


def discover(controller: object, setter: Method) -> dict[str, Method]:
    """Those of the two hooks that the controller has; `setter` is its `setProperty`."""
    hooks = {}
    for name in (ON_SNAPSHOT, ON_RESTORE):
        function = _hook(controller, name)
        if function is not None:
            hooks[name] = _snapshot(function) if name == ON_SNAPSHOT else _restore(function, setter)
    return hooks


def put_back(setter: Method, properties: dict[str, Any]) -> Refusals:
    """Sets properties again, in their order; gives those that can't be.

    One that can't be set, since the controller has changed, must keep neither the others nor any call from being
    served.
    """
    refused = []
    for name, value in properties.items():
        try:
            _assign(setter, name, value)
        except Exception as problem:
            refused.append((name, value, problem))
    return refused


async def put_back_async(setter: Method, properties: dict[str, Any]) -> Refusals:
    """The same, where `setProperty` is a method of the controller's own that is async."""
    refused = []
    for name, value in properties.items():
        try:
            given = _assign(setter, name, value)
            if inspect.isawaitable(given):
                await given
        except Exception as problem:
            refused.append((name, value, problem))
    return refused


def complain(refused: Refusals) -> None:
    """Tells the log. The value, and what the setter says of it, are not for it."""
    for name, _, problem in refused:
        kind = type(problem).__name__
        print(f"baskd: the property {name} can't be set again ({kind}); set it to see why", file=sys.stderr)


def _assign(setter: Method, name: str, value: Any) -> Any:
    arguments, named = setter.bind({"name": name, "value": value})
    return setter.function(*arguments, **named)


def _hook(controller: object, name: str) -> Optional[Callable[..., Any]]:
    """The hook, if it is there and not None. A `__getattr__` that has something for any name is not asked."""
    if class_attribute(controller, name) is None and name not in getattr(controller, "__dict__", ()):
        return None
    function: Any = getattr(controller, name)
    if function is None:
        return None
    if not callable(function):
        raise BadHook(f"{name} is a hook, which is called: it can't be {type(function).__name__}.")
    return function  # type: ignore[no-any-return]


def _snapshot(function: Callable[..., Any]) -> Method:
    method = _hidden(ON_SNAPSHOT, function, "()", "return the state, as JSON")

    def snapshot() -> Any:
        return _returned(ON_SNAPSHOT, function())

    async def snapshot_async() -> Any:
        given = function()
        return await given if inspect.isawaitable(given) else given

    method.function = snapshot_async if method.is_async else snapshot
    method.bind = lambda _: ((), {})
    return method


def _restore(function: Callable[..., Any], setter: Method) -> Method:
    method = _hidden(ON_RESTORE, function, "(state)", "take the state from `state`")
    if setter.is_async and not method.is_async:
        method.become(ASYNC)

    def restore(state: Any, properties: dict[str, Any]) -> None:
        _returned(ON_RESTORE, function(state))
        complain(put_back(setter, properties))

    async def restore_async(state: Any, properties: dict[str, Any]) -> None:
        given = function(state)
        if inspect.isawaitable(given):
            await given
        complain(await put_back_async(setter, properties))

    method.function = restore_async if method.is_async else restore
    method.bind = _bind_restore
    return method


def _bind_restore(params: Any) -> binding.Arguments:
    return (params["state"], params.get("properties") or {}), {}


def _hidden(name: str, function: Callable[..., Any], parameters: str, does: str) -> Method:
    """The hook as a method, if the router can call it with these parameters."""
    method = Method(name, function)
    stated = f"`def {name}(self{parameters[1:-1] and ', ' + parameters[1:-1]})`, which may be async"
    if method.kind not in (PLAIN, ASYNC):
        raise BadHook(f"{name} can't be a generator: write it as {stated}, and {does}.")
    try:
        # Not that of what it wraps: this is about what Python itself will say.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        signature = None  # A compiled function that keeps it to itself.
    if signature is not None:
        try:
            signature.bind(*(None for word in [parameters[1:-1]] if word))
        except TypeError as problem:
            raise BadHook(f"{name} can't be called with {parameters}: {problem}; write it as {stated}.") from None
    method.takes_whole = False
    method.concurrent = False  # Whatever it is marked: it is to see nothing half done by another plain method.
    method.become(method.kind)
    method.hidden = True
    return method


def _returned(name: str, given: Any) -> Any:
    """What a hook that is no `async def` has returned, if that is nothing that has yet to run."""
    if isinstance(given, GeneratorType):
        raise BadHook(f"{name} has returned a generator, of which nothing has run: return the state itself.")
    if inspect.isawaitable(given):
        if inspect.iscoroutine(given):
            given.close()
        raise BadHook(f"{name} has returned something to await, which nobody does: write it as `async def {name}`.")
    return given
