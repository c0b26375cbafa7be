"""What tokens cost. Streams: ``price_catalog-<name>`` for a price list, ``price-<model>`` for the prices set by hand.

Costs are computed from these events and the usage of calls when somebody asks, so another price is one more event.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from eventlog.events.base import Event, Int64

PicoUsd = Annotated[int, Meta(ge=0, le=10**15)]
"""10⁻¹² US dollars: 3 dollars a million tokens are 3,000,000 of them a token."""
LANES = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")


class Rates(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pico-USD a token, in the lanes of `Usage`; None where a lane has no price of its own."""

    input: PicoUsd | None = None
    cache_read: PicoUsd | None = None
    cache_write_5m: PicoUsd | None = None
    cache_write_1h: PicoUsd | None = None
    output: PicoUsd | None = None
    reasoning: PicoUsd | None = None


class LongContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """What differs in calls with more than so many tokens of input, cached ones among them."""

    above_tokens: Int64
    rates: Rates


class ModelPrice(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model costs. ``rates`` has ``input`` and ``output`` at least."""

    model: str
    rates: Rates
    tiers: tuple[LongContext, ...] = ()
    provider: str | None = None


class PriceCatalogLoaded(Event, frozen=True, kw_only=True, tag="price_catalog.loaded"):
    """A price list; each of its prices is a `PriceListed` right behind it, in the same transaction.

    ``digest`` is the SHA-256 of what it was read from, ``skipped`` how many entries were left out and why.
    ``effective_from`` is µs, a whole hour in UTC; 0: from the beginning.
    """

    digest: str
    source: str
    effective_from: Int64 = 0
    prices: Int64 = 0
    skipped: dict[str, Int64] = {}


class PriceListed(Event, frozen=True, kw_only=True, tag="price.listed"):
    """A model's price in a price list. It holds for calls from ``effective_from`` on, until another does."""

    model: str
    rates: Rates
    tiers: tuple[LongContext, ...] = ()
    provider: str | None = None
    effective_from: Int64 = 0


class PriceSet(Event, frozen=True, kw_only=True, tag="price.set"):
    """A model's price, set by hand: it goes before those of price lists."""

    model: str
    rates: Rates
    tiers: tuple[LongContext, ...] = ()
    provider: str | None = None
    effective_from: Int64 = 0
    reason: str = ""


class PriceUnset(Event, frozen=True, kw_only=True, tag="price.unset"):
    """Prices set by hand hold no more: the one of ``effective_from``, or (None) all that the model has."""

    model: str
    effective_from: Int64 | None = None
    reason: str = ""


PRICE_EVENTS: tuple[type[Event], ...] = (PriceCatalogLoaded, PriceListed, PriceSet, PriceUnset)
PriceEvent = PriceCatalogLoaded | PriceListed | PriceSet | PriceUnset
