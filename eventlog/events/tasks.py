"""What can happen to a task that an agent works on. Stream: ``task-<uuid>``.

What the agent does for it (`eventlog.events.agents`) is in the same stream, and counts there.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from eventlog.events.base import Event, Int64

Change = Annotated[int, Meta(ge=-(10**15), le=10**15)]
"""What is added to a sum: not so much that a few thousand of them do not fit a column."""


class TaskCreated(Event, frozen=True, kw_only=True, tag="task.created"):
    """A task. Times are µs since the epoch; where ``created_at`` is not given, it is when this happened."""

    task_source: str
    owner: str
    repo: str
    task_type: str
    task_id: str
    status: str = "running"
    created_at: Int64 | None = None
    started_at: Int64 | None = None
    completed_at: Int64 | None = None
    process_id: Int64 | None = None
    hostname: str | None = None
    llm_provider: str | None = None
    model: str | None = None
    context_length: Int64 | None = None
    error_message: str | None = None
    user: str | None = None


class TaskUpdated(Event, frozen=True, kw_only=True, tag="task.updated"):
    """Fields not given stay as they are."""

    task_source: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    repo: str | UnsetType = UNSET
    task_type: str | UnsetType = UNSET
    task_id: str | UnsetType = UNSET
    created_at: Int64 | UnsetType = UNSET
    started_at: Int64 | None | UnsetType = UNSET
    completed_at: Int64 | None | UnsetType = UNSET
    process_id: Int64 | None | UnsetType = UNSET
    hostname: str | None | UnsetType = UNSET
    llm_provider: str | None | UnsetType = UNSET
    model: str | None | UnsetType = UNSET
    context_length: Int64 | None | UnsetType = UNSET
    error_message: str | None | UnsetType = UNSET
    user: str | None | UnsetType = UNSET


class TaskStatusChanged(Event, frozen=True, kw_only=True, tag="task.status_changed"):
    """The task is in another state; ``completed`` and ``failed`` are its end, and ``stopped`` too."""

    status: str
    error_message: str | None = None


class TaskStatisticsAdded(Event, frozen=True, kw_only=True, tag="task.statistics_added"):
    """Calls and tokens that somebody counted, and that no event of their own stands for."""

    llm_calls: Change = 0
    tool_calls: Change = 0
    tokens: Change = 0
    compressions: Change = 0


class TaskDeleted(Event, frozen=True, kw_only=True, tag="task.deleted"):
    """The task leaves its table; its events stay."""


TASK_EVENTS: tuple[type[Event], ...] = (TaskCreated, TaskUpdated, TaskStatusChanged, TaskStatisticsAdded, TaskDeleted)
TaskEvent = TaskCreated | TaskUpdated | TaskStatusChanged | TaskStatisticsAdded | TaskDeleted
