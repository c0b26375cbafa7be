"""Times and durations as people write and read them. Inside, everything is integer µs since the epoch, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

import click

from eventlog.clock import from_datetime, now_us, to_datetime
from eventlog.clock import show_duration as show_duration

JST = timezone(timedelta(hours=9), "JST")
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


def parse_zone(name: str) -> tzinfo | None:
    """``UTC``, ``JST``, ``local`` (None), ``+09:00`` or a name of the tz database. Raises ValueError."""
    known: dict[str, tzinfo | None] = {"utc": UTC, "z": UTC, "jst": JST, "local": None}
    if name.lower() in known:
        return known[name.lower()]
    offset = re.fullmatch(r"([+-])(\d\d):?(\d\d)", name, re.ASCII)
    if offset is not None and int(offset[2]) < 24 and int(offset[3]) < 60:
        delta = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-delta if offset[1] == "-" else delta)
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"{name!r} is not a time zone: use UTC, JST, +09:00 or a name like Europe/Berlin") from None


def show_time(us: int | None, zone: tzinfo | None) -> str:
    """µs as ``2026-11-21 09:30:00.123+09:00``; out of range: the number itself."""
    if us is None:
        return ""
    try:
        shown = to_datetime(us, zone).isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{us} µs"
    return shown.replace("+00:00", "Z")


def parse_size(text: str) -> int:
    """``1073741824``, ``512k``, ``1024MiB``, ``1g`` in bytes; units are powers of 1024. Raises ValueError."""
    found = re.fullmatch(r"(\d+)\s*([kmgt]?)(?:i?b)?", text.strip().lower(), re.ASCII)
    if found is None or not (size := int(found[1]) << 10 * " kmgt".index(found[2] or " ")):
        raise ValueError(f"{text!r} is not a size like 1073741824, 512k, 1024MiB or 1g")
    return size


def show_size(size: int | None) -> str:
    """Bytes as ``512 B``, ``1.5 KiB``, ``20 MiB``."""
    if size is None:
        return ""
    if abs(size) < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        value /= 1024
        if abs(value) < 1023.95 or unit == "PiB":
            break
    return f"{value:.1f} {unit}"


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def time_option(value: str | None, zone: tzinfo | None, option: str) -> int | None:
    """The µs of a time option. Parsed inside the command, where the zone it is meant in is known."""
    if value is None:
        return None
    try:
        return parse_time(value, zone)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"'{option}'") from None


def version_option(value: str | None, zone: tzinfo | None, option: str = "--as-of") -> int | datetime | None:
    """A version of the log (a position), or a moment as an aware datetime."""
    if value is None:
        return None
    digits = value.strip().removeprefix("v")
    if digits.isascii() and digits.isdigit():
        return int(digits)
    us = time_option(value, zone, option)
    return None if us is None else to_datetime(us)
