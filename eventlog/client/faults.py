"""What went wrong at a server, or on the way there, as the error that the log itself would raise."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from eventlog.errors import (
    EventLogError,
    EventTooLarge,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    ServerUnreachable,
    StoreError,
)
from eventlog.wire import Problem

PREFIX = "urn:eventlog:"
HINT = (
    "give the token of `eventlog serve` as EVENTLOG_TOKEN, or name its file by EVENTLOG_TOKEN_FILE or token_file=; "
    "the server said at its start which file that is"
)
_decode = msgspec.json.Decoder(Problem).decode


def needs_the_log(what: str) -> InvalidInput:
    """For what cannot be done through a server."""
    return InvalidInput(f"{what} needs the log itself: open its file or database, where this is its server")


def no_eventlog(url: str, what: str) -> str:
    """Something answers that is not ours."""
    return f"what answers at {url} is not `eventlog serve`, or one of another version: {what}"


def raise_refusal(url: str, status: int, data: bytes, *, writes: bool) -> NoReturn:
    """Raise what an answer that is no success means."""
    try:
        problem = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = None
    if problem is not None and problem.type.startswith(PREFIX):
        raise _error(url, problem, problem.type.removeprefix(PREFIX))
    text = no_eventlog(url, f"it says {status}, and not why")
    if writes and status >= 500 and status != 503:
        raise OutcomeUnknown(f"{text}; whether it was done is not known")
    raise ServerUnreachable(text)


def _error(url: str, problem: Problem, name: str) -> EventLogError:
    if name == "Refused":
        return _refused(url, problem)
    cls = _classes(EventLogError).get(name)
    if cls is None:
        return StoreError(f"the server of {url} failed: {problem.detail}")
    facts: dict[str, Any] = problem.facts
    # As unpickling does it: some classes have other parameters.
    error = cls.__new__(cls)
    EventLogError.__init__(error, problem.detail, **facts)
    return error


def _refused(url: str, problem: Problem) -> EventLogError:
    """What the server refused before it looked into the log."""
    match problem.status:
        case 401:
            return ServerUnreachable(f"the server of {url} does not know this token, or none was given: {HINT}")
        case 404:
            return NotFound(problem.detail)
        case 413:
            return EventTooLarge(problem.detail)
        case 400 | 422:
            return InvalidInput(problem.detail)
    return ServerUnreachable(f"the server of {url} refused the request: {problem.detail}")


def _classes(cls: type[EventLogError]) -> dict[str, type[EventLogError]]:
    """Our own errors by name, those that live beside what raises them too."""
    found = {cls.__name__: cls} if cls.__module__.startswith("eventlog.") else {}
    for child in cls.__subclasses__():
        found |= _classes(child)
    return found
