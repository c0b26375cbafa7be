"""Groups that statistics are made of: hours, days, weeks and months of a zone, and names."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from typing import Any

from eventlog.clock import from_datetime, to_datetime
from eventlog.store.base import Filter
from projections.run_statistics import HOUR_US

PERIODS = ("hour", "day", "week", "month")
NAMED = {
    "program": "program",
    "project": "project_id",
    "status": "status",
    "queue": "queue",
    "kind": "kind",
    "problem": "problem_name",
    "language": "language",
}
Bucket = tuple[str, int | None]


def where_of(since: int | None, until: int | None, **columns: str | None) -> list[Filter]:
    """Conditions on a rollup: times to the hour, and columns that have a value."""
    where = [Filter(column, "=", value) for column, value in columns.items() if value is not None]
    where += [] if since is None else [Filter("bucket_start", ">=", since - since % HOUR_US)]
    return where + ([] if until is None else [Filter("bucket_start", "<", until)])


def bucketing(by: str | None, tz: tzinfo | None) -> Callable[[Any], Bucket]:
    """The bucket of a group's name, or of an hour in which it starts."""
    if by is None:
        return lambda value: ("all", None)
    if by in NAMED:
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


def is_utc(tz: tzinfo | None) -> bool:
    """Whether days of a zone are those of UTC."""
    return tz is UTC or (tz is None and not time.timezone and not time.daylight)
