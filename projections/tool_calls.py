"""`tool_calls`: one row per call of a tool, `tool_usage` and `tool_durations`: what they add up to.

A call counts in the hour and day (UTC) in which it began. Where something is not known, the column of the sums is empty
text; a call without an outcome is not answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from eventlog.events.agents import BlobPart, ToolCallFinished, ToolCallStarted
from eventlog.projection import Entity, Record, Rollup, Row, bin_of
from projections.run_statistics import DAY_US, HOUR_US


class ToolCall(Row, frozen=True):
    """A call; ``stream`` is that of its session or task. Arguments are in the record at ``position``, the result in the
    one at ``finished_position``. ``outcome`` is ok, error, cancelled or unknown, and None while there is no answer.
    """

    stream: str
    tool_call_id: str
    position: int
    finished_position: int | None
    name: str
    category: str | None
    message_id: str | None
    outcome: str | None
    exit_code: int | None
    error_type: str | None
    child_session_id: str | None
    arguments_bytes: int
    result_bytes: int
    duration_us: int | None
    workspace_id: str | None
    agent: str | None
    started_at: int
    finished_at: int | None


class ToolUsage(Row, frozen=True):
    """Calls of one hour or day. ``duration_us`` is a sum over those that have one."""

    period: str
    bucket_start: int
    name: str
    workspace_id: str
    agent: str
    outcome: str
    calls: int
    duration_us: int


class ToolDuration(Row, frozen=True):
    """How many calls of one hour or day took as long as a bin says (`eventlog.projection.histogram`, µs)."""

    period: str
    bucket_start: int
    name: str
    workspace_id: str
    agent: str
    outcome: str
    bin: int
    calls: int


def _started(event: ToolCallStarted, record: Record) -> ToolCall:
    return ToolCall(
        record.stream,
        event.tool_call_id,
        record.position,
        None,
        event.name,
        event.category,
        event.message_id,
        None,
        None,
        None,
        None,
        _size(event.arguments, event.blob),
        0,
        None,
        event.workspace_id,
        event.agent,
        record.occurred_at,
        None,
    )


def _size(content: Raw | UnsetType, blob: BlobPart | None) -> int:
    if blob is not None:
        return blob.size_bytes
    return 0 if content is UNSET else len(bytes(content))


def _finished(row: ToolCall | None, event: ToolCallFinished, record: Record) -> ToolCall:
    if row is None:
        # An answer whose question was not recorded.
        asked = ToolCallStarted(tool_call_id=event.tool_call_id, name=event.name or "")
        row = _started(asked, record)
    took = record.occurred_at - row.started_at
    return replace(
        row,
        finished_position=record.position,
        outcome=event.outcome,
        exit_code=event.exit_code,
        error_type=event.error_type,
        child_session_id=event.child_session_id,
        result_bytes=_size(event.result, event.blob),
        duration_us=max(0, took) if event.duration_us is None else event.duration_us,
        finished_at=record.occurred_at,
    )


def evolve(row: ToolCall | None, event: Any, record: Record) -> ToolCall | None:
    """A call after one more event; the first answer counts."""
    if type(event) is ToolCallStarted:
        return _started(event, record) if row is None else row
    return _finished(row, event, record) if row is None or row.finished_position is None else row


def usage(call: ToolCall) -> Iterable[tuple[tuple[str, int, str, str, str, str], tuple[int, int]]]:
    """What a call adds to the sums."""
    rest = (call.name, call.workspace_id or "", call.agent or "", call.outcome or "")
    at, numbers = call.started_at, (1, call.duration_us or 0)
    return [(("hour", at - at % HOUR_US, *rest), numbers), (("day", at - at % DAY_US, *rest), numbers)]


def durations(call: ToolCall) -> Iterable[tuple[tuple[str, int, str, str, str, str, int], tuple[int]]]:
    """What a call adds to the histogram of durations: nothing while it has none."""
    if call.duration_us is None:
        return []
    rest = (call.name, call.workspace_id or "", call.agent or "", call.outcome or "", bin_of(call.duration_us))
    at = call.started_at
    return [(("hour", at - at % HOUR_US, *rest), (1,)), (("day", at - at % DAY_US, *rest), (1,))]


projections = (
    Entity(
        "tool_calls",
        version=1,
        row=ToolCall,
        part="tool_call_id",
        types=(ToolCallStarted, ToolCallFinished),
        evolve=evolve,
        indexes=(("name", "started_at"), ("started_at",)),
    ),
    Rollup(
        "tool_usage",
        version=1,
        row=ToolUsage,
        source="tool_calls",
        measures=("calls", "duration_us"),
        contribute=usage,
    ),
    Rollup(
        "tool_durations", version=1, row=ToolDuration, source="tool_calls", measures=("calls",), contribute=durations
    ),
)
