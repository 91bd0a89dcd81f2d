"""baskd: one Python kept warm, called from anywhere.

In a controller: `import baskd`, then `baskd.BaseController`, `@baskd.concurrent`, `@baskd.idempotent`,
`baskd.cancelled()`, `baskd.Cancelled`, `baskd.traceparent()`, `baskd.tracestate()`. In a client (`pip install baskd`):
`baskd.connect()` and the classes beside it; they come from `baskd.client`, which is imported when one of them is first
used.
"""

from pkgutil import extend_path
from typing import Any

# The router's package and the one from PyPI share this name; where both are, this one is found first and the other's
# modules stay reachable behind it.
__path__ = extend_path(__path__, __name__)

from ._controller import BaseController, Cancelled, cancelled, concurrent, idempotent, traceparent, tracestate
from ._version import VERSION as __version__

__all__ = [
    "BaseController",
    "Cancelled",
    "__version__",
    "cancelled",
    "concurrent",
    "idempotent",
    "traceparent",
    "tracestate",
]


def __getattr__(name: str) -> Any:
    # Not for just any name: the import system asks for those of submodules, too.
    if name in ("connect", "connect_async") or name[:1].isupper():
        from importlib import import_module

        try:
            return getattr(import_module("baskd.client"), name)
        except ModuleNotFoundError as missing:
            if missing.name != "baskd.client":
                raise
    raise AttributeError(f"module 'baskd' has no attribute {name!r} (its client comes with `pip install baskd`)")
