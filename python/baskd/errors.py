"""The error objects that the router answers with, whole: `{"code", "message", "data"}`."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Optional

from ._controller import INVALID_PARAMS, nearest

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
METHOD_ERROR = -32020
CANCELLED = -32024
RESULT_NOT_JSON = -32026

Error = dict[str, Any]

# Bounds on what an exception may say, in characters.
_SENTENCE = 500
_TEXT = 64 * 1024


class BadParams(Exception):
    """Params that don't fit a method; `error` is the object to answer with."""

    def __init__(self, message: str, parameter: Optional[str], wanted: Any, got: Any, near: Any = None) -> None:
        super().__init__(message)
        data = {"parameter": parameter, "wanted": wanted, "got": got}
        if near is not None:
            data["nearest"] = near
        self.error: Error = {"code": INVALID_PARAMS, "message": message, "data": data}


class NotJson(TypeError):
    """A value that JSON can't express. In a method, `send()` raises it."""

    def __init__(self, path: str, reason: str) -> None:
        where = "the value" if path == "$" else path
        super().__init__(f"{where} can't be sent: {reason}.")
        self.error: Error = {
            "code": RESULT_NOT_JSON,
            "message": f"ResultNotJson: {path}: {reason}.",
            "data": {"path": path},
        }


def cancelled() -> Error:
    """The answer of a call that its client gave up. The daemon knows better whose doing it was, and says so."""
    return {"code": CANCELLED, "message": "The call was cancelled.", "data": {"by": "client"}}


def method_not_found(name: Any, names: list[str]) -> Error:
    """The answer to a call of a method that is not there."""
    near = nearest(name, names) if isinstance(name, str) else []
    hint = f'; did you mean "{near[0]}"?' if near else "."
    return {"code": METHOD_NOT_FOUND, "message": f'There is no method "{name}"{hint}', "data": {"nearest": near}}


def method_error(problem: BaseException) -> Error:
    """The answer of a call whose method raised `problem`."""
    name = type(problem).__qualname__
    message = _text_of(problem)
    first_line = message.strip().split("\n", 1)[0]
    return {
        "code": METHOD_ERROR,
        "message": _shortened(f"{name}: {first_line}" if first_line else name, _SENTENCE),
        "data": {"type": name, "message": message, "traceback": traceback_of(problem)},
    }


def failure(stage: str, problem: BaseException, files: list[str]) -> dict[str, Any]:
    """Why the router can't start; `stage` is "import", "construct" or "on_start"; it may have to do with `files`."""
    return {
        "stage": stage,
        "type": type(problem).__qualname__,
        "message": _text_of(problem),
        "traceback": traceback_of(problem),
        "files": files,
    }


def traceback_of(problem: BaseException) -> str:
    """The formatted traceback from the controller's first frame on: how the router called it is of no interest."""
    import traceback  # only a failure pays for it

    try:
        return _shortened("".join(traceback.format_exception(type(problem), problem, user_frames(problem))), _TEXT)
    except BaseException:  # An exception of the user's own that can't be formatted.
        return f"{type(problem).__qualname__}\n"


def user_frames(problem: BaseException) -> Optional[TracebackType]:
    """The exception's traceback without the router's, and importlib's, frames before those of the user."""
    frames = problem.__traceback__
    while frames is not None and is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


def is_ours(filename: str) -> bool:
    """Whether that file is the router's, or a part of importlib."""
    return filename.startswith((_OURS, "<frozen importlib"))


def _text_of(problem: BaseException) -> str:
    try:
        return _shortened(str(problem), _TEXT)
    except BaseException:
        return "(its message can't be read: its __str__ raised)"


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} … {text[-half:]}"
