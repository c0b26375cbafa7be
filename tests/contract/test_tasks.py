"""`log.tasks`: the methods of a task database, with its results."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any

import pytest
from freezegun import freeze_time

from eventlog.app import Log
from eventlog.errors import Conflict, InvalidEvent, InvalidInput, LogReadOnly, NotFound
from eventlog.events.agents import Usage
from eventlog.repositories.tasks import TasksRepository
from projections.tasks import Task
from tests.helpers import in_threads
from tests.projections.reference import check_every_way

ISSUE = {"task_source": "github", "owner": "acme", "repo": "shop", "task_type": "issue", "task_id": "42"}
UUID = "0b0c6f0e-4d2f-4a53-9f3c-0f6f0b1c2d3e"
HOUR = 3_600_000_000
COLUMNS = {
    **ISSUE,
    "uuid": UUID,
    "status": "running",
    "created_at": "2026-01-02T03:04:05.678901+00:00",
    "started_at": datetime(2026, 1, 2, 4, tzinfo=UTC),
    "completed_at": None,
    "process_id": 4711,
    "hostname": "build-1",
    "llm_provider": "openai",
    "model": "gpt-4.1",
    "context_length": 128_000,
    "llm_call_count": 3,
    "tool_call_count": 2,
    "total_tokens": 1_000,
    "compression_count": None,
    "error_message": None,
    "user": "anna",
}
CREATED_AT = 1_767_323_045_678_901


def counts(task: Task | None) -> tuple[int, int, int, int]:
    assert task is not None
    return task.llm_call_count, task.tool_call_count, task.total_tokens, task.compression_count


@pytest.mark.feature("S4-1")
@pytest.mark.alike
def test_a_task_has_the_21_columns_it_was_created_with(log: Log) -> None:
    created = log.tasks.create(COLUMNS)
    assert created == log.tasks.get_by_uuid(UUID) == log.tasks.get(UUID)
    expected = {**COLUMNS, "created_at": CREATED_AT, "started_at": 1_767_326_400_000_000, "compression_count": 0}
    assert len(COLUMNS) == 21
    assert {name: getattr(created, name) for name in created.__struct_fields__} == expected
    check_every_way(log)


@pytest.mark.feature("S4-2")
@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("create", "task_data"),
        ("get_by_uuid", "uuid"),
        ("update", "uuid updates"),
        ("update_status", "uuid status error_message"),
        ("update_statistics", "uuid llm_calls tool_calls tokens compressions"),
        ("complete", "uuid"),
        ("fail", "uuid error_message"),
        ("list_by_status", "status limit offset"),
        ("list_by_user", "user limit offset"),
        ("delete", "uuid"),
    ],
)
def test_methods_are_called_as_a_task_database_s(method: str, parameters: str) -> None:
    found = inspect.signature(getattr(TasksRepository, method)).parameters.values()
    named = [one.name for one in found if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert named[1 : 1 + len(parameters.split())] == parameters.split()


@pytest.mark.alike
def test_a_task_goes_its_way(log: Log) -> None:
    with freeze_time("2026-05-01 12:00:00"):
        task = log.tasks.create(**ISSUE)
    assert (task.status, task.created_at, task.started_at) == ("running", 1_777_636_800_000_000, None)
    assert len(task.uuid) == 36
    changed = log.tasks.update(task.uuid, {"model": "m", "user": "ben", "started_at": task.created_at})
    assert changed == log.tasks.get(task.uuid)
    assert changed is not None and (changed.model, changed.user, changed.repo) == ("m", "ben", "shop")
    with freeze_time("2026-05-01 13:00:00"):
        assert log.tasks.fail(task.uuid, "no space")
    failed = log.tasks.get(task.uuid)
    assert (failed.status, failed.error_message, failed.completed_at) == ("failed", "no space", task.created_at + HOUR)
    assert log.tasks.update_status(task.uuid, "running")
    assert log.tasks.get(task.uuid).completed_at is None
    assert log.tasks.update_status(task.uuid, "stopped", "by hand", occurred_at="2026-05-01T14:00:00Z")
    stopped = log.tasks.get(task.uuid)
    assert (stopped.status, stopped.error_message, stopped.completed_at) == (
        "stopped", "by hand", task.created_at + 2 * HOUR,
    )  # fmt: skip
    assert log.tasks.stop(task.uuid) and log.tasks.complete(task.uuid)
    assert log.tasks.get(task.uuid).status == "completed"
    assert log.tasks.delete(task.uuid)
    assert log.tasks.get_by_uuid(task.uuid) is None
    assert [record.type for record in log.tasks.history(task.uuid)][-1] == "task.deleted"
    assert counts(log.tasks.create(ISSUE, uuid=task.uuid)) == (0, 0, 0, 0)
    check_every_way(log)


@pytest.mark.feature("S4-2", "S4-11")
def test_what_is_counted_and_what_is_recorded_add_up(log: Log) -> None:
    log.tasks.create(ISSUE, uuid=UUID, llm_provider="openai", model="gpt-4.1", llm_call_count=1, total_tokens=5)
    usage = Usage(input=100, cache_read=1_000, output=10, reasoning=1)
    call = log.tasks.llm_call(UUID, usage, call_id="c1", context_length=1_111)
    assert call == "c1"
    assert log.tasks.llm_call(UUID, {"output": 7}, model="other", cost_micro_usd=12) is not None
    assert log.tasks.tool_call(
        UUID, "bash", {"command": "ls"}, "error", "no such file", tool_call_id="t1", duration_us=HOUR,
        occurred_at="2026-05-01T12:00:00Z",
    ) == "t1"  # fmt: skip
    assert log.tasks.tool_call(UUID, "read", {"path": "x"}) is not None
    assert log.tasks.update_statistics(UUID, llm_calls=2, tool_calls=3, tokens=40, compressions=5)
    assert log.tasks.update_statistics(UUID)
    assert log.tasks.compaction(UUID, "so far", tokens_before=9, tokens_after=1)
    first = log.tasks.message(UUID, "user", "hello")
    second = log.tasks.message(UUID, "assistant", parts=[{"type": "tool_call", "id": "t1", "name": "bash"}])
    task = log.tasks.get(UUID)
    assert counts(task) == (1 + 2 + 2, 2 + 3, 5 + 1_111 + 7 + 40, 1 + 5)
    assert task.context_length == 1_111
    with pytest.raises(Conflict, match="c1"):
        log.tasks.llm_call(UUID, call_id="c1")
    with pytest.raises(Conflict, match="t1"):
        log.tasks.tool_call(UUID, "bash", tool_call_id="t1")
    with pytest.raises(Conflict, match=str(first)):
        log.tasks.message(UUID, "user", "again", message_id=first)
    assert counts(log.tasks.get(UUID)) == counts(task)
    added = [record.event for record in log.tasks.history(UUID) if record.type == "message.added"]
    assert [(event.message_id, event.parent_id) for event in added] == [(first, None), (second, first)]  # type: ignore[union-attr]
    # A sum that is set is that sum from now on, whatever made it.
    assert counts(log.tasks.update(UUID, {"llm_call_count": 2, "total_tokens": 2_000})) == (2, 5, 2_000, 6)
    assert log.projections.verify() == []


@pytest.mark.alike
def test_a_call_in_a_task_has_its_row(log: Log) -> None:
    log.tasks.create(ISSUE, uuid=UUID, llm_provider="openai", model="gpt-4.1")
    log.tasks.llm_call(UUID, {"output": 7})
    log.tasks.tool_call(UUID, "bash", {"command": "ls"}, "ok", ["a", "b"], duration_us=5, occurred_at=CREATED_AT)
    (call,) = log.projections.rows("llm_calls")
    assert (call["stream"], call["provider"], call["model"], call["output"]) == (f"task-{UUID}", "openai", "gpt-4.1", 7)
    (tool,) = log.projections.rows("tool_calls")
    log.tasks.compaction(UUID, "so far")
    log.tasks.message(UUID, "user", "hello")
    log.tasks.update_statistics(UUID, tokens=1)
    assert (tool["name"], tool["outcome"], tool["duration_us"], tool["finished_at"]) == (
        "bash",
        "ok",
        5,
        CREATED_AT + 5,
    )
    check_every_way(log)


@pytest.mark.feature("S4-2")
def test_a_task_that_is_not_there_gives_the_documented_result(log: Log) -> None:
    log.tasks.create(ISSUE, uuid="gone")
    log.tasks.delete("gone")
    before = log.head()
    for uuid in ("none", "gone", "x" * 600):
        assert log.tasks.get_by_uuid(uuid) is None
        assert log.tasks.update(uuid, {"user": "x"}) is None
        assert log.tasks.update_status(uuid, "running") is False
        assert log.tasks.update_statistics(uuid, llm_calls=1) is False
        assert log.tasks.complete(uuid) is log.tasks.stop(uuid) is log.tasks.fail(uuid, "x") is False
        assert log.tasks.delete(uuid) is False
        assert (
            log.tasks.llm_call(uuid) is log.tasks.tool_call(uuid, "x") is log.tasks.message(uuid, "user", "x") is None
        )
        assert log.tasks.compaction(uuid) is False
        with pytest.raises(NotFound, match="tasks list"):
            log.tasks.get(uuid)
    with pytest.raises(NotFound):
        log.tasks.history("none")
    assert log.head() == before


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"colour": "red"}, "colour"),
    ({"llm_calls": 1}, "llm_calls"),
    ({"owner": 7}, "owner"),
    ({"owner": None}, "owner"),
    ({"task_id": 42}, "task_id"),
    ({"process_id": "4711"}, "process_id"),
    ({"process_id": True}, "process_id"),
    ({"context_length": 2**63}, "context_length"),
    ({"created_at": "yesterday"}, "created_at"),
    ({"started_at": 1.5}, "started_at"),
    ({"completed_at": True}, "completed_at"),
    ({"status": ""}, "status"),
    ({"status": None}, "status"),
    ({"total_tokens": -1}, "total_tokens"),
    ({"compression_count": "1"}, "compression_count"),
    ({"user": "\ud800"}, "user"),
]


@pytest.mark.alike
@pytest.mark.parametrize(("columns", "named"), WRONG)
def test_what_is_wrong_is_refused_by_its_name(log: Log, columns: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        log.tasks.create({**ISSUE, **columns})
    log.tasks.create(ISSUE, uuid=UUID)
    before = log.head()
    with pytest.raises(InvalidInput, match=named):
        log.tasks.update(UUID, columns)
    assert log.head() == before


@pytest.mark.alike
def test_what_makes_no_sense_is_refused_and_appends_nothing(log: Log) -> None:
    log.tasks.create(ISSUE, uuid=UUID)
    before = log.head()
    for name in ISSUE:
        with pytest.raises(InvalidInput, match=name):
            log.tasks.create({key: value for key, value in ISSUE.items() if key != name})
    for uuid in ("", "a/b", " x", "\n", "x" * 201, "count"):
        if uuid:
            with pytest.raises(InvalidInput, match="uuid"):
                log.tasks.create(ISSUE, uuid=uuid)
    with pytest.raises(Conflict, match=UUID):
        log.tasks.create(ISSUE, uuid=UUID)
    for wrong in ({}, {"uuid": "other"}):
        with pytest.raises(InvalidInput):
            log.tasks.update(UUID, wrong)
    for counted in ({"llm_calls": -1}, {"tool_calls": 1.5}, {"tokens": True}, {"compressions": 2**60}):
        with pytest.raises(InvalidInput, match=next(iter(counted))):
            log.tasks.update_statistics(UUID, **counted)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="status"):
        log.tasks.update_status(UUID, "")
    with pytest.raises(InvalidEvent, match="error_message"):
        log.tasks.fail(UUID, 7)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="lanes"):
        log.tasks.llm_call(UUID, {"tokens": 1})
    with pytest.raises(InvalidInput, match="arguments"):
        log.tasks.tool_call(UUID, "x", {"x": float("nan")})
    with pytest.raises(InvalidEvent, match="outcome"):
        log.tasks.tool_call(UUID, "x", {}, "maybe")  # type: ignore[arg-type]
    assert log.head() == before


@pytest.mark.alike
def test_what_is_so_already_is_not_said_again(log: Log) -> None:
    log.tasks.create(COLUMNS)
    before = log.head()
    assert log.tasks.update(UUID, COLUMNS) == log.tasks.get(UUID)
    assert log.head() == before
    done = log.tasks.update(UUID, {"status": "completed", "completed_at": "2026-01-02T05:00:00Z", "repo": "shop"})
    assert done is not None and (done.status, done.completed_at) == ("completed", 1_767_330_000_000_000)


@pytest.mark.alike
def test_tasks_are_listed_and_counted(log: Log) -> None:
    for number in range(6):
        log.tasks.create(
            {**ISSUE, "task_id": str(number)}, uuid=f"t{number}", created_at=number * HOUR, owner=f"o{number % 3}",
            status="completed" if number % 2 else "running", user="anna" if number < 4 else None,
        )  # fmt: skip

    def seen(tasks: list[Task]) -> str:
        return "".join(task.uuid[1:] for task in tasks)

    assert seen(log.tasks.list()) == "543210"
    assert seen(log.tasks.list(limit=2, offset=1)) == "43"
    assert seen(log.tasks.list_by_status("running")) == "420"
    assert seen(log.tasks.list_by_status("running", 1, 1)) == "2"
    assert seen(log.tasks.list_by_status("running", limit=None, offset=2)) == "0"
    assert seen(log.tasks.list_by_user("anna", limit=3)) == "321"
    assert log.tasks.list_by_user("nobody") == log.tasks.list_by_status("lost") == []
    assert seen(log.tasks.list(task_source="github", owner="o1", repo="shop")) == "41"
    assert seen(log.tasks.list(status="running", user="anna", owner="o2")) == "2"
    assert (log.tasks.count(), log.tasks.count(status="running"), log.tasks.count(user="anna", owner="o0")) == (6, 3, 2)


@pytest.mark.alike
def test_the_past_answers_and_takes_no_commands(log: Log) -> None:
    log.tasks.create(ISSUE, uuid=UUID)
    version = log.head().position
    log.tasks.complete(UUID)
    with log.as_of(version) as past:
        assert past.tasks.get(UUID).status == "running"
        assert past.tasks.count(status="running") == 1 and len(past.tasks.history(UUID)) == 1
        for command in (
            lambda: past.tasks.complete(UUID),
            lambda: past.tasks.create(ISSUE),
            lambda: past.tasks.update(UUID, {"user": "x"}),
            lambda: past.tasks.llm_call(UUID),
        ):
            with pytest.raises(LogReadOnly):
                command()


@pytest.mark.alike
def test_threads_that_count_lose_nothing(log: Log) -> None:
    log.tasks.create(ISSUE, uuid=UUID)

    def count(worker: int) -> bool:
        return all(log.tasks.update_statistics(UUID, llm_calls=1, tokens=worker) for _ in range(5))

    assert in_threads(4, count) == [True] * 4
    assert counts(log.tasks.get(UUID)) == (20, 0, 5 * (0 + 1 + 2 + 3), 0)
