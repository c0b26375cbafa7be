"""Sessions of the OpenAI Agents SDK: the SQLite files of ``SQLiteSession`` and ``AdvancedSQLiteSession``.

An item of a conversation is JSON in a row of ``agent_messages``. The advanced form has branches: a branch begins with
references to the items of another, which are told once, with the branch that had them first; a branch but ``main`` is
a session ``<session>:<branch>``, a fork. Usage is written by turns of the user, each the sum of its requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import UNSET, Raw

from eventlog.codec import to_json
from eventlog.events import Event
from eventlog.events.agents import (
    AnyPart,
    BlobPart,
    LlmCallCompleted,
    MessageAdded,
    Origin,
    Outcome,
    RawPart,
    ReasoningPart,
    Role,
    ToolCallFinished,
    ToolCallPart,
    ToolCallResponsePart,
    ToolCallStarted,
    Usage,
)
from eventlog.events.sessions import SessionCreated
from eventlog.importers.calls import Call
from eventlog.importers.cells import Scan, count, decoded, json_or, needed, session_of, text, when
from eventlog.importers.foreign import Foreign, Row, open_foreign
from eventlog.importers.intake import Intake, Native, Wanted, key_of

AGENT = "openai-agents"
MAIN = "main"
EXPECTED = {
    "agent_sessions": ("session_id", "created_at"),
    "agent_messages": ("id", "session_id", "message_data", "created_at"),
    "message_structure": ("session_id", "message_id", "branch_id", "sequence_number"),
    "turn_usage": ("session_id", "branch_id", "user_turn_number", "requests", "input_tokens", "output_tokens"),
}
_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
}
_TOLD = frozenset(("role", "content", "type", "id", "call_id", "name", "arguments", "output", "summary"))


class OpenAIAgents:
    """See `eventlog.importers.run.TableFormat`."""

    name = "openai-agents"
    looks_for = "*.db, *.sqlite and *.sqlite3"

    def sources(self, path: Path) -> Iterator[Path]:
        """The databases below a folder; those of other programs are told of as such."""
        for pattern in ("*.db", "*.sqlite", "*.sqlite3"):
            yield from path.rglob(pattern)

    def scan(self, path: Path, intake: Intake) -> Iterator[float]:
        """Add every item, and what each turn used."""
        with open_foreign(path, EXPECTED, optional={"message_structure", "turn_usage"}) as database:
            yield from _Sessions(database, intake).run()


class _Branch(NamedTuple):
    """A branch of a session: the branch, and its item, that it goes on from."""

    parent: str | None
    parent_item: int | None


class _Place(NamedTuple):
    """Where an item is: in which branch it was first, and what comes before it there."""

    branch: str
    before: int | None


class _Sessions:
    """One file on its way in."""

    def __init__(self, database: Foreign, intake: Intake) -> None:
        self.scan = Scan("openai-agents", database, intake)
        self.database = database
        self.intake = intake
        self.sessions = database.by("agent_sessions", "session_id")
        self.places: dict[tuple[str, Any], _Place] = {}
        self.branches: dict[tuple[str, str], _Branch] = {}
        self.newest: dict[tuple[str, str], int] = {}
        """The item told last in each branch, where the file does not say what follows what."""

    def run(self) -> Iterator[float]:
        """Add everything; yields how much is done."""
        self._read_structure()
        yield from self.scan.records("agent_sessions", self._began, 0.1, 0.2)
        yield from self.scan.records("agent_messages", self._item, 0.2, 0.9)
        yield from self.scan.records("turn_usage", self._turn, 0.9, 1.0)

    def _read_structure(self) -> None:
        """Which branch has which items. Only numbers are held, not what is in them."""
        if "message_structure" not in self.database:
            return
        newest: dict[tuple[str, str], int] = {}
        for row in self.database.rows("message_structure"):
            session, branch, item = (row.values[name] for name in ("session_id", "branch_id", "message_id"))
            if not isinstance(session, str) or not isinstance(branch, str) or not isinstance(item, int):
                continue
            before = newest.get((session, branch))
            newest[session, branch] = item
            held = self.places.setdefault((session, item), _Place(branch, before))
            if held.branch != branch:
                self.branches[session, branch] = _Branch(held.branch, item)

    # sessions

    def _stream(self, session: str, branch: str) -> str:
        return f"session-{session_of(session if branch == MAIN else f'{session}:{branch}')}"

    def _session(self, session: str, branch: str) -> list[Wanted]:
        """What has to be said of a branch first."""
        found = self.sessions(session)
        at = when(found[0].values["created_at"]) if found else None
        made = []
        if branch != MAIN:
            made += self._session(session, MAIN)
        from_branch = self.branches.get((session, branch), _Branch(None, None))
        parent = from_branch.parent if branch != MAIN else None
        event = SessionCreated(
            agent=AGENT,
            link=None if parent is None else "fork",
            parent_session_id=None if parent is None else self._stream(session, parent)[8:],
            parent_message_id=None if parent is None else f"{session}:{from_branch.parent_item}",
        )
        key = key_of("openai-agents", "session", session, branch)
        return [*made, Wanted(self._stream(session, branch), [event], key, at)]

    def _began(self, row: Row) -> Native:
        return Native(0, 0, self._session(needed(row.values["session_id"]), MAIN))

    # items

    def _item(self, row: Row) -> Native:
        values = row.values
        session, number = needed(values["session_id"]), values["id"]
        item = decoded(values["message_data"])
        if not isinstance(item, dict):
            raise ValueError("no object")
        place = self.places.get((session, number), _Place(MAIN, self.newest.get((session, MAIN))))
        self.newest[session, place.branch] = number
        message = f"{session}:{number}"
        actions: list[Event] = []
        role, parts = self._parts(item, message, actions)
        origin: Origin | None = "human" if role == "user" else "tool" if role == "tool" else None
        rest = {name: value for name, value in item.items() if name not in _TOLD and value not in (None, [], {})}
        data = self.intake.raw(rest) if rest else UNSET
        added = MessageAdded(
            message_id=message,
            role=role,
            parts=tuple(parts),
            parent_id=None if place.before is None else f"{session}:{place.before}",
            origin=origin,
            source=Raw(to_json({"blob": data})) if isinstance(data, BlobPart) else data,
        )
        # Numbers begin anew in each file, so an item is known by what is in it, too.
        digest = sha256(values["message_data"].encode("utf-8", "replace")).hexdigest()
        key = key_of("openai-agents", "item", session, number, values["created_at"], digest)
        own = Wanted(self._stream(session, place.branch), [added, *actions], key, when(values["created_at"]))
        return Native(0, 0, [*self._session(session, place.branch), own])

    def _parts(self, item: dict[str, Any], message: str, actions: list[Event]) -> tuple[Role, list[AnyPart]]:
        kind, content = item.get("type"), item.get("content")
        call = text(item.get("call_id")) or text(item.get("id")) or message
        if kind in (None, "message") and isinstance(item.get("role"), str) and content is not None:
            return _ROLES.get(item["role"], "user"), self._content(content)
        if kind == "function_call":
            name = text(item.get("name")) or "?"
            actions.append(self._asked(call, name, json_or(item.get("arguments")), message))
            return "assistant", [ToolCallPart(id=call, name=name)]
        if kind == "function_call_output":
            actions.append(self._answered(call, item.get("output"), item.get("status")))
            return "tool", [ToolCallResponsePart(id=call)]
        if kind == "reasoning":
            return "assistant", self._thoughts(item)
        role: Role = "tool" if isinstance(kind, str) and kind.endswith("_output") else "assistant"
        return role, [self._unknown(item)]

    def _content(self, content: Any) -> list[AnyPart]:
        if isinstance(content, str):
            return [self.intake.text(content)] if content else []
        made: list[AnyPart] = []
        for block in content if isinstance(content, list) else [content]:
            said = (block.get("text") or block.get("refusal")) if isinstance(block, dict) else block
            if isinstance(said, str) and (not isinstance(block, dict) or _is_plain(block)):
                made.append(self.intake.text(said))
            else:
                made.append(self._unknown(block))
        return made

    def _thoughts(self, item: dict[str, Any]) -> list[AnyPart]:
        made: list[AnyPart] = []
        for block in [*(item.get("summary") or []), *(item.get("content") or [])]:
            said = block.get("text") if isinstance(block, dict) else None
            if not isinstance(said, str):
                made.append(self._unknown(block))
                continue
            part = self.intake.text(said, of="reasoning")
            made.append(part if isinstance(part, BlobPart) else ReasoningPart(text=part.text))  # type: ignore[union-attr]
        return made

    def _unknown(self, value: Any) -> AnyPart:
        data = self.intake.raw(value)
        return data if isinstance(data, BlobPart) else RawPart(data=data)

    def _asked(self, call: str, name: str, arguments: Any, message: str) -> ToolCallStarted:
        data = None if arguments is None else self.intake.raw(arguments)
        return ToolCallStarted(
            tool_call_id=call,
            name=name,
            arguments=data if isinstance(data, Raw) else UNSET,
            blob=data if isinstance(data, BlobPart) else None,
            message_id=message,
            agent=AGENT,
        )

    def _answered(self, call: str, output: Any, status: Any) -> ToolCallFinished:
        data = None if output is None else self.intake.raw(output)
        outcome: Outcome = "cancelled" if status == "incomplete" else "ok"
        return ToolCallFinished(
            tool_call_id=call,
            outcome=outcome,
            result=data if isinstance(data, Raw) else UNSET,
            blob=data if isinstance(data, BlobPart) else None,
        )

    # usage

    def _turn(self, row: Row) -> Native:
        values = row.values
        session, branch = needed(values["session_id"]), needed(values["branch_id"])
        turn = count(values["user_turn_number"])
        details = [json_or(values.get(name), {}) for name in ("input_tokens_details", "output_tokens_details")]
        given, made = count(values["input_tokens"]) or 0, count(values["output_tokens"]) or 0
        cached, thought = (
            count(one.get(name)) or 0 if isinstance(one, dict) else 0
            for one, name in zip(details, ("cached_tokens", "reasoning_tokens"), strict=True)
        )
        cached, thought = min(cached, given), min(thought, made)
        event = LlmCallCompleted(
            call_id=f"turn {turn}",
            usage=Usage(input=given - cached, cache_read=cached, output=made - thought, reasoning=thought),
            raw_usage=Raw(
                to_json(
                    {
                        "requests": count(values["requests"]),
                        "input_tokens": given,
                        "output_tokens": made,
                        "input_tokens_details": details[0],
                        "output_tokens_details": details[1],
                    }
                )
            ),
            agent=AGENT,
        )
        at = when(values.get("created_at"))
        key = key_of("openai-agents", "turn", session, branch, turn, values.get("created_at"))
        call = Call(self._stream(session, branch), event, key, at)
        return Native(0, 0, self._session(session, branch), [call])


def _is_plain(block: dict[str, Any]) -> bool:
    """Whether a block has its text and nothing else."""
    return all(name in ("type", "text", "refusal") or not item for name, item in block.items())
