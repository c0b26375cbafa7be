"""`log.statistics.jobs`: counts, rates and percentiles in every grouping, held against the jobs themselves."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import eventlog
from eventlog import Append, Record
from eventlog.app import Log
from eventlog.clock import from_datetime, to_datetime
from eventlog.errors import InvalidInput
from eventlog.events import Event
from eventlog.events.jobs import (
    JobAttemptFailed,
    JobCancelled,
    JobCrashed,
    JobEnqueued,
    JobExpired,
    JobFailed,
    JobRequeued,
    JobRetryScheduled,
    JobStarted,
    JobSucceeded,
)
from eventlog.repositories.statistics import JobStatistics
from projections.jobs import Job

BEGIN = datetime(2023, 10, 20, tzinfo=UTC)
HOUR = 3_600_000_000
ENDED = ("completed", "failed", "cancelled", "expired")


def life(chance: random.Random, number: int, at: int) -> list[tuple[Event, int]]:
    """What happens to one job, and when: any number of attempts, and any end or none."""
    queue, kind = ("mail", "print")[number % 2], f"k{number % 3}"
    told: list[tuple[Event, int]] = [(JobEnqueued(kind=kind, queue=queue), at)]
    for attempt in range(1, chance.randrange(1, 4)):
        at += int(chance.lognormvariate(10, 3))
        told.append((JobStarted(attempt=attempt, worker_id="w", lease_us=1), at))
        took = int(chance.lognormvariate(12, 3))
        at += took
        if chance.random() < 0.5:
            failed = JobAttemptFailed(attempt=attempt, worker_id="w", duration_us=took, error_type="E")
            told += [(failed, at), (JobRetryScheduled(run_at=at, delay_us=0), at)]
        else:
            crashed = JobCrashed(attempt=attempt, worker_id="w", duration_us=took, rung="process_gone", evidence="gone")
            told += [(crashed, at), (JobRequeued(attempt=attempt, reason="worker_lost", run_at=at), at)]
    last = sum(isinstance(event, JobStarted) for event, _ in told) + 1
    at += chance.randrange(1_000_000)
    end = chance.choice(("completed", "completed", "failed", "cancelled", "expired", "queued", "processing"))
    if end == "expired":
        told.append((JobExpired(), at))
    elif end == "cancelled":
        told.append((JobCancelled(by="ada"), at))
    elif end != "queued":
        told.append((JobStarted(attempt=last, worker_id="w", lease_us=1), at))
        took = int(chance.lognormvariate(12, 3))
        if end == "completed":
            told.append((JobSucceeded(attempt=last, worker_id="w", duration_us=took), at + took))
        elif end == "failed":
            failed = JobAttemptFailed(attempt=last, worker_id="w", duration_us=took, error_type="E", retryable=False)
            told += [(failed, at + took), (JobFailed(reason="not_retryable"), at + took)]
    return told


@pytest.fixture(scope="module")
def three_weeks() -> list[Record]:
    """Jobs over three weeks, round the end of summer time."""
    chance = random.Random(7)
    with eventlog.open(":memory:") as log:
        for number in range(250):
            start = from_datetime(BEGIN) + chance.randrange(21 * 24) * HOUR + chance.randrange(HOUR)
            stream = f"job-{number:08}"
            log.append_many(
                [Append(stream=stream, events=event, occurred_at=at) for event, at in life(chance, number, start)],
                durability="process",
            )
        return list(log.read())


@pytest.fixture
def many(log: Log, three_weeks: list[Record]) -> Log:
    log.import_records(three_weeks)
    return log


def exact(values: list[int], fraction: float) -> int | None:
    return sorted(values)[max(1, math.ceil(round(len(values) * fraction, 9))) - 1] if values else None


def hold_against(one: JobStatistics, jobs: list[Job]) -> None:
    ended = [job for job in jobs if job.status in ENDED]
    assert (one.jobs, one.ended, one.pending) == (len(jobs), len(ended), len(jobs) - len(ended))
    for status in ENDED:
        assert getattr(one, status) == sum(job.status == status for job in jobs)
    assert one.success_rate == (one.completed / len(ended) if ended else None)
    assert one.failures == sum(job.failures for job in jobs)
    assert one.crashes == sum(job.crashes for job in jobs)
    assert one.retries == sum(max(0, job.attempt - 1) for job in ended)
    begun = [job for job in ended if job.wait_us is not None]
    waits = [job.wait_us or 0 for job in begun]
    runs = [job.run_us for job in begun if job.run_us is not None]
    assert (one.wait_us_total, one.run_us_total) == (sum(waits), sum(runs))
    for values, found in (
        (waits, (one.wait_p50_us, one.wait_p95_us, one.wait_p99_us)),
        (runs, (one.run_p50_us, one.run_p95_us, one.run_p99_us)),
    ):
        for told, fraction in zip(found, (0.5, 0.95, 0.99), strict=True):
            true = exact(values, fraction)
            assert (told is None) == (true is None)
            if told is not None and true is not None:
                assert abs(told - true) <= true * 0.01


def bucket_start(job: Job, by: str, tz: tzinfo) -> int:
    local = to_datetime(job.created_at, tz)
    if by == "hour":
        return from_datetime(local.replace(minute=0, second=0, microsecond=0))
    day = datetime(local.year, local.month, local.day, tzinfo=tz)
    if by == "week":
        day -= timedelta(days=day.weekday())
    return from_datetime(day.replace(day=1) if by == "month" else day)


@pytest.mark.parametrize("by", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_groups_by_time_hold_against_the_jobs(many: Log, by: Any, zone: str) -> None:
    tz = UTC if zone == "UTC" else ZoneInfo(zone)
    groups: dict[int, list[Job]] = {}
    for job in many.jobs.list(limit=None):
        groups.setdefault(bucket_start(job, by, tz), []).append(job)
    told = many.statistics.jobs(by=by, tz=tz)
    assert [one.bucket_start for one in told] == sorted(groups)
    for one in told:
        hold_against(one, groups[one.bucket_start or 0])


@pytest.mark.parametrize("by", ["queue", "kind"])
def test_groups_by_name_hold_against_the_jobs(many: Log, by: Any) -> None:
    jobs = many.jobs.list(limit=None)
    told = many.statistics.jobs(by=by)
    assert [one.bucket for one in told] == sorted({getattr(job, by) for job in jobs})
    for one in told:
        assert one.bucket_start is None
        hold_against(one, [job for job in jobs if getattr(job, by) == one.bucket])


def test_all_in_one_and_as_of_a_version(many: Log) -> None:
    (one,) = many.statistics.jobs()
    assert (one.bucket, one.bucket_start) == ("all", None)
    hold_against(one, many.jobs.list(limit=None))
    with many.as_of(many.head().position // 2) as past:
        hold_against(past.statistics.jobs()[0], past.jobs.list(limit=None))


@pytest.mark.parametrize(("queue", "kind"), [("mail", None), (None, "k1"), ("print", "k2"), ("nothing", None)])
def test_filters_choose_jobs(many: Log, queue: str | None, kind: str | None) -> None:
    jobs = many.jobs.list(queue=queue, kind=kind, limit=None)
    told = many.statistics.jobs(queue=queue, kind=kind)
    assert len(told) == bool(jobs)
    for one in told:
        hold_against(one, jobs)


def test_since_and_until_choose_by_the_hour_in_which_a_job_was_enqueued(many: Log) -> None:
    since = from_datetime(BEGIN) + 5 * 24 * HOUR + HOUR // 2
    until = since + 100 * HOUR
    first = since - since % HOUR
    jobs = [job for job in many.jobs.list(limit=None) if first <= job.created_at - job.created_at % HOUR < until]
    assert jobs
    hold_against(many.statistics.jobs(since=since, until=until)[0], jobs)


@pytest.mark.feature("B-7")
def test_what_was_purged_still_counts(many: Log) -> None:
    before = many.statistics.jobs(by="kind")
    for job in many.jobs.list(status="completed", limit=20):
        many.jobs.delete(job.job_id)
    assert many.statistics.jobs(by="kind") == before
    kept = many.head().position
    with many.as_of(kept - 10) as past:  # half of them are there again
        assert past.statistics.jobs(by="kind") == before
    many.projections.rollback(kept - 10)
    assert many.statistics.jobs(by="kind") == before
    many.projections.resume()
    assert many.statistics.jobs(by="kind") == before


def test_a_retry_takes_back_how_a_job_had_ended(log: Log) -> None:
    job_id = log.jobs.enqueue("mail").job_id
    (claimed,) = log.jobs.claim("w")
    log.jobs.fail(job_id, claimed.token or 0, "E", retryable=False)
    (one,) = log.statistics.jobs()
    assert (one.failed, one.pending, one.success_rate) == (1, 0, 0.0)
    log.jobs.retry(job_id)
    (one,) = log.statistics.jobs()
    assert (one.failed, one.pending, one.failures, one.success_rate, one.run_p50_us) == (0, 1, 1, None, None)
    (claimed,) = log.jobs.claim("w")
    log.jobs.complete(job_id, claimed.token or 0)
    (one,) = log.statistics.jobs()
    assert (one.completed, one.retries, one.success_rate) == (1, 1, 1.0)


def test_a_grouping_that_is_none_is_refused(log: Log) -> None:
    with pytest.raises(InvalidInput, match="queue, kind, not 'program'"):
        log.statistics.jobs(by="program")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="status, not 'queue'"):
        log.statistics.runs(by="queue")  # type: ignore[arg-type]


def test_an_empty_log_has_no_statistics_of_jobs(log: Log) -> None:
    assert log.statistics.jobs() == log.statistics.jobs(by="day") == []
