"""The conversation of a session: messages in order along their parents, across forks, with what they say filled in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from eventlog.codec import Codec
from eventlog.events.agents import (
    BlobPart,
    MessageAdded,
    Part,
    RawPart,
    ReasoningPart,
    TextPart,
    ToolCallFinished,
    ToolCallPart,
    ToolCallResponsePart,
    ToolCallStarted,
    UriPart,
)
from eventlog.repositories.session_base import MESSAGES, TOOL_CALLS, lineage, located, stream_of
from eventlog.store.base import Filter, QueryReader, Record, Selection
from projections.messages import Message
from projections.sessions import Session
from projections.tool_calls import ToolCall

FEW = 16
"""So many records are looked up one by one; for more the stream is read through."""
PAGE = 2_000
_SPOKEN = ("message.added", "tool_call.started", "tool_call.finished")


class Piece(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a message as it is read. ``type``: text, reasoning, tool_call, tool_call_response, blob, uri or raw.

    A tool call has its ``arguments`` and how it ended, a response its ``result``, both the ``tool_call_id``; a call
    that no part of a message speaks of is a ``tool_call`` with its result. Of arguments that are in a blob there
    is how they begin, as text. A blob has its hash, its size, and how it
    begins in ``text``. ``data``: of a type that is not known, as it was found.
    """

    type: str
    text: str | None = None
    tool_call_id: str | None = None
    name: str | None = None
    arguments: Any = None
    result: Any = None
    outcome: str | None = None
    exit_code: int | None = None
    duration_us: int | None = None
    error_type: str | None = None
    child_session_id: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    mime_type: str | None = None
    uri: str | None = None
    data: Any = None


class Said(msgspec.Struct, frozen=True):
    """A message, and what it says."""

    message: Message
    parts: tuple[Piece, ...]


class Conversation(NamedTuple):
    """The messages of a thread in order, and every message of the streams that it goes through."""

    messages: list[Message]
    segments: dict[str, list[Message]]


def follow_thread(reader: QueryReader, session: Session) -> Conversation:
    """From the head back to the root, by one question a stream that the thread goes through.

    A parent that is nowhere makes its message the root; a circle ends where it closes.
    """
    streams = lineage(reader, session)
    segments: dict[str, list[Message]] = {}
    rows: dict[str, dict[str, Message]] = {}

    def enter(stream: str) -> dict[str, Message]:
        segments[stream] = reader.select(MESSAGES.table, [Filter("stream", "=", stream)], order=("position",))
        found: dict[str, Message] = {}
        rows[stream] = found
        for row in segments[stream]:
            found.setdefault(row.message_id, row)
        return found

    here = enter(stream_of(session.session_id))
    wanted = session.head_message_id
    thread: list[Message] = []
    seen: set[str] = set()
    while wanted is not None and wanted not in seen:
        row = here.get(wanted)
        if row is None:
            row = next((found[wanted] for found in rows.values() if wanted in found), None)
            if row is None and (row := located(reader, wanted, streams)) is not None:
                here = enter(row.stream) if row.stream not in rows else rows[row.stream]
                here.setdefault(wanted, row)
            elif row is not None:
                here = rows[row.stream]
        if row is None:
            if thread:
                break
            # What the conversation is said to go on after was never recorded: it goes on after what was said last.
            wanted = next((one.message_id for one in reversed(list(here.values())) if not one.sidechain), None)
            continue
        seen.add(wanted)
        thread.append(row)
        wanted = row.parent_id
    return Conversation(thread[::-1], segments)


def say(reader: QueryReader, codec: Codec, messages: Sequence[Message]) -> list[Said]:
    """Messages with their parts, tool calls and answers filled in."""
    events = read_events(reader, codec, [(row.stream, row.position) for row in messages])
    parts = {row.position: _parts(events.get(row.position)) for row in messages}
    asked = {
        (row.stream, part.id)
        for row in messages
        for part in parts[row.position]
        if isinstance(part, (ToolCallPart, ToolCallResponsePart))
    }
    calls: dict[Any, ToolCall] = reader.load(TOOL_CALLS.table, sorted(asked)) if asked else {}
    told = read_events(reader, codec, _positions(calls.values()))
    return [
        Said(
            row,
            tuple(_piece(part, calls.get((row.stream, getattr(part, "id", ""))), told) for part in parts[row.position]),
        )
        for row in messages
    ]


def with_other_calls(reader: QueryReader, codec: Codec, found: Conversation, said: Sequence[Said]) -> list[Said]:
    """The calls of tools that no message speaks of, at the messages that they came after."""
    spoken = {(one.message.stream, piece.tool_call_id) for one in said for piece in one.parts if piece.tool_call_id}
    shown = {one.message.position: place for place, one in enumerate(said)}
    extra: dict[int, list[ToolCall]] = {}
    for stream, segment in found.segments.items():
        rows: list[ToolCall] = reader.select(TOOL_CALLS.table, [Filter("stream", "=", stream)], order=("position",))
        positions = [row.position for row in segment]
        by_id = {row.message_id: row.position for row in reversed(segment)}
        for row in rows:
            if (stream, row.tool_call_id) in spoken or not positions:
                continue
            before = positions[max(0, bisect_right(positions, row.position) - 1)]
            place = shown.get(by_id.get(row.message_id or "", before))
            if place is not None:
                extra.setdefault(place, []).append(row)
    if not extra:
        return list(said)
    told = read_events(reader, codec, _positions(row for rows in extra.values() for row in rows))
    return [
        Said(one.message, (*one.parts, *(_call(row, told, answered=True) for row in extra.get(place, ()))))
        for place, one in enumerate(said)
    ]


def read_events(reader: QueryReader, codec: Codec, places: Iterable[tuple[str, int]]) -> dict[int, Any]:
    """Events by their positions: a few one by one, of many the streams they are in."""
    wanted: dict[str, set[int]] = {}
    for stream, position in places:
        wanted.setdefault(stream, set()).add(position)
    found: dict[int, Any] = {}
    for stream, positions in wanted.items():
        if len(positions) <= FEW:
            for position in positions:
                for row in reader.records(position - 1, position, Selection()):
                    found[position] = Record(*row, codec).event
            continue
        after, last = min(positions) - 1, max(positions)
        where = Selection(streams=(stream,), types=_SPOKEN)
        while after < last:
            rows = reader.records(after, last, where, limit=PAGE)
            for row in rows:
                if row[0] in positions:
                    found[row[0]] = Record(*row, codec).event
            if len(rows) < PAGE:
                break
            after = rows[-1][0]
    return found


def _positions(calls: Iterable[ToolCall]) -> list[tuple[str, int]]:
    return [
        (row.stream, position)
        for row in calls
        for position in (row.position, row.finished_position)
        if position is not None
    ]


def _parts(event: object) -> tuple[Part, ...]:
    return event.parts if isinstance(event, MessageAdded) else ()


def _piece(part: Part, call: ToolCall | None, told: dict[int, Any]) -> Piece:
    match part:
        case TextPart():
            return Piece(type="text", text=part.text)
        case ReasoningPart():
            return Piece(type="reasoning", text=part.text)
        case ToolCallPart():
            if call is None:
                return Piece(type="tool_call", tool_call_id=part.id, name=part.name)
            return _call(call, told, answered=False)
        case ToolCallResponsePart():
            return _answer(part.id, call, told)
        case BlobPart():
            return _blob(part)
        case UriPart():
            return Piece(type="uri", uri=part.uri, mime_type=part.mime_type)
        case RawPart():
            return Piece(type="raw", data=_value(part.data))
    return Piece(type="raw")


def _blob(part: BlobPart) -> Piece:
    return Piece(
        type="blob", text=part.head or None, sha256=part.sha256, size_bytes=part.size_bytes, mime_type=part.mime_type
    )


def _call(call: ToolCall, told: dict[int, Any], *, answered: bool) -> Piece:
    """A call with what it was made with; ``answered``: with its answer too, which no message has."""
    started = told.get(call.position)
    finished = told.get(call.finished_position or 0) if answered else None
    return Piece(
        type="tool_call",
        tool_call_id=call.tool_call_id,
        name=call.name,
        arguments=_arguments(started),
        outcome=call.outcome,
        exit_code=call.exit_code,
        duration_us=call.duration_us,
        error_type=call.error_type,
        child_session_id=call.child_session_id,
        **_result(finished),
    )


def _arguments(started: object) -> Any:
    if not isinstance(started, ToolCallStarted):
        return None
    return started.blob.head if started.blob is not None else _value(started.arguments)


def _answer(tool_call_id: str, call: ToolCall | None, told: dict[int, Any]) -> Piece:
    if call is None:
        return Piece(type="tool_call_response", tool_call_id=tool_call_id)
    return Piece(
        type="tool_call_response",
        tool_call_id=tool_call_id,
        name=call.name,
        outcome=call.outcome,
        exit_code=call.exit_code,
        duration_us=call.duration_us,
        error_type=call.error_type,
        **_result(told.get(call.finished_position or 0)),
    )


def _result(finished: object) -> dict[str, Any]:
    """The answer of a tool; of one that is in a blob, how it begins, its hash and its size."""
    if not isinstance(finished, ToolCallFinished):
        return {}
    found: dict[str, Any] = {"result": _value(finished.result)}
    if (blob := finished.blob) is not None:
        found |= {"text": blob.head or None, "sha256": blob.sha256, "size_bytes": blob.size_bytes}
    return found


def _value(raw: Any) -> Any:
    return None if raw is UNSET else msgspec.json.decode(bytes(raw))
