"""`job_attempts`: one row per attempt that ended, whoever ended it.

The rows of a job are found by the positions of the events that end attempts in its stream.
"""

from __future__ import annotations

from typing import Any, Literal

from eventlog.events.jobs import (
    JobAttemptFailed,
    JobCancelled,
    JobCrashed,
    JobReleased,
    JobSnoozed,
    JobSucceeded,
)
from eventlog.projection import Journal, Record, Row

Outcome = Literal["succeeded", "failed", "crashed", "released", "snoozed", "cancelled"]


class JobAttempt(Row, frozen=True):
    """An attempt. Times are µs since the epoch, UTC; ``position`` is that of the event that ended it."""

    position: int
    job_id: str
    attempt: int
    outcome: Outcome
    worker_id: str | None
    started_at: int
    ended_at: int
    error_type: str | None
    message: str | None


_OUTCOMES: dict[type, Outcome] = {
    JobSucceeded: "succeeded",
    JobAttemptFailed: "failed",
    JobCrashed: "crashed",
    JobReleased: "released",
    JobSnoozed: "snoozed",
    JobCancelled: "cancelled",
}


def make(event: Any, record: Record) -> JobAttempt | None:
    """The row of an attempt; a job that is cancelled while it waits had none."""
    kind = type(event)
    if event.attempt is None:
        return None
    failed, crashed = kind is JobAttemptFailed, kind is JobCrashed
    return JobAttempt(
        record.position,
        record.stream[4:],
        event.attempt,
        _OUTCOMES[kind],
        event.worker_id,
        record.occurred_at - (event.duration_us or 0),
        record.occurred_at,
        event.error_type if failed else event.rung if crashed else None,
        event.message if failed else event.evidence if crashed else None,
    )


projections = (Journal("job_attempts", version=1, row=JobAttempt, types=tuple(_OUTCOMES), make=make),)
