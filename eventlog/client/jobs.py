"""Jobs behind a server: everything that a worker, or a person, does with them."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import Any

from eventlog.client.calls import Call, listed, offered
from eventlog.client.repositories import Remote
from eventlog.repositories.job_explain import JobExplanation
from eventlog.repositories.job_rules import PENDING
from eventlog.repositories.jobs import Done, JobPage, JobsRepository, NewJob
from eventlog.store.base import Durability
from eventlog.wire import (
    By,
    Claim,
    Completion,
    CompletionAndClaim,
    Completions,
    Crash,
    Failure,
    JobChange,
    JobClaim,
    JobCompletion,
    JobIds,
    JobNumber,
    NewJobs,
    Progress,
    Purge,
    Purged,
    Requeued,
    Retry,
    Snooze,
    Token,
)
from eventlog.wire import Done as SentDone
from projections.job_attempts import JobAttempt
from projections.jobs import Job

JOB = "/api/jobs/{job_id}"
RETRY = Call("POST", f"{JOB}/retry", Requeued, Retry)
COMPLETE_MANY = Call("POST", "/api/jobs/complete", list[Job | None], Completions, again=True)
COUNTS = Call("GET", "/api/jobs/counts", list[JobNumber])


@offered(
    enqueue=Call("POST", "/api/jobs", Job, NewJob, sends={"args": lambda args: {} if args is None else args}),
    enqueue_many=Call(
        "POST", "/api/jobs/batch", JobIds, NewJobs, sends={"jobs": list}, gives=lambda sent: sent.job_ids
    ),
    claim=Call("POST", "/api/jobs/claim", list[Job], Claim, sends={"queues": listed, "kinds": listed}),
    progress=Call("POST", f"{JOB}/progress", Job, Progress),
    complete=Call("POST", f"{JOB}/complete", Job, Completion, again=True),
    complete_and_claim=Call(
        "POST",
        f"{JOB}/complete-and-claim",
        SentDone,
        CompletionAndClaim,
        sends={"queues": listed, "kinds": listed},
        gives=lambda sent: Done(sent.job, sent.claimed),
    ),
    fail=Call("POST", f"{JOB}/fail", Job, Failure),
    release=Call("POST", f"{JOB}/release", Job, Token),
    snooze=Call("POST", f"{JOB}/snooze", Job, Snooze),
    stopped=Call("POST", f"{JOB}/stopped", Job, Token),
    crash=Call(
        "POST",
        "/api/jobs/crash",
        list[Job],
        Crash,
        sends={"claims": lambda claims: [JobClaim(job_id=job_id, token=token) for job_id, token in claims]},
    ),
    cancel=Call("POST", f"{JOB}/cancel", Job, By),
    change=Call("PATCH", JOB, Job, JobChange),
    delete=Call("DELETE", JOB),
    purge=Call("POST", "/api/jobs/purge", Purged, Purge, slow=True, gives=lambda sent: sent.purged),
    list=Call("GET", "/api/jobs", list[Job], pages=True),
    count=Call("GET", "/api/jobs/count", int),
    history=Call("GET", "/api/jobs/history", JobPage),
    explain=Call("GET", f"{JOB}/explain", JobExplanation),
    processing=Call("GET", "/api/jobs/processing", list[Job]),
    attempts=Call("GET", f"{JOB}/attempts", list[JobAttempt]),
)
class RemoteJobs(Remote, JobsRepository):
    """Jobs."""

    def complete_many(
        self, results: Iterable[tuple[str, int, Any]], *, durability: Durability = "full"
    ) -> builtins.list[Job | None]:
        """See `JobsRepository.complete_many`."""
        sent = [JobCompletion(job_id=job_id, token=token, result=result) for job_id, token, result in results]
        found: builtins.list[Job | None] = self._ask(COMPLETE_MANY, {"results": sent, "durability": durability})
        return found

    def get_pending(self) -> builtins.list[Job]:
        """See `JobsRepository.get_pending`."""
        return self.list(status=PENDING, limit=None)[::-1]

    def retry(self, job_id: str, by: str = "api", *, reset_failures: bool = False, force: bool = False) -> Job:
        """See `JobsRepository.retry`."""
        self._ask(RETRY, {"job_id": job_id, "by": by, "reset_failures": reset_failures, "force": force})
        return self.get(job_id)

    def counts(self, by: Sequence[str] = ("status",)) -> dict[Any, int]:
        """See `JobsRepository.counts`."""
        numbers: builtins.list[JobNumber] = self._ask(COUNTS, {"by": tuple(by)})
        keys = [tuple(getattr(one, name) for name in by) for one in numbers]
        return {key if len(by) > 1 else key[0]: one.jobs for key, one in zip(keys, numbers, strict=True)}
