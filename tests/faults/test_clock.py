"""The clock jumps: positions order the log, recorded_at never goes back, durations are never negative."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from freezegun import freeze_time
from under_fire import Ticked, assert_sound, keys_in, open_log

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
JUMPS = {
    "an hour back": timedelta(hours=-1),
    "a day back": timedelta(days=-1),
    "ten years on": timedelta(days=3652),
    "nothing": timedelta(0),
}


@pytest.mark.parametrize("jump", JUMPS)
def test_recorded_at_never_goes_back_and_durations_are_never_negative(tmp_path: Path, jump: str) -> None:
    path = tmp_path / "log.db"
    with freeze_time(NOON) as clock, open_log(path) as log:
        log.append("fire-1", Ticked(), key="before")
        finished = log.runs.start("finishes after the jump")
        killed = log.runs.start("is killed after the jump")
        clock.move_to(NOON + JUMPS[jump])
        log.append("fire-1", Ticked(), key="after")
        log.runs.finish_success(finished.run_id, exit_code=0)
        log.runs.finish_killed(killed.run_id, signal=9)
        clock.move_to(NOON + timedelta(seconds=1))
        log.append("fire-1", Ticked(), key="and back again")
        records = list(log.read())
        recorded = [record.recorded_at for record in records]
        assert recorded == sorted(recorded)
        assert keys_in(log) == ["before", "after", "and back again"]
        assert next(r.occurred_at for r in log.read(types=["fire.ticked"])) == int(NOON.timestamp() * 1_000_000)
        for run in log.runs.list():
            assert run.wall_us is None or run.wall_us >= 0
        for by in ("hour", "day", "status", None):
            for row in log.statistics.runs(by=by):
                assert row.wall_us_total >= 0
                assert all(p is None or p >= 0 for p in (row.p50_us, row.p95_us, row.p99_us))
        assert log.head().recorded_at == max(recorded)
    assert_sound(path)


def test_an_import_from_the_future_does_not_pull_recorded_at_along(tmp_path: Path) -> None:
    with freeze_time(NOON), open_log(tmp_path / "log.db") as log:
        log.append("fire-1", Ticked(), occurred_at=NOON + timedelta(days=3652))
        log.append("fire-1", Ticked())
        assert {r.recorded_at for r in log.read()} == {int(NOON.timestamp() * 1_000_000)}
