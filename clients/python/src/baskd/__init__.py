"""baskd keeps one Python warm and shares it.

For a program that calls the daemon: `connect` and `connect_async`. For a controller that the daemon runs:
`concurrent`, `idempotent`, `cancelled`, `Cancelled`, `traceparent`, `tracestate` and `BaseController`, so that it can
also be imported and tested where no daemon is.
"""

from ._calls import CallHandle, Stream
from ._controller import BaseController, Cancelled, cancelled, concurrent, idempotent, traceparent, tracestate
from ._errors import (
    BackendCrashed,
    BackendUnavailable,
    BaskdError,
    BatchResponseTooLarge,
    BatchTooLarge,
    CallCancelled,
    Disconnected,
    Forbidden,
    InternalError,
    InvalidParams,
    InvalidRequest,
    Lagged,
    LimitExceeded,
    MethodError,
    MethodNotFound,
    NotRunning,
    Overloaded,
    ParseError,
    PropertyRefused,
    RequestTooLarge,
    ResponseTooLarge,
    ResultNotJson,
    StartFailed,
    TimedOut,
    TooManyConnections,
    TooManySubscriptions,
    UnsafeSocket,
    UsageError,
    WrongController,
)
from ._sinks import Message
from .aio import AsyncClient, AsyncStream, connect_async
from .client import Client, connect

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "BackendCrashed",
    "BackendUnavailable",
    "BaseController",
    "BaskdError",
    "BatchResponseTooLarge",
    "BatchTooLarge",
    "CallCancelled",
    "CallHandle",
    "Cancelled",
    "Client",
    "Disconnected",
    "Forbidden",
    "InternalError",
    "InvalidParams",
    "InvalidRequest",
    "Lagged",
    "LimitExceeded",
    "Message",
    "MethodError",
    "MethodNotFound",
    "NotRunning",
    "Overloaded",
    "ParseError",
    "PropertyRefused",
    "RequestTooLarge",
    "ResponseTooLarge",
    "ResultNotJson",
    "StartFailed",
    "Stream",
    "TimedOut",
    "TooManyConnections",
    "TooManySubscriptions",
    "UnsafeSocket",
    "UsageError",
    "WrongController",
    "cancelled",
    "concurrent",
    "connect",
    "connect_async",
    "idempotent",
    "traceparent",
    "tracestate",
]

__version__ = "0.1.0"
