"""The log on PostgreSQL against psycopg 3 on the same server. What raw does and does not: `benchmarks.postgres_raw`."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from benchmarks import postgres_processes, postgres_raw, raw, rollback, threads, workload
from benchmarks.append import append_all, append_one, quantiles, turns
from benchmarks.harness import Figure, Timing, chunks, interleave, over, told
from benchmarks.logs import EVENTS_A_COMMIT, Bench, commits, opened
from benchmarks.postgres import Server
from benchmarks.postgres_alone import Measured, alone
from eventlog import Log

BACK = 1_000
LAST = 50
ROWS_AT_ONCE = 50_000


def figures(bench: Bench, found: Server) -> Iterator[Figure]:
    """Every figure of this store."""
    yield from _batches(bench, found)
    yield from _durable_singles(bench, found)
    with opened(found.fresh(), "inline") as log:
        yield threads.measure(log, bench.size, "postgres.threads", bar=5.0)
    yield from postgres_processes.run(bench, found)
    yield _follow(bench, found)
    yield from _long(bench, found)


def _batches(bench: Bench, found: Server) -> Iterator[Figure]:
    size = bench.size
    block = size.batch_commits * EVENTS_A_COMMIT
    rows = raw.rows_of(bench.mixed(size.log_events), size.rounds * block)
    mixed = list(commits(workload.history(size.rounds * block)))
    deferred, inline = (opened(found.fresh(), kind) for kind in ("deferred", "inline"))
    inserted, copied = (postgres_raw.created(found.fresh()) for _ in range(2))

    def check() -> None:
        with deferred.reader() as reader:
            postgres_raw.check_same_columns(reader.connection, inserted)  # type: ignore[attr-defined]

    def insert(part: Sequence[raw.Row]) -> None:
        for commit in chunks(part, EVENTS_A_COMMIT):
            postgres_raw.insert(inserted, commit)

    def copy(part: Sequence[raw.Row]) -> None:
        for commit in chunks(part, EVENTS_A_COMMIT):
            postgres_raw.copy(copied, commit)

    check()
    floor, *ours = interleave(
        size.rounds,
        turns(insert, chunks(rows, block)),
        turns(lambda part: append_all(deferred, part), chunks(mixed, size.batch_commits)),
        turns(lambda part: append_all(inline, part), chunks(mixed, size.batch_commits)),
        turns(copy, chunks(rows, block)),
    )
    for open_one in (deferred, inline, inserted, copied):
        open_one.close()
    labels = (
        ("postgres.batch", "PostgreSQL: batch append, 1,000 a commit, projections deferred", 0.5),
        ("postgres.batch_inline", "PostgreSQL: batch append, 1,000 a commit, inline projections", None),
        ("postgres.batch_copy", "PostgreSQL: raw COPY, 1,000 a commit", None),
    )
    for (name, what, bar), timing in zip(labels, ours, strict=True):
        yield Figure(
            id=name, what=what, unit="events/s", ours=block / timing.median, raw=block / floor.median,
            against="executemany", ratio=over(floor, timing), bar=bar,
        )  # fmt: skip


def _durable_singles(bench: Bench, found: Server) -> Iterator[Figure]:
    count = bench.size.singles
    rows = iter(raw.rows_of(bench.mixed(bench.size.log_events), count))
    bursts = workload.singles(count)
    with opened(found.fresh(), "inline") as log, postgres_raw.created(found.fresh()) as table:
        floor, ours = interleave(
            count, lambda: postgres_raw.insert(table, (next(rows),)), lambda: append_one(log, next(bursts))
        )
    yield Figure(
        id="postgres.durable_p50", what="PostgreSQL: one durable append, inline projections, p50", unit="µs",
        ours=ours.median * 1e6, raw=floor.median * 1e6, against="one-row commit", ratio=over(ours, floor), sense="<=",
        detail=quantiles(ours, floor),
    )  # fmt: skip


def _follow(bench: Bench, found: Server) -> Figure:
    """How long after `append` has returned a follower has the record: it asks every 50 ms."""
    url, count = found.fresh(), bench.size.queries
    stored: dict[int, float] = {}
    late: list[float] = []
    pauses = random.Random(1)
    with opened(url) as log, opened(url) as following:

        def append() -> None:
            for burst in workload.singles(count):
                time.sleep(0.05 + 0.05 * pauses.random())
                last = log.append(burst.stream, burst.events).last
                stored[last] = time.perf_counter()

        writer = threading.Thread(target=append)
        writer.start()
        for record in islice(following.follow(0), count):
            seen = time.perf_counter()
            # The follower may be faster than the writer's own return from the commit.
            late.append(max(0.0, seen - stored.get(record.position, seen)))
        writer.join()
    return Figure(
        id="postgres.follow", what="PostgreSQL: an append to its record in a follower of another log object, p50",
        unit="ms", ours=Timing(late).median * 1e3, detail=f"longest {max(late) * 1e3:.0f} ms",
    )  # fmt: skip


def _long(bench: Bench, found: Server) -> Iterator[Figure]:
    """What is measured on a long log: it is imported first, and then used."""
    events = bench.size.log_events
    rounds = max(1, min(3, bench.size.rounds - 1))
    source = bench.mixed(events)
    imports: list[Measured] = []
    floor: list[float] = []
    for _ in range(rounds):
        url = found.fresh()
        with told(f"COPY and import of {events:,} events"):
            floor.append(_copy_all(source, found))
            imports.append(alone("import", source, url))
    ours = Timing([one.seconds[0] for one in imports])
    yield Figure(
        id="postgres.import", what=f"PostgreSQL: import of {events:,} events from a SQLite log", unit="events/s",
        ours=events / ours.median, raw=events / Timing(floor).median, against="COPY",
        ratio=over(Timing(floor), ours), bar=0.3,
    )  # fmt: skip
    yield _memory("postgres.import.memory", max(one.peak_bytes for one in imports))

    rebuilt = alone("rebuild", url, rounds)
    made, fetched = Timing(rebuilt.seconds), Timing(rebuilt.fetch)
    yield Figure(
        id="postgres.rebuild", what=f"PostgreSQL: rebuild every shipped projection from {events:,} mixed events",
        unit="events/s", ours=events / made.median, raw=events / fetched.median, against="fetch of the same columns",
        ratio=over(fetched, made), bar=80_000, on_value=True,
    )  # fmt: skip
    yield _memory("postgres.rebuild.memory", rebuilt.peak_bytes)
    with opened(url) as log:
        yield from _on_long(bench, log)


def _on_long(bench: Bench, log: Log) -> Iterator[Figure]:
    events = log.head().position
    rolled, _ = rollback.measure(max(3, min(bench.size.rounds, 7)), log)
    yield _shown("rollback", f"roll back the last {BACK:,} of {events:,} events, all projections", rolled, bar=500)
    versions = iter(range(events - BACK, 0, -1))

    def first_answer() -> None:
        with log.as_of(next(versions)) as past:
            past.runs.list(limit=LAST)

    (past,) = interleave(bench.size.rounds, first_answer)
    yield _shown("asof", f"as of {BACK:,} events back: first list of runs", past)
    (listed,) = interleave(bench.size.queries, lambda: log.runs.list(limit=LAST, status="fail", project_id="etl"))
    yield _shown("listing", f"list the last {LAST} runs, filter: status+project", listed)


def _copy_all(source: Path, found: Server) -> float:
    """Seconds to COPY every row of a log in one transaction; reading them is not counted."""
    taken = 0.0
    there = sqlite3.connect(source)
    with postgres_raw.created(found.fresh()) as table:
        waiting = there.execute(raw.FETCH)
        with postgres_raw.copying(table) as write_row:
            while rows := waiting.fetchmany(ROWS_AT_ONCE):
                started = time.perf_counter()
                for row in rows:
                    write_row(row)
                taken += time.perf_counter() - started
            ended = time.perf_counter()
        taken += time.perf_counter() - ended
    there.close()
    return taken


def _memory(name: str, peak_bytes: int) -> Figure:
    return Figure(
        id=name, what="the same: peak memory of its processes", unit="MB", ours=peak_bytes / 1e6,
        bar=300, sense="<=", on_value=True,
    )  # fmt: skip


def _shown(name: str, what: str, timing: Timing, bar: float | None = None) -> Figure:
    return Figure(
        id=f"postgres.{name}", what=f"PostgreSQL: {what}", unit="ms", ours=timing.median * 1e3,
        bar=bar, sense="<=", on_value=True,
    )  # fmt: skip
