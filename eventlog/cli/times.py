"""Times and durations as people write and read them. Inside, everything is integer µs since the epoch, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

import click

from eventlog.clock import LAST_US as LAST_US
from eventlog.clock import counted as counted
from eventlog.clock import parse_duration as parse_duration
from eventlog.clock import parse_time, to_datetime
from eventlog.clock import show_duration as show_duration

JST = timezone(timedelta(hours=9), "JST")


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
    seconds, rest = divmod(us, 1_000_000)
    try:
        second, offset = _second(seconds, zone)
    except (ValueError, OverflowError, OSError):
        return f"{us} µs"
    return f"{second}.{rest // 1000:03}{offset}"


@lru_cache(maxsize=1024)
def _second(seconds: int, zone: tzinfo | None) -> tuple[str, str]:
    """A second in a zone, and the offset there. What is in a list happened within few seconds, or in their order."""
    shown = to_datetime(seconds * 1_000_000, zone).isoformat(sep=" ", timespec="seconds")
    return shown[:19], shown[19:].replace("+00:00", "Z")


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
    try:
        if digits.isascii() and digits.isdigit():
            return int(digits)
        return to_datetime(parse_time(value, zone))
    except ValueError as error:
        raise click.BadParameter(f"{error}; a version is a number like 42", param_hint=f"'{option}'") from None
