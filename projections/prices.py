"""`prices`: one row per price that was ever listed, set or unset, and `price_catalogs`: one per price list.

Which of the prices counts for a call is found when somebody asks (`eventlog.repositories.price_book`).
"""

from __future__ import annotations

from typing import Literal

from eventlog.events.prices import LongContext, PriceCatalogLoaded, PriceListed, PriceSet, PriceUnset, Rates
from eventlog.projection import Journal, Record, Row


class PriceRow(Row, frozen=True):
    """What was said about a model's price. Prices are pico-USD a token; ``tiers`` what differs in long contexts.

    ``effective_from`` is µs (0: from the beginning); None in an ``unset`` of whatever was set.
    """

    position: int
    kind: Literal["listed", "set", "unset"]
    model: str
    effective_from: int | None
    catalog: str | None
    provider: str | None
    input: int | None
    cache_read: int | None
    cache_write_5m: int | None
    cache_write_1h: int | None
    output: int | None
    reasoning: int | None
    tiers: tuple[LongContext, ...]
    reason: str
    recorded_at: int

    @property
    def rates(self) -> Rates:
        """The prices of each lane."""
        return Rates(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h, self.output, self.reasoning)


class PriceCatalog(Row, frozen=True):
    """A price list that was loaded: how many prices it has, and how many entries were left out and why."""

    position: int
    catalog: str
    source: str
    digest: str
    effective_from: int
    prices: int
    skipped: dict[str, int]
    loaded_at: int


def price(event: PriceListed | PriceSet | PriceUnset, record: Record) -> PriceRow:
    """What an event says about a model's price."""
    said = None if isinstance(event, PriceUnset) else event
    rates = Rates() if said is None else said.rates
    return PriceRow(
        record.position,
        "listed" if isinstance(event, PriceListed) else "set" if isinstance(event, PriceSet) else "unset",
        event.model,
        event.effective_from,
        record.stream.partition("-")[2] if isinstance(event, PriceListed) else None,
        None if said is None else said.provider,
        rates.input,
        rates.cache_read,
        rates.cache_write_5m,
        rates.cache_write_1h,
        rates.output,
        rates.reasoning,
        () if said is None else said.tiers,
        "" if isinstance(event, PriceListed) else event.reason,
        record.recorded_at,
    )


def catalog(event: PriceCatalogLoaded, record: Record) -> PriceCatalog:
    """A price list."""
    return PriceCatalog(
        record.position,
        record.stream.partition("-")[2],
        event.source,
        event.digest,
        event.effective_from,
        event.prices,
        event.skipped,
        record.recorded_at,
    )


projections = (
    Journal(
        "prices",
        version=1,
        row=PriceRow,
        types=(PriceListed, PriceSet, PriceUnset),
        make=price,
        indexes=(("model",), ("effective_from",)),
    ),
    Journal("price_catalogs", version=1, row=PriceCatalog, types=(PriceCatalogLoaded,), make=catalog),
)
