"""`llm_calls`: one row per call of a language model, and `token_usage`: what they add up to.

A call counts in the hour and day (UTC) in which it was answered. Where something is not known, the column of the sums
is empty text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from eventlog.events.agents import LlmCallAmended, LlmCallCompleted, LlmCallFailed, LlmCallRetracted, Usage
from eventlog.projection import Entity, Record, Rollup, Row, Sparse
from projections.run_statistics import DAY_US, HOUR_US

CONTEXT_TIERS = (272_000, 200_000, 128_000)
"""Above so many tokens of input some models cost more."""


class LlmCall(Row, frozen=True):
    """A call; ``stream`` is that of its session or task. Tokens are in lanes that share none (`Usage`).

    ``status`` is completed, failed, or retracted (a copy of another call: it counts no more).
    """

    stream: str
    call_id: str
    position: int
    status: str
    quality: str
    provider: str | None
    model: str | None
    request_model: str | None
    operation: str
    message_id: str | None
    response_id: str | None
    request_id: str | None
    finish_reason: str | None
    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    reasoning: int
    duration_us: int | None
    context_length: int | None
    reported_cost_micro_usd: int | None
    sidechain: bool
    workspace_id: str | None
    agent: str | None
    error_type: str | None
    occurred_at: int


class TokenUsage(Row, frozen=True):
    """Tokens of one hour or day. ``context_tier``: the tokens of input that each of these calls had more than.

    ``priced`` is ``reported`` where somebody said what each of these calls cost, which adds up to ``cost_micro_usd``.
    """

    period: str
    bucket_start: int
    provider: str
    model: str
    workspace_id: str
    agent: str
    context_tier: int
    priced: str
    calls: int
    failed: int
    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    reasoning: int
    cost_micro_usd: int


def _completed(event: LlmCallCompleted, record: Record) -> LlmCall:
    usage = event.usage
    return LlmCall(
        record.stream,
        event.call_id,
        record.position,
        "completed",
        event.quality,
        event.provider,
        event.response_model or event.request_model,
        event.request_model,
        event.operation,
        event.message_id,
        event.response_id,
        event.request_id,
        event.finish_reasons[0] if event.finish_reasons else None,
        usage.input,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.output,
        usage.reasoning,
        event.duration_us,
        event.context_length,
        event.reported_cost_micro_usd,
        event.sidechain,
        event.workspace_id,
        event.agent,
        None,
        record.occurred_at,
    )


def _failed(event: LlmCallFailed, record: Record) -> LlmCall:
    return LlmCall(
        record.stream,
        event.call_id,
        record.position,
        "failed",
        "exact",
        event.provider,
        event.request_model,
        event.request_model,
        "chat",
        None,
        None,
        None,
        None,
        *(0,) * 6,
        event.duration_us,
        None,
        None,
        False,
        event.workspace_id,
        event.agent,
        event.error_type,
        record.occurred_at,
    )


def _amended(row: LlmCall, event: LlmCallAmended) -> LlmCall:
    reported = event.reported_cost_micro_usd
    return replace(
        row,
        quality=event.quality,
        finish_reason=event.finish_reasons[0] if event.finish_reasons else row.finish_reason,
        reported_cost_micro_usd=row.reported_cost_micro_usd if reported is None else reported,
        **_lanes(event.usage),
    )


def _lanes(usage: Usage) -> dict[str, int]:
    return {name: getattr(usage, name) for name in LANES}


LANES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")


def evolve(row: LlmCall | None, event: Any, record: Record) -> LlmCall | None:
    """A call after one more event."""
    match event:
        case LlmCallCompleted():
            return _completed(event, record) if row is None or row.status == "failed" else row
        case LlmCallFailed():
            return _failed(event, record) if row is None else row
        case LlmCallAmended() if row is not None:
            return _amended(row, event)
        case LlmCallRetracted() if row is not None:
            return replace(row, status="retracted")
    return row


Bucket = tuple[str, int, str, str, str, str, int, str]


def usage(call: LlmCall) -> Iterable[tuple[Bucket, tuple[int, ...]]]:
    """What a call adds to the sums: nothing once it is retracted."""
    if call.status == "retracted":
        return []
    whole = call.input + call.cache_read + call.cache_write_5m + call.cache_write_1h
    tier = 0 if whole <= 128_000 else next(tier for tier in CONTEXT_TIERS if whole > tier)
    cost = call.reported_cost_micro_usd
    failed = call.status == "failed"
    numbers = (
        0 if failed else 1,
        1 if failed else 0,
        call.input,
        call.cache_read,
        call.cache_write_5m,
        call.cache_write_1h,
        call.output,
        call.reasoning,
        cost or 0,
    )
    rest = (
        call.provider or "",
        call.model or "",
        call.workspace_id or "",
        call.agent or "",
        tier,
        "" if cost is None else "reported",
    )
    at = call.occurred_at
    return [(("hour", at - at % HOUR_US, *rest), numbers), (("day", at - at % DAY_US, *rest), numbers)]


projections = (
    Entity(
        "llm_calls",
        version=1,
        row=LlmCall,
        part="call_id",
        types=(LlmCallCompleted, LlmCallFailed, LlmCallAmended, LlmCallRetracted),
        evolve=evolve,
        indexes=(("occurred_at",), Sparse(("response_id",), on="response_id")),
    ),
    Rollup(
        "token_usage",
        version=1,
        row=TokenUsage,
        source="llm_calls",
        measures=("calls", "failed", *LANES, "cost_micro_usd"),
        contribute=usage,
    ),
)
