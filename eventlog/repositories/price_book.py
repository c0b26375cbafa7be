"""Which price counts for a call: by the name of its model and by its time. Pure functions over the rows of `prices`.

Amounts are integers of pico-USD (10⁻¹² US dollars), so that a sum is exact; `micro_usd` rounds it, once.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from eventlog.events.prices import LANES, LongContext, Rates
from projections.prices import PriceRow

Source = Literal["set", "catalog", "built-in"]
Rule = Literal["exact", "without provider", "without date", "without provider and date"]
BUILT_IN = "built-in"
BY_HAND = "set by hand"
PICO_PER_MICRO = 1_000_000
_DATE = re.compile(r"(?:[-@](?:\d{8}|\d{4}-\d{2}-\d{2})|-latest)$")


class Price(msgspec.Struct, frozen=True):
    """A price that can count: of calls of ``model`` from ``effective_from`` (µs; 0: from the beginning) on.

    ``catalog`` names the price list, ``position`` its event (None: it comes with the program). Prices are pico-USD a
    token; ``tiers`` are what differs in calls with more input.
    """

    model: str
    effective_from: int
    source: Source
    catalog: str
    position: int | None
    provider: str | None
    rates: Rates
    tiers: tuple[LongContext, ...] = ()
    reason: str = ""

    def __hash__(self) -> int:
        return hash((self.model, self.effective_from, self.position))


class Period(msgspec.Struct, frozen=True):
    """From when on (µs; 0: the beginning) which price counts, and by which rule its name was found; None: none."""

    effective_from: int
    price: Price | None
    rule: Rule | None


class Lane(NamedTuple):
    """What a token of a lane costs in pico-USD, and where that comes from."""

    pico_usd: int
    origin: str


class PriceBook:
    """Prices by the names of their models; ``fallback`` counts where the log has none for a model."""

    def __init__(self, rows: Iterable[PriceRow], fallback: Mapping[str, Price]) -> None:
        self._set: dict[str, dict[int, Price]] = {}
        self._listed: dict[str, dict[int, Price]] = {}
        self._fallback = fallback
        self._periods: dict[str, tuple[Period, ...]] = {}
        self._lanes: dict[tuple[Price, int], tuple[int, ...]] = {}
        for row in rows:
            self._add(row)

    def _add(self, row: PriceRow) -> None:
        if row.kind == "unset":
            if row.effective_from is None:
                self._set.pop(row.model, None)
            else:
                self._set.get(row.model, {}).pop(row.effective_from, None)
            return
        at = row.effective_from or 0
        by_hand = row.kind == "set"
        (self._set if by_hand else self._listed).setdefault(row.model, {})[at] = Price(
            row.model,
            at,
            "set" if by_hand else "catalog",
            BY_HAND if by_hand else row.catalog or "",
            row.position,
            row.provider,
            row.rates,
            row.tiers,
            row.reason,
        )

    def prices(self) -> list[Price]:
        """Every price that can count, by model, source and time."""
        found = [price for held in (self._set, self._listed) for by_time in held.values() for price in by_time.values()]
        order = {"set": 0, "catalog": 1, "built-in": 2}
        return sorted(
            [*found, *self._fallback.values()],
            key=lambda price: (price.model, order[price.source], price.effective_from),
        )

    def periods(self, model: str) -> tuple[Period, ...]:
        """Which prices count for calls of a model, in the order of time; the first begins at 0."""
        if (known := self._periods.get(model)) is not None:
            return known
        names = names_of(model)
        times = {0}
        for name, _ in names:
            times |= self._set.get(name, {}).keys() | self._listed.get(name, {}).keys()
        periods: list[Period] = []
        for at in sorted(times):
            period = self._found(names, at)
            if not periods or periods[-1].price is not period.price:
                periods.append(period)
        self._periods[model] = tuple(periods)
        return self._periods[model]

    def _found(self, names: Sequence[tuple[str, Rule]], at: int) -> Period:
        for name, rule in names:
            for held in (self._set, self._listed):
                by_time = held.get(name, {})
                if started := [time for time in by_time if time <= at]:
                    return Period(at, by_time[max(started)], rule)
        for name, rule in names:
            if (price := self._fallback.get(name)) is not None:
                return Period(at, price, rule)
        return Period(at, None, None)

    def price_at(self, model: str, time_us: int) -> Price | None:
        """The price of calls of a model at a time (µs)."""
        periods = self.periods(model)
        if len(periods) == 1:
            return periods[0].price
        return periods[max(0, bisect_right(periods, time_us, key=lambda period: period.effective_from) - 1)].price

    def cost(self, price: Price, tier: int, tokens: Sequence[int]) -> int:
        """What tokens, in the order of `LANES`, cost in calls with more than ``tier`` tokens of input; pico-USD."""
        key = (price, tier)
        if (rates := self._lanes.get(key)) is None:
            rates = self._lanes[key] = tuple(lane_of(price, lane, tier).pico_usd for lane in LANES)
        return sum(map(int.__mul__, rates, tokens))


def names_of(model: str) -> list[tuple[str, Rule]]:
    """The names under which the price of a model is looked for, in this order, and by which rule each is.

    ``anthropic/claude-x-20250514`` is looked for as itself, as ``claude-x-20250514``, as ``anthropic/claude-x``, and as
    ``claude-x``. A date is ``-20250514``, ``@20250514`` or ``-2025-05-14``; ``-latest`` counts as one.
    """
    parts = model.split("/")
    names: dict[str, Rule] = {model: "exact"}
    bare = ["/".join(parts[first:]) for first in range(1, len(parts))]
    names |= {name: "without provider" for name in bare if name and name not in names}
    if (undated := _DATE.sub("", model)) and undated not in names:
        names[undated] = "without date"
    for name in bare:
        if (undated := _DATE.sub("", name)) and undated not in names:
            names[undated] = "without provider and date"
    return list(names.items())


def lane_of(price: Price, lane: str, tier: int) -> Lane:
    """What a token of a lane costs in calls with more than ``tier`` tokens of input.

    A lane without a price of its own costs what another does: reasoning what output does, cached input what input does,
    and what is written for an hour twice the input where writing for 5 minutes has a price. Where input costs more in
    long contexts and a cache lane says nothing of them, it costs more by the same factor.
    """
    for long in sorted(price.tiers, key=lambda long: -long.above_tokens):
        if long.above_tokens <= tier and (own := getattr(long.rates, lane)) is not None:
            return Lane(own, f"above {long.above_tokens:,} tokens")
    own = getattr(price.rates, lane)
    if own is None:
        return _borrowed(price, lane, tier)
    if not lane.startswith("cache_"):
        return Lane(own, "its own")
    plain, now = price.rates.input or 0, lane_of(price, "input", tier).pico_usd
    if now == plain or not plain:
        return Lane(own, "its own")
    return Lane((own * now + plain // 2) // plain, "its own, and more as input costs more")


def _borrowed(price: Price, lane: str, tier: int) -> Lane:
    if lane == "reasoning":
        return Lane(lane_of(price, "output", tier).pico_usd, "as output")
    if lane in ("input", "output"):
        return Lane(0, "nothing")  # no price is without them
    entry = lane_of(price, "input", tier).pico_usd
    if lane == "cache_write_1h" and price.rates.cache_write_5m is not None:
        return Lane(2 * entry, "twice input")
    return Lane(entry, "as input")


def micro_usd(pico: int) -> int:
    """Pico-USD in whole micro-USD; halves are rounded up."""
    return (pico + PICO_PER_MICRO // 2) // PICO_PER_MICRO
