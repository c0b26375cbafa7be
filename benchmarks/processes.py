"""Four processes appending durably to one file, one event each call, for a few seconds; against one, turn about.

Fairness is the number of events the slowest process got in over that of the fastest, in the same seconds.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import msgspec

from benchmarks import workload
from benchmarks.harness import Figure, Timing
from benchmarks.logs import Bench, opened
from eventlog.errors import EventLogError

WRITERS = 4
RUNS_APART = 100_000
EVENTS_AT_MOST = 20_000
"""A second; more than any machine commits one by one."""


class Share(msgspec.Struct, frozen=True):
    """What one process got done."""

    seconds: list[float]
    """Of each append."""
    errors: list[str]


def run(bench: Bench) -> Iterator[Figure]:
    """Total, fairness, p99 and errors of four writing processes."""
    path = bench.fresh("processes")
    opened(path, "inline").close()
    seconds = bench.size.process_seconds
    alone: list[Share] = []
    together: list[list[Share]] = []
    for turn in range(min(3, bench.size.rounds)):
        alone += _phase(path, 1, seconds, first_run=turn * 10 * RUNS_APART)
        together.append(_phase(path, WRITERS, seconds, first_run=(turn * 10 + 5) * RUNS_APART))

    one_rate = statistics.median(len(share.seconds) for share in alone) / seconds
    rate = statistics.median(sum(len(share.seconds) for share in shares) for shares in together) / seconds
    fairness = [_fairness(shares) for shares in together]
    latencies = Timing([latency for shares in together for share in shares for latency in share.seconds])
    errors = [error for shares in together for share in shares for error in share.errors]
    yield Figure(
        id="processes.total",
        what=f"{WRITERS} processes, one durable append each call: in all",
        unit="events/s",
        ours=rate,
        raw=one_rate,
        against="one process",
        ratio=rate / one_rate,
        bar=0.4,
    )
    yield Figure(
        id="processes.fairness",
        what="the same: slowest process over fastest",
        unit="",
        ours=statistics.median(fairness),
        bar=0.7,
        on_value=True,
        detail="each turn: " + ", ".join(f"{value:.2f}" for value in fairness),
    )
    yield Figure(
        id="processes.p99",
        what="the same: p99 of one append",
        unit="ms",
        ours=latencies.quantile(0.99) * 1e3,
        bar=50,
        sense="<=",
        on_value=True,
        detail=f"p50 {latencies.median * 1e3:.2f} ms, longest {max(latencies.seconds) * 1e3:.0f} ms",
    )
    yield Figure(
        id="processes.errors",
        what="the same: errors",
        unit="",
        ours=len(errors),
        bar=0,
        sense="<=",
        on_value=True,
        detail="; ".join(errors[:3]),
    )


def _fairness(shares: list[Share]) -> float:
    counts = [len(share.seconds) for share in shares]
    return min(counts) / max(1, *counts)


def _phase(path: Path, writers: int, seconds: float, first_run: int) -> list[Share]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(writers)
    done: Queue[bytes] = context.Queue()
    processes = [
        context.Process(target=_write, args=(str(path), seconds, first_run + number * RUNS_APART, barrier, done))
        for number in range(writers)
    ]
    for process in processes:
        process.start()
    shares = [msgspec.msgpack.decode(done.get(timeout=seconds + 120), type=Share) for _ in processes]
    for process in processes:
        process.join()
    return shares


def _write(path: str, seconds: float, first_run: int, barrier: Barrier, done: Queue[bytes]) -> None:
    """In a process of its own: append until the time is over."""
    bursts = workload.moved(workload.singles(int(seconds * EVENTS_AT_MOST), seed=first_run), first_run)
    taken: list[float] = []
    errors: list[str] = []
    with opened(Path(path), "inline") as log:
        waiting = iter(list(bursts))
        log.head()
        barrier.wait()
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            burst = next(waiting)
            try:
                log.append(burst.stream, burst.events, occurred_at=burst.occurred_at)
            except EventLogError as error:
                errors.append(f"{type(error).__name__}: {error}")
            taken.append(time.perf_counter() - started)
    done.put(msgspec.msgpack.encode(Share(taken, errors)))
