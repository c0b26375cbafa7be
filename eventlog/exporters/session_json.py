"""A session of the log in the JSON form of older programs: see `eventlog.exporters.session_form`.

It is computed from the records of the session's stream. What that form has no place for (calls of tools and of models,
what a model thought, conversations of parents) is not in it; messages that were taken back by a rewind are not, either.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from eventlog.blobs import Blobs
from eventlog.errors import ArtifactError, NotFound
from eventlog.events import UnknownEvent, event_type
from eventlog.events.agents import BlobPart, MessageAdded, RawPart, TextPart
from eventlog.events.sessions import (
    InstanceCreated,
    InstanceRemoved,
    InstanceStatusChanged,
    SessionCreated,
    SessionDeleted,
    SessionRewound,
    SessionStatusChanged,
    SessionUpdated,
)
from eventlog.exporters.session_form import INSTANCE, MESSAGE, RESERVED, SESSION, Spelling, canonical, iso, spelt
from eventlog.redaction.shown import masked_value
from eventlog.store.base import Record
from projections.sessions import Instance, Session, evolve, evolve_instance
from projections.sessions import projections as _sessions

ENDED = frozenset((
    "completed", "complete", "done", "success", "succeeded", "failed", "error", "errored", "cancelled", "canceled",
    "stopped", "terminated", "killed", "closed", "finished",
))  # fmt: skip
"""Words for a status after which nothing is done any more: the time of the change is when it ended."""
_SESSION_TAGS = frozenset(_sessions[0].tags)
_INSTANCE_EVENTS = (InstanceCreated, InstanceStatusChanged, InstanceRemoved)


class Said(NamedTuple):
    """A message: its id in the log, and how it is in the file."""

    message_id: str
    shown: dict[str, Any]


class Told:
    """What the records of a session's stream come to."""

    def __init__(self, blobs: Blobs | None = None) -> None:
        self.session: Session | None = None
        self.deleted = False
        self.records = 0
        self.imported = True
        """Whether nobody but importers has said anything."""
        self.completed: Any = None
        self.instances: dict[str, Instance] = {}
        self.instance_ids: set[str] = set()
        self.ended: dict[str, Any] = {}
        self.messages: list[Said] = []
        self.parents: dict[str, str | None] = {}
        """Every message that was ever told, and the one that it follows."""
        self.accounts: dict[str, str] = {}
        """Messages that were told again in another form, and the latest that was."""
        self.last_said_at = 0
        self._blobs = blobs

    def take(self, record: Record) -> None:
        """One more record, in order."""
        event: Any = record.event
        self.records += 1
        self.imported = self.imported and (record.key or "").startswith("i:")
        if isinstance(event, UnknownEvent):
            return
        if event_type(type(event)) in _SESSION_TAGS:
            self.session = evolve(self.session, event, record)
        if isinstance(event, _INSTANCE_EVENTS):
            self._instance(event, record)
        elif isinstance(event, MessageAdded):
            self._message(event, record)
        elif isinstance(event, SessionRewound):
            self._rewind(event.message_id)
        elif isinstance(event, SessionCreated):
            self.completed = event.metadata.get("completedAt")
        elif isinstance(event, SessionStatusChanged):
            self.completed = iso(record.occurred_at) if event.status in ENDED else None
        elif isinstance(event, SessionUpdated) and event.metadata is not UNSET:
            self.completed = event.metadata.get("completedAt", self.completed)
        elif isinstance(event, SessionDeleted):
            self.deleted = True

    def _instance(self, event: Any, record: Record) -> None:
        row = evolve_instance(self.instances.get(event.instance_id), event, record)
        self.instance_ids.add(event.instance_id)
        if row is None:
            self.instances.pop(event.instance_id, None)
            return
        self.instances[event.instance_id] = row
        if isinstance(event, InstanceCreated):
            self.ended[event.instance_id] = event.metadata.get("endTime")
        else:
            self.ended[event.instance_id] = iso(record.occurred_at) if event.status in ENDED else None

    def _message(self, event: MessageAdded, record: Record) -> None:
        kept = _of_source(event)
        made = {
            "id": kept.get("replaces", event.message_id),
            "role": event.role,
            "content": self._content(event),
            "timestamp": iso(record.occurred_at),
        }
        shown = masked(_with_kept(made, kept, self._blobs))
        self.parents[event.message_id] = event.parent_id
        self.last_said_at = max(self.last_said_at, record.occurred_at)
        if (first := kept.get("replaces")) is not None:
            self.accounts[first] = event.message_id
            for place, old in enumerate(self.messages):
                if old.message_id == first:
                    self.messages[place] = Said(first, shown)
                    return
        self.messages.append(Said(event.message_id, shown))

    def _content(self, event: MessageAdded) -> Any:
        parts = event.parts
        if len(parts) == 1 and isinstance(parts[0], RawPart):
            return msgspec.json.decode(parts[0].data)
        texts = []
        for part in parts:
            if isinstance(part, TextPart):
                texts.append(part.text)
            elif isinstance(part, BlobPart) and part.of in ("text", "json"):
                content = self._blob(part)
                if part.of == "json" and len(parts) == 1:
                    return msgspec.json.decode(content)
                texts.append(content)
        return "\n\n".join(texts)

    def _blob(self, part: BlobPart) -> str:
        if self._blobs is not None:
            try:
                return self._blobs.get(part.sha256).decode("utf-8", "replace")
            except (NotFound, ArtifactError):
                pass
        return f"[{part.size_bytes:,} bytes that are not here, SHA-256 {part.sha256}]"

    def _output(self, metadata: dict[str, Any]) -> Any:
        """What an instance had put out when it was told of: text, or a blob."""
        output = metadata.get("output")
        if isinstance(output, dict) and output.get("type") == "blob":
            return self._blob(msgspec.convert(output, BlobPart))
        return output

    def _rewind(self, message_id: str | None) -> None:
        first = next((first for first, last in self.accounts.items() if last == message_id), message_id)
        ids = [said.message_id for said in self.messages]
        del self.messages[ids.index(first) + 1 if first in ids else 0 :]

    # as JSON

    def said(self, spelling: Spelling = "camelCase") -> list[dict[str, Any]]:
        """The messages."""
        return [spelt(one.shown, MESSAGE, spelling) for one in self.messages]

    def instance(self, instance_id: str, spelling: Spelling = "camelCase") -> dict[str, Any]:
        """An instance that there is."""
        row = self.instances[instance_id]
        metadata = dict(row.metadata)
        kept = metadata.pop(RESERVED, {})
        metadata.pop("endTime", None)
        made = {
            "id": row.instance_id,
            "agentName": row.agent,
            "task": row.task,
            "status": row.status,
            "worktreePath": row.worktree_path,
            "branch": row.git_branch,
            "baseCommit": row.base_commit,
            "startTime": metadata.pop("startTime", iso(row.created_at)),
            "endTime": self.ended[instance_id],
            "output": self._output(metadata) if row.output is None else row.output,
        }
        return spelt(masked(_with_rest(_with_kept(made, kept, self._blobs), metadata)), INSTANCE, spelling)

    def document(self, workspace_path: str | None, spelling: Spelling = "camelCase") -> dict[str, Any] | None:
        """The session; None for one that never was, or was deleted."""
        row = self.session
        if row is None:
            return None
        metadata = dict(row.metadata)
        kept = metadata.pop(RESERVED, {})
        metadata.pop("completedAt", None)
        path = workspace_path if workspace_path is not None else row.cwd
        digest = None if path is None else sha256(path.encode("utf-8", "replace")).hexdigest()
        task = metadata.pop("task", None)
        made = {
            "id": row.session_id,
            "type": row.kind,
            "status": row.status,
            **({"task": row.title} if task is None else {"title": row.title, "task": task}),
            "workspacePath": path,
            "workspaceHash": metadata.pop("workspaceHash", digest),
            "createdAt": iso(row.created_at),
            "updatedAt": iso(row.updated_at),
            "completedAt": self.completed,
            "instances": [self.instance(one, spelling) for one in self.instances],
            "chatMessages": self.said(spelling),
        }
        return spelt(masked(_with_rest(_with_kept(made, kept, self._blobs), metadata)), SESSION, spelling)


def told(records: Iterable[Record], blobs: Blobs | None = None) -> Told:
    """What the records of one session's stream come to; ``blobs``: where content is that is kept beside the log."""
    made = Told(blobs)
    for record in records:
        made.take(record)
    return made


_PLAIN = frozenset((
    "id", "type", "status", "role", "timestamp", "workspacePath", "workspaceHash", "createdAt", "updatedAt",
    "completedAt", "startTime", "endTime", "worktreePath", "branch", "baseCommit", "agentName",
))  # fmt: skip
_PARTS = ("instances", "chatMessages")


def masked(value: dict[str, Any]) -> dict[str, Any]:
    """An object with its secrets masked in whatever was said in it; its parts are masked by themselves."""
    return {
        name: item if name in _PLAIN or name in _PARTS else masked_value(item, name) for name, item in value.items()
    }


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """A session from a file as it is compared with one of the log: canonical, its secrets masked."""
    made = masked(canonical(document))
    for name in _PARTS:
        if isinstance(items := made.get(name), list):
            made[name] = [masked(one) if isinstance(one, dict) else one for one in items]
    return made


def encoded(document: dict[str, Any]) -> bytes:
    """A session as the content of its file: indented, with a line break at the end."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _of_source(event: MessageAdded) -> dict[str, Any]:
    if event.source is UNSET or b'"sessionJson"' not in bytes(event.source):
        return {}
    source = msgspec.json.decode(event.source)
    kept = source.get(RESERVED) if isinstance(source, dict) else None
    return kept if isinstance(kept, dict) else {}


_DEFAULTS = {"status": ("active", "idle"), "type": ("chat",)}


def _with_kept(made: dict[str, Any], kept: Any, blobs: Blobs | None) -> dict[str, Any]:
    """An object as its file had it where that says nothing else than the log: without what the file did not have, with
    what it had in another form.
    """
    if not isinstance(kept, dict):
        return made
    for name in kept.get("absent", ()):
        if name not in _DEFAULTS or made.get(name) in _DEFAULTS[name]:
            made.pop(name, None)
    for name, item in kept.get("odd", {}).items():
        if name not in _DEFAULTS or made.get(name) in _DEFAULTS[name]:
            made[name] = item
    rest = kept.get("rest", {})
    if "more" in kept and blobs is not None:
        try:
            rest = msgspec.json.decode(blobs.get(kept["more"]))
        except (NotFound, ArtifactError):
            rest = {"more": kept["more"]}
    return _with_rest(made, rest)


def _with_rest(made: dict[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    shown = {name: item for name, item in made.items() if item is not None}
    return shown | {name: item for name, item in rest.items() if name not in shown and name not in made}
