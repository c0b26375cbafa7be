"""Clocks: recorded_at never goes back along positions, occurred_at is what was said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from freezegun import freeze_time

from eventlog import Append
from eventlog.app import Log
from eventlog.clock import from_datetime
from tests.conftest import OpenLog
from tests.helpers import Noted, assert_whole

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_recorded_at_stands_still_when_the_clock_goes_back(log: Log) -> None:
    for when in (NOON, NOON - timedelta(hours=1), NOON - timedelta(days=400), NOON + timedelta(seconds=1)):
        with freeze_time(when):
            log.append("note-1", Noted())
    noon = from_datetime(NOON)
    assert [record.recorded_at for record in log.read()] == [noon, noon, noon, noon + 1_000_000]
    assert [record.occurred_at for record in log.read()] == [
        noon,
        noon - 3_600_000_000,
        noon - 400 * 86_400_000_000,
        noon + 1_000_000,
    ]
    assert_whole(log)


@pytest.mark.shared
def test_recorded_at_stands_still_over_reopening(open_log: OpenLog) -> None:
    with freeze_time(NOON), open_log() as log:
        log.append("note-1", Noted())
    log = open_log()
    with freeze_time(NOON - timedelta(hours=1)):
        log.append("note-1", Noted())
    first, second = log.read()
    assert second.recorded_at == first.recorded_at
    assert_whole(log)


def test_recorded_at_is_when_it_was_appended_not_when_it_happened(log: Log) -> None:
    with freeze_time(NOON):
        log.append("note-1", Noted(), occurred_at=1)
        log.append_many([Append(stream="note-1", events=Noted(), occurred_at=NOON + timedelta(days=9))])
    assert [record.recorded_at for record in log.read()] == [from_datetime(NOON)] * 2
    assert [record.occurred_at for record in log.read()] == [1, from_datetime(NOON) + 9 * 86_400_000_000]


def test_a_version_by_time_is_what_was_recorded_up_to_then(log: Log) -> None:
    for seconds in (0, 10, 10, 20):
        with freeze_time(NOON + timedelta(seconds=seconds)):
            log.append("note-1", Noted())
    for seconds, version in ((-1, 0), (0, 1), (9, 1), (10, 3), (19, 3), (20, 4), (999, 4)):
        when = NOON + timedelta(seconds=seconds)
        assert log.projections.version(when) == version
        assert log.projections.version(when.isoformat()) == version
        with log.as_of(when) as past:
            assert past.version == version
