"""Which of a controller's methods can be called, how, and what they say of themselves."""

from __future__ import annotations

import inspect
import types
from functools import partial
from typing import Any, Callable, Optional

from . import binding
from ._controller import (
    OWN_NAMES,
    BaseController,
    class_attribute,
    get_property,
    is_function,
    set_property,
)
from .schema import hints_of, schema_of
from .strict import is_plain

PLAIN, GENERATOR, ASYNC, ASYNC_GENERATOR = "plain", "generator", "async", "async generator"

_PROPERTY_METHODS = ("setProperty", "getProperty")


class Method:
    """One callable method: `bind(params)` gives the arguments that `function` is called with."""

    __slots__ = (
        "bind",
        "concurrent",
        "doc",
        "function",
        "hidden",
        "hints",
        "idempotent",
        "is_async",
        "is_property",
        "kind",
        "name",
        "quick",
        "signature",
        "slow",
        "starts",
        "takes_whole",
    )

    def __init__(self, name: str, function: Callable[..., Any], raw: Any = None) -> None:
        self.name = name
        self.function = function
        self.kind = _kind(function)
        self.concurrent = _is_marked(raw, "__baskd_concurrent__")
        self.idempotent = _is_marked(raw, "__baskd_idempotent__")
        #: Whether only the daemon itself may call it, and nobody is told of it: a hook.
        self.hidden = False
        self.become(self.kind)
        #: Whether what setProperty and getProperty refuse is this method's own answer.
        self.is_property = name in _PROPERTY_METHODS
        #: Whether the last call took so long that nothing should wait in a buffer while it runs. Unknown is slow.
        self.slow = True
        #: Whether it is plain, and not slow.
        self.quick = False
        self.doc = inspect.getdoc(function)
        self.hints = hints_of(function)
        self.signature = _signature(function)
        self.takes_whole = binding.takes_whole(self.signature)
        if self.takes_whole:
            self.bind: binding.Binder = binding.whole
        else:
            self.bind = binding.build(self.signature, self.hints, _instance_name(function))

    def become(self, kind: str) -> None:
        """Says of which kind it is."""
        self.kind = kind
        #: Whether it runs in the asyncio loop, and whether it may outlive the moment in which its call is read.
        self.is_async = kind in (ASYNC, ASYNC_GENERATOR)
        self.starts = kind != PLAIN or self.concurrent

    def was(self, slow: bool) -> None:
        """Says how its last call was."""
        self.slow = slow
        self.quick = not slow and not self.starts

    def described(self) -> dict[str, Any]:
        """What the router says of the method when it is ready."""
        hints = self.hints
        parameters = list(self.signature.parameters.values())
        return {
            "name": self.name,
            "doc": written(self.doc) if self.doc is not None else None,
            "kind": self.kind,
            "concurrent": self.concurrent,
            "idempotent": self.idempotent,
            "params": [] if self.takes_whole else [_described(p, hints) for p in parameters if p.kind not in _VARIADIC],
            "whole": self.takes_whole,
            "extra": any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters),
            "result": schema_of(hints["return"]) if "return" in hints and self.kind in (PLAIN, ASYNC) else {},
        }


def discover(controller: object) -> dict[str, Method]:
    """The methods of `controller` by name: its classes' functions, but for private ones, hooks and BaseController's."""
    methods = {}
    for cls in reversed(type(controller).__mro__):
        if cls in (object, BaseController):
            continue
        for name in vars(cls):
            if name.startswith("_") or (name in OWN_NAMES and name not in _PROPERTY_METHODS):
                continue
            if not name.isidentifier():  # By setattr it may be anything, and goes over the wire as it is.
                continue
            raw = class_attribute(controller, name)
            if is_function(raw):
                methods[name] = Method(name, getattr(controller, name), raw)
    for name, stated, function in (("setProperty", _set, set_property), ("getProperty", _get, get_property)):
        if name not in methods:
            # Listed with the parameters that clients give; the function reads them, and says what is wrong with them.
            method = Method(name, stated)
            method.doc, method.function, method.bind = (
                inspect.getdoc(stated),
                partial(function, controller),
                _read_by_itself,
            )
            methods[name] = method
    return methods


def _set(name: str, value: Any) -> Any:
    """Sets the property `name` to `value`, and gives the value."""


def _get(name: str) -> Any:
    """Gives the value of the property `name`."""


def _read_by_itself(params: Any) -> binding.Arguments:
    return ({} if params is None else params,), {}


_LONGEST_DEFAULT = 200

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _described(parameter: inspect.Parameter, hints: dict[str, Any]) -> dict[str, Any]:
    required = parameter.default is inspect.Parameter.empty
    described: dict[str, Any] = {"name": parameter.name, "required": required}
    if not required and _can_be_told(parameter.default):
        described["default"] = parameter.default
    hint = hints.get(parameter.name)
    described["schema"] = schema_of(hint) if hint is not None else {}
    return described


def written(doc: str) -> str:
    """A docstring as any JSON parser takes it: a lone surrogate is none that it does."""
    return doc.encode("utf-8", "replace").decode()


def _can_be_told(default: Any) -> bool:
    """Whether a default helps whoever reads it: a small value that any JSON parser takes."""
    if isinstance(default, int) and not -(1 << 53) <= default <= 1 << 53:
        return False
    if isinstance(default, str):
        return len(default) <= _LONGEST_DEFAULT and default == written(default)
    if isinstance(default, (list, tuple, dict)):
        return not default
    return is_plain(default)


def _kind(function: Callable[..., Any]) -> str:
    """What a call gives. A wrapper passes on what it wraps, as a rule; where not, the router sees it at the call."""
    innermost = inspect.unwrap(function)
    if inspect.isasyncgenfunction(innermost):
        return ASYNC_GENERATOR
    if inspect.iscoroutinefunction(innermost):
        return ASYNC
    if inspect.isgeneratorfunction(innermost):
        return GENERATOR
    return PLAIN


def _is_marked(raw: Any, mark: str) -> bool:
    return bool(getattr(raw, mark, False) or getattr(getattr(raw, "__func__", None), mark, False))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # A compiled function that keeps its signature to itself: let it judge.
        return inspect.Signature(
            [
                inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
            ]
        )


def _instance_name(function: Callable[..., Any]) -> Optional[str]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_varnames[0] if isinstance(function, types.MethodType) and code and code.co_argcount else None
