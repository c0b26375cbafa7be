"""What can happen in a session of an agent, and to the workspace it works in.

Streams: ``session-<session_id>``, ``workspace-<workspace_id>``. What an agent does (`eventlog.events.agents`) is in the
stream of the session, or of the task, in which it did it.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from eventlog.events.base import Event

SessionLink = Literal["fork", "resume", "continuation", "subagent", "sidechain"]


class WorkspaceRegistered(Event, frozen=True, kw_only=True, tag="workspace.registered"):
    """A folder in which agents work. The workspace's id is the first 16 hex digits of ``path_sha256``."""

    path: str
    path_sha256: str
    name: str | None = None
    repository_url: str | None = None
    machine_id: str | None = None


class WorkspaceMoved(Event, frozen=True, kw_only=True, tag="workspace.moved"):
    """The same workspace is somewhere else now."""

    path: str
    path_sha256: str


class WorkspaceDeleted(Event, frozen=True, kw_only=True, tag="workspace.deleted"):
    """The workspace leaves the tables; its sessions stay."""


class SessionCreated(Event, frozen=True, kw_only=True, tag="session.created"):
    """A conversation with an agent began (OpenTelemetry: the session id is ``gen_ai.conversation.id``).

    ``kind`` is what the program that made it calls the type of the session; ``link`` says how it comes from another.
    """

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
    link: SessionLink | None = None
    parent_session_id: str | None = None
    parent_message_id: str | None = None
    """The last message that both have."""
    parent_tool_call_id: str | None = None
    metadata: dict[str, Any] = {}
    """What the program says besides."""


class SessionUpdated(Event, frozen=True, kw_only=True, tag="session.updated"):
    """Fields not given stay as they are; ``metadata`` is added to what there is, a value of null takes one away."""

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


class SessionStatusChanged(Event, frozen=True, kw_only=True, tag="session.status_changed"):
    """The session is in another state: whatever word its program has for it."""

    status: str
    reason: str | None = None


class SessionLinked(Event, frozen=True, kw_only=True, tag="session.linked"):
    """It turned out later where the session comes from."""

    link: SessionLink
    parent_session_id: str
    parent_message_id: str | None = None
    parent_tool_call_id: str | None = None


class SessionRewound(Event, frozen=True, kw_only=True, tag="session.rewound"):
    """The conversation goes on after an earlier message (None: from the start). What was said since stays."""

    message_id: str | None
    reason: str | None = None


class SessionArchived(Event, frozen=True, kw_only=True, tag="session.archived"):
    """Out of the way, and whole."""


class SessionRestored(Event, frozen=True, kw_only=True, tag="session.restored"):
    """Not archived any more."""


class SessionDeleted(Event, frozen=True, kw_only=True, tag="session.deleted"):
    """The session leaves the table of sessions; its messages, and what it cost, stay."""

    reason: str | None = None


class InstanceCreated(Event, frozen=True, kw_only=True, tag="instance.created"):
    """A worktree in which an agent of the session works."""

    instance_id: str
    status: str = "idle"
    task: str = ""
    agent: str | None = None
    worktree_path: str | None = None
    git_branch: str | None = None
    base_commit: str | None = None
    metadata: dict[str, Any] = {}


class InstanceStatusChanged(Event, frozen=True, kw_only=True, tag="instance.status_changed"):
    """The instance is in another state."""

    instance_id: str
    status: str
    reason: str | None = None
    output: str | None = None


class InstanceRemoved(Event, frozen=True, kw_only=True, tag="instance.removed"):
    """The worktree is gone; so is its row."""

    instance_id: str


SESSION_EVENTS: tuple[type[Event], ...] = (
    WorkspaceRegistered,
    WorkspaceMoved,
    WorkspaceDeleted,
    SessionCreated,
    SessionUpdated,
    SessionStatusChanged,
    SessionLinked,
    SessionRewound,
    SessionArchived,
    SessionRestored,
    SessionDeleted,
    InstanceCreated,
    InstanceStatusChanged,
    InstanceRemoved,
)
SessionEvent = (
    WorkspaceRegistered
    | WorkspaceMoved
    | WorkspaceDeleted
    | SessionCreated
    | SessionUpdated
    | SessionStatusChanged
    | SessionLinked
    | SessionRewound
    | SessionArchived
    | SessionRestored
    | SessionDeleted
    | InstanceCreated
    | InstanceStatusChanged
    | InstanceRemoved
)
