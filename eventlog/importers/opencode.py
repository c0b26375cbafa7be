"""opencode's sessions: ``~/.local/share/opencode/opencode.db`` (``opencode-<channel>.db``), and the tree of JSON files
``storage`` that older versions kept, and that newer ones did not always bring over whole.

Both are read: a message has one id wherever it is, so one that both have is one. An answer that is still being written
is left for the next import; one that nobody writes to any more is taken as it is. A session that was made as a copy of
another (opencode's fork) has its messages again under new ids, but with their old times: they stay with the original.
The table of snapshots (``event``) says nothing that messages and parts do not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import UNSET, Raw

from eventlog.codec import to_json
from eventlog.errors import InvalidEvent, InvalidInput, InvalidName
from eventlog.events import Event
from eventlog.events.agents import BlobPart, MessageAdded, Origin, Role, SummaryAdded, TextPart
from eventlog.events.sessions import (
    SessionArchived,
    SessionCreated,
    SessionLinked,
    SessionRewound,
    SessionUpdated,
)
from eventlog.importers import opencode_items as items
from eventlog.importers.foreign import open_foreign
from eventlog.importers.intake import Intake, Native, Wanted, key_of
from eventlog.importers.opencode_items import AGENT, Context, us
from eventlog.importers.opencode_store import OPTIONAL, TABLES, Database, Found, Store, Tree
from eventlog.importers.places import mapping, text, workspace

STALE_MS = 3_600_000
"""An answer that nobody wrote to for so long will not go on."""
_COPIED_MS = 1000
"""A message that is older than its session by more than this was made in another."""
_TOLD = frozenset(("id", "sessionID", "role", "tokens", "cost", "modelID", "providerID"))


class OpencodeStore:
    """See `eventlog.importers.run.TableFormat`."""

    name = "opencode"
    looks_for = "opencode.db, opencode-*.db and the folder storage"

    def sources(self, path: Path) -> Iterator[Path]:
        """The databases and the trees in a folder."""
        if _is_tree(path):
            yield path
            return
        for name in ("opencode.db", "opencode-*.db"):
            yield from path.rglob(name)
        for folder in path.rglob("storage"):
            if _is_tree(folder):
                yield folder

    def scan(self, path: Path, intake: Intake) -> Iterator[float]:
        """Add what is there. Raises SourceFailed for a file that is no such database."""
        if path.is_dir():
            yield from _Scan(Tree(path), intake).run()
        else:
            with open_foreign(path, TABLES, optional=OPTIONAL) as database:
                yield from _Scan(Database(database), intake).run()


def _is_tree(path: Path) -> bool:
    return path.is_dir() and ((path / "message").is_dir() or (path / "session").is_dir())


class _Scan:
    """One reading of a store."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self._store, self._intake = store, intake
        self._now = int(time.time() * 1000)
        self._firsts: dict[tuple[Any, ...], str] = {}
        """The first message of each session, and which it is."""

    def run(self) -> Iterator[float]:
        found = [one for one in self._store.sessions() if self._is_readable(one)]
        # The older first: a copy comes after its original.
        found.sort(key=lambda one: (_ms(mapping(one.value).get("time_created")), one.id))
        for number, one in enumerate(found):
            if one.value is not None:
                for _ in self._session(one, one.value):
                    yield number / len(found)
            yield (number + 1) / len(found)

    def _is_readable(self, one: Found) -> bool:
        if one.value is None:
            self._intake.quarantine(one.offset, one.size, one.reason, one.sha256)
        return one.value is not None

    def _session(self, one: Found, row: dict[str, Any]) -> Iterator[None]:
        """A session and all that is in it; yields after each message."""
        intake, stream = self._intake, f"session-{one.id}"
        intake.masker.look(to_json(row))
        at = us(row.get("time_created"))
        before: list[Wanted] = []
        place = workspace(intake, text(row.get("directory")), at, before)
        context = Context(stream, place, intake, {})
        created = Wanted(stream, [_created(row, place)], key_of("opencode", "session", one.id), at)
        folder = str(row.get("folder") or one.id)
        copied, last = self._copied(folder, row)
        asked = [*before, created, *_later(one.id, row, context)]
        if last is not None:
            original, shared = last
            event = SessionLinked(link="fork", parent_session_id=original, parent_message_id=shared)
            asked.append(Wanted(stream, [event], key_of("opencode", "fork", one.id), at))
        intake.add(Native(one.offset, one.size, asked))
        previous = last[1] if last else None
        heads: dict[str, str | None] = {}
        for number, (message, more) in enumerate(_ahead(self._store.messages(folder))):
            if number < copied or not self._is_readable(message):
                continue
            parts = [part for part in self._store.parts(message.id, folder) if self._is_readable(part)]
            if not more and self._is_growing(message, parts):
                continue
            heads[message.id] = previous
            if self._add(message, parts, previous, row, context):
                previous = message.id
            yield
        self._rest(one, row, stream, heads)

    # copies

    def _copied(self, folder: str, row: dict[str, Any]) -> tuple[int, tuple[str, str] | None]:
        """How many messages are those of another session, and which, with the last that both have."""
        first = next(iter(self._store.messages(folder)), None)
        if first is None or first.value is None:
            return 0, None
        sign = _sign(first)
        original = self._firsts.setdefault(sign, folder)
        if original == folder or sign[1] + _COPIED_MS >= _ms(row.get("time_created")):
            return 0, None
        shared: list[str] = []
        answers = 0
        for theirs, ours in zip(self._store.messages(original), self._store.messages(folder), strict=False):
            if theirs.value is None or ours.value is None or _sign(theirs) != _sign(ours):
                break
            shared.append(theirs.id)
            answers += theirs.value.get("role") == "assistant"
        if not answers:
            return 0, None
        return len(shared), (original, shared[-1])

    def _is_growing(self, message: Found, parts: list[Found]) -> bool:
        """Whether the last message of a session is still being written."""
        value = mapping(message.value)
        when = mapping(value.get("time"))
        if value.get("role") == "assistant":
            done = bool(value.get("error")) or when.get("completed") is not None
        else:
            done = bool(parts)
        return not done and max(message.updated, _ms(when.get("created"))) > self._now - STALE_MS

    # messages

    def _add(self, one: Found, parts: list[Found], previous: str | None, row: dict[str, Any], context: Context) -> bool:
        """Whether it is in the log as a message."""
        size = one.size + sum(part.size for part in parts)
        value = one.value
        assert value is not None  # noqa: S101
        context.intake.masker.look(to_json([value, *(part.value for part in parts)]))
        try:
            try:
                self._message(one, value, parts, previous, row, context, size)
                return True
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                if isinstance(error, (InvalidInput, InvalidEvent, InvalidName)):
                    raise
                whole = {"message": value, "parts": [part.value for part in parts]}
                own = key_of("opencode", "message", one.id)
                kept = Wanted(context.stream, [context.intake.kept("message", whole)], own, us(one.updated))
                context.intake.add(Native(one.offset, size, [kept], (), "raw"))
        except (InvalidInput, InvalidEvent, InvalidName) as error:
            context.intake.quarantine(one.offset, size, f"cannot be stored: {type(error).__name__}", one.sha256)
        return False

    def _message(
        self,
        one: Found,
        value: dict[str, Any],
        parts: list[Found],
        previous: str | None,
        row: dict[str, Any],
        context: Context,
        size: int,
    ) -> None:
        when = mapping(value.get("time"))
        at = us(when.get("created"))
        role: Role = "assistant" if value["role"] == "assistant" else "user" if value["role"] == "user" else "system"
        made = items.parts_of(parts, context)
        message = MessageAdded(
            message_id=one.id,
            role=role,
            parts=tuple(made),
            parent_id=previous,
            origin=_origin(role, value, parts, row),
            source=_rest_of(value, context.intake),
        )
        events: list[Event] = [message]
        summary = role == "assistant" and value.get("summary") is True
        if summary:
            told = "\n\n".join(part.text for part in made if isinstance(part, TextPart))
            events.append(SummaryAdded(text=told, leaf_message_id=previous, model=text(value.get("modelID"))))
        if (failed := items.failure_of(one.id, value, context)) is not None:
            events.append(failed)
        wanted = [Wanted(context.stream, events, key_of("opencode", "message", one.id), at)]
        for name, compacted in items.compactions_of(parts, previous):
            wanted.append(Wanted(context.stream, [compacted], key_of("opencode", "compaction", name), at))
        wanted += items.tools_of(parts, one.id, at, context)
        calls = items.calls_of(one.id, value, parts, at, context)
        context.intake.add(Native(one.offset, size, wanted, calls))

    def _rest(self, one: Found, row: dict[str, Any], stream: str, heads: dict[str, str | None]) -> None:
        """What can be said once the messages are there."""
        at = us(row.get("time_updated"))
        todos = self._store.todos(one.id)
        if todos is not None and todos.value is not None:
            told = to_json(todos.value)
            self._intake.masker.look(told)
            own = key_of("opencode", "todos", one.id, told)
            kept = Wanted(stream, [self._intake.kept("todo", todos.value)], own, at)
            self._intake.add(Native(todos.offset, todos.size, [kept], (), "raw"))
        revert = mapping(row.get("revert"))
        back = text(revert.get("messageID"))
        if back is not None and back in heads:
            part = text(revert.get("partID"))
            # From a part on: the message itself stays.
            event = SessionRewound(message_id=back if part else heads[back], reason="reverted")
            own = key_of("opencode", "revert", one.id, back, part or "")
            self._intake.add(Native(one.offset, 0, [Wanted(stream, [event], own, at)]))


def _created(row: dict[str, Any], place: str | None) -> SessionCreated:
    model = mapping(row.get("model"))
    parent = text(row.get("parent_id"))
    about = {name: row[name] for name in ("slug", "project_id", "agent") if text(row.get(name))}
    return SessionCreated(
        workspace_id=place,
        kind="subagent" if parent else "chat",
        agent=AGENT,
        agent_version=text(row.get("version")),
        provider=text(model.get("providerID")),
        model=text(model.get("id")),
        cwd=text(row.get("directory")),
        link="subagent" if parent else None,
        parent_session_id=parent,
        metadata=about,
    )


def _later(name: str, row: dict[str, Any], context: Context) -> Iterator[Wanted]:
    """What may change of a session: each state once."""
    stream, masker = context.stream, context.intake.masker
    title, archived = text(row.get("title")), us(row.get("time_archived"))
    at = us(row.get("time_updated"))
    if title is not None:
        yield Wanted(stream, [SessionUpdated(title=masker.text(title))], key_of("opencode", "title", name, title), at)
    if archived is not None:
        yield Wanted(stream, [SessionArchived()], key_of("opencode", "archived", name, archived), archived)


def _origin(role: Role, value: dict[str, Any], parts: list[Found], row: dict[str, Any]) -> Origin | None:
    if role != "user":
        return None if role == "assistant" else "runtime"
    texts = [part.value for part in parts if part.value is not None and part.value.get("type") == "text"]
    if texts and all(one.get("synthetic") is True for one in texts):
        return "runtime"
    return "assistant" if row.get("parent_id") else "human"


def _rest_of(value: dict[str, Any], intake: Intake) -> Any:
    rest = {name: item for name, item in value.items() if name not in _TOLD and item is not None}
    if not rest:
        return UNSET
    data = intake.raw(rest)
    return Raw(to_json({"blob": data})) if isinstance(data, BlobPart) else data


def _sign(message: Found) -> tuple[Any, ...]:
    """What a copy of a message has of it."""
    value = mapping(message.value)
    created = _ms(mapping(value.get("time")).get("created"))
    return (str(value.get("role")), created, str(value.get("modelID")), to_json(value.get("tokens")))


def _ms(given: Any) -> float:
    return given if isinstance(given, (int, float)) and not isinstance(given, bool) else 0


def _ahead(messages: Iterator[Found]) -> Iterator[tuple[Found, bool]]:
    """Messages, each with whether another follows."""
    held = next(messages, None)
    while held is not None:
        after = next(messages, None)
        yield held, after is not None
        held = after
