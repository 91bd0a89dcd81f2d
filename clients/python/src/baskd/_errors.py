"""What can go wrong, one class for each row of the table in PROTOCOL.md, named by what a caller can do about it."""

from __future__ import annotations

import copy
import sys
from typing import Any, cast


class BaskdError(Exception):
    """The base of all errors of this package, and the class of a code that this version does not know.

    `code` is the JSON-RPC error code, or None where the error arose on this side of the socket; `data` is
    the error's `data`, None where there is none.
    """

    default_code: int | None = None

    def __init__(self, message: str, code: int | None = None, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is copied and pickled by its `args`, which here are the message alone.
        return type(self), (self.message, self.code, self.data)

    def __str__(self) -> str:
        return self.message

    def _from_data(self, key: str) -> Any:
        return self.data.get(key) if isinstance(self.data, dict) else None

    def _text(self, key: str) -> str | None:
        return cast("str | None", self._from_data(key))

    def _number(self, key: str) -> int | None:
        return cast("int | None", self._from_data(key))


# --- on this side of the socket -------------------------------------------------------------------------------


class UsageError(BaskdError, ValueError):
    """A name, path or option that can't be."""


class UnsafeSocket(BaskdError, PermissionError):
    """The socket's folder is one that somebody else could put a socket into."""


class WrongController(UsageError):
    """The daemon that answers at the socket serves another controller than the one that was asked for."""


class Disconnected(BaskdError, ConnectionError):
    """The connection is gone, and with it this call: it may have run or not. The next call connects again.

    `data` is `{"method": …}` where a call was under way.
    """


class NotRunning(Disconnected):
    """No daemon answers at the socket, and none is to be started or there is nothing to start."""


class StartFailed(NotRunning):
    """No daemon answers at the socket, and starting one failed: the message is what it said.

    `data` has `command`, `status` (None where it could not be run) and `stderr`.
    """


class Lagged(BaskdError):
    """Own messages were not taken fast enough, and some are lost. Subscribe again, and take them sooner."""


# --- JSON-RPC's own -------------------------------------------------------------------------------------------


class ParseError(BaskdError):
    default_code = -32700


class InvalidRequest(BaskdError):
    default_code = -32600


class MethodNotFound(BaskdError):
    default_code = -32601

    @property
    def nearest(self) -> list[str]:
        """Names of methods that are there, the nearest first."""
        return self._from_data("nearest") or []


class InvalidParams(BaskdError):
    default_code = -32602

    @property
    def parameter(self) -> str | None:
        return self._text("parameter")

    @property
    def wanted(self) -> Any:
        return self._from_data("wanted")

    @property
    def got(self) -> Any:
        return self._from_data("got")


class InternalError(BaskdError):
    default_code = -32603


# --- limits ---------------------------------------------------------------------------------------------------


class LimitExceeded(BaskdError):
    """A limit of the daemon's configuration was met."""

    @property
    def limit(self) -> int | None:
        return self._number("limit")


class TooManySubscriptions(LimitExceeded):
    default_code = -32006


class RequestTooLarge(LimitExceeded):
    default_code = -32007


class ResponseTooLarge(LimitExceeded):
    default_code = -32008


class TooManyConnections(LimitExceeded):
    default_code = -32009


class BatchTooLarge(LimitExceeded):
    default_code = -32010


class BatchResponseTooLarge(LimitExceeded):
    default_code = -32011


class Overloaded(LimitExceeded):
    """The daemon's queue is full."""

    default_code = -32025


# --- the backend ----------------------------------------------------------------------------------------------


class MethodError(BaskdError):
    """The controller's method raised. Uncaught, it shows the controller's traceback below one's own."""

    default_code = -32020

    def __init__(self, message: str, code: int | None = None, data: Any = None) -> None:
        super().__init__(message, code, data)
        if self.traceback and sys.version_info >= (3, 11):
            self.add_note(f"In the controller:\n{self.traceback.rstrip()}")

    @property
    def type(self) -> str | None:
        """The name of the exception's class in the controller."""
        return self._text("type")

    @property
    def traceback(self) -> str | None:
        return self._text("traceback")


class BackendCrashed(BaskdError):
    """Python died under this call."""

    default_code = -32021

    @property
    def ran(self) -> bool:
        """Whether the call had begun, so that it may have had effects."""
        return bool(self._from_data("ran") != "no")

    @property
    def exit(self) -> dict[str, Any]:
        """`{"code": N}` or `{"signal": N}`, with `"oom": True` if that was for want of memory."""
        return self._from_data("exit") or {}

    @property
    def snapshot_age_ms(self) -> int | None:
        """How old the state is that the next Python begins with; None: it begins without a snapshot."""
        return self._number("snapshot_age_ms")

    @property
    def stderr(self) -> list[str]:
        return self._from_data("stderr") or []


class BackendUnavailable(BaskdError):
    """Python can't start, or crashes in a loop."""

    default_code = -32022

    @property
    def reason(self) -> str | None:
        return self._text("reason")

    @property
    def stderr(self) -> list[str]:
        return self._from_data("stderr") or []

    @property
    def retry_ms(self) -> int | None:
        """When it is tried again; None: not by itself."""
        return self._number("retry_ms")


class TimedOut(BaskdError, TimeoutError):
    default_code = -32023

    @property
    def where(self) -> str | None:
        """Where the call was: "starting", "queued" or "running"; None if the daemon itself gave no answer."""
        return self._text("where")


class CallCancelled(BaskdError):
    """The call was cancelled. (`baskd.Cancelled` is what the controller's method sees.)"""

    default_code = -32024

    @property
    def by(self) -> str | None:
        """`"client"`, `"disconnect"`, `"slow reader"` or `"shutdown"`."""
        return self._text("by")

    @property
    def never_began(self) -> bool:
        """Whether that was a daemon that stops, and says that it has not begun the call, and won't: it can be made
        again. The client has asked the next daemon, where there was one."""
        return self.by == "shutdown" and self._from_data("ran") == "no"


class ResultNotJson(BaskdError):
    default_code = -32026

    @property
    def path(self) -> str | None:
        """Where in the result, as `$.a[3]`."""
        return self._text("path")


class Forbidden(BaskdError):
    default_code = -32027

    @property
    def uid(self) -> int | None:
        return self._number("uid")


class PropertyRefused(BaskdError):
    default_code = -32028

    @property
    def name(self) -> str | None:
        return self._text("name")


def all_errors(base: type[BaskdError] = BaskdError) -> list[type[BaskdError]]:
    """`base` and what is derived from it."""
    return [base, *(error for sub in base.__subclasses__() for error in all_errors(sub))]


BY_CODE: dict[Any, type[BaskdError]] = {
    error.default_code: error for error in all_errors() if error.default_code is not None
}


def from_wire(error: Any) -> BaskdError:
    """The exception for the `error` member of a reply."""
    if not isinstance(error, dict):
        return BaskdError(f"The daemon sent an error that is no object: {error!r}")
    code = error.get("code")
    return BY_CODE.get(code, BaskdError)(str(error.get("message")), code, error.get("data"))


CLOSED = "This client was closed."
FORKED = "The connection is that of the process that this one was forked from."


def to_one_caller(error: BaskdError, about: str = "", begun: bool = True) -> BaskdError:
    """A copy of what several threads may raise, for one of them: for the call of `about`, if that was under way."""
    told = copy.copy(error)
    if about and begun and isinstance(told, Disconnected) and told.message != CLOSED and told.data is None:
        told.message = f"{told.message} {about} was under way, and may have run."
        told.args = (told.message,)
        told.data = {"method": about}
    return told
