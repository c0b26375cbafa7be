"""What travels over HTTP of tasks: bodies of requests, and of some answers."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from eventlog.events.agents import AnyPart, Origin, Outcome, Role
from eventlog.events.base import Int64
from eventlog.wire import Count, _Body
from eventlog.wire_sessions import Lanes

When = Int64 | str
"""µs since the epoch, or a time in ISO 8601."""


class NewTask(_Body, frozen=True, kw_only=True):
    """A task: its columns. Without a ``uuid`` it gets one."""

    uuid: str | None = None
    task_source: str
    owner: str
    repo: str
    task_type: str
    task_id: str
    status: str = "running"
    created_at: When | None = None
    started_at: When | None = None
    completed_at: When | None = None
    process_id: Int64 | None = None
    hostname: str | None = None
    llm_provider: str | None = None
    model: str | None = None
    context_length: Int64 | None = None
    llm_call_count: Count = 0
    tool_call_count: Count = 0
    total_tokens: Count = 0
    compression_count: Count = 0
    error_message: str | None = None
    user: str | None = None


class TaskChange(_Body, frozen=True, kw_only=True):
    """What to change in a task; columns not given stay as they are."""

    task_source: str | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    repo: str | UnsetType = UNSET
    task_type: str | UnsetType = UNSET
    task_id: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    created_at: When | UnsetType = UNSET
    started_at: When | None | UnsetType = UNSET
    completed_at: When | None | UnsetType = UNSET
    process_id: Int64 | None | UnsetType = UNSET
    hostname: str | None | UnsetType = UNSET
    llm_provider: str | None | UnsetType = UNSET
    model: str | None | UnsetType = UNSET
    context_length: Int64 | None | UnsetType = UNSET
    llm_call_count: Count | UnsetType = UNSET
    tool_call_count: Count | UnsetType = UNSET
    total_tokens: Count | UnsetType = UNSET
    compression_count: Count | UnsetType = UNSET
    error_message: str | None | UnsetType = UNSET
    user: str | None | UnsetType = UNSET


class TaskState(_Body, frozen=True, kw_only=True):
    """The state a task is in now."""

    status: str
    error_message: str | None = None
    occurred_at: When | None = None


class TaskFailure(_Body, frozen=True, kw_only=True):
    """Why a task failed."""

    error_message: str


class TaskStatistics(_Body, frozen=True, kw_only=True):
    """What to add to a task's sums."""

    llm_calls: Count = 0
    tool_calls: Count = 0
    tokens: Count = 0
    compressions: Count = 0


class TaskLlmCall(_Body, frozen=True, kw_only=True):
    """A language model answered in a task; ``usage`` is in lanes that share no token."""

    usage: Lanes = Lanes()
    model: str | None = None
    provider: str | None = None
    call_id: str | None = None
    message_id: str | None = None
    context_length: Count | None = None
    duration_us: Count | None = None
    cost_micro_usd: Count | None = None
    occurred_at: When | None = None


class TaskToolCall(_Body, frozen=True, kw_only=True):
    """A tool was called in a task, and answered. ``occurred_at`` is when it began."""

    name: str
    arguments: Any = UNSET
    outcome: Outcome = "ok"
    result: Any = UNSET
    tool_call_id: str | None = None
    message_id: str | None = None
    exit_code: Int64 | None = None
    duration_us: Count | None = None
    error_type: str | None = None
    occurred_at: When | None = None


class TaskCompaction(_Body, frozen=True, kw_only=True):
    """The conversation of a task was shortened for the model. Sizes are tokens."""

    summary: str | None = None
    trigger: str | None = None
    tokens_before: Count | None = None
    tokens_after: Count | None = None
    covers_to_message_id: str | None = None
    model: str | None = None
    occurred_at: When | None = None


class TaskMessage(_Body, frozen=True, kw_only=True):
    """Something was said in a task: ``text``, or ``parts``."""

    role: Role
    text: str | None = None
    parts: list[AnyPart] | None = None
    message_id: str | None = None
    parent_id: str | None = None
    origin: Origin | None = None
    name: str | None = None
    occurred_at: When | None = None


class Added(msgspec.Struct, frozen=True):
    """The id of what was added."""

    id: str
