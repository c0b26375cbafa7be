"""Job statistics by hour and day × queue × kind, with how long jobs waited and ran as histograms.

A job counts in the hour and day (UTC) in which it was enqueued; what is counted stays when the job is purged.
"""

from __future__ import annotations

from collections.abc import Iterable

from eventlog.projection import Rollup, Row, bin_of
from projections.jobs import Job

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


class JobStatistic(Row, frozen=True):
    """Jobs of one hour or day: how many were enqueued, and how many of those stand how.

    ``retries`` are attempts after the first; ``wait_us`` and ``run_us`` are sums over the last attempts of the ended.
    """

    period: str
    bucket_start: int
    queue: str
    kind: str
    jobs: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    retries: int
    failures: int
    crashes: int
    wait_us: int
    run_us: int


class JobTime(Row, frozen=True):
    """How many ended jobs of one hour or day waited, or ran, as long as a bin says (µs).

    ``what`` is ``wait`` or ``run``.
    """

    period: str
    bucket_start: int
    queue: str
    kind: str
    status: str
    what: str
    bin: int
    jobs: int


_ENDED = {"completed": 0, "failed": 1, "cancelled": 2, "expired": 3}


def statistics(job: Job) -> Iterable[tuple[tuple[str, int, str, str], tuple[int, ...]]]:
    """What a job adds to its hour and its day. While it is under way only what has ended of it counts."""
    numbers = [1, 0, 0, 0, 0, 0, job.failures, job.crashes, 0, 0]
    place = _ENDED.get(job.status)
    if place is not None:
        numbers[1 + place] = 1
        numbers[5] = max(0, job.attempt - 1)
        numbers[8] = job.wait_us or 0
        numbers[9] = job.run_us or 0
    start, queue, kind = job.created_at, job.queue, job.kind
    measures = tuple(numbers)
    return [
        (("hour", start - start % HOUR_US, queue, kind), measures),
        (("day", start - start % DAY_US, queue, kind), measures),
    ]


def times(job: Job) -> Iterable[tuple[tuple[str, int, str, str, str, str, int], tuple[int]]]:
    """What a job adds to the histograms: nothing until it has ended."""
    if job.status not in _ENDED or job.wait_us is None:
        return []
    start, queue, kind, status = job.created_at, job.queue, job.kind, job.status
    hour, day = start - start % HOUR_US, start - start % DAY_US
    shares = []
    for what, duration in (("wait", job.wait_us), ("run", job.run_us)):
        if duration is not None:
            bin_ = bin_of(duration)
            shares += [
                (("hour", hour, queue, kind, status, what, bin_), (1,)),
                (("day", day, queue, kind, status, what, bin_), (1,)),
            ]
    return shares


projections = (
    Rollup(
        "job_statistics",
        version=1,
        row=JobStatistic,
        source="jobs",
        measures=(
            "jobs", "completed", "failed", "cancelled", "expired", "retries", "failures", "crashes",
            "wait_us", "run_us",
        ),
        contribute=statistics,
        keeps_retired=True,
    ),
    Rollup(
        "job_times", version=1, row=JobTime, source="jobs", measures=("jobs",), contribute=times, keeps_retired=True
    ),
)  # fmt: skip
