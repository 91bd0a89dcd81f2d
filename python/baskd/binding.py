"""From JSON params to a function's arguments.

What can be known is worked out once, when the controller is loaded; a call runs one closure. It finds every mismatch
before the function is called, so that a TypeError from inside it is its own.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, NamedTuple, Optional

from ._controller import nearest
from .errors import BadParams
from .schema import JSON_NAMES, fitting

Arguments = tuple[Any, dict[str, Any]]
Binder = Callable[[Any], Arguments]

_NONE: dict[str, Any] = {}
_P = inspect.Parameter


class Check(NamedTuple):
    """The JSON types that plainly fit a parameter's hint."""

    name: str
    fits: frozenset[type]


def whole(params: Any) -> Arguments:
    """Binds the first parameter, named `params`, to all of them."""
    return ({} if params is None else params,), _NONE


def takes_whole(signature: inspect.Signature) -> bool:
    """Whether the first parameter is named `params`."""
    first = next(iter(signature.parameters.values()), None)
    return first is not None and first.name == "params" and first.kind in (_P.POSITIONAL_ONLY, _P.POSITIONAL_OR_KEYWORD)


def build(signature: inspect.Signature, hints: dict[str, Any], instance_name: Optional[str]) -> Binder:
    """A closure that gives `(args, kwargs)` or raises `BadParams`. `instance_name` is what the method calls `self`."""
    return _Builder(signature, hints, instance_name).binder()


class _Builder:
    def __init__(self, signature: inspect.Signature, hints: dict[str, Any], instance_name: Optional[str]) -> None:
        every = list(signature.parameters.values())
        named = [p for p in every if p.kind not in (_P.VAR_POSITIONAL, _P.VAR_KEYWORD)]
        self.positional = [p for p in named if p.kind is not _P.KEYWORD_ONLY]
        self.positional_only = [p for p in named if p.kind is _P.POSITIONAL_ONLY]
        self.names = [p.name for p in named]
        self.required = [p.name for p in named if p.default is _P.empty]
        self.takes_more = any(p.kind is _P.VAR_POSITIONAL for p in every)
        self.takes_any = any(p.kind is _P.VAR_KEYWORD for p in every)
        # `self` is bound already; given once more by name, it would be a TypeError of the call itself.
        self.taken = {instance_name} if instance_name else set()
        self.checks = [check for p in named for check in [_check(p, hints)] if check is not None]

    def binder(self) -> Binder:
        by_name, by_position = self.by_name(), self.by_position()
        # For what most calls are, params by name that are all right, one loop tells so.
        known: dict[str, Any] = dict.fromkeys(self.names)
        known.update(self.checks)
        required = frozenset(self.required)
        simple = not self.positional_only

        def bind(params: Any) -> Arguments:
            if type(params) is dict:
                if simple:
                    for name, value in params.items():
                        fits = known.get(name, ())
                        if fits is not None and type(value) not in fits:
                            return by_name(params)
                    if not required or required <= params.keys():
                        return (), params
                return by_name(params)
            if params is None:
                return by_name({})
            if type(params) is list:
                return by_position(params)
            raise BadParams("Params are an object or an array.", "params", ["object", "array"], _json_name(params))

        return bind

    def by_name(self) -> Callable[[dict[str, Any]], Arguments]:
        names, required, checks = frozenset(self.names), frozenset(self.required), tuple(self.checks)
        takes_any, taken = self.takes_any, self.taken
        positional_only = bool(self.positional_only)

        def bind(params: dict[str, Any]) -> Arguments:
            given = params.keys()
            if takes_any:
                if taken and not taken.isdisjoint(given) and not taken & names:
                    raise self.unknown(next(iter(taken)))
            elif not given <= names:  # First: a name that was mistyped is missing, too.
                raise self.unknown(next(name for name in params if name not in names))
            if not required <= given:
                raise self.missing(params)
            for name, fits in checks:
                if name in params and type(params[name]) not in fits:
                    raise _misfit(name, fits, params[name])
            return self.split(params) if positional_only else ((), params)

        return bind

    def by_position(self) -> Callable[[list[Any]], Arguments]:
        most = None if self.takes_more else len(self.positional)
        fits = {check.name: check.fits for check in self.checks}
        checks = [(index, p.name, fits[p.name]) for index, p in enumerate(self.positional) if p.name in fits]

        def bind(params: list[Any]) -> Arguments:
            count = len(params)
            if most is not None and count > most:
                raise BadParams(f"Too many parameters: {count} were given, {most} are wanted.", None, most, count)
            for index, parameter in enumerate(self.positional[count:], count):
                if parameter.default is _P.empty:
                    raise self.missing(dict(zip(self.names, params)), self.positional[index].name)
            for name in self.names[len(self.positional) :]:
                if name in self.required:
                    raise self.missing({}, name)
            for index, name, allowed in checks:
                if index < count and type(params[index]) not in allowed:
                    raise _misfit(name, allowed, params[index])
            return params, _NONE

        return bind

    def split(self, params: dict[str, Any]) -> Arguments:
        """For functions with positional-only parameters, which JSON may give by name all the same."""
        rest = dict(params)
        last = max((i for i, p in enumerate(self.positional_only) if p.name in rest), default=-1)
        leading = [rest.pop(p.name, p.default) for p in self.positional_only[: last + 1]]
        return leading, rest

    def missing(self, params: dict[str, Any], name: Optional[str] = None) -> BadParams:
        absent = name or next(name for name in self.required if name not in params)
        return BadParams(f'The parameter "{absent}" is missing.', absent, self.names, list(params))

    def unknown(self, name: str) -> BadParams:
        near = nearest(name, self.names)
        if near:
            hint = f'; did you mean "{near[0]}"?'
        elif self.names:
            hint = f"; there are {', '.join(self.names)}."
        else:
            hint = "; the method takes none."
        return BadParams(f'There is no parameter "{name}"{hint}', name, self.names, name, near)


def _check(parameter: inspect.Parameter, hints: dict[str, Any]) -> Optional[Check]:
    fits = fitting(hints[parameter.name]) if parameter.name in hints else None
    if fits is None:
        return None
    if parameter.default is None:
        fits |= {type(None)}  # `x: int = None` is written where Optional[int] is meant.
    return Check(parameter.name, fits)


def _misfit(name: str, fits: frozenset[type], value: Any) -> BadParams:
    wanted = sorted(JSON_NAMES[kind] for kind in fits if not (kind is int and float in fits))
    got = _json_name(value)
    return BadParams(
        f'The parameter "{name}" must be {" or ".join(map(_with_article, wanted))}, not {_with_article(got)}.',
        name,
        wanted[0] if len(wanted) == 1 else wanted,
        got,
    )


def _json_name(value: Any) -> str:
    return JSON_NAMES.get(type(value), type(value).__name__)


def _with_article(name: str) -> str:
    return name if name == "null" else f"an {name}" if name[0] in "aeiou" else f"a {name}"
