"""What type hints say: as JSON Schema for documentation, and as the JSON types that plainly fit."""

from __future__ import annotations

import types
import typing
from typing import Any, Callable, Literal, Optional, Union

JsonSchema = dict[str, Any]

_SIMPLE: dict[Any, JsonSchema] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    list: {"type": "array"},
    dict: {"type": "object"},
    tuple: {"type": "array"},
    type(None): {"type": "null"},
    None: {"type": "null"},
}

# Which Python types a decoded JSON value may have under a hint. An int will do for a float; a bool is no int here.
_FITS: dict[Any, frozenset[type]] = {
    int: frozenset({int}),
    float: frozenset({float, int}),
    str: frozenset({str}),
    bool: frozenset({bool}),
    list: frozenset({list}),
    dict: frozenset({dict}),
    type(None): frozenset({type(None)}),
}

JSON_NAMES: dict[type, str] = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    list: "array",
    dict: "object",
    type(None): "null",
}

_UNIONS = {Union, getattr(types, "UnionType", Union)}
_ARRAYS = {list, tuple, set, frozenset}
_DEPTH = 8


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The function's hints, resolved. One that can't be resolved is left out; the others stay."""
    target = function
    while hasattr(target, "__wrapped__"):
        target = target.__wrapped__
    target = getattr(target, "__func__", target)
    annotations = getattr(target, "__annotations__", None)
    if not annotations:
        return {}
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # Any name may be missing, and any expression may fail.
        pass
    found = {}
    for name, hint in annotations.items():
        if isinstance(hint, str):
            try:
                hint = eval(hint, getattr(target, "__globals__", {}))
            except Exception:
                continue
        found[name] = hint
    return found


def fitting(hint: Any) -> Optional[frozenset[type]]:
    """The types a JSON value may have under `hint`; None if any may do, since only plain contradictions count."""
    if typing.get_origin(hint) is getattr(typing, "Annotated", None):
        hint = hint.__origin__
    origin = typing.get_origin(hint)
    if origin in _UNIONS:
        parts = [fitting(part) for part in typing.get_args(hint)]
        return None if None in parts else frozenset().union(*(part for part in parts if part))
    try:
        return _FITS.get(type(None) if hint is None else origin or hint)
    except TypeError:  # A hint that can't be hashed.
        return None


def schema_of(hint: Any, depth: int = _DEPTH) -> JsonSchema:
    """A JSON Schema of `hint`; `{}`, which allows everything, for what has none."""
    try:
        return _schema_of(hint, depth) if depth else {}
    except Exception:  # Hints are the user's own and may be anything.
        return {}


def _schema_of(hint: Any, depth: int) -> JsonSchema:
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        described = [note for note in hint.__metadata__ if isinstance(note, str)]
        schema = schema_of(hint.__origin__, depth)
        return {**schema, "description": described[0]} if described else schema
    if origin in _UNIONS:
        return {"anyOf": [schema_of(part, depth - 1) for part in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if typing.is_typeddict(hint) if hasattr(typing, "is_typeddict") else hasattr(hint, "__total__"):
        fields = typing.get_type_hints(hint)
        return {
            "type": "object",
            "properties": {name: schema_of(field, depth - 1) for name, field in fields.items()},
            "required": sorted(hint.__required_keys__),
        }
    if origin is tuple and arguments[-1:] != (...,):
        return {"type": "array", "prefixItems": [schema_of(part, depth - 1) for part in arguments]}
    if origin in _ARRAYS or _is_sequence(origin):
        return {"type": "array", "items": schema_of(arguments[0], depth - 1)}
    if isinstance(origin, type) and issubclass(origin, typing.Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1], depth - 1)}
    return {}


def _is_sequence(origin: Any) -> bool:
    return (
        isinstance(origin, type)
        and origin.__module__ == "collections.abc"
        and origin.__name__
        in (
            "Sequence",
            "MutableSequence",
            "Collection",
            "Iterable",
        )
    )
