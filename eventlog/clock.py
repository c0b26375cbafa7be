"""The one clock: integer microseconds since the epoch, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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
