"""What tokens cost: price lists, prices set by hand, and which of them counts."""

from __future__ import annotations

from typing import Any

from eventlog.app import Log, Past
from eventlog.repositories.price_book import Price
from eventlog.repositories.prices import PriceExplanation
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.wire import NewCatalog, NewPrice, Position
from projections.prices import PriceCatalog


class PricesQuery(Query, frozen=True, kw_only=True):
    """Which prices, by model; ``text`` occurs in the model's name."""

    text: str | None = None
    limit: Rows = 50
    offset: Offset = 0


class ModelQuery(Query, frozen=True, kw_only=True):
    """A model, by the name that its calls have."""

    model: str


class UnsetQuery(Query, frozen=True, kw_only=True):
    """Which price: the one that holds from ``effective`` on, or all that were set for the model."""

    model: str
    effective: Position | str | None = None
    reason: str = ""


def list_prices(ask: Log | Past, query: PricesQuery) -> list[Price]:
    """Every price that can count, by model."""
    return ask.prices.list(text=query.text, limit=query.limit, offset=query.offset)


def explain_price(ask: Log | Past, query: ModelQuery) -> PriceExplanation:
    """Which prices count for calls of a model, and why."""
    return ask.prices.explain(query.model)


def list_price_catalogs(ask: Log | Past) -> list[PriceCatalog]:
    """The price lists that were loaded, in this order."""
    return ask.prices.catalogs()


def load_price_catalog(log: Log, body: NewCatalog) -> PriceCatalog:
    """Load a price list. The same one again, as the last of its name, adds nothing."""
    return log.prices.load_catalog(
        body.name,
        body.prices,
        digest=body.digest,
        source=body.source,
        effective=body.effective,
        skipped=body.skipped,
    )


def set_price(log: Log, body: NewPrice) -> Price:
    """Set the price of a model's calls from a time on: it goes before those of price lists."""
    return log.prices.set(
        body.model,
        body.rates,
        tiers=body.tiers,
        effective=body.effective,
        provider=body.provider,
        reason=body.reason,
    )


def unset_price(log: Log, query: UnsetQuery) -> None:
    """Take back prices that were set by hand. 404 when there are none."""
    log.prices.unset(query.model, effective=query.effective, reason=query.reason)


def _next_page(query: PricesQuery, prices: list[Price]) -> dict[str, Any] | None:
    return {"offset": query.offset + query.limit} if len(prices) == query.limit else None


OPERATIONS = (
    Operation("GET", "/api/prices", list_prices, follows=_next_page),
    Operation("GET", "/api/prices/explain", explain_price),
    Operation("GET", "/api/prices/catalogs", list_price_catalogs),
    Operation("POST", "/api/prices/catalogs", load_price_catalog, status=201),
    Operation("POST", "/api/prices", set_price, status=201),
    Operation("DELETE", "/api/prices", unset_price, status=204),
)
