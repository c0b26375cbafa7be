"""What travels over HTTP of workspaces and sessions: bodies of requests. Answers are the Structs that Python gets."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from eventlog.events.agents import AnyPart, BlobPart, Origin, Outcome, Quality, Role
from eventlog.events.base import Int64
from eventlog.events.sessions import SessionLink
from eventlog.wire import Count, _Body


class NewWorkspace(_Body, frozen=True, kw_only=True):
    """A folder to register, by its absolute path."""

    path: str
    name: str | None = None
    repository_url: str | None = None
    machine_id: str | None = None


class WorkspaceMove(_Body, frozen=True, kw_only=True):
    """Where a workspace is now: an absolute path."""

    path: str


class NewSession(_Body, frozen=True, kw_only=True):
    """A session to begin; ``session_id``: a new one. See `SessionsRepository.create`."""

    session_id: str | None = None
    workspace_id: str | None = None
    kind: str = "chat"
    status: str = "active"
    title: str | None = None
    agent: str | None = None
    agent_version: str | None = None
    provider: str | None = None
    model: str | None = None
    cwd: str | None = None
    git_branch: str | None = None
    git_commit: str | None = None
    parent_session_id: str | None = None
    parent_message_id: str | None = None
    parent_tool_call_id: str | None = None
    link: SessionLink | None = None
    metadata: dict[str, Any] | None = None
    occurred_at: Int64 | None = None
    key: str | None = None


class SessionChange(_Body, frozen=True, kw_only=True):
    """What to change in a session; fields not given stay. ``metadata`` is added, a null in it takes one away."""

    workspace_id: str | None | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    title: str | None | UnsetType = UNSET
    agent: str | None | UnsetType = UNSET
    agent_version: str | None | UnsetType = UNSET
    provider: str | None | UnsetType = UNSET
    model: str | None | UnsetType = UNSET
    cwd: str | None | UnsetType = UNSET
    git_branch: str | None | UnsetType = UNSET
    git_commit: str | None | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class StatusChange(_Body, frozen=True, kw_only=True):
    """Another state, and why."""

    status: str
    reason: str | None = None
    occurred_at: Int64 | None = None


class Link(_Body, frozen=True, kw_only=True):
    """Where a session comes from."""

    link: SessionLink
    parent_session_id: str
    parent_message_id: str | None = None
    parent_tool_call_id: str | None = None


class Fork(_Body, frozen=True, kw_only=True):
    """After which message another session goes on (default: the last one), and what it is called."""

    message_id: str | None = None
    new_session_id: str | None = None
    title: str | None = None
    occurred_at: Int64 | None = None


class Rewind(_Body, frozen=True, kw_only=True):
    """After which message the conversation goes on; null: from the start."""

    message_id: str | None
    reason: str | None = None


class NewMessage(_Body, frozen=True, kw_only=True):
    """A message: ``text``, or ``parts``. Without ``parent_id`` it follows the last one; null: it is the first one."""

    role: Role
    text: str | None = None
    parts: list[AnyPart] | None = None
    parent_id: str | None | UnsetType = UNSET
    message_id: str | None = None
    origin: Origin | None = None
    name: str | None = None
    sidechain: bool = False
    occurred_at: Int64 | None = None
    key: str | None = None


class NewInstance(_Body, frozen=True, kw_only=True):
    """A worktree in which an agent of the session works."""

    instance_id: str | None = None
    status: str = "idle"
    task: str = ""
    agent: str | None = None
    worktree_path: str | None = None
    git_branch: str | None = None
    base_commit: str | None = None
    metadata: dict[str, Any] | None = None


class InstanceChange(_Body, frozen=True, kw_only=True):
    """Another state of an instance, and what it put out."""

    status: str
    reason: str | None = None
    output: str | None = None


class NewToolCall(_Body, frozen=True, kw_only=True):
    """A tool that is called; ``arguments``: any JSON."""

    name: str
    arguments: Any = UNSET
    tool_call_id: str | None = None
    category: str | None = None
    message_id: str | None = None
    occurred_at: Int64 | None = None


class ToolCallEnd(_Body, frozen=True, kw_only=True):
    """How a call of a tool ended; ``result`` and ``details``: any JSON."""

    outcome: Outcome = "ok"
    result: Any = UNSET
    details: Any = UNSET
    blob: BlobPart | None = None
    exit_code: Int64 | None = None
    duration_us: Count | None = None
    error_type: str | None = None
    child_session_id: str | None = None
    occurred_at: Int64 | None = None


class Lanes(_Body, frozen=True, kw_only=True):
    """Tokens in lanes that share none: see `Usage`."""

    input: Count = 0
    cache_read: Count = 0
    cache_write_5m: Count = 0
    cache_write_1h: Count = 0
    output: Count = 0
    reasoning: Count = 0


class NewLlmCall(_Body, frozen=True, kw_only=True):
    """A call of a language model that was answered; ``raw_usage``: what the provider said, any JSON."""

    usage: Lanes | None = None
    call_id: str | None = None
    provider: str | None = None
    model: str | None = None
    request_model: str | None = None
    message_id: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    operation: str = "chat"
    quality: Quality = "exact"
    finish_reasons: tuple[str, ...] = ()
    duration_us: Count | None = None
    context_length: Count | None = None
    cost_micro_usd: Count | None = None
    raw_usage: Any = UNSET
    sidechain: bool = False
    occurred_at: Int64 | None = None


class FailedLlmCall(_Body, frozen=True, kw_only=True):
    """A call of a language model that was not answered."""

    error_type: str
    message: str = ""
    call_id: str | None = None
    provider: str | None = None
    model: str | None = None
    duration_us: Count | None = None
    occurred_at: Int64 | None = None


class LlmCallChange(_Body, frozen=True, kw_only=True):
    """What a call's usage is, now that more is known."""

    usage: Lanes
    quality: Quality = "exact"
    finish_reasons: tuple[str, ...] = ()
    cost_micro_usd: Count | None = None
    raw_usage: Any = UNSET
    occurred_at: Int64 | None = None


class Retraction(_Body, frozen=True, kw_only=True):
    """Why a call counts no more."""

    reason: str


class NewCompaction(_Body, frozen=True, kw_only=True):
    """A conversation that was shortened for the model; sizes are tokens."""

    trigger: str | None = None
    tokens_before: Count | None = None
    tokens_after: Count | None = None
    covers_to_message_id: str | None = None
    summary_message_id: str | None = None
    duration_us: Count | None = None
    occurred_at: Int64 | None = None


class NewSummary(_Body, frozen=True, kw_only=True):
    """What a conversation was about, up to a message."""

    text: Annotated[str, Meta(min_length=1)]
    leaf_message_id: str | None = None
    model: str | None = None
    occurred_at: Int64 | None = None
