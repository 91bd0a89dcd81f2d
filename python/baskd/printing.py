"""Under the daemon, what Python prints tells which call printed it: each line that sys.stdout and sys.stderr write
while a call runs has a tag before it, `ESC _ baskd;ID;METHOD ESC \\`, which the daemon takes off.

The tag is put on between the text layer and the buffer, in the one `write()` that a `print()` comes to: nothing is
locked there, so that a signal's handler, or a `__del__`, may print in the middle of it; and whatever is written to
`sys.stdout.buffer` has its tag, too. All else is as Python has made it. Calls that print nothing pay nothing.

A tag means what follows it, to the end of the line or the next tag. So one too many does no harm, and two calls that
write in turns don't share a line.
"""

from __future__ import annotations

import io
import sys
import threading
from typing import TYPE_CHECKING, Any, Optional

from .calls import CURRENT

if TYPE_CHECKING:
    from .router import Router

#: A method's name is at most so long in a tag, in bytes; there is no tag for a longer one.
_LONGEST_NAME = 256


class Printed(io.BufferedWriter):
    """What is under sys.stdout, or sys.stderr, and puts the tags on."""

    #: That of the process, once it serves.
    router: Optional[Router] = None
    #: Whether nothing is to be kept back.
    is_unbuffered = False

    def write(self, data: Any) -> int:
        """As a BufferedWriter: all is taken."""
        tag = _tag(self.router) if len(data) else b""  # There is nothing where print() has an `end` that is empty.
        if tag:
            data = bytes(data)
            taken = len(data)
            inner = data.count(b"\n", 0, -1)
            if inner:
                data = data.replace(b"\n", b"\n" + tag, inner)
            super().write(tag + data)
        else:
            taken = super().write(data)
        if self.is_unbuffered:
            self.flush()
        return taken


def install() -> None:
    """Puts the tags under sys.stdout and sys.stderr, before anybody has taken hold of them."""
    sys.stdout = sys.__stdout__ = _over(sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _over(sys.stderr)  # type: ignore[misc]


def _over(stream: Any) -> Any:
    """A stream to the same descriptor that is set as that one is."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # Something that `sitecustomize` has put there, or nothing at all.
    stream.flush()
    raw = io.FileIO(stream.fileno(), "wb", closefd=False)
    raw.name = stream.name
    printed = Printed(raw)
    printed.is_unbuffered = not isinstance(stream.buffer, io.BufferedWriter)  # By `python -u`.
    made: Any = io.TextIOWrapper(
        printed,
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering,
        # Otherwise a print() is one write(), so that another thread's can't come between.
        write_through=printed.is_unbuffered,
    )
    made.mode = "w"
    return made


def _tag(router: Optional[Router]) -> bytes:
    """That of the call which this thread, or this task, works for; none where there is no such call."""
    call: Any = CURRENT.get()
    if call is None:
        # Another thread of the controller's own may work for anybody.
        if router is None or threading.get_ident() != router.main_thread:
            return b""
        call = router.current
        if call is None:
            return b""
    if type(call) is dict:
        ident, method = call["id"], call["method"]
    else:
        ident, method = call.ident, call.method.name
    name = method.encode(errors="replace")
    return b"\x1b_baskd;%d;%b\x1b\\" % (ident, name) if len(name) <= _LONGEST_NAME else b""


#: What runs within a print(), for those who look at frames.
CODES = (Printed.write.__code__, _tag.__code__)
