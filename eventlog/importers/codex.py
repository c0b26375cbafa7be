"""Codex's rollouts: ``~/.codex/sessions/YYYY/MM/DD/rollout-<time>-<thread>.jsonl``, and ``archived_sessions`` beside.

Read as `openai/codex <https://github.com/openai/codex>`_ writes them (``codex-rs/protocol/src/protocol.rs``). The first
``session_meta`` says whose thread it is. Only ``turn_context`` says which model answers; a call of which nobody said so
has none and is ``estimated``. Most of what is said is told twice, by an item and by an event: they are one message
where they are next to each other. `eventlog.importers.codex_lineage` says what of a fork is its parent's. Limits of
rates, and copies of the conversation in ``compacted``, are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from eventlog.codec import to_json
from eventlog.errors import InvalidInput
from eventlog.events import Event
from eventlog.events.agents import ContextCompacted, LlmCallCompleted, SummaryAdded
from eventlog.events.sessions import (
    SessionCreated,
    SessionStatusChanged,
    SessionUpdated,
)
from eventlog.importers import codex_items as items
from eventlog.importers.calls import Call
from eventlog.importers.codex_items import AGENT, Said
from eventlog.importers.codex_lineage import (
    Lineage,
    Names,
    identity,
    opened,
    turn_of,
)
from eventlog.importers.codex_thread import Record, State, Thread
from eventlog.importers.codex_usage import ended_event, spent
from eventlog.importers.intake import Intake, Native, Wanted, key_of
from eventlog.importers.pieces import Piece
from eventlog.importers.places import count, iso_time, mapping, text, workspace

_KEPT_ENDS = 100
_STATUS = {
    "task_started": "active",
    "turn_started": "active",
    "task_complete": "awaiting_user",
    "turn_complete": "awaiting_user",
    "turn_aborted": "awaiting_user",
}
_META = frozenset(("id", "timestamp", "instructions", "git", "cwd", "originator", "cli_version", "source"))
"""What the first line of a rollout says where it has no wrapper."""
_ITEMS = ("message", "reasoning", *items.CALLS, *items.ANSWERS)
_ENDS = ("exec_command_end", "patch_apply_end", "mcp_tool_call_end", "collab_tool_call", "collab_agent_spawn_end")


class CodexRollouts:
    """See `eventlog.importers.run.LineFormat`."""

    name = "codex"
    looks_for = "*.jsonl"
    apart = True

    def __init__(self) -> None:
        self._lineage = Lineage()

    def sources(self, path: Path) -> Iterator[Path]:
        """The rollouts in a folder (``~/.codex``, its ``sessions``, or one below)."""
        for one in path.rglob("*.jsonl"):
            if one.name == "history.jsonl" or one.name == "session_index.jsonl":
                continue
            self._lineage.add(one)
            yield one

    def knows(self, path: Path, value: dict[str, Any]) -> bool:
        """Whether a record is a line of a rollout, and not only has a type."""
        try:
            kind, payload = opened(value)
        except ValueError:
            return False
        if kind == "session_meta" and payload is value:
            return value.keys() <= _META
        if payload is not value or kind == "record_type":
            return True
        return kind == "response_item" and value["type"] in _ITEMS and not {"sessionId", "uuid"} & value.keys()

    def begin(self, path: Path, state: Any, intake: Intake) -> CodexReader:
        """A reader of one rollout; ``state`` is what `CodexReader.state` was at its cursor."""
        known = State(thread=identity(path)) if state is None else msgspec.convert(state, State)
        return CodexReader(path, known, intake, self._lineage)


class _Held(msgspec.Struct):
    """What an event said, until the next record tells whether an item says it, too."""

    said: Said
    name: str
    key: str
    at: int
    wanted: list[Wanted]
    """What its own record asks for."""


class CodexReader:
    """Makes events of the records of one rollout, in their order."""

    def __init__(self, path: Path, state: State, intake: Intake, lineage: Lineage) -> None:
        self._intake, self._s = intake, state
        self._thread = Thread(path, state, intake, lineage)
        self._mtime = int(path.stat().st_mtime * 1_000_000)
        self._names = Names(state.thread, state.stamp, state.seen)
        self._held: list[_Held] = []
        self._owed: list[Wanted] = []

    @property
    def state(self) -> Any:
        """See `State`. A batch may end here, so what was held back for the next record is said now."""
        self._told_alone()
        self._s.stamp, self._s.seen = self._names.stamp, self._names.seen
        return msgspec.to_builtins(self._s)

    def take(self, value: dict[str, Any], piece: Piece) -> Native:
        """What a record asks for. Raises ValueError for what is no line of a rollout."""
        self._intake.masker.look(piece.line)
        kind, payload = opened(value)
        at = iso_time(value.get("timestamp"))
        at = self._s.at if at is None else at
        at = self._mtime if at is None else at
        name = self._names.of(value, piece.offset)
        record = Record(kind, payload, name, key_of("codex", name), at)
        # What a record asked for before it turned out to be none, as that its session begins, is told with the next.
        wanted, self._owed = self._owed, []
        calls: list[Call] = []
        try:
            try:
                fate = self._taken(record, wanted, calls)
            except InvalidInput:
                raise
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
                fate, own = "raw", key_of("codex", "raw", name)
                wanted.append(Wanted(self._thread.stream, [self._intake.kept(kind, payload)], own, at))
        except InvalidInput:
            self._owed = wanted
            raise
        self._s.at = at
        if self._s.first_at is None:
            self._s.first_at = at
        return Native(piece.offset, piece.length - piece.blank, wanted, calls, fate)

    def _taken(self, record: Record, wanted: list[Wanted], calls: list[Call]) -> Any:
        kind, payload = record.kind, record.payload
        if kind == "session_meta":
            self._thread.met(record, wanted)
            return "understood"
        if not self._s.created:
            self._thread.create(SessionCreated(agent=AGENT), record.at, wanted)
        if turn := turn_of(kind, payload):
            self._s.turn, self._s.uncounted = turn, 0
        if self._thread.is_replay(record):
            self._thread.replay(record)
            return "understood"
        self._thread.begins(record.at, wanted)
        if kind == "event_msg" and payload.get("type") == "token_count":
            # It may stand between two accounts of one thing, which are next to each other all the same.
            calls += self._call(record)
            return "understood"
        said = items.event_message(payload, self._intake) if kind == "event_msg" else None
        if said is not None:
            self._event_said(said, record, wanted)
            return "understood"
        item = self._item(record) if kind == "response_item" else None
        if item is not None:
            self._item_said(item, record, wanted)
            return "understood"
        self._told_alone()
        self._s.said = []
        if kind == "turn_context":
            self._turn(record, wanted)
        elif kind == "compacted":
            self._compacted(record, wanted)
        elif kind == "record_type" or (kind == "event_msg" and self._event(record, wanted)):
            pass
        else:
            told = payload.get("type")
            what = f"{kind}.{told}" if isinstance(told, str) and told != kind else kind
            wanted.append(Wanted(self._thread.stream, [self._intake.kept(what, payload)], record.key, record.at))
            return "raw"
        return "understood"

    # what is said

    def _item(self, record: Record) -> Said | None:
        payload, kind = record.payload, record.payload.get("type")
        if kind == "message":
            return items.message(payload, self._intake)
        if kind == "reasoning":
            return items.reasoning(payload, self._intake)
        if kind in items.CALLS:
            return items.asked(payload, record.name, self._s.workspace, self._intake)
        if kind in items.ANSWERS:
            known = self._s.ended.pop(str(payload.get("call_id")), None)
            return items.answered(payload, known, self._intake)
        return None

    def _event_said(self, said: Said, record: Record, wanted: list[Wanted]) -> None:
        now = _told(said)
        if self._is_second("item", said.role, now):
            return
        if self._held and not (said.thought and self._held[0].said.thought):
            self._told_alone()
        self._held.append(_Held(said, record.name, record.key, record.at, wanted))

    def _item_said(self, said: Said, record: Record, wanted: list[Wanted]) -> None:
        now, key = _told(said), record.key
        held = [one for one in self._held if one.said.role == said.role]
        if held and now and {text for one in held for text in _told(one.said)} == set(now):
            # The item says more, and has the key of the first account: however a file is cut, they are one.
            self._held, key = [], held[0].key
        self._told_alone()
        if not self._is_second("event", said.role, now):
            wanted.append(self._thread.say(said, record.name, key, record.at))
            self._s.said = ["item", said.role, *now]

    def _is_second(self, first: str, role: str, told: list[str]) -> bool:
        """Whether the record before said the same in the other way."""
        said = self._s.said
        if said[:2] != [first, role] or not told or not set(told) <= set(said[2:]):
            return False
        self._s.said = [*said[:2], *(one for one in said[2:] if one not in told)]
        return True

    def _told_alone(self) -> None:
        """What only events said."""
        if not self._held:
            return
        for one in self._held:
            one.wanted.append(self._thread.say(one.said, one.name, one.key, one.at))
        told = [text for one in self._held for text in _told(one.said)]
        self._s.said = ["event", self._held[-1].said.role, *told]
        self._held = []

    # what it does

    def _turn(self, record: Record, wanted: list[Wanted]) -> None:
        s, payload = self._s, record.payload
        told: dict[str, Any] = {}
        if (model := text(payload.get("model"))) and model != s.model:
            told["model"] = s.model = model
        if (cwd := text(payload.get("cwd"))) and cwd != s.cwd:
            told["cwd"] = s.cwd = cwd
            told["workspace_id"] = s.workspace = workspace(self._intake, cwd, record.at, wanted)
        names = ("approval_policy", "sandbox_policy", "effort", "personality", "collaboration_mode")
        settings = self._intake.masker.value({name: payload[name] for name in names if payload.get(name) is not None})
        if changed := {name: item for name, item in settings.items() if s.settings.get(name) != item}:
            told["metadata"] = changed
            s.settings = {**s.settings, **changed}
        if told:
            wanted.append(Wanted(self._thread.stream, [SessionUpdated(**told)], record.key, record.at))

    def _call(self, record: Record) -> Iterable[Call]:
        s = self._s
        info = mapping(record.payload.get("info"))
        row = spent(info, s.totals)
        s.totals, s.compacted = row.totals, False
        if row.usage is None:
            return
        answered = text(info.get("model")) or text(record.payload.get("model"))
        model = s.model or answered
        given = {name: info[name] for name in ("last_token_usage", "total_token_usage") if name in info}
        event = LlmCallCompleted(
            call_id=record.name,
            usage=row.usage,
            quality="exact" if model else "estimated",
            provider=s.provider,
            request_model=s.model,
            response_model=answered,
            message_id=s.answer,
            context_length=count(info.get("model_context_window")),
            raw_usage=Raw(to_json(given)),
            workspace_id=s.workspace,
            agent=AGENT,
        )
        native: tuple[object, ...] = (record.name,)
        if s.turn is not None and len(s.turn) >= 32:
            # The same call in whatever thread it is told of: totals tell those of a turn apart.
            if "total_token_usage" not in given:
                s.uncounted += 1
            native = (s.turn, to_json(given), s.uncounted if "total_token_usage" not in given else "")
        yield Call(self._thread.stream, event, key_of("codex", "call", *native), record.at)

    def _compacted(self, record: Record, wanted: list[Wanted]) -> None:
        s = self._s
        told = text(record.payload.get("message"))
        events: list[Event] = []
        if not s.compacted:
            events.append(ContextCompacted(covers_to_message_id=s.head))
        if told:
            events.append(SummaryAdded(text=self._intake.masker.text(told), leaf_message_id=s.head, model=s.model))
        s.compacted = True
        if events:
            wanted.append(Wanted(self._thread.stream, events, record.key, record.at))

    def _event(self, record: Record, wanted: list[Wanted]) -> bool:
        """Whether an event says something about the session itself."""
        s, payload, kind = self._s, record.payload, record.payload.get("type")
        event: Event | None = None
        if kind == "thread_rolled_back":
            event = self._thread.rolled_back(count(payload.get("num_turns")) or 0)
        elif kind == "context_compacted":
            event = None if s.compacted else ContextCompacted(covers_to_message_id=s.head)
            s.compacted = not s.compacted
        elif kind == "thread_name_updated" and isinstance(payload.get("thread_name"), str):
            event = SessionUpdated(title=self._intake.masker.text(payload["thread_name"]))
        elif kind in _STATUS:
            status = _STATUS[kind]
            if status != s.status:
                reason = text(payload.get("reason"))
                reason = None if reason is None else self._intake.masker.text(reason)
                event = SessionStatusChanged(status=status, reason=reason)
            s.status = status
        elif kind in _ENDS and isinstance(payload.get("call_id"), str):
            s.ended = {**dict(list(s.ended.items())[1 - _KEPT_ENDS :]), payload["call_id"]: ended_event(payload)}
            return False
        else:
            return False
        if event is not None:
            wanted.append(Wanted(self._thread.stream, [event], record.key, record.at))
        return True


def _told(said: Said) -> list[str]:
    """Hashes of a message's texts."""
    return [sha256(one.strip().encode("utf-8", "replace")).hexdigest()[:16] for one in said.texts if one.strip()]
