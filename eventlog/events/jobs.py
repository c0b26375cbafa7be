"""What can happen to a job. Stream: ``job-<job_id>``, job ids are UUIDs of version 7.

A claim's position in the log is its **token**: whoever ends an attempt names it, and an older one counts for nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from eventlog.events.base import Event, Int64

JobStatus = Literal["queued", "processing", "held", "completed", "failed", "cancelled", "expired"]
OnCrash = Literal["requeue", "fail", "ask"]
JobFailure = Literal["retries_exhausted", "not_retryable", "crash_loop", "crashed"]
RequeueReason = Literal["worker_lost", "lease_expired", "shutdown"]


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """How long to wait before an attempt that follows ``n`` failed ones: ``min(cap, base * factor**(n-1))``.

    Times are µs. ``jitter`` spreads it by that share to both sides; what was drawn is in `JobRetryScheduled`.
    """

    base_us: Int64 = 1_000_000
    factor: float = 2.0
    cap_us: Int64 = 300_000_000
    jitter: float = 0.2


class JobEnqueued(Event, frozen=True, kw_only=True, tag="job.enqueued"):
    """Work to be done. ``run_at`` and ``expires_at`` are µs since the epoch; of two jobs that can run, the one with the
    smaller ``priority`` goes first.
    """

    kind: str
    queue: str = "default"
    args: dict[str, Any] = {}
    priority: Int64 = 0
    run_at: Int64 | None = None
    expires_at: Int64 | None = None
    """It is not begun any more after this."""
    max_retries: Int64 = 3
    max_crashes: Int64 = 3
    retry_policy: RetryPolicy = RetryPolicy()
    timeout_us: Int64 | None = None
    on_crash: OnCrash = "requeue"
    unique_key: str | None = None
    """While a job with this key has not ended, no other can be enqueued with it."""
    parent_job_id: str | None = None
    batch_id: str | None = None
    schedule: str | None = None


class JobStarted(Event, frozen=True, kw_only=True, tag="job.started"):
    """A worker claimed it and begins an attempt; the position of this record is the token. ``lease_us``: how long the
    worker may be silent.
    """

    attempt: Int64
    worker_id: str
    lease_us: Int64


class JobProgressed(Event, frozen=True, kw_only=True, tag="job.progressed"):
    """How far an attempt is."""

    attempt: Int64
    done: Int64
    total: Int64 | None = None
    message: str = ""


class JobSucceeded(Event, frozen=True, kw_only=True, tag="job.succeeded"):
    """An attempt did it."""

    attempt: Int64
    worker_id: str
    duration_us: Int64
    result: Any = None


class JobAttemptFailed(Event, frozen=True, kw_only=True, tag="job.attempt_failed"):
    """An attempt raised, exited with an error, or took too long. What follows is in the next event."""

    attempt: Int64
    worker_id: str
    duration_us: Int64
    error_type: str
    message: str = ""
    traceback: str = ""
    """Its last 4 KiB."""
    retryable: bool = True


class JobRetryScheduled(Event, frozen=True, kw_only=True, tag="job.retry_scheduled"):
    """It will be tried again from ``run_at`` on, a time that has its jitter already."""

    run_at: Int64
    delay_us: Int64
    by: Literal["worker", "recovery", "operator"] = "worker"


class JobFailed(Event, frozen=True, kw_only=True, tag="job.failed"):
    """Nobody will try it again by himself."""

    reason: JobFailure


class JobCrashed(Event, frozen=True, kw_only=True, tag="job.crashed"):
    """Its worker is gone, or said nothing for longer than its lease. What follows is in the next event."""

    attempt: Int64
    worker_id: str
    duration_us: Int64
    rung: Literal["parent_wait", "lock_released", "other_boot", "process_gone", "lease_expired", "worker_unknown"]
    """What kind of evidence there is, the strongest first."""
    evidence: str


class JobRequeued(Event, frozen=True, kw_only=True, tag="job.requeued"):
    """An attempt is taken back, and the job waits again."""

    attempt: Int64
    reason: RequeueReason
    run_at: Int64


class JobHeld(Event, frozen=True, kw_only=True, tag="job.held"):
    """After a crash a person has to say what becomes of it: retry or cancel."""

    reason: str


class JobReleased(Event, frozen=True, kw_only=True, tag="job.released"):
    """Its worker stopped in good order and handed it back; the attempt is no failure."""

    attempt: Int64
    worker_id: str
    duration_us: Int64
    run_at: Int64


class JobSnoozed(Event, frozen=True, kw_only=True, tag="job.snoozed"):
    """The job itself asked to be run later; the attempt is no failure."""

    attempt: Int64
    worker_id: str
    duration_us: Int64
    until: Int64


class JobCancelRequested(Event, frozen=True, kw_only=True, tag="job.cancel_requested"):
    """Somebody wants it stopped; its worker is told at the next heartbeat."""

    by: str
    reason: str = ""


class JobCancelled(Event, frozen=True, kw_only=True, tag="job.cancelled"):
    """It will not be run, or its attempt was stopped."""

    by: str
    reason: str = ""
    attempt: Int64 | None = None
    worker_id: str | None = None
    duration_us: Int64 | None = None


class JobExpired(Event, frozen=True, kw_only=True, tag="job.expired"):
    """It was not begun in time."""


class JobRetryRequested(Event, frozen=True, kw_only=True, tag="job.retry_requested"):
    """Somebody wants a job that ended, or is held, run again."""

    by: str
    run_at: Int64
    max_retries: Int64
    reset_failures: bool = False


class JobChanged(Event, frozen=True, kw_only=True, tag="job.changed"):
    """While it waited: another time, priority or queue."""

    by: str
    run_at: Int64 | None = None
    priority: Int64 | None = None
    queue: str | None = None


class JobLateResultDiscarded(Event, frozen=True, kw_only=True, tag="job.late_result_discarded"):
    """Somebody who does not own the job any more said how it ended: kept as evidence, and changes nothing."""

    token: Int64
    outcome: Literal["succeeded", "failed", "released", "snoozed", "cancelled"]
    detail: Any = None


class JobPurged(Event, frozen=True, kw_only=True, tag="job.purged"):
    """It leaves the tables; statistics and events stay."""

    reason: str = "retention"


JOB_EVENTS: tuple[type[Event], ...] = (
    JobEnqueued,
    JobStarted,
    JobProgressed,
    JobSucceeded,
    JobAttemptFailed,
    JobRetryScheduled,
    JobFailed,
    JobCrashed,
    JobRequeued,
    JobHeld,
    JobReleased,
    JobSnoozed,
    JobCancelRequested,
    JobCancelled,
    JobExpired,
    JobRetryRequested,
    JobChanged,
    JobLateResultDiscarded,
    JobPurged,
)
JobEvent = (
    JobEnqueued
    | JobStarted
    | JobProgressed
    | JobSucceeded
    | JobAttemptFailed
    | JobRetryScheduled
    | JobFailed
    | JobCrashed
    | JobRequeued
    | JobHeld
    | JobReleased
    | JobSnoozed
    | JobCancelRequested
    | JobCancelled
    | JobExpired
    | JobRetryRequested
    | JobChanged
    | JobLateResultDiscarded
    | JobPurged
)
