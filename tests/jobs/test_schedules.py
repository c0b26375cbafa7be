from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from freezegun import freeze_time

import eventlog
from eventlog.app import Log
from eventlog.cli.root import cli
from eventlog.clock import from_datetime, now_us, to_datetime
from eventlog.errors import InvalidInput, NotFound
from eventlog.events.workers import ScheduleSet
from tests.helpers import eventually, in_threads
from tests.jobs.worker_support import working

OpenLog = Callable[..., Log]
MINUTE = 60_000_000


def at(text: str, zone: str = "UTC") -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def set_at(log: Log, when: str, name: str, cron: str, **options: Any) -> None:
    with freeze_time(to_datetime(at(when))):
        log.schedules.set(name, cron, "k", {"a": 1}, **options)


def test_a_schedule_enqueues_a_job_at_its_times(log: Log) -> None:
    set_at(log, "2026-03-02 09:59:00", "s", "*/5 * * * *", queue="q", max_retries=9)
    assert log.schedules.next_time(log.schedules.get("s")) == at("2026-03-02 10:00:00")
    assert log.schedules.fire_due(at("2026-03-02 09:59:59")) == []
    (fired,) = log.schedules.fire_due(at("2026-03-02 10:00:00"))
    assert (fired.schedule, fired.fire_time, fired.missed) == ("s", at("2026-03-02 10:00:00"), 0)
    assert log.schedules.fire_due(at("2026-03-02 10:04:59")) == []
    job = log.jobs.get(fired.job_id)
    assert (job.kind, job.queue, job.args, job.schedule, job.max_retries) == ("k", "q", {"a": 1}, "s", 9)
    assert job.ready_at == fired.fire_time
    row = log.schedules.get("s")
    assert (row.fires, row.fired_at, row.last_job_id) == (1, fired.fire_time, fired.job_id)


def test_missed_times_fire_once_and_are_counted(log: Log) -> None:
    set_at(log, "2026-03-02 09:59:00", "s", "0 * * * *")
    (fired,) = log.schedules.fire_due(at("2026-03-02 20:30:00"))
    assert (fired.fire_time, fired.missed) == (at("2026-03-02 20:00:00"), 10)
    assert log.jobs.count() == 1
    set_at(log, "2026-03-02 00:00:00", "often", "* * * * *")
    fired = next(one for one in log.schedules.fire_due(at("2026-04-02 00:00:30")) if one.schedule == "often")
    assert (fired.fire_time, fired.missed) == (at("2026-04-02 00:00:00"), 10_000)


def test_a_paused_schedule_misses_nothing(log: Log) -> None:
    set_at(log, "2026-03-02 09:59:00", "s", "0 * * * *")
    with freeze_time("2026-03-02 10:30:00"):
        assert log.schedules.pause("s").paused
    assert log.schedules.fire_due(at("2026-03-02 12:00:00")) == []
    with freeze_time("2026-03-02 12:30:00"):
        assert not log.schedules.resume("s").paused
    assert log.schedules.fire_due(at("2026-03-02 12:59:00")) == []
    (fired,) = log.schedules.fire_due(at("2026-03-02 13:00:00"))
    assert fired.missed == 0
    log.schedules.remove("s")
    assert (log.schedules.list(), log.jobs.count()) == ([], 1)
    for command in (log.schedules.pause, log.schedules.resume, log.schedules.remove, log.schedules.get):
        with pytest.raises(NotFound, match="no schedule 's'"):
            command("s")


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # Berlin: on 29 March 2026 the hour from 2 to 3 does not exist, on 25 October it comes twice.
        ("30 2 * * *", "2026-03-29 00:00", ["2026-03-29 03:00 +02:00", "2026-03-30 02:30 +02:00"]),
        ("30 2 * * *", "2026-10-25 00:00", ["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]),
        ("0 9 * * mon-fri", "2026-03-27 10:00", ["2026-03-30 09:00 +02:00"]),
        (
            "30 * * * *",
            "2026-10-25 01:45",
            ["2026-10-25 02:30 +02:00", "2026-10-25 02:30 +01:00", "2026-10-25 03:30 +01:00"],
        ),
    ],
)
def test_clocks_that_change_skip_nothing_and_double_nothing(
    log: Log, cron: str, after: str, expected: list[str]
) -> None:
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    with freeze_time(start.astimezone(UTC)):
        log.schedules.set("s", cron, "k", time_zone="Europe/Berlin")
    for text in expected:
        due = log.schedules.next_time(log.schedules.get("s"))
        assert due == from_datetime(datetime.strptime(text, "%Y-%m-%d %H:%M %z"))
        (fired,) = log.schedules.fire_due(due)
        assert (fired.fire_time, fired.missed) == (due, 0)


@pytest.mark.shared
def test_of_many_who_look_exactly_one_fires(open_log: OpenLog) -> None:
    logs = [open_log() for _ in range(6)]
    for name in ("a", "b", "c"):
        set_at(logs[0], "2026-03-02 09:59:00", name, "* * * * *")
    fired = in_threads(6, lambda number: logs[number].schedules.fire_due(at("2026-03-02 10:05:00")))
    assert sorted(one.schedule for some in fired for one in some) == ["a", "b", "c"]
    assert logs[0].jobs.count() == 3
    assert [record.key for record in logs[0].read(types=["schedule.fired"])] == [
        f"schedule {one.schedule} {at('2026-03-02 10:05:00')}"
        for one in sorted((one for some in fired for one in some), key=lambda one: one.job_id)
    ]


def test_with_a_unique_key_jobs_do_not_pile_up(log: Log) -> None:
    set_at(log, "2026-03-02 09:59:00", "s", "* * * * *", unique_key="one")
    (first,) = log.schedules.fire_due(at("2026-03-02 10:00:00"))
    (second,) = log.schedules.fire_due(at("2026-03-02 10:01:00"))
    assert first.job_id == second.job_id
    assert (log.jobs.count(), log.schedules.get("s").fires) == (1, 2)


def test_a_schedule_that_cannot_fire_keeps_no_other_from_it(log: Log) -> None:
    for name, wrong in (("a", {"cron": "nonsense"}), ("c", {"options": {"max_retries": -1}})):
        log.append(f"schedule-{name}", ScheduleSet(**{"cron": "* * * * *", "kind": "k"} | wrong))
    log.schedules.set("b", "* * * * *", "k")
    log.schedules.set("d", "* * * * *", "k")
    with pytest.raises(InvalidInput, match="'a' cannot fire: 'nonsense' is no cron expression"):
        log.schedules.fire_due(now_us() + 2 * MINUTE)
    assert [log.schedules.get(name).fires for name in "bcd"] == [1, 0, 1]


def test_what_could_never_work_is_refused(log: Log) -> None:
    for arguments, problem in (
        (("s", "61 * * * *", "k"), "no cron expression .*bad minute"),
        (("s", "0 0 31 2 *", "k"), "never comes true|no cron expression"),
        (("s", "* * *", "k"), "no cron expression"),
        (("", "* * * * *", "k"), "schedule's name"),
        (("s", "* * * * *", ""), "job's kind"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            log.schedules.set(*arguments)
    for options, problem in (
        ({"time_zone": "Mars/Olympus"}, "no time zone"),
        ({"max_retries": "many"}, "max_retries"),
        ({"max_retries": -1}, "max_retries is 0 to"),
        ({"priority": 2**64}, "priority"),
        ({"unique_key": "k" * 201}, "unique_key"),
        ({"colour": 1}, "no field 'colour'"),
        ({"key": "k"}, "no key of their own"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            log.schedules.set("s", "* * * * *", "k", **options)
    assert log.head().position == 0


def test_a_worker_fires_what_is_due(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        with freeze_time(to_datetime(now_us() // 1_000_000 * 1_000_000 - 3 * MINUTE)):
            log.schedules.set("s", "* * * * *", "add", {"a": 1})
        with working(log):
            eventually(lambda: log.jobs.count(status="completed"))
        assert log.schedules.get("s").fires >= 1
        event = next(iter(log.read(types=["schedule.fired"]))).event
        assert event.missed in (1, 2, 3)  # type: ignore[union-attr]


def test_schedules_are_set_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "log.db")

    def run(*words: str) -> str:
        cli.main(["--db", path, "jobs", "schedule", *words], standalone_mode=False)
        return capsys.readouterr().out

    said = run("set", "night", "--utc", "--cron", "0 4 * * *", "--no-overlap", "--timeout", "1h", "--", "make", "-k")
    assert said.startswith("schedule night set, next at ") and " 04:00:00" in said
    assert "0 4 * * *" in run("list", "--utc")
    assert run("pause", "night") == "schedule night paused\n"
    assert "paused" in run("list")
    assert run("pause", "--off", "night") == "schedule night resumed\n"
    with eventlog.open(path) as log:
        (row,) = log.schedules.list()
        assert (row.kind, row.args) == ("shell", {"argv": ["make", "-k"]})
        assert row.options == {"timeout_us": 3_600_000_000, "unique_key": "schedule night"}
    assert run("remove", "night") == "schedule night removed\n"
    assert run("list", "--json") == "[]\n"
