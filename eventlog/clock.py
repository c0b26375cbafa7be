"""The one clock: integer microseconds since the epoch, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo


def now_us() -> int:
    """The time now, in µs since the epoch. Tests freeze it with freezegun, at whole seconds."""
    return time.time_ns() // 1000


def to_datetime(us: int, tz: tzinfo | None = UTC) -> datetime:
    """µs since the epoch as an aware datetime; ``tz=None`` is the zone of this machine."""
    seconds, micros = divmod(us, 1_000_000)
    return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=micros).astimezone(tz)


def from_datetime(when: datetime) -> int:
    """A datetime (naive: local time) as µs since the epoch, exact."""
    whole = when.astimezone(UTC)
    return int(whole.replace(microsecond=0).timestamp()) * 1_000_000 + whole.microsecond


def iso(us: int, tz: tzinfo | None = UTC) -> str:
    """µs since the epoch in ISO 8601, to the microsecond; UTC is written as ``Z``."""
    return to_datetime(us, tz).isoformat(timespec="microseconds").replace("+00:00", "Z")
