"""`log.prices`: what tokens cost, from price lists and by hand, and which price counts for a model."""

from __future__ import annotations

import builtins
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from eventlog.clock import from_datetime
from eventlog.errors import InvalidInput, InvalidName, NotFound
from eventlog.events import Event, event_type
from eventlog.events.prices import (
    LANES,
    LongContext,
    ModelPrice,
    PriceCatalogLoaded,
    PriceListed,
    PriceSet,
    PriceUnset,
    Rates,
)
from eventlog.log import Tx
from eventlog.repositories.base import Repository
from eventlog.repositories.price_book import Lane, Period, Price, PriceBook, lane_of, names_of
from eventlog.repositories.price_files import MAX_NAME, built_in, read_file
from eventlog.store.base import Filter, check_page
from projections.llm_calls import CONTEXT_TIERS
from projections.prices import PriceCatalog
from projections.prices import projections as _projections
from projections.run_statistics import HOUR_US

PRICES, CATALOGS = _projections


class TierPrice(msgspec.Struct, frozen=True):
    """What each lane costs in calls with more than ``above_tokens`` of input, and where that comes from."""

    above_tokens: int
    lanes: dict[str, Lane]


class PriceExplanation(msgspec.Struct, frozen=True):
    """How a model is priced: the names that were looked for, in this order; which price counts from when on; and what
    each lane costs by the last of them (pico-USD a token), where it costs something else in long contexts each time.
    """

    model: str
    names: list[str]
    periods: list[Period]
    lanes: list[TierPrice]


class PricesRepository(Repository):
    """Load price lists, set prices, and ask which one counts."""

    def load(self, path: str | os.PathLike[str], *, name: str | None = None, effective: int | str = 0) -> PriceCatalog:
        """Load a price list in the form of LiteLLM's ``model_prices_and_context_window.json``.

        Its prices hold from ``effective`` on: a date or time in ISO 8601 (without an offset: UTC) or µs, at a whole
        hour; 0 is the beginning. Among the prices of a model the one that began last counts, and of those that began
        together the one that was loaded last. ``name`` is the list's (default: the file's, without its ending). The
        same file again, as the last one of that name, adds nothing. Raises InvalidInput.
        """
        file = read_file(path)
        called = Path(path).stem if name is None else name
        return self.load_catalog(
            called,
            file.prices,
            digest=file.digest,
            source=Path(path).name,
            effective=effective,
            skipped=file.skipped,
        )

    def load_catalog(
        self,
        name: str,
        prices: Sequence[ModelPrice],
        *,
        digest: str,
        source: str,
        effective: int | str = 0,
        skipped: Mapping[str, int] | None = None,
    ) -> PriceCatalog:
        """Load a price list that was read already; see `load`. ``digest`` tells one list from another."""
        _check_name("name of a price list", name)
        if not prices:
            raise InvalidInput("a price list has prices")
        for price in prices:
            _check_price(price.model, price.rates, price.tiers)
        at = effective_us(effective)
        loaded = PriceCatalogLoaded(
            digest=digest, source=source, effective_from=at, prices=len(prices), skipped=dict(skipped or {})
        )
        events: list[Event] = [loaded]
        events += [
            PriceListed(model=one.model, rates=one.rates, tiers=one.tiers, provider=one.provider, effective_from=at)
            for one in prices
        ]
        stream = f"price_catalog-{name}"

        def work(tx: Tx) -> int:
            before = [record for record in tx.read_stream(stream) if record.type == event_type(PriceCatalogLoaded)]
            if before and before[-1].event == loaded:
                return before[-1].position
            return tx.append(stream, events).first

        position = self._before_command("prices").decide(work)
        table = self._fresh(CATALOGS)
        with self._source.reader() as reader:
            found: PriceCatalog = reader.load(table, [(position,)])[(position,)]
        return found

    def set(
        self,
        model: str,
        rates: Rates,
        *,
        tiers: Sequence[LongContext] = (),
        effective: int | str = 0,
        provider: str | None = None,
        reason: str = "",
    ) -> Price:
        """Set the price of calls of a model from ``effective`` on (see `load`): it goes before those of price lists.

        ``rates`` are pico-USD a token (`eventlog.repositories.price_files.rates_per_mtok` makes them), input and output
        at least. A lane that is None keeps the price of its own that counted for the model at that time, if there was
        one, and is in the event like the others; else it is derived (see `lane_of`). Raises InvalidInput.
        """
        _check_price(model, rates, tiers)
        at = effective_us(effective)
        log = self._before_command("prices")
        event = PriceSet(
            model=model,
            rates=self._with_kept(model, rates, at),
            tiers=tuple(tiers),
            provider=provider,
            effective_from=at,
            reason=reason,
        )
        log.append(f"price-{model}", event)
        (found,) = (
            price for price in self._book(model).prices()
            if price.source == "set" and price.model == model and price.effective_from == at
        )  # fmt: skip
        return found

    def unset(self, model: str, *, effective: int | str | None = None, reason: str = "") -> None:
        """Take back the price set from ``effective`` on, or (None) all that were set for a model. Raises NotFound."""
        _check_name("model", model)
        at = None if effective is None else effective_us(effective)

        def work(tx: Tx) -> None:
            held: set[int] = set()
            for record in tx.read_stream(f"price-{model}"):
                match record.event:
                    case PriceSet() as event:
                        held.add(event.effective_from)
                    case PriceUnset() as event:
                        held = set() if event.effective_from is None else held - {event.effective_from}
            if not held if at is None else at not in held:
                raise NotFound(
                    f"no price {'' if at is None else 'from then on '}was set for {model!r}; "
                    "`eventlog prices list` shows them",
                    model=model,
                )
            tx.append(f"price-{model}", PriceUnset(model=model, effective_from=at, reason=reason))

        self._before_command("prices").decide(work)

    def list(self, *, text: str | None = None, limit: int | None = None, offset: int = 0) -> list[Price]:
        """Every price that can count, by model: those set by hand, those of price lists by time, and the one that comes
        with the program. ``text`` must occur in the model's name.
        """
        check_page(limit, offset)
        table = self._fresh(PRICES)
        where = [] if text is None else [Filter("model", "text", text)]
        with self._source.reader() as reader:
            rows = reader.select(table, where, order=("position",))
        wanted = (text or "").lower()
        fallback = {name: price for name, price in built_in().items() if wanted in name.lower()}
        found = PriceBook(rows, fallback).prices()
        return found[offset : None if limit is None else offset + limit]

    def explain(self, model: str) -> PriceExplanation:
        """Which prices count for calls of a model, and why."""
        _check_name("model", model)
        periods = self._book(model).periods(model)
        price = periods[-1].price
        lanes: builtins.list[TierPrice] = []
        for tier in (0, *sorted(CONTEXT_TIERS)) if price is not None else ():
            assert price is not None  # noqa: S101
            found = TierPrice(tier, {lane: lane_of(price, lane, tier) for lane in LANES})
            if not lanes or [one.pico_usd for one in found.lanes.values()] != [
                one.pico_usd for one in lanes[-1].lanes.values()
            ]:
                lanes.append(found)
        return PriceExplanation(model, [name for name, _ in names_of(model)], list(periods), lanes)

    def catalogs(self) -> builtins.list[PriceCatalog]:
        """The price lists that were loaded, in this order."""
        table = self._fresh(CATALOGS)
        with self._source.reader() as reader:
            return reader.select(table, order=("position",))

    def _with_kept(self, model: str, rates: Rates, at: int) -> Rates:
        before = self._book(model).price_at(model, at)
        if before is None:
            return rates
        kept = {lane: getattr(before.rates, lane) for lane in LANES if getattr(rates, lane) is None}
        return msgspec.structs.replace(rates, **kept)

    def _book(self, model: str) -> PriceBook:
        table = self._fresh(PRICES)
        names = [name for name, _ in names_of(model)]
        with self._source.reader() as reader:
            return PriceBook(reader.select(table, [Filter("model", "in", names)], order=("position",)), built_in())


def effective_us(when: int | str) -> int:
    """The time from which a price holds, in µs. Raises InvalidInput unless it is at a whole hour in UTC."""
    try:
        if isinstance(when, str) and when.isdecimal() and len(when) != len("20261121"):
            when = int(when)
        if isinstance(when, str):
            parsed = datetime.fromisoformat(when.strip())
            when = from_datetime(parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed)
    except ValueError:
        raise InvalidInput(f"{when!r} is no date like 2026-11-21, and no time like 2026-11-21T09:00Z") from None
    if not 0 <= when < 2**63 or when % HOUR_US:
        raise InvalidInput("a price holds from a whole hour in UTC on: costs are computed from sums of hours")
    return when


def _check_name(what: str, text: str) -> None:
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise InvalidName(f"a {what} is 1 to {MAX_NAME} printable characters, not {text[:80]!r}")


def _check_price(model: str, rates: Rates, tiers: Sequence[LongContext]) -> None:
    _check_name("model", model)
    if rates.input is None or rates.output is None:
        raise InvalidInput(f"the price of {model} has input and output at least; what costs nothing is 0")
    above = [long.above_tokens for long in tiers]
    if len(set(above)) < len(above) or not set(above) <= set(CONTEXT_TIERS):
        known = ", ".join(f"{tier:,}" for tier in sorted(CONTEXT_TIERS))
        raise InvalidInput(f"other prices of {model} hold above {known} tokens of input, each once, not above {above}")
