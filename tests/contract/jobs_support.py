"""What the suites about jobs share: jobs in every state, short claims, and what must hold at the end of each test."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.events.jobs import JobStatus
from projections.jobs import Job

_numbers = count(1)
SECOND = 1_000_000
HOUR = 3_600 * SECOND
STATUSES: tuple[JobStatus, ...] = ("queued", "processing", "held", "completed", "failed", "cancelled", "expired")
ENDED = STATUSES[3:]


def claim(log: Log, worker: str = "w", **options: Any) -> Job:
    """Exactly one job, claimed."""
    (job,) = log.jobs.claim(worker, durability="process", **options)
    assert (job.status, job.worker_id) == ("processing", worker)
    return job


def token(job: Job) -> int:
    """The token of a job that was claimed."""
    assert job.token is not None
    return job.token


def become(log: Log, status: str, **options: Any) -> Job:
    """A job of a kind of its own in some state; it is claimed on the way wherever that is possible."""
    options = {"queue": f"q-{status}", "max_retries": 0, **options}
    kind = f"work-{next(_numbers)}"
    if status == "expired":
        job = log.jobs.enqueue(kind, expires_at=now_us() - HOUR, **options)
        assert log.jobs.claim("w", kinds=[kind]) == []
        return log.jobs.get(job.job_id)
    if status == "held":
        options["on_crash"] = "ask"
    job = log.jobs.enqueue(kind, **options)
    if status == "queued":
        return job
    job = claim(log, kinds=[kind])
    match status:
        case "completed":
            job = log.jobs.complete(job.job_id, token(job), {"answer": 42})
        case "failed":
            job = log.jobs.fail(job.job_id, token(job), "ValueError", "no")
        case "held":
            (job,) = log.jobs.crash([(job.job_id, token(job))], "process_gone", "pid 7 is gone")
        case "cancelled":
            log.jobs.cancel(job.job_id)
            job = log.jobs.stopped(job.job_id, token(job))
    assert job.status == status
    return job


def kinds_of(log: Log, job: Job) -> list[str]:
    """The types of a job's events, without the subject."""
    return [record.type.removeprefix("job.") for record in log.jobs.events(job.job_id)]


def ids(jobs: Sequence[Job]) -> list[str]:
    return [job.job_id for job in jobs]


def assert_sound(log: Log) -> None:
    """Nothing happened to any job that cannot, and the tables are what the log says."""
    assert log.jobs.check() == []
    assert log.projections.verify() == []
