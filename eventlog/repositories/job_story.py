"""A job's events as sentences that a person can read, each with the evidence behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from eventlog.clock import counted, iso, show_duration
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
    JobSucceeded,
)
from eventlog.store.base import Record
from projections.jobs import Job
from projections.jobs import projections as _jobs
from projections.workers import Worker

JOBS = _jobs[0]
SHORT = 12
"""So many characters at the end of an id tell it from others."""
_ELSEWHERE = frozenset(("args", "result", "type"))
"""Fields that are no evidence: they can be large, and stand in the record."""


class Sentence(msgspec.Struct, frozen=True):
    """What one event says: ``at`` is when it happened, µs since the epoch; ``evidence`` the event's own fields."""

    position: int
    at: int
    text: str
    evidence: dict[str, Any] | None = None


class Told(NamedTuple):
    """One event of a job, and what is known where it happened."""

    event: Any
    record: Record
    before: Job | None
    after: Job | None
    workers: Mapping[str, Worker]


def fold(records: Iterable[Record]) -> list[Told]:
    """The events of a job's stream, each with the job before and after it; workers are not known yet."""
    found = []
    job: Job | None = None
    gone = False
    for record in records:
        event = record.event
        before = job
        if type(event) is JobPurged:
            gone = True
        elif not gone and type(event) in JOBS.types:
            job = JOBS.evolve(job, event, record)
        found.append(Told(event, record, before, job, {}))
    return found


def workers_in(told: Iterable[Told]) -> set[str]:
    """The workers that events name."""
    named = (getattr(one.event, "worker_id", None) for one in told if type(one.event) in _SENTENCES)
    return {worker_id for worker_id in named if worker_id}


def story(told: Iterable[Told], workers: Mapping[str, Worker]) -> list[Sentence]:
    """A sentence for each event; of reports of progress that follow each other, the last."""
    sentences: list[Sentence] = []
    reports = 0
    for one in told:
        is_report = type(one.event) is JobProgressed
        if is_report and reports:
            sentences.pop()
        reports = reports + 1 if is_report else 0
        evidence = _evidence(one, workers)
        if reports > 1:
            evidence["reports"] = reports
        text = _SENTENCES.get(type(one.event), _unknown)(one._replace(workers=workers))
        sentences.append(Sentence(one.record.position, one.record.occurred_at, text, evidence or None))
    return sentences


def worker_text(worker_id: str | None, workers: Mapping[str, Worker]) -> str:
    """``worker 3f2a… (host web-1, pid 123, user ada)``: as much of it as is known."""
    if not worker_id:
        return "a worker without a name"
    worker = workers.get(worker_id)
    known = () if worker is None else (("host", worker.host), ("pid", worker.pid), ("user", worker.user))
    facts = ", ".join(f"{name} {value}" for name, value in known if value is not None)
    return f"worker {worker_id[-SHORT:]}{facts and f' ({facts})'}"


def progress_text(done: int | None, total: int | None, message: str | None) -> str:
    """``5 of 10 done: copying``."""
    of = "" if total is None else f" of {total}"
    return f"{done}{of} done{f': {message}' if message else ''}"


def when(us: int) -> str:
    """A time in ISO 8601; one that no calendar has, as it is."""
    try:
        return iso(us)
    except (ValueError, OverflowError, OSError):
        return f"{us} µs"


def _evidence(told: Told, workers: Mapping[str, Worker]) -> dict[str, Any]:
    evidence: dict[str, Any] = {}
    if type(told.event) in _SENTENCES:
        fields = msgspec.to_builtins(told.event)
        evidence = {name: value for name, value in fields.items() if name not in _ELSEWHERE and value not in (None, "")}
        worker = workers.get(fields.get("worker_id") or "")
        if worker is not None:
            known = {"host": worker.host, "pid": worker.pid, "user": worker.user}
            evidence["worker"] = {name: value for name, value in known.items() if value is not None}
    if told.record.actor is not None:
        evidence["actor"] = told.record.actor
    return evidence


def _why(text: str | None) -> str:
    return f": {text}" if text else ""


def _enqueued(told: Told) -> str:
    event: JobEnqueued = told.event
    by = f" by {told.record.actor}" if told.record.actor else ""
    parts = [f"enqueued{by} as {event.kind} in the queue {event.queue}"]
    if event.priority:
        parts.append(f"with priority {event.priority}")
    if event.run_at is not None and event.run_at > told.record.occurred_at:
        parts.append(f"not to run before {when(event.run_at)}")
    if event.schedule is not None:
        parts.append(f"by the schedule {event.schedule}")
    if event.parent_job_id is not None:
        parts.append(f"for job {event.parent_job_id[-SHORT:]}")
    return ", ".join(parts)


def _started(told: Told) -> str:
    waited = told.after.wait_us if told.after is not None else None
    ready = f", {show_duration(waited)} after it could have begun" if waited else ""
    return f"attempt {told.event.attempt} began on {worker_text(told.event.worker_id, told.workers)}{ready}"


def _progressed(told: Told) -> str:
    event: JobProgressed = told.event
    return f"attempt {event.attempt}: {progress_text(event.done, event.total, event.message)}"


def _succeeded(told: Told) -> str:
    return f"attempt {told.event.attempt} succeeded after {show_duration(told.event.duration_us)}"


def _attempt_failed(told: Told) -> str:
    event: JobAttemptFailed = told.event
    for_good = "" if event.retryable else ", which no other attempt would mend"
    took = show_duration(event.duration_us)
    return f"attempt {event.attempt} failed after {took}{for_good}: {event.error_type}{_why(event.message)}"


def _retry_scheduled(told: Told) -> str:
    event: JobRetryScheduled = told.event
    budget = "" if told.after is None else f"; {told.after.failures} of at most {told.after.max_retries} retries"
    return f"to be tried again in {show_duration(event.delay_us)}, at {when(event.run_at)}{budget}"


def _failed(told: Told) -> str:
    job = told.before
    failures, crashes, retries = (0, 0, 0) if job is None else (job.failures, job.crashes, job.max_retries)
    reasons = {
        "retries_exhausted": f"{counted(failures, 'failure')}, and at most {retries} retries",
        "not_retryable": "its error is none that another attempt would mend",
        "crash_loop": f"its worker was lost {counted(crashes, 'time')}, as often as it may",
        "crashed": "it is not to be run again after a crash (on_crash is fail)",
    }
    return f"failed for good: {reasons[told.event.reason]}"


_RUNGS = {
    "parent_wait": "its parent saw it end",
    "lock_released": "the lock it holds while it lives is free",
    "other_boot": "its machine was started anew since",
    "process_gone": "its process is gone, or is another by now",
    "lease_expired": "it was silent for longer than its lease",
    "worker_unknown": "no worker of this name is known",
}


def _crashed(told: Told) -> str:
    event: JobCrashed = told.event
    worker = worker_text(event.worker_id, told.workers)
    rung = _RUNGS[event.rung]
    return f"attempt {event.attempt} was lost with {worker}: {rung}{f' ({event.evidence})' if event.evidence else ''}"


_REQUEUED = {
    "worker_lost": "its worker was lost",
    "lease_expired": "its worker was silent for too long",
    "shutdown": "its worker stopped",
}


def _requeued(told: Told) -> str:
    event: JobRequeued = told.event
    later = event.run_at - told.record.occurred_at
    then = f", not before {when(event.run_at)}" if later > 1_000_000 else ""
    return f"it waits again, because {_REQUEUED[event.reason]}{then}"


def _held(told: Told) -> str:
    return f"held, a person has to decide{_why(told.event.reason)}"


def _released(told: Told) -> str:
    event: JobReleased = told.event
    worker = worker_text(event.worker_id, told.workers)
    return f"{worker} stopped in good order and handed it back; attempt {event.attempt} is no failure"


def _snoozed(told: Told) -> str:
    event: JobSnoozed = told.event
    return f"attempt {event.attempt} asked to go on later, at {when(event.until)}; it is no failure"


def _cancel_requested(told: Told) -> str:
    return f"{told.event.by} asked to cancel it{_why(told.event.reason)}"


def _cancelled(told: Told) -> str:
    event: JobCancelled = told.event
    stopped = ""
    if event.attempt is not None:
        stopped = f"; attempt {event.attempt} was stopped after {show_duration(event.duration_us)}"
    return f"cancelled by {event.by or 'nobody named'}{_why(event.reason)}{stopped}"


def _expired(told: Told) -> str:
    limit = told.before.expires_at if told.before is not None else None
    return f"expired: it was not begun {'in time' if limit is None else f'by {when(limit)}'}"


def _retry_requested(told: Told) -> str:
    event: JobRetryRequested = told.event
    return f"{event.by} asked to run it again{', its failures forgotten' if event.reset_failures else ''}"


def _changed(told: Told) -> str:
    event: JobChanged = told.event
    changes = (
        None if event.queue is None else f"queue {event.queue}",
        None if event.priority is None else f"priority {event.priority}",
        None if event.run_at is None else f"not before {when(event.run_at)}",
    )
    return f"{event.by} put it elsewhere: {', '.join(change for change in changes if change)}"


def _late(told: Told) -> str:
    event: JobLateResultDiscarded = told.event
    return f"whoever had claimed it at {event.token} said that it {event.outcome}: too late, kept and not applied"


def _purged(told: Told) -> str:
    return f"taken out of the tables{_why(told.event.reason)}; its events and statistics stay"


def _unknown(told: Told) -> str:
    return f"an event {told.record.type}, which changes nothing"


_SENTENCES: dict[type, Callable[[Told], str]] = {
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
    JobLateResultDiscarded: _late,
    JobPurged: _purged,
}
