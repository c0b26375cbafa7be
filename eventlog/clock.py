"""The one clock: integer microseconds since the epoch, UTC; and how people write times, durations and numbers."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, tzinfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 7 * 86_400_000_000,
}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|m|h|d|w)", re.ASCII)
LAST_US = 253_402_300_799_999_999
"""The end of the year 9999: the last moment that a datetime can hold."""


def now_us() -> int:
    """The time now, in µs since the epoch. Tests freeze it with freezegun, at whole seconds."""
    return time.time_ns() // 1000


def to_datetime(us: int, tz: tzinfo | None = UTC) -> datetime:
    """µs since the epoch as an aware datetime; ``tz=None`` is the zone of this machine."""
    seconds, micros = divmod(us, 1_000_000)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=micros).astimezone(tz)


def from_datetime(when: datetime) -> int:
    """A datetime (naive: local time) as µs since the epoch, exact."""
    return (when.astimezone(UTC) - _EPOCH) // _MICROSECOND


def iso(us: int, tz: tzinfo | None = UTC) -> str:
    """µs since the epoch in ISO 8601, to the microsecond; UTC is written as ``Z``."""
    return to_datetime(us, tz).isoformat(timespec="microseconds").replace("+00:00", "Z")


def show_duration(us: int | None) -> str:
    """µs in the unit a person would use: ``850 µs``, ``12.3 ms``, ``4.25 s``, ``3 min 07 s``, ``2 h 05 min``."""
    if us is None:
        return ""
    if us < 0:
        return "-" + show_duration(-us)
    if us < 1_000:
        return f"{us} µs"
    if us < 999_950:
        return f"{us / 1_000:.3g} ms" if us < 100_000 else f"{us / 1_000:.0f} ms"
    if us < 59_950_000:
        return f"{us / 1_000_000:.3g} s" if us >= 10_000_000 else f"{us / 1_000_000:.2f} s"
    seconds = round(us / 1_000_000)
    if seconds < 3_600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60:02d} h"


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def parse_duration(text: str) -> int:
    """``28d``, ``2h``, ``1h30m``, ``90s``, ``250ms`` in µs. Raises ValueError."""
    total, end = 0.0, 0
    while end < len(text.rstrip()):
        match = _DURATION.match(text, end)
        if match is None:
            raise ValueError(f"{text!r} is not a duration like 28d, 2h, 1h30m or 90s")
        total += float(match[1]) * UNITS_US[match[2]]
        end = match.end()
    if not end:
        raise ValueError("an empty duration")
    return round(total)


def parse_time(text: str, zone: tzinfo | None = None) -> int:
    """A moment in µs: ISO 8601 (without an offset: in ``zone``, None is this machine's), ``28d`` ago, ``now``,
    ``today`` and ``yesterday`` (their midnight), or ``@`` and the seconds since the epoch. Raises ValueError.
    """
    word = text.strip().lower().removesuffix(" ago")
    if word == "now":
        return now_us()
    if word in ("today", "yesterday"):
        midnight = to_datetime(now_us(), zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return _local(midnight - timedelta(days=word == "yesterday"), zone)
    try:
        if word.startswith("@"):
            return _checked(round(float(word[1:]) * 1_000_000), text)
        if _DURATION.match(word):
            return _checked(now_us() - parse_duration(word), text)
        when = datetime.fromisoformat(text.strip())
        return _local(when, zone) if when.tzinfo is None else from_datetime(when)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is not a time: use 2026-11-21, 2026-11-21T09:30, 2026-11-21T09:30:00+09:00, 28d, 2h, "
            "today, yesterday or now"
        ) from None


def _checked(us: int, text: str) -> int:
    if not 0 <= us <= LAST_US:
        raise ValueError(text)
    return us


def _local(when: datetime, zone: tzinfo | None) -> int:
    return from_datetime(when if zone is None else when.replace(tzinfo=zone))
