"""Tasks of coding agents: what they are, what is done in them, and every question about them."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from eventlog.app import Log, Past
from eventlog.events.agents import Usage
from eventlog.repositories.task_values import no_task
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.wire import StoredRecord
from eventlog.wire_tasks import (
    Added,
    NewTask,
    TaskChange,
    TaskCompaction,
    TaskFailure,
    TaskLlmCall,
    TaskMessage,
    TaskState,
    TaskStatistics,
    TaskToolCall,
)
from projections.tasks import Task

T = TypeVar("T")


class TasksCounted(Query, frozen=True, kw_only=True):
    """Which tasks; ``prefix`` begins the uuid."""

    status: str | None = None
    user: str | None = None
    task_source: str | None = None
    owner: str | None = None
    repo: str | None = None
    prefix: str | None = None


class TasksQuery(TasksCounted, frozen=True, kw_only=True):
    """Which tasks, the newest first."""

    limit: Rows = 50
    offset: Offset = 0


def list_tasks(ask: Log | Past, query: TasksQuery) -> list[Task]:
    """Tasks, the newest first."""
    return ask.tasks.list(**msgspec.structs.asdict(query))


def count_tasks(ask: Log | Past, query: TasksCounted) -> int:
    """How many tasks there are."""
    return ask.tasks.count(**msgspec.structs.asdict(query))


def get_task(ask: Log | Past, uuid: str) -> Task:
    """A task."""
    return ask.tasks.get(uuid)


def create_task(log: Log, body: NewTask) -> Task:
    """Create a task. 409 when there is one of this uuid."""
    return log.tasks.create(msgspec.structs.asdict(body))


def update_task(log: Log, uuid: str, body: TaskChange) -> Task:
    """Change columns of a task; those not given stay."""
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    return _there(log.tasks.update(uuid, given), uuid)


def set_task_status(log: Log, uuid: str, body: TaskState) -> Task:
    """Say that a task is in another state."""
    done = log.tasks.update_status(uuid, body.status, body.error_message, occurred_at=body.occurred_at)
    return _task(log, uuid, done)


def add_task_statistics(log: Log, uuid: str, body: TaskStatistics) -> Task:
    """Add to a task's sums."""
    return _task(log, uuid, log.tasks.update_statistics(uuid, **msgspec.structs.asdict(body)))


def complete_task(log: Log, uuid: str) -> Task:
    """Say that a task is done."""
    return _task(log, uuid, log.tasks.complete(uuid))


def fail_task(log: Log, uuid: str, body: TaskFailure) -> Task:
    """Say that a task failed, and why."""
    return _task(log, uuid, log.tasks.fail(uuid, body.error_message))


def stop_task(log: Log, uuid: str) -> Task:
    """Say that a task was stopped."""
    return _task(log, uuid, log.tasks.stop(uuid))


def delete_task(log: Log, uuid: str) -> None:
    """Take a task out of the table; its events stay."""
    if not log.tasks.delete(uuid):
        raise no_task(uuid)


def list_task_events(ask: Log | Past, uuid: str) -> list[StoredRecord]:
    """Every record of a task's stream."""
    return [StoredRecord.of(record) for record in ask.tasks.history(uuid)]


def add_task_llm_call(log: Log, uuid: str, body: TaskLlmCall) -> Added:
    """Say that a language model answered in a task."""
    given = {**msgspec.structs.asdict(body), "usage": Usage(**msgspec.structs.asdict(body.usage))}
    return Added(_there(log.tasks.llm_call(uuid, **given), uuid))


def add_task_tool_call(log: Log, uuid: str, body: TaskToolCall) -> Added:
    """Say that a tool was called in a task, and how it answered."""
    return Added(_there(log.tasks.tool_call(uuid, **msgspec.structs.asdict(body)), uuid))


def add_task_compaction(log: Log, uuid: str, body: TaskCompaction) -> Task:
    """Say that the conversation of a task was shortened for the model."""
    return _task(log, uuid, log.tasks.compaction(uuid, **msgspec.structs.asdict(body)))


def add_task_message(log: Log, uuid: str, body: TaskMessage) -> Added:
    """Add a message to a task."""
    return Added(_there(log.tasks.message(uuid, **msgspec.structs.asdict(body)), uuid))


def _there(found: T | None, uuid: str) -> T:
    if found is None:
        raise no_task(uuid)
    return found


def _task(log: Log, uuid: str, done: bool) -> Task:
    if not done:
        raise no_task(uuid)
    return log.tasks.get(uuid)


def _next_page(query: TasksQuery, tasks: list[Task]) -> dict[str, Any] | None:
    return {"offset": query.offset + query.limit} if len(tasks) == query.limit else None


TASK = "/api/tasks/{uuid}"
OPERATIONS = (
    Operation("GET", "/api/tasks", list_tasks, follows=_next_page),
    Operation("POST", "/api/tasks", create_task, status=201),
    Operation("GET", "/api/tasks/count", count_tasks),
    Operation("GET", TASK, get_task),
    Operation("PATCH", TASK, update_task),
    Operation("DELETE", TASK, delete_task, status=204),
    Operation("POST", f"{TASK}/status", set_task_status),
    Operation("POST", f"{TASK}/statistics", add_task_statistics),
    Operation("POST", f"{TASK}/complete", complete_task),
    Operation("POST", f"{TASK}/fail", fail_task),
    Operation("POST", f"{TASK}/stop", stop_task),
    Operation("GET", f"{TASK}/events", list_task_events),
    Operation("POST", f"{TASK}/llm-calls", add_task_llm_call, status=201),
    Operation("POST", f"{TASK}/tool-calls", add_task_tool_call, status=201),
    Operation("POST", f"{TASK}/compactions", add_task_compaction),
    Operation("POST", f"{TASK}/messages", add_task_message, status=201),
)
