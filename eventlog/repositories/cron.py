"""Cron expressions in time zones: when a schedule fires, and how often it would have."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

from eventlog.clock import from_datetime, to_datetime
from eventlog.errors import InvalidInput

MOST_MISSED = 10_000
"""Missed times are counted up to this."""


class Due(NamedTuple):
    """The last time up to now, µs, and how many there were between the one before and it."""

    at: int
    missed: int


def zone_of(name: str) -> tzinfo:
    """A time zone of the tz database. Raises InvalidInput."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise InvalidInput(f"{name!r} is no time zone: use UTC, or a name like Europe/Berlin or Asia/Tokyo") from None


def check(cron: str, zone: str) -> None:
    """Raise InvalidInput for an expression or a zone that cannot be used."""
    times = _times(cron, to_datetime(0, zone_of(zone)))
    if next(times, None) is None:
        raise InvalidInput(f"the cron expression {cron!r} never comes true")


def next_after(cron: str, zone: str, after: int) -> int | None:
    """The first time after a moment, µs; None when there is none within 50 years."""
    found = next(_times(cron, to_datetime(after, zone_of(zone))), None)
    return None if found is None else from_datetime(found)


def due(cron: str, zone: str, since: int, now: int) -> Due | None:
    """The last time in ``since < time <= now``, and how many others there were; None: it is not due.

    Where a change of the clock skips or repeats times it is as with Debian's cron: what has a fixed time comes once;
    what comes every hour or minute follows the time that goes on.
    """
    first = next_after(cron, zone, since)
    if first is None or first > now:
        return None
    count, last = 0, first
    for time in _times(cron, to_datetime(since, zone_of(zone))):
        at = from_datetime(time)
        if at > now:
            break
        if at <= since or at < last:
            continue
        last = at
        count += 1
        if count > MOST_MISSED:
            last = max(last, from_datetime(next(_times(cron, to_datetime(now + 1, zone_of(zone)), reverse=True))))
            break
    return Due(last, count - 1)


def _times(cron: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        raise InvalidInput("schedules need pip install 'execution-eventlog[cron]'") from error
    try:
        times: Any = CronSim(cron, start, reverse=reverse)
    except CronSimError as error:
        raise InvalidInput(
            f"{cron!r} is no cron expression (minute hour day month weekday): {str(error).lower()}"
        ) from error
    found: Iterator[datetime] = times
    return found
