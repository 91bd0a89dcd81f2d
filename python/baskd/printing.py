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
from threading import get_ident
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
    #: The last tag, and whose it is: one tuple, for another thread may change it at any time.
    last: tuple[int, bytes] = (0, b"")

    def write(self, data: Any) -> int:
        """As a BufferedWriter: all is taken."""
        # The call that this thread, or this task, works for.
        call: Any = CURRENT.get()
        if call is None:
            router = self.router
            # Another thread of the controller's own may work for anybody.
            if router is None or get_ident() != router.main_thread or (call := router.current) is None:
                return _write(self, data)
        ident = call["id"] if type(call) is dict else call.ident
        last = self.last
        tag = last[1] if last[0] == ident else self.tag(ident, call)
        if type(data) is not bytes:
            data = bytes(data)
        if data.find(b"\n", 0, -1) >= 0:
            _write(self, tag + data.replace(b"\n", b"\n" + tag, data.count(b"\n", 0, -1)))
        elif data:  # There is nothing where a print() has an `end` that is empty.
            _write(self, tag + data)
        return len(data)

    def tag(self, ident: int, call: Any) -> bytes:
        """That of a call; none if its method's name is too long for it."""
        name = (call["method"] if type(call) is dict else call.method.name).encode(errors="replace")
        tag = b"\x1b_baskd;%d;%b\x1b\\" % (ident, name) if len(name) <= _LONGEST_NAME else b""
        self.last = ident, tag
        return tag


class Unbuffered(Printed):
    """The same, where nothing is kept back, as by `python -u`."""

    def write(self, data: Any) -> int:
        """Writes at once."""
        taken = super().write(data)
        self.flush()
        return taken


_write = io.BufferedWriter.write


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
    is_buffered = isinstance(stream.buffer, io.BufferedWriter)
    printed = Printed(raw) if is_buffered else Unbuffered(raw)
    made: Any = io.TextIOWrapper(
        printed,
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering,
        # Otherwise a print() is one write(), so that another thread's can't come between.
        write_through=not is_buffered,
    )
    made.mode = "w"
    return made


#: What runs within a print(), for those who look at frames.
CODES = (Printed.write.__code__, Printed.tag.__code__, Unbuffered.write.__code__)
