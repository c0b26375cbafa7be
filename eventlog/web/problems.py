"""What an error becomes: a status, and problem details (RFC 9457) that name no path and show no traceback."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from eventlog import errors
from eventlog.wire import Problem

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_to_json = msgspec.json.Encoder().encode
_log = logging.getLogger("eventlog.web")

# An error's status is that of its class, or of the nearest one above it.
STATUSES: dict[type[Exception], int] = {
    errors.EventLogError: 500,
    errors.InvalidInput: 422,
    errors.EventTooLarge: 413,
    errors.Conflict: 409,
    errors.NotFound: 404,
    errors.ProjectionError: 503,
    errors.ProjectionPinned: 409,
    errors.ProjectionUnknown: 404,
    errors.LogBusy: 503,
    errors.LogReadOnly: 403,
    errors.LogMissing: 503,
    errors.LogClosed: 503,
    errors.LocksLost: 503,
    errors.ServerUnreachable: 503,
    errors.DiskFull: 507,
}
TRY_AGAIN = (errors.LogBusy, errors.ServerUnreachable, errors.LogClosed)
# Their messages name files, servers and what the driver said: whoever runs the server finds them in its own log.
_PRIVATE = (errors.StoreError, errors.Corrupt, errors.DecodeError, errors.RecorderError)
TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    410: "Gone",
    413: "Content too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    421: "Misdirected request",
    422: "Unprocessable content",
    500: "Internal server error",
    503: "Service unavailable",
    507: "Insufficient storage",
}


class Refused(Exception):
    """A request that is refused before it reaches the log."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None, close: bool = False) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        if close:
            self.headers["connection"] = "close"


class ClientGone(Exception):
    """Nobody waits for the answer, or nobody is to wait for the rest of it."""


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    return next((STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES), 500)


def answer(error: Exception, *, hidden: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers for an error. ``hidden``: text (the log's path) that is not to be shown."""
    if isinstance(error, Refused):
        return error.status, _body("Refused", error.status, error.detail), error.headers
    if isinstance(error, RecursionError):
        return 400, _body("InvalidInput", 400, "the JSON is nested too deeply"), {}
    if not isinstance(error, errors.EventLogError):
        _log.error("a request failed", exc_info=error)
        return 500, _body("InternalError", 500, "something went wrong in the server; its own log says what"), {}
    status, name, detail = status_of(error), type(error).__name__, error.message
    facts: dict[str, Any] = {}
    if isinstance(error, _PRIVATE):
        _log.warning("%s: %r", name, error.message)
        detail = (type(error).__doc__ or "").strip().splitlines()[0]
    else:
        facts = {key: fact for key, fact in error.facts.items() if _plain(fact)}
        if hidden:
            detail = detail.replace(hidden, "the log")
    headers = {"retry-after": str(RETRY_AFTER_S)} if isinstance(error, TRY_AGAIN) else {}
    return status, _body(name, status, detail, facts), headers


def _plain(fact: object) -> bool:
    if isinstance(fact, (tuple, list)):
        return all(_plain(part) for part in fact)
    return fact is None or isinstance(fact, (str, int, float, bool))


def _body(name: str, status: int, detail: str, facts: dict[str, Any] | None = None) -> bytes:
    problem = Problem(
        type=f"urn:eventlog:{name}", title=TITLES.get(status, "Error"), status=status, detail=detail, facts=facts or {}
    )
    return _to_json(problem)
