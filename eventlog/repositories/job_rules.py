"""What may become of a job: the state machine, as pure functions from a job's row to the events that follow."""

from __future__ import annotations

from hashlib import sha256
from math import inf
from typing import Literal

import msgspec

from eventlog.errors import IllegalTransition, InvalidInput
from eventlog.events import Event
from eventlog.events.jobs import (
    JobAttemptFailed,
    JobCancelled,
    JobCrashed,
    JobFailed,
    JobHeld,
    JobReleased,
    JobRequeued,
    JobRetryRequested,
    JobRetryScheduled,
    JobSnoozed,
    JobStatus,
    RetryPolicy,
)
from projections.jobs import Job
from projections.workers import Worker

STATUSES: tuple[JobStatus, ...] = ("queued", "processing", "held", "completed", "failed", "cancelled", "expired")
PENDING: tuple[JobStatus, ...] = ("queued", "processing", "held")
ENDED: tuple[JobStatus, ...] = ("completed", "failed", "cancelled", "expired")
Rung = Literal["parent_wait", "lock_released", "other_boot", "process_gone", "lease_expired", "worker_unknown"]
DEFAULT_POLICY = RetryPolicy()
LONGEST_DELAY_US = 366 * 24 * 3_600_000_000


def lease_of(job: Job, worker: Worker | None) -> int:
    """How long, µs, a job's worker may be silent: what it said when it registered or when it claimed, the longer."""
    return max(job.lease_us or 0, 0 if worker is None else worker.lease_us)


def refusal(job: Job, to: str, hint: str = "") -> IllegalTransition:
    """What to raise where a job cannot become what is asked for."""
    return IllegalTransition(
        f"job {job.job_id} is {job.status} and cannot become {to}{hint and f': {hint}'}; nothing was changed",
        job_id=job.job_id,
        status=job.status,
        to=to,
    )


def delay_us(job: Job, failed: int) -> int:
    """How long to wait after so many failed attempts, with jitter drawn from the job and its attempt.

    ``min(cap, base * factor**(failed-1))``, spread to both sides by the policy's share; the same job and attempt give
    the same delay.
    """
    policy = job.retry_policy or DEFAULT_POLICY
    try:
        plain = min(policy.cap_us, policy.base_us * policy.factor ** max(0, failed - 1))
    except OverflowError:
        plain = policy.cap_us
    draw = int.from_bytes(sha256(f"{job.job_id}:{job.attempt}".encode()).digest()[:8]) / 2**64
    return max(0, round(min(LONGEST_DELAY_US, plain * (1 + policy.jitter * (2 * draw - 1)))))


def policy_of(given: object) -> RetryPolicy:
    """A policy, perhaps as a mapping. Raises InvalidInput for one that gives no delay."""
    if given is DEFAULT_POLICY:
        return DEFAULT_POLICY
    try:
        policy = given if isinstance(given, RetryPolicy) else msgspec.convert(given, RetryPolicy)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"a job's retry_policy is a RetryPolicy: {error}") from error
    numbers = (policy.base_us, policy.factor, policy.cap_us, policy.jitter)
    if not all(isinstance(number, (int, float)) and 0 <= number < inf for number in numbers) or policy.jitter > 1:
        raise InvalidInput(f"a retry policy's numbers are 0 or more, its jitter 0 to 1, not {policy!r}")
    return policy


def after_failure(job: Job, event: JobAttemptFailed, now: int, retry_at: int | None = None) -> list[Event]:
    """A failed attempt, and what follows: another one, the end, or the cancellation that somebody asked for."""
    if job.cancel_requested_by is not None:
        return [event, JobCancelled(by=job.cancel_requested_by, reason="cancelled while it failed")]
    failed = job.failures + 1
    if not event.retryable:
        return [event, JobFailed(reason="not_retryable")]
    if failed > job.max_retries:
        return [event, JobFailed(reason="retries_exhausted")]
    delay = delay_us(job, failed) if retry_at is None else max(0, retry_at - now)
    return [event, JobRetryScheduled(run_at=now + delay, delay_us=delay)]


def handed_back(job: Job, event: JobReleased | JobSnoozed) -> list[Event]:
    """An attempt that is no failure, and what follows: the job waits, unless somebody cancelled it."""
    if job.cancel_requested_by is not None:
        return [event, JobCancelled(by=job.cancel_requested_by, reason="cancelled while it was handed back")]
    return [event]


def after_crash(job: Job, event: JobCrashed, now: int) -> list[Event]:
    """A crashed attempt, and what follows by the job's ``on_crash`` and its budget of crashes."""
    if job.cancel_requested_by is not None:
        return [event, JobCancelled(by=job.cancel_requested_by, reason="cancelled while its worker was lost")]
    if job.on_crash == "fail":
        return [event, JobFailed(reason="crashed")]
    if job.crashes + 1 >= job.max_crashes:
        return [event, JobFailed(reason="crash_loop")]
    if job.on_crash == "ask":
        return [event, JobHeld(reason=f"{event.evidence}: retry it or cancel it")]
    reason: Literal["lease_expired", "worker_lost"] = (
        "lease_expired" if event.rung == "lease_expired" else "worker_lost"
    )
    # The first crash may be anyone's; a job that crashes again and again must not take all workers down at once.
    delay = delay_us(job, job.crashes) if job.crashes else 0
    return [event, JobRequeued(attempt=job.attempt, reason=reason, run_at=now + delay)]


def retry(job: Job, now: int, by: str, *, reset_failures: bool, force: bool) -> list[Event]:
    """Another attempt at a job that ended or is held; nothing for one that waits already."""
    if job.status == "queued":
        return []
    if job.status == "processing":
        raise refusal(job, "queued", "its attempt is under way")
    if job.status == "completed" and not force:
        raise refusal(job, "queued", "it succeeded; force=True (--force) runs it again all the same")
    # One more attempt, however many there were.
    most = job.max_retries if reset_failures else max(job.max_retries, job.failures)
    return [JobRetryRequested(by=by, run_at=now, max_retries=most, reset_failures=reset_failures)]
