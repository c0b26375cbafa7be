"""32 threads appending durably through one log, one event each call, each its own runs. Against: one thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from benchmarks import workload
from benchmarks.harness import Figure, Size, interleave, over
from benchmarks.logs import Bench, opened
from benchmarks.workload import Burst
from eventlog import Log

RUNS_APART = 10_000


def run(bench: Bench) -> Iterator[Figure]:
    """Group commit: how much faster many threads are than one."""
    with opened(bench.fresh("threads"), "inline") as log:
        yield measure(log, bench.size, "threads.durable", bar=3.0)


def measure(log: Log, size: Size, name: str, *, bar: float) -> Figure:
    """As many events from one thread and from all, in turns."""
    rounds = min(size.rounds, 5)
    share = max(1, size.singles // size.threads)
    count = share * size.threads
    alone = iter([_histories(1, count, turn) for turn in range(rounds)])
    together = iter([_histories(size.threads, share, rounds + turn) for turn in range(rounds)])
    one, many = interleave(
        rounds,
        lambda: _append_all(log, next(alone)),
        lambda: _append_all(log, next(together)),
    )
    rate, one_rate = count / many.median, count / one.median
    return Figure(
        id=name,
        what=f"{size.threads} threads, one durable append each call, inline",
        unit="events/s",
        ours=rate,
        raw=one_rate,
        against="one thread",
        ratio=over(one, many),
        bar=bar,
    )


def _histories(writers: int, events: int, turn: int) -> list[list[Burst]]:
    """One history a writer, no two of which touch the same run."""
    first = turn * 100 * RUNS_APART
    return [
        list(workload.moved(workload.singles(events, seed=writer), first + writer * RUNS_APART))
        for writer in range(writers)
    ]


def _append_all(log: Log, histories: Sequence[Sequence[Burst]]) -> None:
    threads = [threading.Thread(target=_append, args=(log, history)) for history in histories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _append(log: Log, bursts: Sequence[Burst]) -> None:
    for burst in bursts:
        log.append(burst.stream, burst.events, occurred_at=burst.occurred_at)
