"""`log.jobs`: enqueue, claim, end and recover jobs, and every question about them."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from eventlog.clock import now_us
from eventlog.codec import Codec, from_json, to_json
from eventlog.errors import Conflict, InvalidInput, KeyReused, NotFound, ProjectionError
from eventlog.events import Event
from eventlog.events.jobs import (
    JobAttemptFailed,
    JobCancelled,
    JobCancelRequested,
    JobChanged,
    JobCrashed,
    JobEnqueued,
    JobExpired,
    JobLateResultDiscarded,
    JobProgressed,
    JobPurged,
    JobReleased,
    JobSnoozed,
    JobStarted,
    JobSucceeded,
    OnCrash,
    RetryPolicy,
)
from eventlog.ids import floor_of, uuid7
from eventlog.log import Events, Tx
from eventlog.projection.manager import Projections
from eventlog.repositories.base import Repository
from eventlog.repositories.job_check import Problem, check_jobs
from eventlog.repositories.job_explain import JobExplainer, JobExplanation, Proof
from eventlog.repositories.job_rules import (
    DEFAULT_POLICY,
    ENDED,
    PENDING,
    STATUSES,
    Rung,
    after_crash,
    after_failure,
    handed_back,
    policy_of,
    refusal,
    retry,
)
from eventlog.store.base import MAX_POSITION, Durability, Filter, Progress, QueryReader, Record, Selection, check_page
from projections.job_attempts import JobAttempt
from projections.job_attempts import projections as _attempts
from projections.jobs import Job, enqueued
from projections.jobs import projections as _jobs
from projections.workers import Queue, Worker
from projections.workers import projections as _workers

JOBS, COUNTS = _jobs
(ATTEMPTS,) = _attempts
WORKERS, QUEUES, _ = _workers
LEASE_US = 30_000_000
TAIL = 4096
MAX_AT_ONCE = 1000
FOREVER = 2**62
LEAST = -(2**63)
T = TypeVar("T")
Outcome = Literal["succeeded", "failed", "released", "snoozed", "cancelled"]


class NewJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A job to enqueue: the fields of `JobEnqueued`, and an idempotency ``key``."""

    kind: str
    queue: str = "default"
    args: dict[str, Any] = {}
    priority: int = 0
    run_at: int | None = None
    expires_at: int | None = None
    max_retries: int = 3
    max_crashes: int = 3
    retry_policy: RetryPolicy = DEFAULT_POLICY
    timeout_us: int | None = None
    on_crash: OnCrash = "requeue"
    unique_key: str | None = None
    parent_job_id: str | None = None
    batch_id: str | None = None
    schedule: str | None = None
    key: str | None = None


class JobPage(msgspec.Struct, frozen=True):
    """A page of jobs, newest first, and how many there are in all."""

    jobs: list[Job]
    total: int
    limit: int
    offset: int


class LateResult(Conflict):
    """Another claim owns the job by now: what was said about it is kept as evidence and changes nothing."""


class WorkerGone(Conflict):
    """This worker stopped, or was taken for lost: who lives all the same registers anew."""


class Done(NamedTuple):
    """A job that ended, and what was claimed in the same transaction."""

    job: Job
    claimed: list[Job]


class _Desk:
    """Jobs as one write transaction sees and changes them. What it appends is written when it is looked at again."""

    def __init__(self, tx: Tx, projections: Projections) -> None:
        self.tx = tx
        self._projections = projections
        self._touched: set[str] = set()
        projections.bring(tx, "jobs", "queues")
        self.reader: QueryReader = tx.transaction.writer

    def append(self, job_id: str, events: Events, **options: Any) -> None:
        """Append to a job's stream."""
        self.tx.append(f"job-{job_id}", events, **options)
        self._touched.add(job_id)

    def find(self, job_id: str) -> Job | None:
        """A job, or None."""
        if _checked(job_id) in self._touched:
            self.settle()
        job: Job | None = self._projections.row(self.tx, JOBS, job_id)
        return job

    def row(self, job_id: str) -> Job:
        """A job. Raises NotFound."""
        job = self.find(job_id)
        if job is None:
            raise _no_job(job_id)
        return job

    def queue(self, name: str) -> Queue | None:
        """What was said about a queue, or None."""
        queue: Queue | None = self._projections.row(self.tx, QUEUES, name)
        return queue

    def end_of(self, worker_id: str) -> str | None:
        """``stopped`` or ``lost``; None for a worker that works, or of whom nothing is known."""
        try:
            self._projections.bring(self.tx, "workers")
        except ProjectionError:  # a table that looks into the past knows nothing of the present
            return None
        worker: Worker | None = self._projections.row(self.tx, WORKERS, worker_id)
        return None if worker is None or worker.status == "running" else worker.status

    def knows(self, jobs: Iterable[Job]) -> None:
        """Remember rows that were just read here, and not touched yet."""
        self._projections.learn("jobs", {job.job_id: job for job in jobs})

    def settle(self) -> None:
        """Bring the tables to what was appended."""
        self._projections.bring(self.tx, "jobs", "queues")
        self._touched.clear()


class JobsRepository(Repository):
    """Commands and queries for jobs."""

    gone: Proof | None = None

    # enqueueing

    def enqueue(
        self,
        kind: str,
        args: dict[str, Any] | None = None,
        *,
        if_exists: Literal["raise", "return"] = "raise",
        durability: Durability = "full",
        **options: Any,
    ) -> Job:
        """Enqueue one job; ``options`` are further fields of `NewJob`.

        With a ``key`` a retry returns the job of the first call. Raises Conflict where a job with the same
        ``unique_key`` has not ended, or (``if_exists="return"``) returns that one.
        """
        try:
            new = NewJob(kind=kind, args={} if args is None else args, **options)
        except TypeError as error:
            raise InvalidInput(f"a job is {', '.join(NewJob.__struct_fields__)}: {error}") from error
        event = event_of(new)
        job_id = uuid7()
        if new.key is None and new.unique_key is None:
            at = now_us()
            self._log.append(f"job-{job_id}", event, expect=0, occurred_at=at, durability=durability)
            return enqueued(job_id, replace(event, args=from_json(to_json(event.args))), at)  # as it is stored

        def work(desk: _Desk) -> Job:
            first = _enqueue(desk, job_id, new, event, if_exists=if_exists)
            job = desk.find(first)
            if job is None:
                raise Conflict(f"the key {new.key!r} was used for job {first}, which was purged", job_id=first)
            return job

        return self._decide(work, durability)

    def enqueue_many(self, jobs: Iterable[NewJob], *, durability: Durability = "full") -> builtins.list[str]:
        """Enqueue jobs, all or none; returns their ids. Those whose key was used before keep their first id."""
        log = self._log
        events = [(uuid7(), new, event_of(new)) for new in jobs]
        plain = [(job_id, event) for job_id, new, event in events if new.key is None and new.unique_key is None]
        at = now_us()  # one for all: those with keys and those without stay in their order
        prepared = [log.prepare(f"job-{job_id}", event, expect=0, occurred_at=at) for job_id, event in plain]

        def work(tx: Tx) -> builtins.list[str]:
            tx.transaction.append_all(prepared)
            if len(plain) == len(events):
                return [job_id for job_id, _ in plain]
            desk = _Desk(tx, self._tables)
            return [
                job_id if new.key is None and new.unique_key is None else _enqueue(desk, job_id, new, event, at)
                for job_id, new, event in events
            ]

        return log.decide(work, durability=durability)

    # claiming

    def claim(
        self,
        worker_id: str,
        *,
        queues: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        limit: int = 1,
        lease_us: int = LEASE_US,
        durability: Durability = "full",
    ) -> builtins.list[Job]:
        """Claim jobs that can run now, the first queue first; each row's ``token`` says that they are this worker's.

        ``queues``: all that have jobs, when None; ``kinds``: only those, the others are left alone. Whoever is silent
        for longer than ``lease_us``, and than the lease with which it registered, may lose them. Where nothing waits
        nobody is kept from writing. Raises WorkerGone for a worker that stopped or was taken for lost: what it claimed
        would be taken from it at once.
        """
        wish = _wish(worker_id, queues, kinds, _between(limit, 1, MAX_AT_ONCE, "limit"), lease_us)
        log = self._log
        self._fresh(JOBS)
        if not self._tables.inline:
            self._fresh(QUEUES)
        with log.reader() as reader:
            waits = _would_claim(reader, wish)
        if not waits:
            self._tables.require("jobs")
            self._tables.require("queues")
            return []

        def work(desk: _Desk) -> tuple[builtins.list[Job], bool]:
            if (end := desk.end_of(worker_id)) is not None:
                raise WorkerGone(f"worker {worker_id} is {end}: register anew to claim jobs", worker_id=worker_id)
            return _claim(desk, wish)

        while True:
            claimed, more = self._decide(work, durability)
            if claimed or not more:
                return claimed

    # while it runs, and how it ends

    def progress(self, job_id: str, token: int, done: int, total: int | None = None, message: str = "") -> Job:
        """Say how far an attempt is. Raises LateResult when it is not this claim's any more."""

        def work(desk: _Desk) -> Job | None:
            job = desk.row(job_id)
            if not _is_owned(desk, job, token):
                return None
            desk.append(job_id, JobProgressed(attempt=job.attempt, done=done, total=total, message=message))
            return desk.row(job_id)

        return _ours(self._decide(work, "process"), job_id, token)

    def complete(self, job_id: str, token: int, result: Any = None, *, durability: Durability = "full") -> Job:
        """End an attempt as a success. Saying it twice is saying it once. Raises LateResult, NotFound."""
        return self.complete_and_claim(job_id, token, result, durability=durability).job

    def complete_and_claim(
        self,
        job_id: str,
        token: int,
        result: Any = None,
        *,
        worker_id: str = "",
        queues: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        limit: int = 0,
        lease_us: int = LEASE_US,
        durability: Durability = "full",
    ) -> Done:
        """`complete`, and in the same transaction `claim` up to ``limit`` others; none for a worker that is gone."""
        wish = _wish(worker_id, queues, kinds, _between(limit, 0, MAX_AT_ONCE, "limit"), lease_us)

        def work(desk: _Desk) -> tuple[Job | None, builtins.list[Job]]:
            # Asked before anything is appended, which would have to be written for the answer.
            may_claim = limit > 0 and desk.end_of(worker_id) is None
            if not _succeed(desk, job_id, token, result):
                return None, []
            claimed = _claim(desk, wish)[0] if may_claim else []
            return desk.row(job_id), claimed

        job, claimed = self._decide(work, durability)
        return Done(_ours(job, job_id, token), claimed)

    def complete_many(
        self, results: Iterable[tuple[str, int, Any]], *, durability: Durability = "full"
    ) -> builtins.list[Job | None]:
        """`complete` for (job id, token, result) of several jobs in one transaction; None where it came too late."""
        ended = list(results)

        def work(desk: _Desk) -> builtins.list[Job | None]:
            ours = [_succeed(desk, job_id, token, result) for job_id, token, result in ended]
            return [desk.row(job_id) if mine else None for mine, (job_id, _, _) in zip(ours, ended, strict=True)]

        return self._decide(work, durability)

    def fail(
        self,
        job_id: str,
        token: int,
        error_type: str,
        message: str = "",
        *,
        traceback: str = "",
        retryable: bool = True,
        retry_at: int | None = None,
    ) -> Job:
        """End an attempt as a failure: it is tried again by its policy (or at ``retry_at``), or has failed for good."""
        _check_time(retry_at, "retry_at")

        def follow(job: Job) -> builtins.list[Event]:
            event = JobAttemptFailed(
                attempt=job.attempt,
                worker_id=job.worker_id or "",
                duration_us=_duration(job),
                error_type=error_type,
                message=message[:TAIL],
                traceback=traceback[-TAIL:],
                retryable=retryable,
            )
            return after_failure(job, event, now_us(), retry_at)

        return self._end(job_id, token, "failed", follow, {"error_type": error_type, "message": message[:TAIL]})

    def release(self, job_id: str, token: int) -> Job:
        """Hand a job back unharmed, because its worker stops."""
        return self._end(
            job_id,
            token,
            "released",
            lambda job: handed_back(
                job,
                JobReleased(
                    attempt=job.attempt, worker_id=job.worker_id or "", duration_us=_duration(job), run_at=now_us()
                ),
            ),
        )

    def snooze(self, job_id: str, token: int, until: int) -> Job:
        """Hand a job back to be run at a later time (µs); the attempt is no failure."""
        _check_time(until, "until")
        return self._end(
            job_id,
            token,
            "snoozed",
            lambda job: handed_back(
                job,
                JobSnoozed(attempt=job.attempt, worker_id=job.worker_id or "", duration_us=_duration(job), until=until),
            ),
        )

    def stopped(self, job_id: str, token: int) -> Job:
        """End an attempt that was stopped because somebody cancelled the job."""

        def follow(job: Job) -> builtins.list[Event]:
            if job.cancel_requested_by is None:
                raise refusal(job, "cancelled", "nobody asked for it")
            return [
                JobCancelled(
                    by=job.cancel_requested_by,
                    attempt=job.attempt,
                    worker_id=job.worker_id,
                    duration_us=_duration(job),
                )
            ]

        return self._end(job_id, token, "cancelled", follow)

    def _end(
        self,
        job_id: str,
        token: int,
        outcome: Outcome,
        follow: Callable[[Job], builtins.list[Event]],
        detail: Any = None,
    ) -> Job:
        def work(desk: _Desk) -> Job | None:
            job = desk.row(job_id)
            if not _is_owned(desk, job, token, outcome, detail):
                return None
            desk.append(job_id, follow(job))
            return desk.row(job_id)

        return _ours(self._decide(work), job_id, token)

    # recovery

    def crash(
        self,
        claims: Iterable[tuple[str, int]],
        rung: Rung,
        evidence: str,
        *,
        also: Sequence[tuple[str, Event]] = (),
    ) -> builtins.list[Job]:
        """Take jobs, by (id, token), from a worker that is gone; returns those that were still this claim's.

        Any number of processes may do it at once: each job goes to one of them. ``also``: events of other streams to
        append with it.
        """
        wanted = list(claims)

        def work(desk: _Desk) -> builtins.list[Job]:
            now = now_us()
            taken = []
            # One question for all of them: on a server each would be a round trip while everybody waits.
            desk.knows(desk.reader.load(JOBS.table, [(_checked(job_id),) for job_id, _ in wanted]).values())
            for stream, event in also:
                desk.tx.append(stream, event)
            for job_id, token in wanted:
                job = desk.find(job_id)
                if job is None or job.status != "processing" or job.token != token:
                    continue
                event = JobCrashed(
                    attempt=job.attempt,
                    worker_id=job.worker_id or "",
                    duration_us=_duration(job),
                    rung=rung,
                    evidence=evidence,
                )
                desk.append(job_id, after_crash(job, event, now))
                taken.append(job_id)
            return [desk.row(job_id) for job_id in taken]

        return self._decide(work)

    # what people do

    def cancel(self, job_id: str, by: str = "api", reason: str = "") -> Job:
        """Cancel a job that waits or is held; of one that runs, ask for it, and its worker stops it."""

        def work(desk: _Desk) -> Job:
            job = desk.row(job_id)
            if job.status in ("queued", "held"):
                desk.append(job_id, JobCancelled(by=by, reason=reason))
            elif job.status != "processing":
                raise refusal(job, "cancelled")
            elif job.cancel_requested_by is None:
                desk.append(job_id, JobCancelRequested(by=by, reason=reason))
            return desk.row(job_id)

        return self._decide(work)

    def retry(self, job_id: str, by: str = "api", *, reset_failures: bool = False, force: bool = False) -> Job:
        """Run a job again that failed, was cancelled, expired or is held; ``force``: also one that completed."""

        def work(desk: _Desk) -> Job:
            job = desk.row(job_id)
            if events := retry(job, now_us(), by, reset_failures=reset_failures, force=force):
                if job.status in ENDED and job.unique_key is not None and (other := _holder(desk, job.unique_key)):
                    raise _taken(other)
                desk.append(job_id, events)
            return desk.row(job_id)

        return self._decide(work)

    def change(
        self,
        job_id: str,
        by: str = "api",
        *,
        run_at: int | None = None,
        priority: int | None = None,
        queue: str | None = None,
    ) -> Job:
        """Give a job that waits another time, priority or queue."""
        if run_at is None and priority is None and queue is None:
            raise InvalidInput("say what to change: run_at, priority or queue")
        _check_time(run_at, "run_at")
        if queue is not None:
            _named("job's queue", queue)

        def work(desk: _Desk) -> Job:
            job = desk.row(job_id)
            if job.status != "queued":
                raise refusal(job, "queued", "only what waits can be put elsewhere")
            desk.append(job_id, JobChanged(by=by, run_at=run_at, priority=priority, queue=queue))
            return desk.row(job_id)

        return self._decide(work)

    def delete(self, job_id: str, reason: str = "deleted") -> None:
        """Take a job that ended out of the tables; its events and statistics stay."""

        def work(desk: _Desk) -> None:
            job = desk.row(job_id)
            if job.status not in ENDED:
                raise refusal(job, "purged", "cancel it first")
            desk.append(job_id, JobPurged(reason=reason))

        self._decide(work)

    def purge(
        self, ended_before: int, statuses: Sequence[str] = ENDED, *, reason: str = "retention", dry_run: bool = False
    ) -> int:
        """Take all jobs out of the tables that ended before a time (µs); returns how many."""
        statuses = (statuses,) if isinstance(statuses, str) else statuses
        _check_statuses(statuses)
        _between(ended_before, LEAST, -LEAST - 1, "ended_before")
        if wrong := [status for status in statuses if status not in ENDED]:
            raise InvalidInput(f"only jobs that ended are purged, not those {wrong[0]}")
        table = self._fresh(JOBS)
        count = 0
        # Ids sort by the time at which they were made, and no job ended before that. Those of the future are not ours.
        made_before = floor_of(ended_before)
        ids = (Filter("job_id", "<", made_before), Filter("job_id", ">=", max(made_before, floor_of(now_us()))))
        for status, id_range in product(statuses, ids):
            where = (Filter("status", "=", status), id_range, Filter("ended_at", "<", ended_before))
            if dry_run:
                with self._log.reader() as reader:
                    count += reader.count(table, where)
                continue
            while purged := self._decide(partial(_purge, where, reason)):
                count += purged
        return count

    def cleanup(self, older_than: int) -> int:
        """Take all jobs out of the tables that ended before a time (µs)."""
        return self.purge(older_than)

    # questions

    def find(self, job_id: str) -> Job | None:
        """A job, or None."""
        table = self._fresh(JOBS)
        with self._source.reader() as reader:
            return reader.load(table, [(_checked(job_id),)]).get((job_id,))

    def get(self, job_id: str) -> Job:
        """A job. Raises NotFound."""
        job = self.find(job_id)
        if job is None:
            raise _no_job(job_id)
        return job

    def list(
        self,
        *,
        status: str | Sequence[str] | None = None,
        queue: str | None = None,
        kind: str | None = None,
        batch_id: str | None = None,
        parent_job_id: str | None = None,
        worker_id: str | None = None,
        text: str | None = None,
        before: str | None = None,
        after: str | None = None,
        limit: int | None = 50,
        offset: int = 0,
    ) -> builtins.list[Job]:
        """Jobs, newest first; ``before`` and ``after`` are job ids (cursors)."""
        where = _filters(None, queue, kind, batch_id, parent_job_id, worker_id, text)
        where += [] if before is None else [Filter("job_id", "<", before)]
        where += [] if after is None else [Filter("job_id", ">", after)]
        table = self._fresh(JOBS)
        parts = [[*part, *where] for part in _by_mark(status)]
        with self._source.reader() as reader:
            if len(parts) == 1:
                return reader.select(table, parts[0], order=("-job_id",), limit=limit, offset=offset)
            check_page(limit, offset)
            # Each part by an index of its own, which has them in order.
            most = None if limit is None else offset + limit
            found = [job for part in parts for job in reader.select(table, part, order=("-job_id",), limit=most)]
        return sorted(found, key=lambda job: job.job_id, reverse=True)[offset:most]

    def count(
        self,
        *,
        status: str | Sequence[str] | None = None,
        queue: str | None = None,
        kind: str | None = None,
        batch_id: str | None = None,
        parent_job_id: str | None = None,
        worker_id: str | None = None,
        text: str | None = None,
    ) -> int:
        """How many jobs `list` would give without a limit."""
        where = _filters(status, queue, kind, batch_id, parent_job_id, worker_id, text)
        self._fresh(COUNTS)
        with self._source.reader() as reader:
            if all(one.column in _COUNTED for one in where):
                return sum(tally_of(reader, (), [one for one in where if one.column not in _MARKS]).values())
            return reader.count(JOBS.table, where)

    def history(
        self, *, status: str | None = None, limit: int = 50, offset: int = 0, before: str | None = None
    ) -> JobPage:
        """A page of all jobs, newest first, and how many there are."""
        jobs = self.list(status=status, before=before, limit=limit, offset=offset)
        return JobPage(jobs, self.count(status=status), limit, offset)

    def get_pending(self) -> builtins.list[Job]:
        """Every job that has not ended, the oldest first."""
        table = self._fresh(JOBS)
        with self._source.reader() as reader:
            found = [
                job
                for mark in _MARKS[:2]
                for job in reader.select(table, [Filter(mark, ">=", LEAST)], order=("job_id",))
            ]
        return sorted(found, key=lambda job: job.job_id)

    def counts(self, by: Sequence[str] = ("status",)) -> dict[Any, int]:
        """How many jobs there are by status, queue or kind, or several of them (then keys are tuples)."""
        if wrong := [name for name in by if name not in ("status", "queue", "kind")]:
            raise InvalidInput(f"jobs are counted by status, queue and kind, not by {wrong[0]!r}")
        self._fresh(COUNTS)
        with self._source.reader() as reader:
            tally = tally_of(reader, by)
        return {key[0] if len(by) == 1 else key: number for key, number in tally.items()}

    def attempts(self, job_id: str) -> builtins.list[JobAttempt]:
        """The attempts of a job that ended, in order."""
        table = self._fresh(ATTEMPTS)
        where = Selection(streams=(_stream(job_id),), types=ATTEMPTS.tags)
        with self._source.reader() as reader:
            positions = [(row[0],) for row in reader.records(0, None, where, in_stream=True)]
            rows = reader.load(table, positions)
        return [rows[position] for position in positions if position in rows]

    def events(self, job_id: str) -> builtins.list[Record]:
        """Every record of a job's stream. Raises NotFound."""
        records = list(self._source.read_stream(_stream(job_id)))
        if not records:
            raise _no_job(job_id)
        return records

    def explain(self, job_id: str) -> JobExplanation:
        """How a job came to be in the state it is in, sentence by sentence, and what it waits for. Raises NotFound."""
        explainer = JobExplainer(self._source, self._projections)
        explainer.gone = self.gone
        return explainer.explain(_checked(job_id))

    def processing(self) -> builtins.list[Job]:
        """Every job whose attempt is under way, the oldest attempt first."""
        table = self._fresh(JOBS)
        with self._source.reader() as reader:
            where = [Filter("claimed_at", ">=", LEAST), Filter("status", "=", "processing")]
            return reader.select(table, where, order=("claimed_at", "job_id"))

    def check(self, progress: Progress | None = None) -> builtins.list[Problem]:
        """Everything in the events of jobs that cannot have happened, such as two owners; see `job_check`."""
        return check_jobs(self._source, progress)

    # in a transaction

    @property
    def _tables(self) -> Projections:
        assert self._projections is not None  # noqa: S101 - only the past has none, and it takes no commands
        return self._projections

    def _decide(self, work: Callable[[_Desk], T], durability: Durability = "full") -> T:
        log = self._log
        tables = self._tables
        return log.decide(lambda tx: work(_Desk(tx, tables)), durability=durability)


class _Wish(NamedTuple):
    """What a worker would take."""

    worker_id: str
    queues: Sequence[str] | None
    kinds: Sequence[str] | None
    limit: int
    lease_us: int


def _wish(
    worker_id: str, queues: Sequence[str] | None, kinds: Sequence[str] | None, limit: int, lease_us: int
) -> _Wish:
    if limit:
        _named("worker's id", worker_id)
    return _Wish(worker_id, _names(queues), _names(kinds), limit, _between(lease_us, 0, FOREVER, "lease_us"))


def _names(names: Sequence[str] | None) -> Sequence[str] | None:
    """Each once: what is read twice before it is written would be claimed twice."""
    if names is None or (type(names) is tuple and len(names) == 1 and type(names[0]) is str):
        return names
    found = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else (names,)
    if wrong := [name for name in found if not isinstance(name, str)]:
        raise InvalidInput(f"queues and kinds are names, not {wrong[0]!r}")
    return tuple(dict.fromkeys(found))


def _enqueue(
    desk: _Desk,
    job_id: str,
    new: NewJob,
    event: JobEnqueued,
    at: int | None = None,
    if_exists: Literal["raise", "return"] = "raise",
) -> str:
    """Enqueue a job that may be there already; returns its id."""
    if new.key is not None and (first := _first_of(desk.tx, new.key, event)) is not None:
        return first
    if new.unique_key is not None and (other := _holder(desk, new.unique_key)) is not None:
        if if_exists == "return":
            return other.job_id
        raise _taken(other)
    desk.append(job_id, event, expect=0, key=new.key, occurred_at=at)
    return job_id


def _holder(desk: _Desk, unique_key: str) -> Job | None:
    """The job with this unique key that has not ended."""
    desk.settle()
    where = [Filter("unique_key", "=", unique_key), Filter("status", "in", PENDING)]
    found: list[Job] = desk.reader.select(JOBS.table, where, limit=1)
    return found[0] if found else None


def _taken(job: Job) -> Conflict:
    return Conflict(f"job {job.job_id} has the unique key {job.unique_key!r} and is {job.status}", job_id=job.job_id)


def _would_claim(reader: QueryReader, wish: _Wish) -> bool:
    now = now_us()
    for queue in _queues(reader, wish.queues):
        held = reader.load(QUEUES.table, [(queue,)]).get((queue,))
        if held and held.paused:
            continue
        if any(_ready_of(reader, queue, kind, now, 1) for kind in _kinds(reader, queue, wish.kinds)):
            return True
    return False


def _claim(desk: _Desk, wish: _Wish) -> tuple[builtins.list[Job], bool]:
    """The jobs, and whether so many were found expired that others have their turn before more is looked for."""
    now = now_us()
    claimed: list[str] = []
    expired = 0
    for queue in _queues(desk.reader, wish.queues):
        room = wish.limit - len(claimed)
        held = desk.queue(queue)
        if held is not None and held.paused:
            continue
        if held is not None and held.max_running is not None:
            desk.settle()
            room = min(room, held.max_running - _running(desk.reader, queue))
        mine, ended = _claim_from(desk, queue, wish, room, now)
        claimed += mine
        expired += ended
        if len(claimed) == wish.limit or expired >= MAX_AT_ONCE:
            break
    return [desk.row(job_id) for job_id in claimed], expired >= MAX_AT_ONCE


def _claim_from(desk: _Desk, queue: str, wish: _Wish, room: int, now: int) -> tuple[builtins.list[str], int]:
    """The ids of the jobs that were claimed, and how many expired instead."""
    claimed: list[str] = []
    expired = 0
    while len(claimed) < room and expired < MAX_AT_ONCE:
        before = expired
        found = _ready(desk.reader, queue, wish.kinds, now, MAX_AT_ONCE if expired else room - len(claimed))
        desk.knows(found)
        for job in found:
            if job.expires_at is not None and job.expires_at < now:
                desk.append(job.job_id, JobExpired())
                expired += 1
            elif len(claimed) == room:
                break
            else:
                event = JobStarted(attempt=job.attempt + 1, worker_id=wish.worker_id, lease_us=wish.lease_us)
                desk.append(job.job_id, event, occurred_at=now)
                claimed.append(job.job_id)
        if expired == before:
            break
        desk.settle()
    return claimed, expired


def _succeed(desk: _Desk, job_id: str, token: int, result: Any) -> bool:
    """End an attempt as a success; False when it came too late."""
    job = desk.row(job_id)
    if job.status == "completed" and job.token == token:
        return True
    if not _is_owned(desk, job, token, "succeeded", result):
        return False
    event = JobSucceeded(attempt=job.attempt, worker_id=job.worker_id or "", duration_us=_duration(job), result=result)
    desk.append(job_id, event)
    return True


def _is_owned(desk: _Desk, job: Job, token: int, outcome: Outcome | None = None, detail: Any = None) -> bool:
    """Whether a claim is the job's present one; what an older one says about the end is kept as evidence."""
    if job.status == "processing" and job.token == token:
        return True
    given = type(token) is int and 0 < token <= MAX_POSITION
    where = Selection(streams=(f"job-{job.job_id}",))
    rows = desk.tx.reader.records(token - 1, token, where) if given else []
    if not rows or rows[0][3] != "job.started":
        raise InvalidInput(f"{token!r} is no claim of job {job.job_id}")
    if outcome is not None:
        desk.append(job.job_id, JobLateResultDiscarded(token=token, outcome=outcome, detail=detail))
    return False


def _purge(where: Sequence[Filter], reason: str, desk: _Desk) -> int:
    found = desk.reader.select(JOBS.table, where, order=("job_id",), limit=MAX_AT_ONCE)
    desk.knows(found)
    for job in found:
        desk.append(job.job_id, JobPurged(reason=reason))
    desk.settle()
    return len(found)


_MARKED: dict[str, tuple[str, ...]] = {"ready_at": ("queued",), "claimed_at": ("processing", "held"), "ended_at": ENDED}
_MARKS = tuple(_MARKED)
"""Of a job that waits the first is set, of one that is claimed or held the second, of one that ended the third."""
_COUNTED = ("status", "queue", "kind", *_MARKS)


def tally_of(reader: QueryReader, by: Sequence[str], where: Sequence[Filter] = ()) -> dict[tuple[Any, ...], int]:
    """How many jobs there are, by some of status, queue and kind: those that ended are counted already."""
    wanted = next((set(one.value) for one in where if one.column == "status"), set(STATUSES))
    rows = reader.totals(COUNTS.table, by, ("jobs",), where) if wanted & set(ENDED) else []
    for mark in _MARKS[:2]:
        if wanted & set(_MARKED[mark]):
            # Where the mark says it all, the index alone is counted.
            rest = [one for one in where if one.column != "status" or not wanted >= set(_MARKED[mark])]
            rows += reader.totals(JOBS.table, by, ("*",), [*rest, Filter(mark, ">=", LEAST)])
    tally: dict[tuple[Any, ...], int] = {}
    for row in rows:
        if row[-1]:
            tally[row[:-1]] = tally.get(row[:-1], 0) + row[-1]
    return tally


def _queues(reader: QueryReader, queues: Sequence[str] | None) -> Iterator[str]:
    """The queues asked for, or those in which jobs wait, by name."""
    if queues is not None:
        yield from queues
        return
    where = [Filter("ready_at", ">=", LEAST)]
    while first := reader.select(JOBS.table, where, order=("queue",), limit=1):
        yield first[0].queue
        where[1:] = [Filter("queue", ">", first[0].queue)]


def _running(reader: QueryReader, queue: str) -> int:
    where = (Filter("claimed_at", ">=", LEAST), Filter("status", "=", "processing"), Filter("queue", "=", queue))
    return reader.count(JOBS.table, where)


def _kinds(reader: QueryReader, queue: str, kinds: Sequence[str] | None) -> Iterator[str]:
    """The kinds asked for, or those of which jobs wait in a queue, by name."""
    if kinds is not None:
        yield from kinds
        return
    where = [Filter("queue", "=", queue), Filter("ready_at", ">=", LEAST)]
    while first := reader.select(JOBS.table, where, order=("kind",), limit=1):
        yield first[0].kind
        where[2:] = [Filter("kind", ">", first[0].kind)]


def _ready(reader: QueryReader, queue: str, kinds: Sequence[str] | None, now: int, limit: int) -> builtins.list[Job]:
    """The first jobs of a queue that can run: by priority, then by time, then in the order they came."""
    # Kind by kind: of those that nobody here does there may be any number in front.
    parts = [_ready_of(reader, queue, kind, now, limit) for kind in _kinds(reader, queue, kinds)]
    if len(parts) == 1:
        return parts[0]
    found = [job for part in parts for job in part]
    return sorted(found, key=lambda job: (job.priority, job.ready_at or 0, job.job_id))[:limit]


def _ready_of(reader: QueryReader, queue: str, kind: str, now: int, limit: int) -> builtins.list[Job]:
    where = [Filter("queue", "=", queue), Filter("kind", "=", kind)]
    order = ("priority", "ready_at", "job_id")
    # As they stand in the index: mostly the first ones can run.
    first = reader.select(JOBS.table, [*where, Filter("ready_at", ">=", LEAST)], order=order, limit=limit)
    found = [job for job in first if job.ready_at <= now]
    if len(found) == len(first):
        return found
    # Some are for later: each priority by itself, so that a million of them are not looked at.
    found = []
    priority = first[0].priority
    while len(found) < limit:
        mine = [*where, Filter("priority", "=", priority), Filter("ready_at", "<=", now)]
        found += reader.select(JOBS.table, mine, order=order[1:], limit=limit - len(found))
        later = [*where, Filter("priority", ">", priority), Filter("ready_at", ">=", LEAST)]
        following = reader.select(JOBS.table, later, order=order, limit=1)
        if not following:
            break
        priority = following[0].priority
    return found


def event_of(new: NewJob) -> JobEnqueued:
    """What is appended for a job. Raises InvalidInput for one that cannot be enqueued."""
    _named("job's kind", new.kind)
    _named("job's queue", new.queue)
    for what in ("unique_key", "parent_job_id", "batch_id", "schedule"):
        if (name := getattr(new, what)) is not None:
            _named(f"job's {what}", name)
    if not isinstance(new.args, dict):
        raise InvalidInput(f"a job's args are a dict, not {type(new.args).__name__}")
    _between(new.max_retries, 0, FOREVER, "max_retries")
    _between(new.max_crashes, 1, FOREVER, "max_crashes")
    if new.timeout_us is not None:
        _between(new.timeout_us, 1, FOREVER, "timeout_us")
    for what in ("run_at", "expires_at"):
        _check_time(getattr(new, what), what)
    return JobEnqueued(
        kind=new.kind,
        queue=new.queue,
        args=new.args,
        priority=new.priority,
        run_at=new.run_at,
        expires_at=new.expires_at,
        max_retries=new.max_retries,
        max_crashes=new.max_crashes,
        retry_policy=policy_of(new.retry_policy),
        timeout_us=new.timeout_us,
        on_crash=new.on_crash,
        unique_key=new.unique_key,
        parent_job_id=new.parent_job_id,
        batch_id=new.batch_id,
        schedule=new.schedule,
    )


def _first_of(tx: Tx, key: str, event: JobEnqueued) -> str | None:
    """The job that was enqueued with this key. Raises KeyReused where it was another kind of job."""
    row = tx.reader.record_with_key(key)
    if row is None:
        return None
    first = Record(*row).event
    if isinstance(first, JobEnqueued):
        # As it would be read: a tuple is a list then. Times that count from now differ at each call.
        again = Codec.default.encode(replace(event, run_at=first.run_at, expires_at=first.expires_at))[4]
    if not isinstance(first, JobEnqueued) or again != first:
        raise KeyReused(key, row[0])
    return row[1][4:]


def _ours(job: Job | None, job_id: str, token: int) -> Job:
    if job is None:
        raise LateResult(
            f"claim {token} does not own job {job_id} any more; what it said is kept and changes nothing",
            job_id=job_id,
            token=token,
        )
    return job


def _duration(job: Job) -> int:
    return max(0, now_us() - (job.started_at or 0))


def _between(number: int, low: int, high: int, what: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise InvalidInput(f"{what} is {low} to {high}, not {number!r}")
    return number


def _check_time(at: int | None, what: str) -> None:
    if at is not None:
        _between(at, -MAX_POSITION, MAX_POSITION, what)


def _named(what: str, name: object) -> None:
    if not isinstance(name, str) or not name or len(name) > 200 or not name.isprintable():
        raise InvalidInput(f"a {what} is 1 to 200 printable characters, not {str(name)[:80]!r}")


def _checked(job_id: str) -> str:
    if not isinstance(job_id, str) or not job_id:
        raise InvalidInput(f"a job's id is text, not {job_id!r}")
    return job_id


def _stream(job_id: str) -> str:
    return f"job-{_checked(job_id)}"


def _no_job(job_id: str) -> NotFound:
    return NotFound(f"there is no job {job_id}", job_id=job_id)


def _check_statuses(statuses: Iterable[str]) -> None:
    if unknown := [one for one in statuses if one not in STATUSES]:
        raise InvalidInput(f"a job's status is one of {', '.join(STATUSES)}, not {unknown[0]!r}")


def _statuses(status: str | Sequence[str]) -> tuple[str, ...]:
    statuses = (status,) if isinstance(status, str) else tuple(status)
    _check_statuses(statuses)
    return statuses


def _by_mark(status: str | Sequence[str] | None) -> builtins.list[builtins.list[Filter]]:
    """Conditions for jobs of some states, so put that the indexes serve which hold only such."""
    if status is None:
        return [[]]
    wanted = _statuses(status)
    parts = []
    for mark, those in _MARKED.items():
        mine = [one for one in those if one in wanted]
        parts += [[Filter(mark, ">=", LEAST), Filter("status", "=", one)] for one in mine]
    return parts


def _filters(
    status: str | Sequence[str] | None,
    queue: str | None,
    kind: str | None,
    batch_id: str | None,
    parent_job_id: str | None,
    worker_id: str | None,
    text: str | None,
) -> builtins.list[Filter]:
    where = [] if status is None else [Filter("status", "in", _statuses(status))]
    given = (
        ("queue", queue), ("kind", kind), ("batch_id", batch_id), ("parent_job_id", parent_job_id),
        ("worker_id", worker_id),
    )  # fmt: skip
    where += [Filter(column, "=", value) for column, value in given if value is not None]
    if text is not None:
        where.append(Filter("job_id|kind|error_message", "text", text))
    return where


__all__ = ["JobPage", "JobsRepository", "LateResult", "NewJob", "WorkerGone"]
