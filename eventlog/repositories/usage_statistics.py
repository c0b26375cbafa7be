"""What agents used: tokens and what they cost, and calls of tools.

Costs are computed here, from the sums of `token_usage` and the prices in the log: nothing that was counted changes when
a price does. Amounts are added as integers of pico-USD and rounded to micro-USD once, in the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from eventlog.errors import InvalidQuery
from eventlog.events.prices import PriceListed, Rates
from eventlog.projection import percentiles
from eventlog.repositories.base import Repository
from eventlog.repositories.buckets import where_of
from eventlog.repositories.costing import (
    LLM_CALLS,
    PRICES,
    TOKEN_USAGE,
    Basis,
    CostBasis,
    Grouping,
    Groups,
    Sums,
    book_of,
    check_basis,
    dates_of,
    grouping_of,
    in_order,
    is_daily,
    merged,
    priced,
    two_versions,
    usage_of,
)
from eventlog.repositories.price_book import micro_usd, names_of
from eventlog.store.base import Filter, Record, Values
from projections.tool_calls import projections as _tools

if TYPE_CHECKING:
    from eventlog.projection.manager import Version

_, TOOL_USAGE, TOOL_DURATIONS = _tools
TokensBy = Literal["hour", "day", "week", "month", "model", "provider", "workspace", "agent"]
ToolsBy = Literal["hour", "day", "week", "month", "tool", "workspace", "agent", "outcome"]
COLUMNS = {"model": "model", "provider": "provider", "workspace": "workspace_id", "agent": "agent"}
TOOL_COLUMNS = {"tool": "name", "workspace": "workspace_id", "agent": "agent", "outcome": "outcome"}
OUTCOMES = ("ok", "error", "cancelled", "unknown")
EVENTS_SHOWN = 1_000


class TokenStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of language models of one group, and their tokens. What they are not grouped by is None; what is not known
    is empty text.

    ``input_tokens`` are those that no cache had; ``output_tokens`` have the ``reasoning_tokens`` among them;
    ``cache_creation_input_tokens`` are kept for 5 minutes or an hour. ``cost_micro_usd`` is of what could be priced,
    None where nothing could; see `CostStatistics`.
    """

    bucket: str | None = None
    bucket_start: int | None = None
    model: str | None = None
    provider: str | None = None
    workspace_id: str | None = None
    agent: str | None = None
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0
    cost_micro_usd: int | None = None
    cost_basis: CostBasis = "unpriced"
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    catalogs: tuple[str, ...] = ()


class CostStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What calls of one group cost, in micro-USD; each amount is rounded by itself.

    ``cost_basis`` says of what could be priced whether its costs were ``reported`` with the calls, ``computed`` from
    the price lists that ``catalogs`` names, or both (``mixed``); ``unpriced_…`` is what could not be, and has no part
    in ``cost_micro_usd``.
    """

    bucket: str | None = None
    bucket_start: int | None = None
    model: str | None = None
    provider: str | None = None
    workspace_id: str | None = None
    agent: str | None = None
    calls: int = 0
    total_tokens: int = 0
    cost_micro_usd: int | None = None
    cost_basis: CostBasis = "unpriced"
    reported_micro_usd: int = 0
    computed_micro_usd: int = 0
    unpriced_calls: int = 0
    unpriced_tokens: int = 0
    catalogs: tuple[str, ...] = ()


class CostChange(msgspec.Struct, frozen=True, kw_only=True):
    """What calls of one group cost at two versions, in micro-USD, and how the difference came to be.

    ``by_prices`` is what the calls there were before cost more or less at the prices after; ``by_calls`` is the rest:
    calls that came, were amended or retracted. Amounts of what could not be priced count as 0 in differences.
    """

    bucket: str | None = None
    bucket_start: int | None = None
    model: str | None = None
    provider: str | None = None
    workspace_id: str | None = None
    agent: str | None = None
    before_micro_usd: int | None = None
    after_micro_usd: int | None = None
    difference_micro_usd: int = 0
    by_prices_micro_usd: int = 0
    by_calls_micro_usd: int = 0


class CostEvent(msgspec.Struct, frozen=True):
    """An event that can change what calls cost: ``about`` calls or prices.

    Of prices: what they are (pico-USD a token), in which price list (None: set by hand), from when on (µs), and why.
    """

    position: int
    type: str
    about: Literal["calls", "prices"]
    model: str | None = None
    rates: Rates | None = None
    catalog: str | None = None
    effective_from: int | None = None
    reason: str = ""


class CostComparison(msgspec.Struct, frozen=True):
    """Costs at two versions of the log: groups that differ, all together, and the events between.

    Events of calls are those of the whole log, events of prices those of models that have calls here. ``events`` are
    the first thousand of either; ``call_events`` and ``price_events`` count them all, ``call_types`` calls by type.
    """

    first: int
    last: int
    rows: list[CostChange]
    total: CostChange
    call_events: int
    price_events: int
    events: list[CostEvent]
    call_types: dict[str, int] = {}


class ToolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of tools of one group. What they are not grouped by is None.

    ``error_rate`` is of those that were answered. Durations are µs over those that have one; percentiles are within
    0.8 %.
    """

    bucket: str | None = None
    bucket_start: int | None = None
    tool: str | None = None
    workspace_id: str | None = None
    agent: str | None = None
    outcome: str | None = None
    calls: int = 0
    ok: int = 0
    error: int = 0
    cancelled: int = 0
    unknown: int = 0
    unanswered: int = 0
    error_rate: float | None = None
    duration_us_total: int = 0
    p50_us: int | None = None
    p95_us: int | None = None


class UsageStatistics(Repository):
    """What agents used, and what it cost."""

    def tokens(
        self,
        *,
        by: Sequence[TokensBy] | None = None,
        since: int | None = None,
        until: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        workspace_id: str | None = None,
        agent: str | None = None,
        basis: Basis = "reported",
        tz: tzinfo | None = UTC,
    ) -> list[TokenStatistics]:
        """Tokens of the calls that were answered in ``since`` ≤ time < ``until`` (µs, taken to whole hours).

        ``by`` groups them: by one of hour, day, week and month of the zone ``tz`` (None: this machine's; made of whole
        UTC hours) and by any of model, provider, workspace and agent. Without it there is one row, of everything.
        A call's cost is what was reported with it, else what its tokens cost by the prices of its hour;
        ``basis="computed"`` prices them all. Raises InvalidInput.
        """
        grouping = grouping_of(by, get_args(TokensBy), COLUMNS, tz)
        where = where_of(since, until, model=model, provider=provider, workspace_id=workspace_id, agent=agent)
        groups = self._costs(grouping, where, basis)
        return [_tokens(grouping.fields(key), sums) for key, sums in in_order(groups, grouping)]

    def cost(
        self,
        *,
        by: Sequence[TokensBy] | None = None,
        since: int | None = None,
        until: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        workspace_id: str | None = None,
        agent: str | None = None,
        basis: Basis = "reported",
        tz: tzinfo | None = UTC,
    ) -> list[CostStatistics]:
        """What calls cost, and on what grounds that is said. Groups and filters are those of `tokens`."""
        grouping = grouping_of(by, get_args(TokensBy), COLUMNS, tz)
        where = where_of(since, until, model=model, provider=provider, workspace_id=workspace_id, agent=agent)
        groups = self._costs(grouping, where, basis)
        return [
            CostStatistics(
                **grouping.fields(key),
                **sums.cost(),
                reported_micro_usd=micro_usd(sums.reported),
                computed_micro_usd=micro_usd(sums.computed),
            )
            for key, sums in in_order(groups, grouping)
        ]

    def compare_cost(
        self,
        first: Version,
        last: Version,
        *,
        by: Sequence[TokensBy] | None = None,
        since: int | None = None,
        until: int | None = None,
        model: str | None = None,
        provider: str | None = None,
        workspace_id: str | None = None,
        agent: str | None = None,
        basis: Basis = "reported",
        tz: tzinfo | None = UTC,
    ) -> CostComparison:
        """What calls cost as of two versions, and the events between that can have made the difference.

        Groups and filters are those of `tokens`. Raises InvalidInput; InvalidQuery where this is the past already.
        """
        check_basis(basis)
        if self._projections is None:
            raise InvalidQuery("two versions are compared from the log itself, not from its past")
        grouping = grouping_of(by, get_args(TokensBy), COLUMNS, tz)
        where = where_of(since, until, model=model, provider=provider, workspace_id=workspace_id, agent=agent)
        low, high = sorted((self._projections.version(first), self._projections.version(last)))
        as_of = self._projections.as_of
        with as_of(low) as early, as_of(high) as late, early.reader() as then, late.reader() as now:
            before, after, repriced, models = two_versions(then, now, grouping, where, basis)
        events, calls, prices = self._between(low, high, models)
        changes = [
            _change(grouping.fields(key), *(groups.get(key, Sums()) for groups in (before, after, repriced)))
            for key, _ in in_order({**before, **after}, grouping)
        ]
        return CostComparison(
            low,
            high,
            [one for one in changes if one.before_micro_usd != one.after_micro_usd],
            _change({}, *(merged(groups.values()) for groups in (before, after, repriced))),
            calls.total(),
            prices,
            events,
            dict(calls),
        )

    def tools(
        self,
        *,
        by: Sequence[ToolsBy] | None = None,
        since: int | None = None,
        until: int | None = None,
        tool: str | None = None,
        workspace_id: str | None = None,
        agent: str | None = None,
        outcome: str | None = None,
        tz: tzinfo | None = UTC,
    ) -> list[ToolStatistics]:
        """Calls of tools that began in ``since`` ≤ time < ``until`` (µs, taken to whole hours), by outcome, and how
        long they took. ``by`` is as in `tokens`, with tool and outcome. Raises InvalidInput.
        """
        grouping = grouping_of(by, get_args(ToolsBy), TOOL_COLUMNS, tz)
        where = where_of(since, until, name=tool, workspace_id=workspace_id, agent=agent, outcome=outcome)
        where.append(Filter("period", "=", "day" if is_daily(grouping, where) else "hour"))
        for rollup in (TOOL_USAGE, TOOL_DURATIONS):
            self._fresh(rollup)
        start = () if grouping.period is None else ("bucket_start",)
        columns = (*start, *grouping.columns)
        with self._source.reader() as reader:
            usage = reader.totals(TOOL_USAGE.table, (*columns, "outcome"), TOOL_USAGE.table.measures, where)
            bins = reader.totals(TOOL_DURATIONS.table, (*columns, "bin"), ("calls",), where)
        return _tool_rows(grouping, usage, bins)

    def _costs(self, grouping: Grouping, where: list[Filter], basis: Basis) -> Groups:
        check_basis(basis)
        for projection in (TOKEN_USAGE, PRICES):
            self._fresh(projection)
        with self._source.reader() as reader:
            usage = usage_of(reader, grouping, where, dates_of(reader))
            return priced(usage, grouping, book_of(reader, usage), basis)

    def _between(self, low: int, high: int, models: Iterable[str]) -> tuple[list[CostEvent], Counter[str], int]:
        """Events of calls and of the prices of these models between two versions: the first, and how many there are."""
        events: list[CostEvent] = []
        calls: Counter[str] = Counter()
        names = {name for model in models for name, _ in names_of(model)}
        prices = 0
        for record in self._log.read(after=low, to=high, types=[*LLM_CALLS.tags, *PRICES.tags]):
            if record.type in LLM_CALLS.tags:
                calls[record.type] += 1
                if calls.total() <= EVENTS_SHOWN:
                    events.append(_call_event(record))
            elif (price := _price_event(record)).model in names:
                prices += 1
                if prices <= EVENTS_SHOWN:
                    events.append(price)
        return events, calls, prices


def _call_event(record: Record) -> CostEvent:
    event = record.event
    model = getattr(event, "response_model", None) or getattr(event, "request_model", None)
    return CostEvent(record.position, record.type, "calls", model)


def _price_event(record: Record) -> CostEvent:
    event: Any = record.event
    listed = isinstance(event, PriceListed)
    return CostEvent(
        record.position,
        record.type,
        "prices",
        event.model,
        getattr(event, "rates", None),
        record.stream.partition("-")[2] if listed else None,
        event.effective_from,
        getattr(event, "reason", ""),
    )


def _tokens(fields: dict[str, Any], sums: Sums) -> TokenStatistics:
    _, failed, entry, read, written_5m, written_1h, output, reasoning = sums.numbers
    return TokenStatistics(
        **fields,
        **sums.cost(),
        failed=failed,
        input_tokens=entry,
        output_tokens=output + reasoning,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written_5m + written_1h,
        cache_creation_1h_input_tokens=written_1h,
        reasoning_tokens=reasoning,
    )


def _change(fields: dict[str, Any], before: Sums, after: Sums, repriced: Sums) -> CostChange:
    first, last, between = (sums.micro_usd or 0 for sums in (before, after, repriced))
    return CostChange(
        **fields,
        before_micro_usd=before.micro_usd,
        after_micro_usd=after.micro_usd,
        difference_micro_usd=last - first,
        by_prices_micro_usd=between - first,
        by_calls_micro_usd=last - between,
    )


def _tool_rows(grouping: Grouping, usage: Iterable[Values], bins: Iterable[Values]) -> list[ToolStatistics]:
    groups: dict[tuple[Any, ...], dict[str, int]] = {}
    for *found, outcome, calls, duration_us in usage:
        numbers = groups.setdefault(grouping.key(found), dict.fromkeys((*OUTCOMES, "", "duration_us"), 0))
        numbers[outcome if outcome in OUTCOMES else ""] += calls
        numbers["duration_us"] += duration_us
    histograms: dict[tuple[Any, ...], dict[int, int]] = {}
    for *found, bin_, calls in bins:
        histogram = histograms.setdefault(grouping.key(found), {})
        histogram[bin_] = histogram.get(bin_, 0) + calls
    if grouping.is_whole and not groups:
        return [ToolStatistics()]
    return [
        _tools_of(grouping.fields(key), numbers, histograms.get(key, {})) for key, numbers in in_order(groups, grouping)
    ]


def _tools_of(fields: dict[str, Any], numbers: dict[str, int], histogram: dict[int, int]) -> ToolStatistics:
    answered = sum(numbers[outcome] for outcome in OUTCOMES)
    p50, p95 = percentiles(histogram.items(), (0.5, 0.95))
    return ToolStatistics(
        **fields,
        calls=answered + numbers[""],
        ok=numbers["ok"],
        error=numbers["error"],
        cancelled=numbers["cancelled"],
        unknown=numbers["unknown"],
        unanswered=numbers[""],
        error_rate=numbers["error"] / answered if answered else None,
        duration_us_total=numbers["duration_us"],
        p50_us=p50,
        p95_us=p95,
    )
