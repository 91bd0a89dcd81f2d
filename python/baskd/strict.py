"""Two questions about a value: may a fast codec encode it, and if nothing can, where is the trouble?

The fast codecs take more than JSON has (bytes, dataclasses, sets, NaN as null). The standard encoder decides what a
result may be, so that a controller behaves the same whatever is installed; `is_plain` tells when both would agree.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Optional

# Of these the fast codecs encode everything as the standard one does, or raise: integers beyond 64 bits, surrogates.
ATOMS = frozenset({str, int, bool, type(None)})
_CONTAINERS = frozenset({dict, list, tuple})
_KNOWN = frozenset({float, *_CONTAINERS})
_KEYS = {str}

# Up to here a loop is faster than building sets of types.
_SMALL = 12
# What is nested deeper, or refers to itself, is left to the standard encoder's judgment.
_DEPTH = 64
# No encoder goes so deep; nor does the search for what is wrong.
_TOO_DEEP = 20_000


def is_plain(value: Any, depth: int = _DEPTH) -> bool:
    """Whether `value` is made of exactly dict with str keys, list, tuple, str, int, finite float, bool and None."""
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind is dict:
        if len(value) > _SMALL:
            return set(map(type, value)) == _KEYS and _bulk_is_plain(value.values(), depth)
        for key in value:
            if type(key) is not str:
                return False
        items = value.values()
    elif kind is list or kind is tuple:
        if len(value) > _SMALL:
            return _bulk_is_plain(value, depth)
        items = value
    else:
        return kind is float and isfinite(value)
    for item in items:
        kind = type(item)
        if kind in ATOMS:
            continue
        if kind is float:
            if not isfinite(item):
                return False
        elif kind not in _CONTAINERS or not depth or not is_plain(item, depth - 1):
            return False
    return True


def _bulk_is_plain(items: Any, depth: int) -> bool:
    kinds = set(map(type, items)) - ATOMS
    if not kinds:
        return True
    if not kinds <= _KNOWN:
        return False
    if float in kinds and not all(isfinite(item) for item in items if type(item) is float):
        return False
    kinds.discard(float)
    return not kinds or (depth > 0 and all(is_plain(item, depth - 1) for item in items if type(item) in _CONTAINERS))


class Fault:
    """Why a value is not JSON: `path` as `$.a[3]`, and `reason`, which names the remedy."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason


def find_fault(value: Any) -> Optional[Fault]:
    """The first thing in `value` that the standard encoder can't take. None if there seems to be nothing."""
    # An explicit stack: the value may be nested deeper than Python recurses.
    on_path: set[int] = set()
    stack: list[tuple[Any, Any]] = [(None, iter([("$", value)]))]
    while stack:
        container, items = stack[-1]
        entry = next(items, None)
        if entry is None:
            stack.pop()
            on_path.discard(id(container))
            continue
        path, item = entry
        reason = _reason(item)
        if reason is not None:
            return Fault(path, reason)
        if isinstance(item, (dict, list, tuple)):
            if id(item) in on_path:
                return Fault(path, "it contains itself")
            if len(stack) > _TOO_DEEP:
                return Fault("$", "it is nested too deeply")
            on_path.add(id(item))
            bad_key = _bad_key(item)
            if bad_key is not None:
                return Fault(path, bad_key)
            stack.append((item, _entries(item, path)))
    return None


def _entries(item: Any, path: str) -> Any:
    if len(path) > 300 and not path.endswith("…"):
        path += "…"
    whole = not path.endswith("…")
    if isinstance(item, dict):
        return ((path + (f".{key}" if str(key).isidentifier() else f"[{key!r}]") * whole, i) for key, i in item.items())
    return ((path + f"[{index}]" * whole, i) for index, i in enumerate(item))


def _bad_key(item: Any) -> Optional[str]:
    if not isinstance(item, dict):
        return None
    for key in item:
        if not isinstance(key, (str, int, float)) and key is not None:
            return f"a key of it is {_named(key)}: a JSON object's keys are strings; convert it with str(key)"
        if isinstance(key, float) and not isfinite(key):
            return f"a key of it is {key}, which JSON does not have; convert it with str(key)"
    return None


def _reason(item: Any) -> Optional[str]:
    if item is None or isinstance(item, (str, int, dict, list, tuple)):
        return None
    if isinstance(item, float):
        return None if isfinite(item) else f"{item} is not JSON; send None in its place"
    return f"{_named(item)} is not JSON; {_remedy(item)}"


def _named(item: Any) -> str:
    kind = type(item)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return f"{article} {name} object" if kind.__module__ != "builtins" or name == "object" else f"{article} {name}"


def _remedy(item: Any) -> str:
    kind = type(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return "convert it with x.decode() or base64.b64encode(x).decode()"
    if isinstance(item, (set, frozenset)) or hasattr(kind, "__next__"):
        return "convert it with list(x)"
    if isinstance(item, complex):
        return "convert it with [x.real, x.imag]"
    if hasattr(kind, "tolist"):
        return (
            "convert it with x.tolist()" if getattr(item, "ndim", 0) else "convert it with x.item(), float(x) or int(x)"
        )
    if hasattr(kind, "isoformat"):
        return "convert it with x.isoformat()"
    if hasattr(kind, "__dataclass_fields__"):
        return "convert it with dataclasses.asdict(x)"
    if hasattr(kind, "__float__"):
        return "convert it with float(x) or str(x)"
    if hasattr(kind, "__members__"):
        return "convert it with x.value"
    if hasattr(kind, "__fspath__"):
        return "convert it with str(x)"
    if callable(item):
        return "call it, or leave it out"
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
        return "convert it with dict(x)"
    if hasattr(kind, "__iter__"):
        return "convert it with list(x)"
    return "return a dict of what it holds"
