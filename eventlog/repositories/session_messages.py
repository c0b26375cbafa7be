"""`log.sessions`: what is said, compacted and summed up, and the conversation that it makes."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from eventlog.codec import Codec, to_json
from eventlog.errors import Conflict, InvalidInput, KeyReused, NotFound
from eventlog.events.agents import AnyPart, ContextCompacted, MessageAdded, Origin, Part, Role, SummaryAdded, TextPart
from eventlog.events.sessions import SessionRewound
from eventlog.ids import uuid7
from eventlog.log import When
from eventlog.repositories.session_base import (
    COMPACTIONS,
    MESSAGES,
    SUMMARIES,
    TOOL_CALLS,
    Desk,
    SessionBase,
    at_least_zero,
    checked_id,
    known_message,
    stream_of,
)
from eventlog.repositories.session_content import Piece, Said, follow_thread, read_events, say, with_other_calls
from eventlog.store.base import Durability, Filter, QueryReader, Record
from projections.messages import Compaction, Message, message
from projections.sessions import Session

_PARTS = msgspec.json.Decoder(tuple[AnyPart, ...])


class SummaryText(msgspec.Struct, frozen=True):
    """What a conversation was about up to a message, by which model; times are µs since the epoch, UTC."""

    position: int
    text: str
    leaf_message_id: str | None
    model: str | None
    occurred_at: int


class _Place(NamedTuple):
    """What a row is made of besides its event."""

    position: int
    stream: str
    occurred_at: int


class SessionMessages(SessionBase):
    """Messages: commands and queries."""

    def add_message(
        self,
        session_id: str,
        role: Role,
        text: str | None = None,
        *,
        parts: Iterable[Part | Mapping[str, Any]] | None = None,
        parent_id: str | None | UnsetType = UNSET,
        message_id: str | None = None,
        origin: Origin | None = None,
        name: str | None = None,
        sidechain: bool = False,
        occurred_at: When = None,
        key: str | None = None,
        durability: Durability = "full",
    ) -> Message:
        """Add a message: some text, or parts (`eventlog.events.agents`, or the same as mappings).

        It follows ``parent_id`` (default: the message after which the conversation goes on; None: it begins one), and
        the conversation goes on after it, but not after one of a ``sidechain``. With a ``key`` a retry gives the first.
        Raises NotFound for an unknown session or parent, Conflict where the session has a message of this id.
        """
        said = as_parts(text, parts)
        fresh = checked_id("message", uuid7() if message_id is None else message_id)
        made = MessageAdded(
            message_id=fresh, role=role, parts=said, origin=origin, name=name, sidechain=sidechain,
        )  # fmt: skip

        def work(desk: Desk) -> Message:
            if key is not None and (first := _first_of(desk, key, made, message_id)) is not None:
                return first
            parent = desk.session.head_message_id if isinstance(parent_id, UnsetType) else parent_id
            if parent is not None and parent != desk.session.head_message_id:
                known_message(desk, parent)
            if message_id is not None and desk.reader.select(MESSAGES.table, _of(desk.stream, message_id), limit=1):
                raise Conflict(
                    f"session {session_id} has a message {message_id!r} already; a message cannot be changed",
                    session_id=session_id,
                    message_id=message_id,
                )
            event = msgspec.structs.replace(made, parent_id=parent)
            prepared = self._log.prepare(desk.stream, event, occurred_at=occurred_at, key=key)
            position = desk.tx.transaction.append(prepared).first
            return message(event, _Place(position, desk.stream, prepared[4]))  # type: ignore[arg-type]

        return self._decide(session_id, work, "messages", durability=durability)

    def rewind(self, session_id: str, message_id: str | None, reason: str | None = None) -> Session:
        """Go on after an earlier message (None: from the start). What was said since stays, and can be read.

        Raises NotFound for a message that neither the session nor those it comes from have.
        """

        def work(desk: Desk) -> None:
            if message_id is not None:
                known_message(desk, message_id)
            desk.append(SessionRewound(message_id=message_id, reason=reason))

        self._decide(session_id, work, "messages")
        return self.get(session_id)

    def compact(
        self,
        session_id: str,
        *,
        trigger: str | None = None,
        tokens_before: int | None = None,
        tokens_after: int | None = None,
        covers_to_message_id: str | None = None,
        summary_message_id: str | None = None,
        duration_us: int | None = None,
        occurred_at: When = None,
    ) -> Compaction:
        """Say that the conversation was shortened for the model: up to a message there is a summary in its place.

        Sizes are tokens. Raises NotFound for a message that is not there, InvalidInput for numbers below 0.
        """
        at_least_zero(tokens_before=tokens_before, tokens_after=tokens_after, duration_us=duration_us)
        made = ContextCompacted(
            trigger=trigger,
            tokens_before=tokens_before,
            tokens_after=tokens_after,
            covers_to_message_id=covers_to_message_id,
            summary_message_id=summary_message_id,
            duration_us=duration_us,
        )

        def work(desk: Desk) -> None:
            for one in (covers_to_message_id, summary_message_id):
                if one is not None:
                    known_message(desk, one)
            desk.append(made, occurred_at)

        self._decide(session_id, work, "messages")
        return self.compactions(session_id)[-1]

    def add_summary(
        self,
        session_id: str,
        text: str,
        *,
        leaf_message_id: str | None = None,
        model: str | None = None,
        occurred_at: When = None,
    ) -> SummaryText:
        """Say what the conversation was about, up to a message. Raises NotFound for one that is not there."""

        def work(desk: Desk) -> None:
            if leaf_message_id is not None:
                known_message(desk, leaf_message_id)
            desk.append(SummaryAdded(text=text, leaf_message_id=leaf_message_id, model=model), occurred_at)

        self._decide(session_id, work, "messages")
        return self.summaries(session_id)[-1]

    # queries

    def messages(
        self, session_id: str, *, role: Role | None = None, limit: int | None = None, offset: int = 0
    ) -> builtins.list[Message]:
        """The session's own messages in the order in which they were written down, whichever branch they are on.

        Those of a deleted session stay. A session that never was has none.
        """
        where = [Filter("stream", "=", stream_of(session_id))]
        where += [] if role is None else [Filter("role", "=", role)]
        table = self._fresh(MESSAGES)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("position",), limit=limit, offset=offset)

    def thread(self, session_id: str) -> builtins.list[Message]:
        """The conversation in order: from its head along parents back to the root, across forks. Raises NotFound.

        A message whose parent is nowhere is taken for the root; a circle of parents ends where it closes.
        """
        session = self.get(session_id)
        self._fresh(MESSAGES)
        with self._source.reader() as reader:
            return follow_thread(reader, session).messages

    def conversation(self, session_id: str) -> builtins.list[Said]:
        """`thread` with what each message says. Calls of tools that no message speaks of stand at the one before them.

        Raises NotFound.
        """
        session = self.get(session_id)
        self._fresh(MESSAGES)
        self._fresh(TOOL_CALLS)
        with self._source.reader() as reader:
            found = follow_thread(reader, session)
            return with_other_calls(reader, self._codec, found, say(reader, self._codec, found.messages))

    def said(
        self, session_id: str, *, role: Role | None = None, limit: int | None = None, offset: int = 0
    ) -> builtins.list[Said]:
        """`messages` with what each says."""
        found = self.messages(session_id, role=role, limit=limit, offset=offset)
        self._fresh(TOOL_CALLS)
        with self._source.reader() as reader:
            return say(reader, self._codec, found)

    def content(self, message: Message) -> tuple[Piece, ...]:
        """What a message says, part by part; what tools were called with and answered is filled in."""
        self._fresh(TOOL_CALLS)
        with self._source.reader() as reader:
            return say(reader, self._codec, [message])[0].parts

    def message(self, session_id: str, message_id: str) -> Said:
        """A message of a session's own by its id. Raises NotFound."""
        table = self._fresh(MESSAGES)
        self._fresh(TOOL_CALLS)
        with self._source.reader() as reader:
            rows = reader.select(table, _of(stream_of(session_id), message_id), order=("position",), limit=1)
            if not rows:
                raise NotFound(
                    f"session {str(session_id)[:80]!r} has no message {str(message_id)[:80]!r} of its own",
                    session_id=session_id,
                    message_id=message_id,
                )
            return say(reader, self._codec, rows)[0]

    def compactions(self, session_id: str) -> builtins.list[Compaction]:
        """When the conversation was shortened for the model, in order."""
        table = self._fresh(COMPACTIONS)
        with self._source.reader() as reader:
            return reader.select(table, [Filter("stream", "=", stream_of(session_id))], order=("position",))

    def summaries(self, session_id: str) -> builtins.list[SummaryText]:
        """What was said to sum the conversation up, in order."""
        table = self._fresh(SUMMARIES)
        with self._source.reader() as reader:
            rows = reader.select(table, [Filter("stream", "=", stream_of(session_id))], order=("position",))
            events = read_events_of(reader, self._codec, rows)
        return [
            SummaryText(row.position, event.text, row.leaf_message_id, row.model, row.occurred_at)
            for row, event in zip(rows, events, strict=True)
            if isinstance(event, SummaryAdded)
        ]

    @property
    def _codec(self) -> Codec:
        found: Codec = getattr(self._source, "codec", Codec.default)
        return found


def as_parts(text: str | None, parts: Iterable[Part | Mapping[str, Any]] | None) -> tuple[AnyPart, ...]:
    """The parts of a message. Raises InvalidInput where there are none, or both text and parts."""
    if (text is None) is (parts is None):
        raise InvalidInput("a message has text, or parts")
    if text is not None:
        return (TextPart(text=text),)
    given = [parts] if isinstance(parts, (Part, Mapping)) else list(parts or ())
    if all(isinstance(part, Part) for part in given):
        return tuple(given)  # type: ignore[arg-type]
    try:
        return _PARTS.decode(to_json(given))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InvalidInput(f"the parts of a message: {error or 'nested too deeply'}") from error


def read_events_of(reader: QueryReader, codec: Codec, rows: Iterable[Any]) -> list[Any]:
    """The events behind journal rows, in their order."""
    places = [(row.stream, row.position) for row in rows]
    found: dict[int, Any] = {}
    for place in places:  # there are few in a session
        found |= read_events(reader, codec, [place])
    return [found.get(position) for _, position in places]


def _of(stream: str, message_id: str) -> list[Filter]:
    return [Filter("stream", "=", stream), Filter("message_id", "=", message_id)]


def _first_of(desk: Desk, key: str, made: MessageAdded, message_id: str | None) -> Message | None:
    """The message that was added with this key. Raises KeyReused where it says something else."""
    row = desk.tx.reader.record_with_key(key)
    if row is None:
        return None
    record = Record(*row, desk.tx._log.codec)
    first = record.event
    if record.stream == desk.stream and isinstance(first, MessageAdded):
        wanted = first.message_id if message_id is None else message_id
        if msgspec.structs.replace(made, message_id=wanted, parent_id=first.parent_id) == first:
            return message(first, record)
    raise KeyReused(key, row[0])
