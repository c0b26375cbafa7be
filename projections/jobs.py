"""`jobs`: one row per job, and `job_counts`: how many of them ended, and how.

``ready_at`` is set while a job waits, ``claimed_at`` from a claim until it is settled what came of it, ``ended_at``
once it ended: claims and recovery find theirs in indexes that hold those jobs alone, however many have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from eventlog.events.jobs import (
    JobAttemptFailed,
    JobCancelled,
    JobCancelRequested,
    JobChanged,
    JobCrashed,
    JobEnqueued,
    JobExpired,
    JobFailed,
    JobHeld,
    JobLateResultDiscarded,
    JobProgressed,
    JobPurged,
    JobReleased,
    JobRequeued,
    JobRetryRequested,
    JobRetryScheduled,
    JobSnoozed,
    JobStarted,
    JobStatus,
    JobSucceeded,
    OnCrash,
    RetryPolicy,
)
from eventlog.projection import Entity, Record, Rollup, Row, Sparse


class Job(Row, frozen=True):
    """A job. Times are µs since the epoch, UTC; durations are µs.

    ``attempt`` counts every attempt, ``failures`` those that count against ``max_retries``, ``crashes`` those whose
    worker was lost. ``wait_us`` is how long the last attempt could have begun before it did, ``run_us`` how long it
    took.
    """

    job_id: str
    status: JobStatus
    queue: str
    kind: str
    priority: int
    ready_at: int | None
    claimed_at: int | None
    created_at: int
    updated_at: int
    started_at: int | None = None
    ended_at: int | None = None
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    token: int | None = None
    worker_id: str | None = None
    lease_us: int | None = None
    wait_us: int | None = None
    run_us: int | None = None
    progress_done: int | None = None
    progress_total: int | None = None
    progress_message: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    reason: str | None = None
    cancel_requested_by: str | None = None
    max_retries: int = 3
    max_crashes: int = 3
    on_crash: OnCrash = "requeue"
    retry_policy: RetryPolicy | None = None
    timeout_us: int | None = None
    expires_at: int | None = None
    unique_key: str | None = None
    parent_job_id: str | None = None
    batch_id: str | None = None
    schedule: str | None = None
    args: dict[str, Any] = {}
    result: Any | None = None


class JobCount(Row, frozen=True):
    """Jobs in the table that ended."""

    status: str
    queue: str
    kind: str
    jobs: int


_NO_POLICY = RetryPolicy()


def _enqueued(row: Job | None, event: JobEnqueued, record: Record) -> Job:
    if row is not None:
        return row
    return enqueued(record.stream[4:], event, record.occurred_at)


def enqueued(job_id: str, event: JobEnqueued, at: int) -> Job:
    """A job as it begins."""
    policy = event.retry_policy
    return Job(
        job_id,
        "queued",
        event.queue,
        event.kind,
        event.priority,
        at if event.run_at is None else event.run_at,
        None,
        at,
        at,
        max_retries=event.max_retries,
        max_crashes=event.max_crashes,
        on_crash=event.on_crash,
        retry_policy=None if policy == _NO_POLICY else policy,
        timeout_us=event.timeout_us,
        expires_at=event.expires_at,
        unique_key=event.unique_key,
        parent_job_id=event.parent_job_id,
        batch_id=event.batch_id,
        schedule=event.schedule,
        args=event.args,
    )


def _started(row: Job, event: JobStarted, record: Record) -> Job:
    at = record.occurred_at
    return replace(
        row,
        status="processing",
        ready_at=None,
        claimed_at=at,
        updated_at=record.occurred_at,
        started_at=at,
        ended_at=None,
        attempt=event.attempt,
        token=record.position,
        worker_id=event.worker_id,
        lease_us=event.lease_us,
        wait_us=0 if row.ready_at is None else max(0, at - max(row.ready_at, row.created_at)),
        run_us=None,
        progress_done=None,
        progress_total=None,
        progress_message=None,
    )


def _progressed(row: Job, event: JobProgressed, record: Record) -> Job:
    return replace(
        row,
        progress_done=event.done,
        progress_total=event.total,
        progress_message=event.message,
        updated_at=record.occurred_at,
    )


def _ended(row: Job, status: JobStatus, record: Record, **fields: Any) -> Job:
    return replace(
        row,
        status=status,
        ready_at=None,
        claimed_at=None,
        ended_at=record.occurred_at,
        updated_at=record.occurred_at,
        **fields,
    )


def _succeeded(row: Job, event: JobSucceeded, record: Record) -> Job:
    return replace(
        row,
        status="completed",
        ready_at=None,
        claimed_at=None,
        ended_at=record.occurred_at,
        updated_at=record.occurred_at,
        run_us=event.duration_us,
        error_type=None,
        error_message=None,
        reason=None,
        cancel_requested_by=None,
        result=event.result,
    )


def _attempt_failed(row: Job, event: JobAttemptFailed, record: Record) -> Job:
    return replace(
        row,
        failures=row.failures + 1,
        run_us=event.duration_us,
        error_type=event.error_type,
        error_message=event.message,
        updated_at=record.occurred_at,
    )


def _waits(row: Job, at: int, record: Record, **fields: Any) -> Job:
    return replace(
        row, status="queued", ready_at=at, claimed_at=None, ended_at=None, updated_at=record.occurred_at, **fields
    )


def _retry_scheduled(row: Job, event: JobRetryScheduled, record: Record) -> Job:
    return _waits(row, event.run_at, record, reason=None)


def _requeued(row: Job, event: JobRequeued, record: Record) -> Job:
    return _waits(row, event.run_at, record, reason=event.reason)


def _released(row: Job, event: JobReleased, record: Record) -> Job:
    return _waits(row, event.run_at, record, reason="shutdown", run_us=event.duration_us)


def _snoozed(row: Job, event: JobSnoozed, record: Record) -> Job:
    return _waits(row, event.until, record, reason="snoozed", run_us=event.duration_us)


def _retry_requested(row: Job, event: JobRetryRequested, record: Record) -> Job:
    return _waits(
        row,
        event.run_at,
        record,
        reason="retry_requested",
        cancel_requested_by=None,
        # Who wants it run after it was too late does not want it to expire again.
        expires_at=None if row.expires_at is None or row.expires_at < event.run_at else row.expires_at,
        max_retries=event.max_retries,
        failures=0 if event.reset_failures else row.failures,
        crashes=0 if event.reset_failures else row.crashes,
    )


def _failed(row: Job, event: JobFailed, record: Record) -> Job:
    return _ended(row, "failed", record, reason=event.reason)


def _crashed(row: Job, event: JobCrashed, record: Record) -> Job:
    return replace(
        row,
        crashes=row.crashes + 1,
        run_us=event.duration_us,
        error_type=event.rung,
        error_message=event.evidence,
        updated_at=record.occurred_at,
    )


def _held(row: Job, event: JobHeld, record: Record) -> Job:
    at = record.occurred_at
    claimed_at = at if row.claimed_at is None else row.claimed_at
    return replace(
        row, status="held", ready_at=None, claimed_at=claimed_at, ended_at=None, reason=event.reason, updated_at=at
    )


def _cancel_requested(row: Job, event: JobCancelRequested, record: Record) -> Job:
    return replace(row, cancel_requested_by=event.by, updated_at=record.occurred_at)


def _cancelled(row: Job, event: JobCancelled, record: Record) -> Job:
    run_us = row.run_us if event.attempt is None else event.duration_us
    return _ended(row, "cancelled", record, reason=event.reason, cancel_requested_by=event.by, run_us=run_us)


def _expired(row: Job, event: JobExpired, record: Record) -> Job:
    return _ended(row, "expired", record, reason="not begun in time")


def _changed(row: Job, event: JobChanged, record: Record) -> Job:
    return replace(
        row,
        ready_at=row.ready_at if event.run_at is None or row.status != "queued" else event.run_at,
        priority=row.priority if event.priority is None else event.priority,
        queue=row.queue if event.queue is None else event.queue,
        updated_at=record.occurred_at,
    )


def _unchanged(row: Job, event: object, record: Record) -> Job:
    return row


_STEPS: dict[type, Callable[[Any, Any, Record], Job]] = {
    JobEnqueued: _enqueued,
    JobStarted: _started,
    JobProgressed: _progressed,
    JobSucceeded: _succeeded,
    JobAttemptFailed: _attempt_failed,
    JobRetryScheduled: _retry_scheduled,
    JobFailed: _failed,
    JobCrashed: _crashed,
    JobRequeued: _requeued,
    JobHeld: _held,
    JobReleased: _released,
    JobSnoozed: _snoozed,
    JobCancelRequested: _cancel_requested,
    JobCancelled: _cancelled,
    JobExpired: _expired,
    JobRetryRequested: _retry_requested,
    JobChanged: _changed,
    JobLateResultDiscarded: _unchanged,
}


def evolve(row: Job | None, event: object, record: Record) -> Job | None:
    """A job after one more event; events of a job that was never enqueued change nothing."""
    if row is None and type(event) is not JobEnqueued:
        return None
    return _STEPS[type(event)](row, event, record)


def counts(job: Job) -> Iterable[tuple[tuple[str, str, str], tuple[int]]]:
    """A job counts once it has ended."""
    return [] if job.ended_at is None else [((job.status, job.queue, job.kind), (1,))]


projections = (
    Entity(
        "jobs",
        version=1,
        row=Job,
        category="job",
        types=(*_STEPS, JobPurged),
        evolve=evolve,
        retires=JobPurged,
        indexes=(
            Sparse(("status", "job_id"), on="ended_at"),
            Sparse(("queue", "kind", "priority", "ready_at", "job_id"), on="ready_at"),
            Sparse(("job_id",), on="ready_at"),
            Sparse(("job_id",), on="claimed_at"),
            Sparse(("unique_key",), on="unique_key"),
            Sparse(("parent_job_id", "job_id"), on="parent_job_id"),
            Sparse(("batch_id", "job_id"), on="batch_id"),
        ),
    ),
    Rollup("job_counts", version=1, row=JobCount, source="jobs", measures=("jobs",), contribute=counts),
)
