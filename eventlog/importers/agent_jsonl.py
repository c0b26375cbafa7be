"""A coding agent's JSON lines: a folder's ``messages.jsonl``, ``current.jsonl``, ``summaries.jsonl``, ``tools.jsonl``.

The folder's name is the task's uuid, or a session's id: a task where the log has one of this name or the name is a
UUID, else a session. ``current.jsonl`` is a copy of what the model sees now; the same message is known by its content,
and by which of several with this content in its file it is. A call of a tool is known by its id, else likewise, so it
counts once however many files tell of it. Where the task's own database was imported (`tasks-db`), its sums have these
calls already: they are in their tables, and add nothing to the task's row.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import UNSET, Raw

from eventlog.codec import to_json
from eventlog.events import Event
from eventlog.events.agents import (
    AnyPart,
    BlobPart,
    ContextCompacted,
    LlmCallCompleted,
    MessageAdded,
    RawPart,
    ReasoningPart,
    RecordKept,
    Role,
    SummaryAdded,
    ToolCallFinished,
    ToolCallPart,
    ToolCallResponsePart,
    ToolCallStarted,
)
from eventlog.events.sessions import SessionCreated
from eventlog.events.tasks import TaskStatisticsAdded
from eventlog.importers.agent_records import (
    ROLES,
    Fields,
    ToolEnd,
    ToolUse,
    call_id,
    identity,
    message_id,
    record_of_tool,
    tool_end,
    tool_use,
    tool_uses,
    usage_of,
)
from eventlog.importers.intake import Fate, Intake, Native, Wanted, key_of
from eventlog.importers.pieces import Piece, pieces
from eventlog.importers.places import count
from eventlog.importers.tasks_db import KEPT

# Tools first: they say more of a call than the message that asked for it.
ORDER = {"tools.jsonl": 0, "messages.jsonl": 1, "summaries.jsonl": 2, "current.jsonl": 3}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TEXTS = ("text", "input_text", "output_text")
_THOUGHTS = ("thinking", "reasoning")


class AgentFiles:
    """See `eventlog.importers.run.LineFormat`."""

    name = "agent-jsonl"
    looks_for = ", ".join(ORDER)

    def __init__(self) -> None:
        self._folder: _Folder | None = None

    def sources(self, path: Path) -> Iterator[Path]:
        """The files of these names in a folder and below."""
        for name in ORDER:
            yield from path.rglob(name)

    def knows(self, path: Path, value: dict[str, Any]) -> bool:
        """Whether a record says what those of a file of this name say, and is none of Claude Code's or Codex's."""
        if isinstance(value.get("payload"), dict) or value.keys() >= {"sessionId", "type"}:
            return False
        fields = Fields(value)
        if path.name == "tools.jsonl":
            return record_of_tool(fields)[0] is not None
        return (_summary(fields) if path.name == "summaries.jsonl" else _opened(value)[2]) is not None

    def order(self, path: Path) -> tuple[str, int]:
        """The files of a folder one after the other, as they are to be read."""
        return str(path.parent), ORDER.get(path.name, 1)

    def begin(self, path: Path, state: Any, intake: Intake) -> _Reader:
        """A reader of one file; ``state`` has how far it was read."""
        if self._folder is None or self._folder.path != path.parent:
            self._folder = _Folder(path.parent, intake)
        readers: dict[str, type[_Reader]] = {"tools.jsonl": _Tools, "summaries.jsonl": _Summaries}
        return readers.get(path.name, _Messages)(path, state if isinstance(state, dict) else {}, intake, self._folder)


class _Folder:
    """What the files of a folder share: where it all belongs, and which calls were told of in this import."""

    def __init__(self, path: Path, intake: Intake) -> None:
        self.path = path
        self._log = intake.batch.log
        name = path.name.encode("utf-8", "backslashreplace").decode()
        fits = 0 < len(name) <= 200 and name.isprintable() and name == name.strip()
        self.name = name if fits else identity(name)
        with self._log.reader() as reader:
            versions = reader.stream_versions([f"task-{self.name}", f"session-{self.name}"])
        task, session = (versions.get(f"{kind}-{self.name}", 0) for kind in ("task", "session"))
        self.is_task = bool(task or (not session and _UUID.fullmatch(self.name)))
        self.stream = f"{'task' if self.is_task else 'session'}-{self.name}"
        self.counted = self.is_task and any(
            isinstance(record.event, RecordKept) and record.event.kind == KEPT
            for record in self._log.read(streams=[self.stream], types=[RecordKept])
        )
        """Whether the sums of the task's own database have what is in these files."""
        self._was_empty = not versions.get(self.stream, 0)
        self.has_tools = (path / "tools.jsonl").exists()
        self.said: dict[str, bytes | None] = {}
        """Keys of what was said of calls in this import, with what tells their results from others."""

    def key(self, *of: object) -> str:
        """The key of something in this folder's stream."""
        return key_of("agent-jsonl", self.stream, *of)

    def knows(self, key: str) -> bool:
        """Whether something was said already, in this import or before."""
        if key in self.said or self._was_empty:
            return key in self.said
        with self._log.reader() as reader:
            return key in reader.known_keys([key])

    def result(self, key: str) -> bytes | None:
        """What tells the result in what was said under a key from others; None: there is none, or it is in a blob."""
        if key in self.said:
            return self.said[key]
        with self._log.reader() as reader:
            row = reader.record_with_key(key)
        event = None if row is None else self._log.codec.decode(row[3], row[4], row[11])
        return _digest(event.result) if isinstance(event, ToolCallFinished) else None


class _Reader(ABC):
    """Makes appends of the records of one file, in their order."""

    def __init__(self, path: Path, state: dict[str, Any], intake: Intake, folder: _Folder) -> None:
        self._intake, self._folder, self._file = intake, folder, path.name
        self._mtime = int(path.stat().st_mtime * 1_000_000)
        self._times: dict[str, int] = {}
        self._read = state["read"] if isinstance(state.get("read"), int) else 0
        if self._read:
            # How often something was said is not in the state, which would grow with the file.
            with path.open("rb") as file:
                for piece in pieces(file, 0, self._read):
                    if piece.value is not None:
                        with suppress(KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
                            self.count(piece.value)

    @property
    def state(self) -> Any:
        """How far it was read."""
        return {"read": self._read}

    def take(self, value: dict[str, Any], piece: Piece) -> Native:
        """What a record asks for."""
        self._intake.masker.look(piece.line)
        self._read = max(self._read, piece.offset + piece.length)
        wanted, fate = self.wanted(value)
        return Native(piece.offset, piece.length - piece.blank, wanted, (), fate, piece.blank)

    @abstractmethod
    def count(self, value: dict[str, Any]) -> None:
        """See a record that was read before."""

    @abstractmethod
    def wanted(self, value: dict[str, Any]) -> tuple[list[Wanted], Fate]:
        """The appends of a record, and whether it was understood."""

    def _nth(self, same: str) -> int:
        """Which of those with this content it is, from 1."""
        self._times[same] = nth = self._times.get(same, 0) + 1
        return nth

    def _before(self, at: int) -> list[Wanted]:
        """What has to be said of the session first."""
        key = self._folder.key("session")
        if self._folder.is_task or not self._intake.first(key):
            return []
        return [Wanted(self._folder.stream, [SessionCreated()], key, at)]

    def _append(self, events: list[Event], key: str, at: int) -> Wanted:
        return Wanted(self._folder.stream, events, key, at)

    def _raw(self, value: dict[str, Any], at: int | None) -> tuple[list[Wanted], Fate]:
        same = identity(value)
        kept = self._intake.kept(self._file.removesuffix(".jsonl"), value)
        key = self._folder.key("raw", self._file, same, self._nth(f"raw {same}"))
        when = self._mtime if at is None else at
        return [*self._before(when), self._append([kept], key, when)], "raw"

    def _off(self, **counted: int) -> list[Event]:
        """What takes a call out of the task's sums again, where they have it already."""
        return [TaskStatisticsAdded(**counted)] if self._folder.counted else []

    def _rest(self, fields: Fields) -> Any:
        if not (rest := fields.rest):
            return UNSET
        data = self._intake.raw(rest)
        return Raw(to_json({"blob": data})) if isinstance(data, BlobPart) else data

    # calls of tools

    def _started(self, use: ToolUse, tool_call_id: str, of: str | None, at: int) -> Wanted:
        arguments = None if use.arguments is None else self._intake.raw(use.arguments)
        event = ToolCallStarted(
            tool_call_id=tool_call_id,
            name=self._intake.masker.text(use.name),
            arguments=arguments if isinstance(arguments, Raw) else UNSET,
            blob=arguments if isinstance(arguments, BlobPart) else None,
            message_id=of,
        )
        key = self._folder.key("tool", tool_call_id)
        self._folder.said[key] = None
        return self._append([event, *self._off(tool_calls=-1)], key, at)

    def _finished(self, end: ToolEnd, tool_call_id: str, name: str | None, at: int, details: Any = UNSET) -> Wanted:
        result = None if end.result is None else self._intake.raw(end.result)
        event = ToolCallFinished(
            tool_call_id=tool_call_id,
            outcome=end.outcome,
            result=result if isinstance(result, Raw) else UNSET,
            blob=result if isinstance(result, BlobPart) else None,
            details=details,
            name=name or None,
            exit_code=end.exit_code,
            duration_us=end.duration_us,
            error_type=end.error_type and self._intake.masker.text(end.error_type),
        )
        key = self._folder.key("tool end", tool_call_id)
        self._folder.said[key] = _digest(result)
        return self._append([event], key, at)


class _Messages(_Reader):
    """``messages.jsonl``, and ``current.jsonl``, which is a copy of some of it."""

    def __init__(self, path: Path, state: dict[str, Any], intake: Intake, folder: _Folder) -> None:
        self._last: str | None = None
        self._seen: dict[tuple[str, str], int] = {}
        self._called: dict[str, str] = {}
        super().__init__(path, state, intake, folder)

    def count(self, value: dict[str, Any]) -> None:
        """See a message that was read before."""
        inner, fields, role = _opened(value)
        if role is None:
            self._nth(f"raw {identity(value)}")
            return
        uses = tool_uses(fields)
        own, same, nth = self._which(inner, fields, uses)
        self._last = own or f"{same}.{nth}"
        for use in (*_uses_in(inner.get("content")), *uses):
            self._id_of(use)

    def _which(self, inner: dict[str, Any], fields: Fields, uses: list[ToolUse]) -> tuple[str | None, str, int]:
        """A message's own id, its content, and which with this content it is."""
        own = message_id(fields)
        asked = [(use.id, use.same) for use in uses]
        same = identity(inner.get("role"), inner.get("content"), asked, call_id(fields))
        if own is None:
            return None, same, self._nth(same)
        if (own, same) not in self._seen:
            self._seen[own, same] = self._nth(same)
        return own, same, self._seen[own, same]

    def _id_of(self, use: ToolUse) -> str:
        """The id of a call: where ``tools.jsonl`` told of it without one, that which it got there."""
        made = f"{use.same}.{self._nth(f'call {use.same}')}"
        if use.id is None:
            return made
        found = use.id
        key = self._folder.key
        if self._folder.has_tools and not self._folder.knows(key("tool", use.id)):
            found = made if self._folder.knows(key("tool", made)) else use.id
        self._called[use.id] = found
        return found

    def wanted(self, value: dict[str, Any]) -> tuple[list[Wanted], Fate]:
        """A message, the calls it asks for, and the answer it brings."""
        inner, fields, role = _opened(value)
        at = fields.at() or Fields(value).at()
        if role is None:
            return self._raw(value, at)
        when = self._mtime if at is None else at
        uses = tool_uses(fields)
        own, same, nth = self._which(inner, fields, uses)
        key = self._folder.key("message", same, nth)
        this = own or f"{same}.{nth}"
        after: list[Wanted] = []
        parts = self._thoughts(fields) + self._content(inner.get("content"), role, fields, this, when, after)
        for use in uses:
            tool_call_id = self._id_of(use)
            parts.append(ToolCallPart(id=tool_call_id, name=use.name))
            after.append(self._started(use, tool_call_id, this, when))
        fields.use("role", "content")
        calls = self._call(fields, role, this)
        event = MessageAdded(
            message_id=this,
            role=role,
            parts=tuple(parts),
            parent_id=fields.id(("parent_id", "parent_message_id", "parent_uuid")) or self._last,
            name=fields.first(("name",), str) if role != "tool" else None,
            source=self._rest(fields if inner is value else Fields({**value, "message": fields.rest or None})),
        )
        self._last = this
        return [*self._before(when), self._append([event, *calls], key, when), *after], "understood"

    def _thoughts(self, fields: Fields) -> list[AnyPart]:
        text = fields.first(("reasoning_content", "reasoning", "thinking"), str)
        if not text:
            return []
        part = self._intake.text(text, of="reasoning")
        return [part if isinstance(part, BlobPart) else ReasoningPart(text=part.text)]  # type: ignore[union-attr]

    def _content(
        self, content: Any, role: Role, fields: Fields, this: str, at: int, after: list[Wanted]
    ) -> list[AnyPart]:
        answered = call_id(fields) if role == "tool" else None
        if answered is not None:
            return self._answer(answered, content, fields, at, after)
        if content is None or content == "":
            return []
        parts: list[AnyPart] = []
        for block in content if isinstance(content, list) else [content]:
            kind = block.get("type") if isinstance(block, dict) else None
            if isinstance(block, str):
                parts.append(self._intake.text(block))
            elif kind in _TEXTS and isinstance(block.get("text"), str):
                parts.append(self._intake.text(block["text"]))
            elif kind in _THOUGHTS and isinstance(text := block.get("thinking", block.get("text")), str):
                part = self._intake.text(text, of="reasoning")
                parts.append(part if isinstance(part, BlobPart) else ReasoningPart(text=part.text))  # type: ignore[union-attr]
            elif kind in ("tool_use", "tool_call") and (use := tool_use(block)) is not None:
                tool_call_id = self._id_of(use)
                parts.append(ToolCallPart(id=tool_call_id, name=use.name))
                after.append(self._started(use, tool_call_id, this, at))
            elif kind == "tool_result" and (asked := call_id(Fields(block))) is not None:
                of = Fields({"is_error": False, **block})
                parts += self._answer(asked, block.get("content"), of, at, after)
            else:
                data = self._intake.raw(block)
                parts.append(data if isinstance(data, BlobPart) else RawPart(data=data))
        return parts

    def _answer(self, asked: str, content: Any, fields: Fields, at: int, after: list[Wanted]) -> list[AnyPart]:
        """What a tool answered; where its result is known already, what the message says otherwise is in it."""
        tool_call_id = self._called.get(asked, asked)
        key = self._folder.key("tool end", tool_call_id)
        end = tool_end(fields) or ToolEnd("unknown", content, None, None, None)
        part = ToolCallResponsePart(id=tool_call_id)
        if not self._folder.knows(key):
            after.append(self._finished(end._replace(result=content), tool_call_id, fields.first(("name",), str), at))
            return [part]
        if content is None or _digest(Raw(to_json(self._intake.masker.value(content)))) == self._folder.result(key):
            return [part]
        if isinstance(content, str):
            return [part, self._intake.text(content)]
        data = self._intake.raw(content)
        return [part, data if isinstance(data, BlobPart) else RawPart(data=data)]

    def _call(self, fields: Fields, role: Role, this: str) -> list[Event]:
        """The call of a language model that a message is the answer of, where it says what that used."""
        found = usage_of(fields) if role == "assistant" else None
        if found is None:
            return []
        usage, raw = found
        event = LlmCallCompleted(
            call_id=this,
            usage=usage,
            provider=fields.first(("provider", "llm_provider"), str),
            response_model=fields.first(("model",), str),
            message_id=this,
            finish_reasons=tuple(filter(None, (fields.first(("finish_reason", "stop_reason"), str),))),
            raw_usage=Raw(raw),
        )
        return [event, *self._off(llm_calls=-1, tokens=-usage.total)]


class _Tools(_Reader):
    """``tools.jsonl``: a record a call, or one for its beginning and one for its end."""

    def count(self, value: dict[str, Any]) -> None:
        """See a call that was read before."""
        use, _ = record_of_tool(Fields(value))
        if use is None:
            self._nth(f"raw {identity(value)}")
        elif use.id is None:
            self._nth(f"call {use.same}")

    def wanted(self, value: dict[str, Any]) -> tuple[list[Wanted], Fate]:
        """A call of a tool, and how it ended."""
        fields = Fields(value)
        at = fields.at()
        use, end = record_of_tool(fields)
        if use is None:
            return self._raw(value, at)
        when = self._mtime if at is None else at
        tool_call_id = use.id or f"{use.same}.{self._nth(f'call {use.same}')}"
        wanted = self._before(when)
        if use.name:
            wanted.append(self._started(use, tool_call_id, fields.id(("message_id",)), when))
        if end is not None:
            key = self._folder.key("tool end", tool_call_id)
            there = self._folder.knows(key)
            before = self._folder.result(key) if there else None
            ended = when + (end.duration_us or 0)
            wanted.append(self._finished(end, tool_call_id, use.name, ended, self._rest(fields)))
            if there and before != self._folder.said[key]:
                # The message that brought the answer was there first, and says less of it.
                kept = self._folder.key("tools", identity(value))
                wanted.append(self._append([self._intake.kept("tools", value)], kept, when))
        return wanted, "understood"


class _Summaries(_Reader):
    """``summaries.jsonl``: what stands for the conversation up to where it was compacted."""

    def count(self, value: dict[str, Any]) -> None:
        """See a summary that was read before."""
        text = _summary(Fields(value))
        self._nth(f"raw {identity(value)}" if text is None else identity(text))

    def wanted(self, value: dict[str, Any]) -> tuple[list[Wanted], Fate]:
        """A summary, and the compaction it was made for."""
        fields = Fields(value)
        at = fields.at()
        text = _summary(fields)
        if text is None:
            return self._raw(value, at)
        when = self._mtime if at is None else at
        same = identity(text)
        upto = fields.id(("covers_to_message_id", "end_message_id", "last_message_id", "leaf_message_id", "leaf_uuid"))
        before = ("tokens_before", "original_tokens", "original_token_count", "before_tokens", "input_tokens")
        after = ("tokens_after", "summary_tokens", "summary_token_count", "compressed_tokens", "after_tokens", "tokens")
        events: list[Event] = [
            ContextCompacted(
                trigger=fields.first(("trigger", "reason"), str),
                tokens_before=count(fields.first(before, int)),
                tokens_after=count(fields.first(after, int)),
                covers_to_message_id=upto,
            ),
            SummaryAdded(
                text=self._intake.masker.text(text), leaf_message_id=upto, model=fields.first(("model",), str)
            ),
            *self._off(compressions=-1),
        ]
        if rest := fields.rest:
            events.append(self._intake.kept("summary", rest))
        key = self._folder.key("summary", same, self._nth(same))
        return [*self._before(when), self._append(events, key, when)], "understood"


def _opened(value: dict[str, Any]) -> tuple[dict[str, Any], Fields, Role | None]:
    """The message in a record, which may be the record itself, and its role; no role: it is none."""
    inner = value.get("message") if "role" not in value else None
    inner = inner if isinstance(inner, dict) else value
    fields = Fields(inner)
    role = inner.get("role")
    said = any(name in fields for name in ("content", "tool_calls", "function_call", "reasoning_content"))
    return inner, fields, ROLES.get(role.lower()) if isinstance(role, str) and said else None


def _digest(result: object) -> bytes | None:
    return sha256(result).digest() if isinstance(result, Raw) else None


def _uses_in(content: Any) -> list[ToolUse]:
    """The calls of tools in a message's content."""
    blocks = content if isinstance(content, list) else []
    uses = [tool_use(one) for one in blocks if isinstance(one, dict) and one.get("type") in ("tool_use", "tool_call")]
    return [use for use in uses if use is not None]


def _summary(fields: Fields) -> str | None:
    found = fields.first(("summary", "content", "text", "summary_text", "message"), str)
    return found or None
