"""How an attempt ended, as plain data that crosses from one process to another."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import msgspec

from eventlog.recorder.values import clip, plain, text
from eventlog.worker.context import Cancelled, DoNotRetry, RetryAt, Snooze

MAX_MESSAGE = 4096
MAX_TRACEBACK = 4096


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """It did the job."""

    result: Any = None


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It did not; ``retry_at`` (µs) instead of what the policy says."""

    error_type: str
    message: str = ""
    traceback: str = ""
    retryable: bool = True
    retry_at: int | None = None


class Crashed(msgspec.Struct, frozen=True, tag="crashed"):
    """Its process ended and said nothing."""

    evidence: str


class Snoozed(msgspec.Struct, frozen=True, tag="snoozed"):
    """It asked to be run later (µs)."""

    until: int


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """It was told to end, and did: because of what, the attempt knows."""


Outcome = Succeeded | Failed | Crashed | Snoozed | Stopped


def outcome_of(error: BaseException, non_retryable: Sequence[type[BaseException]] = ()) -> Outcome:
    """What an exception says about the attempt that it ended. Never raises."""
    if isinstance(error, Snooze):
        return Snoozed(error.at)
    if isinstance(error, Cancelled):
        return Stopped()
    return Failed(
        type_name(error),
        text(error, MAX_MESSAGE),
        _trace(error),
        retryable=not isinstance(error, (DoNotRetry, *non_retryable)),
        retry_at=error.at if isinstance(error, RetryAt) else None,
    )


def type_name(error: BaseException) -> str:
    """An exception's class, with its module unless that goes without saying."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    return clip(plain(name), 200)


def _trace(error: BaseException) -> str:
    try:
        lines = "".join(traceback.format_exception(error, limit=-30))
    except Exception as another:
        return f"<no traceback: {type(another).__name__}>"
    # Its end says most; a cut line at the beginning goes.
    return text(lines[-4 * MAX_TRACEBACK :], 4 * MAX_TRACEBACK)[-MAX_TRACEBACK:]
