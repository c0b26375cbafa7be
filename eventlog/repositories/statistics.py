"""`log.statistics`: counts, success rates and percentiles, from rollups that stay exact under rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, Literal, get_args

import msgspec

from eventlog.errors import InvalidInput
from eventlog.projection import percentiles
from eventlog.repositories.buckets import NAMED, Bucket, bucketing, where_of
from eventlog.repositories.usage_statistics import UsageStatistics
from eventlog.store.base import Filter, Values
from projections.executions import RUNNING
from projections.executions import projections as _executions
from projections.job_statistics import projections as _job_rollups
from projections.run_statistics import DAY_US
from projections.run_statistics import projections as _rollups

STATISTICS, DURATIONS = _rollups
JOB_STATISTICS, JOB_TIMES = _job_rollups
EXECUTION_STATISTICS, EXECUTION_DURATIONS = _executions[1:]
By = Literal["hour", "day", "week", "month", "program", "project", "status"]
JobsBy = Literal["hour", "day", "week", "month", "queue", "kind"]
ExecutionsBy = Literal["hour", "day", "week", "month", "problem", "language", "status"]
ACCEPTED = ("accepted", "success")
"""What a verdict is called with which an execution did what it should."""
_ENDED = ("success", "fail", "killed", "lost")
_JOBS_ENDED = ("completed", "failed", "cancelled", "expired")


class RunStatistics(msgspec.Struct, frozen=True):
    """Runs of one bucket. ``success_rate`` is of the ended ones; durations are µs over those that ended.

    ``bucket`` is a date, an hour or a name; ``bucket_start`` its start in µs, for periods.
    """

    bucket: str
    bucket_start: int | None
    runs: int = 0
    success: int = 0
    fail: int = 0
    killed: int = 0
    lost: int = 0
    running: int = 0
    success_rate: float | None = None
    wall_us_total: int = 0
    cpu_us_total: int = 0
    ended: int = 0
    p50_us: int | None = None
    p95_us: int | None = None
    p99_us: int | None = None


class JobStatistics(msgspec.Struct, frozen=True):
    """Jobs of one bucket, those that were purged too; the states of the ended, and ``pending`` for all others.

    ``success_rate`` is of the ended ones. ``retries`` are attempts after the first. ``wait_…`` is how long the last
    attempt could have begun before it did, ``run_…`` how long it took, µs over those that ended and had one.
    """

    bucket: str
    bucket_start: int | None
    jobs: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    pending: int = 0
    retries: int = 0
    failures: int = 0
    crashes: int = 0
    success_rate: float | None = None
    ended: int = 0
    wait_us_total: int = 0
    wait_p50_us: int | None = None
    wait_p95_us: int | None = None
    wait_p99_us: int | None = None
    run_us_total: int = 0
    run_p50_us: int | None = None
    run_p95_us: int | None = None
    run_p99_us: int | None = None


class ExecutionStatistics(msgspec.Struct, frozen=True):
    """Executions of one bucket, and how many there are of each status. Durations are µs over those that ended.

    ``accepted_rate`` is of the ended ones: those that are called accepted, or success.
    """

    bucket: str
    bucket_start: int | None
    executions: int = 0
    statuses: dict[str, int] = {}
    accepted_rate: float | None = None
    duration_us_total: int = 0
    ended: int = 0
    p50_us: int | None = None
    p95_us: int | None = None
    p99_us: int | None = None


class StatisticsRepository(UsageStatistics):
    """What the log adds up to."""

    def runs(
        self,
        *,
        by: By | None = None,
        since: int | None = None,
        until: int | None = None,
        project_id: str | None = None,
        program: str | None = None,
        status: str | None = None,
        tz: tzinfo | None = UTC,
    ) -> list[RunStatistics]:
        """Statistics of the runs that started in ``since`` ≤ time < ``until`` (µs, taken to whole hours).

        ``by`` groups them (default: all in one bucket); days, weeks (from Monday) and months are of the zone ``tz``
        (None: this machine's), made of whole UTC hours: in a zone with half hours a run may count in the next day's
        or the day's before. Percentiles are within 0.8 %.
        """
        column = _column(by, get_args(By))
        daily = tz is UTC and by != "hour" and all(edge is None or edge % DAY_US == 0 for edge in (since, until))
        where = [
            *where_of(since, until, project_id=project_id, program=program, status=status),
            Filter("period", "=", "day" if daily else "hour"),
        ]
        for rollup in (STATISTICS, DURATIONS):
            self._fresh(rollup)
        with self._source.reader() as reader:
            sums = reader.totals(STATISTICS.table, (column, "status"), STATISTICS.table.measures, where)
            bins = reader.totals(DURATIONS.table, (column, "bin"), DURATIONS.table.measures, where)
        bucket_of = bucketing(by, tz)
        numbers = _numbers(
            (
                (value, {"runs": runs, status: runs, "wall_us_total": wall, "cpu_us_total": cpu})
                for value, status, runs, wall, cpu in sums
            ),
            bucket_of,
        )
        histograms = _histograms(bins, bucket_of)
        return [_runs(bucket, numbers[bucket], histograms.get(bucket, {})) for bucket in _in_order(numbers)]

    def jobs(
        self,
        *,
        by: JobsBy | None = None,
        since: int | None = None,
        until: int | None = None,
        queue: str | None = None,
        kind: str | None = None,
        tz: tzinfo | None = UTC,
    ) -> list[JobStatistics]:
        """Statistics of the jobs that were enqueued in ``since`` ≤ time < ``until`` (µs, taken to whole hours).

        Groups, zones and percentiles are as those of `runs`.
        """
        column = _column(by, get_args(JobsBy))
        where = where_of(since, until, queue=queue, kind=kind)
        for rollup in (JOB_STATISTICS, JOB_TIMES):
            self._fresh(rollup)
        measures = JOB_STATISTICS.table.measures
        with self._source.reader() as reader:
            sums = reader.totals(JOB_STATISTICS.table, (column,), measures, where)
            bins = reader.totals(JOB_TIMES.table, (column, "what", "bin"), JOB_TIMES.table.measures, where)
        bucket_of = bucketing(by, tz)
        numbers = _numbers(((value, dict(zip(measures, found, strict=True))) for value, *found in sums), bucket_of)
        waits, runs = (
            _histograms(((value, bin_, count) for value, what, bin_, count in bins if what == wanted), bucket_of)
            for wanted in ("wait", "run")
        )
        return [
            _jobs(bucket, numbers[bucket], waits.get(bucket, {}), runs.get(bucket, {})) for bucket in _in_order(numbers)
        ]

    def executions(
        self,
        *,
        by: ExecutionsBy | None = None,
        since: int | None = None,
        until: int | None = None,
        problem_name: str | None = None,
        language: str | None = None,
        status: str | None = None,
        tz: tzinfo | None = UTC,
    ) -> list[ExecutionStatistics]:
        """Statistics of the executions that started in ``since`` ≤ time < ``until`` (µs, taken to whole hours).

        Groups, zones and percentiles are as those of `runs`.
        """
        column = _column(by, get_args(ExecutionsBy))
        daily = tz is UTC and by != "hour" and all(edge is None or edge % DAY_US == 0 for edge in (since, until))
        where = where_of(since, until, problem_name=problem_name, language=language, status=status)
        where.append(Filter("period", "=", "day" if daily else "hour"))
        for rollup in (EXECUTION_STATISTICS, EXECUTION_DURATIONS):
            self._fresh(rollup)
        with self._source.reader() as reader:
            sums = reader.totals(
                EXECUTION_STATISTICS.table, (column, "status"), EXECUTION_STATISTICS.table.measures, where
            )
            bins = reader.totals(EXECUTION_DURATIONS.table, (column, "bin"), EXECUTION_DURATIONS.table.measures, where)
        bucket_of = bucketing(by, tz)
        statuses = _numbers(((value, {status: count}) for value, status, count, _ in sums), bucket_of)
        took = _numbers(((value, {"us": us}) for value, _, _, us in sums), bucket_of)
        histograms = _histograms(bins, bucket_of)
        return [
            _executions_of(bucket, statuses[bucket], took[bucket]["us"], histograms.get(bucket, {}))
            for bucket in _in_order(statuses)
        ]


def _column(by: str | None, known: Sequence[str]) -> str:
    """The column that tells rows of one group from those of another."""
    if by is not None and by not in known:
        raise InvalidInput(f"statistics are by {', '.join(known)}, not {by!r}")
    return NAMED.get(by or "", "bucket_start")


def _numbers(
    rows: Iterable[tuple[Any, Mapping[str, int]]], bucket_of: Callable[[Any], Bucket]
) -> dict[Bucket, dict[str, int]]:
    """The sums of each bucket, by name."""
    numbers: dict[Bucket, dict[str, int]] = {}
    for value, named in rows:
        counted = numbers.setdefault(bucket_of(value), {})
        for name, number in named.items():
            counted[name] = counted.get(name, 0) + number
    return numbers


def _histograms(bins: Iterable[Values], bucket_of: Callable[[Any], Bucket]) -> dict[Bucket, dict[int, int]]:
    """How many there are in each bin of each bucket, of rows (value, bin, count)."""
    histograms: dict[Bucket, dict[int, int]] = {}
    for value, bin_, count in bins:
        histogram = histograms.setdefault(bucket_of(value), {})
        histogram[bin_] = histogram.get(bin_, 0) + count
    return histograms


def _in_order(buckets: Iterable[Bucket]) -> list[Bucket]:
    return sorted(buckets, key=lambda bucket: (bucket[1] or 0, bucket[0]))


def _rate(good: int, ended: int) -> float | None:
    return good / ended if ended else None


def _percentiles(histogram: Mapping[int, int]) -> list[int | None]:
    return percentiles(histogram.items(), (0.5, 0.95, 0.99))


def _runs(bucket: Bucket, counted: Mapping[str, int], histogram: Mapping[int, int]) -> RunStatistics:
    p50, p95, p99 = _percentiles(histogram)
    statuses = {status: counted.get(status, 0) for status in (*_ENDED, "running")}
    return RunStatistics(
        bucket=bucket[0],
        bucket_start=bucket[1],
        runs=counted["runs"],
        **statuses,
        success_rate=_rate(statuses["success"], sum(statuses[status] for status in _ENDED)),
        wall_us_total=counted["wall_us_total"],
        cpu_us_total=counted["cpu_us_total"],
        ended=sum(histogram.values()),
        p50_us=p50,
        p95_us=p95,
        p99_us=p99,
    )


def _jobs(
    bucket: Bucket, counted: Mapping[str, int], waits: Mapping[int, int], runs: Mapping[int, int]
) -> JobStatistics:
    wait_p50, wait_p95, wait_p99 = _percentiles(waits)
    run_p50, run_p95, run_p99 = _percentiles(runs)
    ended = sum(counted[status] for status in _JOBS_ENDED)
    return JobStatistics(
        bucket=bucket[0],
        bucket_start=bucket[1],
        **{name: counted[name] for name in ("jobs", *_JOBS_ENDED, "retries", "failures", "crashes")},
        pending=counted["jobs"] - ended,
        success_rate=_rate(counted["completed"], ended),
        ended=ended,
        wait_us_total=counted["wait_us"],
        wait_p50_us=wait_p50,
        wait_p95_us=wait_p95,
        wait_p99_us=wait_p99,
        run_us_total=counted["run_us"],
        run_p50_us=run_p50,
        run_p95_us=run_p95,
        run_p99_us=run_p99,
    )


def _executions_of(
    bucket: Bucket, statuses: Mapping[str, int], took_us: int, histogram: Mapping[int, int]
) -> ExecutionStatistics:
    p50, p95, p99 = _percentiles(histogram)
    executions = sum(statuses.values())
    accepted = sum(statuses.get(status, 0) for status in ACCEPTED)
    return ExecutionStatistics(
        bucket=bucket[0],
        bucket_start=bucket[1],
        executions=executions,
        statuses=dict(sorted(statuses.items())),
        accepted_rate=_rate(accepted, executions - statuses.get(RUNNING, 0)),
        duration_us_total=took_us,
        ended=sum(histogram.values()),
        p50_us=p50,
        p95_us=p95,
        p99_us=p99,
    )
