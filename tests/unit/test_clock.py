"""The clock: integer microseconds, exact both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from eventlog.clock import from_datetime, iso, now_us, to_datetime

BERLIN = ZoneInfo("Europe/Berlin")


def test_now_is_frozen_by_tests() -> None:
    with freeze_time("2024-02-29 12:00:00"):
        assert now_us() == 1_709_208_000_000_000


def test_now_is_between_two_looks_at_the_wall_clock() -> None:
    before = from_datetime(datetime.now(UTC))
    now = now_us()
    assert before <= now <= from_datetime(datetime.now(UTC))


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_709_208_000_123_456, "2024-02-29T12:00:00.123456Z"),
    ],
)
def test_iso_shows_every_microsecond(us: int, text: str) -> None:
    assert iso(us) == text
    assert from_datetime(datetime.fromisoformat(text)) == us


def test_iso_shows_a_zone_by_its_offset() -> None:
    assert iso(0, timezone(timedelta(hours=5, minutes=30))) == "1970-01-01T05:30:00.000000+05:30"


@given(st.integers(-(10**16), 10**17), st.sampled_from([UTC, BERLIN, timezone(timedelta(hours=-9, minutes=-30)), None]))
def test_there_and_back_is_exact(us: int, tz: object) -> None:
    assert from_datetime(to_datetime(us, tz)) == us  # type: ignore[arg-type]


def test_a_naive_datetime_is_local_time() -> None:
    local = datetime(2024, 5, 1, 12, 30, 0, 7)
    assert from_datetime(local) == from_datetime(local.astimezone())


def test_the_hour_that_comes_twice_is_told_apart() -> None:
    first = datetime(2023, 10, 29, 2, 30, tzinfo=BERLIN)
    second = first.replace(fold=1)
    assert from_datetime(second) - from_datetime(first) == 3_600_000_000
    assert to_datetime(from_datetime(second), BERLIN).fold == 1
