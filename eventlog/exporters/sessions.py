"""A session as Markdown for people, and as JSON, complete: one object, or a line for each thing in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from eventlog.clock import show_duration, to_datetime
from eventlog.repositories.session_content import Piece, Said
from eventlog.repositories.sessions import SessionsRepository
from projections.llm_calls import LlmCall
from projections.sessions import Session

_FENCE = re.compile(r"`{3,}")


class Shown(Protocol):
    """What takes out of rows and messages what nobody is to see."""

    def __call__(self, item: Any, /) -> Any:
        """The same, without it."""


class Everything(msgspec.Struct, frozen=True):
    """All of a session. ``thread`` are the ids of the conversation in order, also those of the sessions it comes from;
    ``messages`` are those of the thread and of other branches, in the order in which they were written down.
    """

    session: Session
    thread: list[str]
    messages: list[Said]
    instances: list[Any]
    tool_calls: list[Any]
    llm_calls: list[LlmCall]
    compactions: list[Any]
    summaries: list[Any]


def collect(sessions: SessionsRepository, session_id: str, shown: Shown) -> Everything:
    """Read a session. Raises NotFound."""
    session = sessions.get(session_id)
    thread = sessions.conversation(session_id)
    positions = {one.message.position for one in thread}
    aside = [one for one in sessions.said(session_id) if one.message.position not in positions]
    return Everything(
        shown(session),
        [one.message.message_id for one in thread],
        shown(sorted([*thread, *aside], key=lambda one: one.message.position)),
        shown(sessions.instances(session_id)),
        sessions.tool_calls(session_id),
        sessions.llm_calls(session_id),
        sessions.compactions(session_id),
        shown(sessions.summaries(session_id)),
    )


def as_json(found: Everything) -> Iterator[bytes]:
    """One object."""
    yield msgspec.json.format(msgspec.json.encode(found), indent=2)
    yield b"\n"


def as_json_lines(found: Everything) -> Iterator[bytes]:
    """An object a line: ``{"kind": "session" | "thread" | "message" | "instance" | …, "data": …}``."""
    kinds = {
        "message": found.messages,
        "instance": found.instances,
        "tool_call": found.tool_calls,
        "llm_call": found.llm_calls,
        "compaction": found.compactions,
        "summary": found.summaries,
    }
    yield _line("session", found.session)
    yield _line("thread", found.thread)
    for kind, items in kinds.items():
        for item in items:
            yield _line(kind, item)


def _line(kind: str, data: object) -> bytes:
    return msgspec.json.encode({"kind": kind, "data": data}) + b"\n"


def as_markdown(found: Everything, clean: Callable[[str], str], everything: bool = False) -> Iterator[bytes]:
    """The conversation; ``clean`` makes text safe to look at. Texts of messages stand as they are: they are Markdown.

    Messages beside it (other branches, side conversations) are counted, or with ``everything`` stand after it. What
    tools were given and gave stands in blocks that it cannot end. Times are UTC.
    """
    session, calls = found.session, found.llm_calls
    by_id = {one.message.message_id: one for one in found.messages}
    by_message: dict[str | None, LlmCall] = {call.message_id: call for call in calls if call.status == "completed"}
    yield _text(f"# {_one_line(clean(session.title or f'Session {session.session_id}'))}\n\n")
    for name, value in _facts(session, calls):
        yield _text(f"- {name}: {_one_line(clean(value))}\n")
    for message_id in found.thread:
        if (said := by_id.get(message_id)) is not None:
            yield from _message(said, by_message.get(message_id), clean)
    for summary in found.summaries:
        yield _text(f"\n## summary\n\n{clean(summary.text)}\n")
    on_it = set(found.thread)
    aside = [one for one in found.messages if one.message.message_id not in on_it]
    if aside and everything:
        yield _text("\n# Beside the conversation\n")
        for said in aside:
            yield from _message(said, by_message.get(said.message.message_id), clean)
    elif aside:
        yield _text(f"\n*Left out because they are beside this conversation: {len(aside)}. `--all` has them.*\n")


def _message(said: Said, call: LlmCall | None, clean: Callable[[str], str]) -> Iterator[bytes]:
    about = (said.message.role, _at(said.message.occurred_at), (call.model or "") if call else "")
    yield _text(f"\n## {' · '.join(_one_line(clean(text)) for text in about if text)}\n")
    for piece in said.parts:
        if text := _piece(piece, clean):
            yield _text(f"\n{text}\n")


def _facts(session: Session, calls: Sequence[LlmCall]) -> Iterator[tuple[str, str]]:
    yield "session", session.session_id
    yield "status", session.status
    for name, value in (("agent", session.agent), ("model", session.model), ("directory", session.cwd)):
        if value:
            yield name, value
    if session.parent_session_id:
        yield "comes from", f"{session.parent_session_id} ({session.link or 'child'})"
    yield "created", _at(session.created_at)
    if session.total_tokens:
        yield "tokens", f"{session.total_tokens:,} in {len(calls)} calls"


def _piece(piece: Piece, clean: Callable[[str], str]) -> str:
    match piece.type:
        case "text":
            return clean(piece.text or "")
        case "reasoning":
            return "> " + clean(piece.text).replace("\n", "\n> ") if piece.text else ""
        case "tool_call":
            told = _told("called", piece, clean)
            given = "" if piece.arguments is None else f"\n\n{_block(piece.arguments, clean)}"
            return told + given + _answer(piece, clean)
        case "tool_call_response":
            return _told("answered by", piece, clean) + _answer(piece, clean)
        case "blob":
            return f"`{piece.sha256}` ({piece.size_bytes} bytes)" + (
                f"\n\n{_block(piece.text, clean)}" if piece.text else ""
            )
        case "uri":
            return f"<{_one_line(clean(piece.uri or ''))}>"
    return _block(piece.data, clean)


def _told(verb: str, piece: Piece, clean: Callable[[str], str]) -> str:
    name = _one_line(clean(piece.name or piece.tool_call_id or "")).replace("`", "'")
    facts = [piece.outcome or "", f"exit {piece.exit_code}" if piece.exit_code is not None else ""]
    facts.append(show_duration(piece.duration_us) if piece.duration_us is not None else "")
    ended = ", ".join(fact for fact in facts if fact)
    return f"*{verb}* `{name}`{f' ({ended})' if ended else ''}"


def _answer(piece: Piece, clean: Callable[[str], str]) -> str:
    if piece.sha256 is not None:
        head = f"\n\n{_block(piece.text, clean)}" if piece.text else ""
        return f"\n\n`{piece.sha256}` ({piece.size_bytes} bytes){head}"
    return "" if piece.result is None else f"\n\n{_block(piece.result, clean)}"


def _block(value: object, clean: Callable[[str], str]) -> str:
    """Text or JSON in a fence that is longer than any in it."""
    kind = "" if isinstance(value, str) else "json"
    text = clean(
        value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    )
    fence = "`" * max(3, *(len(found) + 1 for found in _FENCE.findall(text)), 3)
    return f"{fence}{kind}\n{text}\n{fence}"


def _at(us: int) -> str:
    return to_datetime(us).strftime("%Y-%m-%d %H:%M:%S UTC") if us >= 0 else str(us)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
