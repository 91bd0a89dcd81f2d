"""One connection: a non-blocking socket, what is still to be written to it, and its `Session`.

Nothing here waits. `_threads.ThreadLink` and `aio.LoopLink` add when to read and write, and how to wait.
"""

from __future__ import annotations

import socket
import time

from ._errors import BaskdError, Disconnected
from ._retry import NEXT_SECONDS
from ._sinks import Pending, Sink, Waitable
from ._wire import Params, Session

_CHUNK = 1 << 16  # below malloc's threshold for mmap, so that allocating it for each read is cheap
_LARGE_CHUNK = 1 << 20


Sent = tuple["Link", Pending]  # what was asked where


class Outbox(Waitable):
    """What did not fit into the socket's buffer. Ready when it is empty, or never will be."""

    __slots__ = ("abandoned", "data")

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()
        self.abandoned = False

    def ready(self) -> bool:
        return self.abandoned or not self.data


class Link:
    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.session = Session()
        self.outbox = Outbox()
        self.lost: BaskdError | None = None
        self.proven = False  # a daemon has answered on it
        self.hung_up = False  # the daemon takes no more; what it has answered is still to be read
        self._next_until: float | None = None
        self._shared: dict[str, Pending] = {}
        self._written = 0  # bytes that ever went into the outbox

    def request(
        self, method: str, params: Params = None, sink: Sink | None = None, sent: list[Sent] | None = None
    ) -> Pending:
        """Writes a request. `sent` gets it before anything is written, so that who is interrupted here can still
        cancel it."""
        pending, line = self.session.request(method, params, sink)
        if sent is not None:
            sent.append((self, pending))
        pending.start = self._written
        self.write(line)
        if self.lost is not None:
            self._forsake(self.lost)  # it came after the others had been told
        return pending

    def shared(self, method: str) -> Pending:
        """A question to the daemon. Who asks while another waits shares the answer; none is kept, for it may change."""
        asked = self._shared.get(method)
        if asked is None or asked.done:
            asked = self._shared[method] = self.request(method)
        return asked

    def may_be_followed(self) -> bool:
        """Whether another daemon may still come after the one that this was connected to: for a while, if that has told
        somebody here that it stops."""
        if not self.session.stops:
            return False
        if self._next_until is None:
            self._next_until = time.monotonic() + NEXT_SECONDS
        return time.monotonic() < self._next_until

    def notify(self, method: str, params: Params) -> None:
        self.write(self.session.notification(method, params))

    def cancel(self, pending: Pending) -> None:
        """Has a request ended that nobody waits for any more."""
        self.write(self.session.cancellation(pending) or b"")

    def end(self, sink: Sink, error: BaskdError | None = None) -> None:
        """Ends a subscription from this side."""
        sink.fail(error)
        self.write(self.session.unsubscription(sink) or b"")

    def write(self, line: bytes) -> None:
        self.append(line)
        self.flush()

    def append(self, line: bytes) -> None:
        self._written += len(line)
        self.outbox.data += line

    def flush(self) -> None:
        """Writes what the socket takes now."""
        data = self.outbox.data
        if not data or self.lost is not None or self.hung_up:
            return
        try:
            while data:
                del data[: self.sock.send(data)]
        except BlockingIOError:
            return
        except OSError:
            # A daemon that stops takes no more, but has answers to give; or it may have said why before it hung up.
            # What is not written stays so until the end is read.
            self.hung_up = True
            self.receive()
        except BaseException:
            # An interrupt between a write and its bookkeeping would have bytes written twice.
            self.lose(Disconnected("Interrupted while writing to the daemon."))
            raise
        else:
            self.outbox.wake()

    def receive(self) -> None:
        """Takes what has come."""
        try:
            data = self.sock.recv(_LARGE_CHUNK if self.session.amid_line else _CHUNK)
            if not data:
                raise Disconnected("The daemon closed the connection.")
            self.session.feed(data)
        except BlockingIOError:
            pass
        except BaskdError as error:
            self.lose(error)
        except OSError as error:
            self.lose(_disconnected(error))
        except BaseException:
            self.lose(Disconnected("Interrupted while reading from the daemon."))
            raise
        outgoing, self.session.outgoing = self.session.outgoing, []
        for line in outgoing:
            self.write(line)

    def lose(self, error: BaskdError) -> None:
        if self.lost is None:
            try:
                self._lose(error)
            except BaseException:  # An interrupt. What others rely on is done nevertheless.
                self._lose(error)
                raise

    def _lose(self, error: BaskdError) -> None:
        """May be begun anew wherever it was interrupted."""
        self._retire()
        self._forsake(error)
        # Last, for who sees it without a lock may rely on all the rest.
        self.lost = error

    def _forsake(self, error: BaskdError) -> None:
        self.session.lose(error, sent=self._written - len(self.outbox.data))
        self.outbox.abandoned = True
        self.outbox.wake()

    def _retire(self) -> None:
        """Closes the socket."""
        self.sock.close()


def _disconnected(error: OSError) -> Disconnected:
    return Disconnected(f"The connection to the daemon broke: {error.strerror}.")
