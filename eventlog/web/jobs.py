"""Jobs: enqueue, claim, say how it goes and how it ended; and every question about them.

A worker registers (`queues`), claims jobs, says now and then that it lives, and ends each job with the claim's token.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from eventlog.app import Log, Past
from eventlog.events.jobs import JobStatus
from eventlog.repositories.job_explain import JobExplanation
from eventlog.repositories.jobs import JobPage, LateResult, NewJob
from eventlog.web.events import Durable
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.wire import (
    By,
    Claim,
    Completion,
    CompletionAndClaim,
    Completions,
    Done,
    Durability,
    Failure,
    JobChange,
    JobIds,
    JobNumber,
    NewJobs,
    Progress,
    Purge,
    Purged,
    Requeued,
    Retry,
    Snooze,
    StoredRecord,
    Token,
)
from projections.job_attempts import JobAttempt
from projections.jobs import Job

Grouping = Literal["status", "queue", "kind"]


class History(Query, frozen=True, kw_only=True):
    """Which jobs, newest first; ``before`` is a job's id: the next page costs the same however far it is."""

    limit: Rows = 50
    offset: Offset = 0
    status: JobStatus | None = None
    before: str | None = None


class JobsCounted(Query, frozen=True, kw_only=True):
    """Which jobs; ``text`` occurs in id, kind or error."""

    status: list[JobStatus] | None = None
    queue: str | None = None
    kind: str | None = None
    batch_id: str | None = None
    parent_job_id: str | None = None
    worker_id: str | None = None
    text: str | None = None


class JobsQuery(JobsCounted, frozen=True, kw_only=True):
    """Which jobs, newest first; ``text`` occurs in id, kind or error; ``before`` and ``after`` are jobs' ids."""

    before: str | None = None
    after: str | None = None
    limit: Rows = 50
    offset: Offset = 0


class Enqueued(Query, frozen=True, kw_only=True):
    """What to do where a job with the same ``unique_key`` has not ended, and how safe it has to be."""

    if_exists: Literal["raise", "return"] = "raise"
    durability: Durability = "full"


class Grouped(Query, frozen=True, kw_only=True):
    """By what to count; repeated."""

    by: Annotated[list[Grouping], Meta(min_length=1, max_length=3)] = msgspec.field(default_factory=lambda: ["status"])


class Why(Query, frozen=True, kw_only=True):
    """Why."""

    reason: str = "deleted"


# questions


def job_history(ask: Log | Past, query: History) -> JobPage:
    """A page of all jobs, newest first, and how many there are."""
    return ask.jobs.history(status=query.status, limit=query.limit, offset=query.offset, before=query.before)


def list_jobs(ask: Log | Past, query: JobsQuery) -> list[Job]:
    """Jobs, newest first."""
    return ask.jobs.list(**msgspec.structs.asdict(query))


def count_jobs(ask: Log | Past, query: JobsCounted) -> int:
    """How many jobs there are."""
    return ask.jobs.count(**msgspec.structs.asdict(query))


def count_jobs_by(ask: Log | Past, query: Grouped) -> list[JobNumber]:
    """How many jobs there are of each status, queue or kind, or several of them."""
    by = list(dict.fromkeys(query.by))
    counts = ask.jobs.counts(by)
    keyed = [((key,) if len(by) == 1 else key, jobs) for key, jobs in counts.items()]
    return [JobNumber(jobs=jobs, **dict(zip(by, key, strict=True))) for key, jobs in keyed]


def list_processing_jobs(ask: Log | Past) -> list[Job]:
    """Every job whose attempt is under way, the oldest attempt first."""
    return ask.jobs.processing()


def get_job(ask: Log | Past, job_id: str) -> Job:
    """A job."""
    return ask.jobs.get(job_id)


def explain_job(ask: Log | Past, job_id: str) -> JobExplanation:
    """How a job came to be in the state it is in, sentence by sentence, and what it waits for."""
    return ask.jobs.explain(job_id)


def list_job_attempts(ask: Log | Past, job_id: str) -> list[JobAttempt]:
    """The attempts of a job that ended, in order."""
    return ask.jobs.attempts(job_id)


def list_job_events(ask: Log | Past, job_id: str) -> list[StoredRecord]:
    """Every record of a job's stream."""
    return [StoredRecord.of(record) for record in ask.jobs.events(job_id)]


# work


def enqueue_job(log: Log, query: Enqueued, body: NewJob) -> Job:
    """Enqueue a job. With a key, a retry gives the first; 409 where one with the same unique key has not ended."""
    options = msgspec.structs.asdict(body)
    kind, args = options.pop("kind"), options.pop("args")
    return log.jobs.enqueue(kind, args, if_exists=query.if_exists, durability=query.durability, **options)


def enqueue_jobs(log: Log, query: Durable, body: NewJobs) -> JobIds:
    """Enqueue jobs, all or none."""
    return JobIds(log.jobs.enqueue_many(body.jobs, durability=query.durability))


def claim_jobs(log: Log, query: Durable, body: Claim) -> list[Job]:
    """Claim jobs that can run now; each one's ``token`` says that it is this worker's. None wait: an empty array."""
    return log.jobs.claim(
        body.worker_id,
        queues=body.queues,
        kinds=body.kinds,
        limit=body.limit,
        lease_us=body.lease_us,
        durability=query.durability,
    )


def tell_job_progress(log: Log, job_id: str, body: Progress) -> Job:
    """Say how far an attempt is. 409 when it is not this claim's any more."""
    return log.jobs.progress(job_id, body.token, body.done, body.total, body.message)


def keep_job(log: Log, job_id: str, body: Token) -> Job:
    """Say that the worker of a claim lives. 409 when the job is not its any more; ``cancel_requested_by``: stop it."""
    job = log.jobs.get(job_id)
    owned = job.status == "processing" and job.token == body.token and job.worker_id is not None
    if not owned or not log.workers.beat(job.worker_id or ""):
        raise LateResult(
            f"claim {body.token} does not own job {job_id} any more, or its worker was taken for lost",
            job_id=job_id,
            token=body.token,
        )
    return job


def complete_job(log: Log, job_id: str, query: Durable, body: Completion) -> Job:
    """End an attempt as a success. Saying it twice is saying it once; 409 when it is not this claim's any more."""
    return log.jobs.complete(job_id, body.token, body.result, durability=query.durability)


def complete_job_and_claim(log: Log, job_id: str, query: Durable, body: CompletionAndClaim) -> Done:
    """End an attempt as a success, and claim others in the same transaction."""
    done = log.jobs.complete_and_claim(
        job_id,
        body.token,
        body.result,
        worker_id=body.worker_id,
        queues=body.queues,
        kinds=body.kinds,
        limit=body.limit,
        lease_us=body.lease_us,
        durability=query.durability,
    )
    return Done(done.job, done.claimed)


def complete_jobs(log: Log, query: Durable, body: Completions) -> list[Job | None]:
    """End several attempts as successes in one transaction; null where it came too late."""
    results = [(one.job_id, one.token, one.result) for one in body.results]
    return log.jobs.complete_many(results, durability=query.durability)


def fail_job(log: Log, job_id: str, body: Failure) -> Job:
    """End an attempt as a failure: it is tried again by its policy, or has failed for good."""
    return log.jobs.fail(
        job_id,
        body.token,
        body.error_type,
        body.message,
        traceback=body.traceback,
        retryable=body.retryable,
        retry_at=body.retry_at,
    )


def release_job(log: Log, job_id: str, body: Token) -> Job:
    """Hand a job back unharmed, because its worker stops."""
    return log.jobs.release(job_id, body.token)


def snooze_job(log: Log, job_id: str, body: Snooze) -> Job:
    """Hand a job back to be run at a later time; the attempt is no failure."""
    return log.jobs.snooze(job_id, body.token, body.until)


def stopped_job(log: Log, job_id: str, body: Token) -> Job:
    """End an attempt that was stopped because somebody cancelled the job."""
    return log.jobs.stopped(job_id, body.token)


# what people do


def cancel_job(log: Log, job_id: str, body: By) -> Job:
    """Cancel a job that waits or is held; of one that runs, ask for it, and its worker stops it."""
    return log.jobs.cancel(job_id, body.by, body.reason)


def retry_job(log: Log, job_id: str, body: Retry) -> Requeued:
    """Run a job again that failed, was cancelled, expired or is held. Of one that waits: nothing; 409 while it runs."""
    job = log.jobs.retry(job_id, body.by, reset_failures=body.reset_failures, force=body.force)
    return Requeued(job.job_id, job.status, "Job requeued for processing")


def change_job(log: Log, job_id: str, body: JobChange) -> Job:
    """Give a job that waits another time, priority or queue."""
    return log.jobs.change(job_id, body.by, run_at=body.run_at, priority=body.priority, queue=body.queue)


def delete_job(log: Log, job_id: str, query: Why) -> None:
    """Take a job that ended out of the tables; its events and statistics stay."""
    log.jobs.delete(job_id, query.reason)


def purge_jobs(log: Log, body: Purge) -> Purged:
    """Take all jobs out of the tables that ended before a time; their events and statistics stay."""
    purged = log.jobs.purge(body.ended_before, body.statuses, reason=body.reason, dry_run=body.dry_run)
    return Purged(purged)


def _next_page(query: Any, jobs: list[Job]) -> dict[str, Any] | None:
    return {"before": jobs[-1].job_id} if len(jobs) == query.limit else None


def _next_of_history(query: History, page: JobPage) -> dict[str, Any] | None:
    return _next_page(query, page.jobs)


JOB = "/api/jobs/{job_id}"
OPERATIONS = (
    Operation("POST", "/api/jobs/claim", claim_jobs),
    Operation("POST", f"{JOB}/complete", complete_job),
    Operation("POST", f"{JOB}/complete-and-claim", complete_job_and_claim),
    Operation("POST", f"{JOB}/heartbeat", keep_job),
    Operation("POST", f"{JOB}/progress", tell_job_progress),
    Operation("POST", f"{JOB}/fail", fail_job),
    Operation("POST", f"{JOB}/release", release_job),
    Operation("POST", f"{JOB}/snooze", snooze_job),
    Operation("POST", f"{JOB}/stopped", stopped_job),
    Operation("GET", "/api/jobs", list_jobs, follows=_next_page),
    Operation("POST", "/api/jobs", enqueue_job, status=201),
    Operation("GET", "/api/jobs/history", job_history, follows=_next_of_history),
    Operation("GET", "/api/jobs/count", count_jobs),
    Operation("GET", "/api/jobs/counts", count_jobs_by),
    Operation("GET", "/api/jobs/processing", list_processing_jobs),
    Operation("POST", "/api/jobs/batch", enqueue_jobs, status=201),
    Operation("POST", "/api/jobs/complete", complete_jobs),
    Operation("POST", "/api/jobs/purge", purge_jobs, slow=True),
    Operation("GET", JOB, get_job),
    Operation("PATCH", JOB, change_job),
    Operation("DELETE", JOB, delete_job, status=204),
    Operation("GET", f"{JOB}/attempts", list_job_attempts),
    Operation("GET", f"{JOB}/events", list_job_events),
    Operation("GET", f"{JOB}/explain", explain_job, cached=False),
    Operation("POST", f"{JOB}/cancel", cancel_job),
    Operation("POST", f"{JOB}/retry", retry_job),
)
