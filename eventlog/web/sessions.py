"""Sessions: begin and change them, fork and rewind, and what is said. What they call is in `session_calls`.

In all that was said secrets are masked (`eventlog.redaction.shown`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from eventlog.app import Log, Past
from eventlog.events.agents import Role
from eventlog.redaction.shown import shown
from eventlog.repositories.session_base import Order
from eventlog.repositories.session_content import Said
from eventlog.repositories.session_messages import SummaryText
from eventlog.web.events import Durable
from eventlog.web.operation import Moment, Operation, Query
from eventlog.web.runs import Offset, Rows, Why
from eventlog.wire import StoredRecord
from eventlog.wire_sessions import (
    Fork,
    InstanceChange,
    Link,
    NewCompaction,
    NewInstance,
    NewMessage,
    NewSession,
    NewSummary,
    Rewind,
    SessionChange,
    StatusChange,
)
from projections.messages import Compaction, Message
from projections.sessions import Instance, Session


class SessionsQuery(Query, frozen=True, kw_only=True):
    """Which sessions; ``text`` occurs in the title, ``prefix`` begins the id, ``since`` ≤ created_at < ``until``."""

    workspace_id: str | None = None
    status: list[str] | None = None
    kind: str | None = None
    agent: str | None = None
    archived: bool | None = None
    parent_session_id: str | None = None
    text: str | None = None
    prefix: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    order: Order = "-created_at"
    limit: Rows = 50
    offset: Offset = 0


class SessionsCounted(Query, frozen=True, kw_only=True):
    """Which sessions."""

    workspace_id: str | None = None
    status: list[str] | None = None
    kind: str | None = None
    agent: str | None = None
    archived: bool | None = None
    parent_session_id: str | None = None
    text: str | None = None
    prefix: str | None = None
    since: Moment | None = None
    until: Moment | None = None


class MessagesQuery(Query, frozen=True, kw_only=True):
    """Which messages, in the order in which they were written down."""

    role: Role | None = None
    limit: Rows = 50
    offset: Offset = 0


class InstancesQuery(Query, frozen=True, kw_only=True):
    """Which instances."""

    status: str | None = None


def list_sessions(ask: Log | Past, query: SessionsQuery) -> list[Session]:
    """Sessions, newest first."""
    return shown(ask.sessions.list(**msgspec.structs.asdict(query)))


def count_sessions(ask: Log | Past, query: SessionsCounted) -> int:
    """How many sessions there are."""
    return ask.sessions.count(**msgspec.structs.asdict(query))


def create_session(log: Log, query: Durable, body: NewSession) -> Session:
    """Begin a session. With a key, a retry gives the first; 409 where there is, or was, one of this id."""
    return shown(log.sessions.create(**msgspec.structs.asdict(body), durability=query.durability))


def get_session(ask: Log | Past, session_id: str) -> Session:
    """A session."""
    return shown(ask.sessions.get(session_id))


def update_session(log: Log, session_id: str, body: SessionChange) -> Session:
    """Change a session; what is not given stays."""
    return shown(log.sessions.update(session_id, **msgspec.structs.asdict(body)))


def delete_session(log: Log, session_id: str, query: Why) -> None:
    """Take a session out of the table; what was said in it, and what it cost, stays."""
    log.sessions.delete(session_id, query.reason)


def set_session_status(log: Log, session_id: str, body: StatusChange) -> Session:
    """Say that a session is in another state."""
    return shown(log.sessions.set_status(session_id, body.status, body.reason, occurred_at=body.occurred_at))


def archive_session(log: Log, session_id: str) -> Session:
    """Put a session out of the way; nothing of it is lost."""
    return shown(log.sessions.archive(session_id))


def restore_session(log: Log, session_id: str) -> Session:
    """Take a session back from the archive."""
    return shown(log.sessions.restore(session_id))


def link_session(log: Log, session_id: str, body: Link) -> Session:
    """Say where a session comes from."""
    return shown(log.sessions.link(session_id, **msgspec.structs.asdict(body)))


def fork_session(log: Log, session_id: str, body: Fork) -> Session:
    """Begin a session that goes on after a message of this one. Nothing is copied."""
    return shown(log.sessions.fork(session_id, **msgspec.structs.asdict(body)))


def rewind_session(log: Log, session_id: str, body: Rewind) -> Session:
    """Go on after an earlier message; what was said since stays."""
    return shown(log.sessions.rewind(session_id, body.message_id, body.reason))


def add_message(log: Log, session_id: str, query: Durable, body: NewMessage) -> Message:
    """Add a message. With a key, a retry gives the first; 404 for a parent that is not in the conversation."""
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    return log.sessions.add_message(session_id, **fields, durability=query.durability)


def list_messages(ask: Log | Past, session_id: str, query: MessagesQuery) -> list[Said]:
    """The session's own messages in the order in which they were written down, with what they say."""
    return shown(ask.sessions.said(session_id, role=query.role, limit=query.limit, offset=query.offset))


def get_message(ask: Log | Past, session_id: str, message_id: str) -> Said:
    """A message with what it says."""
    return shown(ask.sessions.message(session_id, message_id))


def get_thread(ask: Log | Past, session_id: str) -> list[Said]:
    """The conversation in order: from its root to where it goes on, across forks, with what each message says."""
    return shown(ask.sessions.conversation(session_id))


def compact_session(log: Log, session_id: str, body: NewCompaction) -> Compaction:
    """Say that the conversation was shortened for the model."""
    return log.sessions.compact(session_id, **msgspec.structs.asdict(body))


def list_compactions(ask: Log | Past, session_id: str) -> list[Compaction]:
    """When the conversation was shortened for the model, in order."""
    return ask.sessions.compactions(session_id)


def add_summary(log: Log, session_id: str, body: NewSummary) -> SummaryText:
    """Say what the conversation was about, up to a message."""
    return shown(log.sessions.add_summary(session_id, **msgspec.structs.asdict(body)))


def list_summaries(ask: Log | Past, session_id: str) -> list[SummaryText]:
    """What was said to sum the conversation up, in order."""
    return shown(ask.sessions.summaries(session_id))


def list_session_events(ask: Log | Past, session_id: str) -> list[StoredRecord]:
    """Every record of a session's stream, as stored."""
    return [StoredRecord.of(record) for record in ask.sessions.history(session_id)]


def create_instance(log: Log, session_id: str, body: NewInstance) -> Instance:
    """Say in which worktree an agent of the session works."""
    return shown(log.sessions.create_instance(session_id, **msgspec.structs.asdict(body)))


def list_instances(ask: Log | Past, session_id: str, query: InstancesQuery) -> list[Instance]:
    """The worktrees of a session, the oldest first."""
    return shown(ask.sessions.instances(session_id, status=query.status))


def get_instance(ask: Log | Past, session_id: str, instance_id: str) -> Instance:
    """A worktree of a session."""
    return shown(ask.sessions.instance(session_id, instance_id))


def update_instance(log: Log, session_id: str, instance_id: str, body: InstanceChange) -> Instance:
    """Say that an instance is in another state."""
    return shown(log.sessions.update_instance_status(session_id, instance_id, **msgspec.structs.asdict(body)))


def remove_instance(log: Log, session_id: str, instance_id: str) -> None:
    """Say that a worktree is gone."""
    log.sessions.remove_instance(session_id, instance_id)


def next_page(query: Any, found: list[Any]) -> dict[str, Any] | None:
    """The page after this one."""
    return {"offset": query.offset + query.limit} if len(found) == query.limit else None


SESSION = "/api/sessions/{session_id}"
INSTANCE = f"{SESSION}/instances/{{instance_id:path}}"
OPERATIONS = (
    Operation("GET", "/api/sessions", list_sessions, follows=next_page),
    Operation("POST", "/api/sessions", create_session, status=201),
    Operation("GET", "/api/sessions/count", count_sessions),
    Operation("GET", SESSION, get_session),
    Operation("PATCH", SESSION, update_session),
    Operation("DELETE", SESSION, delete_session, status=204),
    Operation("POST", f"{SESSION}/status", set_session_status),
    Operation("POST", f"{SESSION}/archive", archive_session),
    Operation("POST", f"{SESSION}/restore", restore_session),
    Operation("POST", f"{SESSION}/link", link_session),
    Operation("POST", f"{SESSION}/fork", fork_session, status=201),
    Operation("POST", f"{SESSION}/rewind", rewind_session),
    Operation("GET", f"{SESSION}/thread", get_thread),
    Operation("GET", f"{SESSION}/messages", list_messages, follows=next_page),
    Operation("POST", f"{SESSION}/messages", add_message, status=201),
    Operation("GET", f"{SESSION}/messages/{{message_id:path}}", get_message),
    Operation("GET", f"{SESSION}/compactions", list_compactions),
    Operation("POST", f"{SESSION}/compactions", compact_session, status=201),
    Operation("GET", f"{SESSION}/summaries", list_summaries),
    Operation("POST", f"{SESSION}/summaries", add_summary, status=201),
    Operation("GET", f"{SESSION}/events", list_session_events),
    Operation("GET", f"{SESSION}/instances", list_instances),
    Operation("POST", f"{SESSION}/instances", create_instance, status=201),
    Operation("GET", INSTANCE, get_instance),
    Operation("PATCH", INSTANCE, update_instance),
    Operation("DELETE", INSTANCE, remove_instance, status=204),
)
