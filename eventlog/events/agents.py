"""What an agent does: messages, calls of language models and of tools, context that is compacted.

Stream: that of the session or the task in which it happens, ``session-<session_id>`` or ``task-<uuid>``. Names are
those of OpenTelemetry's conventions for generative AI where it has them (``gen_ai.…``).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from eventlog.events.base import Event, Int64

Role = Literal["system", "user", "assistant", "tool"]
Origin = Literal["human", "assistant", "tool", "runtime", "summary"]
Outcome = Literal["ok", "error", "cancelled", "unknown"]
Quality = Literal["exact", "partial", "replayed", "estimated"]

Amount = Annotated[int, Meta(ge=0, le=10**12)]
"""Tokens or micro-USD of one call: not so many that what millions of calls add up to does not fit a column."""
Span = Annotated[int, Meta(ge=0, le=10**15)]
"""µs that a call took; up to 31 years."""


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """A piece of a message."""


class TextPart(Part, frozen=True, kw_only=True, tag="text"):
    """What was said."""

    text: str


class ReasoningPart(Part, frozen=True, kw_only=True, tag="reasoning"):
    """What a model thought; ``signature`` is what its provider wants back with it."""

    text: str = ""
    signature: str | None = None


class ToolCallPart(Part, frozen=True, kw_only=True, tag="tool_call"):
    """Here a tool was called; what with is in the `ToolCallStarted` of this id."""

    id: str
    name: str


class ToolCallResponsePart(Part, frozen=True, kw_only=True, tag="tool_call_response"):
    """Here a tool answered; what is in the `ToolCallFinished` of this id."""

    id: str


class BlobPart(Part, frozen=True, kw_only=True, tag="blob"):
    """Content kept beside the log (`eventlog.blobs`): its hash, its size, and how it begins where it is text."""

    sha256: str
    size_bytes: Int64
    mime_type: str | None = None
    head: str = ""
    of: str = "text"
    """The type of the part that it stands for."""


class UriPart(Part, frozen=True, kw_only=True, tag="uri"):
    """Content that is somewhere else."""

    uri: str
    mime_type: str | None = None


class RawPart(Part, frozen=True, kw_only=True, tag="raw"):
    """A piece of a type that this program does not know, as it was found."""

    data: Raw


AnyPart = TextPart | ReasoningPart | ToolCallPart | ToolCallResponsePart | BlobPart | UriPart | RawPart


class MessageAdded(Event, frozen=True, kw_only=True, tag="message.added"):
    """A message, finished. ``parent_id`` is the message it follows; the conversation goes on after the newest one.

    ``origin`` says who wrote it where the role does not: what a runtime injects has the role of a user, too.
    """

    message_id: str
    role: Role
    parts: tuple[AnyPart, ...] = ()
    parent_id: str | None = None
    origin: Origin | None = None
    name: str | None = None
    sidechain: bool = False
    """Of an agent beside the conversation: the session does not go on after it."""
    source: Raw | UnsetType = UNSET
    """What the record it was imported from says besides."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens in lanes that share none: the input that no cache had, what was read from one and written to one (kept
    for 5 minutes, or 1 hour), the output, and what of the output was reasoning, which ``output`` does not have again.
    """

    input: Amount = 0
    cache_read: Amount = 0
    cache_write_5m: Amount = 0
    cache_write_1h: Amount = 0
    output: Amount = 0
    reasoning: Amount = 0

    @property
    def total(self) -> int:
        """Every token, in and out."""
        return self.input_all + self.output + self.reasoning

    @property
    def input_all(self) -> int:
        """``gen_ai.usage.input_tokens``, which has the cached ones."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


class LlmCallCompleted(Event, frozen=True, kw_only=True, tag="llm.call_completed"):
    """A model answered (``gen_ai.client.inference.operation.details``).

    ``call_id`` tells it from every other call of the stream. ``raw_usage`` is what the provider said, as it said it.
    ``reported_cost_micro_usd`` is what somebody said it cost; what it cost by the price list is not in the event.
    """

    call_id: str
    usage: Usage = Usage()
    quality: Quality = "exact"
    provider: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    operation: str = "chat"
    message_id: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    duration_us: Span | None = None
    context_length: Int64 | None = None
    reported_cost_micro_usd: Amount | None = None
    raw_usage: Raw | UnsetType = UNSET
    sidechain: bool = False
    workspace_id: str | None = None
    agent: str | None = None


class LlmCallFailed(Event, frozen=True, kw_only=True, tag="llm.call_failed"):
    """No answer came (``error.type``)."""

    call_id: str
    error_type: str
    message: str = ""
    provider: str | None = None
    request_model: str | None = None
    duration_us: Span | None = None
    workspace_id: str | None = None
    agent: str | None = None


class LlmCallAmended(Event, frozen=True, kw_only=True, tag="llm.call_amended"):
    """More is known of a completed call: its usage is this now, and was ``replaced`` before."""

    call_id: str
    usage: Usage
    replaced: Usage
    quality: Quality = "exact"
    finish_reasons: tuple[str, ...] = ()
    reported_cost_micro_usd: Amount | None = None
    raw_usage: Raw | UnsetType = UNSET


class LlmCallRetracted(Event, frozen=True, kw_only=True, tag="llm.call_retracted"):
    """It turned out to be a copy of another call: it counts no more. ``replaced`` is what it counted for."""

    call_id: str
    reason: str
    replaced: Usage


class ToolCallStarted(Event, frozen=True, kw_only=True, tag="tool_call.started"):
    """A tool is called (``gen_ai.operation.name`` is ``execute_tool``, ``gen_ai.tool.name`` is ``name``)."""

    tool_call_id: str
    name: str
    arguments: Raw | UnsetType = UNSET
    blob: BlobPart | None = None
    """The arguments, where they are too big to stand here."""
    category: str | None = None
    message_id: str | None = None
    workspace_id: str | None = None
    agent: str | None = None


class ToolCallFinished(Event, frozen=True, kw_only=True, tag="tool_call.finished"):
    """A tool answered, or will not. What of its result is too big is in a blob.

    ``details`` is what its program says about the result in a form of its own.
    """

    tool_call_id: str
    outcome: Outcome
    result: Raw | UnsetType = UNSET
    details: Raw | UnsetType = UNSET
    blob: BlobPart | None = None
    name: str | None = None
    exit_code: Int64 | None = None
    duration_us: Span | None = None
    error_type: str | None = None
    child_session_id: str | None = None


class ContextCompacted(Event, frozen=True, kw_only=True, tag="context.compacted"):
    """The conversation was shortened for the model: what is up to a message is in a summary from here on."""

    trigger: str | None = None
    tokens_before: Int64 | None = None
    tokens_after: Int64 | None = None
    covers_to_message_id: str | None = None
    summary_message_id: str | None = None
    duration_us: Span | None = None


class SummaryAdded(Event, frozen=True, kw_only=True, tag="summary.added"):
    """What a conversation was about, up to a message."""

    text: str
    leaf_message_id: str | None = None
    model: str | None = None


class RecordKept(Event, frozen=True, kw_only=True, tag="source.record_kept"):
    """A record of a file that was imported, of a type that has no event here: as it was found."""

    kind: str
    data: Raw | UnsetType = UNSET
    blob: BlobPart | None = None
    """Where it is too big to stand here."""


AGENT_EVENTS: tuple[type[Event], ...] = (
    MessageAdded,
    LlmCallCompleted,
    LlmCallFailed,
    LlmCallAmended,
    LlmCallRetracted,
    ToolCallStarted,
    ToolCallFinished,
    ContextCompacted,
    SummaryAdded,
    RecordKept,
)
AgentEvent = (
    MessageAdded
    | LlmCallCompleted
    | LlmCallFailed
    | LlmCallAmended
    | LlmCallRetracted
    | ToolCallStarted
    | ToolCallFinished
    | ContextCompacted
    | SummaryAdded
    | RecordKept
)
