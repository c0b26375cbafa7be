"""What was said, a row per event: messages, compactions, summaries. The text itself stays in the record."""

from __future__ import annotations

from eventlog.events.agents import BlobPart, ContextCompacted, MessageAdded, ReasoningPart, SummaryAdded, TextPart
from eventlog.projection import Journal, Record, Row


class Message(Row, frozen=True):
    """A message; its parts are in the record at this position. ``text_bytes``: of what was said and thought."""

    position: int
    stream: str
    message_id: str
    parent_id: str | None
    role: str
    origin: str | None
    sidechain: bool
    text_bytes: int
    occurred_at: int


class Compaction(Row, frozen=True):
    """Where a conversation was shortened for the model. Sizes are tokens."""

    position: int
    stream: str
    trigger: str | None
    tokens_before: int | None
    tokens_after: int | None
    covers_to_message_id: str | None
    summary_message_id: str | None
    occurred_at: int


class Summary(Row, frozen=True):
    """What a conversation was about up to a message; the text is in the record at this position."""

    position: int
    stream: str
    leaf_message_id: str | None
    model: str | None
    text_bytes: int
    occurred_at: int


def message(event: MessageAdded, record: Record) -> Message:
    """The row of a message."""
    size = 0
    for part in event.parts:
        kind = type(part)
        if kind is TextPart or kind is ReasoningPart:
            text = part.text  # type: ignore[union-attr]
            size += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        elif kind is BlobPart:
            size += part.size_bytes  # type: ignore[union-attr]
    return Message(
        record.position,
        record.stream,
        event.message_id,
        event.parent_id,
        event.role,
        event.origin,
        event.sidechain,
        size,
        record.occurred_at,
    )


def compaction(event: ContextCompacted, record: Record) -> Compaction:
    """The row of a compaction."""
    return Compaction(
        record.position,
        record.stream,
        event.trigger,
        event.tokens_before,
        event.tokens_after,
        event.covers_to_message_id,
        event.summary_message_id,
        record.occurred_at,
    )


def summary(event: SummaryAdded, record: Record) -> Summary:
    """The row of a summary."""
    size = len(event.text.encode("utf-8", "replace"))
    return Summary(record.position, record.stream, event.leaf_message_id, event.model, size, record.occurred_at)


_BY_STREAM = ("stream", "position")

projections = (
    Journal(
        "messages",
        version=1,
        row=Message,
        types=(MessageAdded,),
        make=message,
        indexes=(_BY_STREAM, ("message_id",)),
    ),
    Journal(
        "compactions", version=1, row=Compaction, types=(ContextCompacted,), make=compaction, indexes=(_BY_STREAM,)
    ),
    Journal("summaries", version=1, row=Summary, types=(SummaryAdded,), make=summary, indexes=(_BY_STREAM,)),
)
