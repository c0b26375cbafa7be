"""`log.sessions`: conversations with agents. What is said and called is in the modules beside this one."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from eventlog.errors import Conflict, IllegalTransition, InvalidInput, KeyReused, NotFound
from eventlog.events.sessions import (
    InstanceCreated,
    InstanceRemoved,
    InstanceStatusChanged,
    SessionArchived,
    SessionCreated,
    SessionDeleted,
    SessionLink,
    SessionLinked,
    SessionRestored,
    SessionStatusChanged,
    SessionUpdated,
)
from eventlog.ids import uuid7
from eventlog.log import Tx, When
from eventlog.repositories.session_base import (
    INSTANCES,
    SESSIONS,
    Desk,
    checked_id,
    checked_session_id,
    known_message,
    lineage,
    stream_of,
)
from eventlog.repositories.session_calls import SessionCalls
from eventlog.repositories.session_messages import SessionMessages
from eventlog.store.base import Durability, Filter, Record
from projections.sessions import Instance, Session


class SessionsRepository(SessionMessages, SessionCalls):
    """Commands and queries for sessions."""

    def create(
        self,
        *,
        session_id: str | None = None,
        workspace_id: str | None = None,
        kind: str = "chat",
        status: str = "active",
        title: str | None = None,
        agent: str | None = None,
        agent_version: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        cwd: str | None = None,
        git_branch: str | None = None,
        git_commit: str | None = None,
        parent_session_id: str | None = None,
        parent_message_id: str | None = None,
        parent_tool_call_id: str | None = None,
        link: SessionLink | None = None,
        metadata: Mapping[str, Any] | None = None,
        occurred_at: When = None,
        key: str | None = None,
        durability: Durability = "full",
    ) -> Session:
        """Begin a session. ``kind`` is its type, ``status`` whatever word its program has for its state; ``link`` says
        how it comes from its parent. With a ``key`` a retry gives the first.

        Raises Conflict where there is, or was, a session of this id; InvalidName, InvalidEvent.
        """
        fresh = checked_session_id(uuid7() if session_id is None else session_id)
        made = SessionCreated(
            workspace_id=workspace_id,
            kind=_word("kind", kind),
            status=_word("status", status),
            title=title,
            agent=agent,
            agent_version=agent_version,
            provider=provider,
            model=model,
            cwd=cwd,
            git_branch=git_branch,
            git_commit=git_commit,
            link=link,
            parent_session_id=parent_session_id,
            parent_message_id=parent_message_id,
            parent_tool_call_id=parent_tool_call_id,
            metadata=dict(metadata or {}),
        )
        log = self._before_command("sessions")

        def work(tx: Tx) -> str:
            if key is not None and (first := _first_of(tx, key, made, session_id)) is not None:
                return first
            self._begin(tx, fresh, made, occurred_at, key)
            return fresh

        first = log.decide(work, durability=durability)
        self._told(first)
        return self.get(first)

    def fork(
        self,
        session_id: str,
        message_id: str | None = None,
        *,
        new_session_id: str | None = None,
        title: str | None = None,
        occurred_at: When = None,
    ) -> Session:
        """A new session that goes on after a message of this one (default: its last). Nothing is copied: what both have
        said is the parent's, and counts once. Raises NotFound for a message that is not in the conversation, Conflict.
        """
        fresh = checked_session_id(uuid7() if new_session_id is None else new_session_id)

        def work(desk: Desk) -> None:
            parent = desk.session
            if message_id is not None:
                known_message(desk, message_id)
            made = SessionCreated(
                workspace_id=parent.workspace_id,
                kind=parent.kind,
                title=parent.title if title is None else title,
                agent=parent.agent,
                agent_version=parent.agent_version,
                provider=parent.provider,
                model=parent.model,
                cwd=parent.cwd,
                git_branch=parent.git_branch,
                git_commit=parent.git_commit,
                link="fork",
                parent_session_id=session_id,
                parent_message_id=parent.head_message_id if message_id is None else message_id,
            )
            self._begin(desk.tx, fresh, made, occurred_at, None)

        self._decide(session_id, work, "messages")
        self._told(fresh)
        return self.get(fresh)

    def _begin(self, tx: Tx, session_id: str, made: SessionCreated, occurred_at: When, key: str | None) -> None:
        if tx.stream_version(stream_of(session_id)):
            raise Conflict(f"there is, or was, a session {session_id!r}; take another id", session_id=session_id)
        tx.append(stream_of(session_id), made, occurred_at=occurred_at, key=key)

    def update(
        self,
        session_id: str,
        *,
        workspace_id: str | None | UnsetType = UNSET,
        kind: str | UnsetType = UNSET,
        title: str | None | UnsetType = UNSET,
        agent: str | None | UnsetType = UNSET,
        agent_version: str | None | UnsetType = UNSET,
        provider: str | None | UnsetType = UNSET,
        model: str | None | UnsetType = UNSET,
        cwd: str | None | UnsetType = UNSET,
        git_branch: str | None | UnsetType = UNSET,
        git_commit: str | None | UnsetType = UNSET,
        metadata: dict[str, Any] | UnsetType = UNSET,
    ) -> Session:
        """Change what is given; ``metadata`` is added to what there is, a value of None takes one away.

        Raises NotFound; InvalidInput when nothing is given.
        """
        made = SessionUpdated(
            workspace_id=workspace_id,
            kind=kind if isinstance(kind, UnsetType) else _word("kind", kind),
            title=title,
            agent=agent,
            agent_version=agent_version,
            provider=provider,
            model=model,
            cwd=cwd,
            git_branch=git_branch,
            git_commit=git_commit,
            metadata=metadata,
        )
        if all(value is UNSET for value in asdict(made).values()):
            raise InvalidInput(f"say what to update: {', '.join(made.__struct_fields__)}")
        return self._tell(session_id, made)

    def set_status(
        self, session_id: str, status: str, reason: str | None = None, *, occurred_at: When = None
    ) -> Session:
        """The session is in another state. Raises NotFound."""
        return self._tell(session_id, SessionStatusChanged(status=_word("status", status), reason=reason), occurred_at)

    def archive(self, session_id: str) -> Session:
        """Put a session out of the way; nothing of it is lost. Raises NotFound, IllegalTransition."""
        return self._turn(session_id, archived=True)

    def restore(self, session_id: str) -> Session:
        """Take a session back from the archive. Raises NotFound, IllegalTransition."""
        return self._turn(session_id, archived=False)

    def _turn(self, session_id: str, *, archived: bool) -> Session:
        def work(desk: Desk) -> None:
            if desk.session.archived is archived:
                state = "archived already" if archived else "not archived"
                raise IllegalTransition(f"session {session_id} is {state}", session_id=session_id)
            desk.append(SessionArchived() if archived else SessionRestored())

        self._decide(session_id, work)
        return self.get(session_id)

    def link(
        self,
        session_id: str,
        link: SessionLink,
        parent_session_id: str,
        *,
        parent_message_id: str | None = None,
        parent_tool_call_id: str | None = None,
    ) -> Session:
        """Say where a session comes from: fork, resume, continuation, subagent or sidechain of another.

        Raises NotFound; InvalidInput where it would come from itself.
        """
        made = SessionLinked(
            link=link,
            parent_session_id=checked_id("session", parent_session_id),
            parent_message_id=parent_message_id,
            parent_tool_call_id=parent_tool_call_id,
        )

        def work(desk: Desk) -> None:
            parent = desk.reader.load(SESSIONS.table, [(parent_session_id,)]).get((parent_session_id,))
            circle = parent is not None and desk.stream in lineage(desk.reader, parent)
            if circle or parent_session_id == session_id:
                raise InvalidInput(f"session {session_id} cannot come from {parent_session_id}, which comes from it")
            desk.append(made)

        self._decide(session_id, work)
        return self.get(session_id)

    def delete(self, session_id: str, reason: str | None = None) -> None:
        """Take a session out of the table; what was said in it, and what it cost, stays. Raises NotFound."""
        self._decide(session_id, lambda desk: desk.append(SessionDeleted(reason=reason)))

    # worktree instances

    def create_instance(
        self,
        session_id: str,
        *,
        instance_id: str | None = None,
        status: str = "idle",
        task: str = "",
        agent: str | None = None,
        worktree_path: str | None = None,
        git_branch: str | None = None,
        base_commit: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Instance:
        """A worktree in which an agent of the session works. Raises NotFound; Conflict where it has one of this id."""
        fresh = checked_id("instance", uuid7() if instance_id is None else instance_id)
        made = InstanceCreated(
            instance_id=fresh,
            status=_word("status", status),
            task=task,
            agent=agent,
            worktree_path=worktree_path,
            git_branch=git_branch,
            base_commit=base_commit,
            metadata=dict(metadata or {}),
        )

        def work(desk: Desk) -> None:
            if desk.row(INSTANCES, fresh) is not None:
                raise Conflict(
                    f"session {session_id} has an instance {fresh!r} already", session_id=session_id, instance_id=fresh
                )
            desk.append(made)

        self._decide(session_id, work, "instances")
        return self.instance(session_id, fresh)

    def update_instance_status(
        self, session_id: str, instance_id: str, status: str, *, reason: str | None = None, output: str | None = None
    ) -> Instance:
        """An instance is in another state; ``output`` replaces what it put out. Raises NotFound."""
        made = InstanceStatusChanged(
            instance_id=instance_id, status=_word("status", status), reason=reason, output=output
        )
        self._tell_instance(session_id, instance_id, made)
        return self.instance(session_id, instance_id)

    def remove_instance(self, session_id: str, instance_id: str) -> None:
        """The worktree is gone. Raises NotFound."""
        self._tell_instance(session_id, instance_id, InstanceRemoved(instance_id=instance_id))

    def _tell_instance(self, session_id: str, instance_id: str, made: InstanceStatusChanged | InstanceRemoved) -> None:
        def work(desk: Desk) -> None:
            if desk.row(INSTANCES, instance_id) is None:
                raise _no_instance(session_id, instance_id)
            desk.append(made)

        self._decide(session_id, work, "instances")

    def instances(self, session_id: str, *, status: str | None = None) -> builtins.list[Instance]:
        """The worktrees of a session, the oldest first."""
        where = [Filter("stream", "=", stream_of(session_id))]
        where += [] if status is None else [Filter("status", "=", status)]
        table = self._fresh(INSTANCES)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("created_at", "instance_id"))

    def instance(self, session_id: str, instance_id: str) -> Instance:
        """A worktree of a session. Raises NotFound."""
        table = self._fresh(INSTANCES)
        key = (stream_of(session_id), instance_id)
        with self._source.reader() as reader:
            found: Instance | None = reader.load(table, [key]).get(key)
        if found is None:
            raise _no_instance(session_id, instance_id)
        return found


def _first_of(tx: Tx, key: str, made: SessionCreated, session_id: str | None) -> str | None:
    """The session that was begun with this key. Raises KeyReused where it was another."""
    row = tx.reader.record_with_key(key)
    if row is None:
        return None
    record = Record(*row, tx._log.codec)
    first = record.stream.removeprefix("session-")
    if record.event != made or session_id not in (None, first):
        raise KeyReused(key, row[0])
    return first


def _no_instance(session_id: str, instance_id: str) -> NotFound:
    return NotFound(
        f"session {str(session_id)[:80]!r} has no instance {str(instance_id)[:80]!r}",
        session_id=session_id,
        instance_id=instance_id,
    )


def _word(what: str, text: object) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= 200 or not text.isprintable():
        raise InvalidInput(f"a {what} is 1 to 200 printable characters, not {str(text)[:80]!r}")
    return text
