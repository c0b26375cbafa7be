"""`log.statistics`: counts, rates and percentiles in every grouping, held against the runs themselves."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import eventlog
from eventlog import Append, Record
from eventlog.app import Log
from eventlog.clock import from_datetime, to_datetime
from eventlog.errors import InvalidInput
from eventlog.events.runs import RunFinished, RunStarted
from eventlog.repositories.statistics import RunStatistics
from projections.runs import Run

pytestmark = pytest.mark.alike

BEGIN = datetime(2023, 10, 20, tzinfo=UTC)
STATUSES = ("success", "fail", "killed")
HOUR = 3_600_000_000


def write(log: Log, count: int = 300) -> None:
    """Runs over three weeks, round the end of summer time, some still running, some lost."""
    chance = random.Random(3)
    for number in range(1, count + 1):
        start = from_datetime(BEGIN) + chance.randrange(21 * 24) * HOUR + chance.randrange(HOUR)
        event = RunStarted(command="x", program=f"p{number % 3}", project_id=("a", "b", None)[number % 4 % 3])
        appends = [Append(stream=f"run-{number}", events=event, occurred_at=start)]
        if number % 7:
            wall = int(chance.lognormvariate(12, 3))
            done = RunFinished(status=STATUSES[number % 5 % 3], wall_us=wall, cpu_user_us=wall // 2, cpu_system_us=1)  # type: ignore[arg-type]
            appends.append(Append(stream=f"run-{number}", events=done, occurred_at=start + wall))
        log.append_many(appends, durability="process")
    for number in range(7, count, 21):
        log.runs.update(number, status="lost")


@pytest.fixture(scope="module")
def three_weeks() -> list[Record]:
    with eventlog.open(":memory:") as log:
        write(log)
        return list(log.read())


@pytest.fixture
def many(log: Log, three_weeks: list[Record]) -> Log:
    log.import_records(three_weeks)
    return log


def exact(values: list[int], fraction: float) -> int | None:
    return sorted(values)[max(1, math.ceil(round(len(values) * fraction, 9))) - 1] if values else None


def hold_against(one: RunStatistics, runs: list[Run]) -> None:
    counts = Counter(run.status for run in runs)
    assert one.runs == len(runs)
    assert (one.success, one.fail, one.killed, one.lost, one.running) == tuple(
        counts[status] for status in ("success", "fail", "killed", "lost", "running")
    )
    ended = len(runs) - counts["running"]
    assert one.success_rate == (counts["success"] / ended if ended else None)
    walls = [run.wall_us for run in runs if run.wall_us is not None]
    assert one.wall_us_total == sum(walls)
    assert one.cpu_us_total == sum((run.cpu_user_us or 0) + (run.cpu_system_us or 0) for run in runs)
    assert one.ended == len(walls)
    for found, fraction in ((one.p50_us, 0.5), (one.p95_us, 0.95), (one.p99_us, 0.99)):
        true = exact(walls, fraction)
        assert (found is None) == (true is None)
        if found is not None and true is not None:
            assert abs(found - true) <= true * 0.01


def start_of(run: Run, by: str, tz: tzinfo | None) -> datetime:
    local = to_datetime(run.started_at, tz)
    if by == "hour":
        return local.replace(minute=0, second=0, microsecond=0)
    day = datetime(local.year, local.month, local.day, tzinfo=local.tzinfo if tz is not None else None)
    if by == "week":
        day -= timedelta(days=day.weekday())
    return day.replace(day=1) if by == "month" else day


def grouped(log: Log, by: str, tz: tzinfo | None = UTC) -> dict[Any, list[Run]]:
    groups: dict[Any, list[Run]] = {}
    for run in log.runs.list(limit=None):
        key: Any
        if by in ("hour", "day", "week", "month"):
            key = from_datetime(start_of(run, by, tz))
        else:
            key = {"program": run.program, "project": run.project_id or "", "status": run.status}[by]
        groups.setdefault(key, []).append(run)
    return groups


@pytest.mark.parametrize("by", ["program", "project", "status"])
def test_groups_by_name_hold_against_the_runs(many: Log, by: Any) -> None:
    groups = grouped(many, by)
    told = many.statistics.runs(by=by)
    assert [one.bucket for one in told] == sorted(groups)
    for one in told:
        assert one.bucket_start is None
        hold_against(one, groups[one.bucket])


@pytest.mark.parametrize("by", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland"])
def test_groups_by_time_hold_against_the_runs_in_every_zone(many: Log, by: Any, zone: str) -> None:
    tz = UTC if zone == "UTC" else ZoneInfo(zone)
    groups = grouped(many, by, tz)
    told = many.statistics.runs(by=by, tz=tz)
    assert [one.bucket_start for one in told] == sorted(groups)
    for one in told:
        assert one.bucket_start is not None
        hold_against(one, groups[one.bucket_start])
    if by != "hour":
        assert len({one.bucket for one in told}) == len(told)


@pytest.fixture
def machine_in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("by", ["day", "week", "month"])
def test_this_machines_zone_has_each_day_week_and_month_once(many: Log, machine_in_berlin: None, by: Any) -> None:
    told = many.statistics.runs(by=by, tz=None)
    assert told == many.statistics.runs(by=by, tz=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("zone", ["America/Havana", "America/Sao_Paulo", "Asia/Beirut"])
def test_a_clock_that_changes_at_midnight_makes_no_second_day(log: Log, zone: str) -> None:
    for year_begin in (
        datetime(2018, 2, 15, tzinfo=UTC),
        datetime(2023, 11, 3, tzinfo=UTC),
        datetime(2021, 10, 28, tzinfo=UTC),
    ):
        for hour in range(100):
            log.append(
                f"run-{log.head().position + 1}",
                RunStarted(command="x"),
                occurred_at=from_datetime(year_begin + timedelta(hours=hour)),
                durability="process",
            )
    told = log.statistics.runs(by="day", tz=ZoneInfo(zone))
    assert len({one.bucket for one in told}) == len(told)
    assert sum(one.runs for one in told) == 300


def test_all_in_one(many: Log) -> None:
    (one,) = many.statistics.runs()
    assert (one.bucket, one.bucket_start) == ("all", None)
    hold_against(one, many.runs.list(limit=None))


def test_buckets_are_called_what_people_call_them(log: Log) -> None:
    log.append("run-1", RunStarted(command="x"), occurred_at=from_datetime(datetime(2024, 12, 30, 23, 5, tzinfo=UTC)))
    names = {by: log.statistics.runs(by=by)[0].bucket for by in ("hour", "day", "week", "month")}
    assert names == {"hour": "2024-12-30 23:00", "day": "2024-12-30", "week": "2025-W01", "month": "2024-12"}
    berlin = {by: log.statistics.runs(by=by, tz=ZoneInfo("Europe/Berlin"))[0].bucket for by in ("hour", "day")}
    assert berlin == {"hour": "2024-12-31 00:00", "day": "2024-12-31"}


@pytest.mark.parametrize(
    ("project_id", "program", "status"),
    [("a", None, None), (None, "p1", None), ("b", "p2", "fail"), (None, None, "lost")],
)
def test_filters_choose_runs(many: Log, project_id: Any, program: Any, status: Any) -> None:
    runs = [
        run
        for run in many.runs.list(limit=None)
        if project_id in (None, run.project_id) and program in (None, run.program) and status in (None, run.status)
    ]
    (one,) = many.statistics.runs(project_id=project_id, program=program, status=status)
    hold_against(one, runs)


@pytest.mark.parametrize("edge", [24, 25, 0.5])
def test_since_and_until_choose_by_the_hour_of_the_start(many: Log, edge: float) -> None:
    since = from_datetime(BEGIN) + int(5 * edge * HOUR)
    until = from_datetime(BEGIN) + int(12 * edge * HOUR)
    first = since - since % HOUR
    runs = [run for run in many.runs.list(limit=None) if first <= run.started_at - run.started_at % HOUR < until]
    told = many.statistics.runs(since=since, until=until)
    assert sum(one.runs for one in told) == len(runs)
    if runs:
        hold_against(told[0], runs)


def test_statistics_follow_corrections_and_deletions(log: Log) -> None:
    for _ in range(3):
        log.runs.start("x", started_at=0)
    log.runs.finish_success(1, wall_us=100)
    log.runs.finish_fail(2, wall_us=300)
    (one,) = log.statistics.runs()
    assert (one.success, one.fail, one.running, one.success_rate, one.p50_us) == (1, 1, 1, 0.5, 100)
    log.runs.update(2, status="success", project_id="p")
    log.runs.delete(3)
    (one,) = log.statistics.runs()
    assert (one.runs, one.success, one.success_rate, one.wall_us_total) == (2, 2, 1.0, 400)
    assert [bucket.bucket for bucket in log.statistics.runs(by="project")] == ["", "p"]
    log.runs.delete(1)
    log.runs.delete(2)
    assert log.statistics.runs() == []
    assert log.projections.rows("run_statistics") == []


def test_a_grouping_that_is_none_is_refused(log: Log) -> None:
    with pytest.raises(InvalidInput, match="year"):
        log.statistics.runs(by="year")  # type: ignore[arg-type]


def test_an_empty_log_has_no_statistics(log: Log) -> None:
    assert log.statistics.runs() == log.statistics.runs(by="day") == []


def test_statistics_as_of_a_version_are_those_of_that_version(many: Log) -> None:
    version = many.head().position // 2
    with many.as_of(version) as past:
        hold_against(past.statistics.runs()[0], past.runs.list(limit=None))
        for one in past.statistics.runs(by="day"):
            assert one.runs
