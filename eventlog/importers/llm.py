"""The logs of the command line program ``llm``: ``logs.db``, in both of its forms.

Up to 0.31 a call of a model is a row of ``responses`` in a conversation. Since 0.32 messages are a tree whose nodes are
named by hashes of their content, a thread is a pointer into it, and a call is a row of ``turns``. A file that was
upgraded has both, and a thread that goes on where a conversation was has its id; a call that is in both has one id.

Messages have no time of their own: those that a call was given have the time of its start, its answer that of its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Raw

from eventlog.codec import to_json
from eventlog.events import Event
from eventlog.events.agents import (
    AnyPart,
    BlobPart,
    LlmCallCompleted,
    MessageAdded,
    Role,
)
from eventlog.events.sessions import SessionCreated
from eventlog.importers.calls import Call
from eventlog.importers.cells import Scan, count, decoded, json_or, needed, session_of, text, when
from eventlog.importers.foreign import Foreign, Row, open_foreign
from eventlog.importers.intake import Intake, Native, Wanted, key_of
from eventlog.importers.llm_parts import Parts
from eventlog.importers.llm_usage import provider_of, usage_of

AGENT = "llm"
OLD = {
    "conversations": ("id", "name", "model"),
    "responses": ("id", "model", "prompt", "system", "response", "conversation_id", "datetime_utc"),
}
NEW = {
    "threads": ("id", "name", "tip_message_hash", "forked_from", "datetime_utc"),
    "turns": ("id", "thread_id", "parent_message_hash", "tip_message_hash", "model", "datetime_utc"),
    "messages": ("hash", "parent_hash", "role"),
    "parts": ("message_hash", "position", "type", "tool_name", "text", "payload"),
}
BESIDE = {
    "attachments": ("id", "type", "path", "url", "content"),
    "prompt_attachments": ("response_id", "attachment_id"),
    "schemas": ("id", "content"),
    "fragments": ("id", "hash", "content", "source"),
    "prompt_fragments": ("response_id", "fragment_id"),
    "system_fragments": ("response_id", "fragment_id"),
    "tools": ("id", "name", "description", "input_schema"),
    "tool_responses": ("tool_id", "response_id"),
    "tool_calls": ("id", "response_id", "name", "arguments", "tool_call_id"),
    "tool_results": ("id", "response_id", "name", "output", "tool_call_id"),
    "tool_results_attachments": ("tool_result_id", "attachment_id"),
    "turn_fragments": ("turn_id", "fragment_id", "kind"),
    "turn_tools": ("turn_id", "tool_id"),
}
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_MAX_CHAIN = 100_000


class LlmLogs:
    """See `eventlog.importers.run.TableFormat`."""

    name = "llm"
    looks_for = "logs.db"

    def sources(self, path: Path) -> Iterator[Path]:
        """The ``logs.db`` below a folder."""
        yield from path.rglob("logs.db")

    def scan(self, path: Path, intake: Intake) -> Iterator[float]:
        """Add every message and call."""
        expected = {**OLD, **NEW, **BESIDE}
        optional = {*BESIDE, *NEW, *OLD}
        with open_foreign(path, expected, optional=optional, triggers=True) as database:
            if "responses" not in database and "turns" not in database:
                # The older form is asked for by name, so that the error says what is missing.
                open_foreign(path, OLD, triggers=True).close()
            yield from _Logs(database, intake).run()


class _Logs:
    """One file on its way in."""

    def __init__(self, database: Foreign, intake: Intake) -> None:
        self.database = database
        self.intake = intake
        self.scan = Scan("llm", database, intake)
        self.parts = Parts(database, intake)
        self.turns = database.by("turns", "id")
        self.messages = database.by("messages", "hash")
        self.threads = database.by("threads", "id")
        self.conversations = database.by("conversations", "id")
        self.responses = database.by("responses", "conversation_id")
        self.schemas = database.by("schemas", "id")
        self.owners: dict[tuple[str, str], str] = {}
        """Which thread of a family has a message."""
        self.families: dict[str, str] = {}
        self.begun: set[str] = set()
        """The sessions of which it was said that they began."""
        self.told: set[str] = set()
        """The messages that some thread has."""
        self.tips: dict[str, str] = {}
        """What was said last in a conversation of the older form."""

    def run(self) -> Iterator[float]:
        """Add everything; yields how much is done."""
        yield from self.scan.records("responses", self._response, 0.0, 0.4)
        yield from self.scan.records("turns", self._turn, 0.4, 0.8)
        yield from self.scan.records("threads", self._thread, 0.8, 0.85)
        yield from self.scan.records("conversations", self._conversation, 0.85, 0.9)
        yield from self.scan.records("messages", self._left, 0.9, 1.0)

    # sessions

    def _session(self, session: str, at: int | None, model: str | None = None, tip: str | None = None) -> list[Wanted]:
        """What has to be said of a session before anything is said in it. ``tip``: what it has of another."""
        if session in self.begun:
            return []
        found = self.threads(session) or self.conversations(session)
        values: Mapping[str, Any] = found[0].values if found else {}
        parent = text(values.get("forked_from"))
        name = text(values.get("name"))
        event = SessionCreated(
            title=None if name is None else self.intake.masker.text(name),
            agent=AGENT,
            provider=provider_of(model),
            model=text(values.get("model")) or model,
            link="fork" if parent else None,
            parent_session_id=None if parent is None else session_of(parent),
            parent_message_id=tip if parent else None,
        )
        begun = when(values.get("datetime_utc"))
        at = begun if at is None or (begun is not None and begun < at) else at
        return [Wanted(_stream(session), [event], key_of("llm", "session", session), at)]

    def _conversation(self, row: Row) -> Native | None:
        session = needed(row.values["id"])
        wanted = self._session(session, None, text(row.values["model"]))
        self.begun.add(session)
        return Native(0, 0, wanted) if wanted else None

    def _thread(self, row: Row) -> Native | None:
        """A thread, and those of its messages that no call was given or made."""
        session = needed(row.values["id"])
        tip = text(row.values["tip_message_hash"])
        at = when(row.values["datetime_utc"])
        wanted = self._chain(session, tip, None, at, at)
        self.begun.add(session)
        return Native(0, 0, wanted) if wanted else None

    # the newer form

    def _turn(self, row: Row) -> Native | None:
        values = row.values
        turn = needed(values["id"])
        session = text(values["thread_id"]) or turn
        start = when(values["datetime_utc"])
        duration = count(values.get("duration_ms"))
        end = start if start is None or duration is None else start + duration * 1000
        model = text(values["model"])
        before = self._chain(session, text(values["parent_message_hash"]), model, start, start)
        self.begun.add(session)
        before += self._chain(session, text(values["tip_message_hash"]), model, end, start)
        tools = [self.parts.tool(one.values["tool_id"]) for one in self.parts.turn_tools(turn)]
        fragments = [
            {**self.parts.fragment_named(one.values["fragment_id"]), "kind": one.values["kind"]}
            for one in self.parts.turn_fragments(turn)
        ]
        call = self._call(values, session, end, text(values["tip_message_hash"]))
        return Native(
            0, self.parts.read_bytes(), [*before, *self._rest(values, session, tools, fragments, end)], [call]
        )

    def _chain(
        self, session: str, tip: str | None, model: str | None, at: int | None, begun: int | None
    ) -> list[Wanted]:
        """The messages up to one that no thread of this family has yet, in their order, and its session."""
        family = self._family(session)
        new: list[Row] = []
        seen = set()
        above = tip
        while above is not None and (family, above) not in self.owners and above not in seen:
            found = self.messages(above)
            if not found or len(new) >= _MAX_CHAIN:
                break
            seen.add(above)
            new.append(found[0])
            above = text(found[0].values["parent_hash"])
        new.reverse()
        parent = above if above is None or (family, above) in self.owners else None
        shared = above if above is not None and self.owners.get((family, above), session) != session else None
        if parent is None and session in self.tips:
            # The thread goes on where a conversation of the older form was, and has all of it once more.
            new, parent = self._after_conversation(family, session, new)
        wanted = self._session(session, begun, model, shared)
        for row in new:
            digest = row.values["hash"]
            self.owners[family, digest] = session
            self.told.add(digest)
            wanted.append(self._message(row, session, family, parent, at))
            parent = digest
        return wanted

    def _after_conversation(self, family: str, session: str, new: list[Row]) -> tuple[list[Row], str | None]:
        """Of messages that begin with those of a conversation, what was said after it; and what came before that."""
        own = len(new)
        while own and new[own - 1].values["role"] == "assistant":
            own -= 1
        while own and new[own - 1].values["role"] in ("user", "tool"):
            own -= 1
        for row in new[:own]:
            self.owners[family, row.values["hash"]] = session
            self.told.add(row.values["hash"])
        return new[own:], self.tips.pop(session)

    def _family(self, session: str) -> str:
        """The thread from which a thread was forked, and that one from …"""
        if session in self.families:
            return self.families[session]
        seen, above = {session}, session
        while True:
            found = self.threads(above)
            parent = text(found[0].values["forked_from"]) if found else None
            if parent is None or parent in seen:
                self.families[session] = above
                return above
            seen.add(parent)
            above = parent

    def _message(self, row: Row, session: str, family: str, parent: str | None, at: int | None) -> Wanted:
        digest = row.values["hash"]
        role = _ROLES.get(row.values["role"], "system")
        actions: list[Event] = []
        added = MessageAdded(
            message_id=digest,
            role=role,
            parts=tuple(self.parts.of_message(digest, actions)),
            parent_id=parent,
            origin="human" if role == "user" else "tool" if role == "tool" else None,
            **_source(self.intake, {"provider_metadata": json_or(row.values.get("provider_metadata"))}),
        )
        return Wanted(_stream(session), [added, *actions], key_of("llm", "message", family, digest), at)

    def _left(self, row: Row) -> Native | None:
        """A message that is in no thread (any more)."""
        digest = needed(row.values["hash"])
        if digest in self.told:
            return None
        actions: list[Event] = []
        parts = self.parts.of_message(digest, actions)
        value = {"message": dict(row.values), "parts": parts, "actions": actions}
        own = key_of("llm", "message", "of no thread", digest)
        kept = self.intake.kept("messages", decoded(to_json(value).decode()))
        return Native(0, 0, [Wanted(self.intake.stream, [kept], own)], (), "raw")

    # the older form

    def _response(self, row: Row) -> Native | None:
        values = row.values
        response = needed(values["id"])
        if self.turns(response):
            return None
        session = text(values["conversation_id"]) or response
        start = when(values["datetime_utc"])
        duration = count(values.get("duration_ms"))
        end = start if start is None or duration is None else start + duration * 1000
        wanted = self._session(session, start, text(values["model"]))
        said: list[tuple[str, Role, list[AnyPart], list[Event], int | None]] = []
        if system := self.parts.old_system(row):
            said.append(("system", "system", system, [], start))
        results: list[Event] = []
        if tool := self.parts.old_results(response, results):
            said.append(("results", "tool", tool, results, start))
        if prompt := self.parts.old_prompt(row):
            said.append(("prompt", "user", prompt, [], start))
        calls: list[Event] = []
        answer = self.parts.old_answer(row, calls)
        said.append(("response", "assistant", answer, calls, end))
        parent = self.tips.get(session)
        for what, role, parts, actions, at in said:
            own = f"{response}:{what}"
            origin: Any = {"user": "human", "tool": "tool"}.get(role)
            added = MessageAdded(message_id=own, role=role, parts=tuple(parts), parent_id=parent, origin=origin)
            wanted.append(Wanted(_stream(session), [added, *actions], key_of("llm", "old message", own), at))
            parent = own
        if parent is not None:
            self.tips[session] = parent
        tools = [self.parts.tool(one.values["tool_id"]) for one in self.parts.response_tools(response)]
        fragments = self.parts.old_fragments(response)
        call = self._call(values, session, end, f"{response}:response")
        self.begun.add(session)
        return Native(
            0, self.parts.read_bytes(), [*wanted, *self._rest(values, session, tools, fragments, end)], [call]
        )

    # calls

    def _call(self, values: Mapping[str, Any], session: str, end: int | None, message: str | None) -> Call:
        call = needed(values["id"])
        model = text(values["model"])
        answer = json_or(values.get("response_json"), {})
        answer = answer if isinstance(answer, dict) else {}
        details = json_or(values.get("token_details"), {})
        given, made = count(values.get("input_tokens")), count(values.get("output_tokens"))
        duration = count(values.get("duration_ms"))
        reason = text(answer.get("finish_reason"))
        event = LlmCallCompleted(
            call_id=call,
            usage=usage_of(given or 0, made or 0, details if isinstance(details, dict) else {}),
            quality="partial" if given is None and made is None else "exact",
            provider=provider_of(model),
            request_model=model,
            response_model=text(values.get("resolved_model")),
            message_id=message,
            response_id=text(answer.get("id")),
            finish_reasons=(reason,) if reason else (),
            duration_us=None if duration is None else duration * 1000,
            raw_usage=Raw(to_json({"input": given, "output": made, "details": details})),
            agent=AGENT,
        )
        return Call(_stream(session), event, key_of("llm", "turn", call), end)

    def _rest(
        self, values: Mapping[str, Any], session: str, tools: list[Any], fragments: list[Any], at: int | None
    ) -> list[Wanted]:
        """What a call says besides: options, schema, tools, fragments, what the provider answered."""
        schema = self.schemas(values["schema_id"]) if values.get("schema_id") is not None else []
        rest = {
            "options": json_or(values.get("options_json")),
            "prompt_json": json_or(values.get("prompt_json")),
            "response_json": json_or(values.get("response_json")),
            "schema": json_or(schema[0].values["content"]) if schema else None,
            "tools": tools,
            "fragments": fragments,
        }
        rest = {name: item for name, item in rest.items() if item not in (None, "", [], {})}
        if not rest:
            return []
        kept = self.intake.kept("llm call", {"id": values["id"], **rest})
        return [Wanted(_stream(session), [kept], key_of("llm", "turn besides", values["id"]), at)]


def _stream(session: str) -> str:
    return f"session-{session_of(session)}"


def _source(intake: Intake, rest: dict[str, Any]) -> dict[str, Any]:
    rest = {name: item for name, item in rest.items() if item not in (None, "", [], {})}
    if not rest:
        return {}
    data = intake.raw(rest)
    return {"source": Raw(to_json({"blob": data})) if isinstance(data, BlobPart) else data}
