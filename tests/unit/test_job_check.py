"""What `log.jobs.check` finds: whatever no command does, written past the commands; nothing where all is well."""

from __future__ import annotations

from typing import Any

import pytest

import eventlog
from eventlog import Append, Event
from eventlog.app import Log
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
from eventlog.events.workers import QueueLimited, QueuePaused, QueueResumed
from eventlog.repositories import job_check
from eventlog.repositories.job_check import check_jobs

NEW = JobEnqueued(kind="work")
PURGED = JobPurged()
EXPIRED = JobExpired()
CANCELLED = JobCancelled(by="me")
WANTED = JobCancelRequested(by="me")
CHANGED = JobChanged(by="me", priority=1)
HELD = JobHeld(reason="?")
AGAIN = JobRetryScheduled(run_at=0, delay_us=0)
RETRY = JobRetryRequested(by="me", run_at=0, max_retries=3)


def start(attempt: int = 1, worker: str = "w") -> JobStarted:
    return JobStarted(attempt=attempt, worker_id=worker, lease_us=1)


def done(attempt: int = 1, worker: str = "w") -> JobSucceeded:
    return JobSucceeded(attempt=attempt, worker_id=worker, duration_us=1)


def failed(attempt: int = 1, worker: str = "w", retryable: bool = True) -> JobAttemptFailed:
    return JobAttemptFailed(attempt=attempt, worker_id=worker, duration_us=1, error_type="E", retryable=retryable)


def crashed(attempt: int = 1, worker: str = "w") -> JobCrashed:
    return JobCrashed(attempt=attempt, worker_id=worker, duration_us=1, rung="process_gone", evidence="e")


def released(attempt: int = 1, worker: str = "w") -> JobReleased:
    return JobReleased(attempt=attempt, worker_id=worker, duration_us=1, run_at=0)


def snoozed(attempt: int = 1) -> JobSnoozed:
    return JobSnoozed(attempt=attempt, worker_id="w", duration_us=1, until=0)


def requeued(attempt: int = 1) -> JobRequeued:
    return JobRequeued(attempt=attempt, reason="worker_lost", run_at=0)


def progressed(attempt: int = 1) -> JobProgressed:
    return JobProgressed(attempt=attempt, done=1)


def late(token: int) -> JobLateResultDiscarded:
    return JobLateResultDiscarded(token=token, outcome="succeeded")


def stopped(attempt: int = 1) -> JobCancelled:
    return JobCancelled(by="me", attempt=attempt, worker_id="w", duration_us=1)


def new(**fields: Any) -> JobEnqueued:
    return JobEnqueued(kind="work", **fields)


LEGAL: dict[str, list[Event]] = {
    "done": [NEW, start(), progressed(), done(), PURGED],
    "retried": [NEW, start(), failed(), AGAIN, start(2), failed(2, retryable=False), JobFailed(reason="not_retryable")],
    "exhausted": [
        new(max_retries=0),
        start(),
        failed(),
        JobFailed(reason="retries_exhausted"),
        RETRY,
        start(2),
        done(2),
    ],
    "crash loop": [new(max_crashes=1), start(), crashed(), JobFailed(reason="crash_loop"), PURGED],
    "requeued": [NEW, start(), crashed(), requeued(), start(2, "v"), late(2), done(2, "v"), late(2), late(5)],
    "asked": [new(on_crash="ask"), start(), crashed(), HELD, RETRY, start(2), crashed(2), HELD, CANCELLED],
    "crash fails": [new(on_crash="fail"), start(), crashed(), JobFailed(reason="crashed"), RETRY],
    "handed back": [NEW, start(), released(), start(2), snoozed(2), CHANGED, start(3), done(3)],
    "stopped": [NEW, start(), WANTED, stopped(), RETRY, CANCELLED],
    "cancelled while it failed": [NEW, start(), WANTED, failed(), CANCELLED, PURGED, late(2)],
    "cancelled while it was lost": [NEW, start(), WANTED, crashed(), CANCELLED],
    "cancelled while handed back": [NEW, start(), WANTED, released(), CANCELLED],
    "expired": [new(expires_at=1), EXPIRED, RETRY, CANCELLED],
}
ILLEGAL: dict[str, tuple[list[Event], list[tuple[int, str]]]] = {
    "two owners": ([NEW, start(), start(2, "v")], [(3, "two owners: claimed by 'v' while 'w' had it (claim 2)")]),
    "another's result": ([NEW, start(), done(1, "v")], [(3, "of worker 'v', but 'w' owns it")]),
    "result of an old attempt": (
        [NEW, start(), released(), start(2), done(1)],
        [(5, "of attempt 1, but attempt 2 is the present one")],
    ),
    "attempts out of order": ([NEW, start(2), done(2)], [(2, "attempt 2 follows attempt 0")]),
    "attempt twice": ([NEW, start(), released(), start(1)], [(4, "attempt 1 follows attempt 1")]),
    "ended twice": ([NEW, start(), done(), done()], [(4, "completed: a late result that was not discarded")]),
    "failed after the end": ([NEW, start(), done(), failed(), AGAIN], [(4, "late result that was not discarded")]),
    "queued after the end": ([NEW, start(), done(), requeued()], [(4, "is completed, though nobody asked for it")]),
    "started after the end": ([NEW, CANCELLED, start()], [(3, "job.started of a job that is cancelled")]),
    "progress of nobody": ([NEW, progressed()], [(2, "job.progressed of a job that is queued")]),
    "done unclaimed": ([NEW, done()], [(2, "job.succeeded of a job that is queued: a late result")]),
    "nothing followed": ([NEW, start(), failed()], [(3, "its attempt ended, and nothing followed")]),
    "crash and nothing": ([NEW, start(), crashed()], [(3, "its attempt ended, and nothing followed")]),
    "went on after a failure": ([NEW, start(), failed(), start(2)], [(4, "had to be said what follows")]),
    "retried a permanent error": ([NEW, start(), failed(retryable=False), AGAIN], [(4, "not to be retried")]),
    "retried too often": ([new(max_retries=0), start(), failed(), AGAIN], [(4, "after 1 failures, with 0 retries")]),
    "gave up too early": ([NEW, start(), failed(), JobFailed(reason="retries_exhausted")], [(4, "does not fit")]),
    "wrong reason": ([NEW, start(), failed(), JobFailed(reason="crash_loop")], [(4, "failed as crash_loop")]),
    "crashed too often": ([new(max_crashes=1), start(), crashed(), requeued()], [(4, "after 1 crashes of 1")]),
    "requeued though to be asked": ([new(on_crash="ask"), start(), crashed(), requeued()], [(4, "on_crash is 'ask'")]),
    "held though to be requeued": ([NEW, start(), crashed(), HELD], [(4, "on_crash is 'requeue'")]),
    "held from nowhere": ([NEW, HELD], [(2, "job.held of a job that is queued")]),
    "cancelled unasked": ([NEW, start(), stopped()], [(3, "though nobody asked for it")]),
    "cancelled without its attempt": ([NEW, start(), WANTED, CANCELLED], [(4, "attempt None while processing")]),
    "cancelled twice": ([NEW, CANCELLED, CANCELLED], [(3, "job.cancelled of a job that is cancelled")]),
    "asked to stop what waits": ([NEW, WANTED], [(2, "job.cancel_requested of a job that is queued")]),
    "expired without a date": ([NEW, EXPIRED], [(2, "nothing was said about when")]),
    "expired while it ran": ([new(expires_at=1), start(), EXPIRED], [(2, "after it had expired"), (3, "processing")]),
    "before its time": ([new(run_at=2**52), start()], [(2, "before its time")]),
    "retried while it waits": ([NEW, RETRY], [(2, "job.retry_requested of a job that is queued")]),
    "changed while it ran": ([NEW, start(), CHANGED], [(3, "job.changed of a job that is processing")]),
    "purged alive": ([NEW, PURGED], [(2, "job.purged of a job that is queued")]),
    "purged and back": ([NEW, CANCELLED, PURGED, RETRY], [(4, "job.retry_requested of a job that is purged")]),
    "purged twice": ([NEW, CANCELLED, PURGED, PURGED], [(4, "job.purged of a job that is purged")]),
    "enqueued twice": ([NEW, NEW], [(2, "enqueued twice")]),
    "never enqueued": ([start(), done()], [(1, "never enqueued"), (2, "never enqueued")]),
    "the owner's result discarded": ([NEW, start(), late(2)], [(3, "the result of its owner (claim 2) was discarded")]),
    "no such claim": ([NEW, start(), done(), late(3)], [(4, "token 3, which is no claim of it")]),
}


@pytest.fixture
def log() -> Any:
    with eventlog.open(":memory:", projections="off") as log:
        yield log


@pytest.fixture(params=[1, 2, 2048])
def _pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is read at once: jobs that ended are read again when something follows."""
    monkeypatch.setattr(job_check, "PAGE", request.param)


def found(log: Log) -> list[tuple[int, str]]:
    problems = check_jobs(log)
    assert check_jobs(log.read()) == problems  # all in memory
    return [(one.position, one.problem) for one in problems]


@pytest.mark.usefixtures("_pages")
def test_what_is_allowed_is_no_problem(log: Log) -> None:
    for number, events in enumerate(LEGAL.values()):
        shift = log.head().position
        moved = [late(e.token + shift) if isinstance(e, JobLateResultDiscarded) else e for e in events]
        log.append(f"job-{number}", moved)
    assert found(log) == []
    # Woven into each other it is the same.
    steps = [
        list(events) for events in LEGAL.values() if not any(isinstance(e, JobLateResultDiscarded) for e in events)
    ]
    while any(steps):
        for number, events in enumerate(steps):
            if events:
                log.append(f"job-woven-{number}", events.pop(0))
    assert found(log) == []


@pytest.mark.usefixtures("_pages")
def test_what_is_not_allowed_is_told_with_its_position_and_nothing_else(log: Log) -> None:
    for name, (events, expected) in ILLEGAL.items():
        with eventlog.open(":memory:", projections="off") as log:
            for event in events:
                log.append("job-a", event)
            problems = found(log)
            assert [position for position, _ in problems] == [position for position, _ in expected], (name, problems)
            for (_, problem), (_, told) in zip(problems, expected, strict=True):
                assert told in problem, name
            assert {one.job_id for one in check_jobs(log)} == {"a"}


def test_jobs_do_not_mix(log: Log) -> None:
    for events, _ in ILLEGAL.values():
        log.append("note-1", events)  # events of jobs on other streams are none
    assert found(log) == []
    log.append_many(
        [Append(stream=f"job-{name}", events=events) for name, events in LEGAL.items() if name != "requeued"]
    )
    log.append("job-bad", [NEW, start(), start(2)])
    assert {one.job_id for one in check_jobs(log)} == {"bad"}


@pytest.mark.usefixtures("_pages")
def test_two_jobs_with_one_unique_key_are_told(log: Log) -> None:
    unique = new(unique_key="u")
    log.append("job-a", unique)
    log.append("job-b", unique)
    log.append("job-b", CANCELLED)
    log.append("job-a", CANCELLED)
    log.append("job-c", unique)
    log.append("job-a", RETRY)
    log.append("job-c", CANCELLED)
    log.append("job-d", new(unique_key="v"))
    assert [(position, problem[:33]) for position, problem in found(log)] == [
        (2, "has the unique key 'u' of job a, "),
        (6, "has the unique key 'u' of job c, "),
    ]


@pytest.mark.usefixtures("_pages")
def test_claims_from_a_paused_or_full_queue_are_told(log: Log) -> None:
    for name in "abcd":
        log.append(f"job-{name}", new(queue="q"))
    log.append("queue-q", QueuePaused(by="me"))
    log.append("job-a", start())
    log.append("queue-q", [QueueResumed(by="me"), QueueLimited(by="me", limit=2)])
    log.append("job-b", start())
    log.append("job-c", start())
    log.append("job-b", done())
    log.append("job-c", released())
    log.append("job-d", start())
    log.append("queue-q", QueueLimited(by="me"))
    log.append("job-c", start(2))
    assert found(log) == [
        (6, "claimed while its queue 'q' was paused"),
        (10, "claimed while 2 of its queue 'q' ran, whose limit is 2"),
    ]


def test_a_record_that_does_not_decode_is_told(log: Log) -> None:
    from tests.helpers import behind_the_back

    log.append("job-a", [NEW, start()])
    with behind_the_back(log) as back:
        back.execute('UPDATE events SET data = \'{"attempt": "one"}\' WHERE position = 2')
    ((position, problem),) = found(log)
    assert position == 2
    assert "does not decode" in problem


def test_only_jobs_that_have_not_ended_are_kept_in_memory(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_check, "PAGE", 50)
    most = 0
    forget = job_check._Checker.forget_ended

    def counted(checker: Any) -> None:
        nonlocal most
        forget(checker)
        most = max(most, len(checker.lives))

    monkeypatch.setattr(job_check._Checker, "forget_ended", counted)
    log.append_many([Append(stream=f"job-{n}", events=[NEW, start(), done()]) for n in range(500)])
    log.append_many([Append(stream=f"job-{n}", events=PURGED) for n in range(500)])
    told: list[tuple[int, int | None]] = []
    assert check_jobs(log, lambda done, total, what: told.append((done, total))) == []
    assert most <= 1
    assert told[-1] == (2000, 2000)
    assert told == sorted(told)
