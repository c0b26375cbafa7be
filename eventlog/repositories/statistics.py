"""`log.statistics`: counts, success rates and percentiles, from rollups that stay exact under rollback."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any, Literal, get_args

import msgspec

from eventlog.clock import from_datetime, to_datetime
from eventlog.errors import InvalidInput
from eventlog.projection import percentiles
from eventlog.repositories.base import Repository
from eventlog.store.base import Filter, Values
from projections.run_statistics import DAY_US
from projections.run_statistics import projections as _rollups

STATISTICS, DURATIONS = _rollups
By = Literal["hour", "day", "week", "month", "program", "project", "status"]
_PERIODS = ("hour", "day", "week", "month")
_COLUMNS = {"program": "program", "project": "project_id", "status": "status"}


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


class StatisticsRepository(Repository):
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
        if by is not None and by not in get_args(By):
            raise InvalidInput(f"statistics are by {', '.join(get_args(By))}, not {by!r}")
        where = [
            Filter(column, "=", value)
            for column, value in (("project_id", project_id), ("program", program), ("status", status))
            if value is not None
        ]
        daily = tz is UTC and by != "hour" and all(edge is None or edge % DAY_US == 0 for edge in (since, until))
        where.append(Filter("period", "=", "day" if daily else "hour"))
        hour = DAY_US // 24
        where += [] if since is None else [Filter("bucket_start", ">=", since - since % hour)]
        where += [] if until is None else [Filter("bucket_start", "<", until)]
        column = _COLUMNS.get(by or "", "bucket_start")
        for rollup in (STATISTICS, DURATIONS):
            self._fresh(rollup)
        with self._source.reader() as reader:
            sums = reader.totals(STATISTICS.table, (column, "status"), STATISTICS.table.measures, where)
            bins = reader.totals(DURATIONS.table, (column, "bin"), DURATIONS.table.measures, where)
        return _assemble(sums, bins, _bucketing(by, tz))


Bucket = tuple[str, int | None]


def _bucketing(by: By | None, tz: tzinfo | None) -> Callable[[Any], Bucket]:
    if by is None:
        return lambda value: ("all", None)
    if by in _COLUMNS:
        return lambda value: (value, None)
    # Thousands of rows share a few hundred starts.
    return cache(lambda value: _period_of(by, to_datetime(value, tz), tz))


def _period_of(by: str, start: datetime, tz: tzinfo | None) -> Bucket:
    if by == "hour":
        return start.strftime("%Y-%m-%d %H:00"), from_datetime(start)
    day = datetime(start.year, start.month, start.day)
    if by == "week":
        day -= timedelta(days=day.weekday())
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02}", _midnight(day, tz)
    if by == "month":
        day = day.replace(day=1)
        return day.strftime("%Y-%m"), _midnight(day, tz)
    return day.strftime("%Y-%m-%d"), _midnight(day, tz)


def _midnight(day: datetime, tz: tzinfo | None) -> int:
    # A naive datetime is one of this machine's zone, with the offset of that day and not of another.
    return from_datetime(day if tz is None else day.replace(tzinfo=tz))


def _assemble(sums: list[Values], bins: list[Values], bucket_of: Callable[[Any], Bucket]) -> list[RunStatistics]:
    numbers: dict[Bucket, dict[str, int]] = {}
    histograms: dict[Bucket, dict[int, int]] = {}
    for value, status, runs, wall, cpu in sums:
        counted = numbers.setdefault(bucket_of(value), {})
        for name, number in (("runs", runs), (status, runs), ("wall_us_total", wall), ("cpu_us_total", cpu)):
            counted[name] = counted.get(name, 0) + number
    for value, bin_, count in bins:
        histogram = histograms.setdefault(bucket_of(value), {})
        histogram[bin_] = histogram.get(bin_, 0) + count
    return [
        _row(bucket, counted, histograms.get(bucket, {}))
        for bucket, counted in sorted(numbers.items(), key=lambda item: (item[0][1] or 0, item[0][0]))
    ]


def _row(bucket: Bucket, counted: dict[str, int], histogram: dict[int, int]) -> RunStatistics:
    p50, p95, p99 = percentiles(histogram.items(), (0.5, 0.95, 0.99))
    ended = sum(counted.get(status, 0) for status in ("success", "fail", "killed", "lost"))
    return RunStatistics(
        bucket=bucket[0],
        bucket_start=bucket[1],
        runs=counted["runs"],
        success=counted.get("success", 0),
        fail=counted.get("fail", 0),
        killed=counted.get("killed", 0),
        lost=counted.get("lost", 0),
        running=counted.get("running", 0),
        success_rate=counted.get("success", 0) / ended if ended else None,
        wall_us_total=counted["wall_us_total"],
        cpu_us_total=counted["cpu_us_total"],
        ended=sum(histogram.values()),
        p50_us=p50,
        p95_us=p95,
        p99_us=p99,
    )
