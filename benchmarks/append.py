"""Appending: 1,000 events a commit, and one event a commit, durable and not.

All sides of a comparison take turns in one loop; each has its own file, and all files grow alike. Ours is handed
Structs, raw is handed tuples (`benchmarks.raw`). One commit of 1,000 mixed events is about 620 appends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from benchmarks import raw, workload
from benchmarks.harness import Figure, Timing, chunks, interleave, over
from benchmarks.logs import EVENTS_A_COMMIT, Bench, build, commits, one_stream, opened
from eventlog import Append, Log
from eventlog.store.base import Durability

T = TypeVar("T")


def run(bench: Bench) -> Iterator[Figure]:
    """Bars 1 to 4."""
    yield from _batches(bench)
    yield from _durable_singles(bench)
    yield from _process_singles(bench)


def _batches(bench: Bench) -> Iterator[Figure]:
    size = bench.size
    block = size.batch_commits * EVENTS_A_COMMIT
    rows = _rows(bench, size.rounds * block, singles=False)
    mixed = list(commits(workload.history(size.rounds * block)))
    single = list(one_stream(workload.history(size.rounds * block)))
    deferred, inline, imported = (opened(bench.fresh(kind), kind) for kind in ("deferred", "inline", "deferred"))
    table = raw.create(bench.fresh("raw"), "FULL")

    floor, *ours = interleave(
        size.rounds,
        turns(lambda part: _insert(table, part), chunks(rows, block)),
        turns(lambda part: append_all(deferred, part), chunks(mixed, size.batch_commits)),
        turns(lambda part: append_all(inline, part), chunks(mixed, size.batch_commits)),
        turns(lambda part: append_all(imported, part), chunks(single, size.batch_commits)),
    )
    for log in (deferred, inline, imported):
        log.close()
    table.close()

    labels = (
        ("append.batch", "batch append, 1,000 a commit, projections deferred", 0.45),
        ("append.batch_inline", "batch append, 1,000 a commit, inline projections", 0.20),
        ("append.batch_one_stream", "the same events as one append a commit, deferred", None),
    )
    for (name, what, bar), timing in zip(labels, ours, strict=True):
        rate, floor_rate = block / timing.median, block / floor.median
        yield Figure(
            id=name, what=what, unit="events/s", ours=rate, raw=floor_rate, against="executemany, FULL",
            ratio=over(floor, timing), bar=bar,
        )  # fmt: skip


def _durable_singles(bench: Bench) -> Iterator[Figure]:
    count = bench.size.singles
    rows = _rows(bench, count, singles=True)
    bursts = list(workload.singles(count))
    table = raw.create(bench.fresh("raw"), "FULL")
    with opened(bench.fresh("single"), "inline") as log:
        next_row, next_burst = iter(rows), iter(bursts)
        floor, ours = interleave(
            count,
            lambda: raw.insert(table, (next(next_row),)),
            lambda: append_one(log, next(next_burst), "full"),
        )
    table.close()
    yield Figure(
        id="append.durable_p50",
        what="one durable append, inline projections, p50",
        unit="µs",
        ours=ours.median * 1e6,
        raw=floor.median * 1e6,
        against="one-row commit, FULL",
        ratio=over(ours, floor),
        bar=2.0,
        sense="<=",
        detail=quantiles(ours, floor),
    )


def _process_singles(bench: Bench) -> Iterator[Figure]:
    size = bench.size
    block = size.process_singles
    rows = _rows(bench, size.rounds * block, singles=True)
    bursts = list(workload.singles(size.rounds * block))
    table = raw.create(bench.fresh("raw"), "NORMAL")
    with opened(bench.fresh("process"), "deferred") as log:
        next_row, next_burst = iter(rows), iter(bursts)

        def floor_block() -> None:
            for row in islice(next_row, block):
                raw.insert(table, (row,))

        def our_block() -> None:
            for burst in islice(next_burst, block):
                append_one(log, burst, "process")

        floor, ours = interleave(size.rounds, floor_block, our_block)
    table.close()
    rate, floor_rate = block / ours.median, block / floor.median
    yield Figure(
        id="append.process",
        what='one append at a time, durability="process", deferred',
        unit="events/s",
        ours=rate,
        raw=floor_rate,
        against="one-row commits, NORMAL",
        ratio=over(floor, ours),
        bar=0.30,
    )


def _rows(bench: Bench, events: int, *, singles: bool) -> list[raw.Row]:
    """The raw rows of a history, read back from a log that was given it."""
    path = bench.fresh("rows")
    build(path, workload.singles(events) if singles else workload.history(events), project=False)
    raw.check_same_columns(path)
    return raw.rows_of(path)


def turns(do: Callable[[Sequence[T]], None], parts: Iterable[Sequence[T]]) -> Callable[[], None]:
    """Each call does the next part."""
    waiting = iter(list(parts))
    return lambda: do(next(waiting))


def _insert(table: raw.Connection, rows: Sequence[raw.Row]) -> None:
    for part in chunks(rows, EVENTS_A_COMMIT):
        raw.insert(table, part)


def append_all(log: Log, batches: Sequence[list[Append]]) -> None:
    """Each list in one commit."""
    for batch in batches:
        log.append_many(batch)


def append_one(log: Log, burst: workload.Burst, durability: Durability = "full") -> None:
    """The first event of a burst."""
    log.append(burst.stream, burst.events[0], occurred_at=burst.occurred_at, durability=durability)


def quantiles(ours: Timing, floor: Timing) -> str:
    """Both sides' p99, as text."""
    return f"p99 {ours.quantile(0.99) * 1e6:,.0f} µs, raw p99 {floor.quantile(0.99) * 1e6:,.0f} µs"
