"""Job statistics by hour × queue × kind, with how long jobs waited and ran as histograms.

A job counts in the hour (UTC) in which it was enqueued; what is counted stays when the job is purged. Days, and
whatever is longer, are sums of hours.
"""

from __future__ import annotations

from collections.abc import Iterable

from eventlog.projection import Rollup, Row, bin_of
from projections.jobs import Job

HOUR_US = 3_600_000_000


class JobStatistic(Row, frozen=True):
    """Jobs of one hour: how many were enqueued, and how many of those stand how.

    ``retries`` are attempts after the first; ``wait_us`` and ``run_us`` are sums over the last attempts of the ended.
    """

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
    """How many ended jobs of one hour waited, or ran, as long as a bin says (µs).

    ``what`` is ``wait`` or ``run``.
    """

    bucket_start: int
    queue: str
    kind: str
    status: str
    what: str
    bin: int
    jobs: int


_ENDED = {"completed": 0, "failed": 1, "cancelled": 2, "expired": 3}


def statistics(job: Job) -> Iterable[tuple[tuple[int, str, str], list[int]]]:
    """What a job adds to its hour. While it is under way only what has ended of it counts."""
    numbers = [1, 0, 0, 0, 0, 0, job.failures, job.crashes, 0, 0]
    place = _ENDED.get(job.status)
    if place is not None:
        numbers[1 + place] = 1
        numbers[5] = max(0, job.attempt - 1)
        numbers[8] = job.wait_us or 0
        numbers[9] = job.run_us or 0
    return [((job.created_at - job.created_at % HOUR_US, job.queue, job.kind), numbers)]


def times(job: Job) -> Iterable[tuple[tuple[int, str, str, str, str, int], tuple[int]]]:
    """What a job adds to the histograms: nothing until it has ended."""
    if job.status not in _ENDED or job.wait_us is None:
        return []
    hour, queue, kind, status = job.created_at - job.created_at % HOUR_US, job.queue, job.kind, job.status
    shares: list[tuple[tuple[int, str, str, str, str, int], tuple[int]]] = [
        ((hour, queue, kind, status, "wait", bin_of(job.wait_us)), (1,))
    ]
    if job.run_us is not None:
        shares.append(((hour, queue, kind, status, "run", bin_of(job.run_us)), (1,)))
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
