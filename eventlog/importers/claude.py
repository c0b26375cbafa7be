"""Claude Code's transcripts: ``~/.claude/projects/<folder>/<session>.jsonl``, and those of its subagents below.

The format has no public description; what is read here was seen in transcripts of versions 1.0.24 to 2.1.114. A record
of a type that is not known is kept as it is. Records are ordered by their parents, not by time: a session that was
forked or resumed repeats those of its parent, which are known by their uuid and time and stay with the session that had
them first. One call of the model is one (message id, request id); of its records the one with the most tokens counts,
because a transcript has the usage of an answer while it grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
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
    LlmCallFailed,
    MessageAdded,
    Origin,
    Outcome,
    RawPart,
    ReasoningPart,
    Role,
    SummaryAdded,
    ToolCallFinished,
    ToolCallPart,
    ToolCallResponsePart,
    ToolCallStarted,
    Usage,
)
from eventlog.events.sessions import SessionCreated, SessionUpdated
from eventlog.importers.calls import Call
from eventlog.importers.intake import Intake, Native, Wanted, key_of
from eventlog.importers.pieces import Piece
from eventlog.importers.places import count, iso_time
from eventlog.importers.places import workspace as workspace_of

AGENT = "claude-code"
TITLE = 100
"""Characters of a title."""
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_call",
    "refusal": "content_filter",
    "pause_turn": "pause",
}
"""Their words for why an answer ended, in OpenTelemetry's."""
_CONTEXT = ("cwd", "gitBranch", "version")
"""What nearly every record repeats: told when it changes."""
_TOLD = frozenset((
    "type", "uuid", "parentUuid", "logicalParentUuid", "sessionId", "timestamp", "isSidechain", "isMeta", "agentId",
    "message", "requestId", "toolUseResult", "isCompactSummary", "userType", "costUSD", "compactMetadata", *_CONTEXT,
))  # fmt: skip
_IDS = frozenset(("sessionId", "uuid", "leafUuid", "messageId", "agentId"))
_TOLD_OF_MESSAGE = frozenset(("role", "content", "model", "usage", "id", "stop_reason", "type"))
_FLAT = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheCreationInputTokens": "cache_creation_input_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
}
"""Usage beside a message, and its names in one."""
_CANCELLED = ("[Request interrupted by user", "The user doesn't want to proceed")


class ClaudeTranscripts:
    """See `eventlog.importers.run.LineFormat`."""

    name = "claude"
    looks_for = "*.jsonl"
    apart = True

    def sources(self, path: Path) -> Iterator[Path]:
        """The transcripts in a folder (``~/.claude``, its ``projects``, or one of them)."""
        for one in path.rglob("*.jsonl"):
            if one.name != "history.jsonl":  # what was typed, for the arrow keys
                yield one

    def knows(self, path: Path, value: dict[str, Any]) -> bool:
        """Whether a record has the ids that theirs have, or is a message."""
        if isinstance(value.get("payload"), dict):
            return False
        said = isinstance(value.get("message"), dict)
        return (not _IDS.isdisjoint(value) and ("type" in value or said)) or (
            said and value.get("type") in ("user", "assistant")
        )

    def begin(self, path: Path, state: Any, intake: Intake) -> ClaudeReader:
        """A reader of one transcript; ``state`` is what `ClaudeReader.state` was at its cursor."""
        return ClaudeReader(path, state if isinstance(state, dict) else {}, intake)


class ClaudeReader:
    """Makes events of the records of one transcript, in their order."""

    def __init__(self, path: Path, state: dict[str, Any], intake: Intake) -> None:
        self._intake = intake
        self._stem = path.stem
        self._name = path.name
        self._mtime = int(path.stat().st_mtime * 1_000_000)
        self._contexts: dict[str, dict[str, Any]] = state.get("contexts", {})
        self._titles: dict[str, str] = {}
        self._beside: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        """What the record at hand says besides, and its message."""
        self._before: list[Wanted] = []
        self._owed: list[Wanted] = []

    @property
    def state(self) -> Any:
        """What the next import has to know to go on: what was told of each session last."""
        return {"contexts": dict(list(self._contexts.items())[-20:])}

    def take(self, value: dict[str, Any], piece: Piece) -> Native:
        """What a record asks for. Raises KeyError, TypeError or ValueError where it is not as such records are."""
        self._before = []
        try:
            self._look(value, piece)
            return self._taken(value, piece)
        except BaseException:
            # That its session begins, say, is told with the next.
            self._owed += self._before
            raise

    def _look(self, value: dict[str, Any], piece: Piece) -> None:
        """Of a message its ids, times and numbers are not masked, and are half of it."""
        message = value.get("message")
        if not isinstance(message, dict) or _kind(value, message) not in ("user", "assistant"):
            self._intake.masker.look(piece.line)
            return
        self._beside = _beside(value, message)
        said = (message.get("content"), value.get("toolUseResult"), self._beside)
        self._intake.masker.look(to_json(said), whole=True)

    def _taken(self, value: dict[str, Any], piece: Piece) -> Native:
        at = iso_time(value.get("timestamp"))
        message = value.get("message")
        kind = _kind(value, message)
        uuid = value.get("uuid")
        own = key_of("claude", "record", uuid, value.get("timestamp")) if uuid else self._content_key(value, piece)
        size = piece.length - piece.blank
        if kind in ("user", "assistant") and isinstance(message, dict):
            return self._message(value, message, kind, at, own, piece)
        if kind == "summary" and isinstance(value.get("summary"), str):
            text = self._intake.masker.text(value["summary"])
            events: list[Event] = [SummaryAdded(text=text, leaf_message_id=value.get("leafUuid"))]
            session, before = self._session(value, at, begins=False)
            wanted = (*before, Wanted(session, events, own, at or self._mtime))
            return Native(piece.offset, size, wanted, (), "understood", piece.blank)
        if kind == "system" and uuid:
            return self._system(value, at, own, piece)
        title = value.get("aiTitle") or value.get("customTitle")
        if kind in ("ai-title", "custom-title") and isinstance(title, str) and value.get("sessionId"):
            session, before = self._session(value, at, begins=at is not None)
            update = SessionUpdated(title=self._intake.masker.text(title))
            if session[8:] not in self._contexts:
                self._titles[session[8:]] = str(update.title)
            else:
                self._contexts[session[8:]]["titled"] = True
            wanted = (*before, Wanted(session, [update], own, at or self._mtime))
            return Native(piece.offset, size, wanted, (), "understood", piece.blank)
        return self._kept(value, str(kind), at, own, piece)

    # where it belongs

    def _session(
        self, value: dict[str, Any], at: int | None, *, begins: bool = True, title: str | None = None
    ) -> tuple[str, list[Wanted]]:
        """The stream of a record's session, and what has to be said of the session first.

        A record without a time of its own may stand before the first one that has it: it does not begin a session.
        """
        parent = value.get("sessionId") or self._stem
        agent_id = value.get("agentId") if value.get("isSidechain") else None
        parent = _without_agent(parent) if agent_id else parent
        session = f"{parent}:{agent_id}" if agent_id else str(parent)
        stream = f"session-{session}"
        held = self._contexts.get(session)
        told = {name: value[name] for name in _CONTEXT if isinstance(value.get(name), str)}
        at = self._mtime if at is None else at
        before, self._owed = self._owed, []
        self._before = before
        if held is None and not begins:
            return stream, before
        if held is None:
            workspace = workspace_of(self._intake, told.get("cwd"), at, before)
            if agent_id and self._intake.first(key_of("claude", "session", parent)):
                before.append(self._created(str(parent), told, workspace, None, at, None))
            title = self._titles.pop(session, title)
            before.append(self._created(session, told, workspace, str(parent) if agent_id else None, at, title))
            self._contexts[session] = {**told, "workspace": workspace, "titled": title is not None}
        elif changed := {name: item for name, item in told.items() if held.get(name) != item}:
            held.update(changed)
            names = {"cwd": "cwd", "gitBranch": "git_branch", "version": "agent_version"}
            event = SessionUpdated(**{names[name]: item for name, item in changed.items()})
            before.append(Wanted(stream, [event], key_of("claude", "context", session, at, to_json(changed)), at))
        if title is not None and held is not None and not held.get("titled"):
            held["titled"] = True
            update = SessionUpdated(title=title)
            before.append(Wanted(stream, [update], key_of("claude", "title", session), at))
        return stream, before

    def _created(
        self,
        session: str,
        told: dict[str, str],
        workspace: str | None,
        parent: str | None,
        at: int,
        title: str | None,
    ) -> Wanted:
        event = SessionCreated(
            workspace_id=workspace,
            kind="subagent" if parent else "chat",
            title=title,
            agent=AGENT,
            agent_version=told.get("version"),
            provider="anthropic",
            cwd=told.get("cwd"),
            git_branch=told.get("gitBranch"),
            link="subagent" if parent else None,
            parent_session_id=parent,
        )
        return Wanted(f"session-{session}", [event], key_of("claude", "session", session), at)

    def _content_key(self, value: dict[str, Any], piece: Piece) -> str:
        """The key of a record without an id: what it is, and where in a file of this name."""
        return key_of("claude", self._name, piece.offset, sha256(to_json(value)).hexdigest())

    # records

    def _message(
        self, value: dict[str, Any], message: dict[str, Any], kind: str, at: int | None, own: str, piece: Piece
    ) -> Native:
        session, before = self._session(value, at, title=self._title(value, message, kind))
        at = self._mtime if at is None else at
        uuid = str(value.get("uuid") or f"{self._name}@{piece.offset}")
        workspace = self._contexts[session[8:]].get("workspace")
        actions: list[Event] = []
        parts = self._parts(value, message, uuid, workspace, actions)
        answers = [part for part in parts if isinstance(part, ToolCallResponsePart)]
        only_answers = kind == "user" and bool(answers) and len(answers) == len(parts)
        role: Role = "assistant" if kind == "assistant" else "tool" if only_answers else "user"
        added = MessageAdded(
            message_id=uuid,
            role=role,
            parts=tuple(parts),
            parent_id=value.get("parentUuid"),
            origin=_origin(value, kind, only_answers),
            sidechain=bool(value.get("isSidechain")),
            source=self._rest(value, message),
        )
        calls, failed = self._call(value, message, session, uuid, workspace, at, own)
        events: list[Event] = [added, *actions, *failed]
        wanted = (*before, Wanted(session, events, own, at))
        return Native(piece.offset, piece.length - piece.blank, wanted, calls, "understood", piece.blank, uuid)

    def _title(self, value: dict[str, Any], message: dict[str, Any], kind: str) -> str | None:
        """The first line of what a person asked, as the title of a session that has none."""
        if kind != "user" or value.get("isMeta") or value.get("isCompactSummary"):
            return None
        content = message.get("content")
        if isinstance(content, list):
            content = next((block["text"] for block in content if _is_text(block)), None)
        if not isinstance(content, str) or content.lstrip()[:1] in ("<", "[") or content.startswith("Caveat:"):
            return None  # what the program itself says in a person's name
        line = next((line.strip() for line in content.splitlines() if line.strip()), "")
        return self._intake.masker.again(line[: 20 * TITLE])[:TITLE] or None

    def _parts(
        self, value: dict[str, Any], message: dict[str, Any], uuid: str, workspace: str | None, actions: list[Event]
    ) -> list[AnyPart]:
        content = message.get("content")
        if isinstance(content, str):
            return [self._intake.text(content)] if content else []
        blocks = content if isinstance(content, list) else []
        answers = sum(isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks)
        details = value.get("toolUseResult") if answers == 1 else None
        parts: list[AnyPart] = []
        for block in blocks:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "text" and isinstance(block.get("text"), str):
                parts.append(self._intake.text(block["text"]))
            elif kind == "thinking" and isinstance(block.get("thinking"), str):
                parts.append(self._thought(block))
            elif kind == "tool_use" and isinstance(block.get("id"), str):
                parts.append(ToolCallPart(id=block["id"], name=str(block.get("name"))))
                actions.append(self._asked(block, uuid, workspace))
            elif kind == "tool_result" and isinstance(block.get("tool_use_id"), str):
                parts.append(ToolCallResponsePart(id=block["tool_use_id"]))
                actions.append(self._answered(block, details, value))
            else:
                parts.append(self._raw_part(block))
        return parts

    def _thought(self, block: dict[str, Any]) -> AnyPart:
        part = self._intake.text(block["thinking"], of="reasoning")
        signature = block.get("signature")
        if isinstance(part, BlobPart):
            return part
        text = part.text  # type: ignore[union-attr]
        return ReasoningPart(text=text, signature=signature if isinstance(signature, str) else None)

    def _raw_part(self, block: Any) -> AnyPart:
        data = self._intake.raw(block)
        return data if isinstance(data, BlobPart) else RawPart(data=data)

    def _asked(self, block: dict[str, Any], uuid: str, workspace: str | None) -> ToolCallStarted:
        arguments = self._intake.raw(block["input"]) if "input" in block else None
        return ToolCallStarted(
            tool_call_id=block["id"],
            name=str(block.get("name")),
            arguments=arguments if isinstance(arguments, Raw) else UNSET,
            blob=arguments if isinstance(arguments, BlobPart) else None,
            message_id=uuid,
            workspace_id=workspace,
            agent=AGENT,
        )

    def _answered(self, block: dict[str, Any], details: Any, value: dict[str, Any]) -> ToolCallFinished:
        content = block.get("content")
        if isinstance(content, list) and len(content) == 1 and _is_text(content[0]):
            content = content[0]["text"]
        result = None if content is None else self._intake.raw(content)
        more = None if details is None else self._intake.raw(details)
        if isinstance(more, BlobPart):
            more = Raw(to_json(more))
        return ToolCallFinished(
            tool_call_id=block["tool_use_id"],
            outcome=_outcome(block, details),
            result=result if isinstance(result, Raw) else UNSET,
            blob=result if isinstance(result, BlobPart) else None,
            details=UNSET if more is None else more,
            duration_us=_duration(details),
            child_session_id=_child(details, value.get("sessionId")),
        )

    def _rest(self, value: dict[str, Any], message: dict[str, Any]) -> Raw | Any:
        """What the record says besides."""
        rest, of_message = self._beside if message else _beside(value, message)
        if of_message:
            rest["message"] = of_message
        if "toolUseResult" in value and not isinstance(message.get("content"), list):
            rest["toolUseResult"] = value["toolUseResult"]
        if not rest:
            return UNSET
        data = self._intake.raw(rest)
        return Raw(to_json({"blob": data})) if isinstance(data, BlobPart) else data

    def _call(
        self,
        value: dict[str, Any],
        message: dict[str, Any],
        session: str,
        uuid: str,
        workspace: str | None,
        at: int,
        own: str,
    ) -> tuple[list[Call], list[Event]]:
        model = message.get("model")
        if value.get("isApiErrorMessage"):
            failed = LlmCallFailed(call_id=uuid, error_type="api_error", workspace_id=workspace, agent=AGENT)
            return [], [failed]
        raw = message.get("usage")
        flat = _flat_usage(value) if raw is None else None
        given = raw if isinstance(raw, dict) else flat
        if given is None or model == "<synthetic>":
            return [], []
        response, request = message.get("id"), value.get("requestId")
        response = response if isinstance(response, str) and response else None
        request = request if isinstance(request, str) and request else None
        reason = message.get("stop_reason")
        event = LlmCallCompleted(
            call_id=":".join(filter(None, (response, request))) if response else uuid,
            usage=usage_of(given),
            quality="exact" if reason or flat is not None else "partial",
            provider="anthropic",
            response_model=model if isinstance(model, str) else None,
            message_id=uuid,
            response_id=response,
            request_id=request,
            finish_reasons=(_FINISH.get(reason, reason),) if isinstance(reason, str) else (),
            reported_cost_micro_usd=micro_usd(value.get("costUSD")),
            raw_usage=Raw(to_json(given)),
            sidechain=bool(value.get("isSidechain")),
            workspace_id=workspace,
            agent=AGENT,
        )
        key = key_of("claude", "call", response, request or "") if response else key_of("claude", "call of", own)
        return [Call(session, event, key, at)], []

    def _system(self, value: dict[str, Any], at: int | None, own: str, piece: Piece) -> Native:
        session, before = self._session(value, at)
        content = value.get("content")
        uuid = str(value["uuid"])
        parent = value.get("parentUuid") or value.get("logicalParentUuid")
        message = MessageAdded(
            message_id=uuid,
            role="system",
            parts=(self._intake.text(content),) if isinstance(content, str) and content else (),
            parent_id=parent,
            origin="runtime",
            sidechain=bool(value.get("isSidechain")),
            source=self._rest(value, {}),
        )
        events: list[Event] = [message]
        about = value.get("compactMetadata")
        if value.get("subtype") == "compact_boundary":
            about = about if isinstance(about, dict) else {}
            duration = count(about.get("durationMs"))
            events.append(
                ContextCompacted(
                    trigger=about.get("trigger") if isinstance(about.get("trigger"), str) else None,
                    tokens_before=count(about.get("preTokens")),
                    tokens_after=count(about.get("postTokens")),
                    covers_to_message_id=value.get("logicalParentUuid"),
                    duration_us=None if duration is None else duration * 1000,
                )
            )
        wanted = (*before, Wanted(session, events, own, at or self._mtime))
        return Native(piece.offset, piece.length - piece.blank, wanted, (), "understood", piece.blank, uuid)

    def _kept(self, value: dict[str, Any], kind: str, at: int | None, own: str, piece: Piece) -> Native:
        size = piece.length - piece.blank
        uuid = value.get("uuid")
        if not value.get("sessionId") and not uuid:
            wanted = [Wanted(self._intake.stream, [self._intake.kept(kind, value)], own, at or self._mtime)]
            return Native(piece.offset, size, wanted, (), "raw", piece.blank)
        session, before = self._session(value, at, begins=bool(uuid) or at is not None)
        if not uuid:
            wanted = [*before, Wanted(session, [self._intake.kept(kind, value)], own, at or self._mtime)]
            return Native(piece.offset, size, wanted, (), "raw", piece.blank)
        # Others may follow it, so it is a link of the chain even where nobody knows what it says.
        attachment = value.get("attachment")
        prompt = attachment.get("prompt") if isinstance(attachment, dict) else None
        queued = kind == "attachment" and isinstance(prompt, str)
        part = self._intake.text(prompt) if queued else self._raw_part(value)  # type: ignore[arg-type]
        message = MessageAdded(
            message_id=str(uuid),
            role="user" if queued else "system",
            parts=(part,),
            parent_id=value.get("parentUuid"),
            origin="human" if queued else "runtime",
            sidechain=bool(value.get("isSidechain")),
            source=self._rest(value, {}) if queued else UNSET,
        )
        wanted = [*before, Wanted(session, [message], own, at or self._mtime)]
        fate = "understood" if queued else "raw"
        return Native(piece.offset, size, wanted, (), fate, piece.blank, str(uuid))  # type: ignore[arg-type]


def _beside(value: dict[str, Any], message: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a record and its message say that is told nowhere else; nothing that is null."""
    return (
        {name: item for name, item in value.items() if name not in _TOLD and item is not None},
        {name: item for name, item in message.items() if name not in _TOLD_OF_MESSAGE and item is not None},
    )


def _kind(value: dict[str, Any], message: Any) -> Any:
    kind = value.get("type")
    return message.get("role") if kind is None and isinstance(message, dict) else kind


def usage_of(given: dict[str, Any]) -> Usage:
    """Anthropic's account of an answer, whose lanes share nothing: ``input_tokens`` has no cached ones."""
    written = count(given.get("cache_creation_input_tokens")) or 0
    by_time = given.get("cache_creation")
    long = count(by_time.get("ephemeral_1h_input_tokens")) or 0 if isinstance(by_time, dict) else 0
    short = count(by_time.get("ephemeral_5m_input_tokens")) or 0 if isinstance(by_time, dict) else 0
    written = max(written, long + short)
    return Usage(
        input=count(given.get("input_tokens")) or 0,
        cache_read=count(given.get("cache_read_input_tokens")) or 0,
        cache_write_5m=written - long,
        cache_write_1h=long,
        output=count(given.get("output_tokens")) or 0,
    )


def _flat_usage(value: dict[str, Any]) -> dict[str, Any] | None:
    """The usage of a record that has it beside the message."""
    if _FLAT.keys().isdisjoint(value):
        return None
    found = {new: value[old] for old, new in _FLAT.items() if count(value.get(old)) is not None}
    return found or None


def micro_usd(given: Any) -> int | None:
    """Dollars as integer micro-dollars; None for what is no amount."""
    if not isinstance(given, (int, float, str)) or isinstance(given, bool):
        return None
    try:
        amount = Decimal(str(given)) * 1_000_000
        return int(amount.to_integral_value()) if amount.is_finite() and 0 <= amount < 2**53 else None
    except InvalidOperation:
        return None


def _origin(value: dict[str, Any], kind: str, only_answers: bool) -> Origin | None:
    if kind == "assistant":
        return None
    if only_answers:
        return "tool"
    if value.get("isCompactSummary"):
        return "summary"
    if value.get("isMeta"):
        return "runtime"
    return "assistant" if value.get("isSidechain") else "human"


def _is_text(block: Any) -> bool:
    return isinstance(block, dict) and set(block) == {"type", "text"} and isinstance(block["text"], str)


def _outcome(block: dict[str, Any], details: Any) -> Outcome:
    content = block.get("content")
    text = content if isinstance(content, str) else ""
    if text.startswith(_CANCELLED) or (isinstance(details, dict) and details.get("interrupted") is True):
        return "cancelled"
    return "error" if block.get("is_error") else "ok"


def _duration(details: Any) -> int | None:
    if not isinstance(details, dict):
        return None
    for name in ("durationMs", "totalDurationMs"):
        if (ms := count(details.get(name))) is not None:
            return ms * 1000
    return None


def _child(details: Any, session: Any) -> str | None:
    agent = details.get("agentId") if isinstance(details, dict) else None
    return f"{_without_agent(session)}:{agent}" if isinstance(agent, str) and isinstance(session, str) else None


def _without_agent(session: Any) -> str:
    """The session whose workflow started an agent; what the agent writes has ``<session>#agent-<id>``."""
    return str(session).partition("#agent-")[0] or str(session)
