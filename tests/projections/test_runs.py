"""`log.runs`: every command and every question, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from freezegun import freeze_time

import eventlog
from eventlog import Record
from eventlog.app import Log
from eventlog.errors import EventLogError, IllegalTransition, InvalidEvent, InvalidInput, KeyReused, NotFound
from eventlog.events.runs import (
    RunArtifactSaved,
    RunFinished,
    RunMessageLogged,
    RunMetricLogged,
    RunOutputCaptured,
    RunStarted,
)
from tests.conftest import OpenLog
from tests.helpers import Noted, assert_whole, in_threads
from tests.projections.reference import check_every_way

pytestmark = pytest.mark.alike

HOUR = 3_600_000_000


@pytest.mark.feature("S2-1")
def test_a_started_run_has_its_row_at_once(log: Log) -> None:
    with freeze_time("2024-05-01 12:00:00"):
        run = log.runs.start(
            "python train.py --seed 1",
            argv=("python", "train.py", "--seed", "1"),
            program="train.py",
            project_id="demo",
            note="first",
            tags={"a": "b"},
            parameters={"lr": 0.1, "n": 3, "flag": True, "none": None, "nan": math.nan, "path": object},
            started_at=5,
            parent_run_id=7,
            host="build",
            git_dirty=False,
            environment={"LANG": "C"},
        )
    assert run == log.runs.get(1) == log.runs.find(1) == log.runs.list()[0]
    assert (run.run_id, run.status, run.command, run.program, run.project_id, run.note) == (
        1,
        "running",
        "python train.py --seed 1",
        "train.py",
        "demo",
        "first",
    )
    assert run.argv == ("python", "train.py", "--seed", "1")
    assert run.tags == {"a": "b"}
    assert run.parameters == {"lr": 0.1, "n": 3, "flag": True, "none": None, "nan": "nan", "path": str(object)}
    assert (run.started_at, run.created_at, run.updated_at) == (5, 1_714_564_800_000_000, 1_714_564_800_000_000)
    assert (run.ended_at, run.exit_code, run.wall_us) == (None, None, None)
    assert (run.parent_run_id, run.host, run.git_dirty, run.environment["LANG"]) == (7, "build", False, "C")
    check_every_way(log)


@pytest.mark.feature("S2-1")
def test_runs_count_from_one_and_a_deleted_number_is_not_used_again(log: Log) -> None:
    assert [log.runs.start("x").run_id for _ in range(3)] == [1, 2, 3]
    log.runs.delete(3, reason="mistake")
    log.runs.delete(1)
    assert log.runs.find(3) is None
    assert log.runs.start("y").run_id == 4
    assert [run.run_id for run in log.runs.list()] == [4, 2]
    assert len(log.runs.history(3)) == 2


def test_numbers_pass_over_streams_that_are_taken(log: Log) -> None:
    log.append("run-2", Noted())
    assert [log.runs.start("x").run_id for _ in range(3)] == [1, 3, 4]


def test_threads_get_each_number_once(log: Log) -> None:
    taken = in_threads(6, lambda worker: [log.runs.start("x", durability="process").run_id for _ in range(8)])
    assert sorted(number for one in taken for number in one) == list(range(1, 49))
    assert all(one == sorted(one) for one in taken)
    assert_whole(log)


def test_starting_with_a_key_is_safe_to_retry(log: Log) -> None:
    event = RunStarted(command="x")
    assert log.runs.append_start(event, key="k", occurred_at=5) == 1
    assert log.runs.append_start(event, key="k", occurred_at=5) == 1
    assert log.runs.append_start(event) == 2
    with pytest.raises(KeyReused):
        log.runs.append_start(RunStarted(command="other"), key="k")
    log.append("note-x", Noted(), key="taken")
    with pytest.raises(KeyReused):
        log.runs.append_start(event, key="taken")
    assert log.runs.count() == 2


def test_finishing_with_a_key_is_safe_to_retry(log: Log) -> None:
    for _ in range(2):
        log.runs.start("x")
    done = RunFinished(status="success", exit_code=0)
    assert log.runs.finish(1, done, key="k").status == "success"
    assert log.runs.finish(1, done, key="k").status == "success"
    with pytest.raises((KeyReused, IllegalTransition)):
        log.runs.finish(1, RunFinished(status="fail"), key="k")
    with pytest.raises(KeyReused):
        log.runs.finish(2, done, key="k")
    assert log.runs.get(2).status == "running"


@pytest.mark.feature("S2-2")
def test_each_way_to_end_leaves_its_marks(log: Log) -> None:
    for number in range(4):
        log.runs.start("x", started_at=number * HOUR)
    success = log.runs.finish_success(
        1, exit_code=0, wall_us=5, cpu_user_us=3, cpu_system_us=1, peak_memory_bytes=9, ended_at=7
    )
    assert (success.status, success.exit_code, success.ended_at, success.wall_us) == ("success", 0, 7, 5)
    assert (success.cpu_user_us, success.cpu_system_us, success.peak_memory_bytes) == (3, 1, 9)
    fail = log.runs.finish_fail(2, "boom", exit_code=3, error_type="ValueError", ended_at=HOUR + 11)
    assert (fail.status, fail.reason, fail.exit_code, fail.error_type) == ("fail", "boom", 3, "ValueError")
    assert fail.wall_us == 11  # not measured: from its start to its end
    killed = log.runs.finish_killed(3, "out of memory", signal=9, ended_at=5)
    assert (killed.status, killed.signal, killed.reason, killed.wall_us) == ("killed", 9, "out of memory", 0)
    assert log.runs.count(status="running") == 1
    check_every_way(log)


@pytest.mark.parametrize("status", ["success", "fail", "killed"])
def test_a_run_ends_once(log: Log, status: Any) -> None:
    log.runs.start("x")
    log.runs.finish(1, RunFinished(status=status))
    head = log.head()
    for again in (log.runs.finish_success, log.runs.finish_fail, log.runs.finish_killed):
        with pytest.raises(IllegalTransition, match="runs update") as caught:
            again(1)
        assert (caught.value.run_id, caught.value.status) == (1, status)
    assert log.head() == head


def test_threads_that_end_one_run_let_one_win(log: Log) -> None:
    log.runs.start("x")

    def end(worker: int) -> str:
        try:
            return log.runs.finish_fail(1, f"worker {worker}").reason or ""
        except IllegalTransition:
            return "late"

    outcomes = in_threads(6, end)
    assert outcomes.count("late") == 5
    assert log.runs.get(1).reason in outcomes


@pytest.mark.feature("S2-7")
def test_a_run_ended_by_hand_can_be_corrected_and_ended_again(log: Log) -> None:
    log.runs.start("x")
    log.runs.finish_fail(1, "boom")
    assert log.runs.update(1, status="running").status == "running"
    assert log.runs.finish_success(1).status == "success"
    assert log.runs.update(1, status="lost", note="n", project_id="p").status == "lost"
    assert log.runs.update(1, project_id=None).project_id is None
    assert log.runs.get(1).note == "n"
    check_every_way(log)


def test_an_update_needs_something_to_change_and_a_status_that_is_one(log: Log) -> None:
    log.runs.start("x")
    with pytest.raises(InvalidInput, match="what to update"):
        log.runs.update(1)
    with pytest.raises(InvalidInput, match="running, success"):
        log.runs.update(1, status="done")  # type: ignore[arg-type]
    assert log.head().position == 1


def test_what_a_run_says_in_between(log: Log) -> None:
    run = log.runs.start("x", tags={"a": "1", "b": "2"}, parameters={"lr": 1})
    log.runs.note(run.run_id, "working")
    log.runs.tag(run.run_id, {"c": "3", "a": "9"}, removed=["b", "none"])
    log.runs.set_parameters(run.run_id, {"lr": 2, "inf": math.inf, "odd": {1}})
    now = log.runs.get(run.run_id)
    assert (now.note, now.tags) == ("working", {"a": "9", "c": "3"})
    assert now.parameters == {"lr": 2, "inf": "inf", "odd": "{1}"}
    check_every_way(log)


def test_metrics_are_kept_in_order_whatever_their_value(log: Log) -> None:
    log.runs.start("x")
    log.runs.start("y")
    values = [0.5, 1, math.nan, math.inf, -math.inf, 1e-300]
    for step, value in enumerate(values):
        log.runs.metric(1, "loss", value, step=step)
    log.runs.metric(1, "acc", 0.9)
    log.runs.metric(2, "loss", 7)
    losses = log.runs.metrics(1, "loss")
    assert [metric.step for metric in losses] == list(range(6))
    assert [metric.value for metric in losses] == [0.5, 1.0, None, None, None, 1e-300]
    assert [metric.non_finite for metric in losses] == [None, None, "nan", "inf", "-inf", None]
    assert len(log.runs.metrics(1)) == 7
    assert log.runs.metrics(3) == []
    for wrong in ("x", None, object()):
        with pytest.raises((EventLogError, TypeError, ValueError)):
            log.runs.metric(1, "loss", wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidEvent):
        log.runs.metric(1, "loss", 1.0, step=2**63)
    check_every_way(log)


def test_messages_outputs_and_artifacts_come_back_with_their_text(log: Log) -> None:
    log.runs.start("x")
    for number in range(5):
        log.runs.message(1, f"line {number}", level="WARNING", logger="app")
    log.append("run-1", RunOutputCaptured(channel="stdout", tail="the end", size_bytes=9, sha256="ab"))
    log.runs.save_artifact(1, RunArtifactSaved(kind="output", name="model.bin", size_bytes=3, sha256="cd"))
    assert [said.text for said in log.runs.messages(1)] == [f"line {number}" for number in range(5)]
    assert [said.text for said in log.runs.messages(1, limit=2)] == ["line 3", "line 4"]
    assert (log.runs.messages(1)[0].row.level, log.runs.messages(1)[0].row.logger) == ("WARNING", "app")
    (output,) = log.runs.output(1)
    assert (output.text, output.row.channel, output.row.size_bytes, output.row.sha256) == ("the end", "stdout", 9, "ab")
    (artifact,) = log.runs.artifacts(1)
    assert (artifact.kind, artifact.name, artifact.size_bytes, artifact.sha256) == ("output", "model.bin", 3, "cd")
    with log.as_of(3) as past:
        assert [said.text for said in past.runs.messages(1)] == ["line 0", "line 1"]
        assert past.runs.output(1) == []
    check_every_way(log)


def test_what_is_said_after_the_end_is_kept(log: Log) -> None:
    log.runs.start("x")
    log.runs.finish_success(1)
    log.runs.metric(1, "late", 1.0)
    log.runs.note(1, "late")
    assert (log.runs.get(1).status, log.runs.get(1).note) == ("success", "late")
    assert len(log.runs.metrics(1)) == 1


NO_RUN: list[Any] = [
    lambda runs, n: runs.get(n),
    lambda runs, n: runs.finish_success(n),
    lambda runs, n: runs.finish_fail(n, "x"),
    lambda runs, n: runs.finish_killed(n),
    lambda runs, n: runs.update(n, note="x"),
    lambda runs, n: runs.delete(n),
    lambda runs, n: runs.note(n, "x"),
    lambda runs, n: runs.tag(n, {"a": "b"}),
    lambda runs, n: runs.set_parameters(n, {}),
    lambda runs, n: runs.metric(n, "x", 1),
    lambda runs, n: runs.message(n, "x"),
    lambda runs, n: runs.history(n),
    lambda runs, n: runs.compare([n, n]),
]


@pytest.mark.parametrize("use", range(len(NO_RUN)))
def test_a_run_that_is_not_there_is_told_and_nothing_is_written(log: Log, use: int) -> None:
    log.runs.start("x")
    for number in (5, 0, -1, 2**63, 2**70):
        with pytest.raises(EventLogError):
            NO_RUN[use](log.runs, number)
        assert log.runs.find(number) is None
    assert log.head().position == 1


def test_a_deleted_run_is_not_found_by_commands(log: Log) -> None:
    log.runs.start("x")
    log.runs.delete(1)
    for command in (log.runs.get, log.runs.finish_success, log.runs.delete):
        with pytest.raises(NotFound) as caught:
            command(1)
        assert caught.value.run_id == 1


# lost runs


def test_runs_proven_gone_are_lost_and_come_back_when_they_speak(log: Log) -> None:
    for number in range(4):
        log.runs.start(str(number))
    log.runs.finish_success(2)
    evidence = {1: "pid 5 is gone", 3: "rebooted", 4: None}
    found = log.runs.recover(lambda run: evidence[run.run_id], dry_run=True)
    assert {run.run_id: why for run, why in found} == {1: "pid 5 is gone", 3: "rebooted"}
    assert log.runs.count(status="lost") == 0
    marked = log.runs.recover(lambda run: evidence[run.run_id])
    assert {(run.run_id, run.status, run.reason) for run, _ in marked} == {
        (1, "lost", "pid 5 is gone"),
        (3, "lost", "rebooted"),
    }
    assert log.runs.recover(lambda run: evidence[run.run_id]) == []
    log.runs.note(1, "still here")
    assert (log.runs.get(1).status, log.runs.get(1).reason) == ("running", None)
    assert log.runs.finish_success(3).status == "success"
    assert log.runs.get(3).reason is None
    check_every_way(log)


@pytest.mark.parametrize(
    "event",
    [
        RunMetricLogged(name="loss", value=1.0),
        RunMessageLogged(message="hello"),
        RunOutputCaptured(channel="stdout"),
        RunArtifactSaved(kind="output", name="x", size_bytes=1, sha256=""),
    ],
)
def test_any_later_event_of_a_lost_run_itself_brings_it_back(log: Log, event: Any) -> None:
    log.runs.start("x")
    log.runs.recover(lambda run: "gone")
    assert log.runs.get(1).status == "lost"
    log.append("run-1", event)
    assert log.runs.get(1).status == "running"
    assert log.runs.finish_success(1).status == "success"
    check_every_way(log)


def test_a_run_that_ended_while_it_was_looked_for_is_not_lost(log: Log) -> None:
    log.runs.start("x")

    def gone(run: Any) -> str:
        log.runs.finish_success(run.run_id)
        return "gone"

    assert log.runs.recover(gone) == []
    assert log.runs.get(1).status == "success"


# questions


@pytest.fixture(scope="module")
def forty() -> list[Record]:
    """The records of forty runs: two projects, three programs, four ends, one an hour."""
    with eventlog.open(":memory:") as log:
        for number in range(1, 41):
            with freeze_time(f"2024-05-0{number // 20 + 1} {number % 20:02}:00:00"):
                log.runs.start(
                    f"job {number}",
                    project_id=("a", "b", None)[number % 3],
                    program=("train", "test")[number % 2],
                    tags={"parity": str(number % 2), "deep": "x"} if number % 4 else {},
                    note="Special" if number == 7 else "",
                    parent_run_id=1 if number in (5, 6) else None,
                )
                if number % 5 == 1:
                    log.runs.finish_fail(number, "boom")
                elif number % 5:
                    log.runs.finish_success(number)
        return list(log.read())


@pytest.fixture
def many(log: Log, forty: list[Record]) -> Log:
    log.import_records(forty)
    return log


QUESTIONS: list[tuple[dict[str, Any], Any]] = [
    ({}, lambda n: True),
    ({"status": "fail"}, lambda n: n % 5 == 1),
    ({"status": ["fail", "running"]}, lambda n: n % 5 < 2),
    ({"status": ["lost"]}, lambda n: False),
    ({"project_id": "b"}, lambda n: n % 3 == 1),
    ({"program": "test"}, lambda n: n % 2),
    ({"tag": ("parity", "1")}, lambda n: n % 2),
    ({"tag": ("parity", "x")}, lambda n: False),
    ({"tag": ("'; --", "1")}, lambda n: False),
    ({"text": "job 3"}, lambda n: n == 3 or 30 <= n <= 39),
    ({"text": "special"}, lambda n: n == 7),
    ({"text": "%"}, lambda n: False),
    ({"parent_run_id": 1}, lambda n: n in (5, 6)),
    ({"from_at": 1_714_608_000_000_000}, lambda n: n >= 20),
    ({"to_at": 1_714_608_000_000_000}, lambda n: n < 20),
    ({"status": "success", "project_id": "a", "program": "train"}, lambda n: n % 5 > 1 and n % 3 == 0 and n % 2 == 0),
]


@pytest.mark.feature("S2-4")
@pytest.mark.parametrize(("question", "wanted"), QUESTIONS, ids=[str(question) for question, _ in QUESTIONS])
def test_list_and_count_take_the_same_filters(many: Log, question: dict[str, Any], wanted: Any) -> None:
    expected = [number for number in range(40, 0, -1) if wanted(number)]
    assert [run.run_id for run in many.runs.list(limit=None, **question)] == expected
    assert many.runs.count(**question) == len(expected)
    assert [run.run_id for run in many.runs.list(limit=3, offset=1, **question)] == expected[1:4]
    with many.as_of(many.head().position) as past:
        assert past.runs.count(**question) == len(expected)


def test_a_list_is_paged_by_numbers(many: Log) -> None:
    first = many.runs.list(limit=15)
    second = many.runs.list(limit=15, before=first[-1].run_id)
    assert [run.run_id for run in first + second] == list(range(40, 10, -1))
    assert [run.run_id for run in many.runs.list(after=37)] == [40, 39, 38]
    assert many.runs.list(offset=40) == []
    assert len(many.runs.list()) == 40


def test_a_status_that_is_none_is_refused_in_questions(log: Log) -> None:
    for ask in (log.runs.list, log.runs.count):
        with pytest.raises(InvalidInput, match="done"):
            ask(status="done")


def test_comparing_shows_only_what_differs(log: Log) -> None:
    log.runs.start("x", tags={"a": "1"}, parameters={"lr": 0.1, "same": 1}, started_at=1)
    log.runs.start("x", tags={"b": "1"}, parameters={"lr": 0.2, "same": 1}, started_at=1)
    for run_id, value in ((1, 0.5), (1, 0.25), (2, math.nan)):
        log.runs.metric(run_id, "loss", value)
    told = log.runs.compare([1, 2])
    shown = dict(told.rows)
    assert told.run_ids == [1, 2]
    assert shown["parameter lr"] == [0.1, 0.2]
    assert shown["tag a"] == ["1", None]
    assert shown["metric loss"] == [0.25, "nan"]
    assert not {"command", "parameter same", "run_id", "started_at"} & shown.keys()
    with pytest.raises(InvalidInput):
        log.runs.compare([1])


def test_a_history_is_the_runs_own_records(log: Log) -> None:
    log.runs.start("x")
    log.runs.start("y")
    log.runs.finish_success(1)
    assert [record.type for record in log.runs.history(1)] == ["run.started", "run.finished"]


@pytest.mark.shared
def test_events_of_users_own_can_be_told_of_runs_too(open_log: OpenLog) -> None:
    log = open_log()
    log.runs.start("x")
    log.append("run-1", Noted(text="mine"))
    assert log.runs.finish_success(1).status == "success"
    assert [record.type for record in log.runs.history(1)] == ["run.started", "test.noted", "run.finished"]
