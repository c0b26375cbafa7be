"""`tasks`: one row per task of a coding agent, in the 21 columns of its own database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from eventlog.events.agents import (
    ContextCompacted,
    LlmCallAmended,
    LlmCallCompleted,
    LlmCallRetracted,
    ToolCallStarted,
)
from eventlog.events.tasks import TaskCreated, TaskDeleted, TaskStatisticsAdded, TaskStatusChanged, TaskUpdated
from eventlog.projection import Entity, Record, Row

ENDED = ("completed", "failed", "stopped")


class Task(Row, frozen=True):
    """A task. Times are µs since the epoch, UTC. The counts are of the calls and compactions in the task's stream, and
    of what was added to them by hand; ``total_tokens`` is every token, in and out.
    """

    uuid: str
    task_source: str
    owner: str
    repo: str
    task_type: str
    task_id: str
    status: str
    created_at: int
    started_at: int | None
    completed_at: int | None
    process_id: int | None
    hostname: str | None
    llm_provider: str | None
    model: str | None
    context_length: int | None
    llm_call_count: int
    tool_call_count: int
    total_tokens: int
    compression_count: int
    error_message: str | None
    user: str | None


def _created(event: TaskCreated, record: Record) -> Task:
    return Task(
        record.stream[5:],
        event.task_source,
        event.owner,
        event.repo,
        event.task_type,
        event.task_id,
        event.status,
        record.occurred_at if event.created_at is None else event.created_at,
        event.started_at,
        event.completed_at,
        event.process_id,
        event.hostname,
        event.llm_provider,
        event.model,
        event.context_length,
        0,
        0,
        0,
        0,
        event.error_message,
        event.user,
    )


def _updated(row: Task, event: TaskUpdated, record: Record) -> Task:
    changes = {name: value for name in event.__struct_fields__ if (value := getattr(event, name)) is not UNSET}
    return replace(row, **changes)


def _turned(row: Task, event: TaskStatusChanged, record: Record) -> Task:
    at = record.occurred_at
    started = at if event.status == "running" and row.started_at is None else row.started_at
    return replace(
        row,
        status=event.status,
        started_at=started,
        completed_at=at if event.status in ENDED else None,
        error_message=row.error_message if event.error_message is None else event.error_message,
    )


def _called(row: Task, event: LlmCallCompleted, record: Record) -> Task:
    length = event.context_length
    return replace(
        row,
        llm_call_count=row.llm_call_count + 1,
        total_tokens=row.total_tokens + event.usage.total,
        context_length=row.context_length if length is None else length,
    )


_STEPS: dict[type, Callable[[Task, Any, Record], Task]] = {
    TaskUpdated: _updated,
    TaskStatusChanged: _turned,
    TaskStatisticsAdded: lambda row, event, record: replace(
        row,
        llm_call_count=row.llm_call_count + event.llm_calls,
        tool_call_count=row.tool_call_count + event.tool_calls,
        total_tokens=row.total_tokens + event.tokens,
        compression_count=row.compression_count + event.compressions,
    ),
    LlmCallCompleted: _called,
    LlmCallAmended: lambda row, event, record: replace(
        row, total_tokens=row.total_tokens + event.usage.total - event.replaced.total
    ),
    LlmCallRetracted: lambda row, event, record: replace(
        row, llm_call_count=row.llm_call_count - 1, total_tokens=row.total_tokens - event.replaced.total
    ),
    ToolCallStarted: lambda row, event, record: replace(row, tool_call_count=row.tool_call_count + 1),
    ContextCompacted: lambda row, event, record: replace(row, compression_count=row.compression_count + 1),
}


def evolve(row: Task | None, event: Any, record: Record) -> Task | None:
    """A task after one more event; events of one that was never created, or was deleted, change nothing."""
    kind = type(event)
    if kind is TaskCreated:
        return _created(event, record) if row is None else row
    if row is None or kind is TaskDeleted:
        return None
    return _STEPS[kind](row, event, record)


projections = (
    Entity(
        "tasks",
        version=1,
        row=Task,
        category="task",
        types=(TaskCreated, TaskDeleted, *_STEPS),
        evolve=evolve,
        indexes=(("status",), ("created_at",), ("user",), ("task_source", "owner", "repo")),
    ),
)
