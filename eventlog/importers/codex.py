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
from eventlog.events.agents import ContextCompacted, LlmCallCompleted, MessageAdded, SummaryAdded
from eventlog.events.sessions import (
    SessionCreated,
    SessionLink,
    SessionLinked,
    SessionRewound,
    SessionStatusChanged,
    SessionUpdated,
)
from eventlog.importers import codex_items as items
from eventlog.importers.codex_items import AGENT, Said
from eventlog.importers.codex_lineage import (
    BURST_US,
    Lineage,
    Names,
    identity,
    is_parents,
    opened,
    payload_digest,
    turn_of,
)
from eventlog.importers.codex_usage import Ended, Totals, ended_event, spent
from eventlog.importers.intake import Call, Intake, Native, Wanted, key_of
from eventlog.importers.pieces import Piece
from eventlog.importers.places import count, iso_time, mapping, text, workspace

_KEPT_TURNS = 1000
_KEPT_ENDS = 100
_STATUS = {
    "task_started": "active",
    "turn_started": "active",
    "task_complete": "awaiting_user",
    "turn_complete": "awaiting_user",
    "turn_aborted": "awaiting_user",
}
_ENDS = ("exec_command_end", "patch_apply_end", "mcp_tool_call_end", "collab_tool_call", "collab_agent_spawn_end")


class CodexRollouts:
    """See `eventlog.importers.run.LineFormat`."""

    name = "codex"

    def __init__(self) -> None:
        self._lineage = Lineage()

    def sources(self, path: Path) -> Iterator[Path]:
        """The rollouts in a folder (``~/.codex``, its ``sessions``, or one below)."""
        for one in path.rglob("*.jsonl"):
            if one.name == "history.jsonl" or one.name == "session_index.jsonl":
                continue
            self._lineage.add(one)
            yield one

    def begin(self, path: Path, state: Any, intake: Intake) -> CodexReader:
        """A reader of one rollout; ``state`` is what `CodexReader.state` was at its cursor."""
        known = State(thread=identity(path)) if state is None else msgspec.convert(state, State)
        return CodexReader(path, known, intake, self._lineage)


class State(msgspec.Struct, omit_defaults=True):
    """What has to be known to go on in the middle of a rollout. Messages are told by their ids."""

    thread: str
    created: bool = False
    met: bool = False
    """Whether the thread's own ``session_meta`` was there."""
    provider: str | None = None
    model: str | None = None
    cwd: str | None = None
    workspace: str | None = None
    version: str | None = None
    branch: str | None = None
    settings: dict[str, Any] = {}
    status: str = "active"
    turn: str | None = None
    totals: Totals | None = None
    uncounted: int = 0
    """Calls of this turn that have no totals."""
    head: str | None = None
    answer: str | None = None
    turns: list[str | None] = []
    """What came before each turn of the user."""
    said: list[str] = []
    """What the record before said: whether an item or an event did, the role, hashes of its texts."""
    ended: dict[str, Ended] = {}
    compacted: bool = False
    parent: str | None = None
    link: SessionLink = "fork"
    replaying: bool = False
    linked: bool = False
    shared: str | None = None
    """The last message that is the parent's."""
    in_parents_turn: bool = False
    first_at: int | None = None
    at: int | None = None
    stamp: str | None = None
    seen: dict[str, int] = {}


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
        self._path, self._intake, self._lineage = path, intake, lineage
        self._s = state
        self._mtime = int(path.stat().st_mtime * 1_000_000)
        self._names = Names(state.thread, state.stamp, state.seen)
        self._stream = f"session-{state.thread}"
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
        kind, payload = opened(value)
        at = iso_time(value.get("timestamp"))
        at = self._s.at if at is None else at
        at = self._mtime if at is None else at
        name = self._names.of(value, piece.offset)
        record = _Record(kind, payload, name, key_of("codex", name), at)
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
                wanted.append(Wanted(self._stream, [self._intake.kept(kind, payload)], own, at))
        except InvalidInput:
            self._owed = wanted
            raise
        self._s.at = at
        if self._s.first_at is None:
            self._s.first_at = at
        return Native(piece.offset, piece.length - piece.blank, wanted, calls, fate)

    def _taken(self, record: _Record, wanted: list[Wanted], calls: list[Call]) -> Any:
        kind, payload = record.kind, record.payload
        if kind == "session_meta":
            self._met(record, wanted)
            return "understood"
        if not self._s.created:
            self._create(SessionCreated(agent=AGENT), record.at, wanted)
        if turn := turn_of(kind, payload):
            self._s.turn, self._s.uncounted = turn, 0
        if self._is_replay(record):
            self._replay(record)
            return "understood"
        self._linked(record.at, wanted)
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
        elif kind == "event_msg" and payload.get("type") == "token_count":
            calls += self._call(record)
        elif kind == "record_type" or (kind == "event_msg" and self._event(record, wanted)):
            pass
        else:
            told = payload.get("type")
            what = f"{kind}.{told}" if isinstance(told, str) and told != kind else kind
            wanted.append(Wanted(self._stream, [self._intake.kept(what, payload)], record.key, record.at))
            return "raw"
        return "understood"

    # the thread and where it comes from

    def _met(self, record: _Record, wanted: list[Wanted]) -> None:
        s, payload = self._s, record.payload
        own = payload.get("id") in (s.thread, None)
        if not own:
            if s.parent is None and (parent := text(payload.get("id"))):
                s.parent, s.replaying = parent, True
                self._link(record.at, wanted)
            return
        git = mapping(payload.get("git"))
        cwd, version = text(payload.get("cwd")), text(payload.get("cli_version"))
        s.provider = text(payload.get("model_provider")) or s.provider
        place = workspace(self._intake, cwd, record.at, wanted, text(git.get("repository_url")))
        branch, commit = text(git.get("branch")), text(git.get("commit_hash"))
        if not s.met:
            self._comes_from(payload)
            if s.created and s.parent is not None:
                self._link(record.at, wanted)
        if not s.created:
            created = SessionCreated(
                workspace_id=place,
                kind="subagent" if s.parent and s.link == "subagent" else text(payload.get("source")) or "chat",
                agent=AGENT,
                agent_version=version,
                provider=s.provider,
                cwd=cwd,
                git_branch=branch,
                git_commit=commit,
                link=s.link if s.parent else None,
                parent_session_id=s.parent,
                metadata=items.about(payload),
            )
            began = iso_time(payload.get("timestamp"))
            self._create(created, record.at if began is None else began, wanted)
        elif (version, branch, cwd) != (s.version, s.branch, s.cwd) or not s.met:
            told: dict[str, Any] = {
                "agent_version": version,
                "git_branch": branch,
                "git_commit": commit,
                "cwd": cwd,
                "provider": s.provider,
            }
            told["workspace_id"] = place
            update = SessionUpdated(**{name: item for name, item in told.items() if item is not None})
            wanted.append(Wanted(self._stream, [update], record.key, record.at))
        s.cwd, s.workspace, s.version, s.branch = cwd or s.cwd, place or s.workspace, version, branch
        instructions = payload.get("base_instructions", payload.get("instructions"))
        told_first = text(mapping(instructions).get("text")) or text(instructions)
        if told_first and not s.met:
            said = Said("system", "runtime", (self._intake.text(told_first),))
            wanted.append(self._say(said, record.name, key_of("codex", "instructions", s.thread), record.at))
        s.met = True

    def _comes_from(self, payload: dict[str, Any]) -> None:
        """Whose records the file may begin with."""
        s = self._s
        spawned = mapping(mapping(mapping(payload.get("source")).get("subagent")).get("thread_spawn"))
        spawner = text(spawned.get("parent_thread_id")) or text(payload.get("parent_thread_id"))
        parent = spawner or text(payload.get("forked_from_id"))
        if parent and parent != s.thread:
            s.parent, s.replaying = parent, True
            s.link = "subagent" if spawner else "fork"

    def _link(self, at: int, wanted: list[Wanted]) -> None:
        if self._s.parent is not None:
            linked = SessionLinked(link=self._s.link, parent_session_id=self._s.parent)
            wanted.append(Wanted(self._stream, [linked], key_of("codex", "parent", self._s.thread), at))

    def _create(self, created: SessionCreated, at: int, wanted: list[Wanted]) -> None:
        self._s.created = True
        wanted.append(Wanted(self._stream, [created], key_of("codex", "session", self._s.thread), at))

    def _linked(self, at: int, wanted: list[Wanted]) -> None:
        """Where the thread's own records begin: after which of its parent's."""
        s = self._s
        if s.linked or s.replaying or s.parent is None:
            return
        s.linked = True
        if s.shared is not None:
            linked = SessionLinked(link=s.link, parent_session_id=s.parent, parent_message_id=s.shared)
            wanted.append(Wanted(self._stream, [linked], key_of("codex", "linked", s.thread), at))

    def _is_replay(self, record: _Record) -> bool:
        """See `eventlog.importers.codex_lineage`."""
        s = self._s
        if not s.replaying or s.parent is None:
            return False
        parent = self._lineage.parent(s.parent, self._path)
        tokens = record.kind == "event_msg" and record.payload.get("type") == "token_count"
        known = parent is not None and payload_digest(record.kind, record.payload) in parent.records
        if turn := turn_of(record.kind, record.payload):
            theirs = is_parents(turn, s.thread, parent)
            s.in_parents_turn = bool(theirs)
            if theirs is False:
                s.replaying = False
                return False
        waited = s.at is not None and record.at - s.at > BURST_US
        if waited and not s.in_parents_turn:
            s.replaying = False
            return False
        burst = s.first_at is not None and record.at - s.first_at < BURST_US
        return known or (tokens and (s.in_parents_turn or burst))

    def _replay(self, record: _Record) -> None:
        """What the parent said before counts for what comes after, and not again."""
        s, payload = self._s, record.payload
        if record.kind == "turn_context":
            s.model = text(payload.get("model")) or s.model
        elif payload.get("type") == "token_count":
            s.totals = spent(mapping(payload.get("info")), s.totals).totals
        elif record.kind == "response_item" and s.parent and (parent := self._lineage.parent(s.parent, self._path)):
            before = s.head
            s.head = s.shared = parent.records.get(payload_digest(record.kind, payload), s.head)
            if payload.get("type") == "message" and items.message(payload, self._intake).origin == "human":
                self._began_turn(before)

    # what is said

    def _item(self, record: _Record) -> Said | None:
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

    def _event_said(self, said: Said, record: _Record, wanted: list[Wanted]) -> None:
        now = _told(said)
        if self._is_second("item", said.role, now):
            return
        if self._held and not (said.thought and self._held[0].said.thought):
            self._told_alone()
        self._held.append(_Held(said, record.name, record.key, record.at, wanted))

    def _item_said(self, said: Said, record: _Record, wanted: list[Wanted]) -> None:
        now, key = _told(said), record.key
        held = [one for one in self._held if one.said.role == said.role]
        if held and now and {text for one in held for text in _told(one.said)} == set(now):
            # The item says more, and has the key of the first account: however a file is cut, they are one.
            self._held, key = [], held[0].key
        self._told_alone()
        if not self._is_second("event", said.role, now):
            wanted.append(self._say(said, record.name, key, record.at))
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
            one.wanted.append(self._say(one.said, one.name, one.key, one.at))
        told = [text for one in self._held for text in _told(one.said)]
        self._s.said = ["event", self._held[-1].said.role, *told]
        self._held = []

    def _say(self, said: Said, name: str, key: str, at: int | None) -> Wanted:
        s = self._s
        if said.origin == "human":
            self._began_turn(s.head)
            s.compacted = False
        message = MessageAdded(message_id=name, role=said.role, parts=said.parts, parent_id=s.head, origin=said.origin)
        s.head = name
        if said.role == "assistant":
            s.answer = name
        return Wanted(self._stream, [message, *said.events], key, at)

    def _began_turn(self, before: str | None) -> None:
        self._s.turns = [*self._s.turns, before][-_KEPT_TURNS:]

    # what it does

    def _turn(self, record: _Record, wanted: list[Wanted]) -> None:
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
            wanted.append(Wanted(self._stream, [SessionUpdated(**told)], record.key, record.at))

    def _call(self, record: _Record) -> Iterable[Call]:
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
        yield Call(self._stream, event, key_of("codex", "call", *native), record.at)

    def _compacted(self, record: _Record, wanted: list[Wanted]) -> None:
        s = self._s
        told = text(record.payload.get("message"))
        events: list[Event] = []
        if not s.compacted:
            events.append(ContextCompacted(covers_to_message_id=s.head))
        if told:
            events.append(SummaryAdded(text=self._intake.masker.text(told), leaf_message_id=s.head, model=s.model))
        s.compacted = True
        if events:
            wanted.append(Wanted(self._stream, events, record.key, record.at))

    def _event(self, record: _Record, wanted: list[Wanted]) -> bool:
        """Whether an event says something about the session itself."""
        s, payload, kind = self._s, record.payload, record.payload.get("type")
        event: Event | None = None
        if kind == "thread_rolled_back":
            event = self._rolled_back(count(payload.get("num_turns")) or 0)
        elif kind == "context_compacted":
            event = None if s.compacted else ContextCompacted(covers_to_message_id=s.head)
            s.compacted = not s.compacted
        elif kind == "thread_name_updated" and isinstance(payload.get("thread_name"), str):
            event = SessionUpdated(title=self._intake.masker.text(payload["thread_name"]))
        elif kind in _STATUS:
            status = _STATUS[kind]
            if status != s.status:
                event = SessionStatusChanged(status=status, reason=text(payload.get("reason")))
            s.status = status
        elif kind in _ENDS and isinstance(payload.get("call_id"), str):
            s.ended = {**dict(list(s.ended.items())[1 - _KEPT_ENDS :]), payload["call_id"]: ended_event(payload)}
            return False
        else:
            return False
        if event is not None:
            wanted.append(Wanted(self._stream, [event], record.key, record.at))
        return True

    def _rolled_back(self, turns: int) -> SessionRewound | None:
        s = self._s
        if not turns:
            return None
        gone = s.turns[-turns:]
        s.turns = s.turns[: len(s.turns) - len(gone)]
        s.head = gone[0] if gone else None
        return SessionRewound(message_id=s.head, reason=f"{turns} turns rolled back")


class _Record(msgspec.Struct, frozen=True):
    """A line: its kind, what it says, its own id, its key, and when."""

    kind: str
    payload: dict[str, Any]
    name: str
    key: str
    at: int


def _told(said: Said) -> list[str]:
    """Hashes of a message's texts."""
    return [sha256(one.strip().encode("utf-8", "replace")).hexdigest()[:16] for one in said.texts if one.strip()]
