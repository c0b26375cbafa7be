"""`log.jobs.check`: did every job go the way jobs may go? One pass over the events, with a state machine of its own.

It shares nothing with the tables: what it says about a log holds even where `projections.jobs` is wrong. In memory are
the jobs that have not ended; one that has, and gets another event, is read again from its stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from eventlog.errors import DecodeError
from eventlog.events import Event, event_type
from eventlog.events.jobs import (
    JOB_EVENTS,
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
    JobSucceeded,
)
from eventlog.events.workers import QueueLimited, QueuePaused, QueueResumed
from eventlog.repositories.base import Source
from eventlog.store.base import Progress, Record, Selection

PAGE = 2048
QUEUE_EVENTS: tuple[type[Event], ...] = (QueuePaused, QueueResumed, QueueLimited)
TAGS = tuple(event_type(cls) for cls in JOB_EVENTS + QUEUE_EVENTS)
LIVE = frozenset(("queued", "processing", "held", "failing", "crashed"))
ENDED = frozenset(("completed", "failed", "cancelled", "expired"))


class Problem(NamedTuple):
    """Something that cannot have happened to a job: at which position of the log, and what."""

    position: int
    job_id: str
    problem: str


class _Life(msgspec.Struct):
    """What is known of a job. ``failing`` and ``crashed`` last from the end of an attempt to what follows it."""

    queue: str
    ready_at: int
    expires_at: int | None
    unique_key: str | None
    on_crash: str
    max_retries: int
    max_crashes: int
    position: int
    status: str = "queued"
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    token: int = 0
    worker_id: str = ""
    retryable: bool = True
    cancel_wanted: bool = False


# Where a job has to be for each event, and where it is then (None: where it was).
_STEPS: dict[type, tuple[frozenset[str], str | None]] = {
    JobStarted: (frozenset(("queued",)), "processing"),
    JobProgressed: (frozenset(("processing",)), None),
    JobSucceeded: (frozenset(("processing",)), "completed"),
    JobAttemptFailed: (frozenset(("processing",)), "failing"),
    JobRetryScheduled: (frozenset(("failing",)), "queued"),
    JobFailed: (frozenset(("failing", "crashed")), "failed"),
    JobCrashed: (frozenset(("processing",)), "crashed"),
    JobRequeued: (frozenset(("crashed",)), "queued"),
    JobHeld: (frozenset(("crashed",)), "held"),
    JobReleased: (frozenset(("processing",)), "queued"),
    JobSnoozed: (frozenset(("processing",)), "queued"),
    JobCancelRequested: (frozenset(("processing",)), None),
    JobCancelled: (LIVE, "cancelled"),
    JobExpired: (frozenset(("queued",)), "expired"),
    JobRetryRequested: (ENDED | {"held"}, "queued"),
    JobChanged: (frozenset(("queued",)), None),
    JobLateResultDiscarded: (LIVE | ENDED | {"purged"}, None),
    JobPurged: (ENDED, "purged"),
}
_OF_AN_ATTEMPT = (JobProgressed, JobSucceeded, JobAttemptFailed, JobCrashed, JobReleased, JobSnoozed, JobRequeued)
_OF_A_WORKER = (JobSucceeded, JobAttemptFailed, JobCrashed, JobReleased, JobSnoozed)
_RESULTS = (JobSucceeded, JobAttemptFailed, JobReleased, JobSnoozed)


def check_jobs(log: Source | Iterable[Record], progress: Progress | None = None) -> list[Problem]:
    """Everything that is wrong with the jobs of a log (or of its records, from the first one on, in order)."""
    if not isinstance(log, Iterable):
        return _check_log(log, progress)
    checker = _Checker()
    for record in log:
        checker.take(record)
    return checker.finish()


def _check_log(log: Source, progress: Progress | None) -> list[Problem]:
    checker = _Checker()
    with log.reader() as reader:
        after, end = 0, reader.head().position
    while after < end:
        with log.reader() as reader:
            rows = reader.records(after, end, Selection(types=TAGS), limit=PAGE)
            lost = {row[1] for row in rows if row[2] > 1} - {row[1] for row in rows if row[2] == 1}
            lost = {stream for stream in lost if stream.startswith("job-")} - checker.lives.keys()
            known = reader.records_of(lost, after, TAGS)
        checker.recall(Record(*row) for row in known)
        for row in rows:
            checker.take(Record(*row))
        checker.forget_ended()
        after = rows[-1][0] if len(rows) == PAGE else end
        if progress is not None:
            progress(after, end, "checking jobs")
    return checker.finish()


class _Checker:
    """Takes records in order, and keeps what is wrong with them."""

    def __init__(self) -> None:
        self.lives: dict[str, _Life] = {}
        """Jobs by stream: those that have not ended, and those that were touched since the last `forget_ended`."""
        self.problems: list[Problem] = []
        self._keys: dict[str, str] = {}
        self._running: dict[str, int] = {}
        self._paused: set[str] = set()
        self._limits: dict[str, int | None] = {}

    def recall(self, records: Iterable[Record]) -> None:
        """Learn again what became of jobs that ended; what was wrong with them has been told."""
        again = _Checker()
        for record in records:
            again.take(record)
        self.lives.update(again.lives)

    def forget_ended(self) -> None:
        """Jobs that have ended are read again should anything follow."""
        self.lives = {stream: life for stream, life in self.lives.items() if life.status in LIVE}

    def take(self, record: Record) -> None:
        """One more record."""
        try:
            event = record.event
        except DecodeError as error:
            return self._tell(record, f"the record does not decode: {error}")
        if isinstance(event, QUEUE_EVENTS):
            return self._take_queue(record.stream[6:], event)
        if not record.stream.startswith("job-") or not isinstance(event, JOB_EVENTS):
            return None
        life = self.lives.get(record.stream)
        if isinstance(event, JobEnqueued):
            if life is not None:
                return self._tell(record, "enqueued twice")
            life = self.lives[record.stream] = _born(event, record)
            return self._hold_key(record, life)
        if life is None:
            return self._tell(record, f"{record.type} of a job that was never enqueued")
        for problem in _problems(life, event, record):
            self._tell(record, problem)
        if isinstance(event, JobStarted):
            self._check_queue(record, life)
        self._move(record, life, event)
        return None

    def finish(self) -> list[Problem]:
        """What is wrong, by position."""
        for stream, life in self.lives.items():
            if life.status in ("failing", "crashed"):
                self.problems.append(Problem(life.position, stream[4:], "its attempt ended, and nothing followed"))
        return sorted(self.problems)

    def _tell(self, record: Record, problem: str) -> None:
        self.problems.append(Problem(record.position, record.stream.removeprefix("job-"), problem))

    def _take_queue(self, queue: str, event: object) -> None:
        if isinstance(event, QueueLimited):
            self._limits[queue] = event.limit
        elif isinstance(event, QueuePaused):
            self._paused.add(queue)
        else:
            self._paused.discard(queue)

    def _check_queue(self, record: Record, life: _Life) -> None:
        limit = self._limits.get(life.queue)
        running = self._running.get(life.queue, 0)
        if life.queue in self._paused:
            self._tell(record, f"claimed while its queue {life.queue!r} was paused")
        if limit is not None and running >= limit and life.status != "processing":
            self._tell(record, f"claimed while {running} of its queue {life.queue!r} ran, whose limit is {limit}")

    def _move(self, record: Record, life: _Life, event: Any) -> None:
        was_live = life.status in LIVE
        self._count(life, -1)
        _apply(life, event, record)
        self._count(life, 1)
        is_live = life.status in LIVE
        if was_live and not is_live and self._keys.get(life.unique_key or "") == record.stream:
            del self._keys[life.unique_key or ""]
        if is_live and not was_live:
            self._hold_key(record, life)

    def _count(self, life: _Life, number: int) -> None:
        if life.status == "processing":
            self._running[life.queue] = self._running.get(life.queue, 0) + number

    def _hold_key(self, record: Record, life: _Life) -> None:
        if life.unique_key is None:
            return
        other = self._keys.setdefault(life.unique_key, record.stream)
        if other != record.stream:
            self._tell(record, f"has the unique key {life.unique_key!r} of job {other[4:]}, which has not ended")


def _born(event: JobEnqueued, record: Record) -> _Life:
    return _Life(
        event.queue,
        record.occurred_at if event.run_at is None else event.run_at,
        event.expires_at,
        event.unique_key,
        event.on_crash,
        event.max_retries,
        event.max_crashes,
        record.position,
    )


def _problems(life: _Life, event: Any, record: Record) -> Iterator[str]:
    """What speaks against this event of a job that stands like that."""
    allowed, _ = _STEPS[type(event)]
    if life.status not in allowed:
        yield _illegal(life, event, record)
        return
    if isinstance(event, _OF_AN_ATTEMPT) and event.attempt != life.attempt:
        yield f"{record.type} of attempt {event.attempt}, but attempt {life.attempt} is the present one"
    if isinstance(event, _OF_A_WORKER) and event.worker_id != life.worker_id:
        yield f"{record.type} of worker {event.worker_id!r}, but {life.worker_id!r} owns it (claim {life.token})"
    guard = _GUARDS.get(type(event))
    if guard is not None:
        yield from guard(life, event, record)


def _illegal(life: _Life, event: Any, record: Record) -> str:
    if isinstance(event, JobStarted) and life.status == "processing":
        return f"two owners: claimed by {event.worker_id!r} while {life.worker_id!r} had it (claim {life.token})"
    if life.status in ("failing", "crashed"):
        return f"{record.type} where it had to be said what follows the end of attempt {life.attempt}"
    if isinstance(event, _RESULTS):
        return f"{record.type} of a job that is {life.status}: a late result that was not discarded"
    if life.status in ENDED and _STEPS[type(event)][1] == "queued":
        return f"{record.type} of a job that is {life.status}, though nobody asked for it"
    return f"{record.type} of a job that is {life.status}"


def _started(life: _Life, event: JobStarted, record: Record) -> Iterator[str]:
    if event.attempt != life.attempt + 1:
        yield f"attempt {event.attempt} follows attempt {life.attempt}"
    if record.occurred_at < life.ready_at:
        yield f"claimed {life.ready_at - record.occurred_at} µs before its time"
    if life.expires_at is not None and record.occurred_at > life.expires_at:
        yield f"claimed {record.occurred_at - life.expires_at} µs after it had expired"


def _retried(life: _Life, event: JobRetryScheduled, record: Record) -> Iterator[str]:
    if not life.retryable:
        yield "retried after an error that is not to be retried"
    elif life.failures > life.max_retries:
        yield f"retried after {life.failures} failures, with {life.max_retries} retries"


def _failed(life: _Life, event: JobFailed, record: Record) -> Iterator[str]:
    wanted = {
        "not_retryable": life.status == "failing" and not life.retryable,
        "retries_exhausted": life.status == "failing" and life.retryable and life.failures > life.max_retries,
        "crash_loop": life.status == "crashed" and life.crashes >= life.max_crashes,
        "crashed": life.status == "crashed" and life.on_crash == "fail",
    }
    if not wanted[event.reason]:
        yield f"failed as {event.reason}, which does not fit how attempt {life.attempt} ended"


def _requeued(life: _Life, event: JobRequeued | JobHeld, record: Record) -> Iterator[str]:
    wanted = "ask" if isinstance(event, JobHeld) else "requeue"
    if life.crashes >= life.max_crashes:
        yield f"{record.type} after {life.crashes} crashes of {life.max_crashes}"
    if life.on_crash != wanted:
        yield f"{record.type} of a job whose on_crash is {life.on_crash!r}"


def _cancelled(life: _Life, event: JobCancelled, record: Record) -> Iterator[str]:
    if life.status in ("processing", "failing", "crashed") and not life.cancel_wanted:
        yield "cancelled while it ran, though nobody asked for it"
    if event.attempt != (life.attempt if life.status == "processing" else None):
        yield f"cancelled with attempt {event.attempt} while {life.status} in attempt {life.attempt}"


def _expired(life: _Life, event: JobExpired, record: Record) -> Iterator[str]:
    if life.expires_at is None:
        yield "expired, though nothing was said about when"


def _discarded(life: _Life, event: JobLateResultDiscarded, record: Record) -> Iterator[str]:
    if event.token > life.token:
        yield f"a late result with token {event.token}, which is no claim of it"
    elif event.token == life.token and life.status == "processing":
        yield f"the result of its owner (claim {event.token}) was discarded"


_GUARDS: dict[type, Callable[[_Life, Any, Record], Iterator[str]]] = {
    JobStarted: _started,
    JobRetryScheduled: _retried,
    JobFailed: _failed,
    JobRequeued: _requeued,
    JobHeld: _requeued,
    JobCancelled: _cancelled,
    JobExpired: _expired,
    JobLateResultDiscarded: _discarded,
}


def _apply(life: _Life, event: Any, record: Record) -> None:
    """The job after an event, whether it was right or not."""
    life.position = record.position
    life.status = _STEPS[type(event)][1] or life.status
    match event:
        case JobStarted():
            life.attempt, life.token, life.worker_id = event.attempt, record.position, event.worker_id
        case JobAttemptFailed():
            life.failures += 1
            life.retryable = event.retryable
        case JobCrashed():
            life.crashes += 1
        case JobRetryScheduled() | JobRequeued() | JobReleased():
            life.ready_at = event.run_at
        case JobSnoozed():
            life.ready_at = event.until
        case JobCancelRequested():
            life.cancel_wanted = True
        case JobRetryRequested():
            life.ready_at, life.max_retries, life.cancel_wanted = event.run_at, event.max_retries, False
            if life.expires_at is not None and life.expires_at < event.run_at:
                life.expires_at = None
            if event.reset_failures:
                life.failures = life.crashes = 0
        case JobChanged():
            life.ready_at = life.ready_at if event.run_at is None else event.run_at
            life.queue = life.queue if event.queue is None else event.queue
