"""Takes the wire's descriptors away from user code, before any of it is imported.

Afterwards whatever anyone prints, a C library or a child process among them, goes to a log; it can't break the wire.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple, Optional


class Descriptors(NamedTuple):
    """The wire's two ends, private and not inheritable, and the shared page's, where there is a daemon."""

    wire_in: int
    wire_out: int
    page: Optional[int]


def take() -> Descriptors:
    """Moves fds 0 and 1 to private numbers; 0 becomes /dev/null, and 1 what is printed: a log pipe, else stderr."""
    wire_in, wire_out = os.dup(0), os.dup(1)  # dup() gives descriptors that a child does not inherit
    for wire in (wire_in, wire_out):
        os.set_blocking(wire, True)

    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)

    printed = _from_environment("BASKD_STDOUT_FD")
    os.dup2(2 if printed is None else printed, 1)
    if printed is not None and printed > 2:
        os.close(printed)

    page = _from_environment("BASKD_PAGE_FD")
    if page is not None:
        os.set_inheritable(page, False)

    # What is printed is in the log as soon as its line is whole, and no character can make a print() raise.
    _as_utf8(sys.stdin, errors="replace")
    for printed_to in (sys.stdout, sys.stderr):
        _as_utf8(printed_to, errors="backslashreplace", line_buffering=True)
    return Descriptors(wire_in, wire_out, page)


def _from_environment(name: str) -> Optional[int]:
    text = os.environ.pop(name, "")
    return int(text) if text.isdigit() else None


def _as_utf8(stream: Any, **how: Any) -> None:
    stream.reconfigure(encoding="utf-8", **how)
