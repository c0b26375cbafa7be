"""`sessions`: one row per conversation with an agent. `instances`: the worktrees in which its agents work."""

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
    MessageAdded,
    ToolCallStarted,
)
from eventlog.events.sessions import (
    InstanceCreated,
    InstanceRemoved,
    InstanceStatusChanged,
    SessionArchived,
    SessionCreated,
    SessionDeleted,
    SessionLinked,
    SessionRestored,
    SessionRewound,
    SessionStatusChanged,
    SessionUpdated,
)
from eventlog.projection import Entity, Record, Row, Sparse


class Session(Row, frozen=True):
    """A session. Times are µs since the epoch, UTC, of what happened, not of when it was written down.

    ``head_message_id`` is the message after which the conversation goes on. The counts are of this session's own
    events; ``total_tokens`` is every token, in and out.
    """

    session_id: str
    workspace_id: str | None
    kind: str
    status: str
    title: str | None
    agent: str | None
    agent_version: str | None
    provider: str | None
    model: str | None
    cwd: str | None
    git_branch: str | None
    git_commit: str | None
    link: str | None
    parent_session_id: str | None
    parent_message_id: str | None
    parent_tool_call_id: str | None
    created_at: int
    updated_at: int
    status_reason: str | None = None
    head_message_id: str | None = None
    archived: bool = False
    message_count: int = 0
    llm_call_count: int = 0
    tool_call_count: int = 0
    compression_count: int = 0
    total_tokens: int = 0
    metadata: dict[str, Any] = {}


class Instance(Row, frozen=True):
    """A worktree instance; ``stream`` is that of its session."""

    stream: str
    instance_id: str
    status: str
    task: str
    agent: str | None
    worktree_path: str | None
    git_branch: str | None
    base_commit: str | None
    created_at: int
    updated_at: int
    status_reason: str | None = None
    output: str | None = None
    metadata: dict[str, Any] = {}


def _created(event: SessionCreated, record: Record) -> Session:
    return Session(
        record.stream[8:],
        event.workspace_id,
        event.kind,
        event.status,
        event.title,
        event.agent,
        event.agent_version,
        event.provider,
        event.model,
        event.cwd,
        event.git_branch,
        event.git_commit,
        event.link,
        event.parent_session_id,
        event.parent_message_id,
        event.parent_tool_call_id,
        record.occurred_at,
        record.occurred_at,
        metadata=event.metadata,
        # A fork goes on where it left its parent.
        head_message_id=event.parent_message_id if event.link == "fork" else None,
    )


def _updated(row: Session, event: SessionUpdated, at: int) -> Session:
    changes = {name: value for name in event.__struct_fields__ if (value := getattr(event, name)) is not UNSET}
    if "metadata" in changes:
        merged = row.metadata | changes["metadata"]
        changes["metadata"] = {name: value for name, value in merged.items() if value is not None}
    return replace(row, updated_at=at, **changes)


def _linked(row: Session, event: SessionLinked, at: int) -> Session:
    return replace(
        row,
        link=event.link,
        parent_session_id=event.parent_session_id,
        parent_message_id=event.parent_message_id,
        parent_tool_call_id=event.parent_tool_call_id,
        updated_at=at,
    )


def _said(row: Session, event: MessageAdded, at: int) -> Session:
    head = row.head_message_id if event.sidechain else event.message_id
    return replace(row, head_message_id=head, message_count=row.message_count + 1, updated_at=at)


def _called(row: Session, event: LlmCallCompleted, at: int) -> Session:
    return replace(
        row,
        llm_call_count=row.llm_call_count + 1,
        total_tokens=row.total_tokens + event.usage.total,
        model=event.response_model or event.request_model or row.model,
        updated_at=at,
    )


_STEPS: dict[type, Callable[[Session, Any, int], Session]] = {
    MessageAdded: _said,
    LlmCallCompleted: _called,
    LlmCallAmended: lambda row, event, at: replace(
        row, total_tokens=row.total_tokens + event.usage.total - event.replaced.total, updated_at=at
    ),
    LlmCallRetracted: lambda row, event, at: replace(
        row,
        llm_call_count=row.llm_call_count - 1,
        total_tokens=row.total_tokens - event.replaced.total,
        updated_at=at,
    ),
    ToolCallStarted: lambda row, event, at: replace(row, tool_call_count=row.tool_call_count + 1, updated_at=at),
    ContextCompacted: lambda row, event, at: replace(row, compression_count=row.compression_count + 1, updated_at=at),
    SessionUpdated: _updated,
    SessionStatusChanged: lambda row, event, at: replace(
        row, status=event.status, status_reason=event.reason, updated_at=at
    ),
    SessionLinked: _linked,
    SessionRewound: lambda row, event, at: replace(row, head_message_id=event.message_id, updated_at=at),
    SessionArchived: lambda row, event, at: replace(row, archived=True, updated_at=at),
    SessionRestored: lambda row, event, at: replace(row, archived=False, updated_at=at),
}


def evolve(row: Session | None, event: Any, record: Record) -> Session | None:
    """A session after one more event; events of one that was never created, or was deleted, change nothing."""
    kind = type(event)
    if kind is SessionCreated:
        return _created(event, record) if row is None else row
    if row is None or kind is SessionDeleted:
        return None
    return _STEPS[kind](row, event, max(row.updated_at, record.occurred_at))


def evolve_instance(row: Instance | None, event: Any, record: Record) -> Instance | None:
    """An instance after one more event."""
    match event:
        case InstanceCreated():
            return Instance(
                record.stream,
                event.instance_id,
                event.status,
                event.task,
                event.agent,
                event.worktree_path,
                event.git_branch,
                event.base_commit,
                row.created_at if row else record.occurred_at,
                record.occurred_at,
                metadata=event.metadata,
            )
        case InstanceStatusChanged() if row is not None:
            return replace(
                row,
                status=event.status,
                status_reason=event.reason,
                output=row.output if event.output is None else event.output,
                updated_at=max(row.updated_at, record.occurred_at),
            )
        case InstanceRemoved():
            return None
    return row


projections = (
    Entity(
        "sessions",
        version=1,
        row=Session,
        category="session",
        types=(SessionCreated, SessionDeleted, *_STEPS),
        evolve=evolve,
        indexes=(
            ("workspace_id", "created_at"),
            ("status", "created_at"),
            ("kind", "created_at"),
            ("created_at",),
            ("updated_at",),
            Sparse(("parent_session_id",), on="parent_session_id"),
        ),
    ),
    Entity(
        "instances",
        version=1,
        row=Instance,
        part="instance_id",
        types=(InstanceCreated, InstanceStatusChanged, InstanceRemoved),
        evolve=evolve_instance,
    ),
)
