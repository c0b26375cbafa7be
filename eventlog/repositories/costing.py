"""From sums of tokens to what they cost: groups of `token_usage`, each with the price of its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from operator import add
from typing import Any, Literal, NamedTuple, get_args

from eventlog.errors import InvalidInput
from eventlog.repositories.buckets import PERIODS, Bucket, bucketing, is_utc
from eventlog.repositories.price_book import PICO_PER_MICRO, PriceBook, micro_usd, names_of
from eventlog.repositories.price_files import built_in
from eventlog.store.base import Filter, QueryReader
from projections.llm_calls import projections as _llm
from projections.prices import projections as _prices
from projections.run_statistics import DAY_US

LLM_CALLS, TOKEN_USAGE = _llm
PRICES, CATALOGS = _prices
Basis = Literal["reported", "computed"]
CostBasis = Literal["reported", "computed", "mixed", "unpriced"]
Key = tuple[Any, ...]
COUNTS = 8
"""Calls, those that failed, and the six lanes of tokens: the measures of `token_usage` before the reported cost."""


class Grouping(NamedTuple):
    """How sums become groups: by a period of time or None, and by names, with the columns that these are in."""

    period: str | None
    names: tuple[str, ...]
    columns: tuple[str, ...]
    bucket_of: Callable[[Any], Bucket]
    in_utc: bool

    @property
    def is_whole(self) -> bool:
        """Whether there is one group, of everything."""
        return self.period is None and not self.names

    def key(self, found: Sequence[Any]) -> Key:
        """The group of what stands in the columns that were asked for: bucket_start where it is by time, then names."""
        if self.period is None:
            return (None, *found)
        return (self.bucket_of(found[0]), *found[1:])

    def fields(self, key: Key) -> dict[str, Any]:
        """The fields of an answer that say which group it is."""
        fields = dict(zip(self.names, key[1:], strict=True))
        if self.period is not None:
            fields["bucket"], fields["bucket_start"] = key[0]
        return fields


def grouping_of(
    by: Sequence[str] | str | None, known: Sequence[str], columns: dict[str, str], tz: tzinfo | None
) -> Grouping:
    """What ``by`` says. Raises InvalidInput where it says nothing that is known."""
    wanted = () if by is None else (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
    for one in wanted:
        if one not in known:
            raise InvalidInput(f"these statistics are by {', '.join(known)}, not {one!r}")
    periods = [one for one in wanted if one in PERIODS]
    if len(periods) > 1:
        raise InvalidInput(f"statistics are by one of {', '.join(PERIODS)}, not by {' and '.join(periods)}")
    named = [one for one in wanted if one in columns]
    fields = tuple("workspace_id" if one == "workspace" else one for one in named)
    period = periods[0] if periods else None
    in_utc = period is None or (period != "hour" and is_utc(tz))
    return Grouping(period, fields, tuple(columns[one] for one in named), bucketing(period, tz), in_utc)


def is_daily(grouping: Grouping, where: Iterable[Filter], dates: Iterable[int] = ()) -> bool:
    """Whether whole UTC days are enough to answer from."""
    edges = [one.value for one in where if one.column == "bucket_start"]
    return grouping.in_utc and all(edge % DAY_US == 0 for edge in (*edges, *dates))


def in_order(groups: dict[Key, Any], grouping: Grouping) -> Iterator[tuple[Key, Any]]:
    """Groups by time, then by name; where nothing is grouped there is one, whatever there is to count."""
    if grouping.is_whole:
        yield (None,), groups.get((None,), Sums())
        return
    for key in sorted(groups, key=lambda key: (key[0][1] if key[0] else 0, key[1:])):
        yield key, groups[key]


class Sums:
    """What a group adds up to; amounts in pico-USD."""

    def __init__(self) -> None:
        self.numbers: Sequence[int] = (0,) * COUNTS
        self.reported = 0
        self.computed = 0
        self.grounds: frozenset[str] = frozenset()
        """What costs are known by: reported, computed."""
        self.unpriced_calls = 0
        self.unpriced_tokens = 0
        self.catalogs: set[str] = set()

    @property
    def _is_priced(self) -> bool:
        # What no call was made for costs nothing, and that is known.
        return bool(self.grounds) or not (self.unpriced_calls or self.unpriced_tokens)

    @property
    def micro_usd(self) -> int | None:
        """What could be priced; None where nothing could."""
        return micro_usd(self.reported + self.computed) if self._is_priced else None

    @property
    def basis(self) -> CostBasis:
        """What the cost is known by."""
        if len(self.grounds) > 1:
            return "mixed"
        if "reported" in self.grounds:
            return "reported"
        return "computed" if self._is_priced else "unpriced"

    def cost(self) -> dict[str, Any]:
        """The fields that every answer about costs has."""
        return {
            "calls": self.numbers[0],
            "total_tokens": sum(self.numbers[2:]),
            "cost_micro_usd": self.micro_usd,
            "cost_basis": self.basis,
            "unpriced_calls": self.unpriced_calls,
            "unpriced_tokens": self.unpriced_tokens,
            "catalogs": tuple(sorted(self.catalogs)),
        }


Groups = dict[Key, Sums]


def merged(groups: Iterable[Sums]) -> Sums:
    """Groups as one."""
    whole = Sums()
    for one in groups:
        whole.numbers = tuple(map(add, whole.numbers, one.numbers))
        whole.reported += one.reported
        whole.computed += one.computed
        whole.grounds |= one.grounds
        whole.unpriced_calls += one.unpriced_calls
        whole.unpriced_tokens += one.unpriced_tokens
        whole.catalogs |= one.catalogs
    return whole


def check_basis(basis: str) -> None:
    """Raises InvalidInput."""
    if basis not in get_args(Basis):
        raise InvalidInput(f"the basis of costs is {' or '.join(get_args(Basis))}, not {basis!r}")


class UsageRow(NamedTuple):
    """Sums of calls that share a price: ``found`` are the columns of their group, ``start`` is the hour or day, or 0
    where prices are the same at all times.
    """

    found: Sequence[Any]
    start: int
    model: str
    tier: int
    reported: str
    numbers: Sequence[int]
    cost_micro_usd: int


def dates_of(reader: QueryReader) -> list[int]:
    """The times (µs) from which prices hold that do not hold from the beginning."""
    found = reader.totals(PRICES.table, ("effective_from",), ("*",), [Filter("effective_from", ">", 0)])
    return [row[0] for row in found]


def usage_of(reader: QueryReader, grouping: Grouping, where: Iterable[Filter], dates: Sequence[int]) -> list[UsageRow]:
    """What was used, apart by what prices can depend on; ``dates`` are the times at which prices change."""
    period = Filter("period", "=", "day" if is_daily(grouping, where, dates) else "hour")
    by_time = grouping.period is not None
    timed = by_time or bool(dates)
    columns = ("bucket_start",) * timed + ("model", "context_tier", "priced")
    asked = (*columns, *(column for column in grouping.columns if column != "model"))
    places = [asked.index(column) for column in ("bucket_start",) * by_time + grouping.columns]
    rows = []
    for row in reader.totals(TOKEN_USAGE.table, asked, TOKEN_USAGE.table.measures, [period, *where]):
        start, model, tier, reported = row[:4] if timed else (0, *row[:3])
        *numbers, cost = row[len(asked) :]
        rows.append(UsageRow([row[place] for place in places], start, model, tier, reported, numbers, cost))
    return rows


def book_of(reader: QueryReader, *usages: Iterable[UsageRow]) -> PriceBook:
    """The prices of the models that were used."""
    models = {row.model for usage in usages for row in usage}
    names = sorted({name for model in models for name, _ in names_of(model)})
    found = reader.select(PRICES.table, [Filter("model", "in", names)], order=("position",)) if names else []
    return PriceBook(found, built_in())


def priced(usage: Iterable[UsageRow], grouping: Grouping, book: PriceBook, basis: Basis) -> Groups:
    """What each group used, and what that cost."""
    groups: Groups = {}
    for row in usage:
        key = grouping.key(row.found)
        if (sums := groups.get(key)) is None:
            sums = groups[key] = Sums()
        sums.numbers = tuple(map(add, sums.numbers, row.numbers))
        _add_cost(sums, row, book, basis)
    return groups


_REPORTED, _COMPUTED = frozenset(("reported",)), frozenset(("computed",))


def _add_cost(sums: Sums, row: UsageRow, book: PriceBook, basis: Basis) -> None:
    if row.reported and basis == "reported":
        sums.reported += row.cost_micro_usd * PICO_PER_MICRO
        sums.grounds |= _REPORTED
        return
    calls, tokens = row.numbers[0], row.numbers[2:]
    if not calls and not any(tokens):
        return  # calls that failed
    price = book.price_at(row.model, row.start)
    if price is None:
        sums.unpriced_calls += calls
        sums.unpriced_tokens += sum(tokens)
        return
    sums.computed += book.cost(price, row.tier, tokens)
    sums.grounds |= _COMPUTED
    sums.catalogs.add(price.catalog)


def two_versions(
    then: QueryReader, now: QueryReader, grouping: Grouping, where: Iterable[Filter], basis: Basis
) -> tuple[Groups, Groups, Groups, set[str]]:
    """Groups of an earlier and of a later version, those of the earlier one with the prices of the later, and the
    models of them all.
    """
    where = list(where)
    dates = [*dates_of(then), *dates_of(now)]
    early, late = (usage_of(reader, grouping, where, dates) for reader in (then, now))
    old, new = book_of(then, early), book_of(now, early, late)
    return (
        priced(early, grouping, old, basis),
        priced(late, grouping, new, basis),
        priced(early, grouping, new, basis),
        {row.model for row in (*early, *late)},
    )
