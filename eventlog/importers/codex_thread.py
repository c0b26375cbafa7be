"""A Codex thread while its rollout is read: what has to be known of it, where it comes from, what is its parent's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from eventlog.events.agents import MessageAdded
from eventlog.events.sessions import SessionCreated, SessionLink, SessionLinked, SessionRewound, SessionUpdated
from eventlog.importers import codex_items as items
from eventlog.importers.codex_items import AGENT, Said
from eventlog.importers.codex_lineage import BURST_US, Lineage, is_parents, payload_digest, turn_of
from eventlog.importers.codex_usage import Ended, Totals, spent
from eventlog.importers.intake import Intake, Wanted, key_of
from eventlog.importers.places import iso_time, mapping, text, workspace

_KEPT_TURNS = 1000


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


class Record(msgspec.Struct, frozen=True):
    """A line: its kind, what it says, its own id, its key, and when."""

    kind: str
    payload: dict[str, Any]
    name: str
    key: str
    at: int


class Thread:
    """The thread of a rollout."""

    def __init__(self, path: Path, state: State, intake: Intake, lineage: Lineage) -> None:
        self.state = state
        self.intake = intake
        self.stream = f"session-{state.thread}"
        self._path, self._lineage = path, lineage

    def met(self, record: Record, wanted: list[Wanted]) -> None:
        """A ``session_meta``: the first says whose thread it is, one of another thread that this is its fork."""
        s, payload = self.state, record.payload
        own = payload.get("id") in (s.thread, None)
        if not own:
            if s.parent is None and (parent := text(payload.get("id"))):
                s.parent, s.replaying = parent, True
                self._link(record.at, wanted)
            return
        git, masker = mapping(payload.get("git")), self.intake.masker
        url = text(git.get("repository_url"))
        # An address may have a password in it.
        url = None if url is None else masker.text(url)
        cwd, s.provider = text(payload.get("cwd")), text(payload.get("model_provider")) or s.provider
        told: dict[str, Any] = {
            "agent_version": text(payload.get("cli_version")),
            "git_branch": text(git.get("branch")),
            "git_commit": text(git.get("commit_hash")),
            "cwd": cwd,
            "provider": s.provider,
            "workspace_id": workspace(self.intake, cwd, record.at, wanted, url),
        }
        if not s.met:
            self._comes_from(payload)
            if s.created and s.parent is not None:
                self._link(record.at, wanted)
        now = (told["agent_version"], told["git_branch"], cwd)
        if not s.created:
            kind = "subagent" if s.parent and s.link == "subagent" else text(payload.get("source")) or "chat"
            link = s.link if s.parent else None
            created = SessionCreated(
                kind=kind,
                agent=AGENT,
                link=link,
                parent_session_id=s.parent,
                metadata=masker.value(items.about(payload)),
                **told,
            )
            began = iso_time(payload.get("timestamp"))
            self.create(created, record.at if began is None else began, wanted)
        elif now != (s.version, s.branch, s.cwd) or not s.met:
            update = SessionUpdated(**{name: item for name, item in told.items() if item is not None})
            wanted.append(Wanted(self.stream, [update], record.key, record.at))
        s.cwd, s.workspace = cwd or s.cwd, told["workspace_id"] or s.workspace
        s.version, s.branch = now[:2]
        if not s.met:
            self._instructed(record, wanted)
        s.met = True

    def _instructed(self, record: Record, wanted: list[Wanted]) -> None:
        """What the model is told before anything else."""
        given = record.payload.get("base_instructions", record.payload.get("instructions"))
        if told := text(mapping(given).get("text")) or text(given):
            said = Said("system", "runtime", (self.intake.text(told),))
            key = key_of("codex", "instructions", self.state.thread)
            wanted.append(self.say(said, record.name, key, record.at))

    def _comes_from(self, payload: dict[str, Any]) -> None:
        """Whose records the file may begin with."""
        s = self.state
        spawned = mapping(mapping(mapping(payload.get("source")).get("subagent")).get("thread_spawn"))
        spawner = text(spawned.get("parent_thread_id")) or text(payload.get("parent_thread_id"))
        parent = spawner or text(payload.get("forked_from_id"))
        if parent and parent != s.thread:
            s.parent, s.replaying = parent, True
            s.link = "subagent" if spawner else "fork"

    def _link(self, at: int, wanted: list[Wanted]) -> None:
        if self.state.parent is not None:
            linked = SessionLinked(link=self.state.link, parent_session_id=self.state.parent)
            wanted.append(Wanted(self.stream, [linked], key_of("codex", "parent", self.state.thread), at))

    def create(self, created: SessionCreated, at: int, wanted: list[Wanted]) -> None:
        """Say that the session began."""
        self.state.created = True
        wanted.append(Wanted(self.stream, [created], key_of("codex", "session", self.state.thread), at))

    def begins(self, at: int, wanted: list[Wanted]) -> None:
        """Where the thread's own records begin: after which of its parent's."""
        s = self.state
        if s.linked or s.replaying or s.parent is None:
            return
        s.linked = True
        if s.shared is not None:
            linked = SessionLinked(link=s.link, parent_session_id=s.parent, parent_message_id=s.shared)
            wanted.append(Wanted(self.stream, [linked], key_of("codex", "linked", s.thread), at))

    def is_replay(self, record: Record) -> bool:
        """See `eventlog.importers.codex_lineage`."""
        s = self.state
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

    def replay(self, record: Record) -> None:
        """What the parent said before counts for what comes after, and not again."""
        s, payload = self.state, record.payload
        if record.kind == "turn_context":
            s.model = text(payload.get("model")) or s.model
        elif payload.get("type") == "token_count":
            s.totals = spent(mapping(payload.get("info")), s.totals).totals
        elif record.kind == "response_item" and s.parent and (parent := self._lineage.parent(s.parent, self._path)):
            before = s.head
            s.head = s.shared = parent.records.get(payload_digest(record.kind, payload), s.head)
            if payload.get("type") == "message" and items.message(payload, self.intake).origin == "human":
                self._began_turn(before)

    def say(self, said: Said, name: str, key: str, at: int | None) -> Wanted:
        """A message, after which the conversation goes on."""
        s = self.state
        if said.origin == "human":
            self._began_turn(s.head)
            s.compacted = False
        message = MessageAdded(message_id=name, role=said.role, parts=said.parts, parent_id=s.head, origin=said.origin)
        s.head = name
        if said.role == "assistant":
            s.answer = name
        return Wanted(self.stream, [message, *said.events], key, at)

    def _began_turn(self, before: str | None) -> None:
        self.state.turns = [*self.state.turns, before][-_KEPT_TURNS:]

    def rolled_back(self, turns: int) -> SessionRewound | None:
        """The conversation goes on before so many turns of the user; None: before none."""
        s = self.state
        if not turns:
            return None
        gone = s.turns[-turns:]
        s.turns = s.turns[: len(s.turns) - len(gone)]
        s.head = gone[0] if gone else None
        return SessionRewound(message_id=s.head, reason=f"{turns} turns rolled back")
