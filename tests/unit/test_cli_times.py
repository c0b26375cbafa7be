from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import click
import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from eventlog.cli.times import (
    JST,
    LAST_US,
    parse_duration,
    parse_time,
    parse_zone,
    show_duration,
    show_size,
    show_time,
    time_option,
    version_option,
)

SECOND, DAY = 1_000_000, 86_400_000_000
NOON = 1_795_262_400 * SECOND  # 2026-11-21T12:00:00Z


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("28d", 28 * DAY),
        ("2h", 7_200 * SECOND),
        ("1h30m", 5_400 * SECOND),
        ("90 s", 90 * SECOND),
        ("250ms", 250_000),
        ("7us", 7),
        ("1.5min", 90 * SECOND),
        ("2w", 14 * DAY),
    ],
)
def test_durations(text: str, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize("text", ["", " ", "d", "28", "28x", "1h-2m", "٣d", "1e5d", "h2"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@freeze_time("2026-11-21T12:00:00Z")
@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("now", NOON),
        ("28d", NOON - 28 * DAY),
        ("2h ago", NOON - 7_200 * SECOND),
        ("today", NOON - DAY // 2),
        ("Yesterday", NOON - DAY // 2 - DAY),
        ("2026-11-21", NOON - DAY // 2),
        ("2026-11-21T12:00", NOON),
        ("2026-11-21 12:00:00.000001", NOON + 1),
        ("2026-11-21T12:00:00Z", NOON),
        ("2026-11-21T21:00:00+09:00", NOON),
        (f"@{NOON // SECOND}", NOON),
    ],
)
def test_times_in_utc(text: str, us: int) -> None:
    assert parse_time(text, UTC) == us


@freeze_time("2026-11-21T20:00:00Z")
def test_days_begin_in_the_zone_asked_for() -> None:
    midnight = int(datetime(2026, 11, 22, tzinfo=JST).timestamp()) * SECOND
    assert parse_time("today", JST) == parse_time("2026-11-22", JST) == midnight
    assert parse_time("yesterday", JST) == midnight - DAY


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01", "@x", "@-5", "@nan", "@1e400", "99999999999d", "0001-01-01T00:00+99:00"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text, UTC)


def test_a_wrong_time_is_a_usage_error() -> None:
    with pytest.raises(click.BadParameter, match="not a time"):
        time_option("soon", UTC, "--since")
    assert time_option(None, UTC, "--since") is None


def test_versions_and_moments() -> None:
    assert version_option(None, UTC) is None
    assert version_option("120", UTC) == version_option("v120", UTC) == 120
    assert version_option("2026-11-21T12:00Z", JST) == datetime(2026, 11, 21, 12, tzinfo=UTC)
    with pytest.raises(click.BadParameter):
        version_option("x12", UTC)


def test_zones() -> None:
    assert parse_zone("local") is None
    assert parse_zone("UTC") is UTC
    assert parse_zone("jst") is JST
    assert parse_zone("-03:30") == timezone(-timedelta(hours=3, minutes=30))
    assert parse_zone("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    for wrong in ("Nowhere/City", "../etc/passwd", "+25:00", "", "/etc/localtime", "a\x00b"):
        with pytest.raises(ValueError):
            parse_zone(wrong)


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (None, ""),
        (0, "0 µs"),
        (999, "999 µs"),
        (1_500, "1.5 ms"),
        (123_456, "123 ms"),
        (999_960, "1.00 s"),
        (4_250_000, "4.25 s"),
        (42_000_000, "42 s"),
        (187_000_000, "3 min 07 s"),
        (7_500 * SECOND, "2 h 05 min"),
        (3 * DAY + 3_600 * SECOND, "3 d 01 h"),
        (-1_500, "-1.5 ms"),
    ],
)
def test_durations_for_people(us: int | None, text: str) -> None:
    assert show_duration(us) == text


@given(st.integers(0, 10**15))
def test_a_shown_duration_never_says_sixty(us: int) -> None:
    shown = show_duration(us)
    assert not re.search(r"(?<![\d.])60 s", shown)
    assert not shown.endswith(("60 min", "24 h"))


@pytest.mark.parametrize(
    ("size", "text"), [(None, ""), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB")]
)
def test_sizes(size: int | None, text: str) -> None:
    assert show_size(size) == text


def test_times_for_people() -> None:
    assert show_time(None, UTC) == ""
    assert show_time(NOON + 1_500, UTC) == "2026-11-21 12:00:00.001Z"
    assert show_time(NOON, JST) == "2026-11-21 21:00:00.000+09:00"
    assert show_time(LAST_US * 100, UTC) == f"{LAST_US * 100} µs"
