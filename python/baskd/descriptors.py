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
    """The wire's ends and the page as the daemon gave them, by number; without a daemon, what was stdin and stdout."""
    given = [int(number) for number in os.environ.pop("BASKD_FDS", "").split(",") if number]
    if given:
        wire_in, wire_out, page = given
        for descriptor in given:
            os.set_inheritable(descriptor, False)
    else:
        wire_in, wire_out, page = *_move_standard(), None
    for wire in (wire_in, wire_out):
        os.set_blocking(wire, True)

    # What is printed is in the log as soon as its line is whole, and no character can make a print() raise.
    _as_utf8(sys.stdin, errors="replace")
    for printed_to in (sys.stdout, sys.stderr):
        _as_utf8(printed_to, errors="backslashreplace", line_buffering=True)
    return Descriptors(wire_in, wire_out, page)


def _move_standard() -> tuple[int, int]:
    """Moves fds 0 and 1 to private numbers; 0 becomes /dev/null, and what is printed to 1 goes to stderr."""
    moved = os.dup(0), os.dup(1)  # dup() gives descriptors that a child does not inherit
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return moved


def _as_utf8(stream: Any, **how: Any) -> None:
    stream.reconfigure(encoding="utf-8", **how)
